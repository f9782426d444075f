"""The page of embeddings and positions: every vector, colour, share and verdict is what the library gives for the same text."""

import csv
import io
import re

import pytest
import torch
from playwright.sync_api import expect

from decoder import Decoder, load_corpus
from decoder.figures.style import LIGHT, channels, color_at
from decoder.training.presets import preset

CONFIG = preset("ibm")
CORPUS = load_corpus("ibm")
TOKENS = CORPUS.tokenizer.tokens
SENTENCE = ["<s>", "IBM", "taught", "me", "GPT"]
KINDS = ("learned", "sinusoidal", "none")
PLAIN = str.maketrans("−⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "--0123456789")


@pytest.fixture(scope="module")
def model(trainings):
    return trainings.model(CONFIG)


def identity(token):
    return TOKENS.index(token)


def value(text):
    """A number as pictures and tables write it."""
    mantissa, _, exponent = text.translate(PLAIN).replace(" · 10^", "·10").partition("·10")
    return float(mantissa) * 10 ** int(exponent or 0)


def point_at(page, key, row, column):
    """Point at a cell of a picture of 64 columns; return its tip: name -> number."""
    canvas = page.key(key).locator("canvas").nth(row)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    canvas.hover(position={"x": box["width"] / 64 * (column + 0.5), "y": box["height"] / 2})
    tip = page.key(key).locator(".tip")
    expect(tip).to_contain_text(f"number {column + 1} of 64")
    texts = tip.locator(".lines span").all_text_contents()
    return dict(zip(texts[::2], map(value, texts[1::2]), strict=True))


def colors(page, key, row):
    """The colours of a strip of 64 cells, as drawn."""
    return (
        page.key(key)
        .locator("canvas")
        .nth(row)
        .evaluate(
            """canvas => {
                const {width, height} = canvas;
                const pen = new OffscreenCanvas(width, height).getContext("2d", {willReadFrequently: true});
                pen.drawImage(canvas, 0, 0);
                return Array.from({length: 64}, (_, at) =>
                    [...pen.getImageData(Math.floor((at + 0.5) * width / 64), height / 2, 1, 1).data].slice(0, 3));
            }"""
        )
    )


def assert_colored(found, numbers, reach):
    for color, number in zip(found, numbers, strict=True):
        expected = channels(color_at(LIGHT.scores, (number / reach + 1) / 2))
        assert max(abs(a - b) for a, b in zip(color, expected, strict=True)) <= 4  # 256 steps


def near(found, expected):
    return found == pytest.approx(expected, rel=6e-3, abs=6e-5)  # four decimals are shown


def hand_in(page, name):
    page.key(f"submit-{name}").locator("button").click()


def verdict(page, kind, name):
    return page.key(f"verdict-{kind}-{name}")


def pick(page, key, option):
    """Choose an option far down the page: its list closes again if the page still scrolls to it."""
    field, options = page.key(key).locator("input"), page.page.get_by_role("option")
    field.scroll_into_view_if_needed()

    def opens():
        field.click()
        page.page.wait_for_timeout(100)
        return options.count()

    page.until(opens, "the options")
    options.get_by_text(option, exact=True).click()


def test_a_cell_becomes_its_row_of_the_table_and_equal_ids_are_equal(visit, model):
    page = visit("embeddings", rows=3).trained()
    drawn = [["<s>", *text.split(), "</s>"] for text in CORPUS.examples(48, 0)[:2]]
    rows = [[*SENTENCE, "</s>"], *drawn]
    length = max(map(len, rows)) - 1
    rows = [([*row, *["<pad>"] * length])[:length] for row in rows]
    grid = page.key("ids").locator("tbody")
    found = grid.evaluate(
        """body => [...body.rows].map(row => [...row.querySelectorAll("button")].map(button =>
        [button.querySelector("bdi").textContent, button.querySelector(".note").textContent]))"""
    )
    assert found == [[[token, f"id {identity(token)}"] for token in row] for row in rows]
    metrics = page.main.locator('[data-testid="stMetricValue"]')
    assert metrics.all_inner_texts() == [f"{3 * length}", f"{3 * length * 64:,}"]

    table, places = model.token_table.weight.detach(), model.position_table.detach()
    time, twin = next(  # a token of row 2, and the first cell that holds it at another time
        (time, (n, t))
        for time in range(1, length)
        for n, row in enumerate(rows)
        for t, token in enumerate(row)
        if token == rows[1][time] and t != time
    )
    page.key("ids").locator(f'button[data-row="1"][data-time="{time}"]').click()
    expect(page.key("what_vector")).to_contain_text(f"“{rows[1][time]}”")
    vector = table[identity(rows[1][time])]
    assert_colored(colors(page, "cell_vector", 0), vector.tolist(), table.abs().max().item())
    assert colors(page, "cell_vector", 0) == colors(page, "cell_vector", 1)
    tip = point_at(page, "cell_vector", 0, 17)
    assert near([*tip.values()], [vector[17].item()] * 2)
    apart = (vector + places[time] - vector - places[twin[1]]).abs().max().item()
    said = page.key("what_vector").inner_text()
    assert "exactly 0 before positions are added" in said
    assert near(float(re.search(r"added, and ([0-9.]+) afterwards", said)[1]), apart)

    page.type("answer-c13-0", str(16 * 9))
    expect(verdict(page, "wrong", "c13-0")).to_contain_text("number of ids")
    page.type("answer-c13-0", str(16 * 9 * 64))
    expect(verdict(page, "right", "c13-0")).to_be_visible()
    pick(page, "answer-c13-1", "yes, exactly")
    hand_in(page, "c13-1")
    expect(verdict(page, "right", "c13-1")).to_contain_text("exactly 0")


def test_what_is_fed_back_is_the_row_of_the_prediction_or_of_the_row_that_is_picked(visit, model):
    page = visit("embeddings").trained()
    ids = torch.tensor([[identity(token) for token in SENTENCE]])
    with torch.no_grad():
        predicted = [TOKENS[int(model(ids[:, :end])[0, -1].argmax())] for end in range(1, 6)]
    assert [chip[0] for chip in page.strips("read_to")["prediction"]] == predicted
    page.key("read_to").locator("th button").nth(3).click()
    said = page.key("what_row")
    expect(said).to_contain_text("After “<s> IBM taught me”")
    expect(said).to_contain_text(f"the id {identity(predicted[3])}")
    expect(said).to_contain_text(f"row {identity(predicted[3])} of the table, bit by bit")
    weights = model.token_table.weight.detach()
    reach = weights.abs().max().item()
    assert_colored(colors(page, "looked_up", 1), weights[identity(predicted[3])].tolist(), reach)
    chosen = page.key("table").locator(".row.chosen bdi")
    expect(chosen).to_have_text(predicted[3])
    marked = page.key("table").locator(".row.marked bdi").all_text_contents()
    assert set(marked) == set(SENTENCE)

    page.key("table").locator(".row", has=page.page.get_by_text("chess", exact=True)).click()
    expect(said).to_contain_text("You have picked “chess”")
    expect(said).to_contain_text(f"row {identity('chess')} of the table, bit by bit")
    picture = page.key("table").locator(".rows")
    picture.focus()  # and by the keyboard alone
    for press in ("Home", "ArrowDown", "ArrowRight", "ArrowRight"):
        page.page.keyboard.press(press)
    below = TOKENS[identity("chess") + 1]
    number = weights[identity(below), 2].item()
    expect(page.key("table").locator("[aria-live]")).to_contain_text(
        f"{below} id {identity(below)}, number 3"
    )
    assert near(value(page.key("table").locator("[aria-live]").inner_text().split(": ")[1]), number)
    page.page.keyboard.press("Enter")
    expect(said).to_contain_text(f"You have picked “{below}”")
    tip = point_at(page, "looked_up", 1, 2)
    assert near([*tip.values()], [weights[identity("me"), 2].item(), number])

    page.type("answer-c3-0", "64")
    expect(verdict(page, "wrong", "c3-0")).to_contain_text("one vector")
    page.type("answer-c3-0", str(len({tuple(row) for row in weights.tolist()})))
    expect(verdict(page, "right", "c3-0")).to_be_visible()
    pick(page, "answer-c3-1", f"{len(TOKENS)} logits, one per token")
    hand_in(page, "c3-1")
    expect(verdict(page, "right", "c3-1")).to_be_visible()

    page.key("embedding_table numbers").locator("summary").click()
    with page.page.expect_download() as download:
        page.key("embedding_table-csv download").locator("button").click()
    with open(download.value.path(), encoding="utf-8-sig", newline="") as file:  # noqa: PTH123
        head, *lines = csv.reader(io.StringIO(file.read()))
    assert head[:3] == ["id", "token", "number 1"]
    assert [line[1] for line in lines] == list(TOKENS)
    assert torch.equal(torch.tensor([[*map(float, line[2:])] for line in lines]), weights)


def test_positions_tell_equal_tokens_and_orders_apart(visit, model):
    page = visit("embeddings").trained()
    page.key("position_at").locator("th button").nth(1).click()
    expect(page.key("what_sum")).to_contain_text("At t = 1")
    page.idle()
    pick(page, "same token but at 1 of 5", "t = 4, in place of GPT")
    expect(page.key("what_sum")).to_contain_text("3 steps apart")
    x = model.token_table.weight.detach()[identity("IBM")]
    p = model.position_table.detach()
    strips = [x, x, p[1], p[4], x + p[1], x + p[4]]
    names = page.key("sum").locator(".name bdi").all_text_contents()
    assert names == ["x₁", "x₄", "p₁", "p₄", "x₁ + p₁", "x₄ + p₄"]
    reach = max(x.abs().max(), p[:5].abs().max(), *((row + p[t]).abs().max() for t, row in _embedded(model)))
    for at, strip in enumerate(strips):
        assert_colored(colors(page, "sum", at), strip.tolist(), reach.item())
    tip = point_at(page, "sum", 0, 9)
    assert near([*tip.values()], [strip[9].item() for strip in strips])
    said = page.key("what_sum").inner_text()
    apart = re.search(r"embedding x exactly 0, position vector p ([0-9.]+), sum x \+ p ([0-9.]+)\.", said)
    assert near(float(apart[1]), (p[1] - p[4]).abs().max().item())
    assert near(float(apart[2]), (x + p[1] - x - p[4]).abs().max().item())

    pick(page, "answer-c8-0", "x only")
    hand_in(page, "c8-0")
    expect(verdict(page, "wrong", "c8-0")).to_contain_text("the id is the same")
    for name, answer in (("c8-0", "p and x + p"), ("c8-1", "no, at most by rounding"), ("c8-2", "yes")):
        pick(page, f"answer-{name}", answer)
        hand_in(page, name)
        expect(verdict(page, "right", name)).to_be_visible()

    for layers in (1, 2):
        if layers == 1:
            page.key("shuffle_order").locator("button").click()
        else:
            page.key("layers").get_by_role("slider").press("ArrowRight")
        expect(page.key("what_order")).to_contain_text(f"{layers} layer")
        page.idle()
        orders = [[identity(chip[0]) for chip in chips] for chips in page.strips("orders").values()]
        assert orders[0] == [identity(token) for token in SENTENCE]
        assert orders[0] != orders[1]
        assert (sorted(orders[0]), orders[0][-1]) == (sorted(orders[1]), orders[1][-1])
        blind = Decoder(preset("ibm", positions="none").decoder, seed=0).config
        blind = Decoder(type(blind)(**(vars(blind) | {"n_layers": layers})), seed=0)
        with torch.no_grad():
            before, after = (blind(torch.tensor([ids]))[0, -1] for ids in orders)
        change = (before - after).abs().max().item()
        text = page.key("what_order").inner_text()
        assert ("cannot tell the two orders apart" in text) == (layers == 1)
        if layers == 2:
            assert near(float(re.search(r"by up to ([0-9.]+),", text)[1]), change)
        else:
            assert change < 1e-5


def _embedded(model):
    """(t, x) of the sentence with its second token at t = 4 too."""
    tokens = [*SENTENCE[:4], SENTENCE[1]]
    return [(t, model.token_table.weight.detach()[identity(token)]) for t, token in enumerate(tokens)]


def reversed_rightly(model, batch):
    """Which rows a decoder reverses without a mistake: growing prefixes, no cache, rows of one length at a time."""
    full = torch.cat((batch.inputs[:, :1], batch.targets), dim=1)
    right = torch.zeros(len(full), dtype=torch.bool)
    middle = (full == full.max()).int().argmax(dim=1)  # the word between the letters and their reversal
    for place in middle.unique().tolist():
        rows = (middle == place).nonzero()[:, 0]
        written, end = full[rows, : place + 1], 2 * place + 1
        while written.shape[1] < end:
            with torch.no_grad():
                written = torch.cat((written, model(written)[:, -1:].argmax(dim=2)), dim=1)
        right[rows] = (written == full[rows, :end]).all(dim=1)
    return right


def counts(right, twice):
    """Rows done without a mistake, and all of them: of any kind, with all letters different, with one that comes twice."""
    return [int(part.sum()) for kind in (twice | ~twice, ~twice, twice) for part in (right & kind, kind)]


def test_three_decoders_that_differ_in_their_positions_only(visit, trainings):
    page = visit("embeddings", compare_positions="true")
    for kind in KINDS:
        trainings.finished(preset("reverse", positions=kind))
    expect(page.key("what_breaks")).to_be_visible()
    page.idle()
    said = page.key("what_breaks").inner_text()
    batch = load_corpus("reverse").validation
    letters = [targets[keep].tolist() for targets, keep in zip(batch.targets, batch.keep, strict=True)]
    twice = torch.tensor([len(set(answer)) < len(answer) for answer in letters])
    rights, measured = {}, {}
    for kind in KINDS:
        config = preset("reverse", positions=kind)
        model = trainings.model(config)
        right = rights[kind] = reversed_rightly(model, batch)
        share = re.search(
            rf"([0-9.]+) % with {'no' if kind == 'none' else kind} positions \(500 updates\)", said
        )
        assert float(share[1]) == pytest.approx(100 * right.float().mean().item(), abs=0.51)
        test = trainings.evaluation(config)
        found = right.float().mean().item()
        loss = "< 0.001" if test.true_history_loss < 5e-4 else f"{test.true_history_loss:.3f}"
        (line,) = [text for text in page.sentences() if text.startswith(f"loss {loss} · exact match")]
        assert line.endswith(f" % of {len(batch)} prompts")  # the same measurement as below
        assert float(re.search(r"match ([0-9.]+) %", line)[1]) == pytest.approx(100 * found, abs=0.51)
        measured[kind] = [500, test.true_history_loss, *counts(right, twice), test.valid_share]
        expect(page.key(f"losses_{kind} numbers")).to_have_count(1)
        expect(page.key(f"table_{kind} numbers")).to_have_count(1)
        places = model.position_table.detach()
        reach = places.abs().max().item() or 1
        assert_colored(colors(page, f"table_{kind}", 11), places[11].tolist(), reach)
    none = rights["none"]
    assert (
        f"{int((none & twice).sum())} of the {int(twice.sum())} prompts in which a letter comes twice" in said
    )
    assert (
        f"{int((none & ~twice).sum())} of the {int((~twice).sum())} whose letters are all different" in said
    )
    assert f"Measured on {len(batch)} prompts" in said
    expect(page.main.get_by_text("no positions: every number is 0")).to_be_visible()

    page.key("kinds numbers").locator("summary").click()
    rows = page.key("kinds sheet").locator("tbody tr")
    expect(rows).to_have_count(3)
    for row, kind in zip(rows.all(), KINDS, strict=True):
        cells = row.locator("td").all_text_contents()
        assert [*map(value, cells[1:])] == pytest.approx(measured[kind], rel=6e-3)
        assert cells[0] == kind
    page.key("losses_none numbers").locator("summary").click()
    lines = page.key("losses_none sheet").locator("tbody tr")
    evaluations = trainings.store.evaluations(trainings.finished(preset("reverse", positions="none")))
    expect(lines.last).to_contain_text("500")
    last = lines.last.locator("td").all_text_contents()
    assert near(value(last[2]), evaluations[-1].true_history_loss)
