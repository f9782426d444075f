"""Scaled dot-product attention as a pure function that returns every stage the lecture draws."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Attention(NamedTuple):
    """The four stages of one attention; K is the number of keys, T in a parallel pass.

    Attributes:
        scores: query . key / sqrt(D) for every pair, (B, H, T, K).
        masked_scores: the same with minus infinity where the query may not look, (B, H, T, K).
        weights: softmax over the keys; rows sum to 1, masked cells are exactly 0, (B, H, T, K).
        context: sum of the values with these weights, (B, H, T, D).
    """

    scores: Tensor
    masked_scores: Tensor
    weights: Tensor
    context: Tensor


def causal_mask(length: int) -> Tensor:
    """Return the (T, T) mask in which each position may look at itself and the past (True = may look)."""
    return torch.ones(length, length, dtype=torch.bool).tril()


class AdditiveMask(NamedTuple):
    """A mask as it is added to scores, so that many layers need not make it anew.

    Adding masks exactly, and, unlike filling, costs nothing in the backward pass.

    Attributes:
        addend: 0 where a query may look and minus infinity elsewhere, broadcastable to (B, H, T, K).
    """

    addend: Tensor

    @classmethod
    def of(cls, mask: Tensor, dtype: torch.dtype) -> AdditiveMask:
        """Make it of a mask of booleans, (..., T, K), True = may look.

        Raises:
            ValueError: if a row of the mask is closed entirely, or if it holds anything but booleans.
        """
        if mask.dtype != torch.bool:
            raise ValueError(f"the mask holds {mask.dtype}: give booleans, True where a query may look")
        closed = ~mask.any(dim=-1)
        if closed.any():
            row = int(closed.nonzero()[0, -1])
            raise ValueError(f"row {row} of the mask is closed entirely: open at least one cell in it")
        return cls(torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, -torch.inf))


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | AdditiveMask | None = None) -> Attention:
    """Let every query look at the keys that the mask opens, and mix the values accordingly.

    Args:
        query: (B, H, T, D).
        key: (B, H, K, D).
        value: (B, H, K, D).
        mask: bool, broadcastable to (B, H, T, K), True = may look; None opens every cell.

    Raises:
        ValueError: if a row of the mask is closed entirely: softmax over nothing has no answer.

    Source: Vaswani et al. 2017, Attention Is All You Need, section 3.2.1.
    """
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)  # (B, H, T, K)
    if isinstance(mask, Tensor):
        mask = AdditiveMask.of(mask, scores.dtype)
    masked_scores = scores if mask is None else scores + mask.addend
    weights = torch.softmax(masked_scores, dim=-1)
    return Attention(scores, masked_scores, weights, context=weights @ value)
