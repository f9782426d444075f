"""The training page: two lanes really train, side by side, and every number is the store's."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
import torch
from playwright.sync_api import expect

from decoder import load_corpus, scheduled_sampling
from decoder.figures.style import NAMES
from decoder.seeds import generator_for
from decoder.training.presets import preset

CORPUS = load_corpus("ibm")
SETTINGS = {"size": "small", "seed": 11}


def lane(mode):
    return preset("ibm", mode=mode, **SETTINGS)


def progress(training):
    """The updates that the strip says of both lanes, none of a training that waits; None while it is drawn."""
    text = training.key("strip").inner_text()
    found = re.findall(r"waiting for a free worker(?!:)|(?:step|trained) ([\d,]+)", text)
    return [int(steps.replace(",", "") or 0) for steps in found] if len(found) == 2 else None


def numbers(training):
    """Columns of the table of numbers by their lane."""
    table = training.main.locator('[data-testid="stTable"] table').first
    head = [text.strip() for text in table.locator("thead th").all_inner_texts()][1:]
    rows = [row.locator("td").all_inner_texts() for row in table.locator("tbody tr").all()]
    return {name: [row[column].strip() for row in rows] for column, name in enumerate(head, 1)}


def expected_numbers(trainings, config):
    run_id = trainings.store.request(config)
    row = trainings.store.evaluations(run_id)[-1]
    own = trainings.store.metrics(run_id)[row.step - 1]
    share = 100 * row.valid_share
    return [
        str(row.step),
        f"{own.loss:.4g}",
        f"{row.true_history_loss:.4g}",
        f"{share:.0f} %" if share in {0, 100} or 10 <= share <= 99 else f"{share:.1f} %",
    ]


def fed(training, mode):
    """The tokens that a lane is fed, and whether each is shown as the truth."""
    chips = training.strips("histories")[f"{NAMES[mode]} is fed"]
    return [text for text, _, _ in chips], [kind == "true" for _, _, kind in chips]


@torch.no_grad()
def fed_by_itself(model, truth, given):
    """Free running in its plainest form: a pass over the growing sequence for every token."""
    tokens = truth[:given]
    while len(tokens) < len(truth):
        tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))
    return tokens


@pytest.fixture(scope="module")
def held_out():
    batch = CORPUS.validation[:1]
    length = int(batch.keep[0].nonzero().max()) + 1
    return batch, batch.inputs[0, :length].tolist()


def test_two_lanes_train_and_end_with_the_numbers_of_the_store(visit, trainings, held_out):
    configs = [lane(mode) for mode in ("teacher_forcing", "free_running")]
    for config in configs:  # so that they begin when the page looks at them, however slow the browser is
        trainings.asleep(config)
    training = visit("training", **SETTINGS)
    early = training.until(lambda: progress(training), "both lanes")
    assert min(early) < configs[0].steps
    training.key("lanes_losses numbers").locator("summary").click()
    rows = training.key("lanes_losses sheet").locator("tbody tr")
    expect(rows.first).to_be_visible()  # while the curves go on growing
    training.until(lambda: sum(progress(training) or []) > sum(early), "another look at more steps")
    for config in configs:
        trainings.finished(config)
    training.trained()
    expect(rows).to_have_count(configs[0].steps + 1)
    last = trainings.store.metrics(trainings.store.request(configs[0]))[-1]
    expect(rows.last.locator("td").nth(1)).to_have_text(f"{last.loss:.4g}")
    for config in configs:
        run = trainings.store.run(trainings.store.request(config))
        assert (run.state, run.step) == ("finished", config.steps)
    assert numbers(training) == {
        NAMES[config.mode]: expected_numbers(trainings, config) for config in configs
    }

    batch, truth = held_out
    texts = CORPUS.tokenizer.tokens
    target = [text for text, _, _ in training.strips("histories")["target"]]
    assert target == [texts[token] for token in batch.targets[0, : len(truth)].tolist()]
    assert fed(training, "teacher_forcing") == ([texts[token] for token in truth], [True] * len(truth))
    given = int(batch.prompt_lengths[0])
    own = fed_by_itself(trainings.model(configs[1]), truth, given)
    assert fed(training, "free_running") == (
        [texts[token] for token in own],
        [place < given for place in range(len(truth))],
    )


def test_choosing_another_mode_in_a_lane_trains_another_decoder(visit, trainings, held_out):
    training = visit("training", **SETTINGS).trained()
    training.choose("lane_b", NAMES["scheduled_sampling"])
    training.until(lambda: NAMES["scheduled_sampling"] in numbers(training), "the new lane")
    training.trained()
    config = lane("scheduled_sampling")
    training.until(lambda: numbers(training)[NAMES[config.mode]][0] == str(config.steps), "its last numbers")
    assert trainings.store.run(trainings.store.request(config)).state == "finished"
    assert numbers(training)[NAMES[config.mode]] == expected_numbers(trainings, config)
    assert numbers(training)[NAMES["teacher_forcing"]] == expected_numbers(trainings, lane("teacher_forcing"))
    assert parse_qs(urlsplit(training.address).query)["lane_b"] == [NAMES["scheduled_sampling"]]

    batch, truth = held_out
    coins = generator_for(config.seed, config.steps, "coins")
    mixed = scheduled_sampling(trainings.model(config), batch, 1 - (config.steps - 1) / config.steps, coins)
    expected = [CORPUS.tokenizer.tokens[token] for token in mixed.inputs[0, : len(truth)].tolist()]
    assert fed(training, "scheduled_sampling")[0] == expected


def test_one_mode_in_both_lanes_is_one_decoder(visit):
    training = visit("training", **SETTINGS, lane_b=NAMES["teacher_forcing"]).trained()
    assert list(numbers(training)) == [NAMES["teacher_forcing"]]
    expect(training.main.locator("table")).not_to_have_count(0)


def test_another_held_out_sentence_shows_that_sentence(visit):
    training = visit("training", **SETTINGS, held_out=7).trained()
    batch = CORPUS.validation[6:7]
    length = int(batch.keep[0].nonzero().max()) + 1
    expected = [CORPUS.tokenizer.tokens[token] for token in batch.inputs[0, :length].tolist()]
    assert fed(training, "teacher_forcing")[0] == expected
