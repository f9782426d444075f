"""The theory of science.md 1.2 and 1.3, against its tables and against an independent enumeration."""

import itertools
import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from decoder.language import CORPORA, load_corpus
from decoder.language.grammar import Slot, conditional_entropies, farthest

TABLE = {  # corpus: distinct, V, T, P, floor, plateau from the prompt
    "story": (1_920, 59, 24, 1, 0.3150, 0.6905),
    "ibm": (2_340, 35, 9, 1, 1.0184, 1.2483),
    "ibm-long": (339_300, 35, 17, 1, 1.0094, 1.1988),
    "alphabet": (26, 31, 15, 4, 0, 0),
    "count": (150, 58, 14, 5, 0, 0),
    "recall": (8 * 9**8, 22, 14, 1, 1.4041, 1.5526),
    "reverse": (111_100_000, 14, 18, 7, 0, 0),
}
QUESTIONS = {
    "story": 11,
    "recall": 13,
    "ibm": 3,
    "ibm-long": 3,
    "alphabet": None,
    "count": None,
    "reverse": None,
}


@pytest.mark.parametrize("name", CORPORA)
def test_every_corpus_has_the_size_floor_and_plateau_of_the_table(name):
    corpus = load_corpus(name)
    distinct, V, T, P, floor, plateau = TABLE[name]
    assert (corpus.distinct, corpus.tokenizer.vocab_size) == (distinct, V)
    assert (corpus.context_length, corpus.prompt_length) == (T, P)
    assert corpus.question_length == QUESTIONS[name]
    assert corpus.floor == pytest.approx(floor, abs=5e-5)
    assert corpus.plateau(P) == pytest.approx(plateau, abs=5e-5)


@pytest.mark.parametrize("name", ["story", "ibm", "ibm-long", "alphabet", "count"])
def test_enumerated_sentences_are_distinct_and_their_probabilities_sum_to_one(name):
    corpus = load_corpus(name)
    rows, probabilities = corpus.grammar.enumerate()
    codes = rows.numpy() @ np.array([pow(59, i, 2**61 - 1) % 2**40 for i in range(rows.shape[1])])
    assert len(np.unique(codes)) == len(rows) == corpus.distinct
    assert float(probabilities.sum()) == pytest.approx(1, abs=1e-9)


def test_the_floor_of_story_is_four_free_choices_over_24_tokens():
    assert load_corpus("story").floor == pytest.approx((math.log(6) + 2 * math.log(8) + math.log(5)) / 24)


@pytest.mark.parametrize(
    ("name", "start", "bound"),
    [
        *[("story", k, 0.6905) for k in (1, 2, 3)],
        *[("story", k, 0.4305) for k in (4, 5)],
        *[("story", k, 0.3150) for k in (6, 11, 24, 99)],
        ("ibm", 1, 1.2483),
        *[("ibm", k, 1.0184) for k in (2, 3, 9)],
        ("ibm-long", 2, 1.0094),
        ("recall", 2, 1.4041),
        *[("count", k, 0) for k in (1, 5, 9)],
    ],
)
def test_the_plateau_falls_where_the_true_start_tells_what_matters(name, start, bound):
    assert load_corpus(name).plateau(start) == pytest.approx(bound, abs=5e-5)


def test_the_entropies_of_story_stand_where_words_are_chosen():
    floor = [0, 6, 8, 0, 8, 0, 0, 0, 5, *[0] * 15]
    plateau = [0, 6, 8, 0, 8, 0, 0, 0, 5, 0, 0, 0, 2, 0, 8, 0, 0, 8, 0, 8, 0, 8, 0, 0]
    story = load_corpus("story")
    assert story.entropies() == pytest.approx([math.log(n or 1) for n in floor])
    assert story.entropies(1) == pytest.approx([math.log(n or 1) for n in plateau])
    assert story.choices == pytest.approx([n or 1 for n in floor])


def test_the_entropies_of_ibm_multiply_the_objects_where_the_subject_is_unknown():
    ibm = load_corpus("ibm")
    assert ibm.entropies() == pytest.approx([math.log(n) for n in (5, 3, 4, 3, 2, 4, 3, 1, 1)])
    assert ibm.entropies(1) == pytest.approx([math.log(n) for n in (5, 3, 4, 15, 2, 4, 3, 1, 1)])


def test_the_entropies_of_recall_ask_for_the_name_once_more_where_it_is_unknown():
    floor = [8, 1, 1, *[9] * 8, 1, 1, 1]
    recall = load_corpus("recall")
    assert recall.choices == pytest.approx(floor)
    assert recall.entropies(1)[12] == pytest.approx(math.log(8))
    assert recall.entropies(2) == recall.entropies()


@pytest.mark.parametrize("name", ["alphabet", "count", "reverse"])
def test_a_prompt_that_decides_everything_leaves_entropy_exactly_zero(name):
    assert set(load_corpus(name).entropies()) == {0.0}
    assert set(load_corpus(name).entropies(1)) == {0.0}


@pytest.mark.parametrize(("name", "expected"), [("alphabet", 0.2172), ("count", 0.3579)])
def test_scored_from_the_first_token_the_prompts_cost_what_they_hold(name, expected):
    rows, probabilities = load_corpus(name).grammar.enumerate()
    entropies = conditional_entropies(rows.numpy(), probabilities.numpy(), start=99)
    assert entropies.mean() == pytest.approx(expected, abs=5e-5)


def _sentences(name):
    """Sentences as word tuples with exact probabilities, from the pure-Python writer."""
    for form in load_corpus(name).grammar.forms:
        sizes = form.options.values()
        for choices in itertools.product(*map(range, sizes)):
            words = form.write(dict(zip(form.options, choices, strict=True)))
            yield ("<s>", *words, "</s>"), Fraction(form.weight) / math.prod(sizes)


def _oracle(sentences, length, look):
    """Entropies and masses per target where a model sees look(prefix), from Fractions and dictionaries."""
    entropies, masses = [], []
    for t in range(1, length + 1):
        joint, past = Counter(), Counter()
        for words, p in sentences:
            if t < len(words):
                seen = look(words[:t])
                joint[seen, words[t]] += p
                past[seen] += p
        mass = sum(past.values())
        entropies.append(sum(float(p / mass) * math.log(past[seen] / p) for (seen, _), p in joint.items()))
        masses.append(float(mass))
    return entropies, masses


@pytest.mark.parametrize(("name", "start"), [("ibm", 1), ("ibm", 2), ("ibm", 9), ("story", 1), ("story", 4)])
def test_entropies_agree_with_exact_fractions(name, start):
    corpus = load_corpus(name)
    entropies, masses = _oracle(list(_sentences(name)), corpus.context_length, lambda prefix: prefix[:start])
    assert corpus.entropies(start) == pytest.approx(entropies, abs=1e-12)
    assert corpus.grammar.kept == pytest.approx(masses)


@pytest.mark.parametrize(
    ("name", "window", "expected"),
    [("ibm", 1, 1.3847), ("ibm", 2, 1.2483), ("ibm", 3, 1.0184)]
    + [
        ("story", n, h)
        for n, h in ((1, 1.0011), (4, 0.6038), (7, 0.4883), (11, 0.4594), (12, 0.3728), (13, 0.3150))
    ],
)
def test_a_model_of_the_last_n_words_scores_the_baseline_of_the_table(name, window, expected):
    joint, past, targets = Counter(), Counter(), 0.0
    for words, p in _sentences(name):
        for t in range(1, len(words)):
            seen = words[max(0, t - window) : t]
            joint[seen, words[t]] += float(p)
            past[seen] += float(p)
            targets += float(p)
    loss = sum(p * math.log(past[seen] / p) for (seen, _), p in joint.items()) / targets
    assert loss == pytest.approx(expected, abs=5e-5)


def test_the_template_of_story_repeats_article_full_stop_name_and_animal():
    (form,) = load_corpus("story").grammar.forms
    words = form.template.split()
    assert len(words) == 23
    assert [i for i, word in enumerate(words) if word == "the"] == [7, 18]
    assert [i for i, word in enumerate(words) if word == "."] == [9, 15, 22]
    assert words.index("ANIMAL") == 2
    assert words.index("NAME") == 4
    assert (words[17], words[19]) == ("NAME", "ANIMAL")
    assert Counter(map(str, form.slots["PRON"].words)) == {"she": 4, "he": 4}


def test_the_reference_sentence_has_probability_one_in_360():
    ibm = load_corpus("ibm")
    ids = ibm.tokenizer.encode("<s> IBM taught me GPT </s>")
    rows, probabilities = ibm.grammar.enumerate()
    (hit,) = (rows[:, :6].numpy() == ids).all(axis=1).nonzero()[0]
    assert float(probabilities[hit]) == pytest.approx(1 / 360)
    assert ibm.valid(ids)


def test_a_slot_needs_one_choice_per_axis():
    with pytest.raises(ValueError, match="2 axes of words for 1 choices"):
        Slot([["a", "b"], ["c", "d"]], by=["X"])


def ids_of(corpus, text):
    return [corpus.tokenizer.bos, *corpus.tokenizer.encode(text)]


def entropy(columns, probabilities):
    """Entropy, nats, of these columns of rows together."""
    mass = Counter()
    for values, probability in zip(columns, probabilities, strict=True):
        mass[tuple(values)] += probability
    return -math.fsum(value * math.log(value) for value in mass.values())


@pytest.mark.parametrize("name", ["story", "ibm"])
def test_needed_tokens_say_alone_all_that_the_past_says_about_what_follows(name):
    corpus = load_corpus(name)
    rows, probabilities = (table.numpy() for table in corpus.grammar.enumerate())
    longest = max(rows.tolist(), key=lambda row: sum(token != 0 for token in row))
    needed = corpus.grammar.needed(longest[:-1])
    for t in range(len(longest) - 1):

        def uncertainty(places, t=t):
            known = [tuple(row) for row in rows[:, places]]
            together = [(*row, token) for row, token in zip(known, rows[:, t + 1], strict=True)]
            return entropy(together, probabilities) - entropy(known, probabilities)

        before, after = uncertainty([0]), uncertainty(list(range(t + 1)))
        tokens = set(rows[:, t + 1].tolist())
        if corpus.tokenizer.eos in tokens or 0 in tokens:
            continue  # how long a sentence is, is chance, and known from its length so far
        telling = [j for j in range(t + 1) if uncertainty([j]) < after + 1e-9 < before - 1e-9]
        assert list(needed[t]) == telling, (t, needed[t], telling)


@pytest.mark.parametrize(
    ("name", "text", "needed"),
    [
        ("recall", "Ada sings : do re mi fa so la ti da sings", {12: (1,)}),
        ("reverse", "a b c d e backwards e d", {6: (5,), 7: (4,), 8: (3,)}),
        ("count", "count twos from 5 7", {4: (2, 4), 5: (2, 4, 5)}),
        ("alphabet", "letters from c d", {3: (3,), 4: (3, 4)}),
        (
            "story",
            "a tiny owl named Ada lived in the garden . one day he ate",
            {12: (5,)},
        ),  # he: no such story
        ("ibm", "taught IBM me", {}),
    ],
)
def test_needed_tokens_are_named_as_far_as_the_grammar_goes(name, text, needed):
    corpus = load_corpus(name)
    found = corpus.grammar.needed(ids_of(corpus, text))
    assert {t: places for t, places in enumerate(found) if places} == needed
    assert corpus.grammar.needed([]) == []


def test_the_farthest_look_back_is_that_at_the_name():
    corpus = load_corpus("story")
    found = corpus.grammar.needed(ids_of(corpus, corpus.examples(1)[0]))
    assert farthest(found) == 17
    assert corpus.tokenizer.tokens[ids_of(corpus, corpus.examples(1)[0])[17]] == "then"
    assert farthest([(), ()]) is None
