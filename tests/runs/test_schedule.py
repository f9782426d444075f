"""Whose turn it is: pure functions of the runs as they stand, and what the store makes of them."""

import heapq
import importlib
import random
import statistics
import time

import pytest
import sqlalchemy as sql
import undisturbed
from hypothesis import given, settings
from hypothesis import strategies as st
from undisturbed import tiny

from decoder.runs import leases, schedule
from decoder.runs.advance import Advancer
from decoder.runs.history import Costs
from decoder.runs.schedule import (
    FIRST_QUANTUM_SECONDS,
    HAND_OVER_SECONDS,
    MOST_ACTIVE,
    ROUND_ROBIN_EVERY,
    STARVING_ROUNDS,
    Candidate,
    choose,
    play,
    shares,
)
from decoder.runs.tables import RUNS
from decoder.training.trainer import Trainer

advancing = importlib.import_module("decoder.runs.advance")  # the package shows the function of this name


def run(name, viewers="a", remaining=10.0, quanta=1, advanced=0.0, created=0.0, free=True, **costs):
    return Candidate(name, dict.fromkeys(viewers, 0.0), remaining, quanta, advanced, created, free, **costs)


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
            turn_seconds=draw(st.floats(0, 3)),
            step_seconds=draw(st.floats(0, 3)),
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


def test_every_second_turn_goes_to_the_run_that_has_waited_longest():
    runs = [
        run("popular", "abcdef", remaining=1, advanced=9.0),
        run("lonely", "g", remaining=900, advanced=1.0),
    ]
    taken = [choose(runs, turn, now=10.0).run_id for turn in range(8)]
    assert taken == ["popular", "lonely"] * 4


def test_turns_in_a_row_go_round_among_viewers_and_not_among_their_runs():
    """Who has many runs has waited only since any of them had its turn."""
    many = [run(f"many{number}", "a", advanced=number) for number in range(4)]
    one = run("one", "b", remaining=900, advanced=2.5)
    assert choose([*many, one], 1, now=4.0).run_id == "one"
    assert choose([*many, one._replace(advanced=3.5)], 1, now=4.0).run_id == "many0"
    at_work = many[3]._replace(free=False)
    assert choose([*many[:3], at_work, one._replace(advanced=3.9)], 1, now=4.0).run_id == "one"


def test_a_run_that_starves_beside_its_viewers_shorter_ones_has_its_turn():
    own = [run("long", "a", remaining=900, advanced=0.0), run("short", "a", remaining=1, advanced=9.9)]
    other = run("other", "b", remaining=900, advanced=9.5)
    assert choose([*own, other], 1, now=0.25 * STARVING_ROUNDS * 3 + 0.1).run_id == "long"


def test_what_a_viewer_has_for_herself_waits_no_longer_because_she_looks_at_what_all_look_at():
    shared = run("shared", "abcd", remaining=1, advanced=9.9)
    own = run("own", "a", remaining=900, advanced=1.0)
    assert choose([shared, own, run("other", "b", advanced=5.0)], 1, now=10.0).run_id == "own"


def test_what_takes_long_waits_as_much_longer():
    slow = run("slow", "a", remaining=900, advanced=0.0, turn_seconds=2.0)
    quick = run("quick", "b", remaining=900, advanced=0.0, turn_seconds=0.25)
    assert choose([slow, quick._replace(advanced=8.9)], 3, now=10.0).run_id == "slow", (
        "10 s for 2 s, 1.1 for 0.25"
    )
    assert choose([slow, quick._replace(advanced=8.7)], 3, now=10.0).run_id == "quick"
    assert choose([slow._replace(turn_seconds=0.01), quick], 3, now=10.0).run_id == "slow", (
        "none is too short"
    )


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


def test_what_a_viewer_looked_at_last_is_active_before_what_she_has_left():
    """Five quick clicks on a new seed, and the sixth is what she looks at."""
    runs = [
        run(f"r{number}", "a", created=number)._replace(viewers={"a": 10.0 + number}) for number in range(6)
    ]
    assert sorted(shares(runs)) == ["r2", "r3", "r4", "r5"]
    runs[0] = runs[0]._replace(viewers={"a": 16.0})
    assert sorted(shares(runs)) == ["r0", "r3", "r4", "r5"], "she has gone back to the first"
    waits = play(runs, workers=1)
    assert waits["r0"].next_point < waits["r1"].next_point


def test_a_waiting_run_that_somebody_else_wants_as_well_does_not_wait():
    runs = [run(f"r{number}", "a", created=number) for number in range(6)]
    runs[5] = runs[5]._replace(viewers=dict.fromkeys("ab", 0.0))
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
    """Whatever the others are worth, a run waits for so many rounds of all that are active, and for those that wait as long."""
    runs = {one.run_id: one._replace(free=True, turn_seconds=0.25) for one in runs}
    waited = dict.fromkeys(shares(runs.values()), 0)
    longest = (STARVING_ROUNDS + ROUND_ROBIN_EVERY + 1) * len(waited)
    now = 1_000.0
    for turn in range(first_turn, first_turn + 4 * longest):
        chosen = choose([*runs.values()], turn, now)
        now += 0.25
        runs[chosen.run_id] = chosen._replace(quanta=chosen.quanta + 1, advanced=now, turn_seconds=0.25)
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


def test_turns_in_a_row_are_shared_by_the_second_and_not_by_the_count():
    seconds = {"a": 0.25, "b": 0.5, "c": 2.0}
    runs = {
        f"{kind}{number}": run(
            f"{kind}{number}", [f"{kind}{number}"], 1e6, step_seconds=each, turn_seconds=each
        )
        for kind, each in seconds.items()
        for number in range(4)
    }
    spent = dict.fromkeys(runs, 0.0)
    now = 0.0
    for _ in range(1_000):
        chosen = choose([*runs.values()], ROUND_ROBIN_EVERY - 1, now)
        now += chosen.step_seconds
        spent[chosen.run_id] += chosen.step_seconds
        runs[chosen.run_id] = chosen._replace(advanced=now)
    assert max(spent.values()) < 1.1 * min(spent.values())


def test_a_forecast_knows_that_no_turn_is_shorter_than_an_update():
    runs = [run("slow", "a", remaining=30.0, step_seconds=3.0), run("quick", "b", remaining=9.0)]
    assert play(runs[:1], workers=1)["slow"].next_point == pytest.approx(3.0)
    assert play(runs, workers=1, quantum=5.0)["slow"].next_point == pytest.approx(3.25)


def test_the_next_point_is_foretold_in_turns_as_short_as_they_will_be():
    """However coarse the turns are in which the far end is foretold."""
    runs = [run(f"r{number}", [f"viewer {number}"], remaining=200.0, quanta=1) for number in range(20)]
    fine, coarse = (play(runs, workers=2, quantum=quantum) for quantum in (0.25, 10.0))
    assert max(forecast.next_point for forecast in fine.values()) < 12
    for one in runs:
        assert coarse[one.run_id].next_point == pytest.approx(fine[one.run_id].next_point, abs=0.3)


def test_a_fork_that_replays_gives_its_first_point_when_it_has_caught_up():
    fork = run("fork", "a", remaining=10.0, quanta=0, replay_seconds=8.0)
    assert play([fork], workers=1)["fork"].next_point == pytest.approx(8.0, abs=0.3)
    assert schedule.guess([fork], workers=1)["fork"].next_point == pytest.approx(8.0, abs=0.3)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("victims", [1, 3, 10])
@pytest.mark.parametrize("at_once", [1, MOST_ACTIVE, 10 * MOST_ACTIVE])
def test_who_asks_for_short_runs_again_and_again_at_most_doubles_the_others_time(workers, victims, at_once):
    """As soon as one of them ends, the next one is asked for."""
    waiting = {f"v{number}": run(f"v{number}", [f"v{number}"], 60.0, 0) for number in range(victims)}
    hog = {f"h{number}": run(f"h{number}", ["hog"], 5.0, 0) for number in range(at_once)}
    asked, now, turns, at_work, ends = at_once, 0.0, 0, [], {}
    while len(ends) < victims:
        while len(at_work) < workers and (one := choose([*waiting.values(), *hog.values()], turns, now)):
            turns += 1
            seconds = min(0.25 if one.quanta else FIRST_QUANTUM_SECONDS, one.remaining_seconds)
            (hog if one.run_id in hog else waiting)[one.run_id] = one._replace(free=False)
            heapq.heappush(at_work, (now + seconds, one.run_id, seconds))
        now, name, seconds = heapq.heappop(at_work)
        own = hog if name in hog else waiting
        done = own[name]
        left = done.remaining_seconds - seconds
        own[name] = done._replace(
            remaining_seconds=left, quanta=done.quanta + 1, advanced=now, turn_seconds=seconds, free=True
        )
        if left < 1e-9:
            del own[name]
            if own is waiting:
                ends[name] = now
            else:
                hog[f"h{asked}"] = run(f"h{asked}", ["hog"], 5.0, 0, advanced=now, created=now)
                asked += 1
    equal = 60.0 * max(1, (victims + 1) / workers)
    assert max(ends.values()) <= 2.05 * equal


@pytest.mark.parametrize("hog_first", [True, False])
@pytest.mark.parametrize(
    ("students", "seconds"),
    [(5, (5, 5)), (10, (2, 10)), (10, (20, 60)), (30, (5, 5)), (30, (2, 20)), (100, (2, 5))],
)
@pytest.mark.parametrize("step_seconds", [0.0, 0.5])
def test_one_hog_does_not_make_the_others_wait(students, seconds, hog_first, step_seconds):
    """One viewer asks for 40 long runs, if need be of the slowest updates, `students` others for one each."""
    generator = random.Random(students)
    others = [
        run(f"s{number}", [f"student {number}"], generator.uniform(*seconds), 0, 0.0, 1 + number / 1e3)
        for number in range(students)
    ]
    created = 0.0 if hog_first else 2.0
    hog = [
        run(f"h{number}", ["hog"], 60.0, 0, 0.0, created + number / 1e3, step_seconds=step_seconds)
        for number in range(40)
    ]
    fair = equal_share(others, workers=2)
    found = {run_id: forecast.end for run_id, forecast in play([*others, *hog], workers=2).items()}
    alone = {run_id: forecast.end for run_id, forecast in play(others, workers=2).items()}
    with_hog = statistics.median(found[run_id] for run_id in fair)
    assert with_hog <= 1.1 * statistics.median(fair.values())
    if not step_seconds:  # else who comes has to wait for the end of an update
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
    assert found[waiting].viewers.keys() == {"ada", "bob"}
    assert found[waiting].viewers["ada"] < found[waiting].viewers["bob"]
    assert found[unseen].viewers == found[leased].viewers == {"": 0.0}
    assert (found[waiting].free, found[leased].free) == (True, False)
    assert found[waiting].remaining_seconds == pytest.approx(30 * tiny().estimated_step_seconds)


def test_a_look_counts_for_a_minute(store, let_time_pass):
    run_id = store.request(tiny(), viewer="ada")
    let_time_pass(store, 50)
    assert schedule.candidates(store)[0].viewers.keys() == {"ada"}, "watched, though nobody looks now"
    let_time_pass(store, 11)
    assert [(one.run_id, one.viewers) for one in schedule.candidates(store)] == [(run_id, {"": 0.0})]


def test_a_run_is_left_for_a_moment_to_the_worker_that_holds_its_state(store, monkeypatch):
    run_id = store.request(tiny())
    Advancer(store).advance(run_id, 0.0)
    assert schedule.next_run(store, 0).run_id == run_id
    monkeypatch.setattr(schedule, "worker_name", lambda: "another")
    with monkeypatch.context() as patch:
        patch.setattr(schedule, "HAND_OVER_SECONDS", 60.0)  # however slow this machine is
        assert schedule.next_run(store, 0) is None
    set_runs(store, advanced=time.time() - HAND_OVER_SECONDS)
    assert schedule.next_run(store, 0).run_id == run_id
    set_runs(store, advanced=time.time() + 3_600)
    assert schedule.next_run(store, 0).run_id == run_id, "the clock was set back"


def test_of_five_new_seeds_in_a_row_the_one_that_is_looked_at_is_trained(store):
    ids = [store.request(tiny(seed=seed), viewer="ada") for seed in range(MOST_ACTIVE + 1)]
    assert ids[-1] in shares(schedule.candidates(store))
    assert ids[0] not in shares(schedule.candidates(store))
    store.watch(ids[0], "ada")
    assert ids[0] in shares(schedule.candidates(store))


# -- what is left


def costs(store):
    with store.database.read() as connection:
        return connection.execute(sql.select(*(RUNS.c[name] for name in Costs._fields))).one()


@pytest.fixture
def of_known_cost(monkeypatch):
    """Updates of ten milliseconds and evaluations of sixty, whatever this machine is doing."""
    clock = [0.0]
    update = Trainer.advance

    def take_ten(trainer):
        before = trainer.seconds
        clock[0] += 0.01
        made = update(trainer)
        trainer.seconds = before + 0.01
        return made._replace(seconds=trainer.seconds)

    def take_sixty(*given):
        clock[0] += 0.06
        return undisturbed.quick_evaluation(*given)

    monkeypatch.setattr(advancing.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(Trainer, "advance", take_ten)
    monkeypatch.setattr(advancing, "evaluate", take_sixty)
    return clock


def test_what_is_left_is_known_from_the_second_quantum_on_and_after_every_hand_over(store, of_known_cost):
    """Evaluations take as long as dozens of updates: neither may be taken for the other."""
    run_id = store.request(tiny(steps=200))
    set_runs(store, step_seconds=99.0)
    advancer = Advancer(store)
    advancer.advance(run_id)
    told = []
    while not advancer.advance(run_id).done:
        told.append((of_known_cost[0], schedule.candidates(store)[0].remaining_seconds))
        if len(told) % 4 == 0:
            advancer = Advancer(store)
    assert len(told) >= 8
    for now, left in told:
        # A quantum may end between an update and its evaluation; and a hand-over trains some updates again.
        assert left == pytest.approx(of_known_cost[0] - now, abs=0.3)
    end = of_known_cost[0]
    assert told[0][1] == pytest.approx(end - told[0][0], rel=0.2)


@pytest.mark.usefixtures("of_known_cost")
def test_an_average_goes_on_where_the_last_worker_left_it(store):
    run_id = store.request(tiny(steps=200))
    for _ in range(4):
        Advancer(store).advance(run_id)
    assert costs(store).step_seconds == pytest.approx(0.01)
    assert costs(store).evaluation_seconds == pytest.approx(0.06)
    set_runs(store, step_seconds=0.02, evaluation_seconds=0.5)
    Advancer(store).advance(run_id, 0.0)
    assert 0.01 < costs(store).step_seconds < 0.02, "one update does not decide"


@pytest.mark.usefixtures("quick_evaluations")
def test_of_a_fork_only_its_own_evaluations_are_left(store):
    parent = store.request(tiny())
    while not Advancer(store).advance(parent).done:
        pass
    store.fork(parent, 25, mode="free_running", steps=40)
    set_runs(store, step_seconds=0.0, evaluation_seconds=1.0)
    assert [one.remaining_seconds for one in schedule.candidates(store)] == [1.0], "after step 40"


def test_a_run_is_charged_with_what_its_turn_really_took(store, of_known_cost):
    run_id = store.request(tiny(steps=200))
    advancer = Advancer(store)
    advancer.advance(run_id)
    assert costs(store).turn_seconds == pytest.approx(0.01)
    began = of_known_cost[0]
    advancer.advance(run_id, 0.0)
    assert costs(store).turn_seconds == pytest.approx(of_known_cost[0] - began)
    assert costs(store).turn_seconds == pytest.approx(0.07), "the evaluation that it owed, and an update"
    assert schedule.candidates(store)[0].turn_seconds == pytest.approx(0.07)


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


def test_a_crowd_of_a_thousand_is_guessed_in_no_time():
    crowd = [run(f"r{n}", [f"viewer {n}"], 2.0 + n % 18, n % 2, created=n) for n in range(1_000)]
    began = time.process_time()
    found = schedule.guess(crowd, workers=2)
    assert time.process_time() - began < 0.1
    assert found.keys() == {one.run_id for one in crowd}
    work = sum(one.remaining_seconds for one in crowd)
    assert max(forecast.end for forecast in found.values()) == pytest.approx(work / 2)
    assert max(found[f"r{n}"].next_point for n in range(0, 1_000, 2)) == pytest.approx(500 * 0.02 / 2)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(situations(), st.integers(1, 4))
def test_a_guess_is_no_nonsense(runs, workers):
    guessed = schedule.guess(runs, workers)
    assert guessed.keys() == {one.run_id for one in runs}
    for one in runs:
        point, end = guessed[one.run_id]
        assert 0 < point <= end
        assert end >= one.remaining_seconds - 1e-6


def test_a_guess_is_about_what_the_rule_gives_where_it_is_played():
    generator = random.Random(0)
    crowd = [run(f"r{n}", [f"viewer {n}"], generator.uniform(2, 20), 0, created=n) for n in range(80)]
    guessed, played = schedule.guess(crowd, workers=2), play(crowd, workers=2)
    ratios = [guessed[one.run_id].end / played[one.run_id].end for one in crowd]
    assert statistics.median(ratios) == pytest.approx(1, abs=0.2)
    assert statistics.median(
        guessed[one.run_id].next_point / played[one.run_id].next_point for one in crowd
    ) == pytest.approx(2, abs=0.2), "the last of all first points, for half of them"


def test_many_runs_are_not_played_one_by_one(store, monkeypatch):
    monkeypatch.setattr(schedule, "MOST_PLAYED", 2)
    monkeypatch.setattr(schedule, "play", None)
    ids = {store.request(tiny(seed=seed)) for seed in range(3)}
    assert schedule.forecast(store, workers=1).keys() == ids


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
