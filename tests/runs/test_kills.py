"""Whoever is killed with -9, and whenever: no run is lost, none is damaged, and all end as if nothing had been."""

import os

import pytest
from disturbance import Load, kill_servers, kill_workers, until

from decoder.runs.workers import Workers

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills processes by signal")


def assert_nothing_happened(load):
    assert load.lost() == []
    assert load.damaged() == load.torn() == []
    assert load.different() == []
    plans = [(plan[-1].config if len(plan) > 1 else plan[0]).mode for plan in load.runs.values()]
    assert len(set(plans)) >= 3, "several modes were among them"
    assert any(len(plan) > 1 for plan in load.runs.values()), "a fork was among them"


def test_two_dozen_kills_of_busy_workers_leave_no_trace(store):
    load = Load(store, seed=1)
    with Workers(store, count=2) as workers:
        kill_workers(load, workers, kills=24, seed=11)
        load.top_up()
        until(lambda: not load.unfinished, what="the end of all runs")
    assert_nothing_happened(load)


def test_kills_of_whole_servers_leave_no_trace_while_another_serves_the_same_store(store):
    load = Load(store, seed=2)
    kill_servers(load, kills=3, seed=21, settle=0.3)
    assert_nothing_happened(load)
