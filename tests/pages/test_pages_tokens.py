"""The page of tokens and targets without a browser: what it says is what the library computes, on every kind of text."""

import random

import pytest
import torch
from streamlit.testing.v1 import AppTest

from decoder import Decoder, TextSource, load_corpus, open_corpus
from decoder.training.presets import preset
from pages.ui import glossary, session, strip
from pages.ui.session import Exploration, Snapshot

TEXT = " ".join(random.Random(8).choices(["red", "old", "quiet", "boat", "train"], k=300))
IBM = load_corpus("ibm")
TOKENS = IBM.tokenizer.tokens


@pytest.fixture
def visit(monkeypatch):
    """Open the page over an untrained decoder: its numbers need no training to be right."""

    def open_page(corpus="ibm", level=None, **query):
        source = TextSource(TEXT, level) if level else corpus
        config = preset(source, size="small")
        model = Decoder(config.decoder, seed=1)
        explored = Exploration(config, "run", open_corpus(config.corpus, config.decoder.context_length))
        monkeypatch.setattr(session, "explore", lambda: explored)
        monkeypatch.setattr(strip, "show", lambda _: Snapshot(model, 0))
        at = AppTest.from_file("../../app.py", default_timeout=60)
        for key, value in query.items():
            at.query_params[key] = value
        at.switch_page("pages/lecture/tokens.py")
        at.run()
        assert not at.exception
        at.model = model
        return at

    return open_page


def said(at):
    return [text.value for text in at.text]


def nats(model, tokens):
    """-ln p of every token but the first, from logits and logarithms alone."""
    ids = torch.tensor([[TOKENS.index(token) for token in tokens]])
    with torch.no_grad():
        logits = model(ids[:, :-1])[0].double()
    return [
        (row.exp().sum().log() - row[token]).item() for row, token in zip(logits, ids[0, 1:], strict=True)
    ]


def test_the_row_of_the_reference_sentence_has_five_targets_and_their_mean_loss(visit):
    at = visit()
    losses = nats(at.model, ["<s>", "IBM", "taught", "me", "GPT", "</s>"])
    (sentence,) = [text for text in said(at) if "targets: every token but the first" in text]
    assert sentence.startswith("6 tokens make 5 targets")
    assert f"{sum(losses) / 5:.4g} nats" in sentence


@pytest.mark.parametrize(
    ("start", "end", "tokens", "targets"),
    [("true", "false", 5, 4), ("false", "true", 5, 4), ("false", "false", 4, 3)],
)
def test_the_switches_take_targets_away(visit, start, end, tokens, targets):
    at = visit(with_start=start, with_end=end)
    assert any(text.startswith(f"{tokens} tokens make {targets} targets") for text in said(at))
    assert any("never predicted" in text for text in said(at)) == (start == "false")
    assert any("no reason ever to stop" in text for text in said(at)) == (end == "false")


def test_counting_the_padding_divides_the_same_sum_by_more_cells(visit):
    at = visit(count_pads="true", rows="3", shuffle="5")
    rows = ["IBM taught me GPT", *IBM.examples(48, seed=5)[:2]]
    losses = [nats(at.model, ["<s>", *row.split(), "</s>"]) for row in rows]
    total, real = sum(map(sum, losses)), sum(map(len, losses))
    cells = 3 * max(map(len, losses))
    labels = {metric.label: metric.value for metric in at.metric}
    assert labels == {
        f"pads left out: sum / {real}": f"{total / real:.4g}",
        f"pads counted: sum / {cells}": f"{total / cells:.4g}",
    }


@pytest.mark.parametrize("level", ["word", "char", "bpe"])
def test_a_text_without_special_tokens_has_its_page_too(visit, level):
    at = visit(level=level)
    assert not [toggle for toggle in at.toggle if toggle.key in {"with_start", "with_end"}]
    assert any("no padding token" in text for text in said(at))
    assert not [text for text in said(at) if text.startswith("⚠")]
    page = [text for text in said(at) if text not in glossary.TERMS.values()]
    assert not any("padding?" in text or "a pad costs" in text or "<s>" in text for text in page)
    noun = {"word": "word", "char": "character", "bpe": "token"}[level]
    assert f"Type one more {noun}: how many targets would the sentence have then?" in said(at)
    (told,) = {text.split(" tokens make ")[0] for text in said(at) if " tokens make " in text}
    at.number_input(key="answer-c10-0").set_value(int(told))
    at.button(key="submit-c10-0").click().run()
    assert any(text.startswith("✓ Right.") for text in said(at))


@pytest.mark.parametrize("corpus", ["alphabet", "recall", "reverse", "ibm-long", "story", "count"])
def test_every_corpus_has_its_page(visit, corpus):
    at = visit(corpus)
    assert not [text for text in said(at) if text.startswith("⚠")]
    assert len(at.expander) > 3  # drawn to its end


@pytest.mark.parametrize("sentence", ["", "IBM taught me origami"])
def test_what_cannot_be_read_is_refused_in_one_sentence(visit, sentence):
    at = visit(with_start="false")
    at.text_input(key="sentence").set_value(sentence).run()
    assert len([text for text in said(at) if text.startswith("⚠")]) == 1
    at.text_input(key="sentence").set_value("IBM taught me GPT").run()
    assert not [text for text in said(at) if text.startswith("⚠")]
    assert not at.exception


def test_a_sentence_longer_than_the_context_is_cut_and_says_so(visit):
    at = visit(sentence=" ".join(["IBM taught me GPT"] * 4))
    assert any(
        "18 tokens. This decoder reads 9 and predicts one more: the first 10" in text for text in said(at)
    )


def test_another_sentence_of_the_corpus_is_one_of_it(visit):
    at = visit()
    at.button(key="another").click().run()
    words = at.text_input(key="sentence").value.split()
    ids = [TOKENS.index(word) for word in words]
    assert IBM.valid([IBM.tokenizer.bos, *ids, IBM.tokenizer.eos])


def test_every_check_can_be_answered_with_computed_numbers(visit):
    at = visit(rows="3", shuffle="5")
    rows = [["<s>", *row.split(), "</s>"] for row in ("IBM taught me GPT", *IBM.examples(48, seed=5)[:2])]
    losses = [nats(at.model, row) for row in rows]
    real, cells = sum(map(len, losses)), 3 * max(map(len, losses))
    asked = IBM.examples(1, seed=917)[0].split()
    shown = ["<s>", *asked, "</s>"][:6]
    answers = {
        "c1-0": "me",
        "c1-1": "GPT",
        "c9-0": " ".join(shown[1:]),
        "c10-0": 3,
        "c11-0": cells + cells // 3 - real - len(["IBM", "taught", "</s>"]),  # with a short row more
        "c11-1": round(sum(map(sum, losses)) / cells, 2),
        "c14-0": 0.0,
    }
    for name, answer in answers.items():
        field = (
            at.number_input
            if not isinstance(answer, str)
            else at.text_input
            if name == "c9-0"
            else at.selectbox
        )
        field(key=f"answer-{name}").set_value(answer)
        at.button(key=f"submit-{name}").click().run()
    assert not at.exception
    assert [text[:7] for text in said(at) if text.startswith(("✓", "✗"))] == ["✓ Right"] * 7


@pytest.mark.parametrize(
    ("name", "answer", "hint"),
    [
        ("c1-0", "taught", "stands at t = 2"),
        ("c1-1", "me", "switching it moves every word by 1 place"),
        ("c10-0", 4, "would be the number of tokens"),
        ("c10-0", 5, "as the switches stand now"),
    ],
)
def test_a_wrong_answer_is_told_why(visit, name, answer, hint):
    at = visit()
    field = at.selectbox if isinstance(answer, str) else at.number_input
    field(key=f"answer-{name}").set_value(answer)
    at.button(key=f"submit-{name}").click().run()
    (verdict,) = [text for text in said(at) if text.startswith("✗")]
    assert hint in verdict


def test_plain_names_take_the_place_of_symbols(visit):
    symbols, names = visit(), visit(notation="plain names")
    assert any("Which token is ω₃?" in text for text in said(symbols))
    assert any("Which token stands at t = 3?" in text for text in said(names))
    page = [text for text in said(names) if text not in glossary.TERMS.values()]
    assert not any("ω" in text for text in page)
