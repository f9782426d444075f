"""Whose turn it is: first points first, then what many wait for and soon ends, and everybody's fair share.

`choose` is a pure function of the runs as they stand; a forecast is the same function, played on in thought.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import sqlalchemy as sql

from decoder.runs.leases import RUNNABLE, worker_name
from decoder.runs.store import LOOKING_SECONDS, WATCHED_SECONDS, Store
from decoder.runs.tables import RUNS, VIEWS

QUANTUM_SECONDS = 0.25
FIRST_QUANTUM_SECONDS = 0.02
"""A new run gets its first point at once, and thirty new runs get theirs within a second."""

MOST_ACTIVE = 4
"""Runs per viewer that share the workers; a viewer's later ones wait for the earlier."""

ROUND_ROBIN_EVERY = 4
HAND_OVER_SECONDS = 0.1
"""A worker leaves a run this long to the one that trained it last and holds its state."""

FORECAST_QUANTA = 400
NOBODY = ""


class Candidate(NamedTuple):
    """A run that is not at its end.

    Attributes:
        run_id: the run.
        viewers: who has looked at it lately, and whether they still do; {"": True} for one that nobody has ever looked at.
        remaining_seconds: of training, until its end.
        quanta: that it has had.
        advanced: when it had the last one, any clock.
        created: when it was asked for, the same clock.
        free: whether it may be taken now; else a worker has it.
        worker: who has it, or had it last.
    """

    run_id: str
    viewers: Mapping[str, bool]
    remaining_seconds: float
    quanta: int
    advanced: float
    created: float
    free: bool = True
    worker: str | None = None


class Forecast(NamedTuple):
    """Seconds from now until a run's next point, and until its end."""

    next_point: float
    end: float


def choose(candidates: Sequence[Candidate], turn: int) -> Candidate | None:
    """Return whose quantum comes next; None if nothing may be taken.

    1. A run that has had none yet, the oldest first.
    2. Every fourth turn the run that has waited longest, so that nothing starves.
    3. Else the run with the highest watchers / remaining seconds. A viewer counts as a whole for one run and
       as a part of her for each of several: nobody gets more by asking for more.

    Runs above a viewer's `MOST_ACTIVE` have their turn only where a worker would otherwise have nothing to do.

    Args:
        candidates: all runs that are not at their end, also those that workers have now.
        turn: a counter.
    """
    load = shares(candidates)
    free = [run for run in candidates if run.free]
    if not free:
        return None
    free = [run for run in free if run.run_id in load] or free
    new = [run for run in free if not run.quanta]
    if new:
        return min(new, key=lambda run: (run.created, run.run_id))
    if turn % ROUND_ROBIN_EVERY == ROUND_ROBIN_EVERY - 1:
        return min(free, key=lambda run: (run.advanced, run.run_id))
    return max(free, key=lambda run: (load.get(run.run_id, 1) / max(run.remaining_seconds, 1e-3), run.run_id))


def shares(candidates: Iterable[Candidate]) -> dict[str, float]:
    """Return the runs that may share the workers now, with the number of viewers that each is for.

    Of a viewer's runs only `MOST_ACTIVE` are active: those that are looked at now, then those asked for first.
    """
    per_viewer: dict[str, list[tuple[bool, Candidate]]] = {}
    for run in sorted(candidates, key=lambda run: (run.created, run.run_id)):
        for viewer, looks in run.viewers.items():
            per_viewer.setdefault(viewer, []).append((not looks, run))
    load: Counter[str] = Counter()
    for runs in per_viewer.values():
        active = [run for _, run in sorted(runs, key=itemgetter(0))[:MOST_ACTIVE]]
        for run in active:
            load[run.run_id] += 1 / len(active)  # type: ignore[assignment]  # a Counter may hold fractions
    return dict(load)


def play(
    candidates: Sequence[Candidate], workers: int, quantum: float = QUANTUM_SECONDS
) -> dict[str, Forecast]:
    """Return when every run gets its next point and its end, in seconds from now, if nobody asks for more."""
    runs = {run.run_id: run._replace(free=True) for run in candidates}
    points: dict[str, float] = {}
    ends: dict[str, float] = {}
    at_work: list[tuple[float, str, float]] = []  # when a quantum ends, of which run, and how much of it
    now, turn = 0.0, 0
    while runs:
        while len(at_work) < max(workers, 1) and (run := choose([*runs.values()], turn)):
            turn += 1
            seconds = min(quantum if run.quanta else FIRST_QUANTUM_SECONDS, run.remaining_seconds)
            runs[run.run_id] = run._replace(free=False)
            heapq.heappush(at_work, (now + seconds, run.run_id, seconds))
        now, run_id, seconds = heapq.heappop(at_work)
        run = runs[run_id]
        left = run.remaining_seconds - seconds
        points.setdefault(run_id, now)
        if left <= 0:
            ends[run_id] = now
            del runs[run_id]
        else:
            runs[run_id] = run._replace(
                remaining_seconds=left, quanta=run.quanta + 1, advanced=now, free=True
            )
    return {run_id: Forecast(points[run_id], end) for run_id, end in ends.items()}


def candidates(store: Store) -> list[Candidate]:
    """Return the runs that are not at their end, as this worker sees them."""
    now, me = store.database.now, worker_name()
    columns = (
        RUNS.c.id, RUNS.c.quanta, RUNS.c.step, RUNS.c.steps, RUNS.c.step_seconds, RUNS.c.created, RUNS.c.advanced,
        RUNS.c.worker, RUNS.c.lease, RUNS.c.fork_step, RUNS.c.checkpoint_step,
        (RUNS.c.advanced < now - HAND_OVER_SECONDS).label("left"),
    )  # fmt: skip
    looks_now = (VIEWS.c.seen > now - LOOKING_SECONDS).label("looks_now")
    looks = sql.select(VIEWS.c.run_id, VIEWS.c.viewer, looks_now).where(VIEWS.c.seen > now - WATCHED_SECONDS)
    with store.database.read() as connection:
        rows = connection.execute(sql.select(*columns).where(RUNS.c.state.in_(RUNNABLE))).all()
        seen = connection.execute(looks).all() if rows else []
    viewers: dict[str, dict[str, bool]] = {}
    for run_id, viewer, still in seen:
        viewers.setdefault(run_id, {})[viewer] = bool(still)
    return [
        Candidate(
            row.id,
            viewers.get(row.id, {NOBODY: True}),
            max(row.steps - _trained(row), 1) * row.step_seconds,
            row.quanta,
            row.advanced,
            row.created,
            free=row.lease is None and bool(not row.quanta or row.worker == me or row.left),
            worker=row.worker,
        )
        for row in rows
    ]


def _trained(row: Any) -> int:
    """Return the step from which a run is really trained on: a fork first replays what its parent did since a checkpoint."""
    return (row.checkpoint_step or 0) if row.step == row.fork_step else row.step


def next_run(store: Store, turn: int) -> Candidate | None:
    """Return the run that this worker should train now; None if there is nothing to do."""
    return choose(candidates(store), turn)


def forecast(store: Store, workers: int) -> dict[str, Forecast]:
    """Return for every run that is not at its end when its next point and its end are to be expected.

    Args:
        store: where the runs are.
        workers: how many there are at least; those that are seen to work count, on whatever machine they are.

    Returns:
        by run's id; nothing is to be expected where nobody is known to work.
    """
    found = candidates(store)
    workers = max(workers, len({run.worker for run in found if not run.free}))
    total = sum(run.remaining_seconds for run in found)
    return play(found, workers, quantum=max(QUANTUM_SECONDS, total / FORECAST_QUANTA)) if workers else {}
