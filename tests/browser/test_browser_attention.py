"""The pages of the causal mask and of attention: what they print is what the stored decoder computes."""

import math
import re

import pytest
import torch
from playwright.sync_api import expect

from decoder import causal_mask, load_corpus
from decoder.training.presets import preset

CONFIG = preset("ibm")
SENTENCE = ["<s>", "IBM", "taught", "me", "GPT"]
MINUS_INFINITY = "−∞"


@pytest.fixture(scope="module")
def model(trainings):
    return trainings.model(CONFIG)


def traced(model, *, masked=True):
    ids = torch.tensor([[load_corpus("ibm").tokenizer.tokens.index(token) for token in SENTENCE]])
    T = ids.shape[1]
    with torch.no_grad():
        return model.trace(ids, mask=causal_mask(T) if masked else torch.ones(T, T, dtype=torch.bool))


def exact(value):
    """Four significant digits as JavaScript's toPrecision prints them."""
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.3e}".split("e")
    power = int(exponent)
    text = f"{value:.{3 - power}f}" if -7 < power < 4 else f"{mantissa} · 10^{power}"
    return text.replace("-", "−")


def is_printed(text, value):
    """Whether the text is this number to all digits printed, but for the last bits of a float32."""
    slack = 1e-5 * abs(value) + 1e-6 * (abs(value) > 1e-2)
    return text in {exact(value), exact(value - slack), exact(value + slack)}


LOWERED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


def number(text):
    digits, _, power = text.replace("−", "-").replace("∞", "inf").partition("·10")
    return float(digits) * 10 ** int(power.translate(LOWERED) or 0)


def close(shown, value):
    """Whether a number shown with four digits is this value."""
    return math.isclose(number(shown), value, rel_tol=6e-4, abs_tol=2e-6)


def shows(tables, attention, head, *, masked):
    """Whether the three tables print scores, masked scores and weights of this head."""
    if len(tables) != 3:
        return False
    stages = [
        stage[0, head].tolist() for stage in (attention.scores, attention.masked_scores, attention.weights)
    ]
    for at, ((_, _, rows), stage) in enumerate(zip(tables, stages, strict=True)):
        for row, (texts, values) in enumerate(zip(rows, stage, strict=True)):
            for column, value in enumerate(values):
                closed = masked and column > row
                said = texts[column]
                if closed != (said[:1] == "(" and said[-1:] == ")"):
                    return False
                said = said.strip("()")
                if closed and at == 1:
                    good = said == MINUS_INFINITY and value == -math.inf
                elif closed and at == 2:
                    good = said == "0" and value == 0.0
                else:
                    good = is_printed(said, value)
                if not good:
                    return False
            if at == 2 and texts[len(values) :] != ["1.000"]:
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


def test_the_three_matrices_print_the_numbers_of_the_stored_decoder(visit, model):
    page = visit("causal_mask").trained()
    tables = page.tables("mask_matrices")
    assert [names for _, names, _ in tables] == [[f"{at} {token}" for at, token in enumerate(SENTENCE)]] * 3
    assert shows(tables, traced(model).blocks[0].attention, 0, masked=True)

    page.key("mask_heads").locator('button[data-layer="1"][data-head="2"]').click()
    attention = traced(model).blocks[1].attention
    page.until(lambda: shows(page.tables("mask_matrices"), attention, 2, masked=True), "the other head")


def test_without_the_mask_no_cell_is_masked(visit, model):
    page = visit("causal_mask").trained()
    page.key("masked").locator("label").first.click()
    attention = traced(model, masked=False).blocks[0].attention
    page.until(lambda: shows(page.tables("mask_matrices"), attention, 0, masked=False), "the open matrices")
    assert (attention.weights > 0).all()
    assert "masked=false" in page.page.url
    linked = visit("causal_mask", masked="false").trained()
    assert shows(linked.tables("mask_matrices"), attention, 0, masked=False)


def test_the_arithmetic_of_a_cell_chosen_with_the_keyboard_is_right(visit, model):
    page = visit("causal_mask").trained()
    block = traced(model).blocks[0]
    cell, texts = arithmetic(page)
    assert_spelled(block, 0, cell, texts)
    canvas = page.key("mask_matrices").locator("canvas").first
    canvas.focus()
    for move, goal in (("ArrowDown", (cell[0] + 1, cell[1])), ("End", (cell[0] + 1, len(SENTENCE) - 1))):
        canvas.press(move)
        canvas.press("Enter")
        assert_spelled(block, 0, *arithmetic(page, goal))
    assert goal[1] > goal[0]  # the last one was masked


def test_the_arithmetic_of_a_clicked_cell_is_right(visit, model):
    page = visit("causal_mask").trained()
    before, _ = arithmetic(page)
    canvas = page.key("mask_matrices").locator("canvas").last
    box = canvas.bounding_box()
    canvas.click(position={"x": box["width"] * 0.5, "y": box["height"] * 0.9})
    page.until(lambda: arithmetic(page)[0] != before, "the clicked cell")
    cell, texts = arithmetic(page)
    assert_spelled(traced(model).blocks[0], 0, cell, texts)


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
