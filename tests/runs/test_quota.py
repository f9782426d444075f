"""What the store may hold: the least looked at goes first, what somebody needs stays, and a full store says so."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sql
from undisturbed import TINY, assert_undisturbed, tiny

from decoder.config import DecoderConfig, TextSource
from decoder.language import open_corpus
from decoder.runs import leases
from decoder.runs.advance import Advancer
from decoder.runs.database import StoreError
from decoder.runs.history import ROW_BYTES, planned_bytes
from decoder.runs.store import open_store
from decoder.runs.tables import METADATA, OF_A_RUN, RUNS

pytestmark = pytest.mark.usefixtures("quick_evaluations")


@pytest.fixture
def finished(store):
    def train(seed, **asked):
        run_id = store.request(tiny(seed=seed, steps=2), **asked)
        advancer = Advancer(store)
        while not advancer.advance(run_id, 0.02).done:
            pass
        return run_id

    return train


def held(store):
    with store.database.read() as connection:
        return set(connection.scalars(sql.select(RUNS.c.id)))


def really_taken(store, run_id):
    with store.database.read() as connection:
        return connection.scalar(sql.select(leases._bytes_of_run()).where(RUNS.c.id == run_id))


def file_bytes(store):
    """How large an SQLite file is, without the log beside it; 0 for another database."""
    if store.database.url.get_backend_name() != "sqlite":
        return 0
    with store.database.read() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        return pages * connection.exec_driver_sql("PRAGMA page_size").scalar()


def size(store, run_id):
    with store.database.read() as connection:
        return connection.scalar(sql.select(RUNS.c.bytes).where(RUNS.c.id == run_id))


def test_what_a_run_takes_is_counted(store, finished):
    run_id = finished(0)
    tables = METADATA.tables
    with store.database.read() as connection:
        files = [
            len(file)
            for name in ("snapshots", "checkpoints")
            for file in connection.scalars(sql.select(tables[name].c.file))
        ]
        losses = [
            losses
            for name in ("metrics", "evaluations")
            for losses in connection.scalars(sql.select(tables[name].c.loss_per_position))
        ]
    assert len(losses) == store.run(run_id).step + len(store.snapshots(run_id))
    asked = len(store.run(run_id).config.to_json())
    assert size(store, run_id) == asked + sum(files) + sum(ROW_BYTES + len(row) for row in losses)
    assert store.evict() == size(store, run_id)


def test_a_text_of_ones_own_counts_from_the_moment_that_it_is_asked_for(store, let_time_pass):
    """Else thousands of long texts would fit into any quota."""
    texts = [TextSource(f"{seed} long texts need room " * 2_000) for seed in range(3)]
    corpora = [open_corpus(text, 9) for text in texts]
    decoders = [DecoderConfig(corpus.tokenizer.vocab_size, 9, 1, 2, 8) for corpus in corpora]
    ids = [
        store.request(tiny(corpus=text, decoder=decoder), viewer="ada")
        for text, decoder in zip(texts, decoders, strict=True)
    ]
    assert all(size(store, run_id) > len(store.run(run_id).config.to_json()) for run_id in ids)
    pause_unwatched_after(store, let_time_pass)
    store.quota_bytes = 2.5 * size(store, ids[0])
    store.evict()
    assert len(held(store)) == 2


def test_a_long_text_does_not_stand_in_the_row_that_every_quantum_writes(store):
    """Else each of them would write it anew."""
    text = TextSource("long texts need room " * 2_000)
    decoder = DecoderConfig(open_corpus(text, 9).tokenizer.vocab_size, 9, 1, 2, 8)
    run_id = store.request(tiny(corpus=text, decoder=decoder))
    with store.database.read() as connection:
        row = connection.execute(sql.select(RUNS).where(RUNS.c.id == run_id)).one()
    assert len(repr(row)) < 1_000
    assert store.run(run_id).config.corpus == text


def check_size_while_it_is_trained(store, run_id, planned):
    advancer = Advancer(store)
    while not advancer.advance(run_id, 0.02).done:
        assert size(store, run_id) == planned, "what it writes is counted already"
        assert really_taken(store, run_id) <= planned
    taken = really_taken(store, run_id)
    assert 0.8 * planned <= taken <= planned
    assert size(store, run_id) == taken


WIDE = dataclasses.replace(TINY.decoder, d_model=32)
LONG = dataclasses.replace(TINY.decoder, context_length=200)
TEXT = TextSource("some words that come again and again " * 40)
TEXT_SIZE = open_corpus(TEXT, 60).tokenizer.vocab_size


@pytest.mark.parametrize(
    "config",
    [
        tiny(),
        tiny(steps=1),
        tiny(steps=300, decoder=dataclasses.replace(TINY.decoder, positions="none")),
        tiny(steps=20, decoder=dataclasses.replace(WIDE, n_layers=3)),
        tiny(steps=20, decoder=LONG),
        tiny(steps=20, corpus=TEXT, decoder=DecoderConfig(TEXT_SIZE, 60, 2, 2, 32)),
    ],
    ids=["tiny", "one update", "many updates", "several layers", "a context above the corpus", "a text"],
)
def test_what_is_planned_for_a_run_is_a_little_more_than_what_it_takes(store, config):
    run_id = store.request(config)
    planned = size(store, run_id)
    assert planned == planned_bytes(config)
    fork_planned = planned_bytes(dataclasses.replace(config, batch_size=2, steps=25), start=1)
    check_size_while_it_is_trained(store, run_id, planned)
    fork = store.fork(run_id, 1, batch_size=2, steps=25)
    check_size_while_it_is_trained(store, fork, fork_planned)


def test_what_a_failed_run_did_not_use_is_free_again(store):
    run_id = store.request(tiny(learning_rate=1e30))
    planned = size(store, run_id)
    advancer = Advancer(store)
    while not advancer.advance(run_id, 0.02).done:
        pass
    assert store.run(run_id).state == "failed"
    assert size(store, run_id) == really_taken(store, run_id) < planned


def test_what_a_run_that_is_given_up_did_not_use_is_free_again(store, let_time_pass):
    run_id = store.request(tiny())
    planned = size(store, run_id)
    for _ in range(leases.MOST_DEATHS):
        assert size(store, run_id) == planned
        leases.take(store, run_id)
        let_time_pass(store, 2 * leases.LEASE_SECONDS)
        leases.bury_dead(store)
    assert store.run(run_id).state == "failed"
    assert size(store, run_id) == really_taken(store, run_id) < planned


def test_many_large_runs_never_outgrow_the_quota(store, let_time_pass):
    """Whoever is refused waits until others are done and forgotten; every now and then a worker is a new one."""
    configs = [tiny(seed=seed, steps=40, decoder=WIDE) for seed in range(8)]
    store.quota_bytes = 3.5 * planned_bytes(configs[0])
    advancer, turn, refusals = Advancer(store), 0, 0

    def check():
        taken = sum(really_taken(store, run_id) for run_id in held(store))
        assert taken <= store.quota_bytes
        assert file_bytes(store) <= 1.3 * store.quota_bytes + 200_000, "pages and indices take their share"
        return taken

    def train_all():
        nonlocal advancer, turn
        while going_on := [run_id for run_id in held(store) if store.run(run_id).state != "finished"]:
            for run_id in going_on:
                turn += 1
                if turn % 7 == 0:
                    advancer = Advancer(store)
                advancer.advance(run_id, 0.02)
                check()

    for config in (*configs, configs[0]):
        try:
            newest = store.request(config, viewer="ada")
        except StoreError:
            refusals += 1
            train_all()
            let_time_pass(store, 100)
            newest = store.request(config, viewer="ada")
        check()
    train_all()
    assert refusals >= 2
    assert check() > 0.5 * store.quota_bytes
    assert_undisturbed(store, newest)


def test_of_many_who_ask_at_once_nobody_gets_in_above_the_quota(store):
    configs = [tiny(seed=seed) for seed in range(12)]
    store.quota_bytes = 4.5 * planned_bytes(configs[0])

    def ask(config):
        try:
            return store.request(config, viewer=f"viewer {config.seed}")
        except StoreError:
            return None

    with ThreadPoolExecutor(len(configs)) as pool:
        answers = [*pool.map(ask, configs)]
    assert len(held(store)) == 4
    assert {answer for answer in answers if answer} == held(store)


def test_who_is_refused_has_pushed_nobody_out(store, finished, let_time_pass):
    pinned, forgotten = finished(0), finished(1)
    store.pin(pinned)
    let_time_pass(store, 100)
    store.quota_bytes = size(store, pinned) + size(store, forgotten)
    with pytest.raises(StoreError, match="would take"):
        store.request(tiny(steps=200))
    assert held(store) == {pinned, forgotten}


def test_a_run_that_alone_is_above_the_quota_is_told_so(store):
    store.quota_bytes = 100_000
    with pytest.raises(
        StoreError,
        match=r"would take 1\.3 MB and the store may hold 0\.1 MB: choose a smaller decoder, or raise DECODER_QUOTA_MB",
    ):
        store.request(tiny(decoder=dataclasses.replace(WIDE, n_layers=3)))
    assert held(store) == set()


def test_few_configurations_are_held_in_memory_because_each_may_be_a_long_text(store):
    store.run(store.request(tiny()))
    assert store.lineage.cache_info().currsize == 1
    assert store.lineage.cache_info().maxsize <= 128


def test_nothing_goes_while_there_is_room(store, finished, let_time_pass, dump):
    finished(0)
    let_time_pass(store, 1_000)
    before = dump(store)
    store.evict()
    assert dump(store) == before


def test_what_was_looked_at_longest_ago_goes_first_and_no_more_than_must(store, finished, let_time_pass):
    ids = [finished(seed, viewer="ada") for seed in range(5)]
    for run_id in (ids[3], ids[1], ids[4], ids[0], ids[2]):
        let_time_pass(store, 100)
        store.watch(run_id, "ada")
    let_time_pass(store, 100)
    largest = max(
        size(store, run_id) for run_id in ids
    )  # the time that it took is written in more or fewer digits
    gone = []
    for kept in (4, 3, 2, 1, 0):
        before = held(store)
        store.quota_bytes = kept * largest
        assert store.evict() <= store.quota_bytes
        gone += before - held(store)
    assert gone == [ids[3], ids[1], ids[4], ids[0], ids[2]]


def test_of_a_run_that_goes_nothing_stays_and_it_can_be_asked_for_again(store, finished, let_time_pass):
    run_id = finished(0, viewer="ada")
    store.run(run_id)
    let_time_pass(store, 100)
    store.quota_bytes = 0
    assert store.evict() == 0
    with store.database.read() as connection:
        for table in (*OF_A_RUN, RUNS):
            assert connection.scalar(sql.select(sql.func.count()).select_from(table)) == 0
    with pytest.raises(ValueError, match=f"no run '{run_id}' in this store: request it again"):
        store.run(run_id)
    store.quota_bytes = 1e9
    assert finished(0) == run_id
    assert_undisturbed(store, run_id)


def test_what_is_pinned_watched_unfinished_or_a_parent_stays(store, finished, let_time_pass):
    pinned, parent, forgotten = finished(0), finished(1), finished(2)
    store.pin(pinned)
    fork = store.fork(parent, 1, mode="free_running")
    waiting = store.request(tiny(seed=3))
    paused = store.request(tiny(seed=4), viewer="ada")
    store.pause(paused, "ada")
    watched = finished(5, viewer="ada")
    let_time_pass(store, 100)
    store.watch(watched, "bob")
    store.quota_bytes = 0
    store.evict()
    assert held(store) == {pinned, parent, fork, waiting, watched}
    assert forgotten not in held(store)


def test_a_parent_goes_after_its_last_fork(store, finished, let_time_pass):
    parent = finished(0)
    fork = store.fork(parent, 1, viewer="ada", mode="free_running")
    store.pause(fork, "ada")
    let_time_pass(store, 100)
    store.quota_bytes = size(store, parent) - 1
    store.evict()
    assert held(store) == set()


def test_a_full_store_refuses_what_is_new_with_the_numbers_and_gives_what_it_has(store, finished):
    run_id = finished(0)
    store.pin(run_id)
    store.quota_bytes = 1.2 * size(store, run_id)
    refusal = (
        r"this training would take 0\.\d MB, the store may hold 0\.\d MB, and 0\.\d MB of it are for trainings that go on "
        "or that somebody looks at or keeps: try again later, or raise DECODER_QUOTA_MB"
    )
    with pytest.raises(StoreError, match=refusal):
        store.request(tiny(seed=1, steps=2), viewer="ada")
    with pytest.raises(StoreError, match=refusal):
        store.fork(run_id, 1, mode="free_running")
    assert store.request(tiny(seed=0, steps=2), viewer="ada") == run_id
    assert held(store) == {run_id}


def test_room_is_made_for_what_is_new(store, finished, let_time_pass):
    old = finished(0)
    let_time_pass(store, 100)
    store.quota_bytes = size(store, old) + planned_bytes(tiny()) - 1
    new = store.request(tiny(seed=1))
    assert held(store) == {new}


def test_a_run_that_goes_on_is_not_disturbed_by_a_quota_that_became_smaller(store, let_time_pass):
    run_id = store.request(tiny(), viewer="ada")
    store.quota_bytes = 1
    let_time_pass(store, 100)
    advancer = Advancer(store)
    while not advancer.advance(run_id, 0.02).done:
        if store.run(run_id).step < 30:
            store.evict()
    assert_undisturbed(store, run_id)


def test_a_run_that_somebody_looks_at_in_the_last_moment_stays(store, finished, let_time_pass, monkeypatch):
    run_id = finished(0, viewer="ada")
    let_time_pass(store, 100)
    store.quota_bytes = 0
    write = store.database.write
    looked = []

    def look_first():
        if not looked:
            looked.append("bob")
            store.watch(run_id, "bob")  # it is chosen already, and not yet removed
        return write()

    monkeypatch.setattr(store.database, "write", look_first)
    assert store.evict() > 0
    assert held(store) == {run_id}
    assert len(store.metrics(run_id)) == 2


def test_a_run_that_is_removed_while_somebody_asks_for_it_is_made_again(
    store, finished, let_time_pass, monkeypatch
):
    run_id = finished(0, viewer="ada")
    fork = store.fork(run_id, 1, viewer="ada", mode="free_running")
    while not Advancer(store).advance(fork, 60).done:
        pass
    store.pin(run_id)  # only its fork goes with it
    questions = (
        (fork, lambda: store.fork(run_id, 1, viewer="bob", mode="free_running")),
        (run_id, lambda: store.request(tiny(seed=0, steps=2), viewer="bob")),
    )
    watch = store.watch

    def remove_first(*look):
        monkeypatch.setattr(store, "watch", watch)
        let_time_pass(store, 100)
        quota, store.quota_bytes = store.quota_bytes, 0
        store.evict()
        store.quota_bytes = quota
        watch(*look)

    for asked, ask in questions:
        monkeypatch.setattr(store, "watch", remove_first)
        assert ask() == asked
        assert store.run(asked).state == "waiting"
        assert store.watchers(asked) == {"bob"}
        store.pause(fork, "bob")
        with store.database.write() as connection:
            connection.execute(sql.update(RUNS).values(pinned=False))


def test_the_quota_is_a_number_of_megabytes_in_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("DECODER_QUOTA_MB", "12.5")
    store = open_store(f"sqlite:///{tmp_path}/runs.db")
    assert store.quota_bytes == 12.5e6
    store.close()
    monkeypatch.setenv("DECODER_QUOTA_MB", "plenty")
    with pytest.raises(
        StoreError, match="DECODER_QUOTA_MB is 'plenty': give a number of megabytes such as 2000"
    ):
        open_store(f"sqlite:///{tmp_path}/runs.db")


def test_a_removed_run_that_is_asked_for_again_begins_anew_even_where_its_training_is_still_held(
    store, let_time_pass
):
    advancer = Advancer(store)
    run_id = store.request(tiny(seed=9), viewer="ada")
    while store.run(run_id).step < 12:
        advancer.advance(run_id, 0.0)
    pause_unwatched_after(store, let_time_pass)
    store.quota_bytes = 0
    store.evict()
    assert run_id not in held(store)
    store.quota_bytes = 1e9
    assert store.request(tiny(seed=9), viewer="bob") == run_id
    while not advancer.advance(run_id, 0.02).done:
        pass
    assert_undisturbed(store, run_id)


def test_a_fork_does_not_push_its_own_parent_out(store, finished, let_time_pass):
    parent = finished(0, viewer="ada")
    let_time_pass(store, 100)
    store.quota_bytes = size(store, parent) + 1
    with pytest.raises(StoreError, match="may hold"):
        store.fork(parent, 1, learning_rate=1e-4)
    assert held(store) == {parent}


def pause_unwatched_after(store, let_time_pass):
    let_time_pass(store, 100)
    leases.pause_unwatched(store)
