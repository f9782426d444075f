"""One decoder, two histories: what it is fed and what it pays with the truth, and with its own predictions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from decoder.language.batches import Batch
from decoder.model.decoder import Decoder
from decoder.training.loss import token_losses
from decoder.training.rollout import free_running, teacher_forced


class Slip(NamedTuple):
    """The first wrong prediction of a row; until then both histories are the same.

    Attributes:
        row: of the batch.
        time: index t of the token that was predicted wrongly.
        predicted: id of the prediction, which free running feeds next.
        truth: id of the true token, which teacher forcing feeds next.
        target: id of the token that has to be predicted then, with either history.
    """

    row: int
    time: int
    predicted: int
    truth: int
    target: int


class TwoHistories(NamedTuple):
    """What one decoder makes of a batch in two ways.

    Attributes:
        batch: the true tokens: its inputs are what teacher forcing feeds.
        own_inputs: what free running feeds, (B, T).
        true_losses: -ln p(target) with the true history, (B, T), nats; 0 where a target does not count.
        own_losses: the same with the own history.
    """

    batch: Batch
    own_inputs: Tensor
    true_losses: Tensor
    own_losses: Tensor

    def first_slip(self, rows: Iterable[int]) -> Slip | None:
        """Return the first wrong prediction of the first of these rows that has one and goes on after it."""
        truth, targets, keep = self.batch.inputs, self.batch.targets, self.batch.keep
        for row in rows:
            wrong = ((self.own_inputs[row] != truth[row]) & keep[row]).nonzero().flatten().tolist()
            if wrong:
                at = row, wrong[0]
                return Slip(*at, int(self.own_inputs[at]), int(truth[at]), int(targets[at]))
        return None

    def first_losses(self, row: int) -> tuple[float, float]:
        """Return what the first target that counts costs in a row, with the true and with the own history."""
        at = row, int(self.batch.keep[row].nonzero()[0])
        return self.true_losses[at].item(), self.own_losses[at].item()


@torch.no_grad()
def compare_histories(model: Decoder, batch: Batch) -> TwoHistories:
    """Let one decoder read a batch with the true history, and with its own most likely predictions."""
    true, own = teacher_forced(model, batch), free_running(model, batch, batch.prompt_lengths)
    return TwoHistories(batch, own.inputs, token_losses(true.logits, batch), token_losses(own.logits, batch))
