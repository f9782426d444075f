"""Who trains: processes of this machine, or the cluster that DECODER_ENGINE names."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

from decoder.runs.cluster import Cluster
from decoder.runs.store import Store
from decoder.runs.workers import Workers

CONTROL_GROUPS = Path("/sys/fs/cgroup")


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
    if sys.platform != "linux":
        return os.cpu_count() or 1
    return int(min(len(os.sched_getaffinity(0)), granted_cores()))


def granted_cores(groups: Path = CONTROL_GROUPS) -> float:
    """Return how many cores' time a container may take, rounded up; infinity where there is no limit.

    Args:
        groups: the folder of the kernel's control groups, as the container sees it, in their version 2 or 1.
    """
    for names in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        try:
            texts = [(groups / name).read_text(encoding="ascii") for name in names]
            quota, period = map(int, " ".join(texts).split())
        except (OSError, ValueError):  # the other version, or the word "max"
            continue
        if quota > 0 and period > 0:
            return max(1, math.ceil(quota / period))
    return math.inf


def _cluster() -> str:
    return os.environ.get("DECODER_ENGINE", "")
