"""Only who holds a run's lease may commit; a dead worker is an expired lease, and three of them are a poison run."""

import importlib
import os
import socket
import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sql
import undisturbed
from undisturbed import assert_undisturbed, tiny

from decoder.runs import leases
from decoder.runs.advance import SHORTER_AFTER_A_DEATH, Advancer, advance
from decoder.runs.history import Checkpoint, Costs, History
from decoder.runs.store import open_store
from decoder.runs.tables import RUNS
from decoder.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("quick_evaluations")

advancing = importlib.import_module("decoder.runs.advance")  # the package shows the function of this name


def row(store, run_id):
    with store.database.read() as connection:
        return connection.execute(sql.select(RUNS).where(RUNS.c.id == run_id)).one()


def set_row(store, run_id, **values):
    with store.database.write() as connection:
        connection.execute(sql.update(RUNS).where(RUNS.c.id == run_id).values(values))


def quantum(config, first=1, last=5):
    """What an honest worker would commit: updates from one step to another, and the state behind them."""
    trainer = Trainer(config)
    updates = [trainer.advance() for _ in range(last)]
    return History(updates[first - 1 :], checkpoint=Checkpoint(trainer.step, trainer.state))


def wait_for(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def test_a_lease_is_given_to_one_of_many_who_want_it(store):
    run_id = store.request(tiny())
    others = [open_store(store.url) for _ in range(3)]
    barrier = threading.Barrier(6)
    taken = []

    def want(number):
        barrier.wait()
        taken.append(leases.take(others[number % 3], run_id))

    for _ in range(5):
        taken.clear()
        threads = [threading.Thread(target=want, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        winners = [lease for lease in taken if lease is not None]
        assert len(winners) == 1
        assert row(store, run_id).lease == winners[0].token
        leases.give_back(store, winners[0])
    for other in others:
        other.close()


def test_a_commit_without_the_lease_changes_nothing(store, dump):
    """A zombie: it was believed dead, its run went on elsewhere, and now it comes back with its quantum."""
    run_id = store.request(tiny())
    zombie = leases.take(store, run_id)
    leases.give_back(store, zombie)
    while not advance(store, run_id, 0.01).done:
        pass
    before = dump(store)
    wrong = quantum(tiny(seed=5), last=9)
    for state in ("training", "finished", "failed"):
        assert not leases.commit(
            store, zombie, wrong, state, error="I am no zombie", costs=Costs(9.0, 9.0, 9.0)
        )
        assert dump(store) == before
    leases.give_back(store, zombie)
    assert dump(store) == before
    assert_undisturbed(store, run_id)


def test_nor_does_one_while_another_worker_trains_the_run(store, dump):
    run_id = store.request(tiny())
    zombie = leases.take(store, run_id)
    leases.give_back(store, zombie)
    heir = leases.take(store, run_id)
    before = dump(store)
    assert not leases.commit(store, zombie, quantum(tiny()), "training")
    assert dump(store) == before
    assert leases.commit(store, heir, quantum(tiny()), "training")
    assert store.run(run_id).step == 5


def test_the_same_commit_counts_once(store, dump):
    run_id = store.request(tiny())
    lease = leases.take(store, run_id)
    assert leases.commit(store, lease, quantum(tiny()), "training")
    before = dump(store)
    assert not leases.commit(store, lease, quantum(tiny()), "training")
    assert dump(store) == before


def test_an_advancer_that_lost_its_lease_in_the_middle_throws_its_quantum_away(store, monkeypatch):
    run_id = store.request(tiny(steps=60))
    slow, quick = Advancer(store), Advancer(store)
    slow.advance(run_id, 0.0)
    update = Trainer.advance
    overtaken = []

    def be_overtaken(trainer):
        if not overtaken:
            overtaken.append(row(store, run_id).lease)
            set_row(store, run_id, lease_until=0.0)  # the computer slept, and the others had a day
            while not quick.advance(run_id, 0.01).done:
                pass
        return update(trainer)

    monkeypatch.setattr(Trainer, "advance", be_overtaken)
    assert slow.advance(run_id, 0.05) == (60, True)
    assert slow._held == {}
    assert_undisturbed(store, run_id)


def test_an_expired_lease_is_taken_over_and_one_that_is_valid_is_not(store, monkeypatch):
    run_id = store.request(tiny())
    monkeypatch.setattr(leases, "machine", lambda: "another-machine")
    lost = leases.take(store, run_id)
    monkeypatch.undo()
    # Whether a process of another machine lives cannot be seen from here: its lease decides.
    assert advance(store, run_id, 0.0) == (0, False)
    assert row(store, run_id).lease == lost.token
    set_row(store, run_id, lease_until=time.time() - 0.1)
    assert advance(store, run_id, 0.0) == (1, False)
    while not advance(store, run_id, 0.01).done:
        pass
    assert_undisturbed(store, run_id)


@pytest.mark.parametrize("ahead", [-3_600, 3_600])
def test_a_machine_whose_clock_is_wrong_disturbs_nobody_who_shares_the_database(store, monkeypatch, ahead):
    """The clock of a store is the database's; a file is used by one machine, and so by one clock."""
    if store.database.url.get_backend_name() == "sqlite":
        assert store.database.now.value == pytest.approx(time.time(), abs=1)
        return
    run_id = store.request(tiny(), viewer="ada")
    monkeypatch.setattr(leases, "machine", lambda: "another-machine")
    lease = leases.take(store, run_id)
    monkeypatch.undo()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + ahead)
    leases.bury_dead(store)
    leases.pause_unwatched(store)
    assert (row(store, run_id).lease, store.run(run_id).state) == (lease.token, "training")
    assert store.watchers(run_id) == {"ada"}
    store.watch(run_id, "bob")
    monkeypatch.undo()
    assert store.watchers(run_id) == {"ada", "bob"}
    leases.pause_unwatched(store)
    assert store.run(run_id).state == "training"


def test_after_the_clock_was_set_back_a_lost_lease_is_taken_over_and_what_rests_is_said_to_wait(
    store, monkeypatch, let_time_pass
):
    lost, resting = store.request(tiny()), store.request(tiny(seed=1))
    advance(store, resting, 0.0)
    monkeypatch.setattr(leases, "machine", lambda: "another-machine")
    leases.take(store, lost)
    monkeypatch.undo()
    let_time_pass(store, -3_600)
    assert advance(store, lost, 0.0) == (1, False)
    leases.rest(store)
    assert store.run(resting).state == "waiting"


def test_two_containers_of_one_name_are_two_machines(monkeypatch):
    """Within each a process has the number 7; who asks for it in the other finds somebody else, or nobody."""
    monkeypatch.setattr(socket, "gethostname", lambda: "decoder")
    here = leases.machine.__wrapped__()
    monkeypatch.setattr(Path, "readlink", lambda _path: Path("pid:[4026539999]"))
    assert leases.machine.__wrapped__() != here
    assert not leases._is_dead(f"{leases.machine.__wrapped__()}|{os.getpid()}|1.00")
    assert leases._is_dead(f"{leases.machine()}|{os.getpid()}|1.00")


def test_the_lease_of_a_dead_process_of_this_machine_is_taken_over_at_once(store, monkeypatch, dead_worker):
    run_id = store.request(tiny())
    with monkeypatch.context() as patch:
        patch.setattr(leases, "worker_name", lambda: dead_worker)
        leases.take(store, run_id)
    assert row(store, run_id).lease_until > time.time() + 5
    assert advance(store, run_id, 0.0) == (1, False)


def test_a_lease_lasts_as_long_as_its_worker_trains(store, monkeypatch):
    """An update may take longer than a lease: it is renewed meanwhile, and nobody takes the run away."""
    monkeypatch.setattr(leases, "LEASE_SECONDS", 0.3)
    monkeypatch.setattr(
        leases, "worker_name", lambda: "another-machine|1|1.00"
    )  # only the lease speaks for it
    run_id = store.request(tiny())
    update, go_on, began = Trainer.advance, threading.Event(), threading.Event()

    def take_long(trainer):
        began.set()
        assert go_on.wait(20)
        return update(trainer)

    monkeypatch.setattr(Trainer, "advance", take_long)
    thread = threading.Thread(target=Advancer(store).advance, args=(run_id, 0.0))
    thread.start()
    assert began.wait(20)
    first = row(store, run_id)
    for _ in range(3):
        until = row(store, run_id).lease_until
        wait_for(lambda until=until: row(store, run_id).lease_until > until)
        leases.bury_dead(store)
    assert row(store, run_id).lease == first.lease
    assert row(store, run_id).lease_until > first.lease_until + 0.2
    go_on.set()
    thread.join()
    assert (store.run(run_id).step, row(store, run_id).deaths) == (1, 0)
    assert row(store, run_id).lease is None


def test_a_lease_is_not_renewed_after_its_quantum(store):
    run_id = store.request(tiny())
    before = {thread.name for thread in threading.enumerate()}
    advance(store, run_id, 0.0)
    assert (row(store, run_id).lease, row(store, run_id).lease_until) == (None, None)
    assert {thread.name for thread in threading.enumerate()} == before


def die(store, run_id, monkeypatch, dead_worker):
    """Let a worker take the run and die without a word."""
    with monkeypatch.context() as patch:
        patch.setattr(leases, "worker_name", lambda: dead_worker)
        lease = leases.take(store, run_id)
    leases.bury_dead(store)
    return lease


def test_a_run_that_costs_three_workers_is_failed_with_its_sentence_and_the_others_are_left_alone(
    store, monkeypatch, dead_worker
):
    poison, well = store.request(tiny()), store.request(tiny(seed=1))
    advance(store, well, 0.0)
    for deaths in (1, 2):
        assert die(store, poison, monkeypatch, dead_worker) is not None
        assert (store.run(poison).state, row(store, poison).deaths) == ("waiting", deaths)
    die(store, poison, monkeypatch, dead_worker)
    run = store.run(poison)
    assert run.state == "failed"
    assert run.error == (
        "the process that trained it died 3 times after step 0, probably for lack of memory: "
        "choose a smaller decoder, batch or context"
    )
    assert die(store, poison, monkeypatch, dead_worker) is None, "it is not tried again"
    assert advance(store, poison, 0.1) == (0, True)
    assert row(store, well).deaths == 0
    while not advance(store, well, 0.01).done:
        pass
    assert_undisturbed(store, well)


def test_deaths_with_progress_between_them_are_no_poison(store, monkeypatch, dead_worker):
    run_id = store.request(tiny())
    for _ in range(5):
        for _ in range(2):
            die(store, run_id, monkeypatch, dead_worker)
        assert not advance(store, run_id, 0.25).done
        assert row(store, run_id).deaths == 0
    while not advance(store, run_id, 0.01).done:
        pass
    assert_undisturbed(store, run_id)


def test_after_a_death_the_next_quantum_is_short_and_kept_at_once(store, monkeypatch, dead_worker):
    """Else a run whose checkpoints are far apart would be trained again and again from the same state."""
    run_id = store.request(tiny(steps=400))
    die(store, run_id, monkeypatch, dead_worker)
    quanta = []
    training = Advancer._train

    def watch(advancer, lease, held, quantum_seconds):
        quanta.append(quantum_seconds)
        training(advancer, lease, held, quantum_seconds)

    monkeypatch.setattr(Advancer, "_train", watch)
    assert advance(store, run_id, 0.25).step >= 1
    assert quanta == [0.25 / SHORTER_AFTER_A_DEATH]
    assert row(store, run_id).checkpoint_step == store.run(run_id).step


class KilledError(BaseException):
    """What a worker does not live to catch."""


def live_or_die(store, run_id, monkeypatch, dead_worker):
    """Let a new worker train a quantum; return False if that kills it."""
    with monkeypatch.context() as patch:
        patch.setattr(leases, "worker_name", lambda: dead_worker)
        try:
            Advancer(store).advance(run_id, 0.02)
        except KilledError:
            leases.bury_dead(store)
            return False
    return True


@pytest.mark.parametrize("step", [0, 10, 30])
def test_a_run_whose_evaluation_kills_its_workers_is_failed_as_one_whose_update_does(
    store, monkeypatch, dead_worker, step
):
    """It comes after updates that are well: they must not make good for it again and again."""
    run_id = store.request(tiny())
    evaluate, deadly = advancing.evaluate, undisturbed.undisturbed(tiny()).weights[step]

    def kill_at_one(model, corpus):
        if all(weight.equal(deadly[name]) for name, weight in model.state_dict().items()):
            raise KilledError
        return evaluate(model, corpus)

    monkeypatch.setattr(advancing, "evaluate", kill_at_one)
    killed = 0
    while store.run(run_id).state != "failed":
        killed += not live_or_die(store, run_id, monkeypatch, dead_worker)
        assert killed <= 9, "it goes on killing"
    assert f"died 3 times after step {store.run(run_id).step}, probably" in store.run(run_id).error
    assert store.run(run_id).step >= step
    assert killed >= 3


def test_kills_by_chance_do_not_add_up_however_many_hit_evaluations(store, monkeypatch, dead_worker):
    """Every second evaluation is hit, and every twentieth update; all are well the next time."""
    run_id = store.request(tiny())
    update, evaluate, calls = Trainer.advance, advancing.evaluate, {"update": 0, "evaluation": 0}

    def hit(what, every):
        calls[what] += 1
        if calls[what] % every == 0:
            raise KilledError

    monkeypatch.setattr(Trainer, "advance", lambda trainer: hit("update", 20) or update(trainer))
    monkeypatch.setattr(advancing, "evaluate", lambda *given: hit("evaluation", 2) or evaluate(*given))
    killed = 0
    while store.run(run_id).state not in {"finished", "failed"}:
        killed += not live_or_die(store, run_id, monkeypatch, dead_worker)
        assert killed < 40
    monkeypatch.undo()
    assert killed >= 5
    monkeypatch.setattr(advancing, "evaluate", evaluate)
    monkeypatch.setattr(undisturbed, "evaluate", evaluate)
    assert_undisturbed(store, run_id)


@pytest.mark.parametrize("deaths", [0, 1, 2])
def test_a_worker_that_is_stopped_on_purpose_is_no_death(store, deaths):
    run_id, other = store.request(tiny()), store.request(tiny(seed=1))
    set_row(store, run_id, deaths=deaths)
    leases.take(store, run_id)
    _, pid, _ = leases.worker_name().rsplit("|", 2)
    set_row(store, other, lease="elsewhere", worker=f"{leases.machine()}|{pid}9|1.00", state="training")
    leases.release(store, (int(pid),))
    assert (row(store, run_id).lease, row(store, run_id).deaths) == (None, deaths)
    assert store.run(run_id).state == "waiting"
    assert row(store, other).lease == "elsewhere", "a process whose number begins alike is another one"
    leases.release(store, ())
    assert row(store, other).lease == "elsewhere"


def test_what_a_stopped_worker_had_between_two_quanta_waits_as_well(store):
    run_id = store.request(tiny())
    advance(store, run_id, 0.0)
    assert (store.run(run_id).state, row(store, run_id).lease) == ("training", None)
    leases.release(store, (os.getpid(),))
    assert (store.run(run_id).state, store.run(run_id).step) == ("waiting", 1)


def test_burying_the_dead_leaves_the_living_their_leases(store, dump):
    run_id = store.request(tiny())
    leases.take(store, run_id)
    before = dump(store)
    leases.bury_dead(store)
    assert dump(store) == before


def test_a_lease_that_is_renewed_while_it_is_looked_at_is_left_alone(store, monkeypatch):
    """Between reading an expired lease and freeing it, its worker may have come back to life."""
    run_id = store.request(tiny())
    lease = leases.take(store, run_id)
    set_row(store, run_id, lease_until=time.time() - 1)
    free = leases._free

    def renewed_at_the_last_moment(*arguments, **words):
        set_row(store, run_id, lease_until=time.time() + 10)
        free(*arguments, **words)

    monkeypatch.setattr(leases, "_free", renewed_at_the_last_moment)
    leases.bury_dead(store)
    assert row(store, run_id).lease == lease.token
    assert row(store, run_id).deaths == 0


def test_a_run_that_is_paused_while_its_worker_dies_stays_paused(store, monkeypatch, dead_worker):
    run_id = store.request(tiny(), viewer="ada")
    with monkeypatch.context() as patch:
        patch.setattr(leases, "worker_name", lambda: dead_worker)
        leases.take(store, run_id)
    store.pause(run_id, "ada")
    leases.bury_dead(store)
    assert (store.run(run_id).state, row(store, run_id).lease) == ("paused", None)


def test_a_run_that_is_paused_in_the_middle_of_a_quantum_keeps_the_quantum_and_stays_paused(
    store, monkeypatch
):
    run_id = store.request(tiny(), viewer="ada")
    update = Trainer.advance

    def pause_first(trainer):
        store.pause(run_id, "ada")
        return update(trainer)

    monkeypatch.setattr(Trainer, "advance", pause_first)
    assert advance(store, run_id, 0.0) == (1, False)
    assert (store.run(run_id).state, store.run(run_id).paused_by) == ("paused", "ada")
    monkeypatch.undo()
    store.resume(run_id)
    while not advance(store, run_id, 0.01).done:
        pass
    assert_undisturbed(store, run_id)
