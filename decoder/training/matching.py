"""Exact matches where the prompt decides the rest, counted apart for prompts in which a token comes twice."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from decoder.language.batches import Batch
from decoder.model.decoder import Decoder
from decoder.training.rollout import continue_rows


class Tally(NamedTuple):
    """How many of so many rows were continued without a mistake."""

    right: int
    rows: int

    @property
    def share(self) -> float:
        """From 0 to 1; nan without rows."""
        return self.right / self.rows if self.rows else float("nan")


class Matches(NamedTuple):
    """Exact matches of rows whose answer has all its tokens once, and of rows in which one comes twice or more."""

    different: Tally
    repeated: Tally

    @property
    def all(self) -> Tally:
        """Both kinds of rows together."""
        return Tally(*(sum(pair) for pair in zip(self.different, self.repeated, strict=True)))


@torch.no_grad()
def exact_matches(model: Decoder, batch: Batch) -> Matches:
    """Let the decoder write on greedily after each row's prompt, and count the rows whose every target it meets."""
    sequences = torch.cat((batch.inputs[:, :1], batch.targets), dim=1)  # (B, T+1)
    given = torch.arange(sequences.shape[1]) < batch.prompt_lengths[:, None]
    written = continue_rows(model, sequences, given, "greedy")  # (B, T+1)
    right = ((written[:, 1:] == batch.targets) | ~batch.keep).all(dim=1)  # (B,)
    repeated = has_repeats(batch)
    return Matches(*(Tally(int((right & kind).sum()), int(kind.sum())) for kind in (~repeated, repeated)))


def has_repeats(batch: Batch) -> Tensor:
    """Return for each row whether a target that counts comes more than once, (B,)."""
    answers = [targets[keep] for targets, keep in zip(batch.targets, batch.keep, strict=True)]
    return torch.tensor([len(answer.unique()) < len(answer) for answer in answers])
