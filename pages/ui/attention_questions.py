"""The check questions about attention, h and z, answered by computing: no answer is written down here."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence

from torch import equal

from decoder import next_token_loss
from decoder.figures.words import number
from decoder.model.decoder import Trace
from decoder.model.mixing import Mixture
from pages.ui.checks import Question

ASKED_WEIGHTS, ASKED_VALUES = (0.5, 0.3, 0.2), (2.0, 0.0, 10.0)
FIRST_VALUE, MEAN, OTHER = "exactly the first value, v₀", "the mean of all values", "something else"
ZERO, MORE = "exactly 0", "more than 0"
READ = {
    "contextual_embeddings": "h, the contextual embeddings",
    "logits": "z, the logits",
    "weights": "the weights",
}


def how_many_numbers(trace: Trace) -> Question:
    """C16: how many numbers are h and z of a sentence that is one token longer?"""
    T, width = trace.contextual_embeddings.shape[1:]
    vocab_size = trace.logits.shape[2]
    h, z = ((T + 1) * stage[0, 0].numel() for stage in (trace.contextual_embeddings, trace.logits))
    T += 1  # the numbers of the sentence itself stand above
    return Question(
        f"A sentence has one token more: T = {T}, with d = {width} and V = {vocab_size:,}. How many numbers is z?",
        z,
        f"z has one number per position and token of the vocabulary: {T} · {vocab_size:,} = {z:,}. "
        f"h has {T} · {width} = {h:,}.",
        lambda given: (
            f"{given:,} is h: T × d. The logits have one number for every token of the vocabulary."
            if given == h
            else f"z is a table of T rows with one number per token of the vocabulary, V = {vocab_size:,}."
        ),
        kind="number",
    )


def what_the_loss_reads() -> Question:
    """C16: which of them does the loss read? Answered by what the function of the loss is given."""
    (read,) = [READ[name] for name in inspect.signature(next_token_loss).parameters if name in READ]
    return Question(
        "Which of them does the loss read?",
        read,
        f"The function that computes it, next_token_loss, is given {read}, and the batch with its targets.",
        lambda given: f"The loss never sees {given}: only what is computed from them in the end, z.",
        options=list(READ.values()),
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
    right = (
        FIRST_VALUE
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
            if right == FIRST_VALUE
            else "this decoder has no mask, so the others take part."
        ),
        lambda _: (
            "Which tokens may the first one look at?"
            if right == FIRST_VALUE
            else "Without a mask row 0 looks at all tokens, each with its own weight."
        ),
        options=[FIRST_VALUE, MEAN, OTHER],
    )


def what_do_later_tokens_get(greatest: float) -> Question:
    """C26: which weight do later tokens get? `greatest` is measured over all heads and rows of the sentence."""
    right = ZERO if greatest == 0 else MORE
    return Question(
        "Which weight do tokens get that come later than the one that looks?",
        right,
        f"The greatest of all such weights, in all heads and rows of this sentence, is {number(greatest)}.",
        lambda _: (
            "Their scores are −∞ before the softmax, and e to that power is exactly 0."
            if right == ZERO
            else "This decoder was trained without the mask: nothing closes later tokens."
        ),
        options=[ZERO, MORE],
    )


def _series(values: Sequence[float]) -> str:
    return ", ".join(map(number, values))
