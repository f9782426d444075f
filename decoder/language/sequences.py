"""From a text to the rows of a batch: start and end token, neighbours from the corpus, one length for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from decoder.language.batches import Batch, pad_sequences
from decoder.language.corpora import Corpus
from decoder.language.tokenizer import Tokenizer

Lengths = Literal["as they come", "very different", "like the first row"]
POOL = 48
"""Sentences among which rows of certain lengths are looked for."""


def words_of(tokenizer: Tokenizer, text: str) -> list[int]:
    """Ids of a text without start, end and padding tokens, typed or not; ValueError for unknown words."""
    edges = {tokenizer.bos, tokenizer.eos, tokenizer.pad}
    return [token for token in tokenizer.encode(text) if token not in edges]


def with_edges(tokenizer: Tokenizer, words: Sequence[int], *, start: bool, end: bool) -> list[int]:
    """Put the start token before and the end token after the words, as far as the vocabulary has them."""
    before = [tokenizer.bos] if start and tokenizer.bos is not None else []
    after = [tokenizer.eos] if end and tokenizer.eos is not None else []
    return [*before, *words, *after]


def kind(tokenizer: Tokenizer, token: int) -> str:
    """Return what a token is called, one of them: "word", "letter", "number", "character" or "token".

    A vocabulary of words holds letters if most of its tokens are single ones.
    """
    if tokenizer.noun != "words":
        return tokenizer.noun.removesuffix("s")
    text = tokenizer.tokens[token]
    if text.isdecimal():
        return "number"
    ordinary = tokenizer.tokens[len(tokenizer.specials) :]
    return (
        "letter" if len(text) == 1 and 2 * sum(len(one) == 1 for one in ordinary) > len(ordinary) else "word"
    )


def kinds(tokenizer: Tokenizer, tokens: Sequence[int] | None = None) -> list[str]:
    """Return what these tokens are called, each kind once, words first; None: those of the whole vocabulary."""
    every = range(len(tokenizer.specials), tokenizer.vocab_size) if tokens is None else tokens
    return sorted({kind(tokenizer, token) for token in every}, key=lambda name: (name != "word", name))


def typed_sequence(tokenizer: Tokenizer, text: str, *, start: bool, end: bool) -> tuple[list[int], list[int]]:
    """Return the ids of a typed text without and with start and end token.

    Raises:
        ValueError: for words that are not in the vocabulary, and for a text too short to have a target.
    """
    words = words_of(tokenizer, text)
    whole = with_edges(tokenizer, words, start=start, end=end)
    if not words or len(whole) < 2:
        least = 1 if len(whole) > len(words) else 2
        ending = "s" if least > 1 else ""
        noun = " or ".join(name + ending for name in kinds(tokenizer))
        found = "makes 1 token and leaves no target" if words else "is empty"
        raise ValueError(f"the sentence {found}: type at least {least} {noun}")
    return words, whole


def neighbours(
    corpus: Corpus, first: Sequence[int], count: int, lengths: Lengths = "as they come", seed: int = 0
) -> list[list[int]]:
    """Draw rows of the corpus that stand in one batch with `first`: ids without special tokens.

    Args:
        corpus: where they come from.
        first: ids of the first row, whose length may be the measure.
        count: how many rows to draw.
        lengths: "as they come"; "very different", the longest and the shortest of 48 in turn; or
            "like the first row", those of 48 that are nearest to it in length.
        seed: of the draw.

    Raises:
        ValueError: for another wish about lengths, or if more rows are wanted than the pool has.
    """
    if lengths not in get_args(Lengths):
        raise ValueError(
            f"there is no choice {lengths!r} of lengths: use one of {', '.join(get_args(Lengths))}"
        )
    if not 0 <= count <= POOL:
        raise ValueError(f"{count} rows are wanted: choose a number from 0 to {POOL}")
    pool = [words_of(corpus.tokenizer, text) for text in corpus.examples(POOL, seed)]
    if lengths == "like the first row":
        pool.sort(key=lambda row: abs(len(row) - len(first)))
    elif lengths == "very different":
        pool.sort(key=len)
        pool = [pool[-1 - at // 2] if at % 2 == 0 else pool[at // 2] for at in range(POOL)]
    return pool[:count]


def as_batch(rows: Sequence[Sequence[int]], tokenizer: Tokenizer, context_length: int) -> Batch:
    """Shift rows of token ids into inputs and targets, (B, T) each with T at most `context_length`.

    Longer rows are cut to T+1 tokens. Shorter ones are padded; where the vocabulary has no padding token, all
    rows are cut to the shortest instead.
    """
    longest = context_length + 1
    if tokenizer.pad is None:
        longest = min(longest, *map(len, rows))
    return Batch.from_sequences(pad_sequences([row[:longest] for row in rows], tokenizer.pad), tokenizer.pad)
