"""Whose turn it is: pure functions of the runs as they stand, and what the store makes of them."""

import random
import statistics
import time

import pytest
import sqlalchemy as sql
from hypothesis import given, settings
from hypothesis import strategies as st
from undisturbed import tiny

from decoder.runs import leases, schedule
from decoder.runs.advance import Advancer
from decoder.runs.schedule import (
    FIRST_QUANTUM_SECONDS,
    HAND_OVER_SECONDS,
    MOST_ACTIVE,
    ROUND_ROBIN_EVERY,
    Candidate,
    choose,
    play,
    shares,
)
from decoder.runs.tables import RUNS


def run(name, viewers="a", remaining=10.0, quanta=1, advanced=0.0, created=0.0, free=True):
    return Candidate(name, dict.fromkeys(viewers, True), remaining, quanta, advanced, created, free)


@st.composite
def situations(draw):
    """Up to twelve runs of up to five viewers, in any state."""
    count = draw(st.integers(1, 12))
    seconds = st.floats(0.01, 300)
    return [
        run(
            f"r{number:02}",
            draw(st.sets(st.sampled_from("abcde"), min_size=1)),
            draw(seconds),
            draw(st.integers(0, 3)),
            draw(seconds),
            draw(seconds),
            draw(st.booleans()),
        )
        for number in range(count)
    ]


def test_a_run_that_has_had_no_quantum_comes_first_and_the_oldest_of_them_before_all():
    runs = [
        run("popular", "abcdefgh", remaining=0.1),
        run("younger", quanta=0, created=2.0),
        run("older", quanta=0, created=1.0),
    ]
    assert [choose(runs, turn).run_id for turn in range(8)] == ["older"] * 8


def test_else_many_watchers_and_a_near_end_come_first():
    runs = [
        run("long", "a", remaining=60),
        run("short", "b", remaining=10),
        run("popular", "cdefghi", remaining=60),
    ]
    assert choose(runs, 0).run_id == "popular"
    assert choose(runs[:2], 0).run_id == "short"


def test_every_fourth_turn_goes_to_the_run_that_has_waited_longest():
    runs = [
        run("popular", "abcdef", remaining=1, advanced=9.0),
        run("lonely", "g", remaining=900, advanced=1.0),
    ]
    taken = [choose(runs, turn).run_id for turn in range(8)]
    assert taken == ["popular", "popular", "popular", "lonely"] * 2


def test_a_viewer_who_asks_for_more_runs_gets_no_more_for_it():
    """Else four tabs would be a way to the front."""
    many = [run(f"many{number}", "a", remaining=10) for number in range(4)]
    one = run("one", "b", remaining=20)
    assert choose([*many, one], 0).run_id == "one"
    assert sum(shares([*many, one]).values()) == pytest.approx(2)


def test_of_a_viewers_runs_the_first_four_share_the_workers_and_the_others_wait():
    runs = [run(f"r{number}", "a", created=number, quanta=0) for number in range(7)]
    assert sorted(shares(runs)) == ["r0", "r1", "r2", "r3"]
    assert choose([*reversed(runs)], 0).run_id == "r0"
    assert choose(runs[1:], 0).run_id == "r1"
    assert "r4" in shares(runs[1:])


def test_a_run_above_the_four_is_trained_where_a_worker_would_be_idle():
    runs = [run(f"r{number}", "a", created=number, quanta=0) for number in range(7)]
    assert choose([one._replace(free=False) for one in runs[:4]] + runs[4:], 0).run_id == "r4"


def test_what_a_viewer_looks_at_now_is_active_before_what_she_has_left():
    runs = [run(f"r{number}", "a", created=number) for number in range(6)]
    runs[1], runs[2] = (one._replace(viewers={"a": False}) for one in runs[1:3])
    assert sorted(shares(runs)) == ["r0", "r3", "r4", "r5"]


def test_a_waiting_run_that_somebody_else_wants_as_well_does_not_wait():
    runs = [run(f"r{number}", "a", created=number) for number in range(6)]
    runs[5] = runs[5]._replace(viewers=dict.fromkeys("ab", True))
    assert "r5" in shares(runs)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(situations(), st.integers(0, 7))
def test_what_is_chosen_is_free_and_active_and_nothing_is_left_idle(runs, turn):
    load = shares(runs)
    chosen = choose(runs, turn)
    able = [one for one in runs if one.free]
    assert (chosen is None) == (not able)
    assert chosen is None or chosen in ([one for one in able if one.run_id in load] or able)
    assert choose(list(reversed(runs)), turn) == chosen, "the order of the rows decides nothing"


@settings(max_examples=60, deadline=None, derandomize=True)
@given(situations())
def test_every_viewer_counts_once_however_many_runs_she_has(runs):
    load = shares(runs)
    viewers = frozenset().union(*(one.viewers for one in runs))
    assert sum(load.values()) == pytest.approx(len(viewers))
    for viewer in viewers:
        active = [one for one in runs if viewer in one.viewers and one.run_id in load]
        assert active, "nobody is without a run"
    for one in runs:
        if one.run_id not in load:
            for viewer in one.viewers:
                earlier = [
                    other for other in runs if viewer in other.viewers and other.created <= one.created
                ]
                assert len(earlier) > MOST_ACTIVE


@settings(max_examples=30, deadline=None, derandomize=True)
@given(situations(), st.integers(0, 3))
def test_no_active_run_starves(runs, first_turn):
    """Whatever the others are worth, a run waits for at most four rounds of all that are active."""
    runs = {one.run_id: one._replace(free=True) for one in runs}
    waited = dict.fromkeys(shares(runs.values()), 0)
    longest = (ROUND_ROBIN_EVERY + 1) * len(waited)
    now = 1_000.0
    for turn in range(first_turn, first_turn + 4 * longest):
        chosen = choose([*runs.values()], turn)
        now += 0.25
        runs[chosen.run_id] = chosen._replace(quanta=chosen.quanta + 1, advanced=now)
        for run_id in waited:
            waited[run_id] = 0 if run_id == chosen.run_id else waited[run_id] + 1
        assert max(waited.values()) <= longest


@settings(max_examples=30, deadline=None, derandomize=True)
@given(situations(), st.integers(1, 4))
def test_in_a_forecast_everything_ends_and_no_worker_is_idle_or_twice_busy(runs, workers):
    forecasts = play(runs, workers)
    assert forecasts.keys() == {one.run_id for one in runs}
    work = sum(one.remaining_seconds for one in runs)
    end = max(forecast.end for forecast in forecasts.values())
    longest = max(one.remaining_seconds for one in runs)
    assert end >= max(work / workers, longest) - 1e-6
    if workers == 1:
        assert end == pytest.approx(work)
    for one in runs:
        point, end = forecasts[one.run_id]
        assert 0 < point <= end
        assert end >= one.remaining_seconds - 1e-6


def test_thirty_new_runs_get_their_first_points_within_a_second():
    runs = [
        run(f"r{number}", [f"viewer {number}"], remaining=8, quanta=0, created=number) for number in range(30)
    ]
    points = [forecast.next_point for forecast in play(runs, workers=2).values()]
    assert max(points) <= 30 * FIRST_QUANTUM_SECONDS / 2 + 1e-6 < 1


def equal_share(runs, workers):
    """When every run ends if all that are left share the workers evenly at every moment: nobody is preferred."""
    left = {one.run_id: one.remaining_seconds for one in runs}
    now, ends = 0.0, {}
    while left:
        speed = min(1.0, workers / len(left))
        step = min(left.values()) / speed
        now += step
        left = {run_id: seconds - step * speed for run_id, seconds in left.items()}
        ends |= {run_id: now for run_id, seconds in left.items() if seconds < 1e-9}
        left = {run_id: seconds for run_id, seconds in left.items() if seconds >= 1e-9}
    return ends


@pytest.mark.parametrize("hog_first", [True, False])
@pytest.mark.parametrize(
    ("students", "seconds"),
    [(5, (5, 5)), (10, (2, 10)), (10, (20, 60)), (30, (5, 5)), (30, (2, 20)), (100, (2, 5))],
)
def test_one_hog_does_not_make_the_others_wait(students, seconds, hog_first):
    """One viewer asks for 40 long runs, `students` others for one each."""
    generator = random.Random(students)
    others = [
        run(f"s{number}", [f"student {number}"], generator.uniform(*seconds), 0, 0.0, 1 + number / 1e3)
        for number in range(students)
    ]
    created = 0.0 if hog_first else 2.0
    hog = [run(f"h{number}", ["hog"], 60.0, 0, 0.0, created + number / 1e3) for number in range(40)]
    fair = equal_share(others, workers=2)
    found = {run_id: forecast.end for run_id, forecast in play([*others, *hog], workers=2).items()}
    alone = {run_id: forecast.end for run_id, forecast in play(others, workers=2).items()}
    with_hog = statistics.median(found[run_id] for run_id in fair)
    assert with_hog <= 1.1 * statistics.median(fair.values())
    assert with_hog <= 1.1 * statistics.median(alone.values())
    assert max(found[run_id] / fair[run_id] for run_id in fair) <= 2


def test_fairness_is_not_bought_with_the_hogs_life():
    hog = [run(f"h{number}", ["hog"], 5.0, 0) for number in range(40)]
    assert max(forecast.end for forecast in play(hog, workers=2).values()) == pytest.approx(100, abs=3)


# -- the same, on a store


def set_runs(store, **values):
    with store.database.write() as connection:
        connection.execute(sql.update(RUNS).values(values))


def test_candidates_are_the_runs_that_can_be_trained_as_they_stand(store):
    waiting = store.request(tiny(seed=1), viewer="ada")
    store.watch(waiting, "bob")
    unseen = store.request(tiny(seed=2))
    paused = store.request(tiny(seed=3), viewer="ada")
    store.pause(paused, "ada")
    done = store.request(tiny(seed=4, steps=1))
    for _ in range(3):
        Advancer(store).advance(done, 0.0)
    leased = store.request(tiny(seed=5))
    leases.take(store, leased)
    assert store.run(done).state == "finished"
    found = {one.run_id: one for one in schedule.candidates(store)}
    assert found.keys() == {waiting, unseen, leased}
    assert found[waiting].viewers == {"ada": True, "bob": True}
    assert found[unseen].viewers == found[leased].viewers == {"": True}
    assert (found[waiting].free, found[leased].free) == (True, False)
    assert found[waiting].remaining_seconds == pytest.approx(30 * tiny().estimated_step_seconds)


def test_a_look_counts_for_a_minute(store, let_time_pass):
    run_id = store.request(tiny(), viewer="ada")
    let_time_pass(store, 50)
    assert schedule.candidates(store)[0].viewers == {"ada": False}, "watched, though nobody looks now"
    let_time_pass(store, 11)
    assert [(one.run_id, one.viewers) for one in schedule.candidates(store)] == [(run_id, {"": True})]


def test_a_run_is_left_for_a_moment_to_the_worker_that_holds_its_state(store, monkeypatch):
    run_id = store.request(tiny())
    Advancer(store).advance(run_id, 0.0)
    assert schedule.next_run(store, 0).run_id == run_id
    set_runs(store, advanced=time.time() + 60)  # just now, however slow this machine is
    monkeypatch.setattr(schedule, "worker_name", lambda: "another")
    assert schedule.next_run(store, 0) is None
    set_runs(store, advanced=time.time() - HAND_OVER_SECONDS)
    assert schedule.next_run(store, 0).run_id == run_id


def test_what_an_update_costs_is_measured_and_kept(store):
    run_id = store.request(tiny(steps=200))
    set_runs(store, step_seconds=99.0)
    Advancer(store).advance(run_id, 0.05)
    assert 0 < store.run(run_id).step_seconds < 1


def test_a_forecast_grows_with_what_comes_before(store):
    set_up = {"steps": 1_000}
    first = store.request(tiny(seed=0, **set_up), viewer="a")
    alone = schedule.forecast(store, workers=1)[first]
    seconds = 1_000 * tiny(**set_up).estimated_step_seconds
    assert alone.end == pytest.approx(seconds)
    assert alone.next_point == pytest.approx(FIRST_QUANTUM_SECONDS)
    for seed in range(1, 10):
        store.request(tiny(seed=seed, **set_up), viewer=f"viewer {seed}")
    crowded = schedule.forecast(store, workers=1)
    assert len(crowded) == 10
    assert max(forecast.end for forecast in crowded.values()) == pytest.approx(10 * seconds)
    assert crowded[first].end >= alone.end
    halved = schedule.forecast(store, workers=2)
    assert max(forecast.end for forecast in halved.values()) == pytest.approx(5 * seconds, rel=0.2)
    assert max(forecast.next_point for forecast in crowded.values()) < 1


def test_a_forecast_for_a_full_store_is_made_at_once(store):
    for seed in range(40):
        store.request(tiny(seed=seed, steps=5_000), viewer=f"viewer {seed}")
    began = time.process_time()
    forecasts = schedule.forecast(store, workers=2)
    assert time.process_time() - began < 1.0
    assert len(forecasts) == 40


def test_where_nobody_works_nothing_is_to_be_expected(store):
    run_id = store.request(tiny())
    assert schedule.forecast(store, workers=0) == {}
    leases.take(store, run_id)
    assert schedule.forecast(store, workers=0).keys() == {run_id}, "somebody works, on whatever machine"


def test_a_run_whose_last_quantum_was_a_while_ago_is_said_to_wait(store, let_time_pass):
    resting, held = store.request(tiny(seed=1)), store.request(tiny(seed=2))
    advancer = Advancer(store)
    advancer.advance(resting, 0.0)
    leases.take(store, held)
    leases.rest(store)
    assert [store.run(run_id).state for run_id in (resting, held)] == ["training", "training"]
    let_time_pass(store, leases.RESTING_SECONDS + 0.1)
    leases.rest(store)
    assert [store.run(run_id).state for run_id in (resting, held)] == ["waiting", "training"]
    assert advancer.advance(resting, 0.0) == (2, False)
    assert store.run(resting).state == "training"
