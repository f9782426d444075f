"""What can be taken away: pictures of canvases as they stand on the screen, and figures as pages that need nobody."""

from collections import Counter

import pytest
import torch
from PIL import Image
from playwright.sync_api import expect

from decoder import load_corpus
from decoder.figures import style
from decoder.figures.export import export
from decoder.figures.logits import LogitBar, logit_bars
from decoder.training.presets import preset

TOKENS = load_corpus("ibm").tokenizer.tokens
SENTENCE = [TOKENS.index(token) for token in ("<s>", "IBM", "taught", "me", "GPT")]
HOSTILE = "</script><img src=x onerror='window.hacked=1'>"


@pytest.fixture(scope="module")
def model(trainings):
    return trainings.model(preset("ibm"))


def saved(page, key, tmp_path):
    """Press "picture as PNG" with the keyboard; return the picture."""
    button = page.key(key).get_by_role("button", name="picture as PNG")
    button.focus()
    with page.page.expect_download() as download:
        button.press("Enter")
    assert download.value.suggested_filename == f"{key}.png"
    path = tmp_path / f"{key}.png"
    download.value.save_as(path)
    return Image.open(path).convert("RGB")


def pixels(picture):
    return Counter("#{:02x}{:02x}{:02x}".format(*color) for color in picture.get_flattened_data())


def count_near(found, color, reach=24):
    """How many pixels have nearly this colour: lines and letters have soft edges."""
    near = style.channels(color)
    return sum(
        count
        for other, count in found.items()
        if all(abs(one - two) <= reach for one, two in zip(near, style.channels(other), strict=True))
    )


def test_the_matrices_are_saved_with_numbers_hatch_and_legend(visit, model, tmp_path):
    page = visit("causal_mask", scheme="dark").trained()
    expect(page.key("mask_matrices").locator("canvas")).to_have_count(4)
    picture, theme = saved(page, "mask_matrices", tmp_path), style.DARK
    found = pixels(picture)
    assert picture.getpixel((0, 0)) == style.channels(theme.background)
    with torch.no_grad():
        weights = model.trace(torch.tensor([SENTENCE])).blocks[0].attention.weights[0, 0]
    shades = {style.WEIGHTS[round(255 * weight)] for weight in weights[weights > 0].tolist()}
    assert {shade for shade in shades if found[shade] < 200} == set()
    for color in (theme.hatch, theme.masked, theme.sign, theme.text, theme.muted):
        assert count_near(found, color) > 50, color
    box = page.key("mask_matrices").locator(".panels").bounding_box()
    assert picture.height > 2 * 0.9 * box["height"]  # twice as fine as this screen
    before = page.key("mask_matrices").locator("canvas").last.evaluate("canvas => canvas.width")
    assert before < picture.width / 2  # and the screen has its own picture again


def test_a_long_table_of_vectors_is_saved_whole(visit, model, tmp_path):
    page = visit("embeddings", height=700).trained()
    expect(page.key("table").locator("canvas")).to_have_count(len(TOKENS))
    picture = saved(page, "table", tmp_path)
    assert picture.height > 2 * 17 * len(TOKENS)
    table = model.token_table.weight
    ends = {style.LIGHT.scores[0].lower(): table.min(), style.LIGHT.scores[-1].lower(): table.max()}
    reach = table.abs().max()
    found = pixels(picture)
    assert [found[color] > 100 for color, value in ends.items() if value.abs() == reach] == [True]
    assert found[style.LIGHT.text.lower()] > 500  # the names


def test_a_figure_as_a_page_draws_itself_without_a_network_and_runs_no_token(browser, tmp_path):
    path = tmp_path / "figure.html"
    path.write_bytes(export(logit_bars([LogitBar(HOSTILE, 2.0, 0.7), LogitBar("me", 1.0, 0.3)]), "html"))
    context = browser.new_context(offline=True)
    page, requests, complaints = context.new_page(), [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(path.as_uri())
    texts = page.locator("#figure svg text")
    expect(texts.filter(has_text="2 · 70 %")).to_have_count(1)
    assert any(text.startswith("</script><img") for text in texts.all_text_contents())
    assert page.evaluate("window.hacked") is None
    assert page.locator("img").count() == 0
    assert (requests, complaints) == ([path.as_uri()], [])
    context.close()
