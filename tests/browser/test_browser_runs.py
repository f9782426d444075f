"""Runs as visitors meet them: they outlive pages and servers, are shared by link, paused, and continued in other ways."""

import dataclasses
import os
import re
import signal
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import expect

from decoder import TextSource, train
from decoder.figures.style import NAMES
from decoder.runs import open_store
from decoder.training.presets import preset

SMALL = {"size": "small"}
LONG = 5_000  # updates: it still goes on when both visitors have come, however slow the machine is
TEXT = "the quiet boat went down the river to the old city and the red kite flew over the hill " * 30


def address(visit):
    """The parameters of a visitor's address."""
    return {name: values[0] for name, values in parse_qs(urlsplit(visit.address).query).items()}


def strip(visit):
    return visit.key("strip").inner_text()


def shown_step(visit):
    """After how many updates the decoder of the page was kept."""
    found = re.search(r"shown here: trained ([\d,]+) steps", strip(visit))
    return int(found[1].replace(",", "")) if found else 0


def press(visit, name):
    visit.page.get_by_role("button", name=name, exact=True).first.click()
    return visit.idle()


def look_at(visit, step, options):
    """Move the playhead by the keyboard."""
    slider = visit.key("after").locator("input[type=range]")
    slider.focus()
    for _ in options[options.index(step) + 1 :]:
        slider.press("ArrowLeft")
    visit.until(lambda: f"shown here: trained {step} steps" in strip(visit), "the playhead")
    return visit.idle()


def go_on_as(visit, mode):
    """Continue the training in another mode, by the form."""
    visit.page.get_by_role("button", name="Change from here on").first.click()
    form = visit.page.locator('[data-testid="stPopoverBody"] [data-testid="stForm"]')
    form.locator("input").first.click()
    visit.page.get_by_role("option", name=NAMES[mode], exact=True).click()
    form.get_by_role("button", name="Go on this way").click()
    return visit.idle()


def leave(trainings, config, *visits):
    """Close the pages, and let nobody train this any more: it would take the workers from the next test."""
    for visit in visits:
        visit.page.goto("about:blank")
    trainings.asleep(config)


def test_a_reload_shows_the_same_run_at_the_same_step_at_once(visit, trainings):
    start = visit("", **SMALL, seed=21).trained()
    run_id = address(start)["run"]
    assert run_id == trainings.store.request(preset("ibm", **SMALL, seed=21))
    look_at(start, 40, list(trainings.store.snapshots(run_id)))
    before = start.sentences()
    start.page.reload()
    start.idle()
    assert address(start) == {"run": run_id, "after": "40", "size": "small", "seed": "21"}
    assert "shown here: trained 40 steps" in strip(start)
    assert start.sentences() == before
    expect(start.key("start_losses").locator("canvas, svg").first).to_be_visible()


def test_a_copied_link_opens_the_same_run_at_the_same_step_with_the_same_settings(visit, trainings):
    one = visit("", **SMALL, seed=22, mode=NAMES["free_running"]).trained()
    look_at(one, 100, list(trainings.store.snapshots(address(one)["run"])))
    # The run alone says all of it: the settings are those that it was asked for with.
    other = visit("", run=address(one)["run"], after=100)
    assert "shown here: trained 100 steps" in strip(other)
    assert address(other)["run"] == address(one)["run"]
    expect(other.key("seed").locator("input")).to_have_value("22")
    assert NAMES["free_running"] in strip(other)
    assert other.sentences() == one.sentences()
    # Another seed is another run, from these settings on.
    other.type("seed", "21").trained()
    assert address(other)["run"] == trainings.store.request(
        preset("ibm", **SMALL, seed=21, mode="free_running")
    )


def test_a_link_brings_the_text_of_its_run_with_it(visit, trainings):
    source = TextSource(TEXT, "word")
    run_id = trainings.finished(preset(source, size="small"))
    start = visit("", run=run_id)
    assert address(start)["run"] == run_id
    expect(start.key("text").locator("textarea")).to_have_value(TEXT)
    assert "finished: trained 600 steps" in strip(start)


def test_a_link_to_a_run_that_is_not_here_falls_back_to_its_settings(visit, trainings):
    start = visit("", run="no-such-run", **SMALL, seed=21)
    assert address(start)["run"] == trainings.store.request(preset("ibm", **SMALL, seed=21))
    assert any("no-such-run of this link is not kept here" in text for text in start.sentences())


def test_a_link_is_kept_by_a_browser_that_loads_its_fields_late(visit, trainings):
    config = dataclasses.replace(preset("story", seed=28), steps=LONG)
    run_id = trainings.asleep(config)
    start = visit("", late="Selectbox", run=run_id)
    # By then the page has been drawn a second time.
    seen = start.until(lambda: (step := shown_step(start)) >= 40 and step, "some updates")
    assert start.held_back
    start.let_through()
    expect(start.key("corpus").locator("input")).to_have_value("story")
    start.until(lambda: shown_step(start) > seen, "another drawing, with what the browser says of its fields")
    assert address(start)["run"] == run_id
    expect(start.key("corpus").locator("input")).to_have_value("story")
    leave(trainings, config, start)


def test_toggling_the_mode_forks_and_leaves_everybody_elses_run_alone(visit, trainings):
    store = trainings.store
    parent = trainings.finished(preset("ibm", **SMALL, seed=23))
    rows = store.metrics(parent)
    mine = visit("", **SMALL, seed=23).trained()
    hers = visit("", **SMALL, seed=23).trained()
    look_at(mine, 60, list(store.snapshots(parent)))
    go_on_as(mine, "free_running")
    mine.until(lambda: address(mine)["run"] != parent, "the fork in the address")
    mine.trained()
    fork = store.run(address(mine)["run"])
    assert (fork.parent, fork.fork_step, fork.config.mode) == (parent, 60, "free_running")
    assert (fork.state, fork.step) == ("finished", 200)
    assert store.metrics(fork.id)[:60] == rows[:60]
    assert store.metrics(fork.id)[60:] != rows[60:]
    assert "teacher forcing → free running: finished" in strip(mine)
    assert "after" not in address(mine)  # it follows again
    assert store.metrics(parent) == rows
    hers.page.reload()
    assert address(hers.idle())["run"] == parent
    for _ in range(2):  # first the fork at the step where it began, then the training that it began from
        mine.page.evaluate("history.back()")
        mine.page.wait_for_timeout(500)
    mine.until(lambda: address(mine)["run"] == parent, "what was looked at before")
    mine.until(lambda: "→" not in strip(mine), "the old training")
    again = visit("", run=fork.id)
    assert "teacher forcing → free running: finished" in strip(again)


def test_quick_clicks_on_a_far_server_are_all_counted(visit, trainings):
    start = visit("", far=True, **SMALL, seed=31).trained()
    for _ in range(5):
        start.key("seed").get_by_role("button").last.click()
        start.page.wait_for_timeout(120)  # the server answers one before it hears of the next
    expect(start.key("seed").locator("input")).to_have_value("36")
    wanted = trainings.store.request(preset("ibm", **SMALL, seed=36))
    start.until(lambda: address(start)["run"] == wanted, "the run of the last click")
    start.page.wait_for_timeout(2_000)  # whatever is still under way arrives
    expect(start.key("seed").locator("input")).to_have_value("36")
    assert address(start)["run"] == wanted


def test_two_lanes_can_begin_alike_and_part(visit, trainings):
    training = visit("training", **SMALL, seed=24).trained()
    look_at_both = training.key("after").locator("input[type=range]")
    look_at_both.focus()
    look_at_both.press("Home")
    look_at_both.press("ArrowRight")
    training.until(lambda: address(training).get("after") == "5", "the playhead")
    go_on_as(training.idle(), "scheduled_sampling")
    training.until(lambda: "teacher forcing → scheduled sampling: finished" in strip(training), "the fork")
    fork = trainings.store.run(address(training)["run_a"])
    assert (fork.fork_step, fork.config.mode) == (5, "scheduled_sampling")
    heads = training.main.locator("table thead th").all_inner_texts()
    assert {"teacher forcing → scheduled sampling", "free running"} <= {head.strip() for head in heads}


def test_a_run_of_ones_own_can_be_paused_and_goes_on(visit, trainings):
    config = dataclasses.replace(preset("story", seed=25), steps=LONG)
    run_id = trainings.asleep(config)
    start = visit("", run=run_id)
    press(start, "Pause")
    start.until(lambda: re.search(r"paused: step \d+ of 5,000 by you", strip(start)), "the pause")
    start.page.reload()
    start.idle().until(
        lambda: re.search(r"paused: step \d+ of 5,000 by you", strip(start)), "the pause, still"
    )
    assert len(trainings.store.watchers(run_id)) == 1, "after a reload it is the same visitor"
    assert trainings.store.run(run_id).state == "paused"
    other = visit("", run=run_id)
    other.until(
        lambda: re.search(r"paused: step \d+ of 5,000 by hand", strip(other)), "what somebody else did"
    )
    press(start, "Go on")
    start.until(lambda: trainings.store.run(run_id).state != "paused", "the training to go on")
    other.until(lambda: re.search("training: |waiting", strip(other)), "the other page to notice it")
    leave(trainings, config, start, other)


def test_a_shared_run_goes_on_for_the_others(visit, trainings):
    config = dataclasses.replace(preset("story", seed=26), steps=LONG)
    run_id = trainings.asleep(config)
    one, other = (visit("", run=run_id) for _ in range(2))
    one.until(lambda: len(trainings.store.watchers(run_id)) == 2, "both to look")
    press(one, "Pause")
    expect(one.main.get_by_text("1 other looks at this training too, so it goes on")).to_be_visible()
    assert trainings.store.run(run_id).state in {"waiting", "training"}
    other.until(lambda: "2 people look at it" in strip(other), "the other viewer")
    leave(trainings, config, one, other)


def test_a_killed_server_goes_on_where_it_was(fresh_server, visit, tmp_path):
    start = visit("", at=fresh_server, corpus="story", seed=3)
    store = open_store(fresh_server.store_url)
    run_id = address(start)["run"]
    start.until(lambda: store.run(run_id).step > 20, "some updates")
    start.page.goto("about:blank")
    os.kill(fresh_server.process.pid, signal.SIGKILL)
    fresh_server.process.wait()
    recorded = store.run(run_id).step
    again = type(fresh_server).start(tmp_path)
    fresh_server.process = again.process
    fresh_server.url = again.url
    later = visit("", at=again, run=run_id)
    assert store.run(run_id).step >= recorded
    later.trained()
    run = store.run(run_id)
    assert (run.state, run.config) == ("finished", preset("story", seed=3))
    assert [row.loss for row in store.metrics(run_id)] == [step.loss for step in train(run.config)]
    store.close()
