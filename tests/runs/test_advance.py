"""Advancing a run by quanta gives what one undisturbed training gives, and says so when it cannot."""

import importlib
import tempfile
import threading
import time

import pytest
import sqlalchemy as sql
from hypothesis import given, settings
from hypothesis import strategies as st
from undisturbed import TINY, assert_undisturbed, tiny, undisturbed

from decoder.config import MAX_STEPS, DecoderConfig
from decoder.runs import leases
from decoder.runs.advance import HELD_RUNS, Advancer, advance
from decoder.runs.history import snapshot_steps
from decoder.runs.store import open_store
from decoder.runs.tables import CHECKPOINTS, EVALUATIONS, METRICS, RUNS, SNAPSHOTS
from decoder.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("quick_evaluations")

advancing = importlib.import_module("decoder.runs.advance")  # the package shows the function of this name
MODES = ["teacher_forcing", "free_running", "scheduled_sampling", "parallel_scheduled_sampling"]


def finish(store, run_id, quantum_seconds=0.02, advancer=None):
    take_turn = advancer.advance if advancer else lambda *turn: advance(store, *turn)
    for _ in range(1_000):
        if take_turn(run_id, quantum_seconds).done:
            return
    pytest.fail("the run does not come to its end")


@pytest.fixture(params=["at every quantum", "never before the end"])
def checkpoints(request, monkeypatch):
    """How often a checkpoint is worth its cost depends on the machine: here it does not."""
    always = request.param == "at every quantum"
    monkeypatch.setattr(advancing, "CHECKPOINT_SHARE", 1e12 if always else 1e-12)
    return always


@pytest.mark.parametrize("mode", MODES)
def test_a_run_through_the_store_is_bit_identical_to_one_training(store, mode):
    run_id = store.request(tiny(mode=mode))
    finish(store, run_id)
    assert_undisturbed(store, run_id)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("positions", ["sinusoidal", "none"])
def test_so_is_one_of_another_architecture(store, positions, causal):
    decoder = DecoderConfig(35, 9, n_layers=2, n_heads=1, d_model=6, positions=positions, causal=causal)
    run_id = store.request(tiny(decoder=decoder, steps=12))
    finish(store, run_id)
    assert_undisturbed(store, run_id)


def test_another_advancer_goes_on_from_every_step_to_the_same_bits(store, checkpoints):
    run_id = store.request(tiny(steps=12))
    steps = []
    for cut in range(100):
        advancer = Advancer(store)  # a new process holds no trainings
        # Without checkpoints each replays from the beginning, and has to get further than the one before.
        for _ in range(1 if checkpoints else cut + 1):
            progress = advancer.advance(run_id, 0.0)
        steps.append(progress.step)
        if progress.done:
            break
    assert steps == sorted(steps)
    assert set(steps) == {*range(1, 13)}
    assert_undisturbed(store, run_id)


@settings(deadline=None, max_examples=12, derandomize=True)
@given(
    mode=st.sampled_from(MODES),
    seed=st.integers(0, 3),
    share=st.sampled_from([1e-12, 0.05, 1e12]),
    turns=st.lists(st.tuples(st.integers(0, 2), st.sampled_from([0.0, 0.004, 0.03])), max_size=30),
    forget=st.lists(st.integers(0, 29), max_size=4),
)
def test_whoever_advances_a_run_in_whatever_order_gets_the_same_bits(mode, seed, share, turns, forget):
    """Three advancers take turns, each behind what the others did; now and then one is replaced by a new one."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(advancing, "CHECKPOINT_SHARE", share)
        store = open_store(f"sqlite:///{folder}/runs.db")
        run_id = store.request(tiny(mode=mode, seed=seed, steps=21))
        advancers = [Advancer(store) for _ in range(3)]
        for turn, (who, quantum_seconds) in enumerate(turns):
            before = store.run(run_id).step
            if turn in forget:
                advancers[who] = Advancer(store)
            assert advancers[who].advance(run_id, quantum_seconds).step >= before
            # At every moment the curve is whole, and a prefix of the undisturbed one.
            rows = store.metrics(run_id)
            expected = undisturbed(tiny(mode=mode, seed=seed, steps=21)).metrics
            assert [row.loss for row in rows] == [row.loss for row in expected[: store.run(run_id).step]]
        finish(store, run_id, advancer=advancers[0])
        assert_undisturbed(store, run_id)
        store.close()


def test_advancing_a_run_that_is_done_changes_nothing(store, dump):
    run_id = store.request(tiny(steps=3))
    finish(store, run_id)
    before = dump(store)
    assert advance(store, run_id, 1.0) == (3, True)
    assert Advancer(store).advance(run_id, 1.0) == (3, True)
    assert dump(store) == before


def test_advancing_a_paused_run_changes_nothing(store, dump):
    run_id = store.request(tiny(), viewer="ada")
    advance(store, run_id, 0.0)
    store.pause(run_id, "ada")
    before = dump(store)
    assert advance(store, run_id, 1.0) == (1, False)
    assert dump(store) == before


def test_many_threads_that_advance_one_run_train_every_step_once_in_effect(store, monkeypatch):
    run_id = store.request(tiny(steps=25))
    commits = []
    commit = leases.commit

    def count(*arguments, **words):
        commits.append(commit(*arguments, **words))
        return commits[-1]

    monkeypatch.setattr(leases, "commit", count)
    stores = [open_store(store.url) for _ in range(2)]

    def train_on(number):
        advancer = Advancer(stores[number % 2])
        while not advancer.advance(run_id, 0.005).done:
            pass

    threads = [threading.Thread(target=train_on, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for other in stores:
        other.close()
    assert all(commits), "nobody lost a lease, so nobody trained for nothing"
    assert_undisturbed(store, run_id)


def test_the_first_update_is_committed_alone_and_later_quanta_end_with_their_time(store):
    run_id = store.request(tiny(steps=MAX_STEPS))
    assert advance(store, run_id, 5.0) == (1, False)
    assert store.run(run_id).state == "training"
    assert [row.step for row in store.metrics(run_id)] == [1]
    assert (store.snapshots(run_id), store.evaluations(run_id)) == ((0,), [])
    began = time.perf_counter()
    step = advance(store, run_id, 0.3).step
    assert 5 < step < MAX_STEPS
    assert time.perf_counter() - began > 0.3
    assert [row.step for row in store.evaluations(run_id)][:2] == [0, 5], "within the quantum, not one by one"
    assert advance(store, run_id, 0.0).step == step + 1


def test_a_training_of_one_step_is_evaluated_before_and_after(store):
    run_id = store.request(tiny(steps=1))
    assert advance(store, run_id) == (1, False)
    assert advance(store, run_id) == (1, True)
    assert_undisturbed(store, run_id)


@pytest.mark.parametrize("learning_rate", [1e30, 1e300])
def test_a_diverging_run_fails_with_the_remedy_and_keeps_its_curve(store, learning_rate):
    other = store.request(tiny())
    run_id = store.request(tiny(learning_rate=learning_rate, steps=300))
    advance(store, other)
    finish(store, run_id)
    run = store.run(run_id)
    assert run.state == "failed"
    assert f"choose a learning rate below {learning_rate:g}" in run.error
    assert len(store.metrics(run_id)) == run.step >= 1
    assert all(weight.isfinite().all() for weight in store.weights(run_id).values())
    finish(store, other)
    assert store.run(other).state == "finished"


@pytest.mark.parametrize("steps", [1, 20])
def test_a_run_that_diverges_in_its_last_update_fails_in_words(store, steps):
    run_id = store.request(tiny(learning_rate=1e30, steps=steps))
    finish(store, run_id)
    assert store.run(run_id).state == "failed"
    assert "choose a learning rate below 1e+30" in store.run(run_id).error


def test_a_failed_run_stays_failed_when_it_is_requested_again(store):
    config = tiny(learning_rate=1e30)
    run_id = store.request(config)
    finish(store, run_id)
    error = store.run(run_id).error
    assert store.request(config, viewer="ada") == run_id
    assert advance(store, run_id).done
    assert (store.run(run_id).state, store.run(run_id).error) == ("failed", error)


@pytest.mark.parametrize(
    ("exception", "sentence"),
    [
        (MemoryError(), "more memory than a worker may take: choose a smaller decoder, batch or context"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
            "more memory",
        ),
        (KeyError("query"), "KeyError: 'query'"),
    ],
)
def test_an_exception_fails_the_run_in_words_after_what_was_trained(store, monkeypatch, exception, sentence):
    run_id = store.request(tiny())
    advance(store, run_id)

    def break_down(_trainer):
        raise exception

    monkeypatch.setattr(Trainer, "advance", break_down)
    assert advance(store, run_id) == (1, True)
    assert sentence in store.run(run_id).error
    assert [row.step for row in store.metrics(run_id)] == [1]


def test_a_worker_in_which_one_run_failed_trains_the_next_one_well(store, monkeypatch):
    advancer = Advancer(store)
    broken, well = store.request(tiny(seed=1)), store.request(tiny(seed=2))
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "advance", lambda _trainer: 1 / 0)
        assert advancer.advance(broken).done
    finish(store, well, advancer=advancer)
    assert store.run(broken).error == "ZeroDivisionError: division by zero"
    assert_undisturbed(store, well)


def test_updates_whose_commit_failed_are_trained_again(store, monkeypatch, dump):
    run_id = store.request(tiny())
    advance(store, run_id, 0.0)
    histories = dump(store, tables=[METRICS, EVALUATIONS, SNAPSHOTS, CHECKPOINTS])
    with monkeypatch.context() as patch:
        upsert = store.database.upsert

        def fill_up(connection, table, rows):
            upsert(connection, table, rows)
            if table is METRICS:  # the row and the metrics are written: now something goes wrong
                connection.execute(sql.update(METRICS).values(run_id="nobody"))

        patch.setattr(store.database, "upsert", fill_up)
        with pytest.raises(ValueError, match="cannot be used"):
            advance(store, run_id, 0.0)
    assert dump(store, tables=[METRICS, EVALUATIONS, SNAPSHOTS, CHECKPOINTS]) == histories
    assert store.run(run_id).step == 1
    finish(store, run_id)
    assert_undisturbed(store, run_id)


DAMAGES = {
    "a flipped bit": lambda file: file[:-9] + bytes([file[-9] ^ 1]) + file[-8:],
    "cut off": lambda file: file[: len(file) // 2],
    "empty": lambda _file: b"",
}


@pytest.mark.parametrize(
    ("damage", "held"),
    [("a flipped bit", True), ("a flipped bit", False), ("cut off", False), ("empty", False)],
)
def test_a_damaged_checkpoint_is_noticed_and_the_run_starts_again_to_the_same_bits(
    store, monkeypatch, damage, held
):
    monkeypatch.setattr(advancing, "CHECKPOINT_SHARE", 1e12)
    run_id = store.request(tiny(steps=15))
    advancer = Advancer(store)
    for _ in range(9):
        advancer.advance(run_id, 0.0)
    with store.database.write() as connection:
        file = connection.scalar(sql.select(CHECKPOINTS.c.file))
        connection.execute(sql.update(CHECKPOINTS).values(file=DAMAGES[damage](file)))
    assert leases.checkpoint(store, run_id) is None
    # From now on checkpoints are too dear: the run must get away from the damaged one all the same.
    monkeypatch.setattr(advancing, "CHECKPOINT_SHARE", 1e-12)
    finish(store, run_id, 0.0, advancer if held else Advancer(store))
    assert_undisturbed(store, run_id)


def test_a_checkpoint_that_another_program_wrote_is_no_reason_to_fail(store, monkeypatch):
    """The checksum fits, the content does not: say, tensors of another shape."""
    monkeypatch.setattr(advancing, "CHECKPOINT_SHARE", 1e12)
    run_id = store.request(tiny())
    for _ in range(9):
        advance(store, run_id, 0.0)
    other = Trainer(tiny(decoder=DecoderConfig(35, 9, n_layers=1, n_heads=2, d_model=16)))
    other.advance()
    strange = leases.Checkpoint(9, other.state)
    with store.database.write() as connection:
        connection.execute(
            sql.update(CHECKPOINTS).values(file=strange.file, checksum=strange.checksum, step=9)
        )
    finish(store, run_id, 0.0, Advancer(store))
    assert_undisturbed(store, run_id)


def test_a_store_that_fails_while_a_run_is_loaded_does_not_send_it_back_to_its_start(store, monkeypatch):
    monkeypatch.setattr(advancing, "CHECKPOINT_SHARE", 1e12)
    run_id = store.request(tiny())
    for _ in range(9):
        advance(store, run_id, 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(
            store, "evaluations", lambda _run_id: (_ for _ in ()).throw(advancing.StoreError("busy"))
        )
        with pytest.raises(advancing.StoreError, match="busy"):
            Advancer(store).advance(run_id, 0.0)
    trained = []
    update = Trainer.advance
    monkeypatch.setattr(Trainer, "advance", lambda trainer: trained.append(trainer.step) or update(trainer))
    assert Advancer(store).advance(run_id, 0.0).step == 10
    assert trained == [9]


def test_no_more_trainings_are_held_than_agreed(store):
    advancer = Advancer(store)
    for seed in range(HELD_RUNS + 2):
        advancer.advance(store.request(tiny(seed=seed)), 0.0)
    assert len(advancer._held) == HELD_RUNS


def test_a_training_that_others_have_carried_on_is_not_held_any_longer(store, monkeypatch):
    """What is held is worth having only while it stands where the row says, or is replayed to the same bits."""
    monkeypatch.setattr(advancing, "CHECKPOINT_SHARE", 1e12)
    run_id = store.request(tiny())
    behind, ahead = Advancer(store), Advancer(store)
    behind.advance(run_id, 0.0)
    for _ in range(8):
        ahead.advance(run_id, 0.0)
    assert behind.advance(run_id, 0.0).step == 10
    finish(store, run_id, 0.0, behind)
    assert_undisturbed(store, run_id)


def test_checkpoints_are_as_rare_as_they_are_dear(store, monkeypatch):
    run_id = store.request(tiny(steps=120))
    writes = []
    commit = leases.commit

    def slow_disk(store, lease, history, *arguments, **words):
        if history.checkpoint is not None:
            writes.append(history.checkpoint.step)
            time.sleep(0.002)
        return commit(store, lease, history, *arguments, **words)

    monkeypatch.setattr(leases, "commit", slow_disk)
    advancer = Advancer(store)
    finish(store, run_id, 0.005, advancer)
    trained = store.metrics(run_id)[-1].seconds
    # One of 2 ms and more is paid for by 40 ms of training; the first guess is free, and the last is owed.
    assert 2 <= len(writes) <= trained / 0.04 + 2
    assert writes[-1] == 120
    with store.database.read() as connection:
        assert connection.scalar(sql.select(RUNS.c.checkpoint_step)) == 120


@pytest.mark.parametrize("steps", [1, 2, 7, 20, 200, 500, 501, 1000, MAX_STEPS])
def test_snapshots_are_few_and_hold_the_last_step(steps):
    kept = snapshot_steps(steps)
    assert max(kept) == steps
    assert len(kept) <= 20
    assert {0, 5, 10, 20, 40} & set(range(steps)) <= kept


def test_the_oracle_itself_tells_trainings_apart():
    """A comparison that cannot fail proves nothing."""
    one, other = undisturbed(TINY), undisturbed(tiny(seed=1))
    assert one.metrics != other.metrics
    assert one.evaluations != other.evaluations
