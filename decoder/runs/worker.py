"""The processes that train: `python -m decoder.runs.worker COUNT`, started by `Workers` with the store in DECODER_STORE.

One process, the nursery, imports and warms up everything once. On Linux it then forks COUNT workers, and a new one
in milliseconds whenever one dies; elsewhere forking after such imports is not safe, and COUNT is 1: it works itself.
A worker may be killed at any moment, because a quantum is committed whole or not at all. All of them leave when the
process that started them is gone: the standard input of the nursery then closes, and with it the pipe to its workers.
"""

from __future__ import annotations

import gc
import os
import select
import sys
import threading
import time
import traceback
from contextlib import suppress

import torch

from decoder.runs import leases, schedule
from decoder.runs.advance import Advancer
from decoder.runs.database import StoreError
from decoder.runs.store import Store, UnknownRunError, open_store
from decoder.runs.workers import CAN_FORK
from decoder.training.presets import preset
from decoder.training.trainer import Trainer

NICENESS = 10
IDLE_SECONDS = 0.05
UNUSABLE_SECONDS = 2.0
FIRST_RETRY_SECONDS = 0.1
LOOK_SECONDS = 0.02
MEMORY_BYTES = 3 * 2**30
"""Of data per worker: a hostile size becomes an error of its run instead of a process killed by the system."""


def main(count: int) -> None:
    """Warm up, then keep `count` workers; where processes cannot be forked, be the only one."""
    torch.set_num_threads(1)  # threads of several trainings would fight
    if hasattr(os, "nice"):
        os.nice(NICENESS)  # clicks in the web process come first
    Trainer(preset("ibm")).advance()  # the first update of a process takes a second: not a run's second
    store = _open()
    if CAN_FORK:
        _keep(count, store)
    else:
        print(os.getpid(), flush=True)  # noqa: T201  # the pipe to `Workers`
        threading.Thread(target=_leave_at_end_of, args=(0, store), daemon=True).start()
        work(store)


def work(store: Store) -> None:
    """Train whatever is wanted most in the store, for ever."""
    advancer, outage = Advancer(store), Outage()
    turn = 0
    while True:
        try:
            trained = train_next(advancer, turn)
        except StoreError as error:
            outage.wait(error)
            continue
        outage.end()
        turn += trained
        if not trained:
            time.sleep(IDLE_SECONDS)


class Outage:
    """A time in which the store cannot be used: said once, and tried again, the longer it lasts the more seldom."""

    def __init__(self) -> None:
        self.end()

    def end(self) -> None:
        """Note that the store can be used."""
        self._said: set[str] = set()
        self._seconds = FIRST_RETRY_SECONDS

    def wait(self, error: StoreError) -> None:
        """Say what is wrong, if that is new, and wait until it is worth another try."""
        sentence = str(error)
        if sentence not in self._said:
            print(sentence, file=sys.stderr, flush=True)  # noqa: T201  # for whoever keeps the server
        self._said.add(sentence)
        time.sleep(self._seconds)
        self._seconds = min(2 * self._seconds, UNUSABLE_SECONDS)


def _open() -> Store:
    """Open the store that DECODER_STORE names, as soon as it can be used; a worker that ended would only be replaced."""
    outage = Outage()
    while True:
        try:
            store = open_store()
            schedule.next_run(store, 0)  # the driver and the first query take their time too
        except StoreError as error:
            outage.wait(error)
            if os.name == "posix" and select.select([0], [], [], 0)[0]:  # the server has not waited
                os._exit(0)
        else:
            return store


def train_next(advancer: Advancer, turn: int) -> bool:
    """Train what is wanted most for one quantum; return False if there is nothing to train."""
    run = schedule.next_run(advancer.store, turn)
    if run is not None:
        quantum = schedule.QUANTUM_SECONDS if run.quanta else schedule.FIRST_QUANTUM_SECONDS
        with suppress(UnknownRunError):  # it was removed meanwhile: nobody looked, and the store was full
            advancer.advance(run.run_id, quantum)
    return run is not None


def limit_memory() -> None:
    """Let this process take MEMORY_BYTES of data, or less if it may take less already."""
    if sys.platform == "linux":
        import resource  # noqa: PLC0415  # not on every system

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if hard == resource.RLIM_INFINITY or hard > MEMORY_BYTES:
            resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, hard))


def _keep(count: int, store: Store) -> None:
    """Fork workers, replace the dead, and say who they are, until the standard input closes.

    This process has one thread and no connection to the store, so that a fork of it is whole.
    """
    store.close()
    read_end, write_end = os.pipe()
    gc.freeze()  # what the workers share is not to be copied by their garbage collection
    pids: list[int] = []
    while True:
        pids = [pid for pid in pids if os.waitpid(pid, os.WNOHANG) == (0, 0)]
        if len(pids) < count:
            while len(pids) < count:
                pid = os.fork()
                if not pid:
                    os.close(write_end)  # so that the pipe closes with the nursery
                    _be_a_worker(read_end, store)
                pids.append(pid)
            print(*pids, flush=True)  # noqa: T201  # the pipe to `Workers`
        if select.select([0], [], [], LOOK_SECONDS)[0]:
            os._exit(0)


def _be_a_worker(lifeline: int, store: Store) -> None:
    try:
        os.dup2(2, 1)  # the nursery alone says who the workers are
        limit_memory()
        threading.Thread(target=_leave_at_end_of, args=(lifeline, store), daemon=True).start()
        work(store)
    finally:
        traceback.print_exc()
        os._exit(1)  # never back into the nursery's code


def _leave_at_end_of(pipe: int, store: Store) -> None:
    os.read(pipe, 1)  # nothing is ever written: this returns when the other end is closed
    with suppress(StoreError):  # that its server was killed is no fault of the run that is in hand
        leases.leave(store)
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
