"""Who may train a run now: a lease per quantum, so that a dead or delayed worker can neither lose nor spoil anything.

A worker takes the lease of a run, trains a quantum and commits it, whole, if the lease is still its own. Whatever
happens to the worker in between, the store holds the run as it was before, and the next worker trains the same
quantum to the same bits.
"""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import sqlalchemy as sql

from decoder.runs.database import StoreError
from decoder.runs.history import ROW_BYTES, Checkpoint, Costs, History
from decoder.runs.store import WATCHED_SECONDS, State, Store
from decoder.runs.tables import CHECKPOINTS, CONFIGS, EVALUATIONS, METRICS, RUNS, SNAPSHOTS, VIEWS

LEASE_SECONDS = 10.0
MOST_DEATHS = 3
RESTING_SECONDS = 2.0
"""So long after its last quantum a run is said to wait again: others have their turn, or nobody works."""

CLOCK_SECONDS = 60.0
"""A process that seems to have begun at another time is the same if it is no more than this: clocks are set."""

FORGOTTEN_SECONDS = 3_600.0
"""So old looks are no longer kept."""

RUNNABLE = ("waiting", "training")
_TAKING, _LEAVING = threading.Lock(), threading.Event()


class Lease(NamedTuple):
    """The right to commit one quantum of a run.

    Attributes:
        run_id: the run.
        token: what the row must still say at the commit.
        step: the last one whose metrics are recorded.
        checkpoint_step: the step of the stored state; None: there is none yet.
        deaths: of workers that had the run, since it last made progress.
        costs: what the run took so far.
    """

    run_id: str
    token: str
    step: int
    checkpoint_step: int | None
    deaths: int
    costs: Costs


@cache
def machine() -> str:
    """Return what tells this machine, or container, from all others: within it a process id means one process."""
    try:
        booted = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{booted}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # not Linux: there is no container that shares the name
        return f"{socket.gethostname()}/{uuid.getnode():x}"


def worker_name() -> str:
    """Return what tells this process from all others, on any machine and also later."""
    return f"{machine()}|{os.getpid()}|{psutil.Process().create_time():.2f}"


def take(store: Store, run_id: str) -> Lease | None:
    """Take the lease of a run; None if another worker has it, nothing is left to train, or this process is to end."""
    token = uuid.uuid4().hex
    until = store.database.now + LEASE_SECONDS
    known = (RUNS.c.step, RUNS.c.checkpoint_step, RUNS.c.deaths)
    costs = [RUNS.c[name] for name in Costs._fields]
    take_free = (
        sql.update(RUNS)
        .where(RUNS.c.id == run_id, RUNS.c.state.in_(RUNNABLE), RUNS.c.lease.is_(None))
        .values(lease=token, lease_until=until, worker=worker_name(), state="training")
        .returning(*known, *costs)
    )
    with _TAKING:
        if _LEAVING.is_set():
            return None
        with store.database.write() as connection:
            row = connection.execute(take_free).first()
    if row is None:
        return None
    return Lease(run_id, token, row.step, row.checkpoint_step, row.deaths, Costs(*row[len(known) :]))


@contextmanager
def kept_alive(store: Store, lease: Lease) -> Iterator[None]:
    """Renew the lease while a long update or evaluation goes on."""
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(LEASE_SECONDS / 3):
            own = sql.update(RUNS).where(RUNS.c.id == lease.run_id, RUNS.c.lease == lease.token)
            # A store that is busy or full now may take it in a moment; else the commit finds out.
            with suppress(StoreError), store.database.write() as connection:
                connection.execute(own.values(lease_until=store.database.now + LEASE_SECONDS))

    thread = threading.Thread(target=renew, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def commit(
    store: Store,
    lease: Lease,
    history: History,
    state: State,
    *,
    error: str | None = None,
    costs: Costs | None = None,
) -> bool:
    """Add a quantum to its run and give the lease back, all in one transaction; a replayed row replaces itself.

    Returns:
        False, and nothing is changed, if the lease is no longer this worker's.
    """
    own = sql.update(RUNS).where(RUNS.c.id == lease.run_id, RUNS.c.lease == lease.token)
    # A replay starts behind the row; a visitor may have paused the run meanwhile.
    furthest = sql.case((RUNS.c.step > history.last_step, RUNS.c.step), else_=history.last_step)
    paused = sql.and_(RUNS.c.state == "paused", sql.literal(state) == "training")
    values: dict[str, object] = {
        "state": sql.case((paused, RUNS.c.state), else_=state),
        "step": furthest,
        "error": error,
        "quanta": RUNS.c.quanta + 1,
        "advanced": store.database.now,
        "lease": None,
        "lease_until": None,
    }
    if history.checkpoint is not None:
        values["checkpoint_step"] = history.checkpoint.step
        values["deaths"] = 0
    if costs is not None:
        values |= costs._asdict()
    if state != "training":
        values["paused_by"] = None
    tables = {
        METRICS: history.metrics_rows(),
        EVALUATIONS: history.evaluation_rows(),
        SNAPSHOTS: history.snapshot_rows(),
        CHECKPOINTS: [] if history.checkpoint is None else [_checkpoint_row(history.checkpoint)],
    }
    with store.database.write() as connection:
        if not connection.execute(own.values(values)).rowcount:
            return False
        for table, rows in tables.items():
            store.database.upsert(connection, table, [{"run_id": lease.run_id, **row} for row in rows])
        if state != "training":  # what was planned for it and is not used is free again
            mine = sql.update(RUNS).where(RUNS.c.id == lease.run_id)
            connection.execute(mine.values(bytes=_bytes_of_run()))
    return True


def checkpoint(store: Store, run_id: str) -> Checkpoint | None:
    """Return the stored state of a run; None if there is none, or if it is damaged: then a replay begins before it."""
    kept = sql.select(CHECKPOINTS).where(CHECKPOINTS.c.run_id == run_id)
    with store.database.read() as connection:
        row = connection.execute(kept).first()
    if row is None:
        return None
    found = Checkpoint(row.step, row.file)
    return found if found.checksum == row.checksum else None


def give_back(store: Store, lease: Lease) -> None:
    """Free a run of which nothing could be committed; nobody died."""
    _free(store, RUNS.c.lease == lease.token, deaths=0)


def bury_dead(store: Store) -> None:
    """Free the runs whose workers are dead or too late; fail a run that has cost three workers without progress."""
    renewed = RUNS.c.lease_until - LEASE_SECONDS
    late = sql.not_(store.database.within(renewed, LEASE_SECONDS)).label("late")
    leased = sql.select(RUNS.c.lease, RUNS.c.lease_until, RUNS.c.worker, late).where(
        RUNS.c.lease.is_not(None)
    )
    with store.database.read() as connection:
        rows = connection.execute(leased).all()
    for row in rows:
        if row.late or _is_dead(row.worker):
            # Renewed since it was read: then its worker lives after all.
            _free(store, sql.and_(RUNS.c.lease == row.lease, RUNS.c.lease_until == row.lease_until), deaths=1)


def release(store: Store, pids: tuple[int, ...]) -> None:
    """Free the runs of this machine's workers that were stopped on purpose: that is no death."""
    prefix = [f"{machine()}|{pid}|" for pid in pids]
    mine = [RUNS.c.worker.startswith(start, autoescape=True) for start in prefix]
    held = sql.or_(RUNS.c.lease.is_not(None), RUNS.c.state == "training")  # the latter between two quanta
    _free(store, sql.and_(held, sql.or_(sql.false(), *mine)), deaths=0)


def leave(store: Store) -> None:
    """Take no more leases in this process, and free what it has: that it ends now is no death."""
    with _TAKING:
        _LEAVING.set()
    release(store, (os.getpid(),))


def pause_unwatched(store: Store) -> None:
    """Pause the runs that somebody once looked at, and nobody any more."""
    watched = store.database.within(RUNS.c.viewed, WATCHED_SECONDS)
    _let(store, sql.and_(RUNS.c.state.in_(RUNNABLE), ~watched), "paused")


def forget_looks(store: Store) -> None:
    """Remove looks of long ago, which nobody asks for: each new visitor of a shared run leaves one."""
    old = ~store.database.within(VIEWS.c.seen, FORGOTTEN_SECONDS)
    with store.database.read() as connection:
        found = connection.scalar(sql.select(VIEWS.c.viewer).where(old).limit(1))
    if found is not None:
        with store.database.write() as connection:
            connection.execute(sql.delete(VIEWS).where(old))


def rest(store: Store) -> None:
    """Say of the runs that had their last quantum a while ago that they wait."""
    at_work = store.database.within(RUNS.c.advanced, RESTING_SECONDS)
    _let(store, sql.and_(RUNS.c.state == "training", RUNS.c.lease.is_(None), ~at_work), "waiting")


def _let(store: Store, which: sql.ColumnElement[bool], state: State) -> None:
    with store.database.read() as connection:  # looking takes no lock, and there is seldom something to do
        found = connection.scalar(sql.select(RUNS.c.id).where(which).limit(1))
    if found is not None:
        with store.database.write() as connection:
            connection.execute(sql.update(RUNS).where(which).values(state=state))


def _free(store: Store, which: sql.ColumnElement[bool], deaths: int) -> None:
    died = RUNS.c.deaths + deaths
    poison = died >= MOST_DEATHS
    error = sql.literal("the process that trained it died ") + sql.cast(died, sql.String)
    error += " times after step " + sql.cast(RUNS.c.step, sql.String)
    error += ", probably for lack of memory: choose a smaller decoder, batch or context"
    # What is paused stays so, unless it is given up.
    state = sql.case((poison, "failed"), (RUNS.c.state == "training", "waiting"), else_=RUNS.c.state)
    free = sql.update(RUNS).where(which)
    values = {
        "lease": None,
        "lease_until": None,
        "deaths": died,
        "state": state,
        "error": sql.case((poison, error), else_=None),
        "bytes": sql.case((poison, _bytes_of_run()), else_=RUNS.c.bytes),
    }
    with store.database.write() as connection:
        connection.execute(free.values(values))


def _is_dead(worker: str) -> bool:
    """Whether a worker of this machine is gone; of another machine's nothing is known but its lease."""
    place, pid, created = worker.rsplit("|", 2)
    if place != machine():
        return False
    try:
        process = psutil.Process(int(pid))
        another = abs(process.create_time() - float(created)) > CLOCK_SECONDS
        return another or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:  # somebody else's, so not known; its lease will tell
        return False


def _checkpoint_row(kept: Checkpoint) -> dict[str, object]:
    return {"step": kept.step, "file": kept.file, "checksum": kept.checksum}


def _bytes_of_run() -> sql.ColumnElement[int]:
    """What a run takes in the store, near enough for the quota."""

    def total(column: sql.Column[Any], beside: int = 0) -> sql.ScalarSelect[int]:
        taken = sql.func.coalesce(sql.func.sum(sql.func.length(column) + beside), 0)
        return sql.select(taken).where(column.table.c.run_id == RUNS.c.id).scalar_subquery()

    files = total(SNAPSHOTS.c.file) + total(CHECKPOINTS.c.file)
    rows = [total(table.c.loss_per_position, ROW_BYTES) for table in (METRICS, EVALUATIONS)]
    return total(CONFIGS.c.text) + files + rows[0] + rows[1]
