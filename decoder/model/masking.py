"""The mask taken apart: single cells opened and closed, and wrong ways to mask beside the right one, each measured."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from decoder.model.attention import causal_mask
from decoder.model.decoder import BlockTrace, Decoder

Way = Literal["minus infinity", "finite number", "zero before", "zero after", "no mask"]
"""How closed cells are kept out: the right way first, then ways that are found in published code."""

FINITE = -10.0


class Stages(NamedTuple):
    """What becomes of scores, (..., T, K) each; to be looked at, without gradients.

    Attributes:
        scores: before the mask.
        masked_scores: what the softmax is given.
        exponentials: e to the power of these.
        weights: what the values are multiplied with.
    """

    scores: Tensor
    masked_scores: Tensor
    exponentials: Tensor
    weights: Tensor


class Leak(NamedTuple):
    """What one way of masking lets through.

    Attributes:
        closed_share: share of all weight that lies on closed cells.
        sums: the weights of each row added up, (T,).
        moved: greatest change of any result (weights times values) of an earlier row when the last token is replaced.
    """

    closed_share: float
    sums: tuple[float, ...]
    moved: float


@torch.no_grad()
def mask_scores(scores: Tensor, mask: Tensor, way: Way = "minus infinity", finite: float = FINITE) -> Stages:
    """Turn scores into weights, keeping closed cells out in one of the ways.

    Args:
        scores: (..., T, K).
        mask: (T, K) bool, True = may look.
        way: "minus infinity" is what `attend` does.
        finite: what "finite number" puts in the place of minus infinity.
    """
    if way not in get_args(Way):
        raise ValueError(f"there is no way {way!r} to mask: use one of {', '.join(get_args(Way))}")
    fills: dict[Way, float] = {"minus infinity": -torch.inf, "finite number": finite, "zero before": 0.0}
    masked_scores = scores.masked_fill(~mask, fills[way]) if way in fills else scores
    weights = torch.softmax(masked_scores, dim=-1)
    if way == "zero after":
        weights = weights * mask
    return Stages(scores.detach(), masked_scores.detach(), masked_scores.double().exp(), weights)


@torch.no_grad()
def measure_leaks(
    model: Decoder, tokens: Tensor, layer: int, head: int, finite: float = FINITE
) -> dict[Way, Leak]:
    """Mask one head in every way, all layers below it rightly, and measure what comes through from the future.

    Args:
        model: the decoder.
        tokens: ids, (1, T).
        layer: of the head.
        head: the head.
        finite: see `mask_scores`.
    """
    mask = causal_mask(tokens.shape[1])
    changed = tokens.clone()
    changed[0, -1] = (changed[0, -1] + 1) % model.config.vocab_size
    before, after = (model.trace(ids, mask=mask).blocks[layer] for ids in (tokens, changed))
    leaks: dict[Way, Leak] = {}
    for way in get_args(Way):
        weights, mixed = _mixed(before, head, mask, way, finite)
        moved = (_mixed(after, head, mask, way, finite)[1] - mixed)[:-1].abs()  # (T-1, D)
        leaks[way] = Leak(
            closed_share=(weights[~mask].sum() / weights.sum()).item(),
            sums=tuple(weights.double().sum(dim=-1).tolist()),
            moved=moved.max().item() if moved.numel() else 0.0,
        )
    return leaks


def _mixed(block: BlockTrace, head: int, mask: Tensor, way: Way, finite: float) -> tuple[Tensor, Tensor]:
    """Return the weights of one head, (T, T), and its results, (T, D)."""
    weights = mask_scores(block.attention.scores[0, head], mask, way, finite).weights
    return weights, weights @ block.value[0, head]


def flip_cells(mask: Tensor, cells: Iterable[tuple[int, int]]) -> Tensor:
    """Open the closed ones of these cells, (row, column), and close the open ones.

    Raises:
        ValueError: if a row is closed entirely then: softmax over nothing has no answer.
    """
    flipped = mask.clone()
    for row, column in cells:
        flipped[row, column] = ~flipped[row, column]
    closed = (~flipped.any(dim=-1)).nonzero().flatten().tolist()
    if closed:
        raise ValueError(
            f"row {closed[0]} would have 0 of its {mask.shape[1]} cells open, and a softmax over nothing has no "
            "answer: open another cell of this row first"
        )
    return flipped


@torch.no_grad()
def causal_effect(model: Decoder, tokens: Tensor, position: int, token: int, mask: Tensor) -> Tensor:
    """Replace one token and compare the logits.

    Args:
        model: the decoder.
        tokens: ids, (1, T).
        position: where a token is replaced.
        token: its replacement.
        mask: (T, T) bool, True = may look; in every layer and head.

    Returns:
        The greatest change of any logit at each position, (T,): exactly 0 where the mask lets nothing through.
    """
    changed = tokens.clone()
    changed[0, position] = token
    before, after = (model.trace(ids, mask=mask).logits[0] for ids in (tokens, changed))  # (T, V)
    return (after - before).abs().amax(dim=-1)
