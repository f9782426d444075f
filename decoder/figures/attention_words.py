"""Sentences of the attention page: what was mixed, what was added to what, and when a head began to look."""

from __future__ import annotations

import math
from collections.abc import Sequence

from decoder.figures.target_words import counted
from decoder.figures.words import listed, number, percent

ROUNDING = 1e-4


def share(weight: float) -> str:
    """The weight of a place among several open ones: none of them ever gets exactly 1, so a rounded 1 is not written."""
    return "more than 0.9999" if weight >= 0.99995 else number(weight)


def looks_sentence(
    labels: Sequence[str], weights: Sequence[float], row: int, layer: int, head: int, choices: int
) -> str:
    """Say where one token looks most, and how spread its attention is, over as many places as are open to it."""
    where = f"In layer {layer}, head {head}, token {labels[row]}"
    if choices == 1:
        return f"{where} can look only at itself, with a weight of 1."
    most = max(range(len(weights)), key=weights.__getitem__)
    entropy = -math.fsum(weight * math.log(weight) for weight in weights if weight > 0)
    spread = f"{math.exp(entropy):.1f}"
    return f"{where} looks most at {labels[most]}, with a weight of {share(weights[most])}. " + (
        "Hardly anything is left for the others."
        if spread == "1.0"
        else f"Its attention is spread as over {spread} equally strong places."
    )


def needed_sentence(
    labels: Sequence[str],
    places: Sequence[int],
    weight: float,
    possible: tuple[int, int] = (0, 0),
    *,
    has_grammar: bool,
    fits: bool,
) -> str:
    """Say on which earlier tokens the next one depends, what they leave possible, and how much weight they get.

    Args:
        labels: these tokens are named by them.
        places: where they stand; empty if there are none.
        weight: what they get together.
        possible: how many tokens may follow, and how many can ever stand there.
        has_grammar: whether the corpus has a grammar, so that this is known.
        fits: whether a sentence of the grammar begins so.
    """
    if not has_grammar:
        return "A text of one's own has no grammar, so nobody knows on which token the next one depends."
    if not fits:
        return "No sentence of this corpus begins so: its grammar does not say on which token the next one depends."
    if not places:
        return (
            "By the grammar of this corpus chance or the template alone decides what follows here: the next token depends on "
            "no earlier one."
        )
    left, ever = possible
    named, alone = listed([labels[place] for place in places]), len(places) == 1
    return (
        f"By the grammar the next token depends on {named} (◆), which {'leaves' if alone else 'leave'} {left} of the {ever} "
        f"tokens that can stand there. This head puts {share(weight)} of its weight "
        f"{'there' if alone else 'on them together'}."
    )


def mixture_sentence(label: str, symbol: str, count: int, width: int, difference: float) -> str:
    """Say that a head's output is the sum of its weighted values, with the difference just measured."""
    values = (
        f"the sum of {count} values, each multiplied with its weight. Added up again just now, it"
        if count > 1
        else "the only value that is open to it, with a weight of 1. Multiplied again just now, it"
    )
    named = (
        f"{symbol}, the output of this head at {label}," if symbol else f"The output of this head at {label}"
    )
    return f"{named} is {counted(width, 'number')}: {values} {_differs(difference)}."


def stages_sentence(
    layer: int, n_layers: int, n_heads: int, d_head: int, differences: tuple[float, float], output: str = "h"
) -> str:
    """Say how heads become the output of a block, with the differences just measured.

    Args:
        layer: of the block.
        n_layers: of the decoder.
        n_heads: of the block.
        d_head: numbers of each.
        differences: of the projection and of the sum, to what the decoder computed.
        output: what the output of the last block is called.
    """
    projected, summed = map(_differs, differences)
    goes = (
        f"This was the last block: its output is {output}, and after the final norm the output layer reads it."
        if layer == n_layers - 1
        else f"This is what block {layer + 1} is given."
    )  # fmt: skip
    heads = f"{counted(n_heads, 'head')} of {d_head} numbers"
    return (
        f"{heads} {'stand beside each other' if n_heads > 1 else 'stands alone'}: {n_heads * d_head} numbers. The output "
        f"projection mixes them; done again just now, the result {projected}. Input + attention output + MLP output is the "
        f"block's output: added up just now, the sum {summed}. {goes}"
    )


def _differs(difference: float) -> str:
    """How far something done again is from what the decoder computed."""
    if difference == 0:
        return "differs from the decoder's by exactly 0"
    rounding = ", which is rounding" if difference < ROUNDING else ""
    return f"differs from the decoder's by at most {number(difference)}{rounding}"


def boxes_sentence(T: int, changes: Sequence[float]) -> str:
    """Say how many boxes and rows there are, and how far each block moves the vectors in the mean over the positions."""
    lengths = listed([f"{number(change)} in block {layer}" for layer, change in enumerate(changes)])
    each, mean = (
        (f"Each of the {T} positions", ", in the mean over the positions,")
        if T > 1
        else ("The one position", "")
    )
    return (
        f"{each} has one grey box and one red row: the box is normalised once more, and from that the output layer makes the "
        f"row. What a block adds to a vector has{mean} a length of {lengths}."
    )


def top_sentence(
    label: str, tokens: Sequence[tuple[str, float]], layers: int, n_layers: int, z: str = "z"
) -> str:
    """Say what the softmax of the logits, which are called `z`, says at one position."""
    named = listed([f"“{token}” {percent(probability)}" for token, probability in tokens])
    read = (
        f"softmax({z}) gives"
        if layers == n_layers
        else f"final norm and output layer, given the vectors after {layers} of {n_layers} blocks, would make"
    )
    return f"At {label} {read} {named}."


def entropy_sentence(label: str, entropy: float, choices: int) -> str:
    """Say how widely a row looks, beside the widest that is possible."""
    if choices == 1:
        return f"The row of {label} has one open place and so no choice: its entropy is 0."
    return (
        f"The row of {label} has an entropy of {number(entropy)} nats; looking equally at all {choices} open places "
        f"would be ln {choices} = {number(math.log(choices))}."
    )


def most_sentence(most: str, mean: float, even: float, rows: int) -> str:
    """Say which token gets most beyond an even share.

    Args:
        most: the token.
        mean: weight that it gets from the rows that may look at it and have a choice, in the mean.
        even: the same if they looked equally at all that is open to them.
        rows: how many rows these are.
    """
    who = f"the {rows} rows that have a choice and may look there give it {share(mean)} in the mean"
    if rows == 1:
        who = f"the one row that has a choice and may look there, a single example, gives it {share(mean)}"
    return f"Beyond what looking equally would give, this head looks most at {most}: {who}, instead of {share(even)}."


def appeared_sentence(
    layer: int,
    first: tuple[int, Sequence[int]] | None,
    last: tuple[int, float],
    step: int,
    places: Sequence[str],
    threshold: float = 0.5,
) -> str:
    """Say when a head of a layer first put more than a share of its weight on what the next token depends on.

    Args:
        layer: whose heads were measured.
        first: the step and the heads that did then; None if none did.
        last: the strongest head at the newest measured step, and its weight.
        step: the newest measured step.
        places: the tokens on which the next one depends.
        threshold: the share; above one half where looking equally at all tokens would give much already.
    """
    bar = (
        "half of its weight"
        if threshold == 0.5
        else f"{number(threshold)} of its weight, half way from looking equally at all tokens to these alone,"
    )
    needed = listed(places) + " together" * (len(places) > 1)
    begins = (
        f"Among the decoders that were kept, the first in which a head of layer {layer} puts more than {bar} on "
        f"{needed} is the one after {first[0]:,} updates: {'head' if len(first[1]) == 1 else 'heads'} "
        f"{listed([str(head) for head in first[1]])}."
        if first
        else f"No head of layer {layer} has put more than {bar} on {needed}: not yet."
    )
    head, weight = last
    return f"{begins} After {step:,} updates the strongest is head {head}, with {share(weight)}."
