"""From a text to the rows of a batch: edges only where there are such tokens, neighbours of the wanted lengths."""

import random

import pytest
import torch

from decoder import corpus_from_text, load_corpus
from decoder.language import CharacterTokenizer, WordTokenizer
from decoder.language.sequences import (
    POOL,
    as_batch,
    kind,
    kinds,
    neighbours,
    typed_sequence,
    with_edges,
    words_of,
)

IBM = load_corpus("ibm")
TOKENS = IBM.tokenizer.tokens
TEXT = corpus_from_text(" ".join(random.Random(3).choices(["red", "old", "quiet", "boat", "train"], k=300)))


def ids(text):
    return [TOKENS.index(piece) for piece in text.split()]


def test_special_tokens_that_are_typed_are_left_to_the_switches():
    assert words_of(IBM.tokenizer, "<s> IBM taught me GPT </s> <pad>") == ids("IBM taught me GPT")


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (True, True, "<s> IBM taught me GPT </s>"),
        (True, False, "<s> IBM taught me GPT"),
        (False, True, "IBM taught me GPT </s>"),
        (False, False, "IBM taught me GPT"),
    ],
)
def test_start_and_end_token_stand_where_they_are_wanted(start, end, expected):
    words, whole = typed_sequence(IBM.tokenizer, "IBM taught me GPT", start=start, end=end)
    assert words == ids("IBM taught me GPT")
    assert whole == with_edges(IBM.tokenizer, words, start=start, end=end) == ids(expected)


def test_a_vocabulary_without_special_tokens_gets_none():
    words = words_of(TEXT.tokenizer, "red old boat")
    assert with_edges(TEXT.tokenizer, words, start=True, end=True) == words
    assert len(words) == 3


def test_an_unknown_word_that_has_a_token_of_its_own_stays():
    tokenizer = WordTokenizer(["<unk>"], ["red", "old"])
    assert words_of(tokenizer, "red green") == [1, 0]


@pytest.mark.parametrize(
    ("corpus", "expected"),
    [
        ("ibm", ["word"]),
        ("story", ["word"]),  # though “a” is one letter
        ("recall", ["word"]),
        ("alphabet", ["word", "letter"]),
        ("reverse", ["word", "letter"]),
        ("count", ["word", "number"]),
    ],
)
def test_tokens_are_called_what_they_are(corpus, expected):
    tokenizer = load_corpus(corpus).tokenizer
    assert kinds(tokenizer) == expected
    assert kind(tokenizer, len(tokenizer.specials)) in expected


def test_characters_are_characters_even_if_they_are_letters():
    assert kinds(CharacterTokenizer.from_text("abc1"), [0, 3]) == ["character"]


def test_too_short_a_text_is_told_what_to_type():
    with pytest.raises(ValueError, match=r"type at least 1 word or letter$"):
        typed_sequence(load_corpus("alphabet").tokenizer, "", start=True, end=True)


@pytest.mark.parametrize(
    ("text", "start", "end", "said"),
    [
        ("", True, True, "is empty: type at least 1 word$"),
        ("IBM", False, False, "makes 1 token and leaves no target: type at least 2 words$"),
        ("", False, False, "is empty: type at least 2 words$"),
    ],
)
def test_a_text_without_a_target_is_refused(text, start, end, said):
    with pytest.raises(ValueError, match=said):
        typed_sequence(IBM.tokenizer, text, start=start, end=end)


def test_an_unknown_word_is_named():
    with pytest.raises(ValueError, match="origami"):
        typed_sequence(IBM.tokenizer, "IBM taught me origami", start=True, end=True)


def test_neighbours_as_they_come_are_the_first_examples():
    expected = [IBM.tokenizer.encode(text) for text in IBM.examples(POOL, 7)]
    assert neighbours(IBM, ids("IBM taught me GPT"), 5, seed=7) == expected[:5]
    assert neighbours(IBM, [], 5, seed=7) != neighbours(IBM, [], 5, seed=8)


def test_neighbours_like_the_first_row_are_as_long_as_it():
    for length in (4, 8):
        rows = neighbours(IBM, range(length), 6, "like the first row")
        assert [len(row) for row in rows] == [length] * 6


def test_very_different_neighbours_are_the_longest_and_the_shortest_in_turn():
    corpus = load_corpus("ibm-long")
    lengths = sorted(len(corpus.tokenizer.encode(text)) for text in corpus.examples(POOL, 0))
    found = [len(row) for row in neighbours(corpus, [], 6, "very different")]
    assert found == [lengths[-1], lengths[0], lengths[-2], lengths[1], lengths[-3], lengths[2]]
    every = neighbours(corpus, [], POOL, "very different")
    assert sorted(map(len, every)) == lengths  # each once


@pytest.mark.parametrize(
    ("count", "lengths"), [(-1, "as they come"), (POOL + 1, "as they come"), (2, "long")]
)
def test_impossible_wishes_about_neighbours_are_refused(count, lengths):
    with pytest.raises(ValueError, match=r"choose a number|use one of"):
        neighbours(IBM, [], count, lengths)


def test_a_batch_holds_every_row_shifted_and_padded():
    rows = [ids("<s> IBM taught me GPT </s>"), ids("<s> IBM taught me GPT letting me explore it </s>")]
    batch = as_batch(rows, IBM.tokenizer, IBM.context_length)
    assert batch.inputs.tolist() == [[*rows[0], 0, 0, 0], rows[1][:-1]]
    assert batch.targets.tolist() == [[*rows[0][1:], 0, 0, 0, 0], rows[1][1:]]
    assert batch.keep.sum(dim=1).tolist() == [5, 9]


def test_rows_longer_than_the_context_are_cut_to_one_token_more():
    batch = as_batch([ids("<s> IBM taught me GPT </s>")], IBM.tokenizer, 3)
    assert torch.equal(batch.targets, torch.tensor([ids("IBM taught me")]))


def test_without_a_padding_token_rows_are_cut_to_the_shortest():
    batch = as_batch([[0, 1, 2, 3], [3, 2, 1]], TEXT.tokenizer, 32)
    assert batch.inputs.tolist() == [[0, 1], [3, 2]]
    assert batch.targets.tolist() == [[1, 2], [2, 1]]
    assert bool(batch.keep.all())
