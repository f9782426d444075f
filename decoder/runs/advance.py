"""A training goes on, one quantum at a time: a fraction of a second of updates, and one commit of all they gave."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from functools import lru_cache
from typing import NamedTuple

from decoder.config import TrainConfig
from decoder.model import checkpoint
from decoder.model.decoder import Decoder
from decoder.runs.store import History, State, Store
from decoder.training.evaluation import evaluate
from decoder.training.trainer import Trainer, TrainingDivergedError

QUANTUM_SECONDS = 0.25
HELD_RUNS = 16


class Progress(NamedTuple):
    """How far a run is; `done` means that nothing is left to train, because it finished or failed."""

    step: int
    done: bool


def advance(store: Store, run_id: str, quantum_seconds: float = QUANTUM_SECONDS) -> Progress:
    """Train a run for one quantum and commit what it gave; does nothing to a run that is done.

    This process holds the live trainings of the store it last worked for; see `Advancer`.
    """
    return _advancer(store).advance(run_id, quantum_seconds)


class Advancer:
    """Advances runs, and holds their live trainings between two quanta; one per thread.

    A run that is not held starts again from its configuration: the replay gives the same bits, so it only
    costs time. At most `HELD_RUNS` are held; whoever takes turns between more would never get ahead.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: OrderedDict[str, _Training] = OrderedDict()

    def advance(self, run_id: str, quantum_seconds: float = QUANTUM_SECONDS) -> Progress:
        """Train the run for one quantum and commit what it gave.

        What goes wrong in a training fails that run, with its sentence, after the updates made so far.
        """
        # Put back only after the commit: the row is the truth, and a training ahead of it would leave a gap.
        training = self._held.pop(run_id, None)
        run = self._store.run(run_id)
        if run.state in ("finished", "failed"):
            return Progress(run.step, done=True)
        history = History()
        state: State = "training"
        error = None
        try:
            training = training or _Training(run.config)
            training.advance(quantum_seconds, history)
            state = "finished" if training.done else "training"
        except (ValueError, TrainingDivergedError) as reason:
            state, error = "failed", str(reason)
        except Exception as reason:  # noqa: BLE001  # whatever it is, it must not take the other runs along
            state, error = "failed", f"{type(reason).__name__}: {reason}"
        self._store.commit(run_id, history, state, error)
        if training is not None and state == "training":
            self._held[run_id] = training
            if len(self._held) > HELD_RUNS:
                self._held.popitem(last=False)
        return Progress(self._store.run(run_id).step, done=state != "training")


class _Training:
    """A live trainer, and what of it is worth keeping.

    An evaluation takes as long as dozens of updates. So it waits, as `owed`, for the next quantum: the
    updates before it are committed first, and a new run's first point is seen at once.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.trainer = Trainer(config)
        self.snapshot_steps = snapshot_steps(config.steps)
        self.owed: list[tuple[int, Decoder]] = []

    @property
    def trained(self) -> bool:
        return self.trainer.step == self.trainer.config.steps

    @property
    def done(self) -> bool:
        return self.trained and not self.owed

    def advance(self, quantum_seconds: float, history: History) -> None:
        """Add one quantum to the history: evaluations owed, then updates, until the time is over or one is owed."""
        deadline = time.perf_counter() + quantum_seconds
        self._evaluate_owed(history)
        while not self.trained:
            if self.trainer.step == 0:
                history.snapshots[0] = checkpoint.save(self.trainer.model)
                config = self.trainer.config
                untrained = Decoder(config.decoder, seed=config.seed)  # the trainer's own is about to learn
                self.owed.append((0, untrained))
            history.updates.append(self.trainer.advance())
            if self.trainer.step in self.snapshot_steps:
                self._take_snapshot(history)
            if self.owed or time.perf_counter() >= deadline:
                break

    def _evaluate_owed(self, history: History) -> None:
        for step, model in self.owed:
            evaluation = evaluate(model, self.trainer.corpus)
            if not math.isfinite(evaluation.true_history_loss + evaluation.own_history_loss):
                raise self._diverged(f"the held-out loss is no longer finite after step {step}")
            history.evaluations[step] = evaluation
        self.owed.clear()

    def _take_snapshot(self, history: History) -> None:
        step, model = self.trainer.step, self.trainer.model
        if not all(weight.isfinite().all() for weight in model.parameters()):
            raise self._diverged(f"the weights are no longer finite after step {step}")
        history.snapshots[step] = checkpoint.save(model)
        self.owed.append((step, model))

    def _diverged(self, what: str) -> TrainingDivergedError:
        return TrainingDivergedError(
            f"{what}: choose a learning rate below {self.trainer.config.learning_rate:g}"
        )


def snapshot_steps(steps: int) -> frozenset[int]:
    """Return the steps at which a decoder is kept and evaluated: dense at the start, at most 20, and the last."""
    interval = 20 * math.ceil(steps / 300)
    wanted = (0, 5, 10, 20, 40, *range(interval, steps, interval))
    return frozenset({step for step in wanted if step < steps} | {steps})


@lru_cache(maxsize=1)
def _advancer(store: Store) -> Advancer:
    return Advancer(store)
