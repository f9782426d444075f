"""Who looks at a run, who may pause it, and what happens to one that nobody looks at any more."""

import threading
import time

import pytest
import sqlalchemy as sql
from undisturbed import assert_undisturbed, tiny

from decoder.runs import leases
from decoder.runs.advance import Advancer, advance
from decoder.runs.store import LOOKING_SECONDS, WATCHED_SECONDS, open_store
from decoder.runs.tables import RUNS, VIEWS

pytestmark = pytest.mark.usefixtures("quick_evaluations")


def test_a_viewer_is_counted_while_she_looks_and_a_moment_longer(store, let_time_pass):
    run_id = store.request(tiny(), viewer="ada")
    store.watch(run_id, "bob")
    assert store.watchers(run_id) == {"ada", "bob"}
    let_time_pass(store, LOOKING_SECONDS / 2)
    store.watch(run_id, "ada")
    let_time_pass(store, LOOKING_SECONDS / 2 + 0.1)
    assert store.watchers(run_id) == {"ada"}
    let_time_pass(store, LOOKING_SECONDS / 2)
    assert store.watchers(run_id) == set()


def test_looking_at_nothing_is_one_sentence(store):
    with pytest.raises(ValueError, match="no run 'nobody'"):
        store.watch("nobody", "ada")
    assert store.watchers("nobody") == set()


def test_a_run_that_nobody_looks_at_is_paused_after_a_minute_and_goes_on_when_somebody_does(
    store, let_time_pass
):
    run_id = store.request(tiny(), viewer="ada")
    advance(store, run_id, 0.0)
    let_time_pass(store, WATCHED_SECONDS - 20)
    leases.pause_unwatched(store)
    assert store.run(run_id).state == "training"
    let_time_pass(store, 21)
    leases.pause_unwatched(store)
    assert (store.run(run_id).state, store.run(run_id).paused_by) == ("paused", None)
    assert advance(store, run_id, 0.1).step == 1
    store.watch(run_id, "bob")
    assert store.run(run_id).state == "waiting"
    leases.pause_unwatched(store)
    while not advance(store, run_id, 0.02).done:
        pass
    assert_undisturbed(store, run_id)


@pytest.mark.parametrize("again", ["watch", "request"])
def test_the_first_who_comes_back_wakes_it_by_looking_or_by_asking_again(store, let_time_pass, again):
    run_id = store.request(tiny(), viewer="ada")
    let_time_pass(store, 61)
    leases.pause_unwatched(store)
    assert store.run(run_id).state == "paused"
    store.watch(run_id, "ada") if again == "watch" else store.request(tiny(), viewer="ada")
    assert store.run(run_id).state == "waiting"


def test_a_run_that_one_of_two_still_looks_at_goes_on(store, let_time_pass):
    run_id = store.request(tiny(), viewer="ada")
    store.watch(run_id, "bob")
    let_time_pass(store, 50)
    store.watch(run_id, "bob")
    let_time_pass(store, 50)
    leases.pause_unwatched(store)
    assert store.run(run_id).state == "waiting"


def test_a_run_that_nobody_ever_looked_at_is_trained_to_its_end(store, let_time_pass):
    """The first decoder of a server, and what a script asks for."""
    run_id = store.request(tiny())
    let_time_pass(store, 10_000)
    leases.pause_unwatched(store)
    while not advance(store, run_id, 0.02).done:
        pass
    assert_undisturbed(store, run_id)


@pytest.mark.parametrize("ended", ["finished", "failed"])
def test_what_has_ended_is_not_paused_resumed_or_woken(store, let_time_pass, ended):
    run_id = store.request(tiny(steps=1, learning_rate=1e30 if ended == "failed" else 1e-3), viewer="ada")
    while not advance(store, run_id, 0.02).done:
        pass
    let_time_pass(store, 61)
    for act in (
        lambda: leases.pause_unwatched(store),
        lambda: store.pause(run_id, "ada"),
        lambda: store.resume(run_id),
        lambda: store.watch(run_id, "ada"),
    ):
        act()
        assert (store.run(run_id).state, store.run(run_id).paused_by) == (ended, None)


def test_looks_of_long_ago_are_forgotten(store, let_time_pass):
    """A run that each new class looks at would collect them for ever, and every page that shows it reads them."""
    run_id = store.request(tiny())
    for number in range(5):
        store.watch(run_id, f"student {number}")
    let_time_pass(store, leases.FORGOTTEN_SECONDS + 1)
    store.watch(run_id, "ada")
    leases.forget_looks(store)
    with store.database.read() as connection:
        assert connection.scalars(sql.select(VIEWS.c.viewer)).all() == ["ada"]


def test_a_private_run_is_paused_by_its_viewer_and_stays_so_under_her_eyes(store):
    run_id = store.request(tiny(), viewer="ada")
    advance(store, run_id, 0.0)
    store.pause(run_id, "ada")
    assert (store.run(run_id).state, store.run(run_id).paused_by) == ("paused", "ada")
    store.watch(run_id, "ada")
    assert store.request(tiny(), viewer="ada") == run_id
    assert (store.run(run_id).state, store.run(run_id).paused_by) == ("paused", "ada")
    assert advance(store, run_id, 0.1).step == 1
    store.resume(run_id)
    assert (store.run(run_id).state, store.run(run_id).paused_by) == ("waiting", None)
    while not advance(store, run_id, 0.02).done:
        pass
    assert_undisturbed(store, run_id)


def test_looking_does_not_undo_a_pause_by_hand_and_anybody_may(store):
    run_id = store.request(tiny(), viewer="ada")
    store.pause(run_id, "ada")
    store.watch(run_id, "bob")
    assert (store.run(run_id).state, store.run(run_id).paused_by) == ("paused", "ada")
    store.resume(run_id)
    assert (store.run(run_id).state, store.run(run_id).paused_by) == ("waiting", None)


def test_what_somebody_paused_who_is_gone_goes_on_when_another_looks_and_not_when_she_does(
    store, let_time_pass
):
    run_id = store.request(tiny(), viewer="ada")
    store.pause(run_id, "ada")
    let_time_pass(store, WATCHED_SECONDS + 1)
    store.watch(run_id, "ada")
    assert (store.run(run_id).state, store.run(run_id).paused_by) == ("paused", "ada"), "hers after lunch too"
    let_time_pass(store, WATCHED_SECONDS - 1)
    store.watch(run_id, "bob")
    assert store.run(run_id).state == "paused", "she looked a minute ago"
    let_time_pass(store, 2)
    store.watch(run_id, "bob")
    assert (store.run(run_id).state, store.run(run_id).paused_by) == ("waiting", None)


def test_a_look_at_the_moment_of_a_pause_is_not_overlooked(store, monkeypatch):
    """The look is being noted when the pause begins, and is there before the pause is."""
    run_id = store.request(tiny(), viewer="ada")
    noted, outcome = threading.Event(), []
    upsert = store.database.upsert

    def note_slowly(connection, table, rows):
        noted.set()
        time.sleep(0.2)
        upsert(connection, table, rows)

    monkeypatch.setattr(store.database, "upsert", note_slowly)
    look = threading.Thread(target=store.watch, args=(run_id, "bob"))
    look.start()
    assert noted.wait(10)
    try:
        store.pause(run_id, "ada")
    except ValueError as refusal:
        outcome.append(str(refusal))
    look.join()
    assert [text[:34] for text in outcome] == ["1 other looks at this training too"]
    assert store.run(run_id).state == "waiting"


def test_what_has_ended_is_not_said_to_go_on(store):
    run_id = store.request(tiny(steps=1), viewer="ada")
    while not advance(store, run_id, 0.02).done:
        pass
    store.watch(run_id, "bob")
    store.pause(run_id, "ada")
    assert store.run(run_id).state == "finished"


def test_after_the_clock_was_set_back_nobody_counts_as_looking_for_hours(store, let_time_pass):
    run_id = store.request(tiny(), viewer="ada")
    store.watch(run_id, "bob")
    let_time_pass(store, -3_600)
    assert store.watchers(run_id) == set()
    leases.pause_unwatched(store)
    assert store.run(run_id).state == "paused"
    store.watch(run_id, "ada")
    assert store.watchers(run_id) == {"ada"}
    with store.database.read() as connection:
        newest = max(connection.scalars(sql.select(VIEWS.c.seen).where(VIEWS.c.viewer == "ada")))
        assert abs(connection.scalar(sql.select(RUNS.c.viewed)) - newest) < 1
    assert store.run(run_id).state == "waiting"
    store.pause(run_id, "ada")
    assert store.run(run_id).state == "paused"


def test_a_run_that_is_shared_cannot_be_paused(store, let_time_pass):
    run_id = store.request(tiny(), viewer="ada")
    store.watch(run_id, "bob")
    with pytest.raises(
        ValueError, match="1 other looks at this training too, so it goes on: hold your own view"
    ):
        store.pause(run_id, "ada")
    store.watch(run_id, "eve")
    with pytest.raises(ValueError, match="2 others look at this training too"):
        store.pause(run_id, "ada")
    assert store.run(run_id).state == "waiting"
    let_time_pass(store, LOOKING_SECONDS + 1)
    store.watch(run_id, "ada")
    store.pause(run_id, "ada")
    assert store.run(run_id).state == "paused"


def test_thirty_viewers_who_ask_for_the_same_at_once_share_one_run(store):
    stores = [open_store(store.url) for _ in range(3)]
    barrier = threading.Barrier(30)
    ids = []

    def press(number):
        barrier.wait()
        ids.append(stores[number % 3].request(tiny(), viewer=f"viewer {number}"))

    threads = [threading.Thread(target=press, args=(number,)) for number in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for other in stores:
        other.close()
    assert len(ids) == 30
    assert set(ids) == {ids[0]}
    assert store.watchers(ids[0]) == {f"viewer {number}" for number in range(30)}
    advancer = Advancer(store)
    while not advancer.advance(ids[0], 0.02).done:
        pass
    assert_undisturbed(store, ids[0])


def test_thirty_viewers_who_change_the_same_at_once_share_one_fork(store, dump):
    parent = store.request(tiny())
    while not advance(store, parent, 0.02).done:
        pass
    before = dump(store, parent)
    barrier = threading.Barrier(30)
    ids = []

    def toggle(number):
        barrier.wait()
        ids.append(store.fork(parent, 12, viewer=f"viewer {number}", mode="free_running"))

    threads = [threading.Thread(target=toggle, args=(number,)) for number in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 30
    assert set(ids) == {ids[0]}
    assert len(store.watchers(ids[0])) == 30
    assert dump(store, parent) == before
