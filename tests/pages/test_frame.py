"""The pages without a browser: every corpus in every lane, bad settings, refusals, the walk through steps."""

import dataclasses
import random
import re
import time
from functools import partial

import pytest
from short_trainings import PAGES, STEPS, train, visit
from sqlalchemy import delete, update

from decoder import CORPORA, TextSource, open_corpus
from decoder.figures.style import COLORS, NAMES
from decoder.runs import Forecast, StoreError, UnknownRunError, advance, leases
from decoder.runs.history import Checkpoint, History
from decoder.runs.store import WATCHED_SECONDS
from decoder.runs.tables import CONFIGS, EVALUATIONS, RUNS, VIEWS
from decoder.training import presets
from decoder.training.presets import preset
from decoder.training.trainer import Trainer
from pages.ui import lanes, session

WORDS = ["red", "old", "quiet", "boat", "train", "kite", "river", "city", "hill"]
TEXT = " ".join(random.Random(8).choices(WORDS, k=400))
pytestmark = pytest.mark.usefixtures("store")


def lane_config(corpus, lane, **settings):
    mode = "teacher_forcing" if lane == "no_mask" else lane
    return preset(corpus, mode=mode, causal=lane != "no_mask", **settings)


def title(at):
    return at.title[0].value


def refusals(at):
    return [text.value for text in at.text if text.value.startswith("⚠ ")]


def with_open_form(at, run_id):
    """The page with the form of a fork open."""
    at.session_state[f"change {run_id}"] = True
    return at.run()


@pytest.mark.parametrize(
    ("corpus", "lanes"),
    [
        (corpus, session.LANES if corpus in {"ibm", "text"} else session.LANES[:1])
        for corpus in (*CORPORA, "text")
    ],
)
def test_no_page_raises_on_any_corpus_in_any_lane(store, corpus, lanes):
    source = TextSource(TEXT) if corpus == "text" else corpus
    state = {"text": TEXT} if corpus == "text" else None
    train(store, *(lane_config(source, lane, size="small") for lane in {*lanes, "free_running"}))
    for lane in lanes:
        for page in PAGES:
            key = "lane_a" if page == "training" else "mode"
            if key == "lane_a" and lane == "free_running":
                continue  # lane B of all the others
            at = visit(page, state, corpus=corpus, size="small", **{key: NAMES[lane]})
            assert not at.exception, (page, lane, at.exception)
            assert not refusals(at), (page, lane)
            assert (at.session_state["corpus"], at.session_state[key]) == (corpus, lane)
            assert len(at.expander) >= 1, (page, lane)  # drawn to its end


@pytest.mark.parametrize(
    ("setting", "bad", "default"),
    [
        ("corpus", "no-such-corpus", "ibm"),
        ("corpus", "../../etc/passwd", "ibm"),
        ("size", "enormous", "standard"),
        ("mode", "<script>", "teacher_forcing"),
        ("seed", "-1", 0),
        ("seed", "99999999999999999999", 0),
        ("seed", "one", 0),
    ],
)
def test_a_bad_setting_in_a_link_falls_back_to_the_default(store, setting, bad, default):
    train(store, preset("ibm"))
    at = visit("start", **{setting: bad})
    assert not at.exception
    assert not refusals(at)
    assert at.session_state[setting] == default


def test_bad_settings_of_the_picks_fall_back_to_the_defaults(store):
    train(store, preset("ibm"))
    at = visit("generation", temperature="-3", greedy="maybe", picks="1e9")
    assert not at.exception
    assert not refusals(at)
    found = [at.session_state[key] for key in ("temperature", "greedy", "picks")]
    assert found == [1.0, False, 0]


def test_a_page_of_a_waiting_training_is_no_error(store):
    del store
    for page in PAGES:
        at = visit(page, seed="4711")
        assert not at.exception, page
        assert not refusals(at), page


@pytest.mark.parametrize("text", ["", "word", "ho " * 400, "a\u202eb"])
def test_a_text_that_cannot_be_trained_on_is_refused_once_on_every_page(text):
    for page in PAGES:
        at = visit(page, {"text": text}, corpus="text")
        assert not at.exception, page
        assert len(refusals(at)) == 1, page
        assert at.text_area(key="text").value == text
        assert at.title[0].value  # the page's head stays


def test_the_player_walks_within_its_steps_and_a_shorter_text_takes_it_back(store):
    train(store, preset("ibm"))
    at = visit("generation", prompt="IBM taught")
    assert at.session_state["step"] == 1
    assert at.button(key="step back").disabled
    for _ in range(2):
        at.button(key="step next").click().run()
    assert at.session_state["step"] == 3
    at.button(key="step back").click().run()
    assert at.session_state["step"] == 2
    last = at.slider(key="step").max
    at.slider(key="step").set_value(last).run()
    assert at.button(key="step next").disabled
    at.button(key="step play").click().run()  # from the end it begins again
    assert at.session_state["step"] == 1
    assert at.session_state["step plays"]
    assert at.button(key="step play").label == "Stop"
    at.button(key="step play").click().run()
    assert not at.session_state["step plays"]
    assert not at.exception


def test_an_unknown_word_is_refused_and_stays_typed(store):
    train(store, preset("ibm"))
    at = visit("generation")
    at.text_input(key="prompt").set_value("IBM taught me origami").run()
    assert ["origami" in refusal for refusal in refusals(at)] == [True]
    assert at.text_input(key="prompt").value == "IBM taught me origami"
    at.text_input(key="prompt").set_value("IBM taught me GPT").run()
    assert not refusals(at)
    assert not at.exception


def test_the_settings_of_a_training_above_the_limits_never_reach_the_store(store):
    train(store, preset("ibm"))
    at = visit("start", seed=str(session.MAX_SEED + 1), size="large")
    assert at.session_state["seed"] <= session.MAX_SEED
    assert not at.exception


def strip(at):
    """What the strip says of its training: the text of the bar, or of the line that stands in its place."""
    bars = [bar.proto.text for bar in at.get("progress")]
    return [
        *bars,
        *(caption.value for caption in at.caption if caption.value.startswith("teacher forcing: ")),
    ]


def leased(store, run_id):
    """A run that a worker has right now."""
    lease = leases.take(store, run_id)
    assert lease is not None
    return lease


def test_the_strip_says_in_words_where_a_training_stands(store, monkeypatch):
    monkeypatch.setattr(session, "forecasts", lambda: {run_id: Forecast(3.2, 130.0)})
    run_id = store.request(preset("ibm", seed=51))
    at = visit(seed="51")
    assert strip(at) == ["teacher forcing: waiting for a free worker, next point in about 3 s"]

    lease = leased(store, run_id)
    leases.commit(store, lease, History(), "training")
    assert strip(at.run()) == [f"teacher forcing: training: step 0 of {STEPS} · about 2 min left"]

    at.button(key="run pause").click().run()
    assert strip(at) == [f"teacher forcing: paused: step 0 of {STEPS} by you"]
    at.button(key="run go on").click().run()
    assert store.run(run_id).state == "waiting"

    leases.commit(store, leased(store, run_id), History(), "failed", error="the disk sings")
    assert refusals(at.run()) == ["⚠ the training failed: the disk sings"]

    train(store, preset("ibm"))
    assert strip(visit()) == [f"teacher forcing: finished: trained {STEPS} steps"]


def test_a_fork_that_computes_updates_again_says_so_instead_of_standing_still(store, monkeypatch):
    """Its parent has ended, so all its states but the last are gone."""
    monkeypatch.setattr(session, "forecasts", lambda: {fork: Forecast(12.0, 41.0)})
    config = preset("ibm", seed=75)
    train(store, config)
    fork = store.fork(store.request(config), 2, learning_rate=1e-4)
    name = "teacher forcing → learning rate 0.0001"
    again = "computing its first 2 updates again, next point in about 12 s · about 41 s left"
    at = visit(run=fork)
    assert [bar.proto.text for bar in at.get("progress")] == [
        f"{name}: waiting for a free worker, then {again}"
    ]
    leases.commit(store, leased(store, fork), History(), "training")
    assert [bar.proto.text for bar in at.run().get("progress")] == [f"{name}: training: {again}"]

    trainer = Trainer(config)
    trainer.advance()
    caught_up = History(checkpoint=Checkpoint(1, trainer.state))
    leases.commit(store, leased(store, fork), caught_up, "training")
    assert [bar.proto.text for bar in at.run().get("progress")] == [
        f"{name}: training: {again.replace('its first 2 updates', 'update 2')}"
    ]
    train(store, config)
    while not advance(store, fork).done:
        pass
    assert store.run(fork).trained == store.run(fork).step == STEPS


def test_the_speed_is_what_was_seen_to_come(store, monkeypatch):
    monkeypatch.setattr(session, "forecasts", dict)
    run_id = store.request(preset("ibm", seed=65))
    advance(store, run_id, 0.0)
    at = visit(seed="65")
    assert strip(at) == [f"teacher forcing: training: step 1 of {STEPS}"]
    at.session_state["steps seen"] = {run_id: [(time.monotonic() - 3.9, 0)]}
    (said,) = strip(at.run())
    assert re.fullmatch(rf"teacher forcing: training: step 1 of {STEPS} · 0\.2\d? steps/s", said)


def test_who_has_to_wait_long_is_offered_the_nearest_finished_run(store, monkeypatch):
    train(store, preset("ibm", size="small", seed=3))
    run_id = store.request(preset("ibm", size="small", seed=52))
    monkeypatch.setattr(session, "forecasts", lambda: {run_id: Forecast(70.0, 130.0)})
    at = visit(size="small", seed="52")
    assert strip(at) == ["teacher forcing: waiting for a free worker, next point in about 70 s"]
    at.button(key="run nearest").click().run()
    assert strip(at) == [f"teacher forcing: finished: trained {STEPS} steps"]
    shown = store.run(at.query_params["run"])
    assert (shown.config.corpus, shown.state) == ("ibm", "finished")
    assert shown.config.decoder == preset("ibm", size="small").decoder


def test_a_shared_run_is_not_paused_for_one_viewer(store):
    run_id = store.request(preset("ibm", seed=53))
    store.watch(run_id, "somebody else")
    at = visit(seed="53")
    at.button(key="run pause").click().run()
    assert refusals(at) == [
        "⚠ 1 other looks at this training too, so it goes on: hold your own view at a step instead"
    ]
    assert store.run(run_id).state == "waiting"


def test_a_fork_that_cannot_be_is_refused_and_what_was_typed_stays(store):
    train(store, preset("ibm"))
    run_id = store.request(preset("ibm"))
    at = with_open_form(visit(), run_id)
    key = f"fork of {run_id}"
    at.number_input(key=f"{key} steps").set_value(STEPS)
    at.number_input(key=f"{key} rate").set_value(0.5)
    at.button(key=f"{key} go").click().run()
    assert refusals(at) == [
        f"⚠ {STEPS} updates are made and {STEPS} would be planned: plan more than {STEPS}"
    ]
    assert at.number_input(key=f"{key} rate").value == 0.5
    assert at.query_params["run"] == run_id


def test_a_continued_training_says_with_what_and_from_where(store, monkeypatch):
    monkeypatch.setattr(session, "appearance", lambda: "light")
    train(store, preset("ibm", seed=61))
    parent = store.request(preset("ibm", seed=61))
    slower = store.fork(parent, 1, learning_rate=1e-4)
    while not advance(store, slower).done:
        pass
    free = store.fork(slower, 2, mode="free_running", batch_size=3)
    while not advance(store, free).done:
        pass
    at = visit(run=free)
    name = "teacher forcing → learning rate 0.0001 → free running, 3 sentences per update"
    assert [caption.value for caption in at.caption if caption.value.startswith(name)] == [
        f"{name}: finished: trained {STEPS} steps"
    ]
    lane = session.Exploration(store.run(free).config, free, open_corpus("ibm"))
    tables = lanes.loss_figure([lane], seconds=False).tables
    assert tables["turns"] == [
        {"step": 1, "settings": "learning rate 0.0001"},
        {"step": 2, "settings": "free running, 3 sentences per update"},
    ]
    live = [row for row in tables["curves"] if not row["measured"]]
    # One curve: every stretch begins where the one before it ends, and the colour is that of its mode.
    assert [[row["step"] for row in live if row["curve"] == index] for index in (0, 1, 2)] == [
        [1.0], [1.0, 2.0], [2.0, 3.0]
    ]  # fmt: skip
    losses = {row.step: row.loss for row in store.metrics(free)}
    assert all(row["value"] == losses[row["step"]] for row in live)
    frame = lanes.loss_figure([lane], seconds=False).frame
    colors = next(layer for layer in frame["layer"] if layer["mark"]["type"] == "line")["encoding"]["color"]
    blue, orange = COLORS["teacher_forcing"], COLORS["free_running"]
    assert colors["scale"]["range"] == [blue, blue, orange] * 2


@pytest.mark.parametrize("rate", [1e-6, 2.0])
def test_a_link_to_a_training_with_any_learning_rate_opens(store, rate):
    config = dataclasses.replace(preset("ibm", seed=62), learning_rate=rate)
    train(store, config)
    run_id = store.request(config)
    at = with_open_form(visit(run=run_id), run_id)
    assert not at.exception
    assert at.number_input(key=f"fork of {run_id} rate").value == rate


def test_who_follows_a_training_follows_a_longer_one_too(store, monkeypatch):
    for corpus, steps in (("ibm", 5), ("story", 10)):  # with snapshots after 0, 5 and 10 updates
        monkeypatch.setitem(
            presets.RECIPES, corpus, dataclasses.replace(presets.RECIPES[corpus], steps=steps)
        )
        train(store, preset(corpus))
    at = visit()
    assert at.select_slider(key="after").value == 5
    at.selectbox(key="corpus").set_value("story").run()
    assert at.select_slider(key="after").options == ["0", "5", "10"]
    assert at.select_slider(key="after").value == 10
    at.select_slider(key="after").set_value(5).run()
    assert at.run().select_slider(key="after").value == 5, "chosen by hand it stays"


def test_a_link_to_a_training_that_is_gone_says_so_until_another_is_chosen(store):
    train(store, preset("ibm"), preset("ibm", seed=1))
    at = visit(run="no-such-run")
    for _ in range(3):  # a live page is drawn again and again
        assert any("no-such-run of this link" in text for text in refusals(at.run()))
    at.number_input(key="seed").set_value(1)
    assert not refusals(at.run())


def evict(store):
    """Let a long time go by and the store need all of its room; what is asked for then finds room again."""
    let_time_pass(store, 100)
    quota, store.quota_bytes = store.quota_bytes, 0
    store.evict()
    store.quota_bytes = quota


def let_time_pass(store, seconds):
    with store.database.write() as connection:
        connection.execute(
            update(RUNS).values(viewed=RUNS.c.viewed - seconds, advanced=RUNS.c.advanced - seconds)
        )
        connection.execute(update(VIEWS).values(seen=VIEWS.c.seen - seconds))


def shown(at, slot="run"):
    """The run that the page's address names."""
    named = at.query_params[slot]
    return named if isinstance(named, str) else named[0]


def clicks(at):
    """What can be done on a page, a few things of each kind: (what, how)."""
    main = at.main
    for button in main.button[:4]:
        if not button.disabled:
            yield button.label, button.click
    for toggle in (*main.toggle[:2], *main.checkbox[:2]):
        yield toggle.label, partial(toggle.set_value, not toggle.value)
    for kind in (main.selectbox, main.radio):
        for widget in kind[:2]:
            yield widget.label, partial(widget.set_value, widget.options[0])
    for widget in main.slider[:2]:
        yield widget.label, partial(widget.set_value, widget.min)


@pytest.mark.parametrize("page", PAGES)
def test_a_run_that_is_removed_while_a_page_shows_it_is_made_again(store, page):
    """Nobody polls for a run that has ended: whoever has read for a while may come back to one that is gone."""
    modes = ("teacher_forcing", "free_running")
    configs = [lane_config("ibm", mode, size="small", seed=71) for mode in modes]
    train(store, *configs)
    slot = "run_a" if page == "training" else "run"
    ways, index = [("nothing", None)], 0
    while index < len(ways):
        at = visit(page, corpus="ibm", size="small", seed="71")
        ways = [("nothing", at.run), *clicks(at)]
        gone = shown(at, slot)
        evict(store)
        with pytest.raises(UnknownRunError):
            store.run(gone)
        what, act = ways[index]
        act()
        at.run()
        assert not at.exception, (page, what)
        assert store.run(shown(at, slot)).state in {"waiting", "finished"}, (page, what)
        if what == "nothing":
            assert shown(at, slot) == gone
            assert any(f"{gone} of this link is not kept here" in said for said in refusals(at))
        train(store, *configs)
        index += 1
    assert len(ways) >= 5


def test_any_click_keeps_the_run_that_the_page_shows(store):
    train(store, lane_config("ibm", "teacher_forcing", size="small", seed=72))
    at = visit("attention", corpus="ibm", size="small", seed="72")
    for _ in range(3):
        let_time_pass(store, WATCHED_SECONDS - 5)
        at.session_state["looked"] = {}  # it was as long ago for the session
        at.run()
    let_time_pass(store, WATCHED_SECONDS - 5)
    quota, store.quota_bytes = store.quota_bytes, 0
    store.evict()
    store.quota_bytes = quota
    assert store.run(shown(at)).state == "finished"


def test_a_run_that_is_removed_in_the_moment_of_a_click_is_made_again(store, monkeypatch):
    train(store, lane_config("ibm", "teacher_forcing", size="small", seed=73))
    at = visit("attention", corpus="ibm", size="small", seed="73")
    at.session_state["looked"] = {}
    run_id, watch = shown(at), store.watch

    def remove_first(*look):
        monkeypatch.setattr(store, "watch", watch)
        evict(store)
        watch(*look)

    monkeypatch.setattr(store, "watch", remove_first)
    at.run()
    assert not at.exception
    assert store.run(run_id).state == "waiting"
    assert any("is not kept here" in said for said in refusals(at))


def test_a_paused_run_that_is_removed_cannot_be_continued_and_that_is_a_sentence(store):
    store.request(lane_config("ibm", "teacher_forcing", size="small", seed=74))
    at = visit(corpus="ibm", size="small", seed="74")
    run_id = shown(at)
    at.button(key="run pause").click().run()
    with_open_form(at, run_id)
    evict(store)
    at.button(key=f"fork of {run_id} go").click().run()
    assert not at.exception
    assert any(f"there is no run '{run_id}' in this store" in said for said in refusals(at))
    assert store.run(run_id).state == "waiting"


def test_a_link_to_a_training_of_another_version_or_to_no_name_at_all_says_so_too(store):
    train(store, preset("ibm"), preset("ibm", seed=640))
    strange = store.request(preset("ibm", seed=640))
    with store.database.write() as connection:
        connection.execute(update(CONFIGS).where(CONFIGS.c.run_id == strange).values(text="{}"))
    store.lineage.cache_clear()
    for name in (strange, "\0", "x" * 5_000):
        at = visit(run=name)
        assert not at.exception
        (said,) = [text for text in refusals(at) if "of this link is not kept here" in text]
        assert name[:20] in said
        assert len(said) < 150


def test_what_is_not_measured_at_a_step_is_not_told_from_another(store):
    config = preset("ibm", seed=63)
    train(store, config)
    run_id = store.request(config)
    with store.database.write() as connection:
        connection.execute(delete(EVALUATIONS).where(EVALUATIONS.c.run_id == run_id, EVALUATIONS.c.step == 3))
    assert store.snapshots(run_id)[-1] == STEPS == 3
    train(store, preset("ibm", mode="free_running", seed=63))
    at = visit("training", run_a=run_id)
    assert any(text.value == "teacher forcing as shown from here on: untrained." for text in at.caption)
    assert session.evaluation(run_id, 3) is None


def test_curves_read_only_what_is_new(store, monkeypatch):
    config = preset("ibm", seed=64)
    run_id = store.request(config)
    advance(store, run_id, 0.0)
    assert [update.step for update in session.updates(run_id)] == [1]
    asked = []
    metrics = store.metrics
    monkeypatch.setattr(
        store, "metrics", lambda run_id, after=0: asked.append(after) or metrics(run_id, after)
    )
    train(store, config)
    assert [update.step for update in session.updates(run_id)] == [1, 2, 3]
    assert session.updates(run_id) == [(row.step, row.loss, row.seconds) for row in metrics(run_id)]
    assert asked == [1, 3]


def test_a_store_that_fails_is_one_sentence_on_every_page(store, monkeypatch):
    train(store, preset("ibm"))

    def full(*_):
        raise StoreError("the store has no room left on its disk: free some space")

    monkeypatch.setattr(store, "watch", full)
    for page in PAGES:
        at = visit(page)
        assert not at.exception, page
        assert refusals(at) == ["⚠ the store has no room left on its disk: free some space"], page


def test_a_new_seed_is_another_training_with_the_same_settings(store):
    at = visit(seed="57")
    run_id = at.query_params["run"]
    for _ in range(3):  # the same seed may be drawn again, but not for ever
        at.button(key="new seed").click().run()
        if at.session_state["seed"] != 57:
            break
    assert at.query_params["run"] != run_id
    drawn = store.run(at.query_params["run"])
    assert drawn.config == preset("ibm", seed=at.session_state["seed"])


def test_pictures_of_a_training_are_shared_while_it_goes_on_and_the_last_one_misses_nothing(
    store, monkeypatch
):
    """Somebody else may have looked a moment before the last quantum."""
    drawn = []
    monkeypatch.setattr(session, "appearance", lambda: "light")
    monkeypatch.setattr(lanes, "_explain_curves", lambda _lanes: None)
    monkeypatch.setattr(
        lanes, "_live_curve", lambda make, *_rest, **_k: drawn.append(make().tables["curves"])
    )
    config = preset("ibm", seed=58)
    run_id = store.request(config)
    advance(store, run_id, 0.0)
    exploration = session.Exploration(config, run_id, open_corpus("ibm", config.decoder.context_length))
    for _ in range(2):
        lanes.live_curves([exploration], key="tested")
    assert drawn[0] is drawn[1], "made once for two who look at the same moment"
    assert max(row["step"] for row in drawn[0]) == 1
    while not advance(store, run_id).done:
        pass
    lanes.live_curves([exploration], key="tested")
    last = [row["step"] for row in drawn[2]]
    assert max(last) == STEPS
    assert last.count(STEPS) == 2, "of the batches and of the evaluation"


def test_a_store_that_fails_when_a_training_shall_go_on_is_one_sentence(store, monkeypatch):
    run_id = store.request(preset("ibm", seed=59))
    at = visit(seed="59")
    at.button(key="run pause").click().run()

    def fail(_run_id):
        raise StoreError("the store sings")

    monkeypatch.setattr(store, "resume", fail)
    at.button(key="run go on").click().run()
    assert not at.exception
    assert refusals(at) == ["⚠ the store sings"]
    assert store.run(run_id).state == "paused"
