"""A training goes on, one quantum at a time: a fraction of a second of updates, and one commit of all they gave."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

from safetensors import SafetensorError

from decoder.config import TrainConfig
from decoder.model import checkpoint
from decoder.model.decoder import Decoder
from decoder.runs import leases
from decoder.runs.database import StoreError
from decoder.runs.history import Checkpoint, Costs, History, snapshot_steps
from decoder.runs.leases import Lease
from decoder.runs.schedule import QUANTUM_SECONDS
from decoder.runs.store import State, Store
from decoder.training.evaluation import evaluate
from decoder.training.trainer import Trainer, TrainingDivergedError

HELD_RUNS = 16
CHECKPOINT_SHARE = 0.025
"""Of the time spent training at most this much goes into checkpoints: they are as rare as they are dear."""

CHECKPOINT_BYTES_PER_SECOND = 3e8  # a first guess, until one has been written
NEWEST_SHARE = 0.1
"""What the newest update counts in the average of what one costs."""

SHORTER_AFTER_A_DEATH = 8
"""So much shorter is a quantum after a death: chance kills hit a short one rarely, a run that kills always."""


class Progress(NamedTuple):
    """How far a run is; `done` means that nothing is left to train, because it finished or failed."""

    step: int
    done: bool


def advance(store: Store, run_id: str, quantum_seconds: float = QUANTUM_SECONDS) -> Progress:
    """Train a run for one quantum and commit what it gave.

    Does nothing to a run that is done or paused, or that another worker has now.
    This process holds the live trainings of the store it last worked for; see `Advancer`.
    """
    return _advancer(store).advance(run_id, quantum_seconds)


class Advancer:
    """Advances runs, and holds the live trainings of the last `HELD_RUNS` of them; one per thread.

    A run that is not held goes on from its checkpoint: the replay from there gives the same bits.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._held: OrderedDict[str, _Training] = OrderedDict()

    def advance(self, run_id: str, quantum_seconds: float = QUANTUM_SECONDS) -> Progress:
        """Train the run for one quantum and commit what it gave.

        What goes wrong in a training fails that run, with its sentence, after the updates made so far.

        Raises:
            StoreError: if the store cannot be used; the run is as it was before.
        """
        # Put back only after the commit: the row is the truth, and a training ahead of it would leave a gap.
        training = self._held.pop(run_id, None)
        lease = leases.take(self.store, run_id)
        if lease is None:
            leases.bury_dead(self.store)
            lease = leases.take(self.store, run_id)
        if lease is not None:
            try:
                with leases.kept_alive(self.store, lease):
                    self._train(lease, training, quantum_seconds / SHORTER_AFTER_A_DEATH**lease.deaths)
            except StoreError:
                with suppress(StoreError):
                    leases.give_back(self.store, lease)
                raise
        step, now = self.store.progress(run_id)
        return Progress(step, done=now in {"finished", "failed"})

    def _train(self, lease: Lease, training: _Training | None, quantum_seconds: float) -> None:
        history = History()
        state: State = "training"
        error = None
        began = time.perf_counter()
        try:
            # Held too long: others have carried the run on, or it was removed and has begun anew.
            stale = training is not None and not (lease.checkpoint_step or 0) <= training.step <= lease.step
            if training is None or stale or lease.deaths:
                training = _Training(self.store, lease)
            training.advance(quantum_seconds, history, carefully=lease.deaths > 0)
            state = "finished" if training.done else "training"
            # One that stands behind the stored state found it damaged, and must not find it again.
            behind = training.step < (lease.checkpoint_step or 0)
            if training.checkpoint_due or lease.deaths or behind:
                history.checkpoint = training.checkpoint()
        except StoreError:
            raise
        except (ValueError, TrainingDivergedError) as reason:
            state, error = "failed", str(reason)
        except Exception as reason:  # noqa: BLE001  # whatever it is, it must not take the other runs along
            state, error = "failed", _explain(reason)
        ended = time.perf_counter()
        costs = training.costs(ended - began) if training is not None else None
        committed = leases.commit(self.store, lease, history, state, error=error, costs=costs)
        if committed and training is not None and state == "training":
            if history.checkpoint is not None:
                training.checkpoint_seconds += time.perf_counter() - ended
            self._held[lease.run_id] = training
            if len(self._held) > HELD_RUNS:
                self._held.popitem(last=False)


class _Training:
    """A live trainer, and what of it is worth keeping.

    An evaluation takes as long as dozens of updates. So the one that a quantum has no time left for waits, as
    `owed`, for the next; and so does the first of a run, so that its first point is seen at once.
    """

    def __init__(self, store: Store, lease: Lease) -> None:
        self._lineage = store.lineage(lease.run_id)
        self._start = self._lineage[-1].start  # up to here the history is the parent's
        self._steps = self._lineage[-1].config.steps
        self._snapshot_steps = snapshot_steps(self._steps)
        self._owed: list[tuple[int, Decoder]] = []
        self._trainer = self._resume(store, lease.run_id)
        self._checkpoint_at = self._trainer.seconds
        self.checkpoint_seconds = 12 * self._trainer.config.decoder.n_parameters / CHECKPOINT_BYTES_PER_SECOND
        self._step_seconds, self._evaluation_seconds, _ = lease.costs

    @property
    def step(self) -> int:
        """Number of updates made."""
        return self._trainer.step

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return self._trained and not self._owed

    @property
    def checkpoint_due(self) -> bool:
        """Whether enough was trained since the last checkpoint to pay for another, or all is."""
        return self.done or (
            self._trainer.seconds - self._checkpoint_at > self.checkpoint_seconds / CHECKPOINT_SHARE
        )

    def costs(self, turn_seconds: float) -> Costs:
        """Return what this run takes, after a quantum that took so long."""
        return Costs(self._step_seconds, self._evaluation_seconds, turn_seconds)

    def checkpoint(self) -> Checkpoint | None:
        """Return the state as it stands, and note what it costs; None if it is past all saving."""
        began = time.perf_counter()
        # Its next loss will fail the run, at the same step as ever; until then nobody could load this.
        if not self._trainer.is_finite:
            return None
        kept = Checkpoint(self._trainer.step, self._trainer.state)
        self._checkpoint_at = self._trainer.seconds
        self.checkpoint_seconds = time.perf_counter() - began
        return kept

    def advance(self, quantum_seconds: float, history: History, *, carefully: bool = False) -> None:
        """Add one quantum to the history: evaluations and updates in turns, until the time is over.

        `carefully`, after a death, an evaluation has a quantum to itself. So whatever killed the worker comes first
        in one sooner or later, and is known by killing again; and what others did since is kept before.
        """
        began = time.perf_counter()
        self._evaluate_owed(history, most=1 if carefully else None)
        if carefully and history.evaluations:
            return
        while not self._trained:
            self._begin_segment(history)
            self._update(history)
            if time.perf_counter() - began >= quantum_seconds:
                break
            if self._owed and (carefully or 0 in history.snapshots):
                break
            self._evaluate_owed(history)

    @property
    def _trained(self) -> bool:
        return self._trainer.step == self._steps

    def _resume(self, store: Store, run_id: str) -> Trainer:
        """Return a trainer at the last stored state; at the very beginning if there is none that is whole."""
        kept = leases.checkpoint(store, run_id)
        try:
            trainer = Trainer(self._config(kept.step), state=kept.file) if kept else Trainer(self._config(0))
            # At a fork the parent's evaluation may be missing, and for ever so if the parent is paused.
            last = max(trainer.step, self._start) or -1
            evaluated = {row.step for row in store.evaluations(run_id)}
            self._owed = [
                (step, store.model(run_id, step)[0])
                for step in store.snapshots(run_id)
                if step not in evaluated and step <= last
            ]
        except StoreError:
            raise
        except (ValueError, KeyError, SafetensorError):
            return Trainer(self._config(0))  # damaged, though its checksum fits
        return trainer

    def _config(self, step: int) -> TrainConfig:
        """Return the configuration by which the update after `step` is made."""
        return [segment.config for segment in self._lineage if segment.start <= step][-1]

    def _begin_segment(self, history: History) -> None:
        """Keep the untrained decoder, and go over to a fork's configuration where it begins."""
        trainer = self._trainer
        if trainer.step == 0 == self._start:
            history.snapshots[0] = checkpoint.save(trainer.model)
            untrained = Decoder(
                trainer.config.decoder, seed=trainer.config.seed
            )  # the live one is about to learn
            self._owed.append((0, untrained))
        config = self._config(trainer.step)
        if config != trainer.config:
            self._trainer = Trainer(config, state=trainer.state)

    def _update(self, history: History) -> None:
        before = self._trainer.seconds
        update = self._trainer.advance()
        # The first of all says more than any estimate did.
        newest_share = max(NEWEST_SHARE, 1 / update.step)
        self._step_seconds += newest_share * (update.seconds - before - self._step_seconds)
        if update.step > self._start:
            history.updates.append(update)
            if update.step in self._snapshot_steps:
                self._take_snapshot(history)

    def _evaluate_owed(self, history: History, most: int | None = None) -> None:
        for step, model in self._owed[:most]:
            began = time.perf_counter()
            evaluation = evaluate(model, self._trainer.corpus)
            self._evaluation_seconds = time.perf_counter() - began
            if not math.isfinite(evaluation.true_history_loss + evaluation.own_history_loss):
                raise self._trainer.diverged(f"the held-out loss is no longer finite after step {step}")
            history.evaluations[step] = evaluation
        del self._owed[:most]

    def _take_snapshot(self, history: History) -> None:
        step, model = self._trainer.step, self._trainer.model
        if not self._trainer.is_finite:
            raise self._trainer.diverged(f"the weights are no longer finite after step {step}")
        history.snapshots[step] = checkpoint.save(model)
        self._owed.append((step, model))


def _explain(error: Exception) -> str:
    if isinstance(error, MemoryError) or "allocate memory" in str(error):
        return (
            "the training needs more memory than a worker may take: "
            "choose a smaller decoder, batch or context"
        )
    return f"{type(error).__name__}: {error}"


@lru_cache(maxsize=1)
def _advancer(store: Store) -> Advancer:
    return Advancer(store)
