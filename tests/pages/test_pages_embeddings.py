"""The page of embeddings and positions without a browser: what it says is what the library computes, on every kind of text."""

import dataclasses
import json
import random

import pytest
import torch
from reading_pages import (
    SYMBOL,
    pictures_and_numbers,
    recorded,
    sent,
    terms_in,
    terms_offered,
    words_of,
)
from streamlit.testing.v1 import AppTest

from decoder import Decoder, TextSource, load_corpus, open_corpus
from decoder.training.presets import preset
from pages.ui import session, strip
from pages.ui.session import Exploration, Snapshot

TEXT = " ".join(random.Random(8).choices(["red", "old", "quiet", "boat", "train"], k=300))
MANY = " ".join(f"word{number}" for number in range(150)) * 3
IBM = load_corpus("ibm")
TOKENS = IBM.tokenizer.tokens
SENTENCE = ["<s>", "IBM", "taught", "me", "GPT"]


@pytest.fixture
def visit(monkeypatch):
    """Open the page over an untrained decoder: its numbers need no training to be right."""
    tables = recorded(monkeypatch)

    def open_page(
        corpus="ibm", text=None, level="word", state=None, positions="learned", causal=True, **query
    ):
        source = TextSource(text, level) if text else corpus
        config = preset(source, size="small", positions=positions, causal=causal)
        model = Decoder(config.decoder, seed=1)
        explored = Exploration(config, "run", open_corpus(config.corpus, config.decoder.context_length))
        monkeypatch.setattr(session, "explore", lambda: explored)
        monkeypatch.setattr(strip, "show", lambda _: Snapshot(model, 0))
        at = AppTest.from_file("../../app.py", default_timeout=60)
        for key, value in query.items():
            at.query_params[key] = value
        for key, value in (state or {}).items():
            at.session_state[key] = value
        at.switch_page("pages/lecture/embeddings.py")
        at.run()
        assert not at.exception
        at.model, at.tables = model, tables
        return at

    return open_page


def said(at):
    return [text.value for text in at.text]


def told(at, begin):
    (sentence,) = [text for text in said(at) if text.startswith(begin)]
    return sentence


def pictures(at):
    """What the pictures of vectors were given, from top to bottom."""
    sent = [json.loads(component.proto.json) for component in at.get("bidi_component")]
    return [data for data in sent if "reach" in data]


def rows_of(picture):
    return [row["values"] for row in picture["rows"]]


def ids(*tokens):
    return [TOKENS.index(token) for token in tokens]


def near(found, expected):
    return [row == pytest.approx(other, abs=1e-6) for row, other in zip(found, expected, strict=True)] == [
        True for _ in expected
    ]


def test_every_picture_shows_rows_of_the_two_tables(visit):
    at = visit(rows="3", shuffle="0")
    rows = [[*SENTENCE, "</s>"], *(["<s>", *row.split(), "</s>"] for row in IBM.examples(48, seed=0)[:2])]
    length = max(map(len, rows)) - 1
    rows = [row[:length] for row in rows]  # what is not filled up
    chosen = next(  # the first token that stands at another time as well
        word
        for row in rows
        for t, word in enumerate(row)
        if t and any(word in one[:t] + one[t + 1 :] for one in rows)
    )
    table, places = at.model.token_table.weight.tolist(), at.model.position_table.tolist()
    cell, looked_up, whole, total = pictures(at)
    assert near(rows_of(cell), [table[ids(chosen)[0]]] * 2)
    with torch.no_grad():
        logits = at.model(torch.tensor([ids(*SENTENCE[:3])]))[0, -1].tolist()
    predicted = logits.index(max(logits))
    assert near(rows_of(looked_up), [table[ids("taught")[0]], table[predicted]])
    assert near(rows_of(whole), table)
    assert [row["name"] for row in whole["rows"]] == list(TOKENS)
    assert {row["name"] for row in whole["rows"] if row["marked"]} == set(SENTENCE)
    assert whole["selected"] == predicted
    x, p = table[ids("taught")[0]], places[2]
    assert near(rows_of(total), [x, p, [a + b for a, b in zip(x, p, strict=True)]])
    reach = max(max(map(abs, row)) for row in table)
    assert [cell["reach"], looked_up["reach"], whole["reach"]] == pytest.approx([reach] * 3)


def test_the_shape_is_counted(visit):
    at = visit(rows="3", shuffle="1")
    length = max(len(row.split()) for row in ("IBM taught me GPT", *IBM.examples(48, seed=1)[:2])) + 1
    assert [metric.value for metric in at.metric] == [f"{3 * length}", f"{3 * length * 32:,}"]
    assert f"3 rows of {length} tokens are {3 * length} ids" in told(at, "3 rows")


def test_the_last_token_of_a_row_that_is_filled_up_is_said_not_to_count(visit):
    at = visit(rows="3", shuffle="0")
    rows = [["<s>", *row.split(), "</s>"] for row in ("IBM taught me GPT", *IBM.examples(48, seed=0)[:2])]
    longest = max(map(len, rows))
    filled = next(n for n, row in enumerate(rows, 1) if len(row) < longest)
    sentence = told(at, f"Row {filled} has {len(rows[filled - 1])} tokens and is filled up with <pad>.")
    assert "“</s>”, is an input here too, but its target is a pad" in sentence
    assert not [text for text in said(visit("alphabet")) if "filled up" in text]  # all rows are equally long
    assert not [text for text in said(visit(text=TEXT)) if "filled up" in text]


@pytest.mark.parametrize("sentence", ["IBM", "IBM taught me GPT", "me"])
def test_the_cell_that_is_chosen_at_first_is_an_input_whose_target_counts(visit, sentence):
    chosen = sent(visit(sentence=sentence), "ids")["selected"]
    rows = [["<s>", *row.split(), "</s>"] for row in (sentence, *IBM.examples(48, seed=0)[:3])]
    assert chosen[1] < len(rows[chosen[0]]) - 1


@pytest.mark.parametrize("causal", [True, False])
def test_what_a_question_about_layers_takes_for_granted_is_said_where_it_is_asked(visit, causal):
    sentence = told(visit(causal=causal), "A question about layers looks ahead")
    assert ("itself and those before it (page Causal mask)" in sentence) == causal
    assert ("all tokens (page Causal mask)" in sentence) != causal
    alone = visit(sentence="IBM")  # no other order, no such question
    assert not [text for text in said(alone) if "about layers" in text or "One layer" in text]


def test_a_token_that_the_visitor_picks_is_fed_back_instead(visit):
    at = visit(state={"table": {"chosen": {"place": ids("chess"), "turn": 1}}})
    looked_up = pictures(at)[1]
    assert near(rows_of(looked_up)[1:], at.model.token_table.weight[ids("chess")].tolist())
    assert "You have picked “chess” in its place." in told(at, "After “<s> IBM taught”")
    assert "bit by bit" in told(at, "After “<s> IBM taught”")


def test_the_same_token_at_two_places_differs_by_its_positions(visit):
    at = visit()
    at.selectbox(key="same token but at 2 of 5").set_value(4).run()
    assert not at.exception
    places = at.model.position_table
    apart = (places[2] - places[4]).abs().max().item()
    assert f"x exactly 0, position vector p {apart:.4g}, sum x + p {apart:.4g}" in told(at, "At t = 2")
    assert len(rows_of(pictures(at)[3])) == 6


@pytest.mark.parametrize("layers", [1, 2])
def test_the_probe_says_what_shuffling_changes(visit, layers):
    at = visit(layers=str(layers))
    assert not [text for text in said(at) if "the logits after the last token change by" in text]
    at.button(key="shuffle_order").click().run()
    sentence = told(at, f"{layers} layer")
    assert ("cannot tell the two orders apart" in sentence) == (layers == 1)
    assert ("mask gives order away" in sentence) == (layers == 2)


def test_every_check_can_be_answered_with_computed_numbers(visit):
    at = visit(rows="3", shuffle="1")
    answers = {
        "c13-0": 16 * 9 * 32,
        "c13-1": "yes, exactly",
        "c3-0": 35,
        "c3-1": "35 logits, one per token",
        "c8-0": "p and x + p",
        "c8-1": "no, at most by rounding",
        "c8-2": "yes",
    }
    for name, answer in answers.items():
        field = at.selectbox if isinstance(answer, str) else at.number_input
        field(key=f"answer-{name}").set_value(answer)
        at.button(key=f"submit-{name}").click().run()
    assert not at.exception
    assert [text[:7] for text in said(at) if text.startswith(("✓", "✗"))] == ["✓ Right"] * 7


def test_without_positions_nothing_tells_equal_tokens_apart(visit):
    at = visit(positions="none")
    assert "p is 0 everywhere" in told(at, "This decoder has no positions")
    at.selectbox(key="same token but at 2 of 5").set_value(4).run()
    assert any("Nothing tells the two apart" in text for text in said(at))
    at.selectbox(key="answer-c8-0").set_value("none of them")
    at.button(key="submit-c8-0").click().run()
    assert told(at, "✓ Right")


@pytest.mark.parametrize("level", ["word", "char", "bpe"])
def test_a_text_without_special_tokens_has_its_page_too(visit, level):
    at = visit(text=TEXT, level=level)
    assert not [text for text in said(at) if text.startswith("⚠")]
    assert len(pictures(at)) == 4


def test_of_a_large_vocabulary_the_rows_that_matter_are_shown(visit):
    at = visit(text=MANY)
    whole = pictures(at)[2]
    assert len(whole["rows"]) == 96
    assert any(row["marked"] for row in whole["rows"])
    assert whole["selected"] is not None
    assert any(caption.value.startswith("96 of its 1") for caption in at.caption)


@pytest.mark.parametrize("corpus", ["alphabet", "recall", "reverse", "ibm-long", "story", "count"])
def test_every_corpus_has_its_page(visit, corpus):
    at = visit(corpus)
    assert not [text for text in said(at) if text.startswith("⚠")]
    assert len(pictures(at)) == 4


@pytest.mark.parametrize("sentence", ["", "IBM taught me origami"])
def test_what_cannot_be_read_is_refused_in_one_sentence(visit, sentence):
    at = visit()
    at.text_input(key="sentence").set_value(sentence).run()
    assert len([text for text in said(at) if text.startswith("⚠")]) == 1
    at.text_input(key="sentence").set_value("IBM taught me GPT").run()
    assert not [text for text in said(at) if text.startswith("⚠")]
    assert not at.exception


def test_a_short_sentence_has_no_other_order_and_says_so(visit):
    at = visit(sentence="IBM")
    assert "no other order" in told(at, "⚠")
    assert pictures(at)


def test_a_sentence_longer_than_the_context_is_cut_and_says_so(visit):
    at = visit(sentence=" ".join(["IBM taught me GPT"] * 4))
    assert told(at, "The sentence has 18 tokens. This decoder reads the first 9.")


def test_plain_names_take_the_place_of_symbols(visit):
    names = visit(notation="plain names", state={"shuffles": 1})
    assert [text for text in words_of(names) if SYMBOL.search(text)] == []
    assert any(
        "Which of its embedding, its position vector and their sum would differ" in text
        for text in said(names)
    )
    assert "so the prediction for t = 3 is the id" in told(names, "After “<s> IBM taught”")
    assert "it becomes the predicted embedding for t = 3, and" in told(names, "After “<s> IBM taught”")
    names.selectbox(key="answer-c8-0").set_value("position vector and sum")
    names.button(key="submit-c8-0").click().run()
    assert told(names, "✓ Right")
    for level in ("none", "sinusoidal"):
        other = visit(notation="plain names", positions=level)
        assert [text for text in words_of(other) if SYMBOL.search(text)] == []
    assert [text for text in words_of(visit()) if SYMBOL.search(text)]
    assert [row["name"] for row in pictures(names)[3]["rows"]] == [
        "embedding 2",
        "position vector 2",
        "embedding 2 + position vector 2",
    ]


# ---- what the numbers are


def rows_under(at, key):
    table, _ = at.tables[key]
    return table.rows


def test_the_tables_are_those_of_the_library(visit):
    at = visit(rows="2", shuffle="1", state={"shuffles": 1})
    pair = [[*SENTENCE, "</s>"], ["<s>", *IBM.examples(48, seed=1)[0].split(), "</s>"]]
    length = max(map(len, pair)) - 1
    grid = [[*row, *["<pad>"] * length][:length] for row in pair]
    assert rows_under(at, "ids") == [
        [n, t, token, TOKENS.index(token)] for n, row in enumerate(grid, 1) for t, token in enumerate(row)
    ]
    table, places = at.model.token_table.weight.tolist(), at.model.position_table.tolist()
    cell, *_ = pictures(at)
    own, twin = rows_of(cell)
    assert rows_under(at, "cell_vector") == expected_pairs(own, twin)
    x, p = table[ids("taught")[0]], places[2]
    assert rows_under(at, "sum") == [
        [k, pytest.approx(a), pytest.approx(b), pytest.approx(a + b, abs=1e-7)]
        for k, (a, b) in enumerate(zip(x, p, strict=True), 1)
    ]
    assert rows_under(at, "position_at") == [[t, token, *ids(token)] for t, token in enumerate(SENTENCE)]
    with torch.no_grad():
        logits = [at.model(torch.tensor([ids(*SENTENCE[:end])]))[0, -1] for end in range(1, 6)]
    after = [int(row.argmax()) for row in logits]
    assert rows_under(at, "read_to") == [
        [t, SENTENCE[t], TOKENS[after[t]], after[t], [*SENTENCE, "</s>"][t + 1]] for t in range(5)
    ]
    assert rows_under(at, "looked_up") == expected_pairs(x, table[after[2]])
    assert rows_under(at, "embedding_table") == [[k, TOKENS[k], *row] for k, row in enumerate(table)]
    assert TOKENS[after[2]] in told(at, "After “<s> IBM taught” the largest of 35 logits")


def expected_pairs(one, other):
    return [
        [k, pytest.approx(a, abs=1e-6), pytest.approx(b, abs=1e-6)]
        for k, (a, b) in enumerate(zip(one, other, strict=True), 1)
    ]


def test_the_two_orders_and_their_logits_are_those_of_the_library(visit):
    at = visit(layers="2", state={"shuffles": 1})
    strips = {
        strip["name"]: [chip["text"] for chip in strip["chips"]] for strip in sent(at, "orders")["strips"]
    }
    typed, shuffled = strips["as typed"], strips["shuffled"]
    assert (typed, sorted(shuffled), shuffled[-1]) == (SENTENCE, sorted(SENTENCE), "GPT")
    assert rows_under(at, "orders") == [
        [t, a, *ids(a), b, *ids(b)] for t, (a, b) in enumerate(zip(typed, shuffled, strict=True))
    ]
    blind = Decoder(dataclasses.replace(at.model.config, n_layers=2, positions="none"), seed=0)
    with torch.no_grad():
        before, after = (blind(torch.tensor([ids(*tokens)]))[0, -1].tolist() for tokens in (typed, shuffled))
    assert rows_under(at, "order_logits") == [
        [k, token, pytest.approx(before[k], abs=1e-5), pytest.approx(after[k], abs=1e-5)]
        for k, token in enumerate(TOKENS)
    ]


def test_without_a_mask_a_prediction_reads_nothing_behind_its_prefix(visit):
    at = visit(causal=False, positions="sinusoidal")
    with torch.no_grad():
        alone = [int(at.model(torch.tensor([ids(*SENTENCE[:end])]))[0, -1].argmax()) for end in range(1, 6)]
        at_once = at.model(torch.tensor([ids(*SENTENCE)]))[0].argmax(dim=1).tolist()
    assert alone != at_once
    assert [row[3] for row in rows_under(at, "read_to")] == alone
    assert [chip["text"] for chip in sent(at, "read_to")["strips"][1]["chips"]] == [
        TOKENS[token] for token in alone
    ]
    assert f"that of “{TOKENS[alone[2]]}”" in told(at, "After “<s> IBM taught”")
    assert any("This decoder has no causal mask" in caption.value for caption in at.caption)
    assert not any("mask" in caption.value for caption in visit().caption)


# ---- what every picture has


def test_numbers_and_code_stand_under_every_picture(visit):
    at = visit(state={"shuffles": 1})
    found = [each for each in pictures_and_numbers(at) if each != ("numbers", "order_logits")]
    shown = [key for kind, key in found if kind == "picture"]
    assert shown == ["ids", "cell_vector", "read_to", "looked_up", "table", "position_at", "sum", "orders"]
    named = {"table": "embedding_table"}
    assert found == [
        (kind, named.get(key, key) if kind == "numbers" else key)
        for key in shown
        for kind in ("picture", "numbers")
    ]
    assert [key for key, (_, code) in at.tables.items() if not 1 <= len(code) <= 2] == []
    at.session_state["looked_up numbers"] = True
    at.run()
    assert any("def feed_back(model: Decoder" in code.value for code in at.code)


def test_every_word_of_the_glossary_is_explained_where_it_is_used(visit):
    for corpus, causal in (("ibm", True), ("reverse", False)):
        at = visit(corpus, causal=causal, state={"shuffles": 1}, layers="2")
        assert terms_in(words_of(at)) - terms_offered(at) == set()
    assert {"layer", "causal mask", "prediction", "loss", "floor"} <= terms_offered(at)


def test_the_page_says_where_the_lecture_says_it_differently(visit):
    at = visit()
    row, position = [
        caption.value for caption in at.caption if "Where the lecture says it differently" in caption.value
    ]
    assert "index of the largest logit" in row
    assert "x̂ is the row of the table with that index" in row
    assert "appended as the next input, not added" in row
    assert "“added at each step”" in position
    assert "added once, to the embedding at its own position" in position
