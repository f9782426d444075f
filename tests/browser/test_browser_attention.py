"""The page of attention: what it prints is what the stored decoder computes, for the head and row that are chosen."""

import math
import re

import pytest
import torch
from playwright.sync_api import expect

from decoder import load_corpus
from decoder.figures.arcs import MASKED
from decoder.figures.words import listed
from decoder.training.presets import preset

CONFIG = preset("ibm")
SENTENCE = ["<s>", "IBM", "taught", "me", "GPT"]
LABELS = [f"{at} {token}" for at, token in enumerate(SENTENCE)]
EARLIER = 40  # updates


@pytest.fixture(scope="module")
def model(trainings):
    return trainings.model(CONFIG)


def weights_of(model, layer, head):
    ids = torch.tensor([[load_corpus("ibm").tokenizer.tokens.index(token) for token in SENTENCE]])
    with torch.no_grad():
        return model.trace(ids).blocks[layer].attention.weights[0, head].tolist()


def written(weight, choices):
    if 0 < weight < 0.0005:
        return "< 0.001"
    return "> 0.999" if weight >= 0.9995 and choices > 1 else f"{weight:.3f}"


def is_shown(page, model, layer, head, row):
    """Whether arcs, sentences and strips are those of this head and row."""
    weights = weights_of(model, layer, head)[row]
    texts = page.key("attention_row").locator("svg text").all_text_contents()
    numbers = [text for text in texts if re.fullmatch(r"< 0\.001|> 0\.999|[01]\.\d{3}", text)]
    most = max(range(row + 1), key=weights.__getitem__)
    spread = math.exp(-math.fsum(weight * math.log(weight) for weight in weights[: row + 1] if weight))
    spread = "Hardly anything is left" if spread < 1.05 else f"as over {spread:.1f} equally strong"
    said = " ".join(page.sentences())
    return (
        numbers == [written(weight, row + 1) for weight in weights[: row + 1]]
        and texts.count(MASKED) == len(SENTENCE) - 1 - row
        and any("▸" in text and LABELS[row] in text for text in texts)
        and all(words in said for words in (f"layer {layer}, head {head}", LABELS[most], spread))
        and page.key("parts").locator(".row .name bdi").all_inner_texts()[-1] == f"= o{'₀₁₂₃₄'[row]}"
    )


def test_a_head_is_clicked_a_row_walked_to_and_the_link_opens_both_at_its_step(visit, model, trainings):
    page = visit("attention").trained()
    page.until(lambda: is_shown(page, model, 0, 0, 3), "the row that looks back farthest")
    page.key("attention_heads").locator('button[data-layer="1"][data-head="3"]').click()
    page.until(lambda: is_shown(page, model, 1, 3, 3), "the chosen head")
    canvas = page.key("attention_matrix").locator("canvas")
    canvas.focus()
    canvas.press("ArrowUp")
    canvas.press("Enter")
    page.until(lambda: is_shown(page, model, 1, 3, 2), "the row chosen with the keyboard")
    slider = page.key("row").get_by_role("slider")
    slider.focus()
    slider.press("ArrowRight")
    slider.press("ArrowRight")
    page.until(lambda: is_shown(page, model, 1, 3, 4), "the row of the slider")
    page.key("grey_boxes").locator(".row").nth(1).locator("canvas").click()
    page.until(lambda: is_shown(page, model, 1, 3, 1), "the row of the grey box")
    for key in ("grey_boxes", "red_rows"):
        chosen = page.key(key).locator(".row.chosen")
        framed, numbers = chosen.bounding_box(), chosen.locator("canvas").bounding_box()
        assert framed["x"] + framed["width"] == pytest.approx(numbers["x"] + numbers["width"], abs=1)
    page.until(
        lambda: all(part in page.address for part in ("layer=1", "head=3", "row=1", "run=")), "the address"
    )

    page.page.goto(f"{page.address}&after={EARLIER}")
    page.idle()
    earlier = trainings.model(CONFIG, EARLIER)
    page.until(lambda: is_shown(page, earlier, 1, 3, 1), "the linked step, head and row")
    expect(page.key("strip")).to_contain_text(f"trained {EARLIER} steps")


def test_the_step_at_which_a_head_appeared_is_that_of_the_kept_decoders(visit, trainings):
    run_id = trainings.finished(CONFIG)
    steps = trainings.store.snapshots(run_id)
    kept = {step: trainings.store.model(run_id, step)[0] for step in steps}
    above = {
        step: [head for head in range(4) if weights_of(model, 0, head)[3][1] > 0.5]
        for step, model in kept.items()
    }
    first = next((step for step in steps if above[step]), None)
    page = visit("attention", width=390, height=844).trained()
    said = page.key("what_history")
    heads = above.get(first, [])
    named = listed([str(head) for head in heads]) if heads else ""
    heads_named = f"{'heads' if len(heads) > 1 else 'head'} {named}."
    expect(said).to_contain_text(f"after {first} updates: {heads_named}" if heads else "not yet")
    texts = page.key("head_history").locator("svg text")
    expect(texts.filter(has_text="head 3")).to_have_count(1)
    last = [weights_of(kept[steps[-1]], 0, head)[3][1] for head in range(4)]
    expect(said).to_contain_text(f"the strongest is head {last.index(max(last))}")


def test_a_click_on_a_head_keeps_its_charts_and_changes_what_is_drawn_and_said_in_them(visit, model):
    page = visit("attention").trained()
    page.until(lambda: is_shown(page, model, 0, 0, 3), "the first head")
    keys = ("attention_row", "entropies", "received", "head_history")
    drawn = [page.key(key).locator("svg.marks").element_handle() for key in keys]
    said = page.key("attention_row").get_by_label(re.compile("^3 me looks at: "))
    before = said.get_attribute("aria-label")
    page.key("attention_heads").locator('button[data-head="1"]').first.click()
    page.until(lambda: is_shown(page, model, 0, 1, 3), "the chosen head")
    assert all(chart.is_visible() for chart in drawn), "no chart is begun anew"
    page.until(lambda: said.get_attribute("aria-label") != before, "what a screen reader says")
    assert f"2 taught: {written(weights_of(model, 0, 1)[3][2], 4)}" in said.get_attribute("aria-label")


def test_a_typed_sentence_is_looked_at_and_an_unknown_word_refused_in_one_sentence(visit):
    page = visit("attention").trained()
    arcs = page.key("attention_row").locator("svg text")
    page.type("sentence", "NASA showed us gravity")
    expect(arcs.filter(has_text="4 gravity")).to_have_count(1)
    page.type("sentence", "NASA showed us unicorns")
    expect(page.refusal).to_have_count(1)  # for a moment it holds what stood in its place before
    expect(page.refusal).to_contain_text("unicorns")
    expect(page.key("sentence").locator("input")).to_have_value("NASA showed us unicorns")
    page.type("sentence", "")
    expect(arcs.filter(has_text="0 <s>")).to_have_count(1)
    expect(arcs.filter(has_text="1.000")).to_have_count(1)
    expect(page.key("row")).to_have_count(0)
