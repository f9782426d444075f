"""How a decoder reads a batch: the loss of every target, one loss spelled out, and what padding would do to the mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from decoder.language.batches import Batch
from decoder.model.decoder import Decoder
from decoder.training.loss import mean_loss, token_losses
from decoder.training.rollout import teacher_forced


class Reading(NamedTuple):
    """What a decoder says to a batch of true tokens.

    Attributes:
        logits: (B, T, V).
        losses: -ln p(target) of every cell that counts, (B, T), nats; 0 where the target is padding.
        probabilities: e^-loss, the probability of every target that counts, (B, T); 1 for padding.
        row_means: mean loss of each row's own targets, (B,), nats; nan for a row without targets.
        pad_losses: what the decoder would pay for each padded target, (number of pads,), nats.
        real: number of targets that count.
        cells: number of targets, padding included.
        loss: the sum of the losses divided by `real`, as in training.
        padded_loss: the same sum divided by `cells`: the mean if pads counted and cost nothing.
        uniform_loss: ln V, the loss of guessing among all tokens, nats.
    """

    logits: Tensor
    losses: Tensor
    probabilities: Tensor
    row_means: Tensor
    pad_losses: Tensor
    real: int
    cells: int
    loss: float
    padded_loss: float
    uniform_loss: float


@torch.no_grad()
def read(model: Decoder, batch: Batch) -> Reading:
    """Let the decoder read the true tokens of a batch, as teacher forcing does."""
    logits = teacher_forced(model, batch).logits
    losses = token_losses(logits, batch)
    everything = token_losses(logits, replace(batch, keep=torch.ones_like(batch.keep)))
    return Reading(
        logits=logits,
        losses=losses,
        probabilities=(-losses).exp(),
        row_means=losses.sum(dim=1) / batch.keep.sum(dim=1),
        pad_losses=everything[~batch.keep],
        real=int(batch.keep.sum()),
        cells=batch.keep.numel(),
        loss=mean_loss(losses, batch).item(),
        padded_loss=losses.mean().item(),
        uniform_loss=math.log(logits.shape[2]),
    )


@torch.no_grad()
def after_prefix(model: Decoder, tokens: Sequence[int], target: int) -> float:
    """Return the probability of `target` after these ids alone: nothing stands behind them that could be read."""
    return float(model(torch.tensor([list(tokens)]))[0, -1].softmax(dim=0)[target])


class TargetArithmetic(NamedTuple):
    """How the loss of one target comes about: -ln p(target) = ln(sum of e^z) - z(target).

    Attributes:
        target: its id.
        logits: all of them, (V,).
        probabilities: their softmax, (V,).
        logit: z of the target.
        log_total: natural logarithm of the sum of e^z over the vocabulary.
        loss: log_total - logit, nats.
        rank: place of the target among all tokens by logit, 1 for the largest.
        shown: ids of the tokens with the largest logits, largest first, and of the target in any case.
    """

    target: int
    logits: tuple[float, ...]
    probabilities: tuple[float, ...]
    logit: float
    log_total: float
    loss: float
    rank: int
    shown: tuple[int, ...]


def target_arithmetic(logits: Tensor, target: int, shown: int = 6) -> TargetArithmetic:
    """Spell out the loss of `target` from one row of logits, (V,), with the `shown` largest of them."""
    row = logits.detach().double()
    log_total = row.logsumexp(dim=0).item()
    order = row.argsort(descending=True, stable=True).tolist()
    rank = order.index(target) + 1
    return TargetArithmetic(
        target=target,
        logits=tuple(row.tolist()),
        probabilities=tuple(row.softmax(dim=0).tolist()),
        logit=row[target].item(),
        log_total=log_total,
        loss=log_total - row[target].item(),
        rank=rank,
        shown=tuple(order[:shown] if rank <= shown else [*order[: shown - 1], target]),
    )


@torch.no_grad()
def replace_token(model: Decoder, batch: Batch, row: int, position: int, token: int) -> Tensor:
    """Replace one input and read the batch again.

    Returns:
        The greatest absolute change of the logits at every position of every row, (B, T).
    """
    changed = batch.inputs.clone()
    changed[row, position] = token
    before, after = model.trace(batch.inputs), model.trace(changed)
    return (after.logits - before.logits).abs().amax(dim=2)
