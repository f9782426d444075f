"""Worker processes train what waits, survive being killed, stopped or starved, and never outlive their server."""

import errno
import math
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
import sqlalchemy as sql
from disturbance import Server, all_ended, is_alive, training, until
from undisturbed import Change, assert_undisturbed, tiny

from decoder.config import DecoderConfig, TextSource, TrainConfig
from decoder.language import open_corpus
from decoder.runs import leases
from decoder.runs.store import WATCHED_SECONDS, open_store
from decoder.runs.tables import RUNS, VIEWS
from decoder.runs.worker import NICENESS
from decoder.runs.workers import Workers

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills processes by signal")

TEXT = TextSource(
    "whether it is nobler in the mind to suffer the slings and arrows of outrageous fortune " * 60
)


def heavy(*, batch_size, layers=1, steps=5, seed=0):
    """A training whose updates take seconds, and with many layers more memory than a worker may have."""
    vocabulary = open_corpus(TEXT, 256).tokenizer.vocab_size
    decoder = DecoderConfig(vocabulary, 256, n_layers=layers, n_heads=8, d_model=64)
    return TrainConfig(TEXT, decoder, steps=steps, batch_size=batch_size, seed=seed)


@pytest.fixture(autouse=True)
def _slow_updates_are_let_in(monkeypatch):
    """The door asks for updates short enough to take turns; what workers make of others is to be seen here."""
    monkeypatch.setattr("decoder.config.MAX_UPDATE_SECONDS", math.inf)


def row(store, run_id):
    with store.database.read() as connection:
        return connection.execute(sql.select(RUNS).where(RUNS.c.id == run_id)).one()


@pytest.fixture(scope="module")
def workers(shared_store):
    with Workers(shared_store, count=2) as workers:
        yield workers


def test_two_runs_are_trained_at_once_each_by_a_worker(shared_store, workers):
    assert len(set(workers.pids)) == 2
    ids = [shared_store.request(tiny(seed=seed, steps=100)) for seed in range(2)]
    until(lambda: len(training(shared_store).keys() & {*workers.pids}) == 2)
    until(lambda: all_ended(shared_store, ids))
    for run_id in ids:
        assert_undisturbed(shared_store, run_id)


@pytest.mark.skipif(sys.platform != "linux", reason="niceness is told of a process by Linux")
def test_workers_give_way_to_clicks(workers):
    assert {psutil.Process(pid).nice() for pid in workers.pids} == {
        min(psutil.Process().nice() + NICENESS, 19)
    }


@pytest.mark.usefixtures("workers")
def test_a_fork_of_a_run_in_training_is_trained_beside_it(shared_store):
    parent = shared_store.request(tiny(seed=5, steps=200))
    until(lambda: shared_store.run(parent).step > 20)
    step = shared_store.run(parent).step
    fork = shared_store.fork(parent, step, mode="free_running")
    until(lambda: all_ended(shared_store, [parent, fork]))
    assert_undisturbed(shared_store, parent)
    assert_undisturbed(shared_store, fork, Change(step, tiny(seed=5, steps=200, mode="free_running")))


@pytest.mark.usefixtures("workers")
def test_with_more_runs_than_workers_all_move(shared_store):
    ids = [shared_store.request(tiny(seed=seed, steps=800)) for seed in range(10, 13)]
    until(lambda: all(shared_store.run(run_id).step > 1 for run_id in ids))
    assert not any(shared_store.run(run_id).state == "finished" for run_id in ids)
    for run_id in ids:  # seen enough: what nobody looks at any more is not trained to its end
        shared_store.pause(run_id, "ada")
    until(lambda: not training(shared_store))


def test_a_run_that_fails_takes_nobody_along(shared_store, workers):
    pids = workers.pids
    diverging = shared_store.request(tiny(learning_rate=1e30))
    others = [shared_store.request(tiny(seed=seed)) for seed in range(20, 23)]
    until(lambda: all_ended(shared_store, [diverging, *others]))
    assert "choose a learning rate below 1e+30" in shared_store.run(diverging).error
    assert [shared_store.run(run_id).state for run_id in others] == ["finished"] * 3
    assert workers.pids == pids


def test_a_hostile_size_becomes_a_failed_run_with_a_sentence_and_no_killed_process(shared_store, workers):
    """It is within every limit of the door but that of its updates' seconds."""
    pids = workers.pids
    run_id = shared_store.request(heavy(layers=8, batch_size=256))
    other = shared_store.request(tiny(seed=25))
    until(lambda: all_ended(shared_store, [run_id, other]))
    run = shared_store.run(run_id)
    assert (run.state, run.step) == ("failed", 0)
    assert run.error == (
        "the training needs more memory than a worker may take: choose a smaller decoder, batch or context"
    )
    assert workers.pids == pids
    assert row(shared_store, run_id).deaths == 0
    assert_undisturbed(shared_store, other)


def test_killed_workers_are_replaced_and_their_runs_finish_bit_identically(shared_store, workers):
    ids = [shared_store.request(tiny(seed=seed, steps=200)) for seed in range(30, 32)]
    until(lambda: all(shared_store.run(run_id).step > 1 for run_id in ids))
    killed = workers.pids
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    until(lambda: set(workers.pids).isdisjoint(killed), seconds=5.0)
    assert len(set(workers.pids)) == 2
    until(lambda: all_ended(shared_store, ids))
    for run_id in ids:
        assert_undisturbed(shared_store, run_id)


def test_a_run_that_kills_three_workers_is_failed_with_its_sentence_and_the_others_are_left_alone(
    shared_store, workers
):
    poison = shared_store.request(heavy(batch_size=192))
    others = [shared_store.request(tiny(seed=seed, steps=100)) for seed in range(40, 43)]
    killed = []

    def kill_its_worker():
        now = row(shared_store, poison)
        if now.lease is not None and now.lease not in killed:  # it takes seconds to its first update
            os.kill(int(now.worker.split("|")[1]), signal.SIGKILL)
            killed.append(now.lease)
        return now.state == "failed"

    until(kill_its_worker)
    run = shared_store.run(poison)
    assert len(killed) == 3
    assert run.error == (
        "the process that trained it died 3 times after step 0, probably for lack of memory: "
        "choose a smaller decoder, batch or context"
    )
    until(lambda: all_ended(shared_store, others))
    assert row(shared_store, poison).lease is None
    for run_id in others:
        assert row(shared_store, run_id).deaths == 0
        assert_undisturbed(shared_store, run_id)
    assert len(set(workers.pids)) == 2


def stop_in_training(store, workers, run_id):
    """Stop the worker of a run in the middle of an update, never in the middle of a transaction."""
    while True:
        until(lambda: row(store, run_id).lease is not None)
        taken = row(store, run_id)
        if taken.lease is None:
            continue
        pid = int(taken.worker.split("|")[1])
        assert pid in workers.pids
        os.kill(pid, signal.SIGSTOP)
        if row(store, run_id).lease != taken.lease:
            os.kill(pid, signal.SIGCONT)
            continue
        # Whoever is stopped inside a transaction holds its locks: then let it go on and try again.
        written = threading.Thread(target=store.pin, args=(run_id,))
        written.start()
        written.join(1.0)
        if written.is_alive():
            os.kill(pid, signal.SIGCONT)
            written.join()
            continue
        return pid, taken.lease


def test_a_stopped_worker_loses_its_run_and_what_it_brings_back_later_is_thrown_away(
    shared_store, workers, dump
):
    run_id = shared_store.request(tiny(seed=50, steps=150))
    until(lambda: shared_store.run(run_id).step > 5)
    pid, lease = stop_in_training(shared_store, workers, run_id)
    try:
        with shared_store.database.write() as connection:  # ten seconds later
            expired = sql.update(RUNS).where(RUNS.c.lease == lease).values(lease_until=time.time() - 1)
            assert connection.execute(expired).rowcount == 1
        until(lambda: all_ended(shared_store, [run_id]))
        before = dump(shared_store, run_id)
    finally:
        os.kill(pid, signal.SIGCONT)
    # It wakes up, trains its quantum to the end and wants to commit; then it works on as if nothing had been.
    # As many as there are workers, so that it gets one of them.
    following = [shared_store.request(heavy(batch_size=8, steps=500, seed=seed)) for seed in (50, 51)]
    until(lambda: pid in training(shared_store))
    assert dump(shared_store, run_id) == before
    assert_undisturbed(shared_store, run_id)
    for each in following:
        shared_store.pause(each, "ada")


@pytest.mark.usefixtures("workers")
def test_a_run_that_nobody_watches_any_more_is_paused_by_the_server_and_woken_by_a_look(shared_store):
    config = tiny(seed=60, steps=5_000)
    run_id = shared_store.request(config, viewer="ada")
    until(lambda: shared_store.run(run_id).step > 1)
    with shared_store.database.write() as connection:
        gone = time.time() - WATCHED_SECONDS - 1
        connection.execute(sql.update(RUNS).where(RUNS.c.id == run_id).values(viewed=gone))
        connection.execute(sql.update(VIEWS).where(VIEWS.c.run_id == run_id).values(seen=gone))
    until(lambda: shared_store.run(run_id).state == "paused", seconds=10)
    until(lambda: row(shared_store, run_id).lease is None)
    step = shared_store.run(run_id).step
    shared_store.watch(run_id, "bob")
    until(lambda: shared_store.run(run_id).step > step)
    shared_store.pause(run_id, "bob")


def test_two_servers_on_one_store_share_the_work_and_not_the_runs(shared_store, workers):
    with Workers(shared_store, count=1) as second:
        assert len({*workers.pids, *second.pids}) == 3
        # Long enough that all three get a turn.
        ids = [shared_store.request(tiny(seed=seed, steps=700)) for seed in range(70, 73)]
        seen = set()

        def all_have_worked():
            seen.update(training(shared_store))
            return {*workers.pids, *second.pids} <= seen

        until(all_have_worked)
        until(lambda: all_ended(shared_store, ids))
    for run_id in ids:
        assert row(shared_store, run_id).deaths == 0
        assert_undisturbed(shared_store, run_id)


def test_leaving_ends_all_workers_and_lets_their_runs_wait(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/runs.db")
    run_id = store.request(heavy(batch_size=8, steps=500))
    with Workers(store, count=1) as workers:
        until(lambda: store.run(run_id).step)
        pids = workers.pids
    assert not any(is_alive(pid) for pid in pids)
    assert (store.run(run_id).state, row(store, run_id).lease, row(store, run_id).deaths) == (
        "waiting",
        None,
        0,
    )
    assert store.metrics(run_id)
    store.close()


def test_whoever_kills_a_server_kills_no_run(tmp_path):
    """Its workers leave when it is gone, and say so: however often that happens, no run is to blame."""
    store = open_store(f"sqlite:///{tmp_path}/runs.db")
    run_id = store.request(heavy(batch_size=8, steps=500))
    for _ in range(leases.MOST_DEATHS):
        server = Server(store).wait()
        until(lambda: row(store, run_id).lease is not None)
        server.kill()
        assert (row(store, run_id).lease, row(store, run_id).deaths) == (None, 0)
        assert store.run(run_id).state == "waiting"
    store.close()


def test_workers_start_from_any_folder_without_running_the_main_script_again(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/runs.db")
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
    store.close()


@pytest.fixture
def idle_nursery(monkeypatch):
    """Let a nursery be a process that starts at once and does nothing; what is in the list is raised instead."""
    refusals = []
    popen = subprocess.Popen

    def start(_command, **words):
        if refusals:
            raise refusals.pop()
        return popen(
            [sys.executable, "-S", "-c", "import os; print(os.getpid(), flush=True); input()"], **words
        )

    monkeypatch.setattr(subprocess, "Popen", start)
    return refusals


def test_a_nursery_that_cannot_be_replaced_now_is_replaced_later_and_that_is_said_once(
    tmp_path, idle_nursery, capfd
):
    store = open_store(f"sqlite:///{tmp_path}/runs.db")
    with Workers(store, count=1) as workers:
        (first,) = workers.pids
        idle_nursery += [OSError(errno.ENOMEM, "Cannot allocate memory") for _ in range(3)]
        os.kill(first, signal.SIGKILL)
        until(lambda: not idle_nursery and workers.pids not in {(), (first,)}, 10)
        assert is_alive(workers.pids[0])
    assert capfd.readouterr().err == (
        "the workers cannot be looked after (OSError(12, 'Cannot allocate memory')): "
        "trainings may wait, it is tried again\n"
    )
    store.close()


@pytest.mark.usefixtures("idle_nursery")
def test_whatever_goes_wrong_in_tidying_dead_runs_are_freed_afterwards(
    tmp_path, monkeypatch, dead_worker, capfd
):
    monkeypatch.setattr("decoder.runs.workers.TIDY_SECONDS", 0.1)
    store = open_store(f"sqlite:///{tmp_path}/runs.db")
    failures = [RuntimeError("can't start new thread"), MemoryError()]
    rest = leases.rest

    def fail_at_first(store):
        if failures:
            raise failures.pop()
        rest(store)

    with Workers(store, count=1):
        monkeypatch.setattr(leases, "rest", fail_at_first)
        until(lambda: not failures, 10)
        run_id = store.request(tiny())
        with monkeypatch.context() as patch:
            patch.setattr(leases, "worker_name", lambda: dead_worker)
            leases.take(store, run_id)
        until(lambda: row(store, run_id).lease is None, 10)
    assert len(capfd.readouterr().err.splitlines()) == 2
    store.close()


def test_a_server_finds_what_a_killed_one_left_behind(store, dead_worker, monkeypatch):
    run_id = store.request(tiny())
    with monkeypatch.context() as patch:
        patch.setattr(leases, "worker_name", lambda: dead_worker)
        leases.take(store, run_id)
    assert store.run(run_id).state == "training"
    with Workers(store, count=0):
        assert store.run(run_id).state == "waiting"
        assert row(store, run_id).lease is None
