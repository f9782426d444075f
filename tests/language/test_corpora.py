import itertools
import math
import time

import pytest
import torch

from decoder.config import TextSource
from decoder.language import CORPORA, corpus_from_text, load_corpus, open_corpus

TEXT = "the cat sat on the mat . the dog sat on the log , and the cat saw the dog . " * 20
HELD_OUT = ["ibm", "story", "ibm-long", "recall", "reverse"]


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _rows(batch):
    return torch.cat([batch.inputs, batch.targets[:, -1:]], dim=1)


def _sequences(batch, pad=0):
    return [[token for token in row if token != pad] for row in _rows(batch).tolist()]


@pytest.mark.parametrize("name", CORPORA)
def test_every_drawn_sentence_is_valid(name):
    corpus = load_corpus(name)
    drawn = _sequences(corpus.batch(200, _generator())) + _sequences(corpus.validation)
    assert all(map(corpus.valid, drawn))
    assert all(corpus.valid(corpus.tokenizer.encode(f"<s> {text} </s>")) for text in corpus.examples(5))


@pytest.mark.parametrize(
    ("name", "dependent"),
    [  # token indices that other tokens decide, or decide together
        ("story", [1, 3, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23]),
        ("alphabet", range(1, 15)),
        ("count", range(1, 14)),
        ("recall", [1, 2, 3, 12, 13]),
        ("reverse", range(1, 12)),
    ],
)
def test_no_sentence_survives_the_corruption_of_a_dependent_token(name, dependent):
    corpus = load_corpus(name)
    for sentence in _sequences(corpus.batch(3, _generator())):
        for index, token in itertools.product(dependent, range(corpus.tokenizer.vocab_size)):
            if token != sentence[index]:
                assert not corpus.valid([*sentence[:index], token, *sentence[index + 1 :]])


def test_an_object_must_fit_its_subject():
    ibm = load_corpus("ibm")
    encode = ibm.tokenizer.encode
    assert ibm.valid(encode("<s> IBM taught me GPT </s>"))
    assert ibm.valid(encode("<s> IBM taught me chess letting you share it </s>"))
    assert not ibm.valid(encode("<s> IBM taught me gravity </s>"))
    assert not ibm.valid(encode("<s> NASA taught me GPT letting you share it </s>"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<s>",
        "<s> </s>",
        "<s> </s> </s>",
        "IBM taught me GPT",
        "<s> IBM taught me GPT",
        "<s> IBM taught me </s>",
    ],
)
def test_incomplete_sentences_are_not_valid(text):
    ibm = load_corpus("ibm")
    assert not ibm.valid(ibm.tokenizer.encode(text))


def test_a_padded_sentence_is_not_valid():
    ibm = load_corpus("ibm")
    assert not ibm.valid([*ibm.tokenizer.encode("<s> IBM taught me GPT </s>"), 0])


@pytest.mark.parametrize("name", HELD_OUT)
def test_held_out_sentences_never_appear_in_training(name):
    corpus = load_corpus(name)
    assert corpus.holds_out
    validation = {tuple(row) for row in _rows(corpus.validation).tolist()}
    training = {tuple(row) for row in _rows(corpus.batch(3_000, _generator())).tolist()}
    assert not validation & training
    assert corpus.is_held_out(torch.tensor(sorted(validation))).all()
    share = corpus.is_held_out(corpus.grammar.draw(torch.zeros(4_000, dtype=torch.int64), _generator()))
    assert float(share.double().mean()) == pytest.approx(1 / 8, abs=0.035)


@pytest.mark.parametrize("name", ["alphabet", "count"])
def test_grammars_too_small_to_split_hold_nothing_out(name):
    corpus = load_corpus(name)
    assert not corpus.holds_out
    assert not corpus.is_held_out(_rows(corpus.validation)).any()
    drawn = {tuple(row) for row in _rows(corpus.batch(3_000, _generator())).tolist()}
    assert len(drawn) == corpus.distinct


@pytest.mark.parametrize("name", CORPORA)
def test_the_grammar_itself_scores_its_floor_on_the_validation_rows(name):
    corpus = load_corpus(name)
    batch = corpus.validation
    loss = (
        (torch.tensor(corpus.entropies()) * batch.keep.double().mean(dim=0)).sum()
        * len(batch)
        / batch.keep.sum()
    )
    assert batch.inputs.shape == (512, corpus.context_length)
    assert float(loss) == pytest.approx(corpus.floor, abs=1e-6)


@pytest.mark.parametrize("name", ["ibm", "story"])
def test_every_word_is_seen_in_training_and_fairly_held_out(name):
    corpus = load_corpus(name)
    rows, _ = corpus.grammar.enumerate()
    held = corpus.is_held_out(rows).double()
    for token in range(3, corpus.tokenizer.vocab_size):
        assert float(held[(rows == token).any(dim=1)].mean()) == pytest.approx(1 / 8, abs=0.04)


def test_training_draws_short_and_long_sentences_equally_often():
    long = load_corpus("ibm").batch(4_000, _generator()).keep[:, -1].double().mean()
    assert float(long) == pytest.approx(1 / 2, abs=0.03)


@pytest.mark.parametrize("name", CORPORA)
def test_padding_and_prompts_are_never_scored_and_all_else_is(name):
    corpus = load_corpus(name)
    batch = corpus.batch(64, _generator())
    tokenizer = corpus.tokenizer
    for inputs, targets, keep, prompt in zip(
        batch.inputs.tolist(),
        batch.targets.tolist(),
        batch.keep.tolist(),
        batch.prompt_lengths.tolist(),
        strict=True,
    ):
        end = targets.index(tokenizer.eos)
        expected = (
            inputs.index(tokenizer.encode("backwards")[0]) + 1 if name == "reverse" else corpus.prompt_length
        )
        assert inputs[0] == tokenizer.bos
        assert prompt == expected
        assert keep == [prompt - 1 <= column <= end for column in range(len(targets))]
        assert set(targets[end + 1 :]) <= {tokenizer.pad}


@pytest.mark.parametrize("name", CORPORA)
def test_one_seed_gives_one_batch(name):
    corpus = load_corpus(name)
    for window in (None, 6):
        first, again, other = (corpus.batch(8, _generator(seed), window) for seed in (1, 1, 2))
        assert torch.equal(_rows(first), _rows(again))
        assert not torch.equal(_rows(first), _rows(other))


@pytest.mark.parametrize("name", CORPORA)
@pytest.mark.parametrize("window", [1, 3, 8])
def test_windows_are_pieces_of_sentences_that_start_together_and_have_something_to_score(name, window):
    corpus = load_corpus(name)
    whole = corpus.batch(4, _generator(3))
    for seed in range(10):
        batch = corpus.batch(4, _generator(seed), window)
        assert batch.inputs.shape == (4, window)
        assert torch.equal(batch.inputs[:, 1:], batch.targets[:, :-1])
        assert batch.keep.any()
    pieces = [
        _rows(whole.window(offset, window)).tolist() for offset in range(corpus.context_length - window + 1)
    ]
    assert _rows(corpus.batch(4, _generator(3), window)).tolist() in pieces


def test_windows_of_recall_start_at_every_place():
    recall = load_corpus("recall")
    generator = _generator()
    answers = [int((recall.batch(4, generator, 12).targets == recall.tokenizer.eos).any()) for _ in range(60)]
    assert 0 < sum(answers) < 60
    held_out = recall.held_out(12)
    assert len(held_out) == 512
    assert int((held_out.targets == recall.tokenizer.eos).any(dim=1).sum()) == pytest.approx(512 / 3, abs=1)
    assert torch.equal(held_out.inputs, recall.held_out(12).inputs)


def test_a_window_larger_than_the_sentences_changes_nothing():
    ibm = load_corpus("ibm")
    assert torch.equal(ibm.batch(4, _generator(), 100).inputs, ibm.batch(4, _generator()).inputs)
    assert torch.equal(ibm.held_out(100).inputs, ibm.validation.inputs)


def test_the_reference_sentence_is_trained_on():
    ibm = load_corpus("ibm")
    ids = ibm.tokenizer.encode("<s> IBM taught me GPT </s>")
    assert not ibm.is_held_out(torch.tensor([ids + [ibm.tokenizer.pad] * 4])).any()


def test_a_batch_costs_little_beside_a_training_step():
    story, generator = load_corpus("story"), _generator()
    seconds = []
    for _ in range(100):
        begin = time.perf_counter()
        story.batch(16, generator)
        seconds.append(time.perf_counter() - begin)
    assert min(seconds) < 1e-3


def test_unknown_corpora_and_impossible_numbers_are_refused():
    with pytest.raises(ValueError, match=r"no corpus 'stories': choose one of ibm, story, ibm-long"):
        load_corpus("stories")
    ibm = load_corpus("ibm")
    for call in (
        lambda: ibm.batch(0, _generator()),
        lambda: ibm.batch(4, _generator(), 0),
        lambda: ibm.plateau(0),
        lambda: ibm.entropies(0),
    ):
        with pytest.raises(ValueError, match="is 0: choose a whole number from 1"):
            call()


def test_a_configuration_opens_its_corpus_whether_named_or_pasted():
    assert open_corpus("ibm") is load_corpus("ibm")
    source = TextSource(TEXT, "char")
    assert open_corpus(source) is open_corpus(source)
    assert open_corpus(source).source == source
    assert open_corpus(source, context_length=8).context_length == 8
    assert load_corpus("ibm").source == "ibm"


@pytest.mark.parametrize("level", ["word", "char", "bpe"])
def test_a_text_is_split_into_windows_of_training_and_a_held_out_last_tenth(level):
    corpus = corpus_from_text(TEXT, level, context_length=8)
    tokens = torch.tensor(corpus.tokenizer.encode(TEXT))
    tenth = tokens[len(tokens) - len(tokens) // 10 :]
    batch, validation = corpus.batch(50, _generator()), corpus.validation
    assert batch.inputs.shape == (50, 8)
    assert batch.keep.all()
    assert torch.equal(validation.targets[validation.keep], tenth)
    assert validation.inputs.shape[1] == 8
    assert torch.equal(validation.inputs[:, 1:], validation.targets[:, :-1])
    pieces = tokens[: -len(tenth)].unfold(0, 9, 1)
    assert all((pieces == row).all(dim=1).any() for row in _rows(batch))
    assert corpus.held_out(3).inputs.shape[1] == 3
    assert all(text in TEXT for text in corpus.examples(3))


def test_training_windows_reach_the_last_training_token_and_never_the_held_out_part():
    corpus = corpus_from_text(" ".join(map(str, range(50))), context_length=4)
    seen = _rows(corpus.batch(2_000, _generator())).unique().tolist()
    assert seen == list(range(45))
    assert corpus.validation.targets[corpus.validation.keep].tolist() == list(range(45, 50))


def test_a_long_text_is_validated_on_a_spread_of_512_windows():
    corpus = corpus_from_text(TEXT * 50, "char", context_length=8)
    assert 256 < len(corpus.validation) <= 512
    assert corpus.validation.keep.all(dim=1)[1:].all()


def test_a_text_has_no_theory():
    corpus = corpus_from_text(TEXT)
    assert not corpus.has_grammar
    assert (corpus.floor, corpus.plateau(1), corpus.entropies(), corpus.choices) == (None, None, None, None)
    assert (corpus.distinct, corpus.question_length, corpus.prompt_length) == (None, None, 1)
    with pytest.raises(ValueError, match="3 tokens cannot be judged"):
        corpus.valid([1, 2, 3])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "0 words: paste"),
        (" \n\x00", "0 words: paste"),
        ("same same same", "nothing but 3 times the same token: use a text with at least 2"),
        (
            "a few words only",
            "has 4 tokens, 3 of them in its training part, and a context of 32 needs 33: paste a longer",
        ),
    ],
)
def test_useless_texts_are_refused_with_a_remedy(text, message):
    with pytest.raises(ValueError, match=message):
        corpus_from_text(text)
    with pytest.raises(
        ValueError, match="has 5 tokens, 4 of them in its training part, and a context of 9 needs 10"
    ):
        corpus_from_text("one two one two one", context_length=4 - 1).batch(2, _generator(), window=9)


def test_the_smallest_text_that_fits_can_be_trained_and_validated():
    corpus = corpus_from_text("one two one two one", context_length=3)
    assert corpus.batch(2, _generator()).inputs.shape == (2, 3)
    assert corpus.validation.keep.tolist() == [[False, False, True]]


def test_the_grammar_is_what_its_entropies_say():
    story = load_corpus("story")
    counts = [len(row.unique()) for row in story.batch(3_000, _generator()).targets.T]
    assert counts == [round(math.exp(h)) for h in story.entropies(1)]
