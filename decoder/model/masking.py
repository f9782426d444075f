"""The mask taken apart: single cells opened and closed, and wrong ways to mask beside the right one, each measured."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from decoder.model.attention import causal_mask
from decoder.model.decoder import BlockTrace, Decoder, KeyValueCache

Way = Literal["minus infinity", "finite number", "zero before", "zero after", "no mask"]
"""How closed cells are kept out: the right way first, then ways that are found in published code."""

FINITE = -10.0
MOST_REPLACEMENTS = 128
"""Tokens that are tried in the place of the last one, at most."""


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
        moved: greatest change of any result (weights times values) of an earlier row, whatever token replaces the last one.
        by: id of the token that brings this change about; None if none does.
        tried: how many other tokens were put in the place of the last one.
    """

    closed_share: float
    sums: tuple[float, ...]
    moved: float
    by: int | None = None
    tried: int = 0


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
def mask_row(
    scores: Sequence[float], row: int, way: Way = "minus infinity", finite: float = FINITE
) -> Stages:
    """Turn the scores of one row of a causal matrix into weights, (K,) each, in double precision.

    Args:
        scores: of the row, one per key.
        row: which row it is: keys 0 to `row` are open, later ones closed.
        way: see `mask_scores`.
        finite: see `mask_scores`.
    """
    mask = causal_mask(len(scores))[row : row + 1]  # (1, K)
    stages = mask_scores(torch.tensor([scores], dtype=torch.float64), mask, way, finite)
    return Stages(*(stage[0] for stage in stages))


def first_scores(scores: Tensor, count: int, reach: float) -> list[float]:
    """Return the first scores of a row (K,), at most `reach` away from 0; 0 where the row has no more."""
    taken: list[float] = torch.nan_to_num(scores[:count].double(), nan=0.0).clamp(-reach, reach).tolist()
    return taken + [0.0] * (count - len(taken))


@torch.no_grad()
def measure_leaks(
    model: Decoder, tokens: Tensor, layer: int, head: int, finite: float = FINITE
) -> dict[Way, Leak]:
    """Mask one head in every way, all layers below it rightly, and measure what comes through from the future.

    In double precision, so that what is found is no rounding.

    Args:
        model: the decoder.
        tokens: ids, (1, T).
        layer: of the head.
        head: the head.
        finite: see `mask_scores`.
    """
    model, mask = copy.deepcopy(model).double(), causal_mask(tokens.shape[1])
    blocks = model.trace(tokens, mask=mask).blocks[: layer + 1]
    others = _others(int(tokens[0, -1]), model.config.vocab_size)
    last = _with_last(model, blocks, [int(tokens[0, -1]), *others])
    key, value = (
        last.key[:, head],
        last.value[:, head],
    )  # (R, T, D), first those of the token that really stands there
    query = blocks[layer].query[
        0, head, :-1
    ]  # of earlier rows, which no later token has reached so far, (T-1, D)
    earlier = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)  # (R, T-1, T)
    leaks: dict[Way, Leak] = {}
    for way in get_args(Way):
        weights = mask_scores(blocks[layer].attention.scores[0, head], mask, way, finite).weights
        mixed = mask_scores(earlier, mask[:-1], way, finite).weights @ value  # (R, T-1, D)
        moved = [change.abs().max().item() if change.numel() else 0.0 for change in mixed[1:] - mixed[0]]
        most = max(moved, default=0.0)
        leaks[way] = Leak(
            closed_share=(weights[~mask].sum() / weights.sum()).item(),
            sums=tuple(weights.sum(dim=-1).tolist()),
            moved=most,
            by=others[moved.index(most)] if most else None,
            tried=len(others),
        )
    return leaks


def _others(token: int, vocab_size: int) -> list[int]:
    """All other tokens; of a large vocabulary some, evenly spread."""
    others = [other for other in range(vocab_size) if other != token]
    return others[:: -(-len(others) // MOST_REPLACEMENTS) or 1]


def _with_last(model: Decoder, blocks: Sequence[BlockTrace], tokens: Sequence[int]) -> BlockTrace:
    """The last of these blocks, with each of these tokens (R of them) at the last position; the mask holds in all.

    Earlier positions do not notice, so their keys and values are taken from the blocks, (1, H, T, D) each.
    """
    past = blocks[0].key.shape[2] - 1
    cache = KeyValueCache(model.config, len(tokens), model.device, model.dtype)
    for layer, block in enumerate(blocks):
        cache.append(layer, block.key[:, :, :past], block.value[:, :, :past])
    cache.length = past
    x = model.token_table.weight[[*tokens], None] + model.position_table[past]  # (R, 1, C)
    for layer in range(len(blocks)):
        trace: BlockTrace = model.blocks[layer](x, None, layer, cache)
        x = trace.output
    return trace


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
