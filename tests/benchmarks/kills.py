"""A thousand kill -9 of busy workers and a hundred of whole servers: nothing is lost, and nothing is different.

Run with: .venv/bin/python tests/benchmarks/kills.py --workers 1000 --servers 100 [--store URL]

The everyday tests do the same a few dozen times (tests/runs/test_kills.py). At the end every run is compared,
bit by bit, with a training to which nothing happened: whole curve, evaluations, every snapshot, last weights.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).parents[1] / "runs"))

from disturbance import Load, kill_servers, kill_workers, until  # beside the tests that use it

from decoder.runs import Store, Workers, open_store  # the same


def main() -> None:
    """Kill, compare and count; the exit status says whether all was well."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=1000, help="kills of busy workers")
    parser.add_argument("--servers", type=int, default=100, help="kills of whole servers")
    parser.add_argument("--store", help="an empty store's address; default: a new SQLite file")
    parser.add_argument("--seed", type=int, default=0, help="of the kills and of the runs")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(arguments.store or f"sqlite:///{folder}/runs.db")
        try:
            well = not arguments.workers or workers(store, arguments.workers, arguments.seed)
            well = (not arguments.servers or servers(store, arguments.servers, arguments.seed)) and well
        finally:
            store.close()
    sys.exit(not well)


def workers(store: Store, kills: int, seed: int) -> bool:
    """Kill workers; their nursery replaces them."""
    load = Load(store, seed=2 * seed, steps=400)
    began = time.monotonic()
    with Workers(store, count=2) as two:
        kill_workers(load, two, kills, seed)
        until(lambda: not load.unfinished, 300, "the end of all runs")
    return tell("workers", kills, load, time.monotonic() - began)


def servers(store: Store, kills: int, seed: int) -> bool:
    """Kill servers; always another one serves the same store."""
    load = Load(store, seed=2 * seed + 1)
    began = time.monotonic()
    kill_servers(load, kills, seed, settle=0.5)
    return tell("servers", kills, load, time.monotonic() - began)


def tell(what: str, kills: int, load: Load, seconds: float) -> bool:
    """Print one line, and what is wrong; return whether nothing is."""
    lost, corrupt, different = load.lost(1.0), {*load.damaged(), *load.torn()}, load.different()
    count = len(load.runs)
    forks = sum(len(plan) > 1 for plan in load.runs.values())
    identical = count - len(lost) - len(different)
    well = not lost and not corrupt and identical == count
    print(
        f"{kills} kills of {what} in {seconds:.0f} s, over {count} runs ({forks} of them forks): "
        f"{len(lost)} lost, {len(corrupt)} corrupt, {identical} of {count} identical: {'met' if well else 'MISSED'}",
        flush=True,
    )
    for problem in (*lost, *corrupt, *different):
        print("  ", problem)
    return well


if __name__ == "__main__":
    main()
