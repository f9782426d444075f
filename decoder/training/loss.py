"""The loss: the mean of -ln p(true next token) over all real targets, in nats per token."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from decoder.language.batches import Batch


def token_losses(logits: Tensor, batch: Batch) -> Tensor:
    """Return -ln p(target) of every cell, (B, T), in nats; cells that do not count are 0."""
    losses = functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), reduction="none")
    return torch.where(batch.keep, losses.view_as(batch.targets), 0)


def next_token_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Return the mean over kept positions, a scalar in nats per token.

    Raises:
        ValueError: if the batch keeps no position at all.
    """
    return mean_loss(token_losses(logits, batch), batch)


def mean_loss(losses: Tensor, batch: Batch) -> Tensor:
    """Return the sum of token losses (B, T) divided by the number of kept positions."""
    kept = batch.keep.sum()
    if kept == 0:
        raise ValueError("the batch has 0 targets that count: every cell is padding or part of a prompt")
    return losses.sum() / kept


def loss_by_position(losses: Tensor, batch: Batch) -> Tensor:
    """Return the mean of token losses (B, T) at each position, (T,); nan where no row has a target."""
    kept = batch.keep.sum(dim=0)
    return torch.where(kept > 0, losses.detach().sum(dim=0) / kept, torch.nan)
