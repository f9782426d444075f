"""The page of attention: what it prints is what the stored decoder computes."""

import math

import pytest
import torch
from playwright.sync_api import expect

from decoder import load_corpus
from decoder.training.presets import preset

CONFIG = preset("ibm")
SENTENCE = ["<s>", "IBM", "taught", "me", "GPT"]


@pytest.fixture(scope="module")
def model(trainings):
    return trainings.model(CONFIG)


def traced(model):
    ids = torch.tensor([[load_corpus("ibm").tokenizer.tokens.index(token) for token in SENTENCE]])
    with torch.no_grad():
        return model.trace(ids)


def test_a_row_of_attention_shows_the_weights_of_the_chosen_head(visit, model):
    page = visit("attention").trained()
    labels = [f"{at} {token}" for at, token in enumerate(SENTENCE)]

    def is_shown(layer, head, row):
        weights = traced(model).blocks[layer].attention.weights[0, head, row].tolist()
        strips = page.strips("attention_row")
        if list(strips) != [f"{labels[row]} looks at"]:
            return False
        shown = [(text, float(note)) for text, note, _ in strips[f"{labels[row]} looks at"]]
        expected = [
            (token, pytest.approx(weights[at], abs=6e-4)) for at, token in enumerate(SENTENCE[: row + 1])
        ]
        most = max(range(row + 1), key=weights.__getitem__)
        spread = math.exp(-math.fsum(weight * math.log(weight) for weight in weights[: row + 1]))
        said = " ".join(page.sentences())
        return shown == expected and all(
            words in said
            for words in (f"layer {layer}, head {head}", labels[row], labels[most], f"{spread:.1f}")
        )

    page.until(lambda: is_shown(0, 0, 4), "the first head")
    page.key("attention_heads").locator('button[data-layer="1"][data-head="3"]').click()
    page.until(lambda: is_shown(1, 3, 4), "the chosen head")
    canvas = page.key("attention_matrix").locator("canvas")
    canvas.focus()
    canvas.press("ArrowUp")
    canvas.press("ArrowUp")
    canvas.press("Enter")
    page.until(lambda: is_shown(1, 3, 2), "the chosen row")


def test_a_typed_sentence_is_looked_at_and_an_unknown_word_refused_in_one_sentence(visit):
    page = visit("attention").trained()
    page.type("sentence in ibm", "NASA showed us gravity")
    page.until(lambda: "4 gravity looks at" in page.strips("attention_row"), "the typed sentence")
    page.type("sentence in ibm", "NASA showed us unicorns")
    expect(page.refusal).to_contain_text("unicorns")
    expect(page.refusal).to_have_count(1)
    expect(page.key("sentence in ibm").locator("input")).to_have_value("NASA showed us unicorns")
    page.type("sentence in ibm", "")
    page.until(lambda: list(page.strips("attention_row")) == ["0 <s> looks at"], "the start token alone")
