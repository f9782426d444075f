"""The page of attention without a browser: its pictures, sentences and checks are recomputed from the decoder here."""

import json
import math
import random

import numpy as np
import pyarrow as pa
import pytest
import torch
from streamlit.testing.v1 import AppTest

from decoder import Decoder, TextSource, load_corpus, open_corpus
from decoder.training.presets import preset
from pages.ui import head_history, session, strip
from pages.ui.session import Exploration, Snapshot

TEXT = " ".join(random.Random(8).choices(["red", "old", "quiet", "boat", "train"], k=300))
TOKENS = load_corpus("ibm").tokenizer.tokens
SENTENCE = ["<s>", "IBM", "taught", "me", "GPT"]
LABELS = [f"{at} {token}" for at, token in enumerate(SENTENCE)]
IDS = torch.tensor([[TOKENS.index(token) for token in SENTENCE]])
T = len(SENTENCE)
KEPT = (0, 20, 40)


class KeptDecoders:
    """A store that has kept a few decoders; which is which is told by their seeds."""

    def __init__(self, config):
        self.models = {step: Decoder(config.decoder, seed=step + 1) for step in KEPT}

    def snapshots(self, _run_id):
        return KEPT

    def model(self, _run_id, step):
        return self.models[step], step


@pytest.fixture
def visit(monkeypatch):
    """Open the page over an untrained decoder: its numbers need no training to be right."""

    def open_page(corpus="ibm", level=None, *, causal=True, size="standard", state=None, **query):
        source = TextSource(TEXT, level) if level else corpus
        config = preset(source, size=size, causal=causal)
        kept = KeptDecoders(config)
        model = kept.models[KEPT[-1]]
        explored = Exploration(config, "run", open_corpus(config.corpus, config.decoder.context_length))
        monkeypatch.setattr(session, "explore", lambda: explored)
        monkeypatch.setattr(strip, "show", lambda _: Snapshot(model, KEPT[-1]))
        monkeypatch.setattr(Exploration, "planned_snapshots", [*KEPT])
        monkeypatch.setattr(session, "store", lambda: kept)
        head_history._weights.clear()
        at = AppTest.from_file("../../app.py", default_timeout=60)
        for key, value in query.items():
            at.query_params[key] = str(value)
        for key, value in (state or {}).items():
            at.session_state[key] = value
        at.switch_page("pages/lecture/attention.py")
        at.run()
        assert not at.exception
        at.model, at.kept = model, kept
        return at

    return open_page


def said(at):
    return " ".join(text.value for text in at.text)


def sent(at):
    return [json.loads(component.proto.json) for component in at.get("bidi_component")]


def strips(at, title):
    """Rows of a picture of vectors: name -> numbers."""
    (data,) = [data for data in sent(at) if str(data.get("title", "")).startswith(title)]
    return {row["name"]: row["values"] for row in data["rows"]}


def charts(at):
    """The tables of every chart, by their names."""
    return [
        {
            table.name: pa.ipc.open_stream(table.data.data).read_all().to_pylist()
            for table in chart.proto.datasets
        }
        for chart in at.get("vega_lite_chart")
    ]


def table(at, title):
    (data,) = [data for data in sent(at) if "numeric" in data and data["title"].startswith(title)]
    return data["rows"]


def traced(model, ids=IDS):
    with torch.no_grad():
        return model.trace(ids)


def weights_of(model, layer, head, ids=IDS):
    """From queries and keys, without the library's softmax."""
    block = traced(model, ids).blocks[layer]
    query, key = (stage[0, head].double().numpy() for stage in (block.query, block.key))
    scores = query @ key.T / math.sqrt(query.shape[1])
    powers = np.tril(np.exp(scores))
    return powers / powers.sum(axis=1, keepdims=True)


def test_a_link_opens_its_layer_head_and_row(visit):
    at = visit(layer=1, head=3, row=2)
    assert (at.selectbox(key="layer").value, at.selectbox(key="head").value) == (1, 3)
    assert at.slider(key="row").value == 2
    arcs = charts(at)[0]
    expected = weights_of(at.model, 1, 3)[2]
    assert [row["masked"] for row in arcs["rows"]] == [False, False, False, True, True]
    np.testing.assert_allclose([row["weight"] for row in arcs["rows"]], expected, rtol=1e-4)
    assert "In layer 1, head 3, token 2 taught looks most at" in said(at)
    (matrix,) = [data for data in sent(at) if data.get("view") == "matrices"]
    shown = [[0 if value is None else value for value in row] for row in matrix["panels"][0]["values"]]
    np.testing.assert_allclose(shown, weights_of(at.model, 1, 3), rtol=1e-4)
    assert matrix["selected"][:2] == [0, 2]
    assert [3, 1] in matrix["marks"]
    (thumbnails,) = [data for data in sent(at) if data.get("view") == "thumbnails"]
    assert thumbnails["selected"] == [1, 3]


@pytest.mark.parametrize(
    "wrong", [{"layer": 7, "head": "x", "row": 99}, {"layer": -1, "head": "<b>", "row": -3}]
)
def test_a_wrong_link_falls_back_to_the_first_head_and_the_row_that_looks_back_farthest(visit, wrong):
    at = visit(**wrong)
    assert (at.selectbox(key="layer").value, at.selectbox(key="head").value) == (0, 0)
    assert at.slider(key="row").value == 3  # “me”, after which the subject decides


def test_a_choice_that_a_shorter_sentence_or_smaller_decoder_has_not_got_is_let_go(visit):
    at = visit(layer=1, head=3, row=4)
    at.text_input(key="sentence").set_value("NASA").run()
    assert not at.exception
    assert at.slider(key="row").value <= 1
    at.text_input(key="sentence").set_value("").run()
    assert not at.exception
    assert "0 <s> looks most at 0 <s>" in said(at)
    at = visit(size="small", state={"layer": 1, "head": 3, "row": 8})
    assert (at.selectbox(key="layer").value, at.selectbox(key="head").value) == (0, 0)


def test_parts_add_up_to_the_output_of_the_head(visit):
    at = visit(layer=1, head=2, row=3)
    values = traced(at.model).blocks[1].value[0, 2].double().numpy()
    weights = weights_of(at.model, 1, 2)[3]
    drawn = strips(at, "Values times weights")
    assert list(drawn) == [*(f"{weights[j]:.3f} · v{'₀₁₂₃'[j]}" for j in range(4)), "= o₃"]
    for j, numbers in enumerate(list(drawn.values())[:4]):
        np.testing.assert_allclose(numbers, weights[j] * values[j], rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(drawn["= o₃"], weights @ values, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(drawn["= o₃"], np.sum(list(drawn.values())[:4], axis=0), atol=1e-5)


def test_of_a_long_row_the_rest_is_added_up_in_one_strip(visit):
    at = visit(corpus="story", row=17)
    drawn = strips(at, "Values times weights")
    assert len(drawn) == 8
    rest = next(name for name in drawn if "more" in name)
    assert rest.startswith("+ 12 more, weight ")
    shares = [float(name.split(" ")[0]) for name in drawn if "·" in name]
    assert math.fsum([*shares, float(rest.split(" ")[-1])]) == pytest.approx(1, abs=5e-3)
    *parts, total = drawn.values()
    np.testing.assert_allclose(np.sum(parts, axis=0), total, atol=1e-5)


@pytest.mark.parametrize("layer", [0, 1])
def test_the_way_through_a_block_is_recomputed_from_its_weights(visit, layer):
    at = visit(layer=layer, row=2)
    path = strips(at, "One token on its way through one block")
    trace, block = traced(at.model), at.model.blocks[layer]
    given = (
        trace.blocks[layer - 1].output
        if layer
        else trace.token_embeddings + at.model.position_table[:T].detach()
    )[0, 2].double().numpy()  # fmt: skip
    joined = np.concatenate(
        [
            weights_of(at.model, layer, head)[2] @ trace.blocks[layer].value[0, head].double().numpy()
            for head in range(4)
        ]
    )
    projection = block.attention_projection
    attention = (
        projection.weight.detach().double().numpy() @ joined + projection.bias.detach().double().numpy()
    )
    for name, expected in (
        ("input", given),
        ("heads joined", joined),
        ("attention output", attention),
        ("input + attention", given + attention),
        ("block output", given + attention + np.array(path["MLP output"])),
    ):
        np.testing.assert_allclose(path[name], expected, atol=2e-5, err_msg=name)
    assert ("final norm" in path) == (layer == 1)


def test_grey_boxes_and_red_rows_are_h_and_z(visit):
    at = visit()
    trace = traced(at.model)
    grey, red = strips(at, "The vectors of all positions after 2"), strips(at, "The logits of all positions")
    assert list(grey) == ["h₁", "h₂", "h₃", "h₄", "h₅"]
    assert list(red) == ["z₁", "z₂", "z₃", "z₄", "z₅"]
    np.testing.assert_allclose(list(grey.values()), trace.contextual_embeddings[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(list(red.values()), trace.logits[0], rtol=1e-5, atol=1e-6)
    assert "h is 5 × 64 = 320 numbers" in said(at)
    assert "z is 5 × 35 = 175" in said(at)
    shares = trace.logits[0].double().softmax(dim=-1)
    rows = table(at, "how far each block moves")
    for t, row in enumerate(rows):
        best = int(shares[t].argmax())
        assert row[3] == TOKENS[best]
        assert float(row[4]) == pytest.approx(shares[t, best].item(), rel=1e-3)
        moved = trace.blocks[1].output[0, t] - trace.blocks[0].output[0, t]
        assert float(row[2]) == pytest.approx(moved.norm().item(), rel=1e-3)
    colors = [data["color"] for data in sent(at) if "reach" in data and data["color"]]
    assert colors == ["#8A8A8A", "#D55E00"]


def test_before_the_last_block_the_logits_are_called_a_look_inside(visit):
    at = visit()
    assert not any("logit lens" in caption.value for caption in at.caption)
    at = visit(boxes_of_2="after 1 of 2")
    assert any("logit lens" in caption.value for caption in at.caption)
    given = traced(at.model).blocks[0].output[0]
    expected = at.model.output(at.model.final_norm(given)).detach()
    np.testing.assert_allclose(list(strips(at, "The logits of all").values()), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(list(strips(at, "The vectors of all").values()), given, rtol=1e-5, atol=1e-6)


def test_entropies_and_received_weights_are_those_of_the_head(visit):
    at = visit(layer=1, head=1, row=3)
    weights = weights_of(at.model, 1, 1)
    entropies = [-math.fsum(w * math.log(w) for w in weights[row, : row + 1]) for row in range(T)]
    received = [weights[key:, key].mean() for key in range(T)]
    bars, got = charts(at)[1], charts(at)[2]
    assert [row["position"] for row in bars["bars"]] == LABELS
    np.testing.assert_allclose([row["loss"] for row in bars["bars"]], entropies, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose([row["loss"] for row in bars["ghosts"]], np.log(range(2, T + 1)), rtol=1e-9)
    even = [np.mean([1 / (row + 1) for row in range(key, T)]) for key in range(T)]
    np.testing.assert_allclose([row["loss"] for row in got["bars"]], received, rtol=1e-4)
    np.testing.assert_allclose([row["loss"] for row in got["ghosts"]], even, rtol=1e-6)
    most = int(np.argmax(np.subtract(received, even)))
    assert f"most at {LABELS[most]}" in said(at)
    assert "ln 4 = 1.386" in said(at)
    rows = table(at, "every head")
    assert len(rows) == 8
    assert float(rows[5][2]) == pytest.approx(np.mean(entropies), rel=1e-3)
    assert rows[5][3] == LABELS[most]
    assert float(rows[5][5]) == pytest.approx(even[most], rel=1e-3)


def test_the_curves_are_the_weights_of_the_kept_decoders(visit):
    at = visit(corpus="story", row=17, layer=0)
    corpus = load_corpus("story")
    ids = torch.tensor([[corpus.tokenizer.bos, *corpus.tokenizer.encode(corpus.examples(1)[0])]])
    data = charts(at)[3]
    assert data["playhead"] == [{"step": 40}]
    for row in data["curves"]:
        expected = weights_of(at.kept.models[row["step"]], 0, row["head"], ids)[17, 5]
        assert row["weight"] == pytest.approx(expected, rel=1e-3)
    assert "not yet" in said(at)
    assert "5 Isaac tells what has to follow" in said(at)
    assert f"puts {weights_of(at.model, 0, 0, ids)[17, 5]:.4g} of its weight there" in said(at)


def test_a_row_without_a_needed_token_says_so_and_leads_to_one_that_has(visit):
    at = visit(corpus="story", row=7)
    assert "no token is needed" in said(at)
    assert len(charts(at)) == 3
    at.button(key="needed_row").click().run()
    assert at.slider(key="row").value == 17
    assert len(charts(at)) == 4


def test_the_strongest_head_can_be_shown(visit):
    at = visit(corpus="story", row=17, layer=1)
    strongest = max(range(4), key=lambda head: charts(at)[3]["names"][head]["weight"])
    if strongest:
        at.button(key="strongest_head").click().run()
    assert (at.selectbox(key="layer").value, at.selectbox(key="head").value) == (1, strongest)


@pytest.mark.parametrize("level", ["word", "char", "bpe"])
def test_a_text_of_ones_own_has_no_needed_token(visit, level):
    at = visit(level=level)
    assert "has no grammar" in said(at)
    assert len(charts(at)) == 3


@pytest.mark.parametrize("corpus", ["alphabet", "count", "recall", "reverse", "ibm-long"])
def test_every_corpus_has_its_page(visit, corpus):
    at = visit(corpus=corpus, size="small")
    assert not at.exception
    assert "tell" in said(at)


def answer(at, concept, number, value):
    field = f"answer-{concept}-{number}"
    (at.number_input if isinstance(value, float | int) else at.selectbox)(key=field).set_value(value)
    at.button(key=f"submit-{concept}-{number}").click().run()
    assert not at.exception
    return [text.value for text in at.text if text.value[:1] in {"✓", "✗"}][-1]


def test_the_checks_judge_by_what_was_computed(visit):
    at = visit()
    assert answer(at, "c26", 0, 3.0).startswith("✓ Right. 0.5 · 2 + 0.3 · 0 + 0.2 · 10 = 3.")
    assert answer(at, "c26", 1, "exactly the first value, v₀").startswith("✓")
    assert answer(at, "c26", 2, "more than 0").startswith("✗")
    at = visit()
    assert answer(at, "c16", 0, 6 * 64).startswith("✗ Not yet. 384 is h")
    assert answer(at, "c16", 0, 6 * 35).startswith("✓")
    assert answer(at, "c16", 1, "z, the logits").startswith("✓")


def test_without_the_mask_the_checks_have_other_answers(visit):
    at = visit(causal=False)
    assert answer(at, "c26", 1, "something else").startswith("✓")
    assert answer(at, "c26", 2, "more than 0").startswith("✓")
    assert "ln 5 = 1.609" in said(at)
