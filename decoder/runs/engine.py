"""Who trains: processes of this machine, or the cluster that DECODER_ENGINE names."""

from __future__ import annotations

import os

from decoder.runs.cluster import Cluster
from decoder.runs.store import Store
from decoder.runs.workers import Workers


def engine(store: Store, count: int) -> Workers | Cluster:
    """Return what trains the runs of the store for as long as its `with` block lasts.

    Args:
        store: where the runs are.
        count: of processes on this machine; a cluster has as many workers as were started for it.

    Raises:
        ValueError: if DECODER_ENGINE is no address of a scheduler, or of one that must not or cannot be used.
    """
    address = os.environ.get("DECODER_ENGINE", "")
    return Cluster(store, address) if address else Workers(store, count=count)
