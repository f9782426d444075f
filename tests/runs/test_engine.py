"""How many processes train: no more than the cores whose time this machine, or container, may take."""

import math
import sys

import pytest

from decoder.runs import engine


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "max 100000\n"}, math.inf),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "5000 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, math.inf),
        ({"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "250000\n"}, math.inf),
        ({}, math.inf),
    ],
    ids=[
        "2: none",
        "2: whole",
        "2: rounded up",
        "2: at least one",
        "1: none",
        "1: rounded up",
        "1: half",
        "neither",
    ],
)
def test_a_container_has_the_cores_that_its_quota_grants(tmp_path, files, cores):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert engine.granted_cores(tmp_path) == cores


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has control groups")
def test_there_are_as_many_workers_as_cores_may_be_used_at_the_same_time(monkeypatch):
    monkeypatch.setattr(engine.os, "sched_getaffinity", lambda _pid: set(range(8)))
    for granted, workers in ((math.inf, 8), (3, 3), (20, 8)):
        monkeypatch.setattr(engine, "granted_cores", lambda granted=granted: granted)
        assert engine.own_workers() == workers
