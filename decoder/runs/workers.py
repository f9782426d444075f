"""Worker processes: started with the server, replaced when they die, gone when it is gone."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psutil

from decoder.runs import leases
from decoder.runs.database import StoreError
from decoder.runs.store import Store

CAN_FORK = sys.platform == "linux"
WATCH_SECONDS = 0.1
TIDY_SECONDS = 1.0
START_SECONDS = 60.0
LEAVE_SECONDS = 5.0
_PACKAGE_ROOT = Path(__file__).parents[2]


class Workers:
    """`with Workers(store, count=2) as workers:` keeps so many processes training what waits in the store.

    Several servers may share a store; each has its own.

    They come out of a nursery, a plain `python -m decoder.runs.worker`. The start methods of multiprocessing
    would import `__main__` again, and under Streamlit that is a whole app; a thread would fight with clicks for
    the interpreter. Its standard input is a pipe that nobody writes to: it closes however this process ends.
    """

    def __init__(self, store: Store, count: int = 2) -> None:
        self._store = store
        shares = [count] if CAN_FORK else [1] * count
        self._nurseries = [_Nursery(store.url, share) for share in shares if share]
        self._leaving = threading.Event()
        # A daemon, so that a server that forgets to leave the block still ends, and its workers with it.
        self._watcher = threading.Thread(target=self._watch, name="worker-watch", daemon=True)

    @property
    def pids(self) -> tuple[int, ...]:
        """The worker processes' ids, now; waits for the first ones to be there."""
        deadline = time.monotonic() + START_SECONDS
        while not all(nursery.pids for nursery in self._nurseries) and time.monotonic() < deadline:
            time.sleep(0.01)
        return tuple(pid for nursery in self._nurseries for pid in nursery.pids)

    def __enter__(self) -> Self:
        tidy(self._store)  # what an earlier server left in the middle of a quantum
        for nursery in self._nurseries:
            nursery.start()
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        self._watcher.join()
        stopped = [pid for nursery in self._nurseries for pid in nursery.stop()]
        with contextlib.suppress(StoreError):  # else the next server finds them dead
            leases.release(self._store, tuple(stopped))

    def _watch(self) -> None:
        """Free the runs of dead workers at once, tidy the store every second, replace a dead nursery."""
        known = self._workers_now()
        tidied = time.monotonic()
        said = ""
        while not self._leaving.wait(WATCH_SECONDS):
            try:
                now = self._workers_now()
                if now != known or time.monotonic() - tidied > TIDY_SECONDS:
                    known, tidied = now, time.monotonic()
                    tidy(self._store)
                for nursery in self._nurseries:
                    nursery.replace_if_dead()
            except Exception as error:  # noqa: BLE001  # whatever it is: without this thread nobody would train any more
                sentence = (
                    f"the workers cannot be looked after ({error!r}): trainings may wait, it is tried again"
                )
                if sentence != said:
                    print(sentence, file=sys.stderr, flush=True)  # noqa: T201  # for whoever keeps the server
                said = sentence

    def _workers_now(self) -> list[int]:
        return [pid for nursery in self._nurseries for pid in nursery.pids]


def tidy(store: Store) -> None:
    """Free the runs of the dead, say which wait, pause those that nobody looks at, keep the store within its quota."""
    # A store that is busy or full now may take it a moment later.
    with contextlib.suppress(StoreError):
        leases.bury_dead(store)
        leases.rest(store)
        leases.pause_unwatched(store)
        leases.forget_looks(store)
        store.evict()


class _Nursery:
    """A process that forks workers, or is one; it says on its standard output who they are."""

    def __init__(self, url: str, count: int) -> None:
        self.pids: tuple[int, ...] = ()
        self._url = url
        self._count = count
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        path = os.pathsep.join(filter(None, (str(_PACKAGE_ROOT), os.environ.get("PYTHONPATH"))))
        # The address goes through the environment, because command lines are for everybody to read.
        environment = os.environ | {
            "DECODER_STORE": self._url,
            "PYTHONPATH": path,
            "OMP_NUM_THREADS": "1",
        }
        process = subprocess.Popen(  # noqa: S603  # this very interpreter and package
            [sys.executable, "-P", "-m", "decoder.runs.worker", str(self._count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,  # the terminal's Ctrl-C is for the server, which then ends its workers
        )
        threading.Thread(target=self._listen, args=(process.stdout,), daemon=True).start()
        self._process = process

    def replace_if_dead(self) -> None:
        if self._process is None or self._process.poll() is not None:  # the former: it could not be started
            self.stop()
            self.start()

    def stop(self) -> tuple[int, ...]:
        """End the process and its workers, and return who they were."""
        process, stopped = self._process, self.pids
        if process is not None:
            # Safe at any moment, and a worker in a long update would not hear anything softer.
            process.kill()
            process.wait()
            for pid in stopped:
                _kill(pid)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
        self._process, self.pids = None, ()
        return stopped

    def _listen(self, pipe: IO[str]) -> None:
        with contextlib.suppress(ValueError):  # closed by `stop`
            for line in pipe:
                self.pids = tuple(int(pid) for pid in line.split())


def _kill(pid: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
        process = psutil.Process(pid)
        process.kill()
        process.wait(LEAVE_SECONDS)
