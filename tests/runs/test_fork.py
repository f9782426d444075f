"""A fork goes on from its parent's exact state, shows its parent's history, and never touches it."""

import dataclasses
import importlib

import pytest
import sqlalchemy as sql
from undisturbed import Change, assert_equal_weights, assert_undisturbed, tiny, undisturbed

from decoder.config import DecoderConfig
from decoder.runs import leases
from decoder.runs.advance import Advancer
from decoder.runs.store import UnknownRunError
from decoder.runs.tables import CHECKPOINTS, RUNS

pytestmark = pytest.mark.usefixtures("quick_evaluations")

advancing = importlib.import_module("decoder.runs.advance")


def advance_to(store, run_id, step, advancer=None):
    advancer = advancer or Advancer(store)
    for _ in range(1_000):
        if store.run(run_id).step >= step:
            return advancer
        advancer.advance(run_id, 0.0)
    pytest.fail(f"the run does not come to step {step}")


def finish(store, run_id):
    advancer = Advancer(store)
    for _ in range(1_000):
        if advancer.advance(run_id, 0.05).done:
            return
    pytest.fail("the run does not come to its end")


CHANGES = {
    "another mode": {"mode": "free_running"},
    "another pick": {"mode": "free_running", "pick": "sample", "start": 2},
    "half truth": {"mode": "scheduled_sampling", "schedule": "exponential"},
    "another learning rate, longer": {"learning_rate": 1e-3, "steps": 41},
    "another batch size, shorter": {"batch_size": 7, "steps": 20},
    "another seed": {"seed": 9},
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES.keys())
def test_a_fork_is_what_its_parent_would_have_become_with_the_change(store, changes):
    parent = store.request(tiny())
    advance_to(store, parent, 14)
    fork = store.fork(parent, 13, **changes)
    finish(store, fork)
    assert_undisturbed(store, fork, Change(13, tiny(**changes)))
    finish(store, parent)
    assert_undisturbed(store, parent)


@pytest.mark.parametrize(("step", "share"), [(1, 1e-12), (5, 1e12), (17, 1e-12), (17, 1e12), (30, 1e12)])
def test_a_fork_may_begin_at_every_step_of_its_parent(store, monkeypatch, step, share):
    monkeypatch.setattr(advancing, "CHECKPOINT_SHARE", share)
    parent = store.request(tiny())
    advance_to(store, parent, step)
    # It waits for nothing from its parent, which may be paused for ever: not even for an evaluation.
    fork = store.fork(parent, step, mode="free_running", steps=36)
    finish(store, fork)
    assert_undisturbed(store, fork, Change(step, tiny(mode="free_running", steps=36)))


def test_a_fork_behind_its_parents_last_state_is_replayed_up_to_it(store):
    """The parent is done: all its states but the last are gone, and the fork wants one of them."""
    parent = store.request(tiny())
    finish(store, parent)
    fork = store.fork(parent, 11, mode="parallel_scheduled_sampling")
    with store.database.read() as connection:
        assert connection.scalar(sql.select(CHECKPOINTS.c.step).where(CHECKPOINTS.c.run_id == fork)) is None
    assert (store.run(fork).trained, store.run(fork).step) == (0, 11)
    advance_to(store, fork, 12)
    assert store.run(fork).trained == store.run(fork).step
    finish(store, fork)
    assert_undisturbed(store, fork, Change(11, tiny(mode="parallel_scheduled_sampling")))


def test_a_fork_at_the_parents_last_state_starts_from_it_without_a_replay(store, monkeypatch):
    monkeypatch.setattr(advancing, "CHECKPOINT_SHARE", 1e12)
    parent = store.request(tiny())
    advance_to(store, parent, 13)
    fork = store.fork(parent, 13, mode="free_running")
    kept, state = leases.checkpoint(store, fork), leases.checkpoint(store, parent)
    assert kept == state
    assert kept.step == 13
    trained = []
    update = advancing.Trainer.advance
    monkeypatch.setattr(
        advancing.Trainer, "advance", lambda trainer: trained.append(trainer.step + 1) or update(trainer)
    )
    finish(store, fork)
    assert trained == [*range(14, 31)]


def test_the_mask_can_be_taken_away_in_the_middle(store):
    parent = store.request(tiny())
    advance_to(store, parent, 15)
    blind = tiny(decoder=DecoderConfig(35, 9, n_layers=1, n_heads=2, d_model=8, causal=False))
    fork = store.fork(parent, 15, decoder=blind.decoder)
    finish(store, fork)
    assert_undisturbed(store, fork, Change(15, blind))
    assert [store.model(fork, step)[0].config.causal for step in (0, 10, 20, None)] == [
        True,
        True,
        False,
        False,
    ]


def test_a_fork_of_a_fork_of_a_fork_shows_all_four_stretches_as_one_history(store):
    first = store.request(tiny())
    advance_to(store, first, 8)
    second = store.fork(first, 7, mode="free_running")
    advance_to(store, second, 15)
    third = store.fork(second, 14, mode="teacher_forcing", learning_rate=1e-3)
    advance_to(store, third, 23)
    fourth = store.fork(third, 21, mode="scheduled_sampling", steps=50)
    changes = [
        Change(7, tiny(mode="free_running")),
        Change(14, tiny(learning_rate=1e-3)),
        Change(21, tiny(mode="scheduled_sampling", steps=50, learning_rate=1e-3)),
    ]
    for number, run_id in enumerate((first, second, third, fourth)):
        finish(store, run_id)
        assert_undisturbed(store, run_id, *changes[:number])
    assert [(segment.run_id, segment.start) for segment in store.lineage(fourth)] == [
        (first, 0),
        (second, 7),
        (third, 14),
        (fourth, 21),
    ]
    assert [segment.config.mode for segment in store.lineage(fourth)] == [
        "teacher_forcing",
        "free_running",
        "teacher_forcing",
        "scheduled_sampling",
    ]


def test_a_new_fork_shows_its_parents_history_up_to_its_beginning_and_nothing_after(store):
    parent = store.request(tiny())
    finish(store, parent)
    fork = store.fork(parent, 12, mode="free_running")
    run = store.run(fork)
    assert (run.state, run.step, run.parent, run.fork_step) == ("waiting", 12, parent, 12)
    assert run.config == tiny(mode="free_running")
    assert store.metrics(fork) == store.metrics(parent)[:12]
    assert store.metrics(fork, after=10) == store.metrics(parent)[10:12]
    assert store.metrics(fork, after=12) == []
    assert store.snapshots(fork) == (0, 5, 10)
    assert store.evaluations(fork) == store.evaluations(parent)[:3]
    assert_equal_weights(store.weights(fork, 7), undisturbed(tiny()).weights[5])
    assert_equal_weights(store.weights(fork, 12), undisturbed(tiny()).weights[10])


def test_only_what_is_newer_is_read_across_the_fork(store):
    parent = store.request(tiny())
    finish(store, parent)
    fork = store.fork(parent, 12, mode="free_running")
    finish(store, fork)
    for after in (0, 5, 11, 12, 13, 29, 30):
        assert [row.step for row in store.metrics(fork, after)] == [*range(after + 1, 31)]


@pytest.mark.parametrize("parent_goes_on", ["before", "meanwhile"])
def test_a_fork_never_changes_its_parent_by_a_byte(store, dump, parent_goes_on):
    twin = tiny()
    parent = store.request(twin)
    advancer = advance_to(store, parent, 30 if parent_goes_on == "before" else 12)
    before = dump(store, parent)
    fork = store.fork(parent, 12, mode="free_running", viewer="ada")
    advance_to(store, fork, 20)
    assert dump(store, parent) == before
    if parent_goes_on == "meanwhile":
        advance_to(store, parent, 30, advancer)
        before = dump(store, parent)
    finish(store, fork)
    assert dump(store, parent) == before
    finish(store, parent)
    assert_undisturbed(store, parent)
    assert_undisturbed(store, fork, Change(12, tiny(mode="free_running")))


def test_what_is_wrong_with_a_fork_is_not_its_parents_fault(store, dump):
    parent = store.request(tiny())
    finish(store, parent)
    before = dump(store, parent)
    fork = store.fork(parent, 12, learning_rate=1e30)
    finish(store, fork)
    assert store.run(fork).state == "failed"
    assert "choose a learning rate below 1e+30" in store.run(fork).error
    assert [row.step for row in store.metrics(fork)] == [*range(1, store.run(fork).step + 1)]
    assert dump(store, parent) == before


def test_a_damaged_checkpoint_of_a_fork_is_replayed_through_all_its_stretches(store, monkeypatch):
    monkeypatch.setattr(advancing, "CHECKPOINT_SHARE", 1e12)
    parent = store.request(tiny())
    advance_to(store, parent, 8)
    fork = store.fork(parent, 7, mode="free_running")
    advance_to(store, fork, 16)
    with store.database.write() as connection:
        connection.execute(sql.update(CHECKPOINTS).values(file=b"rust"))
    finish(store, fork)
    assert_undisturbed(store, fork, Change(7, tiny(mode="free_running")))


def test_a_fork_of_a_damaged_parent_is_replayed_as_well(store, monkeypatch):
    monkeypatch.setattr(advancing, "CHECKPOINT_SHARE", 1e12)
    parent = store.request(tiny())
    advance_to(store, parent, 12)
    with store.database.write() as connection:
        connection.execute(sql.update(CHECKPOINTS).values(checksum=b"?"))
    fork = store.fork(parent, 12, mode="free_running")
    finish(store, fork)
    assert_undisturbed(store, fork, Change(12, tiny(mode="free_running")))


def test_equal_forks_are_one_run_and_different_ones_are_not(store):
    parent = store.request(tiny())
    finish(store, parent)
    fork = store.fork(parent, 12, mode="free_running", viewer="ada")
    assert store.fork(parent, 12, mode="free_running", viewer="bob") == fork
    assert store.watchers(fork) == {"ada", "bob"}
    others = {
        store.fork(parent, 13, mode="free_running"),
        store.fork(parent, 12, mode="scheduled_sampling"),
        store.fork(store.request(tiny(seed=1)), 0, mode="free_running"),
        store.request(tiny(mode="free_running")),
    }
    assert len(others | {fork, parent}) == 6


def test_a_fork_that_changes_nothing_is_the_run_itself(store, dump):
    parent = store.request(tiny())
    finish(store, parent)
    before = dump(store)
    assert store.fork(parent, 12) == parent
    assert store.fork(parent, 12, mode="teacher_forcing") == parent
    assert dump(store) == before
    fork = store.fork(parent, 12, mode="free_running")
    finish(store, fork)
    before = dump(store)
    assert store.fork(fork, 20) == fork
    assert store.fork(fork, 12) == fork, "the state after step 12 is the parent's, and so the fork begins"
    assert dump(store) == before


def test_changing_back_before_the_fork_is_the_parent_again(store):
    parent = store.request(tiny())
    finish(store, parent)
    fork = store.fork(parent, 12, mode="free_running")
    finish(store, fork)
    assert store.fork(fork, 12, mode="teacher_forcing") == parent
    assert store.fork(fork, 5, mode="teacher_forcing") == parent
    assert store.fork(fork, 13, mode="teacher_forcing") not in {parent, fork}


def test_a_fork_of_a_fork_before_its_beginning_is_a_fork_of_the_grandparent(store):
    parent = store.request(tiny())
    finish(store, parent)
    fork = store.fork(parent, 12, mode="free_running")
    finish(store, fork)
    other = store.fork(fork, 6, mode="scheduled_sampling")
    assert other == store.fork(parent, 6, mode="scheduled_sampling")
    assert (store.run(other).parent, store.run(other).fork_step) == (parent, 6)


def test_a_fork_at_step_0_is_a_plain_run(store):
    parent = store.request(tiny())
    fork = store.fork(parent, 0, mode="free_running")
    assert fork == store.request(tiny(mode="free_running"))
    assert store.run(fork).parent is None
    finish(store, fork)
    assert_undisturbed(store, fork)
    assert store.fork(fork, 0, mode="teacher_forcing") == parent


REFUSED = [
    (13, {"mode": "free_running"}, "12 recorded updates .* after 13: choose a step from 0 to 12"),
    (2.5, {"mode": "free_running"}, "12 recorded updates .* after 2.5: choose a step from 0 to 12"),
    (True, {"mode": "free_running"}, "12 recorded updates .* after True: choose a step from 0 to 12"),
    ("3", {"mode": "free_running"}, "12 recorded updates .* after '3': choose a step from 0 to 12"),
    (-1, {"mode": "free_running"}, "after -1: choose a step from 0 to 12"),
    (12, {"steps": 12}, "12 updates are made and 12 would be planned: plan more than 12"),
    (12, {"steps": 3}, "plan more than 12"),
    (12, {"steps": 5_001}, "5,001 steps; at most 5,000"),
    (12, {"corpus": "story"}, "keeps its corpus and the shape of its decoder"),
    (12, {"decoder": DecoderConfig(35, 9)}, "keeps its corpus and the shape of its decoder"),
    (12, {"decoder": DecoderConfig(35, 9, 1, 2, 8, positions="none")}, "keeps its corpus and the shape"),
    (12, {"mode": "hope"}, "mode is 'hope': choose one of"),
    (12, {"learning_rate": -1.0}, "choose a positive number"),
    (12, {"batch_size": 257}, "257 sequences in a batch; at most 256"),
    (12, {"temperature": 2}, "no setting 'temperature': choose from batch_size"),
]


def test_a_change_that_is_not_possible_is_refused_with_the_numbers_and_leaves_no_trace(store, dump):
    parent = store.request(tiny())
    advance_to(store, parent, 12)
    before = dump(store)
    for step, changes, sentence in REFUSED:
        with pytest.raises(ValueError, match=sentence):
            store.fork(parent, step, viewer="ada", **changes)
        assert dump(store) == before


def test_a_training_is_not_continued_in_another_way_for_ever(store, monkeypatch):
    """Its history would be put together of ever more pieces."""
    monkeypatch.setattr("decoder.runs.store.MOST_STRETCHES", 3)
    run_id = store.request(tiny())
    for step, mode in ((3, "free_running"), (5, "teacher_forcing"), (7, "scheduled_sampling")):
        advance_to(store, run_id, step)
        if step < 7:
            run_id = store.fork(run_id, step, mode=mode)
    with pytest.raises(
        ValueError, match=r"another way 2 times in a row.*choose an earlier step, or begin a new one"
    ):
        store.fork(run_id, 7, mode="scheduled_sampling")
    assert store.run(store.fork(run_id, 4, mode="scheduled_sampling")).fork_step == 4


def test_a_fork_of_nobody_is_one_sentence(store):
    with pytest.raises(ValueError, match="no run 'nobody'"):
        store.fork("nobody", 0, mode="free_running")


def test_a_fork_of_a_paused_or_failed_run_is_trained_all_the_same(store, monkeypatch):
    paused = store.request(tiny(), viewer="ada")
    advance_to(store, paused, 6)
    store.pause(paused, "ada")
    failed = store.request(tiny(seed=1))
    advance_to(store, failed, 6)
    with monkeypatch.context() as patch:
        patch.setattr(advancing.Trainer, "advance", lambda _trainer: 1 / 0)
        finish(store, failed)
    for parent, state in ((paused, "paused"), (failed, "failed")):
        fork = store.fork(parent, 6, mode="free_running")
        finish(store, fork)
        assert_undisturbed(
            store, fork, Change(6, dataclasses.replace(store.run(parent).config, mode="free_running"))
        )
        assert store.run(parent).state == state


def test_two_advancers_may_train_a_fork_and_its_parent_at_once(store):
    parent = store.request(tiny(steps=25))
    one, other = Advancer(store), Advancer(store)
    advance_to(store, parent, 10, one)
    fork = store.fork(parent, 9, mode="free_running")
    for _ in range(60):
        one.advance(parent, 0.0)
        other.advance(fork, 0.0)
        one, other = other, one  # now and then a worker trains the one, now and then the other
    assert_undisturbed(store, parent)
    assert_undisturbed(store, fork, Change(9, tiny(steps=25, mode="free_running")))


def test_the_fork_of_a_run_that_is_still_trained_takes_the_last_state_that_helps(store, monkeypatch):
    monkeypatch.setattr(advancing, "CHECKPOINT_SHARE", 1e12)
    parent = store.request(tiny())
    advance_to(store, parent, 9)
    monkeypatch.setattr(advancing, "CHECKPOINT_SHARE", 1e-12)
    advance_to(store, parent, 15, Advancer(store))
    fork = store.fork(parent, 12, mode="free_running")
    with store.database.read() as connection:
        assert connection.scalar(sql.select(RUNS.c.checkpoint_step).where(RUNS.c.id == fork)) == 9
    finish(store, fork)
    assert_undisturbed(store, fork, Change(12, tiny(mode="free_running")))


def test_a_fork_of_a_run_that_is_removed_at_that_moment_says_that_it_is_gone(
    store, monkeypatch, let_time_pass
):
    parent = store.request(tiny())
    finish(store, parent)
    let_time_pass(store, 100)

    def make_room(*_arguments):
        store.quota_bytes = 0
        store.evict()

    monkeypatch.setattr(importlib.import_module("decoder.runs.store"), "_check_trainable", make_room)
    with pytest.raises(UnknownRunError, match=f"there is no run '{parent}' in this store"):
        store.fork(parent, 5, mode="free_running")
