"""The page of embeddings and positions without a browser: what it says is what the library computes, on every kind of text."""

import json
import random

import pytest
import torch
from streamlit.testing.v1 import AppTest

from decoder import Decoder, TextSource, load_corpus, open_corpus
from decoder.training.presets import preset
from pages.ui import glossary, session, strip
from pages.ui.session import Exploration, Snapshot

TEXT = " ".join(random.Random(8).choices(["red", "old", "quiet", "boat", "train"], k=300))
MANY = " ".join(f"word{number}" for number in range(150)) * 3
IBM = load_corpus("ibm")
TOKENS = IBM.tokenizer.tokens
SENTENCE = ["<s>", "IBM", "taught", "me", "GPT"]


@pytest.fixture
def visit(monkeypatch):
    """Open the page over an untrained decoder: its numbers need no training to be right."""

    def open_page(corpus="ibm", text=None, level="word", positions="learned", state=None, **query):
        config = preset(TextSource(text, level) if text else corpus, size="small", positions=positions)
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
        at.model = model
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
    at = visit(rows="2", shuffle="1")
    pair = [[*SENTENCE, "</s>"], ["<s>", *IBM.examples(48, seed=1)[0].split(), "</s>"]]
    length = max(map(len, pair)) - 1
    own, other = ([*row, *["<pad>"] * length][:length] for row in pair)
    chosen = next(
        (token for at, token in enumerate(own) if at and token in own[:at] + own[at + 1 :] + other), "<s>"
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
        "c8-1": "no, only by rounding",
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
    names = visit(notation="plain names")
    page = [text for text in said(names) if text not in glossary.TERMS.values()]
    assert not any("ω" in text for text in page)
    assert [row["name"] for row in pictures(names)[3]["rows"]] == [
        "embedding 2",
        "position vector 2",
        "embedding 2 + position vector 2",
    ]
