"""What tests and benchmarks do to runs: keep many of them going, kill who trains them, and look after each kill."""

import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import sqlalchemy as sql
from undisturbed import Change, assert_undisturbed, tiny

from decoder.config import Mode
from decoder.runs.history import Checkpoint
from decoder.runs.tables import CHECKPOINTS, RUNS

MODES = get_args(Mode)
ENDED = {"finished", "failed"}


def until(condition, seconds=60.0, what="what was waited for"):
    """Wait until the condition holds, and return how long that took."""
    began = time.perf_counter()
    while not condition():
        assert time.perf_counter() - began < seconds, f"{what} did not happen in {seconds} seconds"
        time.sleep(0.01)
    return time.perf_counter() - began


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")  # an orphan that nobody waits for stays a zombie: not alive
    try:
        return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def training(store):
    """Return the process ids of the workers that have a run now, each with the deaths that its run has seen."""
    busy = sql.select(RUNS.c.worker, RUNS.c.deaths).where(RUNS.c.lease.is_not(None))
    with store.database.read() as connection:
        return {int(row.worker.split("|")[1]): row.deaths for row in connection.execute(busy)}


def all_ended(store, ids):
    return all(store.run(run_id).state in ENDED for run_id in ids)


class Load:
    """Tiny runs in every mode and forks of them, a few at a time; it knows what each has to become."""

    def __init__(self, store, seed, *, steps=160, at_once=3):
        self.store = store
        self.runs = {}  # id -> the configuration that it began with, and its forks
        self._ended = set()
        self._random = random.Random(seed)
        self._seed = seed * 10_000
        self._steps = steps
        self._at_once = at_once

    @property
    def unfinished(self):
        open_runs = [run_id for run_id in self.runs if run_id not in self._ended]
        self._ended |= {run_id for run_id in open_runs if self.store.run(run_id).state in ENDED}
        return [run_id for run_id in open_runs if run_id not in self._ended]

    def top_up(self):
        """Ask for as many runs as have ended, and fork one that has begun if there are fewer forks than a third."""
        unfinished = self.unfinished
        for _ in range(self._at_once - len(unfinished)):
            number = len(self.runs)
            config = tiny(mode=MODES[number % 4], seed=self._seed + number, steps=self._steps)
            self.runs[self.store.request(config)] = (config,)
        forks = [run_id for run_id, plan in self.runs.items() if len(plan) > 1]
        last = self._steps - 1
        begun = [run for run in map(self.store.run, unfinished) if (run.fork_step or 0) < min(run.step, last)]
        if begun and len(forks) * 3 < len(self.runs):
            self._fork(self._random.choice(begun))

    def _fork(self, run):
        step = self._random.randint((run.fork_step or 0) + 1, min(run.step, self._steps - 1))
        mode = self._random.choice([mode for mode in MODES if mode != run.config.mode])
        fork = self.store.fork(run.id, step, mode=mode)
        changed = dataclasses.replace(run.config, mode=mode)
        self.runs.setdefault(fork, (*self.runs[run.id], Change(step, changed)))

    def damaged(self, ids=None):
        """Return the runs whose checkpoint is not whole, or not the one that their row names."""
        joined = sql.join(RUNS, CHECKPOINTS, RUNS.c.id == CHECKPOINTS.c.run_id, isouter=True)
        wanted = sql.select(RUNS.c.id, RUNS.c.checkpoint_step, *CHECKPOINTS.c[1:]).select_from(joined)
        if ids is not None:
            wanted = wanted.where(RUNS.c.id.in_(ids))
        with self.store.database.read() as connection:
            rows = connection.execute(wanted).all()
        return [
            row.id
            for row in rows
            if row.checkpoint_step != row.step
            or (row.file is not None and Checkpoint(row.step, row.file).checksum != row.checksum)
        ]

    def torn(self, ids=None):
        """Return the runs whose curve has a gap, or ends before the step that their row names."""
        found = []
        for run_id in self.runs if ids is None else ids:
            step = self.store.run(run_id).step
            steps = [row.step for row in self.store.metrics(run_id)]
            if steps != [*range(1, len(steps) + 1)] or len(steps) < step:
                found.append(run_id)
        return found

    def lost(self, seconds=60.0):
        """Wait for the end of all runs, and return those that do not finish, with their states."""
        deadline = time.monotonic() + seconds
        while self.unfinished and time.monotonic() < deadline:
            time.sleep(0.02)
        runs = [self.store.run(run_id) for run_id in self.runs]
        return [(run.id, run.state, run.step, run.error) for run in runs if run.state != "finished"]

    def different(self):
        """Return the finished runs that are not what they would be had nothing ever happened."""
        found = []
        for run_id, (_, *changes) in self.runs.items():
            if self.store.run(run_id).state == "finished":
                try:
                    assert_undisturbed(self.store, run_id, *changes)
                except AssertionError as difference:
                    found.append((run_id, str(difference)[:200]))
        return found


def kill_workers(load, workers, kills, seed, *, every=0.4):
    """Kill workers with -9 in the middle of their work, at random moments.

    A run whose next two workers are killed before they come to anything is spared the third kill: it would be
    poison by definition.
    """
    generator = random.Random(seed)
    for _ in range(kills):
        load.top_up()
        time.sleep(generator.uniform(0, every))
        while not (busy := _killable(load, workers)):
            time.sleep(0.001)
        os.kill(generator.choice(busy), signal.SIGKILL)
        assert not load.damaged(load.unfinished)
        assert not load.torn(load.unfinished)


def _killable(load, workers):
    mine = {*workers.pids}
    return sorted(
        pid for pid, deaths in training(load.store).items() if pid in mine and deaths < 2 and is_alive(pid)
    )


SERVER = """
import sys
from decoder.runs.store import open_store
from decoder.runs.workers import Workers
with Workers(open_store(), count=2) as workers:
    print(*workers.pids, flush=True)
    sys.stdin.read()  # for ever, but no longer than whoever started it
"""


class Server:
    """A process that keeps two workers at a store, as the app does."""

    def __init__(self, store):
        self.pids = ()
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            env=os.environ | {"DECODER_STORE": store.url, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait(self):
        """Wait until its workers are there, and return it."""
        self.pids = tuple(map(int, self._process.stdout.readline().split()))
        assert len(self.pids) == 2
        return self

    def kill(self):
        """Kill it with -9, and wait until its workers have noticed."""
        self._process.kill()
        self._end()
        until(lambda: not any(map(is_alive, self.pids)), 10, "the end of a killed server's workers")

    def stop(self):
        """Let it leave in peace."""
        self._process.stdin.close()
        self._end()

    def _end(self):
        self._process.wait(30)
        self._process.stdin.close()
        self._process.stdout.close()


def kill_servers(load, kills, seed, *, settle=1.5):
    """Keep two servers on one store, kill one with -9 in the middle of its work, start another, and so on.

    At the end all runs have ended.
    """
    generator = random.Random(seed)
    serving = [Server(load.store), Server(load.store)]
    try:
        for kill in range(kills):
            victim = serving.pop(0).wait()
            if kill + 1 < kills:
                serving.append(Server(load.store))  # starts while the other one works
            load.top_up()
            time.sleep(generator.uniform(0, settle))
            until(lambda pids={*victim.pids}: pids & training(load.store).keys(), 30, "any work")
            victim.kill()
            assert not load.damaged(load.unfinished)
            assert not load.torn(load.unfinished)
        serving[0].wait()
        until(lambda: not load.unfinished, 120, "the end of all runs")
    finally:
        for server in serving:
            server.stop()
