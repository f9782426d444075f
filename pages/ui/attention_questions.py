"""The check questions about attention, h and z, answered by computing: no answer is written down here."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence

from torch import equal

from decoder import next_token_loss
from decoder.figures.symbols import Term
from decoder.figures.target_words import counted
from decoder.figures.words import number
from decoder.model.decoder import Trace
from decoder.model.mixing import Mixture
from pages.ui import notation
from pages.ui.checks import Question

ASKED_WEIGHTS, ASKED_VALUES = (0.5, 0.3, 0.2), (2.0, 0.0, 10.0)
MEAN, OTHER = "the mean of all values", "something else"
ZERO, MORE = "exactly 0", "more than 0"


def called(term: Term, words: str) -> str:
    """Name something with its symbol in front, if the visitor wants symbols: "z, the logits"."""
    return words if notation.chosen() == "names" else f"{notation.name(term)}, {words}"


def what_shape(trace: Trace) -> Question:
    """C16: which shape has h?"""
    T, width = trace.contextual_embeddings.shape[1:]
    vocab_size = trace.logits.shape[2]
    right, of_logits = f"{T} × {width}", f"{T} × {vocab_size:,}"
    names = notation.chosen() == "names"
    return Question(
        f"{counted(T, 'position')}, a width of {width} and {vocab_size:,} tokens in the vocabulary: which shape have the "
        "contextual embeddings, rows × columns?"
        if names
        else f"T = {T}, d = {width} and V = {vocab_size:,}: which shape has h, rows × columns?",
        right,
        f"One row per position, as wide as the decoder: {right}. The logits have one number per token of the vocabulary: "
        f"{of_logits}."
        if names
        else f"One row per position, with d numbers: T × d = {right}. The logits are T × V = {of_logits}.",
        lambda given: (
            "That is the shape of the logits: one number per token of the vocabulary."
            if given == of_logits
            else f"The rows are the positions, each with a vector of {width} numbers."
        ),
        options=list(dict.fromkeys([f"{T} × {T}", of_logits, f"{width} × {T}", right])),
    )


def how_many_numbers(trace: Trace) -> Question:
    """C16: how many numbers are h and z of a sentence that is one token longer?"""
    T, width = trace.contextual_embeddings.shape[1:]
    vocab_size = trace.logits.shape[2]
    T += 1
    h, z = T * width, T * vocab_size
    names = notation.chosen() == "names"
    sizes, product, vocabulary = (
        (
            f"{T} tokens, with a width of {width} and {vocab_size:,} tokens in the vocabulary",
            "positions times width",
            f"{vocab_size:,}",
        )
        if names
        else (f"T = {T}, with d = {width} and V = {vocab_size:,}", "T × d", f"V = {vocab_size:,}")
    )
    table = f"a table with a row per position and one number per token of the vocabulary, {vocabulary}"
    return Question(
        f"A sentence has one token more: {sizes}. How many logits are there?",
        z,
        f"One per position and token of the vocabulary: {T} · {vocab_size:,} = {z:,}. The contextual embeddings have "
        f"{T} · {width} = {h:,} numbers.",
        lambda given: (
            f"{given:,} is what the contextual embeddings have, {product}. There is a logit for every token of the vocabulary."
            if given == h
            else f"The logits are {table}."
        ),
        kind="number",
    )


def what_the_loss_reads() -> Question:
    """C16: which of them does the loss read? Answered by what the function of the loss is given."""
    could_read = {
        "contextual_embeddings": called("contextual embeddings", "the contextual embeddings"),
        "logits": called("logits", "the logits"),
        "weights": "the weights",
    }
    (read,) = [
        could_read[name] for name in inspect.signature(next_token_loss).parameters if name in could_read
    ]
    return Question(
        "What does the loss read?",
        read,
        "The function that computes it, next_token_loss, is given the logits, and the batch with its targets.",
        lambda _: "The loss never sees them: only what is computed from them in the end, the logits.",
        options=list(could_read.values()),
    )


def what_is_the_sum() -> Question:
    """C26: three weights, three values: what is the output?"""
    products = [weight * value for weight, value in zip(ASKED_WEIGHTS, ASKED_VALUES, strict=True)]
    total, mean = math.fsum(products), math.fsum(ASKED_VALUES) / len(ASKED_VALUES)
    pairs = " + ".join(
        f"{number(weight)} · {number(value)}"
        for weight, value in zip(ASKED_WEIGHTS, ASKED_VALUES, strict=True)
    )
    return Question(
        f"A row has the weights {_series(ASKED_WEIGHTS)}; the values are {_series(ASKED_VALUES)}. What is the output?",
        total,
        f"{pairs} = {number(total)}.",
        lambda given: (
            "That is the mean of the values; here they count by their weights."
            if math.isclose(given, mean, abs_tol=0.05)
            else "That is the value with the largest weight alone; the others take part too."
            if given == ASKED_VALUES[0]
            else f"Multiply each value with its weight and add up: {pairs}."
        ),
        kind="number",
        digits=1,
    )


def what_is_row_0(first: Mixture) -> Question:
    """C26: what is the output of row 0?"""
    mean = first.values.mean(dim=0)
    first_value = f"exactly the first value, {notation.name('value', t=0)}"
    right = (
        first_value
        if equal(first.total, first.values[0])
        else MEAN
        if (first.total - mean).abs().max() == 0
        else OTHER
    )
    weight = first.weights[0].item()
    return Question(
        "What is the output of row 0 in this head?",
        right,
        f"Row 0 gives position 0 the weight {number(weight)}: "
        + (
            "nothing else is open to it, so its output is that value."
            if right == first_value
            else "this decoder has no mask, so the others take part."
        ),
        lambda _: (
            "Which tokens may the first one look at?"
            if right == first_value
            else "Without a mask row 0 looks at all tokens, each with its own weight."
        ),
        options=[first_value, MEAN, OTHER],
    )


def what_do_later_tokens_get(greatest: float, sentence: str = "this sentence") -> Question:
    """C26: which weight do later tokens get? `greatest` is measured over all heads and rows of a sentence."""
    right = ZERO if greatest == 0 else MORE
    return Question(
        "Which weight do tokens get that come later than the one that looks?",
        right,
        f"The greatest of all such weights, in all heads and rows of {sentence}, is "
        f"{ZERO if greatest == 0 else number(greatest)}.",
        lambda _: (
            "Their scores are −∞ before the softmax, and e to that power is exactly 0."
            if right == ZERO
            else "This decoder was trained without the mask: nothing closes later tokens."
        ),
        options=[ZERO, MORE],
    )


def _series(values: Sequence[float]) -> str:
    return ", ".join(map(number, values))
