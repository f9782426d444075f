"""What a run's history is made of: a row per update, a row per evaluation, and the decoder's files."""

from __future__ import annotations

import hashlib
import math
import struct
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from torch import Tensor

from decoder.config import TrainConfig
from decoder.language import open_corpus
from decoder.training.evaluation import Evaluation
from decoder.training.trainer import TrainStep

ROW_BYTES = 120
"""Of one update or evaluation in the store, beside its losses per position."""

TENSOR_BYTES = 108
"""Of one tensor in the head of a file: its name, shape and place."""


class MetricsRow(NamedTuple):
    """One update: the fields of `TrainStep`; None at positions where nothing counts."""

    step: int
    loss: float
    loss_per_position: tuple[float | None, ...]
    tokens_seen: int
    seconds: float

    @classmethod
    def read(cls, row: Any) -> MetricsRow:
        """Return what a row of the table says."""
        losses = _unpack(row.loss_per_position)
        return cls(row.step, row.loss, losses, row.tokens_seen, row.seconds)


class EvaluationRow(NamedTuple):
    """The fields of `Evaluation` after `step` updates; None at positions where nothing counts."""

    step: int
    true_history_loss: float
    own_history_loss: float
    loss_per_position: tuple[float | None, ...]
    valid_share: float | None
    prompted_accuracy: float | None

    @classmethod
    def read(cls, row: Any) -> EvaluationRow:
        """Return what a row of the table says."""
        losses = _unpack(row.loss_per_position)
        return cls(
            row.step,
            row.true_history_loss,
            row.own_history_loss,
            losses,
            row.valid_share,
            row.prompted_accuracy,
        )


class Checkpoint(NamedTuple):
    """All that a training needs to go on after `step` updates: the `state` of its trainer."""

    step: int
    file: bytes

    @property
    def checksum(self) -> bytes:
        """What stands beside the file in the store, so that damage is seen."""
        return hashlib.blake2b(self.file, digest_size=16).digest()


class Costs(NamedTuple):
    """What a run takes of a worker's time, as measured lately, in seconds.

    Attributes:
        step_seconds: of one update.
        evaluation_seconds: of one evaluation; 0 before the first.
        turn_seconds: of the last quantum, with all that was done in it.
    """

    step_seconds: float
    evaluation_seconds: float
    turn_seconds: float


@dataclass
class History:
    """What one quantum adds to a run: its updates, by step the evaluations and snapshots, and where it stands."""

    updates: list[TrainStep] = field(default_factory=list)
    evaluations: dict[int, Evaluation] = field(default_factory=dict)
    snapshots: dict[int, bytes] = field(default_factory=dict)
    checkpoint: Checkpoint | None = None

    @property
    def last_step(self) -> int:
        """The last update of the quantum; 0 if it has none."""
        return self.updates[-1].step if self.updates else 0

    def metrics_rows(self) -> list[dict[str, Any]]:
        """Return the updates as rows of the table."""
        return [
            {
                "step": update.step,
                "loss": update.loss,
                "loss_per_position": _pack(update.loss_per_position),
                "tokens_seen": update.tokens_seen,
                "seconds": update.seconds,
            }
            for update in self.updates
        ]

    def evaluation_rows(self) -> list[dict[str, Any]]:
        """Return the evaluations as rows of the table."""
        return [
            {"step": step, **evaluation._asdict(), "loss_per_position": _pack(evaluation.loss_per_position)}
            for step, evaluation in self.evaluations.items()
        ]

    def snapshot_rows(self) -> list[dict[str, Any]]:
        """Return the snapshots as rows of the table."""
        return [{"step": step, "file": file} for step, file in self.snapshots.items()]


@lru_cache(maxsize=64)
def snapshot_steps(steps: int) -> frozenset[int]:
    """Return the steps at which a decoder is kept and evaluated: dense at the start, at most 20, and the last."""
    interval = 20 * math.ceil(steps / 300)
    wanted = (0, 5, 10, 20, 40, *range(interval, steps, interval))
    return frozenset({step for step in wanted if step < steps} | {steps})


def planned_bytes(config: TrainConfig, start: int = 0) -> int:
    """Return what a run takes in the store at its end, rather a little more than less.

    Args:
        config: what is trained.
        start: number of updates that it shares with its parent, in whose history they are kept.
    """
    shape = config.decoder
    kept = sum(step > start or not start for step in snapshot_steps(config.steps))
    file = 4 * shape.n_parameters + TENSOR_BYTES * (5 + 12 * shape.n_layers)
    files = kept + 3  # a checkpoint also holds two moments of every weight
    rows = config.steps - start + kept + 1  # a fork may evaluate its first decoder once more
    positions = min(shape.context_length, open_corpus(config.corpus, shape.context_length).context_length)
    return len(config.to_json()) + files * file + rows * (ROW_BYTES + 4 * positions)


def _pack(losses: Tensor) -> bytes:
    """Return (T,) float32 losses as little-endian bytes, nan included: SQLite would turn a nan into NULL."""
    return struct.pack(f"<{len(losses)}f", *losses.tolist())


def _unpack(losses: bytes) -> tuple[float | None, ...]:
    values = struct.unpack(f"<{len(losses) // 4}f", losses)
    return tuple(None if math.isnan(value) else value for value in values)
