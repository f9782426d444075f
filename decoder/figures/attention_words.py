"""Sentences of the attention page: what was mixed, what was added to what, and when a head began to look."""

from __future__ import annotations

import math
from collections.abc import Sequence

from decoder.figures.words import listed, number, percent

ROUNDING = 1e-4


def needed_sentence(
    labels: Sequence[str], places: Sequence[int], weight: float, *, has_grammar: bool, fits: bool
) -> str:
    """Say which earlier tokens tell what follows, and how much weight they get.

    Args:
        labels: the tokens that tell it are named by these.
        places: where they stand; empty if none does.
        weight: what they get together.
        has_grammar: whether the corpus has a grammar, so that this is known.
        fits: whether a sentence of the grammar begins so.
    """
    if not has_grammar:
        return "A text of one's own has no grammar, so nobody knows which token is needed."
    if not fits:
        return "No sentence of this corpus begins so: its grammar does not say what has to follow, and which token is needed."
    if not places:
        return "The grammar of this corpus lets chance or the template alone decide what follows here: no token is needed."
    named = listed([labels[place] for place in places])
    if len(places) == 1:
        return f"By the grammar {named} tells what has to follow (◆). This head puts {number(weight)} of its weight there."
    return (
        f"By the grammar {named} tell what has to follow (◆). This head puts {number(weight)} of its weight on them "
        "together."
    )


def mixture_sentence(label: str, symbol: str, count: int, width: int, difference: float) -> str:
    """Say that a head's output is the sum of its weighted values, with the difference just measured."""
    values = (
        f"{count} values, each multiplied with its weight"
        if count > 1
        else "the only value that is open to it"
    )
    added = (
        f"added up again just now, they differ from what the decoder computed by at most {number(difference)}"
    )
    return (
        f"{symbol}, the output of this head at {label}, is {width} numbers: the sum of {values}. "
        f"{added[0].upper()}{added[1:]}{_rounding(difference)}."
    )  # fmt: skip


def stages_sentence(
    layer: int, n_layers: int, n_heads: int, d_head: int, differences: tuple[float, float]
) -> str:
    """Say how heads become the output of a block, with the differences just measured."""
    projected, summed = differences
    goes = (
        "This was the last block: its output is h, and after the final norm the output layer reads it."
        if layer == n_layers - 1
        else f"This is what block {layer + 1} is given."
    )  # fmt: skip
    return (
        f"{n_heads} heads of {d_head} numbers stand beside each other: {n_heads * d_head} numbers. The output projection "
        f"mixes them; done again just now, it differs by at most {number(projected)}{_rounding(projected)}. Input + attention "
        f"output + MLP output is the block's output: the greatest difference is {number(summed)}{_rounding(summed)}. {goes}"
    )


def boxes_sentence(T: int, width: int, vocab_size: int, changes: Sequence[float]) -> str:
    """Say the shapes of h and z, and how far each block moves the vectors in the mean over the positions."""
    moved = listed([f"{number(change)} in block {layer}" for layer, change in enumerate(changes)])
    return (
        f"T = {T} positions, d = {width}, V = {vocab_size:,}: h is {T} × {width} = {T * width:,} numbers, one grey row per "
        f"position, and z is {T} × {vocab_size:,} = {T * vocab_size:,}, one red row each. What a block adds to a "
        f"vector has, in the mean over the positions, the length {moved}."
    )


def top_sentence(label: str, tokens: Sequence[tuple[str, float]], layers: int, n_layers: int) -> str:
    """Say what softmax(z) says at one position."""
    named = listed([f"“{token}” {percent(share)}" for token, share in tokens])
    read = (
        "softmax(z) gives"
        if layers == n_layers
        else f"if the output layer read the vectors after {layers} of {n_layers} blocks, it would give"
    )
    return f"At {label} {read} {named}."


def entropy_sentence(label: str, entropy: float, choices: int, most: str, share: float, even: float) -> str:
    """Say how widely a row looks, beside the widest that is possible, and which token gets most beyond an even share."""
    return (
        f"The row of {label} has an entropy of {number(entropy)} nats; looking equally at all {choices} open places "
        f"would be ln {choices} = {number(math.log(choices))}. Beyond what looking equally would give, this head looks "
        f"most at {most}: the rows that may look there give it {number(share)} in the mean, instead of {number(even)}."
    )


def appeared_sentence(
    layer: int,
    first: tuple[int, int] | None,
    last: tuple[int, float],
    step: int,
    places: Sequence[str],
    threshold: float = 0.5,
) -> str:
    """Say when a head of a layer first put more than a share of its weight on the needed token.

    Args:
        layer: whose heads were measured.
        first: the step and the head; None if none did.
        last: the strongest head at the newest measured step, and its weight.
        step: the newest measured step.
        places: the tokens that are needed.
        threshold: the share; above one half where looking equally at all tokens would give much already.
    """
    share = (
        "half of its weight"
        if threshold == 0.5
        else f"{number(threshold)} of its weight, half way from looking equally at all tokens to these alone,"
    )
    needed = listed(places) + " together" * (len(places) > 1)
    begins = (
        f"Among the decoders that were kept, the first in which a head of layer {layer} puts more than {share} on "
        f"{needed} is the one after {first[0]:,} updates: head {first[1]}."
        if first
        else f"No head of layer {layer} has put more than {share} on {needed}: not yet."
    )
    head, weight = last
    return f"{begins} After {step:,} updates the strongest is head {head}, with {number(weight)}."


def _rounding(difference: float) -> str:
    return "" if difference == 0 else ", which is rounding" if difference < ROUNDING else ""
