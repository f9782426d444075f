"""The store keeps runs: one per configuration, whole or not at all, for many readers at once."""

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from decoder.config import DecoderConfig, TextSource
from decoder.model.decoder import Decoder
from decoder.runs.advance import advance
from decoder.runs.store import SCHEMA_VERSION, History, open_store
from decoder.training.presets import preset
from decoder.training.trainer import train


def test_equal_configurations_are_one_run_and_different_ones_are_not(store, tiny):
    assert store.request(tiny(seed=3), viewer="a") == store.request(tiny(seed=3), viewer="b")
    assert store.request(tiny(seed=4)) != store.request(tiny(seed=3))


def test_a_requested_run_waits_with_its_configuration(store, tiny):
    run = store.run(store.request(tiny(mode="scheduled_sampling", start=2)))
    assert (run.state, run.step, run.error, run.parent, run.fork_step) == ("waiting", 0, None, None, None)
    assert run.config == tiny(mode="scheduled_sampling", start=2)
    assert store.metrics(run.id) == []
    assert store.evaluations(run.id) == []
    assert store.snapshots(run.id) == ()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"steps": 5_001}, "5,001 steps; at most 5,000"),
        ({"decoder": DecoderConfig(35, 9, d_model=512, n_layers=4)}, "at most 2,000,000"),
        ({"decoder": DecoderConfig(36, 9)}, "36 tokens .* 35"),
        ({"corpus": "nowhere"}, "no corpus 'nowhere'"),
        ({"corpus": TextSource("to be or not to be")}, "longer text"),
        ({"corpus": TextSource("to be or not " * 40), "decoder": DecoderConfig(4, 250)}, "smaller context"),
    ],
)
def test_what_cannot_be_trained_here_is_refused_at_the_door(store, tiny, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        store.request(tiny(**changes))
    assert store.claim(1) is None


def test_an_unknown_run_is_one_sentence(store):
    for question in (
        store.run,
        store.metrics,
        store.evaluations,
        store.snapshots,
        store.weights,
        store.model,
    ):
        with pytest.raises(ValueError, match="no run 'nobody'"):
            question("nobody")


def test_only_what_is_newer_is_read(store, tiny):
    run_id = store.request(tiny(steps=12))
    store.commit(run_id, History(list(train(tiny(steps=12)))), "training")
    assert [row.step for row in store.metrics(run_id, after=9)] == [10, 11, 12]
    assert store.metrics(run_id, after=12) == []
    assert store.run(run_id).step == 12


def test_positions_without_a_target_are_none(store, tiny):
    run_id = store.request(tiny())
    step = next(train(tiny()))._replace(loss_per_position=torch.tensor([0.5, torch.nan]))
    store.commit(run_id, History([step]), "training")
    assert store.metrics(run_id)[0].loss_per_position == (0.5, None)


def test_a_replayed_quantum_changes_nothing(store, tiny):
    run_id = store.request(tiny())
    steps = list(train(tiny()))
    store.commit(run_id, History(steps), "training")
    before = store.metrics(run_id)
    store.commit(run_id, History(steps[:7]), "training")
    assert store.metrics(run_id) == before
    assert store.run(run_id).step == 30


def test_a_commit_after_the_end_is_thrown_away(store, tiny):
    run_id = store.request(tiny())
    steps = list(train(tiny()))
    store.commit(run_id, History(steps), "finished")
    store.commit(run_id, History([steps[0]._replace(loss=9.0)]), "failed", "too late")
    assert store.run(run_id).state == "finished"
    assert store.metrics(run_id)[0].loss == steps[0].loss


def test_a_quantum_that_cannot_be_written_whole_leaves_no_trace(store, tiny):
    run_id = store.request(tiny())
    with pytest.raises(Exception, match="NOT NULL"):
        store.commit(run_id, History(list(train(tiny())), snapshots={0: None}), "finished")
    assert (store.run(run_id).state, store.run(run_id).step, store.metrics(run_id)) == ("waiting", 0, [])


def test_a_short_text_is_trained_in_the_context_that_it_has_room_for(store):
    config = preset(TextSource("the cat sees the dog and the dog sees the cat " * 2))
    assert config.decoder.context_length < 32
    assert store.run(store.request(config)).state == "waiting"


def test_weights_are_those_of_the_nearest_snapshot_at_or_before(store, tiny):
    run_id = store.request(tiny())
    with pytest.raises(ValueError, match="0 snapshots"):
        store.weights(run_id)
    while not advance(store, run_id).done:
        pass
    assert store.snapshots(run_id) == (0, 5, 10, 20, 30)
    models = {step: store.model(run_id, step) for step in (0, 9, 10, 29, None)}
    assert [found for _, found in models.values()] == [0, 5, 10, 20, 30]
    for step, (model, _) in models.items():
        weights = store.weights(run_id, step)
        assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())
    untrained = Decoder(tiny().decoder, seed=0).state_dict()
    assert all(torch.equal(tensor, untrained[name]) for name, tensor in store.weights(run_id, 0).items())


def test_each_waiting_run_is_claimed_once_and_the_longest_waiting_first(store, tiny):
    requested = [store.request(tiny(seed=seed)) for seed in range(20)]
    with ThreadPoolExecutor(4) as pool:
        claimed = list(pool.map(store.claim, range(24)))
    assert sorted(filter(None, claimed)) == sorted(requested)
    store.release(worker=claimed.index(requested[0]))
    assert store.claim(1, waiting_for=60.0) is None
    assert store.claim(1) == requested[0]


def test_readers_see_whole_quanta_while_two_writers_write(store, tiny):
    ids = [store.request(tiny(seed=seed, steps=60)) for seed in range(2)]
    histories = {run_id: list(train(store.run(run_id).config)) for run_id in ids}
    seen, done = [], threading.Event()

    def read():
        own = open_store(store.url)
        while not done.is_set():
            seen.extend(len(own.metrics(run_id)) for run_id in ids)
        own.close()

    def write(run_id):
        for first in range(0, 60, 6):
            store.commit(run_id, History(histories[run_id][first : first + 6]), "training")

    with ThreadPoolExecutor(6) as pool:
        readers = [pool.submit(read) for _ in range(4)]
        for writer in [pool.submit(write, run_id) for run_id in ids]:
            writer.result()
        done.set()
        for reader in readers:
            reader.result()
    assert {count % 6 for count in seen} == {0}
    assert [len(store.metrics(run_id)) for run_id in ids] == [60, 60]


def test_many_may_open_a_new_file_at_once(tmp_path):
    for attempt in range(5):
        url = f"sqlite:///{tmp_path}/new{attempt}.db"
        barrier = threading.Barrier(6)

        def open_together(url=url, barrier=barrier):
            barrier.wait()
            open_store(url).close()

        with ThreadPoolExecutor(6) as pool:
            for opened in [pool.submit(open_together) for _ in range(6)]:
                opened.result()


@pytest.mark.parametrize("version", [SCHEMA_VERSION - 1, SCHEMA_VERSION + 1])
def test_a_file_of_another_version_is_refused_with_a_remedy(tmp_path, version):
    path = tmp_path / "runs.db"
    open_store(f"sqlite:///{path}").close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version={version}")
    connection.close()
    with pytest.raises(ValueError, match=f"format {version} .* format {SCHEMA_VERSION}: move the file away"):
        open_store(f"sqlite:///{path}")


@pytest.mark.parametrize(
    "url", ["postgresql://user:secret@host/runs", "sqlite://", "sqlite:///:memory:", "runs"]
)
def test_what_is_no_sqlite_file_is_refused_without_showing_a_password(url):
    with pytest.raises(ValueError, match=r"sqlite:////data/runs\.db") as refusal:
        open_store(url)
    assert "secret" not in str(refusal.value)


def test_a_file_that_is_no_database_is_refused_with_a_remedy(tmp_path):
    (tmp_path / "runs.db").write_text("a diary, not a database" * 100)
    with pytest.raises(ValueError, match=r"not a database.* name another file"):
        open_store(f"sqlite:///{tmp_path}/runs.db")


def test_without_a_url_the_environment_decides(tmp_path, monkeypatch):
    monkeypatch.setenv("DECODER_STORE", f"sqlite:///{tmp_path}/deep/er/runs.db")
    open_store().close()
    assert (tmp_path / "deep/er/runs.db").exists()
