"""A Dask cluster on this machine, started as the README says: a scheduler, and processes that train."""

import contextlib
import os
import socket
import subprocess
import sys
import time

import psutil

THIS_MACHINE_ONLY = ("--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0")
START_SECONDS = 60.0


class LocalCluster:
    """`with LocalCluster(folder) as cluster:` has a scheduler at `cluster.address`, and `count` workers.

    Their logs are in the folder. A `host` of () lets them listen wherever Dask does by itself; `tls` are options
    with certificates; the environment is theirs beside that of this process.
    """

    def __init__(self, folder, count=2, host=THIS_MACHINE_ONLY, tls=(), environment=None):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        protocol = "tls" if tls else "tcp"
        self.address = f"dask{'+tls' if tls else ''}://127.0.0.1:{port}"
        self.port = port
        self.count = count
        self.folder = folder
        self._environment = os.environ | (environment or {})
        self._commands = {
            "scheduler": ("--port", str(port), "--protocol", protocol, *THIS_MACHINE_ONLY, *tls),
            "worker": (
                f"{protocol}://127.0.0.1:{port}",
                "--nworkers",
                str(count),
                "--nthreads",
                "1",
                *host,
                *tls,
            ),
        }
        self.processes = {}

    def __enter__(self):
        for role in self._commands:
            self.start(role)
        return self

    def __exit__(self, *_):
        for role in reversed(self._commands):
            self.stop(role)

    def start(self, role):
        """Start the scheduler, or the workers together with the nanny that replaces them."""
        with (self.folder / f"{role}.log").open("a") as log:
            self.processes[role] = subprocess.Popen(
                [sys.executable, "-m", "dask", role, *self._commands[role]],
                env=self._environment,
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        while role == "scheduler":
            with (
                contextlib.suppress(ConnectionRefusedError),
                socket.create_connection(("127.0.0.1", self.port)),
            ):
                return
            assert self.processes[role].poll() is None, (self.folder / "scheduler.log").read_text()
            time.sleep(0.05)

    def stop(self, role):
        """Kill the scheduler, or all workers: nobody is asked."""
        process = self.processes.pop(role, None)
        if process is not None:
            children = psutil.Process(process.pid).children() if process.poll() is None else []
            process.kill()
            process.wait()
            for child in children:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()

    @property
    def pids(self):
        """The ids of the processes that train; waits until all are there."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            pids = []
            for child in psutil.Process(self.processes["worker"].pid).children():
                with contextlib.suppress(psutil.NoSuchProcess):
                    if any("spawn_main" in part for part in child.cmdline()):
                        pids.append(child.pid)
            if len(pids) == self.count:
                return tuple(pids)
            assert time.monotonic() < deadline, (self.folder / "worker.log").read_text()
            time.sleep(0.05)
