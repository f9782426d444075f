"""The store keeps runs: one per configuration, whole or not at all, for many readers at once."""

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sql
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from undisturbed import assert_equal_weights, assert_undisturbed, tiny, undisturbed

from decoder.config import DecoderConfig, TextSource, TrainConfig
from decoder.model.decoder import Decoder
from decoder.runs import leases
from decoder.runs.advance import advance
from decoder.runs.history import Checkpoint, History
from decoder.runs.store import CODE_VERSION, UnknownRunError, open_store
from decoder.runs.tables import CONFIGS, RUNS, SCHEMA_VERSION
from decoder.training.presets import preset
from decoder.training.trainer import Trainer, train


def commit(store, run_id, history, state="training"):
    """Commit as a worker does."""
    lease = leases.take(store, run_id)
    return lease is not None and leases.commit(store, lease, history, state)


def finish(store, run_id):
    while not advance(store, run_id, 0.02).done:
        pass


def test_equal_configurations_are_one_run_and_different_ones_are_not(store):
    assert store.request(tiny(seed=3), viewer="a") == store.request(tiny(seed=3), viewer="b")
    assert store.request(tiny(seed=4)) != store.request(tiny(seed=3))
    assert tiny(learning_rate=1) == tiny(learning_rate=1.0), "Python says so"
    assert store.request(tiny(learning_rate=1)) == store.request(tiny(learning_rate=1.0))


def test_a_requested_run_waits_with_its_configuration(store):
    run = store.run(store.request(tiny(mode="scheduled_sampling", start=2)))
    assert (run.state, run.step, run.error, run.parent, run.fork_step) == ("waiting", 0, None, None, None)
    assert run.config == tiny(mode="scheduled_sampling", start=2)
    assert store.metrics(run.id) == []
    assert store.evaluations(run.id) == []
    assert store.snapshots(run.id) == ()


def test_another_process_that_opens_the_store_finds_all_of_it(store):
    run_id = store.request(tiny(), viewer="ada")
    finish(store, run_id)
    other = open_store(store.url)
    assert other.run(run_id) == store.run(run_id)
    assert other.metrics(run_id) == store.metrics(run_id)
    assert other.evaluations(run_id) == store.evaluations(run_id)
    assert_equal_weights(other.weights(run_id), store.weights(run_id))
    other.close()


REFUSED = [
    ({"steps": 5_001}, "5,001 steps; at most 5,000"),
    ({"decoder": DecoderConfig(35, 9, d_model=512, n_layers=4)}, "at most 2,000,000"),
    ({"decoder": DecoderConfig(36, 9)}, "36 tokens .* 35"),
    ({"corpus": "nowhere"}, "no corpus 'nowhere'"),
    ({"corpus": TextSource("to be or not to be")}, "longer text"),
    ({"corpus": TextSource("to be or not " * 40), "decoder": DecoderConfig(4, 250)}, "smaller context"),
    ({"batch_size": 257}, "257 sequences in a batch; at most 256"),
    ({"decoder": DecoderConfig(35, 257, 1, 1, 4)}, "257 positions of context; at most 256"),
    ({"decoder": DecoderConfig(35, 9, 9, 1, 4)}, "9 layers; at most 8"),
    (
        {"decoder": DecoderConfig(35, 256, 4, 4, 128), "batch_size": 256, "steps": 5_000},
        "seconds of a processor core; at most 1,800",
    ),
    (
        {"decoder": DecoderConfig(35, 256, 8, 4, 128), "batch_size": 256, "steps": 10},
        "seconds of a processor core per update; at most 3 ",
    ),
]


def test_what_cannot_be_trained_here_is_refused_at_the_door_and_leaves_no_trace(store, dump):
    before = dump(store)
    for changes, sentence in REFUSED:
        with pytest.raises(ValueError, match=sentence):
            store.request(tiny(**changes), viewer="ada")
        assert dump(store) == before


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    context=st.integers(1, 400),
    layers=st.integers(1, 12),
    width=st.integers(1, 600),
    batch=st.integers(1, 400),
    steps=st.integers(1, 9_000),
    seed=st.integers(0, 2**70),
)
def test_nothing_above_the_limits_gets_past_the_door(
    tmp_path_factory, context, layers, width, batch, steps, seed
):
    """A link may ask for anything: what is let in is within every limit."""
    store = open_store(f"sqlite:///{tmp_path_factory.getbasetemp()}/fuzz.db")
    decoder = DecoderConfig(35, context, layers, 1, width)
    config = TrainConfig("ibm", decoder, batch_size=batch, steps=steps, seed=seed)
    try:
        run = store.run(store.request(config))
    except ValueError as refusal:
        assert "\n" not in str(refusal)
    else:
        assert run.config == config
        assert context <= 256
        assert layers <= 8
        assert batch <= 256
        assert steps <= 5_000
        assert decoder.n_parameters <= 2_000_000
        assert steps * config.estimated_step_seconds <= 1_800
    store.close()


def test_an_unknown_run_is_one_sentence(store):
    questions = (store.run, store.metrics, store.evaluations, store.snapshots, store.weights, store.model)
    for question in (*questions, lambda run_id: advance(store, run_id)):
        with pytest.raises(ValueError, match="no run 'nobody'"):
            question("nobody")


def test_a_run_that_another_process_removed_is_unknown_to_all_that_knew_it(store, let_time_pass):
    run_id = store.request(tiny(steps=2), viewer="ada")
    parent = store.request(tiny(steps=2, seed=1))
    finish(store, run_id)
    finish(store, parent)
    fork = store.fork(parent, 1, viewer="ada", mode="free_running")
    questions = (store.run, store.metrics, store.evaluations, store.snapshots, store.weights, store.model)
    for question in questions:
        for known in (run_id, fork):
            question(known)
    assert store.metrics(run_id, after=2) == [], "nothing new is not nothing"
    other = open_store(store.url)
    other.pause(fork, "ada")
    let_time_pass(store, 100)
    other.pin(parent)
    other.quota_bytes = 0
    other.evict()
    for question in questions:
        for gone in (run_id, fork):
            with pytest.raises(UnknownRunError, match=f"no run '{gone}'"):
                question(gone)
    other.close()


def test_a_run_that_is_removed_while_its_weights_are_read_is_unknown(store, monkeypatch):
    run_id = store.request(tiny(steps=2))
    finish(store, run_id)
    monkeypatch.setattr(store, "snapshots", lambda _run_id: (0, 1))
    with pytest.raises(UnknownRunError):
        store.weights(run_id, 1)


def of_another_version(store, run_id):
    """Let a run's configuration say something that this version does not know."""
    with store.database.write() as connection:
        text = connection.scalar(sql.select(CONFIGS.c.text).where(CONFIGS.c.run_id == run_id))
        strange = text.replace('"seed"', '"flavour":"vanilla","seed"')
        connection.execute(sql.update(CONFIGS).where(CONFIGS.c.run_id == run_id).values(text=strange))
    store.lineage.cache_clear()


def test_a_run_that_this_version_cannot_read_is_failed_with_its_sentence(store):
    run_id = store.request(tiny())
    of_another_version(store, run_id)
    assert advance(store, run_id, 0.0) == (0, True)
    with store.database.read() as connection:
        row = connection.execute(sql.select(RUNS.c.state, RUNS.c.error)).one()
    assert row.state == "failed"
    assert row.error.startswith("this is no training configuration of this version")
    assert "flavour" in row.error


def test_it_does_not_stand_in_the_way_of_those_that_can_be_read(store):
    ids = [store.request(tiny(seed=seed, steps=2)) for seed in range(2)]
    for run_id in ids:
        finish(store, run_id)
    of_another_version(store, ids[0])
    assert store.nearest_finished(tiny(seed=0)).id == ids[1]


def test_what_a_configuration_consists_of_belongs_to_the_versions_of_the_store():
    """Whoever adds, renames or removes a field decides here what becomes of the runs that are stored."""
    fields = {
        kind.__name__: {field.name for field in dataclasses.fields(kind)}
        for kind in (TrainConfig, DecoderConfig, TextSource)
    }
    assert (SCHEMA_VERSION, CODE_VERSION, fields) == (
        4,
        2,
        {
            "TrainConfig": {
                "corpus", "decoder", "mode", "steps", "batch_size", "learning_rate", "seed", "start", "pick", "schedule",
            },
            "DecoderConfig": {
                "vocab_size", "context_length", "n_layers", "n_heads", "d_model", "positions", "causal",
            },
            "TextSource": {"text", "level"},
        },
    ), (
        "raise SCHEMA_VERSION (decoder/runs/tables.py) if stored configurations can no longer be read: the store "
        "begins a new file; raise CODE_VERSION (decoder/runs/store.py) if an equal one trains to other bits; "
        "then write here what holds now"
    )  # fmt: skip


def test_only_what_is_newer_is_read(store):
    run_id = store.request(tiny(steps=12))
    assert commit(store, run_id, History(list(train(tiny(steps=12)))))
    assert [row.step for row in store.metrics(run_id, after=9)] == [10, 11, 12]
    assert store.metrics(run_id, after=12) == []
    assert store.run(run_id).step == 12


def test_positions_without_a_target_are_none(store):
    run_id = store.request(tiny())
    step = next(train(tiny()))._replace(loss_per_position=torch.tensor([0.5, torch.nan]))
    assert commit(store, run_id, History([step]))
    assert store.metrics(run_id)[0].loss_per_position == (0.5, None)


def test_a_number_comes_back_to_the_last_bit(store):
    run_id = store.request(tiny())
    losses = torch.tensor([0.1, 1e-38, 3e38, 1 / 3])
    step = next(train(tiny()))._replace(loss=0.1 + 2**-54, loss_per_position=losses, tokens_seen=2**31 - 1)
    assert commit(store, run_id, History([step]))
    row = store.metrics(run_id)[0]
    assert row.loss == step.loss
    assert row.tokens_seen == 2**31 - 1
    assert row.loss_per_position == tuple(losses.tolist())


def test_a_replayed_quantum_changes_nothing(store):
    run_id = store.request(tiny())
    updates = list(train(tiny()))
    commit(store, run_id, History(updates))
    before = store.metrics(run_id)
    assert commit(store, run_id, History(updates[:7]))
    assert store.metrics(run_id) == before
    assert store.run(run_id).step == 30


def test_a_commit_after_the_end_is_thrown_away(store, dump):
    run_id = store.request(tiny())
    updates = list(train(tiny()))
    commit(store, run_id, History(updates), "finished")
    before = dump(store)
    assert not commit(store, run_id, History([updates[0]._replace(loss=9.0)]), "failed")
    assert dump(store) == before


def test_a_quantum_that_cannot_be_written_whole_leaves_no_trace(store):
    run_id = store.request(tiny())
    *updates, last = train(tiny())
    broken = History([*updates, last._replace(loss=None)], snapshots={0: b"a decoder"})
    with pytest.raises(ValueError, match=r"(?i)not.null"):
        commit(store, run_id, broken, "finished")
    run = store.run(run_id)
    assert (run.step, run.error, store.metrics(run_id), store.snapshots(run_id)) == (0, None, [], ())
    assert run.state != "finished"


def test_a_short_text_is_trained_in_the_context_that_it_has_room_for(store):
    config = preset(TextSource("the cat sees the dog and the dog sees the cat " * 2))
    assert config.decoder.context_length < 32
    assert store.run(store.request(config)).state == "waiting"


@pytest.mark.parametrize(
    "text", ["DROP TABLE runs; -- ' \" \\ %s :x {} \n" * 20, "snow ☃ \U0001f600 é " * 30]
)
def test_any_text_is_kept_as_it_is(store, text):
    config = preset(TextSource(text, "char"), size="small")
    assert store.run(store.request(config, viewer="Robert'); --")).config == config


def test_weights_are_those_of_the_nearest_snapshot_at_or_before(store):
    run_id = store.request(tiny())
    with pytest.raises(ValueError, match="0 snapshots"):
        store.weights(run_id)
    finish(store, run_id)
    assert store.snapshots(run_id) == (0, 5, 10, 20, 30)
    models = {step: store.model(run_id, step) for step in (0, 9, 10, 29, None)}
    assert [found for _, found in models.values()] == [0, 5, 10, 20, 30]
    for step, (model, _) in models.items():
        assert_equal_weights(store.weights(run_id, step), model.state_dict())
    assert_equal_weights(store.weights(run_id, 0), Decoder(tiny().decoder, seed=0).state_dict())


def test_the_last_state_may_be_newer_than_the_last_snapshot(store):
    run_id = store.request(tiny())
    trainer = Trainer(tiny())
    updates = [trainer.advance() for _ in range(7)]
    commit(store, run_id, History(updates, checkpoint=Checkpoint(7, trainer.state)))
    assert_equal_weights(store.weights(run_id), trainer.model.state_dict())
    assert store.model(run_id)[1] == 7


def test_the_nearest_finished_run_differs_least_and_is_on_the_same_corpus(store):
    assert store.nearest_finished(tiny()) is None
    ids = {}
    for name, changes in {"mode": {"mode": "free_running"}, "two": {"seed": 7, "batch_size": 5}}.items():
        ids[name] = store.request(tiny(steps=2, **changes))
        finish(store, ids[name])
    store.request(tiny(steps=3))  # as near as can be, but not finished
    finish(store, store.request(dataclasses.replace(preset("story", size="small"), steps=1)))
    assert store.nearest_finished(tiny(steps=2)).id == ids["mode"]
    assert store.nearest_finished(tiny(steps=2, seed=7, batch_size=5, learning_rate=1e-3)).id == ids["two"]


def test_readers_see_whole_quanta_while_two_writers_write(store):
    ids = [store.request(tiny(seed=seed, steps=60)) for seed in range(2)]
    histories = {run_id: list(train(store.run(run_id).config)) for run_id in ids}
    seen, done = [], threading.Event()

    def read():
        own = open_store(store.url)
        while not done.is_set():
            for run_id in ids:
                step = own.run(run_id).step
                rows = own.metrics(run_id)
                seen.append(len(rows))
                assert [row.step for row in rows] == [*range(1, len(rows) + 1)]
                assert len(rows) >= step, "the row is behind its metrics, never ahead"
        own.close()

    def write(run_id):
        for first in range(0, 60, 6):
            assert commit(store, run_id, History(histories[run_id][first : first + 6]))

    with ThreadPoolExecutor(6) as pool:
        readers = [pool.submit(read) for _ in range(4)]
        for writer in [pool.submit(write, run_id) for run_id in ids]:
            writer.result()
        done.set()
        for reader in readers:
            reader.result()
    assert {count % 6 for count in seen} == {0}
    assert [len(store.metrics(run_id)) for run_id in ids] == [60, 60]


def test_a_reader_never_sees_a_checkpoint_that_its_row_does_not_name(store):
    run_id = store.request(tiny())
    trainer = Trainer(tiny())
    states = []
    for _ in range(20):
        update = trainer.advance()
        states.append((update, Checkpoint(trainer.step, trainer.state)))
    done = threading.Event()
    read = []

    def look():
        own = open_store(store.url)
        while not done.is_set():
            found = leases.checkpoint(own, run_id)
            read.append(found)
            assert found is None or found.checksum == states[found.step - 1][1].checksum
        own.close()

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(look) for _ in range(2)]
        for update, state in states:
            assert commit(store, run_id, History([update], checkpoint=state))
        done.set()
        for reader in readers:
            reader.result()
    assert len(set(read)) > 1, "the readers saw it grow"


def test_the_whole_history_is_that_of_the_undisturbed_training(store):
    run_id = store.request(tiny())
    finish(store, run_id)
    expected = undisturbed(tiny())
    assert [row.loss for row in store.metrics(run_id)] == [row.loss for row in expected.metrics]
    assert store.evaluations(run_id, after=0) == [expected.evaluations[step] for step in (5, 10, 20, 30)]


def test_a_text_without_a_grammar_has_no_valid_share(store):
    text = TextSource("to be or not to be that is the question " * 20)
    decoder = DecoderConfig(8, 9, n_layers=1, n_heads=2, d_model=8)
    run_id = store.request(tiny(corpus=text, decoder=decoder, steps=2))
    finish(store, run_id)
    assert {(row.valid_share, row.prompted_accuracy) for row in store.evaluations(run_id)} == {(None, None)}
    assert_undisturbed(store, run_id)
