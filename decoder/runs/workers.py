"""Worker processes: started with the server, replaced when they die, gone when it is gone."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy.exc import SQLAlchemyError

from decoder.runs.store import Store

WATCH_SECONDS = 0.1
_PACKAGE_ROOT = Path(__file__).parents[2]


class Workers:
    """`with Workers(store, count=2) as workers:` keeps so many processes training what waits in the store.

    One server per store is assumed: runs that an earlier one left in training wait again from here on.

    A worker is a plain `python -m decoder.runs.worker`. The start methods of multiprocessing would import
    `__main__` again, and under Streamlit that is a whole app; a thread would fight with clicks for the
    interpreter. Its standard input is a pipe that nobody writes to: it closes however this process ends.
    """

    def __init__(self, store: Store, count: int = 2) -> None:
        self._store = store
        self._count = count
        self._processes: list[subprocess.Popen[bytes]] = []
        self._leaving = threading.Event()
        # A daemon, so that a server that forgets to leave the block still ends, and its workers with it.
        self._watcher = threading.Thread(target=self._watch, name="worker-watch", daemon=True)

    @property
    def pids(self) -> tuple[int, ...]:
        """The worker processes' ids, now."""
        return tuple(process.pid for process in self._processes)

    def __enter__(self) -> Self:
        self._store.release()
        self._processes = [self._start() for _ in range(self._count)]
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        self._watcher.join()
        for process in self._processes:
            process.kill()  # safe at any moment, and a worker in a long update would not hear anything softer
        for process in self._processes:
            _bury(process)
        self._store.release()

    def _watch(self) -> None:
        """Replace dead workers; their runs wait again, and another worker replays them to the same bits."""
        while not self._leaving.wait(WATCH_SECONDS):
            for index, process in enumerate(self._processes):
                if process.poll() is not None:
                    # A store that is busy or full now may take the release a moment later: look again then.
                    with contextlib.suppress(SQLAlchemyError):
                        self._store.release(process.pid)
                        _bury(process)
                        self._processes[index] = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        path = os.pathsep.join(filter(None, (str(_PACKAGE_ROOT), os.environ.get("PYTHONPATH"))))
        # The address goes through the environment, because command lines are for everybody to read.
        environment = os.environ | {
            "DECODER_STORE": self._store.url,
            "PYTHONPATH": path,
            "OMP_NUM_THREADS": "1",
        }
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "decoder.runs.worker"],
            stdin=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # the terminal's Ctrl-C is for the server, which then ends its workers
        )


def _bury(process: subprocess.Popen[bytes]) -> None:
    """Wait for a process that is dead or dying, and close the pipe to it."""
    process.wait()
    if process.stdin is not None:
        process.stdin.close()
