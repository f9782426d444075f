"""Worker processes train what waits, survive being killed, and never outlive their server."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from decoder.config import DecoderConfig
from decoder.runs.store import open_store
from decoder.runs.workers import Workers

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills processes by signal")


def until(condition, seconds=30.0):
    """Wait until the condition holds, and return how long that took."""
    began = time.perf_counter()
    while not condition():
        assert time.perf_counter() - began < seconds, "waited in vain"
        time.sleep(0.01)
    return time.perf_counter() - began


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")  # an orphan that nobody waits for stays a zombie: not alive
    try:
        return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def all_finished(store, ids):
    return all(store.run(run_id).state == "finished" for run_id in ids)


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory):
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('shared')}/runs.db")
    yield store
    store.close()


@pytest.fixture(scope="module")
def workers(shared_store):
    with Workers(shared_store, count=2) as workers:
        yield workers


def test_two_runs_are_trained_at_once_each_by_a_worker(shared_store, workers, tiny, assert_bit_identical):
    assert len(set(workers.pids)) == 2
    ids = [shared_store.request(tiny(seed=seed, steps=100)) for seed in range(2)]
    until(lambda: all(shared_store.run(run_id).state == "training" for run_id in ids))
    until(lambda: all_finished(shared_store, ids))
    for run_id in ids:
        assert_bit_identical(shared_store, run_id)


@pytest.mark.usefixtures("workers")
def test_the_first_point_of_a_curve_comes_at_once(shared_store, tiny):
    run_id = shared_store.request(tiny(seed=100))
    assert until(lambda: shared_store.metrics(run_id)) < 0.5


@pytest.mark.usefixtures("workers")
def test_with_more_runs_than_workers_all_move(shared_store, tiny):
    ids = [shared_store.request(tiny(seed=seed, steps=800)) for seed in range(10, 13)]
    until(lambda: all(shared_store.run(run_id).step > 1 for run_id in ids))
    assert not any(shared_store.run(run_id).state == "finished" for run_id in ids)
    until(lambda: all_finished(shared_store, ids))


def test_a_run_that_fails_takes_nobody_along(shared_store, workers, tiny):
    pids = workers.pids
    diverging = shared_store.request(tiny(learning_rate=1e30))
    others = [shared_store.request(tiny(seed=seed)) for seed in range(20, 23)]
    until(lambda: all_finished(shared_store, others))
    until(lambda: shared_store.run(diverging).state == "failed")
    assert "choose a learning rate below 1e+30" in shared_store.run(diverging).error
    assert workers.pids == pids


def test_killed_workers_are_replaced_and_their_runs_finish_bit_identically(
    shared_store, workers, tiny, assert_bit_identical
):
    ids = [shared_store.request(tiny(seed=seed, steps=300)) for seed in range(30, 33)]
    until(lambda: all(shared_store.run(run_id).step > 1 for run_id in ids))
    killed = workers.pids
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    until(lambda: set(workers.pids).isdisjoint(killed), seconds=2.0)
    assert len(set(workers.pids)) == 2
    until(lambda: all_finished(shared_store, ids))
    for run_id in ids:
        assert_bit_identical(shared_store, run_id)


def test_leaving_ends_all_workers_and_lets_their_runs_wait(store, tiny):
    decoder = DecoderConfig(35, 9, n_layers=4, n_heads=4, d_model=128)
    run_id = store.request(tiny(decoder=decoder, steps=5_000, batch_size=128))
    with Workers(store, count=1) as workers:
        until(lambda: store.run(run_id).step)
        pids = workers.pids
    assert not any(is_alive(pid) for pid in pids)
    assert store.run(run_id).state == "waiting"
    assert store.metrics(run_id)


def test_workers_do_not_outlive_a_killed_server_and_the_next_one_takes_over(store, tiny):
    server = (
        "import time\n"
        "from decoder.runs.store import open_store\n"
        "from decoder.runs.workers import Workers\n"
        "with Workers(open_store(), count=2) as workers:\n"
        "    print(*workers.pids, flush=True)\n"
        "    time.sleep(60)\n"
    )
    run_id = store.request(tiny(steps=2_000))
    environment = os.environ | {"DECODER_STORE": store.url}
    command = [sys.executable, "-c", server]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        pids = [int(pid) for pid in process.stdout.readline().split()]
        until(lambda: store.run(run_id).step)
        process.kill()
    assert len(pids) == 2
    until(lambda: not any(is_alive(pid) for pid in pids), seconds=5.0)
    assert store.run(run_id).state == "training"
    with Workers(store, count=0):
        assert store.run(run_id).state == "waiting"


def test_workers_start_from_any_folder_without_running_the_main_script_again(store, tiny, tmp_path):
    script = tmp_path / "app.py"
    (tmp_path / "torch.py").write_text("raise RuntimeError('a file beside the app is not torch')")
    script.write_text(
        "import sys, time\n"
        "sys.path.pop(0)\n"
        "from decoder.runs.store import open_store\n"
        "from decoder.runs.workers import Workers\n"
        "print('started', flush=True)\n"
        "store = open_store()\n"
        "with Workers(store, count=1):\n"  # no guard on __name__: Streamlit's scripts have none
        "    while store.run(sys.argv[1]).state != 'finished':\n"
        "        time.sleep(0.05)\n"
    )
    run_id = store.request(tiny())
    environment = os.environ | {"DECODER_STORE": store.url}
    command = [sys.executable, str(script), run_id]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stdout, done.stderr) == ("started\n", "")
