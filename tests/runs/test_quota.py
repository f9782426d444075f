"""What the store may hold: the least looked at goes first, what somebody needs stays, and a full store says so."""

import pytest
import sqlalchemy as sql
from undisturbed import assert_undisturbed, tiny

from decoder.config import DecoderConfig, TextSource
from decoder.language import open_corpus
from decoder.runs import leases
from decoder.runs.advance import Advancer
from decoder.runs.database import StoreError
from decoder.runs.leases import METRICS_ROW_BYTES
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
        losses = connection.scalars(sql.select(tables["metrics"].c.loss_per_position)).all()
    assert len(losses) == store.run(run_id).step
    asked = len(store.run(run_id).config.to_json())
    assert size(store, run_id) == asked + sum(files) + sum(METRICS_ROW_BYTES + len(row) for row in losses)
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
    assert [size(store, run_id) for run_id in ids] == [
        len(store.run(run_id).config.to_json()) for run_id in ids
    ]
    pause_unwatched_after(store, let_time_pass)
    store.quota_bytes = 2.5 * len(texts[0].text)
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


def test_a_fork_counts_the_state_that_it_begins_with(store, finished):
    fork = store.fork(finished(0), 2, mode="free_running", steps=9)
    with store.database.read() as connection:
        states = METADATA.tables["checkpoints"]
        file = connection.scalar(sql.select(states.c.file).where(states.c.run_id == fork))
    assert size(store, fork) == len(store.run(fork).config.to_json()) + len(file)


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
    store.quota_bytes = size(store, run_id) - 1
    refusal = (
        r"the store holds \d+ MB of trainings that somebody looks at or keeps, and may hold \d+ MB: "
        "try again later, or raise DECODER_QUOTA_MB"
    )
    with pytest.raises(StoreError, match=refusal):
        store.request(tiny(seed=1), viewer="ada")
    with pytest.raises(StoreError, match=refusal):
        store.fork(run_id, 1, mode="free_running")
    assert store.request(tiny(seed=0, steps=2), viewer="ada") == run_id
    assert held(store) == {run_id}


def test_room_is_made_for_what_is_new(store, finished, let_time_pass):
    old = finished(0)
    let_time_pass(store, 100)
    store.quota_bytes = size(store, old) - 1
    new = store.request(tiny(seed=1))
    assert held(store) == {new}


def test_a_run_that_grows_beyond_the_quota_is_not_disturbed(store, let_time_pass):
    store.quota_bytes = 1
    run_id = store.request(tiny(), viewer="ada")
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
    store.quota_bytes = size(store, parent) - 1
    with pytest.raises(StoreError, match="may hold"):
        store.fork(parent, 1, learning_rate=1e-4)
    assert held(store) == {parent}


def pause_unwatched_after(store, let_time_pass):
    let_time_pass(store, 100)
    leases.pause_unwatched(store)
