"""The page of the causal mask: what it prints, walks through, edits and measures is what the stored decoder computes."""

import math
import re

import numpy as np
import pytest
import torch
from playwright.sync_api import expect

from decoder import causal_mask, load_corpus
from decoder.training.presets import preset

CONFIG = preset("ibm")
UNMASKED = preset("ibm", causal=False)
TOKENS = load_corpus("ibm").tokenizer.tokens
SENTENCE = ["<s>", "IBM", "taught", "me", "GPT"]
IDS = torch.tensor([[TOKENS.index(token) for token in SENTENCE]])
T = len(SENTENCE)
ALL_OPEN = torch.ones(T, T, dtype=torch.bool)
MINUS_INFINITY = "−∞"


@pytest.fixture(scope="module")
def model(trainings):
    return trainings.model(CONFIG)


def traced(model, mask=None):
    with torch.no_grad():
        return model.trace(IDS, mask=causal_mask(T) if mask is None else mask)


LOWERED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


def number(text):
    digits, _, power = text.replace("−", "-").replace("∞", "inf").partition("·10")
    return float(digits) * 10 ** int(power.translate(LOWERED) or 0)


def close(shown, value):
    """Whether a number shown with four digits is this value."""
    return math.isclose(number(shown), value, rel_tol=6e-4, abs_tol=2e-6)


def shows(page, block, head, mask):
    """Whether the four tables print scores, masked scores, exponentials and weights of this head under this mask."""
    tables = page.tables("mask_matrices")
    if len(tables) != 4:
        return False
    query, key = (stage[0, head].double().numpy() for stage in (block.query, block.key))
    scores = query @ key.T / math.sqrt(query.shape[1])
    masked = np.where(mask.numpy(), scores, -np.inf)
    powers = np.exp(masked)
    sums = powers.sum(axis=1, keepdims=True)
    stages = ((scores, None), (masked, None), (powers, sums), (powers / sums, np.ones_like(sums)))
    for at, ((_, names, rows), (stage, totals)) in enumerate(zip(tables, stages, strict=True)):
        assert names == [f"{at} {token}" for at, token in enumerate(SENTENCE)]
        for row, texts in enumerate(rows):
            for column in range(T):
                said, closed = texts[column], not mask[row, column]
                if closed != (said[:1] == "(" and said[-1:] == ")"):
                    return False
                said = said.strip("()")
                if closed and at:
                    good = said == (MINUS_INFINITY if at == 1 else "0")
                else:
                    good = close(said.replace(" · 10^", "·10"), stage[row, column])
                if not good:
                    return False
            if totals is not None and not close(texts[T], totals[row, 0]):
                return False
    return True


def arithmetic(page, goal=None):
    """Return the chosen cell, (row, column), and the three texts that spell it out, once all of them are drawn."""

    def spelled():
        places = [text for text in page.sentences() if text.startswith("query ")]
        codes = page.main.locator('[data-testid="stCode"]').all_inner_texts()
        if not places:
            return None
        cell = tuple(map(int, re.match(r"query (\d+) .* looks at +key (\d+) ", places[0] + " ").groups()))
        names = (f"{name}({cell[0]}, {cell[1]})" for name in ("score", "masked score", "weight"))
        texts = [next((code for code in codes if code.startswith(name)), None) for name in names]
        return (cell, texts) if all(texts) and cell == (goal or cell) else None

    return page.until(spelled, f"the arithmetic of {goal or 'a cell'}")


def assert_spelled(block, head, cell, texts):
    """The numbers of the arithmetic are recomputed here from the query and the key."""
    row, column = cell
    query, key = block.query[0, head, row].tolist(), block.key[0, head, column].tolist()
    score_text, mask_text, weight_text = texts
    pairs = re.findall(r"\(([^()]+)\)·\(([^()]+)\)", score_text)
    assert len(pairs) == len(query)
    for (shown_query, shown_key), q, k in zip(pairs, query, key, strict=True):
        assert close(shown_query, q)
        assert close(shown_key, k)
    score = math.fsum(q * k for q, k in zip(query, key, strict=True)) / math.sqrt(len(query))
    assert close(score_text.split("= ")[-1].strip(), score)
    scores = [
        math.fsum(q * k for q, k in zip(query, other, strict=True)) / math.sqrt(len(query))
        if at <= row
        else -math.inf
        for at, other in enumerate(block.key[0, head].tolist())
    ]
    terms = re.search(r"/ \((.*?)\)", weight_text)[1].split(" + ")
    for shown, value in zip(terms, scores, strict=True):
        assert shown == "0" if value == -math.inf else close(shown.removeprefix("e^"), value)
    total = math.fsum(map(math.exp, scores))
    if column > row:
        assert MINUS_INFINITY in mask_text
        assert number(weight_text.split("= ")[-1]) == 0.0
    else:
        assert close(re.search(r"= (\S+?),", mask_text)[1], score)
        assert close(weight_text.split("= ")[-1].strip(), math.exp(score) / total)


def choose_head(page, layer, head):
    page.key("mask_heads").locator(f'button[data-layer="{layer}"][data-head="{head}"]').click()


def test_the_matrices_and_the_arithmetic_of_any_cell_are_those_of_the_stored_decoder(visit, model):
    page = visit("causal_mask").trained()
    block = traced(model).blocks[0]
    assert shows(page, block, 0, causal_mask(T))
    cell, texts = arithmetic(page)
    assert_spelled(block, 0, cell, texts)
    canvas = page.key("mask_matrices").locator("canvas").first
    canvas.focus()
    for move, goal in (("ArrowDown", (cell[0] + 1, cell[1])), ("End", (cell[0] + 1, T - 1))):
        canvas.press(move)
        canvas.press("Enter")
        assert_spelled(block, 0, *arithmetic(page, goal))
    assert goal[1] > goal[0]  # the last one was masked
    canvas = page.key("mask_matrices").locator("canvas").last
    box = canvas.bounding_box()
    canvas.click(position={"x": box["width"] * 0.5, "y": box["height"] * 0.9})
    page.until(lambda: arithmetic(page)[0] != goal, "the clicked cell")
    assert_spelled(block, 0, *arithmetic(page))

    choose_head(page, 1, 2)
    page.until(lambda: shows(page, traced(model).blocks[1], 2, causal_mask(T)), "the other head")
    page.key("masked").locator("label").first.click()
    page.until(lambda: shows(page, traced(model, ALL_OPEN).blocks[1], 2, ALL_OPEN), "the open matrices")
    assert "masked=false" in page.address


def canvas_of(page, at):
    return page.key("mask_matrices").locator("canvas").nth(at)


def select(canvas, row, column):
    """Go to a cell with the keyboard."""
    canvas.focus()
    canvas.press("Control+Home")
    for key, times in (("ArrowDown", row), ("ArrowRight", column)):
        for _ in range(times):
            canvas.press(key)


def test_cells_are_opened_and_closed_by_keyboard_and_click_and_a_closed_row_is_refused(visit, model):
    page = visit("causal_mask").trained()
    page.key("editing").locator("label").first.click()
    page.idle()
    canvas, mask = canvas_of(page, 3), causal_mask(T)
    expect(canvas).to_have_attribute("aria-label", re.compile("Enter opens or closes the cell"))
    select(canvas, 1, 3)
    canvas.press("Enter")
    mask[1, 3] = True
    page.until(lambda: shows(page, traced(model, mask).blocks[0], 0, mask), "the opened cell")
    assert arithmetic(page, (1, 3))
    expect(page.key("what_mask")).to_contain_text("1 cell of the future is open")
    choose_head(page, 1, 0)
    page.until(lambda: shows(page, traced(model, mask).blocks[1], 0, mask), "the head that reads it")

    tables = page.key("mask_matrices").locator("details table")
    box = canvas.bounding_box()
    canvas.hover(position={"x": box["width"] - 1, "y": 2})  # away from the cells
    page.page.keyboard.press("Escape")
    select(canvas, 0, 0)
    canvas.press("Enter")
    expect(page.key("mask_refusal")).to_contain_text("row 0 would have 0 of its 5 cells open")
    assert shows(page, traced(model, mask).blocks[1], 0, mask)
    expect(tables).to_have_count(4)

    page.key("reset").locator("button").click()
    page.until(lambda: shows(page, traced(model).blocks[1], 0, causal_mask(T)), "the mask as it was")
    expect(page.key("mask_refusal")).to_have_count(0)
    before = page.tables("mask_matrices")
    canvas.click(position={"x": box["width"] * 0.45, "y": box["height"] * 0.9})
    page.until(lambda: page.tables("mask_matrices") != before, "the clicked cell")


def test_the_walk_leads_row_by_row_without_the_server(visit, model):
    page = visit("causal_mask").trained()
    matrices = page.key("mask_matrices")
    line, press = matrices.locator(".line"), lambda name: matrices.get_by_role("button", name=name).click()
    shares = traced(model).logits[0].double().softmax(dim=-1)
    page.until(lambda: page.tables("mask_matrices"), "the matrices")
    sent, listener = [], page.context.new_cdp_session(page.page)
    listener.on("Network.webSocketFrameSent", lambda frame: sent.append(frame))  # noqa: PLW0108  # playwright marks it
    listener.send("Network.enable")

    def picture():
        return canvas_of(page, 3).evaluate("canvas => canvas.toDataURL()")

    def is_row(row):
        inputs = (
            "x₀ alone predicts",
            "x₀ and x₁ predict",
            "x₀, x₁ and x₂ predict",
            "x₀ … x₃ predict",
            "x₀ … x₄ predict",
        )
        expect(line).to_contain_text(
            f"{inputs[row]} ω{'₁₂₃₄₅'[row]}: “{TOKENS[shares[row].argmax()]}” is most likely"
        )

    whole = picture()
    press("Play")
    is_row(0)
    page.until(lambda: picture() != whole, "the first row to stand out")
    is_row(1)  # by itself
    press("Stop")
    press("Next")
    is_row(2)
    page.page.wait_for_timeout(600)  # the glide is over
    third = picture()
    page.page.keyboard.press("ArrowRight")  # the buttons have the focus
    is_row(3)
    page.page.keyboard.press("ArrowLeft")
    page.page.emulate_media(reduced_motion="reduce")
    page.page.keyboard.press("ArrowLeft")
    is_row(1)
    second = picture()
    press("Next")
    is_row(2)
    page.until(lambda: picture() != second, "the next frame")
    assert picture() == third  # without a glide the first new frame is the last one
    page.page.keyboard.press("Escape")
    expect(line).to_contain_text("Play, or step with Next")
    page.until(lambda: picture() == whole, "all rows as they were")
    assert not sent
    choose_head(page, 1, 1)
    page.until(lambda: page.idle() and sent, "what is sent when the server is asked")


def assert_scores_can_be_changed(page):
    """Four equal scores, then one of them typed: the weights of row 1 are those of its two open cells."""
    page.key("equal_scores").locator("button").click()
    weights = page.key("own_scores").locator("tbody tr").nth(3)
    page.until(
        lambda: weights.locator("td, th").all_inner_texts()[1:] == ["0.5", "0.5", "0", "0", "1"],
        "equal weights",
    )
    page.type("own score 1", "0.5")
    e = math.exp(0.5)
    expected = (1 / (1 + e), e / (1 + e), 0, 0, 1)
    page.until(
        lambda: all(map(close, weights.locator("td, th").all_inner_texts()[1:], expected)),
        "the other weights",
    )


def assert_probe_is_measured(page, model):
    """NASA in the place of “me”: the bars are how far the logits move, with the mask and without."""
    field, options = page.key("probing token of ibm").locator("input"), page.page.get_by_role("option")
    field.scroll_into_view_if_needed()

    def opens():
        field.click()
        page.page.wait_for_timeout(100)
        return options.count()

    page.until(opens, "the options")
    options.get_by_text(f"{TOKENS.index('NASA')} NASA", exact=True).click()
    changed = IDS.clone()
    changed[0, 3] = TOKENS.index("NASA")
    moved = []
    for mask in (causal_mask(T), ALL_OPEN):
        with torch.no_grad():
            after, before = (model.trace(ids, mask=mask).logits[0] for ids in (changed, IDS))
        moved.append((after - before).abs().amax(dim=1).tolist())
    texts = page.key("probe").locator("svg text")
    expect(texts.filter(has_text="→").first).to_be_visible()
    found = [text for text in texts.all_text_contents() if re.fullmatch(r"[0-9.·⁻¹²³⁴⁵⁶⁷⁸⁹⁰10]+", text)]
    assert found.count("0") == 3
    expected = [pair[at] for pair in zip(*moved, strict=True) for at in (0, 1)]
    assert all(close(text, value) for text, value in zip(found, expected, strict=True))


def test_leaks_probe_passes_and_a_training_without_the_mask_are_what_is_measured(visit, model, trainings):
    tests = [trainings.evaluation(config) for config in (CONFIG, UNMASKED)]
    page = visit("causal_mask", way="× 0 after the softmax", retrain="true").trained()
    lower = np.tril(np.ones((T, T), dtype=bool))
    scores = traced(model).blocks[0].attention.scores[0, 0].double().numpy()
    powers = np.exp(scores)
    weights = powers / powers.sum(axis=1, keepdims=True)
    rows = page.key("ways").locator("tbody tr")
    cells = {row[0]: row[1:] for row in (rows.nth(at).locator("td, th").all_inner_texts() for at in range(5))}
    assert cells["−∞, as it should be"] == ["0", "1", "1", "0"]
    assert close(cells["no mask"][0], weights[~lower].sum() / T)
    assert close(cells["× 0 after the softmax"][1], (weights * lower).sum(axis=1).min())
    assert "a finite number, −1" in cells
    expect(page.key("what_leak")).to_contain_text(f"{(weights * lower).sum(axis=1).min():.3f} … ")

    assert_probe_is_measured(page, model)
    times = page.main.locator('[data-testid="stMetricValue"]').all_inner_texts
    assert times() == []  # measured when it is asked for
    page.key("prove").locator("button").click()
    page.until(lambda: len(times()) == 3, "what is measured")
    first = times()
    page.key("measure").locator("button").click()
    page.until(lambda: times()[:2] != first[:2], "other times")
    assert number(first[2]) < 1e-4

    expect(page.key("retrained_losses").locator("svg.marks")).to_be_visible()
    better, worse = tests
    assert better.valid_share > worse.valid_share
    assert better.true_history_loss > worse.true_history_loss
    expect(page.key("what_you_see")).to_contain_text("far below")
    question = page.key("check-c29")
    expect(question).to_contain_text("Which of the two writes more valid sentences by itself?")
    page.key("reveal-c29-3").locator("button").click()
    expect(page.key("verdict-shown-c29-3")).to_contain_text("no future to copy from")
    page.key("reveal-c29-1").locator("button").click()
    verdict = page.key("verdict-shown-c29-1").inner_text()
    assert close(re.search(r"sentences and (\S+) on unseen", verdict)[1], worse.true_history_loss)
    page.key("reveal-c29-2").locator("button").click()
    expect(page.key("verdict-shown-c29-2")).to_contain_text("The answer: what it writes by itself.")
    assert_scores_can_be_changed(page)
    page.type("answer-c23-0", "15")
    expect(page.key("verdict-right-c23-0")).to_contain_text("15 of 36")
    expect(page.key("said-c23").get_by_role("status")).to_contain_text(
        "✓ Right. Row by row 5, 4"
    )  # and heard
