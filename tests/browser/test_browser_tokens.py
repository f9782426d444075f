"""The page of tokens and targets: every token, id, loss, logit and verdict is what the library gives for the same text."""

import csv
import io
import math
import re

import pytest
import torch
from playwright.sync_api import expect

from decoder import load_corpus
from decoder.training.presets import preset
from pages.ui.glossary import TERMS

CONFIG = preset("ibm")
CORPUS = load_corpus("ibm")
TOKENS = CORPUS.tokenizer.tokens
SENTENCE = ["<s>", "IBM", "taught", "me", "GPT", "</s>"]
LOWERED = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@pytest.fixture(scope="module")
def model(trainings):
    return trainings.model(CONFIG)


def logits(model, tokens):
    """One row per target, each from a pass over its prefix alone."""
    ids = torch.tensor([[TOKENS.index(token) for token in tokens]])
    with torch.no_grad():
        return [model(ids[:, :length])[0, -1].double() for length in range(1, len(tokens))]


def nats(model, tokens):
    """-ln p of every target of a row."""
    return [
        (row.exp().sum().log() - row[TOKENS.index(target)]).item()
        for row, target in zip(logits(model, tokens), tokens[1:], strict=True)
    ]


def is_close(text, value, decimals=3):
    """Whether a printed number is this one, but for rounding."""
    if text == "< 0.001":
        return value < 0.00051
    return abs(float(text.replace("−", "-")) - value) <= 0.51 * 10**-decimals + 1e-4 * abs(value)


def shift(page):
    """The rows of inputs and targets: [input, target, symbol of the input, symbol of the target, loss]."""
    return (
        page.key("shift")
        .locator("tbody")
        .evaluate(
            """body => [...body.rows].map(row => ["bdi", ".symbol", ".loss > span:first-child"]
            .flatMap(part => [...row.querySelectorAll(part)].map(element => element.textContent)))"""
        )
    )


def grid(page):
    """Rows of the batch: name -> list of (token, note, classes)."""
    rows = (
        page.key("batch_grid")
        .locator("tbody")
        .evaluate(
            """body => [...body.rows].map(row => [row.cells[0].textContent, [...row.querySelectorAll("button")].map(button =>
            [button.querySelector("bdi").textContent, button.querySelector(".note").textContent, button.className])])"""
        )
    )
    return {name: [tuple(cell) for cell in cells] for name, cells in rows}


def cell(page, row, time):
    return page.key("batch_grid").locator(f'button[data-row="{row}"][data-time="{time}"]')


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


def hand_in(page, name):
    page.key(f"submit-{name}").locator("button").click()


def verdict(page, kind, name):
    return page.key(f"verdict-{kind}-{name}")


def drawn(count, seed=0):
    """The sentences that stand in a batch after the first, as rows of tokens."""
    return [["<s>", *text.split(), "</s>"] for text in CORPUS.examples(48, seed)[: count - 1]]


def test_chips_shift_and_losses_are_those_of_the_sentence(visit, model):
    page = visit("tokens").trained()
    strips = page.strips("token_chips")
    assert [chip[0] for chip in strips["text"]] == SENTENCE
    assert [chip[1] for chip in strips["text"]] == [f"ω{t}".translate(LOWERED) for t in range(6)]
    assert [int(chip[0]) for chip in strips["id"]] == [TOKENS.index(token) for token in SENTENCE]

    rows = shift(page)
    assert [row[0] for row in rows] == SENTENCE[:-1]
    assert [row[1] for row in rows] == SENTENCE[1:]
    assert [(row[2], row[3]) for row in rows] == [
        (f"ω{t}".translate(LOWERED), f"ω{t + 1}".translate(LOWERED)) for t in range(5)
    ]
    losses = nats(model, SENTENCE)
    assert all(is_close(row[4], loss) for row, loss in zip(rows, losses, strict=True))
    expect(page.key("shift").locator("svg path")).to_have_count(4)  # all targets but the last are inputs too
    (said,) = [text for text in page.sentences() if text.startswith("6 tokens make 5 targets")]
    assert is_close(re.search(r"row is ([0-9.]+) nats", said)[1], sum(losses) / 5)


def test_a_token_that_is_chosen_is_chosen_everywhere_and_its_logits_are_the_decoders(visit, model):
    page = visit("tokens").trained()
    button = page.key("shift").locator('button[data-row="2"][data-side="1"]')
    button.click()
    expect(page.key("token_chips").locator('button[aria-pressed="true"]')).to_have_text("3")
    for side, row in (("1", 2), ("0", 3)):
        expect(page.key("shift").locator(f'button[data-row="{row}"][data-side="{side}"]')).to_have_attribute(
            "aria-pressed", "true"
        )
    expect(page.key("shift").locator("g.chosen")).to_have_count(1)
    row = logits(model, SENTENCE)[2]
    code = page.main.locator('[data-testid="stCode"]').first
    expect(code).to_contain_text("z₃[me]")
    total, logit = row.exp().sum().log().item(), row[TOKENS.index("me")].item()
    numbers = [line.strip("= ") for line in code.inner_text().splitlines()]
    assert is_close(numbers[1].split(" − ")[0], total)
    assert is_close(numbers[1].split(" − ")[1].strip("()"), logit)
    assert is_close(numbers[2].split()[0], total - logit)
    bars = page.key("target_logits").locator("svg text").all_text_contents()
    assert [TOKENS[token] for token in row.argsort(descending=True).tolist()[:4]] == [
        text for text in bars if text in TOKENS
    ][:4]

    page.key("token_chips").locator("button", has_text="5").click()  # and the other way round
    expect(page.key("shift").locator('button[data-row="4"][data-side="1"]')).to_have_attribute(
        "aria-pressed", "true"
    )
    expect(code).to_contain_text("z₅[</s>]")
    page.key("token_chips").locator(
        "button", has_text="5"
    ).click()  # what is told about it goes on being marked
    page.page.keyboard.press("Escape")
    expect(page.key("token_chips").locator('button[aria-pressed="true"]')).to_have_text("5")

    page.key("shift").locator('button[tabindex="0"]').focus()  # and by the keyboard alone
    for press in ("ArrowUp", "ArrowUp", "ArrowUp", "ArrowUp", "Enter"):
        page.page.keyboard.press(press)
    expect(page.key("token_chips").locator('button[aria-pressed="true"]')).to_have_text(
        page.key("shift").locator('button[tabindex="0"]').get_attribute("data-token")
    )


def pointed(page):
    """What is marked as pointed at: key -> tokens."""
    return {
        key: page.key(key).locator(".pointed bdi").all_text_contents()
        for key in ("token_chips", "shift", "batch_grid", "one_row")
    }


def test_pointing_at_a_token_marks_it_in_every_picture_and_a_click_chooses_it_there(visit):
    page = visit("tokens", rows=3, height=4000).trained()
    me = {"token_chips": ["me", "11"], "shift": ["me", "me"], "batch_grid": ["me"], "one_row": ["me", "me"]}
    nothing = {key: [] for key in me}
    heading = page.main.locator("h1")
    for part in (
        page.key("token_chips").locator("td[data-column='3'] .chip").first,
        page.key("shift").locator('button[data-row="2"][data-side="1"]'),
        cell(page, 0, 3),
        page.key("one_row").locator("bdi", has_text="me").first,  # as an input
        page.key("one_row").locator("bdi", has_text="me").last,  # as a target, one column further left
    ):
        part.hover()
        page.until(lambda: pointed(page) == me, f"me everywhere, not {pointed(page)}")
        heading.hover()
        page.until(lambda: pointed(page) == nothing, "nothing")
    cell(page, 1, 2).hover()  # of another row, which no other picture shows
    page.until(lambda: [*map(len, pointed(page).values())] == [0, 0, 1, 0], "one cell")
    heading.hover()

    page.key("token_chips").locator('button[tabindex="0"]').focus()  # and by the keyboard alone
    for press in ("ArrowRight", "ArrowRight"):
        page.page.keyboard.press(press)
    page.until(lambda: pointed(page) == me, "me everywhere")
    page.page.keyboard.press("Enter")
    expect(cell(page, 0, 3)).to_have_attribute("aria-pressed", "true")
    assert page.key("one_row").locator(".picked bdi").all_text_contents() == ["me", "me"]
    page.idle()
    cell(page, 0, 4).click()
    expect(page.key("token_chips").locator('button[aria-pressed="true"]')).to_have_text("4")
    expect(page.key("shift").locator('button[data-row="3"][data-side="1"]')).to_have_attribute(
        "aria-pressed", "true"
    )
    expect(page.key("one_row").locator(".picked bdi").first).to_have_text("GPT")
    page.idle()
    cell(page, 2, 1).click()
    expect(page.key("one_row").locator(".caption")).to_contain_text("Row 3.")
    page.idle()
    cell(page, 2, 2).hover()
    page.until(lambda: [*map(len, pointed(page).values())] == [0, 0, 1, 2], "this row, below and above")
    expect(page.key("token_chips").locator('button[aria-pressed="true"]')).to_have_text(
        "4"
    )  # the sentence keeps its own


def test_without_a_mask_all_inputs_are_marked_as_read(visit, trainings):
    unmasked = trainings.model(preset("ibm", causal=False))
    page = visit("tokens", mode="no mask").trained()
    expect(page.key("shift").locator("button.seen")).to_have_count(5)
    expect(page.key("target_reading")).to_contain_text("reads all 5 inputs, the target among them")
    alone = math.exp(-nats(unmasked, ["<s>", "IBM"])[0])
    said = re.search(
        r"From <s> alone the decoder gives it ([0-9.]+) %", page.key("what_targets").inner_text()
    )
    assert float(said[1]) == pytest.approx(100 * alone, rel=0.06)


def test_the_caption_of_a_table_breaks_into_lines_on_a_phone(visit):
    page = visit("tokens", width=390, height=900, count_pads="true").trained()
    page.key("one_row numbers").locator("summary").click()
    frame, caption = (
        page.key("one_row sheet").locator(".scroll"),
        page.key("one_row sheet").locator("caption span"),
    )
    expect(caption).to_be_visible()
    caption.evaluate(
        "element => { element.textContent = 'as long a caption as a table has ever had '.repeat(3); }"
    )
    scrolls = frame.evaluate(
        "element => { element.querySelector('td').textContent = 'x'.repeat(99); return element.scrollWidth; }"
    )
    assert scrolls > frame.bounding_box()["width"]
    frame.evaluate("element => { element.scrollLeft = 200; }")
    box, text = frame.bounding_box(), caption.bounding_box()
    assert box["x"] - 1 <= text["x"]
    assert text["x"] + text["width"] <= box["x"] + box["width"] + 1


def test_what_can_be_scrolled_to_is_told_by_a_fading_edge(visit):
    page = visit("tokens", width=390, height=900).trained()
    page.key("batch_grid numbers").locator("summary").click()
    faded = "element => ['--left', '--right'].map(side => parseFloat(getComputedStyle(element).getPropertyValue(side)) || 0)"
    for key, left in (("batch_grid", 0), ("batch_grid sheet", 2.5)):  # the grid's first column stays in sight
        frame = page.key(key).locator(".scroll")
        expect(frame).to_be_visible()
        for place, edges in ((0, [0, 2.5]), (40, [left, 2.5]), (9_999, [left, 0])):
            frame.evaluate("(element, left) => { element.scrollLeft = left; }", place)
            page.until(lambda: frame.evaluate(faded) == edges, f"{edges} at {place} of {key}")  # noqa: B023
    page.page.set_viewport_size({"width": 1400, "height": 900})
    for key in ("batch_grid", "batch_grid sheet"):
        frame = page.key(key).locator(".scroll")
        page.until(lambda: frame.evaluate("element => element.scrollWidth === element.clientWidth"), "room")  # noqa: B023
        assert frame.evaluate(faded)[1] == 0


def test_start_and_end_token_add_a_target_each(visit, model):
    page = visit("tokens").trained()
    for key, tokens in (("with_start", SENTENCE[1:]), ("with_end", SENTENCE[1:-1])):
        page.key(key).locator("label").first.click()
        page.until(lambda: [row[1] for row in shift(page)] == tokens[1:], f"the targets {tokens[1:]}")  # noqa: B023
        losses = nats(model, tokens)
        page.until(
            lambda: all(is_close(row[4], loss) for row, loss in zip(shift(page), losses, strict=True)),  # noqa: B023
            "their losses",
        )
    assert {"with_start=false", "with_end=false"} <= set(page.address.split("?")[1].split("&"))


def test_the_batch_is_padded_and_counting_the_padding_only_looks_better(visit, model):
    page = visit("tokens", rows=3, shuffle=1).trained()
    rows = [SENTENCE, *drawn(3, seed=1)]
    width = max(map(len, rows))
    losses = [nats(model, row) for row in rows]
    found = grid(page)
    assert list(found) == [f"ω⁽{str(n).translate(RAISED)}⁾" for n in (1, 2, 3)]
    for cells, row, costs in zip(found.values(), rows, losses, strict=True):
        assert [text for text, _, _ in cells] == [*row, *["<pad>"] * (width - len(row))]
        assert all(is_close(note, cost) for (_, note, _), cost in zip(cells[1:], costs, strict=False))
        assert [kind for _, _, kind in cells[len(row) :]] == ["empty"] * (width - len(row))
    real, cells = sum(map(len, losses)), 3 * (width - 1)
    total = sum(map(sum, losses))
    metrics = page.main.locator('[data-testid="stMetricValue"]')
    assert is_close(metrics.nth(0).inner_text(), total / real)
    assert metrics.nth(1).inner_text() == "…"
    page.key("count_pads").locator("label").first.click()
    page.until(lambda: metrics.nth(1).inner_text() != "…", "the mean with the padding")
    assert is_close(metrics.nth(0).inner_text(), total / real)
    assert is_close(metrics.nth(1).inner_text(), total / cells)
    page.until(
        lambda: all(note == "0" and kind == "empty counted" for row in grid(page).values()
                    for text, note, kind in row if text == "<pad>"),
        "pads that are counted",
    )  # fmt: skip


def test_a_changed_token_in_another_row_changes_nothing_here(visit, model):
    page = visit("tokens", rows=3, shuffle=1).trained()
    cell(page, 2, 1).click()
    expect(page.key("what_cell")).to_contain_text("ω⁽³⁾₁")
    page.idle()
    pick(page, "new token of ibm", f"{TOKENS.index('NASA')} NASA")
    rows = [SENTENCE, *drawn(3, seed=1)]
    width = max(map(len, rows))
    ids = torch.tensor(
        [[TOKENS.index(token) for token in [*row, *["<pad>"] * (width - len(row))]] for row in rows]
    )
    changed = ids[:, :-1].clone()
    changed[0, 1] = TOKENS.index("NASA")  # row 1 is the first other row, its token 1 the one that is offered
    with torch.no_grad():
        expected = (model(changed) - model(ids[:, :-1])).abs().amax(dim=(1, 2)).tolist()
    table = page.key("changes").locator("tbody tr")
    expect(table).to_have_count(3)
    found = [row.locator("td").nth(2).text_content() for row in table.all()]
    assert found[1:] == ["0", "0"]
    assert expected[1:] == [0, 0]
    assert is_close(found[0], expected[0])
    expect(page.key("what_change")).to_contain_text("exactly 0 in row 3")


def test_checks_say_why_and_take_the_right_answer(visit, model):
    page = visit("tokens", rows=2, shuffle=1, lengths="very different").trained()
    page.choose("answer-c1-0", "taught")
    hand_in(page, "c1-0")
    expect(verdict(page, "wrong", "c1-0")).to_contain_text("stands at t = 2")
    page.choose("answer-c1-0", "me")
    hand_in(page, "c1-0")
    expect(verdict(page, "right", "c1-0")).to_contain_text("the 4th token")
    page.key("reveal-c1-1").locator("button").click()
    expect(verdict(page, "shown", "c1-1")).to_contain_text("“GPT”")

    asked = ["<s>", *CORPUS.examples(1, seed=917)[0].split(), "</s>"][:6]
    page.type("answer-c9-0", " ".join(asked[:-1]))  # Enter hands it in
    expect(verdict(page, "wrong", "c9-0")).to_contain_text("These are the inputs themselves")
    page.type("answer-c9-0", " ".join(asked[1:]))
    expect(verdict(page, "right", "c9-0")).to_be_visible()

    page.type("answer-c10-0", "4")
    expect(verdict(page, "wrong", "c10-0")).to_contain_text("number of tokens")
    page.type("answer-c10-0", "3")
    expect(verdict(page, "right", "c10-0")).to_be_visible()

    cell(page, 1, 2).click()
    expect(page.key("what_cell")).to_contain_text("ω⁽²⁾₂")
    page.idle()
    hand_in(page, "c12-0")
    expect(verdict(page, "wrong", "c12-0")).to_contain_text("time starts at 0")
    cell(page, 1, 2).press("ArrowRight")
    page.page.keyboard.press("Enter")
    expect(page.key("what_cell")).to_contain_text("ω⁽²⁾₃")
    page.idle()
    hand_in(page, "c12-0")
    expect(verdict(page, "right", "c12-0")).to_be_visible()

    pads = [text for row in grid(page).values() for text, _, _ in row].count("<pad>")
    assert pads == 4
    expect(page.key("check-c11")).to_contain_text("the short row “IBM taught” joins this batch")
    longest = max(len(row) for row in grid(page).values()) - 1
    page.type("answer-c11-0", str(pads + longest - 3))  # its own targets: IBM, taught and </s>
    expect(verdict(page, "right", "c11-0")).to_contain_text(f"{pads + longest - 3} pads")
    losses = [
        loss for row in grid(page).values() for loss in nats(model, [t for t, _, _ in row if t != "<pad>"])
    ]
    page.type("answer-c11-1", f"{sum(losses) / 14:.2f}")
    expect(verdict(page, "wrong", "c11-1")).to_contain_text("the honest mean")
    page.type("answer-c11-1", f"{sum(losses) / 18:.2f}")
    expect(verdict(page, "right", "c11-1")).to_be_visible()
    page.type("answer-c14-0", "0")
    expect(verdict(page, "right", "c14-0")).to_contain_text("by 0.")


def test_numbers_and_pictures_can_be_taken_away(visit, model):
    page = visit("tokens").trained()
    page.key("target_logits numbers").locator("summary").click()
    row = logits(model, SENTENCE)[0]
    with page.page.expect_download() as download:
        page.key("target_logits-csv download").locator("button").click()
    with open(download.value.path(), encoding="utf-8-sig", newline="") as file:  # noqa: PTH123
        head, *lines = csv.reader(io.StringIO(file.read()))
    assert head == ["id", "token", "logit", "probability"]
    assert [line[1] for line in lines] == list(TOKENS)
    assert [float(line[2]) for line in lines] == pytest.approx(row.tolist(), abs=1e-4)
    assert math.fsum(float(line[3]) for line in lines) == pytest.approx(1)
    for kind, start in (("svg", b"<svg"), ("png", b"\x89PNG")):
        with page.page.expect_download() as download:
            page.key(f"target_logits-{kind} download").locator("button").click()
        assert download.value.suggested_filename == f"target_logits.{kind}"
        with open(download.value.path(), "rb") as file:  # noqa: PTH123
            assert file.read().startswith(start)
    expect(page.key("target_logits sheet").locator("tbody tr")).to_have_count(len(TOKENS))


def test_a_link_carries_sentence_and_notation_and_words_are_explained_in_place(visit):
    page = visit("tokens", sentence="NASA showed us gravity", notation="plain names").trained()
    assert [chip[:2] for chip in page.strips("token_chips")["text"]][1] == ("NASA", "token 1")
    assert next(iter(grid(page))) == "row 1"
    words = page.key("glossary").get_by_role("button")
    words.filter(has_text=re.compile("^padding$")).click()
    explained = page.key("glossary").locator("p")
    expect(explained).to_have_text(TERMS["padding"])
    page.page.keyboard.press("Escape")
    expect(explained).to_have_count(0)
    for term in ("loss", "token"):  # by the keyboard; one at a time
        word = words.filter(has_text=re.compile(f"^{term}$"))
        word.press("Enter")
        expect(explained).to_have_text(TERMS[term])
        expect(word).to_have_attribute("aria-expanded", "true")
    page.type("sentence", "origami")
    expect(page.refusal).to_contain_text("origami")
    page.choose("corpus", "story")
    expect(page.refusal).to_have_count(0)
    expect(page.key("sentence").locator("input")).to_have_value(load_corpus("story").examples(1)[0])
