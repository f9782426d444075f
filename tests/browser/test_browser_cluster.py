"""The training page on a cluster: Dask's workers train into PostgreSQL, and one of them is killed in mid-run."""

import os
import signal

import pytest

from decoder.figures.style import NAMES
from decoder.runs import open_store
from decoder.training.presets import preset

SETTINGS = {"size": "small", "seed": 12}


@pytest.fixture
def store(cluster_server):
    store = open_store(cluster_server.store_url)
    yield store
    store.close()


def test_two_lanes_train_on_a_cluster_whatever_becomes_of_a_worker(cluster_server, cluster, store, visit):
    configs = [preset("ibm", mode=mode, **SETTINGS) for mode in ("teacher_forcing", "free_running")]
    training = visit("training", at=cluster_server, **SETTINGS)
    ids = [store.request(config) for config in configs]  # what is there already is not asked for again
    assert all(store.watchers(run_id) for run_id in ids)
    training.until(lambda: all(store.run(run_id).step > 1 for run_id in ids), "both lanes to train")
    workers = cluster.pids
    os.kill(workers[0], signal.SIGKILL)
    assert not any(store.run(run_id).state == "finished" for run_id in ids)

    training.until(
        lambda: all(store.run(run_id).state == "finished" for run_id in ids), "both lanes' end", 120
    )
    training.trained()
    text = training.main.inner_text()
    for run_id, config in zip(ids, configs, strict=True):
        run, row = store.run(run_id), store.evaluations(run_id)[-1]
        assert (run.step, row.step, run.error) == (config.steps, config.steps, None)
        own = store.metrics(run_id)[-1].loss
        for number in (NAMES[config.mode], f"{own:.4g}", f"{row.true_history_loss:.4g}"):
            assert number in text
    assert cluster_server.workers == []  # nobody trains on the server's side
    assert workers[0] not in cluster.pids
