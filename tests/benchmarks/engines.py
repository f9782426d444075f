"""How fast eight trainings end on two workers of this machine: its own processes against a Dask cluster.

Run with: .venv/bin/pip install -e '.[cluster]' && .venv/bin/python tests/benchmarks/engines.py

What makes Dask slow here are settings of its own: its nanny gives the workers MALLOC_TRIM_THRESHOLD_=65536, which also
stops glibc from learning how large this program's tensors are, so that every larger one is mapped and unmapped anew;
it trains in a thread, whose memory glibc keeps apart and gives back more eagerly than that of the main thread; and a
profiler looks at it a hundred times a second. Seconds of CPU, those of all processes of an engine together, say
more than seconds of the clock on a machine that does other things too. Rounds are interleaved, medians compared.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psutil

from decoder.config import TrainConfig
from decoder.runs import Store, Workers, open_store
from decoder.runs.cluster import Cluster
from decoder.training.presets import preset

sys.path.append(str(Path(__file__).parents[1]))
from local_cluster import LocalCluster  # beside the tests

ROUNDS = 3
RUNS = 8
WORKERS = 2
CONFIG = dataclasses.replace(preset("story"), steps=100)
NO_TRIMMING = {"DASK_DISTRIBUTED__NANNY__PRE_SPAWN_ENVIRON": "{'MALLOC_TRIM_THRESHOLD_': None}"}
ONE_ARENA = {"MALLOC_ARENA_MAX": "1"}
NO_PROFILER = {"DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False"}
Engine = Callable[[Store, Path, dict[str, str]], AbstractContextManager[None]]


@contextmanager
def own_processes(store: Store, _folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """Train in processes of this server."""
    os.environ.update(environment)
    try:
        with Workers(store, count=WORKERS):
            yield
    finally:
        for name in environment:
            del os.environ[name]


@contextmanager
def dask(store: Store, folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """Train on a cluster of this machine, started as the README says but for the environment."""
    with LocalCluster(folder, WORKERS, environment=environment) as local, Cluster(store, local.address):
        yield


VARIANTS = {
    "own processes": (own_processes, {}),
    "own processes, trimming": (own_processes, {"MALLOC_TRIM_THRESHOLD_": "65536"}),
    "Dask as it comes": (dask, {}),
    "Dask without trimming": (dask, NO_TRIMMING),
    "Dask as the README starts it": (dask, NO_TRIMMING | ONE_ARENA | NO_PROFILER),
}


def main() -> None:
    """Measure and print one line per engine."""
    print(
        f"{RUNS} runs of {CONFIG.steps} steps ({CONFIG.corpus}) on {WORKERS} workers, medians of {ROUNDS} rounds"
    )
    rounds = [{name: measure(*variant) for name, variant in VARIANTS.items()} for _ in range(ROUNDS)]
    for name in VARIANTS:
        clock, cpu = (statistics.median(each[name][kind] for each in rounds) for kind in range(2))
        print(f"{name:<28} {clock:6.1f} s by the clock {cpu:6.1f} s of CPU")


def measure(engine: Engine, environment: dict[str, str]) -> tuple[float, float]:
    """Return the seconds by the clock and of CPU that the runs take, once all workers are warm."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = open_store(f"sqlite:///{folder / 'runs.sqlite3'}")
        with engine(store, folder, environment):
            train(store, [dataclasses.replace(CONFIG, seed=seed, steps=40) for seed in range(WORKERS)])
            began = time.perf_counter(), cpu_seconds()
            train(store, [dataclasses.replace(CONFIG, seed=seed) for seed in range(RUNS)])
            taken = time.perf_counter() - began[0], cpu_seconds() - began[1]
        store.close()
    return taken


def train(store: Store, configs: list[TrainConfig]) -> None:
    """Have these trained, and wait until they are."""
    ids = [store.request(config) for config in configs]
    while any(store.run(run_id).state != "finished" for run_id in ids):
        time.sleep(0.05)


def cpu_seconds() -> float:
    """Return what this process and all that it has started have used until now."""
    processes = psutil.Process().children(recursive=True)
    return time.process_time() + sum(sum(process.cpu_times()[:2]) for process in processes)


if __name__ == "__main__":
    main()
