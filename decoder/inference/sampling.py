"""From logits to the next token: temperature, top-k, top-p, and one reproducible draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from decoder.config import Sampling

ROUNDING = 1e-12
"""A share that misses top-p by no more has reached it: eight tokens of a tenth each are four fifths."""


def distribution(logits: Tensor, sampling: Sampling) -> Tensor:
    """Return the probabilities (..., V) after temperature, then top-k, then top-p.

    Top-k keeps exactly k tokens, also on ties (the smaller id first). Top-p keeps the fewest tokens whose
    share of the whole vocabulary reaches p (Holtzman et al. 2020). What is cut off is exactly 0.
    """
    precise = logits.cpu().double()  # not every device has double precision
    centred = precise - precise.amax(dim=-1, keepdim=True)
    probabilities = torch.softmax(centred / sampling.temperature, dim=-1)
    if sampling.top_k is None and sampling.top_p is None:
        return probabilities.to(logits)
    ranked, order = probabilities.sort(dim=-1, descending=True, stable=True)
    if sampling.top_k is not None:
        ranked[..., sampling.top_k :] = 0
    if sampling.top_p is not None and sampling.top_p < 1:
        reached = ranked.cumsum(dim=-1) >= sampling.top_p - ROUNDING
        ranked[..., 1:][reached[..., :-1]] = 0  # the more likely tokens are enough
    kept = torch.zeros_like(probabilities).scatter(-1, order, ranked)
    return (kept / kept.sum(dim=-1, keepdim=True)).to(logits)


class Contest(NamedTuple):
    """The tokens with the largest logits, as if there were no others.

    Attributes:
        tokens: their ids, largest logit first.
        logits: of each.
        shares: their probabilities among each other, one tuple per temperature.
    """

    tokens: tuple[int, ...]
    logits: tuple[float, ...]
    shares: tuple[tuple[float, ...], ...]


def contest(logits: Tensor, count: int, temperatures: Sequence[float]) -> Contest:
    """Return what temperatures make of the `count` largest logits of one position, (V,)."""
    largest, tokens = logits.double().sort(descending=True, stable=True)
    shares = [distribution(largest[:count], Sampling(temperature)).tolist() for temperature in temperatures]
    return Contest(tuple(tokens[:count].tolist()), tuple(largest[:count].tolist()), tuple(map(tuple, shares)))


def draw(probabilities: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw one token id per row, (B, V) -> (B,): one uniform number each, looked up in the running sum.

    The numbers come from a CPU generator, so that every device draws the same tokens.
    """
    running = probabilities.cpu().double().cumsum(dim=-1)
    uniform = torch.rand(len(running), 1, dtype=torch.float64, generator=generator)
    ids = torch.searchsorted(running, uniform * running[:, -1:], right=True).squeeze(-1)
    # After a diverged training all probabilities are nan and no id fits: the loss is there to say so.
    return ids.clamp(max=probabilities.shape[-1] - 1).to(probabilities.device)
