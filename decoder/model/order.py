"""Does a decoder notice the order of its inputs? All tokens before the last one are shuffled, and its logits compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import torch

from decoder.config import DecoderConfig, Positions
from decoder.model.decoder import Decoder
from decoder.seeds import generator_for

ROUNDING = 1e-4
"""Changes of logits below this come from adding the same numbers in another order."""


class OrderProbe(NamedTuple):
    """The logits after the last token, before and after the others were shuffled.

    Attributes:
        before: (V,).
        after: (V,).
        change: greatest absolute difference of the two.
    """

    before: tuple[float, ...]
    after: tuple[float, ...]
    change: float


@torch.no_grad()
def probe_order(model: Decoder, tokens: Sequence[int], shuffled: Sequence[int]) -> OrderProbe:
    """Let the decoder read the same tokens in two orders."""
    before, after = model(torch.tensor([list(tokens), list(shuffled)]))[:, -1]  # (V,) each
    return OrderProbe(
        tuple(before.tolist()), tuple(after.tolist()), change=float((after - before).abs().max())
    )


def shuffle_before_last(tokens: Sequence[int], seed: int = 0) -> list[int]:
    """Return the ids with all but the last in another order.

    Raises:
        ValueError: if there is no other order.
    """
    before = list(tokens[:-1])
    if len(set(before)) < 2:
        raise ValueError(
            f"before the last token stands {len(set(before))} different one, which has no other order: type a sentence with at "
            "least 2 different ones there"
        )
    generator = generator_for(seed, 0, "shuffle")
    shuffled = before
    while shuffled == before:  # at most every second time: the loop ends
        shuffled = [before[at] for at in torch.randperm(len(before), generator=generator).tolist()]
    return [*shuffled, tokens[-1]]


def untrained(shape: DecoderConfig, n_layers: int, positions: Positions, seed: int) -> Decoder:
    """Return a decoder of this width with so many layers, such positions, a causal mask and random weights."""
    return Decoder(dataclasses.replace(shape, n_layers=n_layers, positions=positions, causal=True), seed=seed)
