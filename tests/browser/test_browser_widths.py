"""Matrices at every width of the window, from a phone to a projector: cells are drawn, panels stand apart, labels are whole."""

import re

import pytest
from playwright.sync_api import expect

from decoder import load_corpus
from decoder.training.presets import preset

LONG = preset("story", size="small", seed=3)
SENTENCE = ["<s>", "IBM", "taught", "me", "GPT"]
WIDTHS = (*range(360, 1920, 60), 390, 1280, 1366, 1440, 1920)
SIDE_BY_SIDE = (1280, 1366, 1440)
KEYS = ("mask_matrices", "way_matrices")

# Waits until nothing moves any more; then tells of each figure where it stands, and of its canvas how many pixels are covered:
# cells are, the ground between labels is not.
MEASURE = """
async keys => {
  const roots = () => keys.map(key => document.querySelector(`.st-key-${key}`));
  const find = (root, name) => {
    const found = [...root.querySelectorAll(name)];
    for (const each of root.querySelectorAll("*")) if (each.shadowRoot) found.push(...find(each.shadowRoot, name));
    return found;
  };
  const box = element => (({ left, right, top, bottom }) => ({ left, right, top, bottom }))(element.getBoundingClientRect());
  const boxes = () => roots().map(root => find(root, "figure").map(figure => {
    const canvas = figure.querySelector("canvas");
    const legend = figure.querySelector(".legend"), title = figure.querySelector("figcaption");
    return { ...box(figure), canvas: box(canvas), legend: box(legend), title: box(title) };
  }));
  let before = "", still = 0;
  for (let frame = 0; frame < 240 && still < 6; frame++) {
    await new Promise(requestAnimationFrame);
    const now = JSON.stringify(boxes());
    still = now === before ? still + 1 : 0;
    before = now;
  }
  const scratch = new OffscreenCanvas(1, 1), pen = scratch.getContext("2d", { willReadFrequently: true });
  const covered = canvas => {
    Object.assign(scratch, { width: canvas.width, height: canvas.height });
    pen.drawImage(canvas, 0, 0);
    const data = pen.getImageData(0, 0, canvas.width, canvas.height).data;
    let count = 0;
    for (let at = 3; at < data.length; at += 4) count += data[at] === 255;
    return count;
  };
  const drawn = roots().map(root => find(root, "figure canvas").map(covered));
  return { page: document.documentElement.clientWidth, keys: boxes().map((figures, at) =>
    figures.map((figure, panel) => ({ ...figure, covered: drawn[at][panel] }))) };
}
"""


def apart(one, other):
    return (
        one["right"] <= other["left"]
        or other["right"] <= one["left"]
        or one["bottom"] <= other["top"]
        or other["bottom"] <= one["top"]
    )


def measured(page, width, n_tokens, least):
    """Go to a width; return what is wrong there, and of each picture in how many rows its panels stand."""
    page.page.set_viewport_size({"width": width, "height": 900})
    found = page.page.evaluate(MEASURE, KEYS)
    wrong = []
    for key, figures in zip(KEYS, found["keys"], strict=True):
        for at, figure in enumerate(figures):
            name = f"{key} {at} at {width}"
            side = figure["covered"] ** 0.5 / n_tokens + 1  # a pixel lies between cells
            if side < least or figure["canvas"]["bottom"] - figure["canvas"]["top"] < n_tokens * least:
                wrong.append(f"{name}: cells of {side:.1f} pixels in {figure['canvas']}")
            for part in ("canvas", "legend", "title"):
                left, right = (figure[part][side] for side in ("left", "right"))
                if left < -0.5 or right > found["page"] + 0.5:
                    wrong.append(f"{name}: {part} reaches from {left} to {right}")
            wrong += [f"{name} lies over another" for other in figures[:at] if not apart(figure, other)]
    return wrong, [len({round(figure["top"]) for figure in figures}) for figures in found["keys"]]


def drawn_texts(page, key):
    """The texts of a picture as they are drawn, cut or not."""
    with page.page.expect_download() as download:
        page.key(key).get_by_role("button", name="picture as SVG").click()
    svg = download.value.path().read_text(encoding="utf-8")
    return page.page.evaluate(
        """svg => [...new DOMParser().parseFromString(svg, "image/svg+xml").querySelectorAll("text")]
            .map(text => text.textContent)""",
        svg,
    )


@pytest.fixture(scope="module")
def _long_sentences(trainings):
    trainings.finished(LONG)


@pytest.mark.usefixtures("_long_sentences")
def test_at_every_width_cells_are_drawn_panels_stand_apart_and_labels_are_whole(visit):
    page = visit("causal_mask", width=WIDTHS[0], height=900).trained()
    expect(page.key("way_matrices").locator("canvas")).to_have_count(3)
    rows, found = {}, []
    for width in WIDTHS:
        wrong, rows[width] = measured(page, width, len(SENTENCE), least=28 if width in SIDE_BY_SIDE else 18)
        found += wrong
    assert not found, "\n".join(found)
    assert [rows[width] for width in SIDE_BY_SIDE] == [[1, 1]] * len(SIDE_BY_SIDE)
    for width in (390, 1280):
        measured(page, width, len(SENTENCE), least=18)
        texts = drawn_texts(page, "mask_matrices")
        drawn = 4 + rows[width][0]  # over each panel, and beside the first one in a row
        assert [texts.count(token) for token in SENTENCE] == [drawn] * len(SENTENCE)
        assert any("." in text and text.lstrip("−").replace(".", "").isdigit() for text in texts)  # numbers

    # Thumbnails, and cells without room for a sign: the legend says what the hatch means.
    expect(page.key("mask_heads").locator(".legend")).to_contain_text("masked: 0")
    page.open("causal_mask", corpus="story", size="small", seed=3).trained()
    canvas = page.key("mask_matrices").locator("canvas").first
    n_tokens = preset("story", size="small").decoder.context_length
    expect(canvas).to_have_attribute("aria-label", re.compile(f"{n_tokens} queries"))
    found = []
    for width in (360, 390, 800, 1280, 1920):
        found += measured(page, width, n_tokens, least=8)[0]
    assert not found, "\n".join(found)
    legends = page.key("mask_matrices").locator(".legend")
    for at, text in enumerate(("edge of the mask", "masked: −∞", "masked: 0", "masked: 0")):
        expect(legends.nth(at)).to_contain_text(text)
    measured(page, 390, n_tokens, least=8)
    sums = legends.nth(2).locator(".sums > div")
    printed = [float(sum_of.split("=")[1].replace(",", "")) for sum_of in sums.all_inner_texts()]
    _, names, rows = page.tables("mask_matrices")[2]
    assert [line.split("=")[0].strip() for line in sums.all_inner_texts()] == names
    assert printed == pytest.approx([float(row[-1]) for row in rows], rel=1e-3)
    assert max(box["x"] + box["width"] for box in (each.bounding_box() for each in sums.all())) <= 390
    expect(legends.nth(3)).to_contain_text("each row sums to 1.000")
    texts, tokens = drawn_texts(page, "mask_matrices"), set(load_corpus("story").tokenizer.tokens)
    assert not {"−∞"} & set(texts)
    labels = [text for text in texts if text in tokens]
    assert len(labels) == 8 * n_tokens  # four panels, one below the other; rows and columns
