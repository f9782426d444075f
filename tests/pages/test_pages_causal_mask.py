"""The page of the causal mask without a browser: its sentences, tables and checks are recomputed from the decoder here."""

import json
import math
import random
import re

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

from decoder import Decoder, TextSource, load_corpus, open_corpus
from decoder.runs import EvaluationRow
from decoder.training.presets import preset
from pages.ui import glossary, mask_questions, session, strip
from pages.ui.session import Exploration, Snapshot

TEXT = " ".join(random.Random(8).choices(["red", "old", "quiet", "boat", "train"], k=300))
TOKENS = load_corpus("ibm").tokenizer.tokens
SENTENCE = ["<s>", "IBM", "taught", "me", "GPT"]
IDS = torch.tensor([[TOKENS.index(token) for token in SENTENCE]])
T = len(SENTENCE)


@pytest.fixture
def visit(monkeypatch):
    """Open the page over an untrained decoder: its numbers need no training to be right."""

    def open_page(corpus="ibm", level=None, *, causal=True, size="small", state=None, **query):
        source = TextSource(TEXT, level) if level else corpus
        config = preset(source, size=size, causal=causal)
        model = Decoder(config.decoder, seed=1)
        explored = Exploration(config, "run", open_corpus(config.corpus, config.decoder.context_length))
        monkeypatch.setattr(session, "explore", lambda: explored)
        monkeypatch.setattr(strip, "show", lambda _: Snapshot(model, 0))
        at = AppTest.from_file("../../app.py", default_timeout=60)
        for key, value in query.items():
            at.query_params[key] = value
        for key, value in (state or {}).items():
            at.session_state[key] = value
        at.switch_page("pages/lecture/causal_mask.py")
        at.run()
        assert not at.exception
        at.model = model
        return at

    return open_page


def said(at):
    return [text.value for text in at.text]


def sent(at, view="matrices", at_place=0):
    """What the matrices of the page are given, in the order of the page."""
    found = [json.loads(component.proto.json) for component in at.get("bidi_component")]
    return [data for data in found if data.get("view") == view][at_place]


def head_scores(model, mask, layer=0, head=0):
    with torch.no_grad():
        block = model.trace(IDS, mask=mask).blocks[layer]
    query, key = (stage[0, head].double().numpy() for stage in (block.query, block.key))
    return query @ key.T / math.sqrt(query.shape[1])


def lower(T=T):
    return torch.ones(T, T, dtype=torch.bool).tril()


def softmax(rows):
    powers = np.exp(rows - rows.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def numbers(panel):
    return np.array([[math.nan if value is None else value for value in row] for row in panel["values"]])


def test_the_four_matrices_are_those_of_the_decoder(visit):
    at = visit()
    panels = sent(at)["panels"]
    assert [panel["title"] for panel in panels] == ["scores", "masked scores", "exp", "weights"]
    scores = head_scores(at.model, lower())
    future = ~lower().numpy()
    np.testing.assert_allclose(numbers(panels[0]), scores, rtol=1e-4, atol=1e-6)
    masked = np.where(future, -np.inf, scores)
    for panel, expected in zip(panels[2:], (np.exp(masked), softmax(masked)), strict=True):
        assert (np.isnan(numbers(panel)) == future).all()
        np.testing.assert_allclose(np.nan_to_num(numbers(panel)), expected, rtol=1e-4)
        np.testing.assert_allclose(panel["row_sums"], expected.sum(axis=1), rtol=1e-4)


def test_the_walk_names_inputs_and_the_most_likely_token_of_every_row(visit):
    at = visit()
    lines = sent(at)["walk"]
    with torch.no_grad():
        logits = at.model(IDS)[0].double().numpy()
    shares = softmax(logits)
    inputs = (
        "x₀ alone predicts",
        "x₀ and x₁ predict",
        "x₀, x₁ and x₂ predict",
        "x₀ … x₃ predict",
        "x₀ … x₄ predict",
    )
    for row, (line, start) in enumerate(zip(lines, inputs, strict=True)):
        assert line.startswith(f"{start} ω{'₁₂₃₄₅'[row]}: “{TOKENS[shares[row].argmax()]}” is most likely")
        if row + 1 < T:
            told = re.search(rf"“{SENTENCE[row + 1]}”, which really follows, gets ([0-9.]+) %", line)
            assert float(told[1]) == pytest.approx(100 * shares[row, IDS[0, row + 1]], rel=0.05)


def test_an_edited_mask_holds_in_the_whole_decoder(visit):
    at = visit(state={f"edits of {T} True": [(1, 3), (2, 0)]})
    mask = lower()
    mask[1, 3], mask[2, 0] = True, False
    scores = head_scores(at.model, mask)
    expected = softmax(np.where(mask.numpy(), scores, -np.inf))
    np.testing.assert_allclose(np.nan_to_num(numbers(sent(at)["panels"][3])), expected, rtol=1e-4)
    assert any("1 cell of the future is open and 1 cell of the past" in text for text in said(at))
    with torch.no_grad():
        logits = at.model.trace(IDS, mask=mask).logits[0].double().numpy()
    for line, row in zip(sent(at)["walk"], softmax(logits), strict=True):
        assert f"“{TOKENS[row.argmax()]}” is most likely" in line
    assert sent(at)["walk"][2].startswith("x₁ and x₂ predict ω₃")
    at.button(key="reset").click().run()
    assert not at.exception
    assert any("10 of them, those above the diagonal" in text for text in said(at))


def test_the_wrong_ways_are_measured_on_the_same_scores(visit):
    at = visit(way="× 0 after the softmax")
    scores = head_scores(at.model, lower())
    weights = softmax(scores) * lower().numpy()
    wrong = sent(at, at_place=1)["panels"]
    assert [panel["title"] for panel in wrong] == ["masked scores", "exp", "weights"]
    np.testing.assert_allclose(np.nan_to_num(numbers(wrong[2])), weights, rtol=1e-4)
    (sentence,) = [text for text in said(at) if "instead of 1" in text]
    sums = weights.sum(axis=1)
    assert f"{sums.min():.3f} … {sums.max():.3f}" in sentence
    sheets = [json.loads(component.proto.json) for component in at.get("bidi_component")]
    (table,) = [data for data in sheets if data.get("title") == "what each way lets through"]
    rows = {row[0]: row[1:] for row in table["rows"]}
    assert rows["−∞, as it should be"] == ["0", "1", "1", "0"]
    open_share = softmax(scores)[~lower().numpy()].sum() / T
    assert float(rows["no mask"][0]) == pytest.approx(open_share, rel=1e-3)
    assert float(rows["0 before the softmax"][0]) == pytest.approx(
        softmax(np.where(lower().numpy(), scores, 0))[~lower().numpy()].sum() / T, rel=1e-3
    )


def test_a_finite_number_leaks_as_much_as_it_says(visit):
    at = visit(way="a finite number", finite="−1")
    weights = softmax(np.where(lower().numpy(), head_scores(at.model, lower()), -1.0))
    share = 100 * weights[~lower().numpy()].sum() / T
    assert any(f"e^−1 is 0.3679, not 0: {share:.0f} % of all weight" in text for text in said(at))


def test_the_probe_says_who_moved(visit):
    at = visit()
    new = TOKENS.index("NASA")
    at.selectbox(key="probing token of ibm").set_value(new).run()
    changed = IDS.clone()
    changed[0, 3] = new
    moved = []
    for mask in (lower(), torch.ones(T, T, dtype=torch.bool)):
        with torch.no_grad():
            after, before = (at.model.trace(ids, mask=mask).logits[0].numpy() for ids in (changed, IDS))
        moved.append(np.abs(after - before).max(axis=1))
    (sentence,) = [text for text in said(at) if "is replaced by “NASA”" in text]
    assert (moved[0][:3] == 0).all()
    assert f"change by exactly 0, those from position 3 on by up to {moved[0].max():.4g}" in sentence
    assert sentence.endswith(f"by up to {moved[1][:3].max():.4g}.")


def test_passes_are_counted_compared_and_measured_again(visit):
    at = visit()
    labels = {metric.label: metric.value for metric in at.metric}
    assert list(labels) == ["5 passes over prefixes", "one masked pass", "greatest difference of a logit"]
    assert (
        labels["greatest difference of a logit"] == "0" or "10⁻" in labels["greatest difference of a logit"]
    )
    first = at.session_state["passes"]
    at.run()
    assert at.session_state["passes"] is first
    at.button(key="measure").click().run()
    assert at.session_state["passes"] is not first
    assert not at.exception


def test_every_check_can_be_answered_with_computed_numbers(visit):
    at = visit()
    answers = {
        "c23-0": 6 * 5 // 2,
        "c23-1": "no",
        "c27-0": "x₀, x₁ and x₂",
        "c25-0": 1.0,
        "c25-1": 0.5,
        "c25-2": round(100 * math.exp(-1) / (1 + math.exp(-1)), 1),
        "c24-0": "those at 3 and 4",
        "c24-1": "those at 0 … 4",
        "c28-0": mask_questions.DIFFERENCES[0],
        "c28-1": mask_questions.DIFFERENCES[1],
        "c29-0": "ω₅",
    }
    for name, answer in answers.items():
        field = at.selectbox if isinstance(answer, str) else at.number_input
        field(key=f"answer-{name}").set_value(answer)
        at.button(key=f"submit-{name}").click().run()
    assert not at.exception
    assert [text[:7] for text in said(at) if text.startswith(("✓", "✗"))] == ["✓ Right"] * len(answers)


@pytest.mark.parametrize(
    ("name", "answer", "hint"),
    [
        ("c23-0", 21, "stay open"),
        ("c23-0", 18, "the diagonal stays open"),
        ("c23-0", 7, "add them up"),
        ("c23-1", "yes", "both are the same position"),
        ("c27-0", "x₂", "the earlier ones take part too"),
        ("c27-0", "x₀ … x₃", "is ω₃ itself"),
        ("c27-0", "x₀ … x₄", "ω₃ itself would be among the inputs"),
        ("c25-0", 0.2, "one open cell only"),
        ("c25-1", 0.25, "without the mask"),
        ("c25-2", 36.8, "still has to be divided"),
        ("c25-2", 13.4, "one of the two closed cells"),
        ("c24-0", "that at 3", "may look back"),
        ("c24-0", "those at 0 … 4", "may not look ahead"),
        ("c24-1", "those at 3 and 4", "looks at all others"),
        ("c28-0", mask_questions.DIFFERENCES[1], "in its own prefix"),
        ("c29-0", "ω₁", "is also an input"),
    ],
)
def test_a_wrong_answer_is_told_why(visit, name, answer, hint):
    at = visit()
    field = at.selectbox if isinstance(answer, str) else at.number_input
    field(key=f"answer-{name}").set_value(answer)
    at.button(key=f"submit-{name}").click().run()
    (verdict,) = [text for text in said(at) if text.startswith("✗")]
    assert hint in verdict


@pytest.mark.parametrize(
    ("masked", "unmasked", "right"), [(0.9, 0.0, "the one with the mask"), (0.1, 0.3, "the one without")]
)
def test_which_decoder_writes_better_is_decided_by_what_was_measured(masked, unmasked, right):
    rows = [
        EvaluationRow(200, loss, 1.0, (loss,), share, None)
        for loss, share in ((1.03, masked), (0.004, unmasked))
    ]
    question = mask_questions.which_writes_better(*rows)
    assert question.right == right
    assert "1.03 with the mask and 0.004 without" in question.reason
    assert question.text == mask_questions.which_writes_better(None, rows[0]).text


def test_who_writes_better_is_asked_before_it_is_known_and_not_judged_before(visit):
    at = visit()
    at.selectbox(key="answer-c29-1").set_value("the one without")
    for button in ("submit", "reveal"):
        at.button(key=f"{button}-c29-1").click().run()
        assert "Keep your answer: it can be judged when both are trained, below." in said(at)
        assert not any(text.startswith(("✓", "✗", "The answer")) for text in said(at))


def test_the_questions_about_the_passes_stand_before_what_was_measured(visit):
    at = visit()
    texts = said(at)
    asked = next(place for place, text in enumerate(texts) if "by how much do the logits" in text)
    told = next(place for place, text in enumerate(texts) if "passes over growing prefixes" in text)
    assert asked < told


@pytest.mark.parametrize("level", ["word", "char", "bpe"])
def test_a_text_of_ones_own_is_looked_at_in_the_same_way(visit, level):
    at = visit(level=level)
    assert len(sent(at)["panels"]) == 4
    assert at.number_input(key="answer-c23-0")


def test_a_link_opens_the_head_the_cell_and_the_sentence_that_it_names(visit):
    at = visit(size="standard", sentence="NASA showed us gravity", layer=1, head=1, row=3, column=1)
    matrices = sent(at)
    assert matrices["rows"] == ["0 <s>", "1 NASA", "2 showed", "3 us", "4 gravity"]
    assert matrices["selected"] == [3, 3, 1]
    assert sent(at, "thumbnails")["selected"] == [1, 1]
    assert any(text.startswith("Layer 1, head 1:") for text in said(at))
    with torch.no_grad():
        block = at.model.trace(torch.tensor([[TOKENS.index(t[2:]) for t in matrices["rows"]]])).blocks[1]
    (code,) = [block.value for block in at.code if block.value.startswith("weight(3, 1)")]
    assert float(code.split("= ")[-1]) == pytest.approx(block.attention.weights[0, 1, 3, 1].item(), rel=1e-3)


def test_a_link_carries_the_edits_of_the_mask_and_follows_them(visit):
    at = visit(edits="1.3,2.0")
    assert any("1 cell of the future is open and 1 cell of the past" in text for text in said(at))
    assert "1.3,2.0" in at.query_params["edits"]
    at.toggle(key="masked").set_value(False).run()  # of the other mask there are none
    assert any("all of them are open" in text for text in said(at))
    assert "edits" not in at.query_params
    at.toggle(key="masked").set_value(True).run()
    assert "1.3,2.0" in at.query_params["edits"]
    at.button(key="reset").click().run()
    assert "edits" not in at.query_params


@pytest.mark.parametrize(
    "wrong", ["x", "1", "1.9", "1.3,1.3", "0.0", "1.2.3", "-1.2", "<b>", "1.2;2.3", "9" * 5000]
)
def test_wrong_edits_in_a_link_are_left_aside(visit, wrong):
    at = visit(edits=wrong)
    assert any("10 of them, those above the diagonal" in text for text in said(at))
    assert "edits" not in at.query_params


@pytest.mark.parametrize(
    "wrong", [{"layer": 7, "head": "x", "row": 99, "column": 99}, {"layer": "<b>", "head": -1, "row": -1}]
)
def test_a_wrong_link_falls_back_to_the_first_head_and_cell(visit, wrong):
    at = visit(**wrong)
    assert sent(at)["selected"] == [3, 2, 0]
    assert sent(at, "thumbnails")["selected"] == [0, 0]


def test_one_token_alone_has_no_future_and_breaks_nothing(visit):
    at = visit(state={"sentence": ""})
    assert any("A single token has no future" in text for text in said(at))
    assert any("1 token makes 1 pair" in text for text in said(at))
    at.button(key="reveal-c24-0").click().run()
    (verdict,) = [text for text in said(at) if text.startswith("The answer")]
    assert re.search(r"greatest change [0-9.]+ from there on\.$", verdict)
    assert sent(at)["walk"][0].startswith("x₀ alone predicts ω₁")
    at.selectbox(key="probing token of ibm").set_value(5).run()
    assert not at.exception


def test_a_decoder_that_was_trained_without_the_mask_is_shown_as_it_was_trained(visit):
    at = visit(causal=False)
    assert any("trained without the mask" in text and "all of them are open" in text for text in said(at))
    assert all(value is not None for row in sent(at)["panels"][3]["values"] for value in row)


def test_plain_names_take_the_place_of_symbols(visit):
    at = visit(notation="plain names")
    page = [text for text in said(at) if text not in glossary.TERMS.values()]
    assert not any(symbol in text for text in [*page, *sent(at)["walk"]] for symbol in ("ω", "x₀", "z₁"))
    assert sent(at)["walk"][0].startswith("embedding 0 alone predicts token 1")
