"""What can be taken away: pictures of canvases as they stand on the screen, and figures as pages that need nobody."""

import contextlib
import re
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
from pages.ui import picture

TOKENS = load_corpus("ibm").tokenizer.tokens
SENTENCE = [TOKENS.index(token) for token in ("<s>", "IBM", "taught", "me", "GPT")]
HOSTILE = "</script><img src=x onerror='window.hacked=1'>"


@pytest.fixture(scope="module")
def model(trainings):
    return trainings.model(preset("ibm"))


def saved(page, key, form, tmp_path):
    """Press "picture as …" with the keyboard; return the file."""
    button = page.key(key).get_by_role("button", name=f"picture as {form}")
    button.focus()
    with page.page.expect_download() as download:
        button.press("Enter")
    assert download.value.suggested_filename == f"{key}.{form.lower()}"
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    expect(button).to_be_focused()
    return path


def saved_picture(page, key, tmp_path):
    return Image.open(saved(page, key, "PNG", tmp_path)).convert("RGB")


@contextlib.contextmanager
def opened_offline(browser, path):
    """Open a file in a browser without a network; it must ask for nothing and complain of nothing."""
    context = browser.new_context(offline=True)
    page, requests, complaints = context.new_page(), [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(path.as_uri())
    yield page
    assert page.evaluate("window.hacked") is None
    assert page.locator("img, image, foreignObject").count() == 0
    assert (requests, complaints) == ([path.as_uri()], [])
    context.close()


def pixels(picture):
    return Counter("#{:02x}{:02x}{:02x}".format(*color) for color in picture.get_flattened_data())


def in_cell(weight):
    """How a weight of an open cell is written: only what is exactly 0 or 1 is called so."""
    rounded = f"{weight:.2f}"
    if rounded == "0.00":
        return "<.01"
    return ">.99" if rounded == "1.00" and weight < 1 else rounded


def count_near(found, color, reach=24):
    """How many pixels have nearly this colour: lines and letters have soft edges."""
    near = style.channels(color)
    return sum(
        count
        for other, count in found.items()
        if all(abs(one - two) <= reach for one, two in zip(near, style.channels(other), strict=True))
    )


def test_the_matrices_are_saved_with_numbers_hatch_and_legend(visit, browser, model, tmp_path):
    page = visit("causal_mask", scheme="dark").trained()
    expect(page.key("mask_matrices").locator("canvas")).to_have_count(4)
    shown, theme = saved_picture(page, "mask_matrices", tmp_path), style.DARK
    found = pixels(shown)
    assert shown.getpixel((0, 0)) == style.channels(theme.background)
    with torch.no_grad():
        weights = model.trace(torch.tensor([SENTENCE])).blocks[0].attention.weights[0, 0]
    shades = {style.WEIGHTS[round(255 * weight)] for weight in weights[weights > 0].tolist()}
    assert {shade for shade in shades if found[shade] < 200} == set()
    for color in (theme.hatch, theme.masked, theme.sign, theme.text, theme.muted):
        assert count_near(found, color) > 50, color
    box = page.key("mask_matrices").locator(".panels").bounding_box()
    assert shown.height > 2 * 0.9 * box["height"]  # twice as fine as this screen
    before = page.key("mask_matrices").locator("canvas").last.evaluate("canvas => canvas.width")
    assert before < shown.width / 2  # and the screen has its own picture still

    with opened_offline(browser, saved(page, "mask_matrices", "SVG", tmp_path)) as drawing:
        texts = drawing.locator("text").all_text_contents()
        numbers = Counter(map(in_cell, weights[weights > 0].tolist()))
        assert {"<.01", "1.00"} <= set(numbers), "what only rounds to 0 is not written so"
        assert not numbers - Counter(texts)
        assert {
            "masked scores",
            "masked: −∞",
            "edge of the mask",
            *(TOKENS[token] for token in SENTENCE),
        } <= set(texts)
        fills = Counter(
            drawing.locator("rect").evaluate_all("all => all.map(each => each.getAttribute('fill'))")
        )
        assert all(fills["rgb({},{},{})".format(*style.channels(shade))] for shade in shades)
        assert drawing.locator("pattern path").get_attribute("stroke") == theme.hatch
        pattern = drawing.locator("pattern").get_attribute("id")
        assert fills[f"url(#{pattern})"] == 3 * (10 + 1)  # ten closed cells, and a sign in the legend
        size = drawing.locator("svg").evaluate("svg => [svg.width.baseVal.value, svg.height.baseVal.value]")
        assert size == [shown.width / 2, shown.height / 2]
    with opened_offline(browser, saved(page, "mask_matrices", "HTML", tmp_path)) as file:
        assert file.locator("h1").inner_text() == file.title() == "scores, masked scores, exp, weights"
        assert file.locator("svg text").all_text_contents() == texts
        assert file.locator("body").evaluate(
            "e => getComputedStyle(e).backgroundColor"
        ) == "rgb({}, {}, {})".format(*style.channels(theme.background))
        rows = file.locator("table").last.locator("tbody tr").all_inner_texts()
        assert [row.split("\t") for row in rows] == [
            [name, *cells] for name, cells in zip(*page.tables("mask_matrices")[-1][1:], strict=True)
        ]


def test_a_long_table_of_vectors_is_saved_whole(visit, browser, model, tmp_path):
    page = visit("embeddings", height=700).trained()
    expect(page.key("table").locator("canvas")).to_have_count(len(TOKENS))
    shown = saved_picture(page, "table", tmp_path)
    assert shown.height > 2 * 17 * len(TOKENS)
    table = model.token_table.weight
    ends = {style.LIGHT.scores[0].lower(): table.min(), style.LIGHT.scores[-1].lower(): table.max()}
    reach = table.abs().max()
    found = pixels(shown)
    assert [found[color] > 100 for color, value in ends.items() if value.abs() == reach] == [True]
    assert found[style.LIGHT.text.lower()] > 500  # the names
    page.page.set_viewport_size({"width": 390, "height": 844})
    names = page.key("table").locator("bdi")
    page.until(lambda: page.key("table").locator(".root.narrow").count() == 1, "the narrow page")
    assert names.all_text_contents() == list(TOKENS)
    cut = names.evaluate_all(
        "all => all.filter(each => each.scrollWidth > each.clientWidth).map(each => each.textContent)"
    )
    assert cut == []
    with opened_offline(browser, saved(page, "table", "HTML", tmp_path)) as file:
        texts = [text for text in file.locator("svg text").all_text_contents() if text != "●"]
        assert texts[: 2 * len(TOKENS)] == [
            text for token in TOKENS for text in (token, f"id {TOKENS.index(token)}")
        ]
        first, *numbers = file.locator("tbody tr").nth(3).locator("td").all_inner_texts()
        assert first == "id 3"
        numbers = [float(number.replace("−", "-")) for number in numbers]
        assert numbers == pytest.approx(table[3].tolist(), abs=6e-5)


@pytest.mark.usefixtures("model")
def test_grey_boxes_and_red_rows_are_framed_in_their_colours_on_page_and_picture(visit, tmp_path):
    page = visit("attention").trained()
    for key, meaning in (("grey_boxes", "contextual_embeddings"), ("red_rows", "logits")):
        names, color = page.key(key).locator(".name"), style.COLORS[meaning]
        expect(names).to_have_count(len(SENTENCE))
        look = "(e, names) => names.map(name => getComputedStyle(e)[name])"
        asked = ["borderLeftColor", "backgroundColor", "color"]
        border, ground, ink = (
            "#{:02x}{:02x}{:02x}".format(*map(int, re.findall(r"\d+", shown)))
            for shown in names.first.evaluate(look, asked)
        )
        assert border == color.lower()
        assert ground != style.LIGHT.background.lower()
        assert style.contrast(ink, ground) >= 4.5
        svg = saved(page, key, "SVG", tmp_path).read_text(encoding="utf-8")
        frame = "rgb({}, {}, {})".format(*style.channels(color))
        assert svg.count(f'fill="{frame}"') == len(SENTENCE) * (
            3 + 4
        )  # the name has no line towards its numbers


# The view of a component that shows nothing but what somebody typed.
VIEW = """
text => {
  %s
  const root = make("div", document.body);
  const view = { data: { file: "hostile" }, title: () => text, sign: () => {}, tables: () => {
    const table = make("table");
    make("caption", table, { text }); make("td", make("tr", make("tbody", table)), { text });
    return [table];
  } };
  make("p", root, { text });
  for (const font of [`12px ${text}`, "italic 600 12px sans-serif"]) {
    drawOn(make("canvas", root), 200, 40, (pen) => { pen.font = font; pen.fillText(text, 5, 20); });
  }
  return [new XMLSerializer().serializeToString(drawing(root, view)), page(root, view)];
}
"""


def test_texts_of_a_saved_picture_stay_texts(browser, tmp_path):
    text = HOSTILE + "]]>&lt;!--\u0000\uffff"
    context = browser.new_context()
    svg, html = context.new_page().evaluate(VIEW % picture.SCRIPT, text)
    context.close()
    for name, content, cells in (("hostile.svg", svg, []), ("hostile.html", html, [text.replace("\0", "")])):
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        with opened_offline(browser, path) as file:
            texts = file.locator("text").all_text_contents()
            assert texts == [text.replace("\0", "\ufffd").replace("\uffff", "\ufffd")] * 3
            assert file.locator("td").all_text_contents() == cells
            assert file.locator("script").count() == 0


def test_a_figure_as_a_page_draws_itself_without_a_network_and_runs_no_token(browser, tmp_path):
    path = tmp_path / "figure.html"
    path.write_bytes(export(logit_bars([LogitBar(HOSTILE, 2.0, 0.7), LogitBar("me", 1.0, 0.3)]), "html"))
    with opened_offline(browser, path) as page:
        texts = page.locator("#figure svg text")
        expect(texts.filter(has_text="2 · 70 %")).to_have_count(1)
        assert any(text.startswith("</script><img") for text in texts.all_text_contents())
