"""Who trains: processes of this machine, or the cluster that DECODER_ENGINE names."""

from __future__ import annotations

import os
import sys

from decoder.runs.cluster import Cluster
from decoder.runs.store import Store
from decoder.runs.workers import Workers


def engine(store: Store) -> Workers | Cluster:
    """Return what trains the runs of the store for as long as its `with` block lasts.

    Args:
        store: where the runs are.

    Raises:
        ValueError: if DECODER_ENGINE is no address of a scheduler, or of one that must not or cannot be used.
    """
    address = _cluster()
    return Cluster(store, address) if address else Workers(store, count=own_workers())


def own_workers() -> int:
    """Return how many processes of this machine the engine keeps: one per core that it may use, or none beside a cluster."""
    if _cluster():
        return 0
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _cluster() -> str:
    return os.environ.get("DECODER_ENGINE", "")
