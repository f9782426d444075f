"""Advancing a run by quanta gives what one undisturbed training gives, and says so when it cannot."""

import time

import pytest

from decoder.config import MAX_STEPS, DecoderConfig, TextSource
from decoder.runs.advance import HELD_RUNS, Advancer, advance, snapshot_steps
from decoder.training.evaluation import evaluate
from decoder.training.trainer import Trainer


def finish(store, run_id, quantum_seconds=0.02):
    while not advance(store, run_id, quantum_seconds).done:
        pass


@pytest.mark.parametrize("mode", ["teacher_forcing", "free_running", "parallel_scheduled_sampling"])
def test_a_run_through_the_store_is_bit_identical_to_one_training(store, tiny, assert_bit_identical, mode):
    run_id = store.request(tiny(mode=mode))
    finish(store, run_id)
    assert_bit_identical(store, run_id)


def test_a_training_that_is_lost_is_replayed_to_the_same_bits(store, tiny, assert_bit_identical):
    run_id = store.request(tiny())
    for quanta in (1, 2, 3):
        advancer = Advancer(store)  # a new process holds no trainings
        steps = [advancer.advance(run_id, 0.0).step for _ in range(quanta)]
        assert steps[-1] == quanta
    while not advancer.advance(run_id).done:
        pass
    assert_bit_identical(store, run_id)


def test_the_first_update_is_committed_alone_and_later_quanta_end_with_their_time_or_a_snapshot(store, tiny):
    run_id = store.request(tiny(steps=MAX_STEPS))
    assert advance(store, run_id, 5.0) == (1, False)
    assert store.run(run_id).state == "training"
    assert [row.step for row in store.metrics(run_id)] == [1]
    assert (store.snapshots(run_id), store.evaluations(run_id)) == ((0,), [])
    assert advance(store, run_id, 60.0) == (5, False)
    assert [row.step for row in store.evaluations(run_id)] == [0]
    while advance(store, run_id, 60.0).step < 40:
        pass
    began = time.perf_counter()
    assert advance(store, run_id, 0.3).step > 41
    assert time.perf_counter() - began > 0.3


def test_evaluations_are_those_of_the_snapshots_and_hold_both_ends(store, tiny):
    config = tiny(steps=40)
    run_id = store.request(config)
    finish(store, run_id)
    rows = {row.step: row for row in store.evaluations(run_id)}
    assert {0, 40} <= rows.keys() <= set(store.snapshots(run_id))
    for step, row in rows.items():
        again = evaluate(store.model(run_id, step)[0], Trainer(config).corpus)
        assert (row.true_history_loss, row.own_history_loss) == again[:2]
        assert (row.valid_share, row.prompted_accuracy) == again[3:]
    assert [row.step for row in store.evaluations(run_id, after=0)] == sorted(rows)[1:]


def test_a_training_of_one_step_is_evaluated_before_and_after(store, tiny):
    run_id = store.request(tiny(steps=1))
    assert advance(store, run_id) == (1, False)
    assert advance(store, run_id) == (1, True)
    assert [row.step for row in store.evaluations(run_id)] == [0, 1]


def test_a_text_without_a_grammar_has_no_valid_share(store, tiny):
    text = TextSource("to be or not to be that is the question " * 20)
    decoder = DecoderConfig(8, 9, n_layers=1, n_heads=2, d_model=8)
    run_id = store.request(tiny(corpus=text, decoder=decoder, steps=2))
    finish(store, run_id)
    assert {(row.valid_share, row.prompted_accuracy) for row in store.evaluations(run_id)} == {(None, None)}


def test_every_snapshot_is_evaluated(store, tiny):
    run_id = store.request(tiny(steps=50))
    finish(store, run_id)
    assert (
        tuple(row.step for row in store.evaluations(run_id))
        == store.snapshots(run_id)
        == (0, 5, 10, 20, 40, 50)
    )


@pytest.mark.parametrize("learning_rate", [1e30, 1e300])
def test_a_diverging_run_fails_with_the_remedy_and_keeps_its_curve(store, tiny, learning_rate):
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
def test_a_run_that_diverges_in_its_last_update_fails_in_words(store, tiny, steps):
    run_id = store.request(tiny(learning_rate=1e30, steps=steps))
    finish(store, run_id)
    assert store.run(run_id).state == "failed"
    assert "choose a learning rate below 1e+30" in store.run(run_id).error


def test_a_failed_run_stays_failed_when_it_is_requested_again(store, tiny):
    config = tiny(learning_rate=1e30)
    run_id = store.request(config)
    finish(store, run_id)
    error = store.run(run_id).error
    assert store.request(config) == run_id
    assert advance(store, run_id).done
    assert (store.run(run_id).state, store.run(run_id).error) == ("failed", error)


def test_an_unexpected_exception_fails_the_run_with_its_type(store, tiny, monkeypatch):
    run_id = store.request(tiny())
    advance(store, run_id)

    def break_down(_trainer):
        raise MemoryError("no room for 3 numbers")

    monkeypatch.setattr(Trainer, "advance", break_down)
    assert advance(store, run_id) == (1, True)
    assert store.run(run_id).error == "MemoryError: no room for 3 numbers"


def test_updates_whose_commit_failed_are_trained_again(store, tiny, assert_bit_identical, monkeypatch):
    run_id = store.request(tiny())
    advance(store, run_id, 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(store, "commit", lambda *_: (_ for _ in ()).throw(OSError("the disk is full")))
        with pytest.raises(OSError, match="full"):
            advance(store, run_id, 0.0)
    assert store.run(run_id).step == 1
    finish(store, run_id)
    assert_bit_identical(store, run_id)


def test_no_more_trainings_are_held_than_agreed(store, tiny):
    advancer = Advancer(store)
    for seed in range(HELD_RUNS + 2):
        advancer.advance(store.request(tiny(seed=seed)))
    assert len(advancer._held) == HELD_RUNS


@pytest.mark.parametrize("steps", [1, 2, 7, 20, 200, 500, 501, 1000, MAX_STEPS])
def test_snapshots_are_few_and_hold_the_last_step(steps):
    kept = snapshot_steps(steps)
    assert max(kept) == steps
    assert len(kept) <= 20
    assert {0, 5, 10, 20, 40} & set(range(steps)) <= kept
