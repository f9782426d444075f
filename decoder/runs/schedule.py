"""Whose turn it is: first points first, then what many wait for and soon ends, and everybody's fair share.

`choose` is a pure function of the runs as they stand; a forecast is the same function, played on in thought.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import sqlalchemy as sql

from decoder.runs.history import snapshot_steps
from decoder.runs.leases import RUNNABLE, worker_name
from decoder.runs.store import WATCHED_SECONDS, Store, trained
from decoder.runs.tables import RUNS, VIEWS

QUANTUM_SECONDS = 0.25
FIRST_QUANTUM_SECONDS = 0.02
"""A new run gets its first point at once, and thirty new runs get theirs within a second."""

MOST_ACTIVE = 4
"""Runs per viewer that share the workers; a viewer's later ones wait for the earlier."""

ROUND_ROBIN_EVERY = 2
"""Half of all turns go round among the viewers. Of fewer, one who asks for short runs again and again would leave the others
less than half of their equal shares, because short ones come first in the other turns."""

STARVING_ROUNDS = 4
"""A run that waits so many times as long as all active ones need for a turn each comes before its viewers' other runs."""

HAND_OVER_SECONDS = 0.1
"""A worker leaves a run this long to the one that trained it last and holds its state."""

FORECAST_QUANTA = 400
MOST_PLAYED = 100
"""Runs whose future is played turn by turn: that costs a tenth of a second, and grows with their square."""

NOBODY = ""


class Candidate(NamedTuple):
    """A run that is not at its end.

    Attributes:
        run_id: the run.
        viewers: who has looked at it lately, and when, any clock; {"": 0.0} for one that nobody has ever looked at.
        remaining_seconds: of training, until its end.
        quanta: that it has had.
        advanced: when the last one ended, by the clock of `choose`.
        created: when it was asked for, any clock.
        free: whether it may be taken now; else a worker has it.
        worker: who has it, or had it last.
        turn_seconds: that its last quantum took.
        step_seconds: that an update takes: no quantum is shorter.
        replay_seconds: of training that gives no point, because a fork first does again what its parent did.
    """

    run_id: str
    viewers: Mapping[str, float]
    remaining_seconds: float
    quanta: int
    advanced: float
    created: float
    free: bool = True
    worker: str | None = None
    turn_seconds: float = 0.0
    step_seconds: float = 0.0
    replay_seconds: float = 0.0


class Forecast(NamedTuple):
    """Seconds from now until a run's next point, and until its end."""

    next_point: float
    end: float


def choose(candidates: Sequence[Candidate], turn: int, now: float = 0.0) -> Candidate | None:
    """Return whose quantum comes next; None if nothing may be taken.

    1. A run that has had none yet, the oldest first.
    2. Every second turn a run of the viewer, or of the viewers in common, who have waited longest, and of their runs
       the one that has; before them one that would starve beside its viewer's shorter runs. One whose last quantum
       took as long as ten waits ten times as long, so that seconds are shared and not turns.
    3. Else the run with the highest watchers / remaining seconds.

    Nobody gets more by asking for more: a viewer counts as a whole for one run and as a part of her for each of several,
    and has waited only since any of them had its turn.

    Runs above a viewer's `MOST_ACTIVE` have their turn only where a worker would otherwise have nothing to do.

    Args:
        candidates: all runs that are not at their end, also those that workers have now.
        turn: a counter.
        now: the time by the clock of `Candidate.advanced`.
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
        starving = [run for run in free if _wait(run, now) > STARVING_ROUNDS * len(load)]
        if starving:
            return max(starving, key=lambda run: (_wait(run, now), run.run_id))
        waits = _waits_of_viewers(candidates, now)
        return max(free, key=lambda run: (waits[frozenset(run.viewers)], _wait(run, now), run.run_id))
    return max(free, key=lambda run: (_worth(run, load), run.run_id))


def shares(candidates: Iterable[Candidate]) -> dict[str, float]:
    """Return the runs that may share the workers now, with the number of viewers that each is for.

    Of a viewer's runs only `MOST_ACTIVE` are active: those that she looked at last, of equals those asked for first.
    """
    per_viewer: dict[str, list[tuple[float, Candidate]]] = {}
    for run in sorted(candidates, key=lambda run: (run.created, run.run_id)):
        for viewer, seen in run.viewers.items():
            per_viewer.setdefault(viewer, []).append((-seen, run))
    load: Counter[str] = Counter()
    for runs in per_viewer.values():
        active = [run for _, run in sorted(runs, key=itemgetter(0))[:MOST_ACTIVE]]
        for run in active:
            load[run.run_id] += 1 / len(active)  # type: ignore[assignment]  # a Counter may hold fractions
    return dict(load)


def _wait(run: Candidate, now: float) -> float:
    """Return how long ago its last quantum ended, in quanta of its own length; 0 while it has one."""
    return (now - run.advanced) / max(run.turn_seconds, QUANTUM_SECONDS) if run.free else 0.0


def _waits_of_viewers(candidates: Iterable[Candidate], now: float) -> dict[frozenset[str], float]:
    """Return for all who look at the same runs the shortest wait of any of these."""
    waits: dict[frozenset[str], float] = {}
    for run in candidates:
        viewers = frozenset(run.viewers)
        waits[viewers] = min(_wait(run, now), waits.get(viewers, math.inf))
    return waits


def _worth(run: Candidate, load: Mapping[str, float]) -> float:
    return load.get(run.run_id, 1) / max(run.remaining_seconds, 1e-3)


def play(
    candidates: Sequence[Candidate], workers: int, quantum: float = QUANTUM_SECONDS
) -> dict[str, Forecast]:
    """Return when every run gets its next point and its end, in seconds from now, if nobody asks for more.

    Turns are as short as they will be until all have their next points, and then `quantum` seconds long.
    """
    runs = {run.run_id: run._replace(free=True) for run in candidates}
    points: dict[str, float] = {}
    ends: dict[str, float] = {}
    at_work: list[tuple[float, str, float]] = []  # when a quantum ends, of which run, and how much of it
    now, turn = 0.0, 0
    while runs:
        while len(at_work) < max(workers, 1) and (run := choose([*runs.values()], turn, now)):
            turn += 1
            usual = QUANTUM_SECONDS if len(points) < len(candidates) else quantum
            wanted = usual if run.quanta else FIRST_QUANTUM_SECONDS
            seconds = min(max(wanted, run.step_seconds), run.remaining_seconds)
            runs[run.run_id] = run._replace(free=False)
            heapq.heappush(at_work, (now + seconds, run.run_id, seconds))
        now, run_id, seconds = heapq.heappop(at_work)
        run = runs[run_id]
        left = run.remaining_seconds - seconds
        replay = run.replay_seconds - seconds
        if replay < 0 or left <= 0:
            points.setdefault(run_id, now)
        if left <= 0:
            ends[run_id] = now
            del runs[run_id]
        else:
            runs[run_id] = run._replace(
                remaining_seconds=left,
                quanta=run.quanta + 1,
                advanced=now,
                free=True,
                turn_seconds=seconds,
                replay_seconds=max(replay, 0.0),
            )
    return {run_id: Forecast(points[run_id], end) for run_id, end in ends.items()}


def guess(candidates: Sequence[Candidate], workers: int) -> dict[str, Forecast]:
    """Return roughly what `play` would, for any crowd: the most wanted runs end first, one after the other.

    Meanwhile those that are new get their first points, and all that are active have turns in rounds.
    """
    load = shares(candidates)
    new = [run for run in candidates if not run.quanta]
    first_points = sum(max(FIRST_QUANTUM_SECONDS, run.step_seconds) for run in new) / workers
    turns = sum(max(QUANTUM_SECONDS, run.step_seconds) for run in candidates if run.run_id in load)
    a_round = first_points + ROUND_ROBIN_EVERY * turns / workers
    everything = sum(run.remaining_seconds for run in candidates)
    found = {}
    before = end = 0.0
    for run in sorted(candidates, key=lambda run: (run.run_id not in load, -_worth(run, load), run.run_id)):
        before += run.remaining_seconds
        # Of two turns one is for it; but when all is done, it is.
        begin, end = end, min(before * ROUND_ROBIN_EVERY / (ROUND_ROBIN_EVERY - 1), everything) / workers
        wait = a_round if run.quanta else first_points
        point = min(wait, end) if run.run_id in load else begin + QUANTUM_SECONDS
        point += run.replay_seconds
        own = max(end, run.remaining_seconds)  # of the workers only one can train it
        found[run.run_id] = Forecast(min(point, own), own)
    return found


def candidates(store: Store) -> list[Candidate]:
    """Return the runs that are not at their end, as this worker sees them, at the time 0."""
    now, me = store.database.now, worker_name()
    columns = (
        RUNS.c.id, RUNS.c.quanta, RUNS.c.step, RUNS.c.steps, RUNS.c.step_seconds, RUNS.c.evaluation_seconds,
        RUNS.c.turn_seconds, RUNS.c.created, RUNS.c.worker, RUNS.c.lease, RUNS.c.fork_step, RUNS.c.checkpoint_step,
        (now - RUNS.c.advanced).label("since"),
    )  # fmt: skip
    recent = store.database.within(VIEWS.c.seen, WATCHED_SECONDS)
    with store.database.read() as connection:
        rows = connection.execute(sql.select(*columns).where(RUNS.c.state.in_(RUNNABLE))).all()
        seen = connection.execute(sql.select(VIEWS).where(recent)).all() if rows else []
    viewers: dict[str, dict[str, float]] = {}
    for look in seen:
        viewers.setdefault(look.run_id, {})[look.viewer] = look.seen
    return [_candidate(row, viewers.get(row.id, {NOBODY: 0.0}), me) for row in rows]


def _candidate(row: Any, viewers: Mapping[str, float], me: str) -> Candidate:
    waited = abs(row.since)  # less than nothing: the clock was set back, and how long it is ago nobody knows
    return Candidate(
        row.id,
        viewers,
        _remaining_seconds(row),
        row.quanta,
        -waited,
        row.created,
        free=row.lease is None and bool(not row.quanta or row.worker == me or waited > HAND_OVER_SECONDS),
        worker=row.worker,
        turn_seconds=row.turn_seconds,
        step_seconds=row.step_seconds,
        replay_seconds=(row.step - trained(row)) * row.step_seconds,
    )


def _remaining_seconds(row: Any) -> float:
    evaluations = sum(step >= row.step for step in snapshot_steps(row.steps))  # a fork replays none
    seconds = (row.steps - trained(row)) * row.step_seconds + evaluations * row.evaluation_seconds
    return float(max(seconds, row.step_seconds))  # one that is at its end has to be said so


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
    if not workers:
        return {}
    if len(found) > MOST_PLAYED:
        return guess(found, workers)
    total = sum(run.remaining_seconds for run in found)
    return play(found, workers, quantum=max(QUANTUM_SECONDS, total / FORECAST_QUANTA))
