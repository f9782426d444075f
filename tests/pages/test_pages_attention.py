"""The page of attention without a browser: its pictures, sentences and checks are recomputed from the decoder here."""

import inspect
import itertools
import json
import math
import random
import re

import numpy as np
import pyarrow as pa
import pytest
import streamlit as st
import torch
from reading_pages import pictures_and_numbers, recorded, terms_in, terms_offered, words_of
from streamlit.testing.v1 import AppTest

from decoder import Decoder, TextSource, load_corpus, open_corpus
from decoder.training.presets import preset
from pages.ui import glossary, head_history, session, strip
from pages.ui.session import Exploration, Snapshot

TEXT = " ".join(random.Random(8).choices(["red", "old", "quiet", "boat", "train"], k=300))
TOKENS = load_corpus("ibm").tokenizer.tokens
SENTENCE = ["<s>", "IBM", "taught", "me", "GPT"]
LABELS = [f"{at} {token}" for at, token in enumerate(SENTENCE)]
IDS = torch.tensor([[TOKENS.index(token) for token in SENTENCE]])
T = len(SENTENCE)
KEPT = (0, 20, 40)
# One of the lecture's letters, with an index or alone as a word.
SYMBOL = re.compile("(?<!\\w)[xhzωvqkop]\u0302?[₀-₉ₜᵢⱼ]*(?!\\w)")
SIZE = re.compile(r"\b[TdV]\b")  # as in "T = 5, d = 64 and V = 35"


class KeptDecoders:
    """A store that has kept a few decoders; which is which is told by their seeds."""

    def __init__(self, config):
        self.models = {step: Decoder(config.decoder, seed=step + 1) for step in KEPT}

    def snapshots(self, _run_id):
        return KEPT

    def model(self, _run_id, step):
        return self.models[step], step

    def watch(self, _run_id, _viewer):
        pass


@pytest.fixture
def visit(monkeypatch):
    """Open the page over an untrained decoder: its numbers need no training to be right."""

    def open_page(corpus="ibm", level=None, *, causal=True, size="standard", state=None, **query):
        source = TextSource(TEXT, level) if level else corpus
        config = preset(source, size=size, causal=causal)
        kept = KeptDecoders(config)
        for each in kept.models.values():
            each.requires_grad_(requires_grad=False)  # they are only looked at
        model = kept.models[KEPT[-1]]
        explored = Exploration(config, "run", open_corpus(config.corpus, config.decoder.context_length))
        monkeypatch.setattr(session, "explore", lambda: explored)
        monkeypatch.setattr(strip, "show", lambda _: Snapshot(model, KEPT[-1]))
        monkeypatch.setattr(Exploration, "planned_snapshots", [*KEPT])
        monkeypatch.setattr(session, "store", lambda: kept)
        head_history._weights.clear()
        offered = recorded(monkeypatch)
        at = AppTest.from_file("../../app.py", default_timeout=60)
        for key, value in query.items():
            at.query_params[key] = str(value)
        for key, value in (state or {}).items():
            at.session_state[key] = value
        at.switch_page("pages/lecture/attention.py")
        at.run()
        assert not at.exception
        at.model, at.kept, at.offered = model, kept, offered
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


def rows_of(at, key):
    """The numbers below a picture, without the names in front."""
    return [[value for value in row if not isinstance(value, str)] for row in at.offered[key][0].rows]


def test_every_picture_is_followed_by_its_numbers_and_the_code_that_computes_them(visit):
    at = visit()
    found = pictures_and_numbers(at)
    pictures = [key for kind, key in found if kind == "picture"]
    assert pictures == [
        *(
            "attention_heads",
            "attention_matrix",
            "attention_row",
            "values",
            "parts",
            "stages",
            "grey_boxes",
            "red_rows",
        ),
        *("boxes", "entropies", "received", "every_head", "head_history"),
    ]
    for picture in pictures:
        assert found[found.index(("picture", picture)) + 1] == ("numbers", picture)
    for key, (table, code) in at.offered.items():
        assert table.rows, key
        assert code, key


def test_all_numbers_below_the_pictures_are_recomputed(visit):
    at = visit(layer=1, head=2, row=3)
    trace, weights = traced(at.model), weights_of(at.model, 1, 2)

    def shown(key):
        return np.array(rows_of(at, key), dtype=float)  # an empty cell is no number

    future = np.triu(np.ones((T, T), dtype=bool), 1)
    np.testing.assert_allclose(shown("attention_matrix"), np.where(future, np.nan, weights), rtol=1e-4)
    np.testing.assert_allclose(shown("attention_row")[:, 0], np.where(future, np.nan, weights)[3], rtol=1e-4)
    heads = shown("attention_heads")
    for at_head in range(8):
        layer, head = divmod(at_head, 4)
        lines = heads[at_head * T : at_head * T + T]
        assert (lines[:, :2] == (layer, head)).all()
        expected = np.where(future, np.nan, weights_of(at.model, layer, head))
        np.testing.assert_allclose(lines[:, 2:], expected, rtol=1e-4)

    values = trace.blocks[1].value[0, 2].double().numpy()
    np.testing.assert_allclose(shown("values"), values[:4], rtol=1e-6)
    parts = shown("parts")
    np.testing.assert_allclose(parts[:4, 0], weights[3, :4], rtol=1e-4)
    np.testing.assert_allclose(parts[:4, 1:], weights[3, :4, None] * values[:4], rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(parts[4, 1:], weights[3] @ values, rtol=1e-3, atol=1e-6)

    h, z = trace.contextual_embeddings[0].numpy(), trace.logits[0].numpy()
    block, norm = at.model.blocks[1], at.model.final_norm
    given = trace.blocks[0].output[0, 3]
    joined = torch.tensor(
        np.concatenate(
            [weights_of(at.model, 1, n)[3] @ trace.blocks[1].value[0, n].numpy() for n in range(4)]
        )
    )
    with torch.no_grad():
        attention = block.attention_projection(joined.float())
        mlp = block.mlp_out(torch.nn.functional.gelu(block.mlp_in(block.mlp_norm(given + attention))))
        path = [
            given,
            joined,
            attention,
            given + attention,
            mlp,
            given + attention + mlp,
            norm(trace.contextual_embeddings[0, 3]),
        ]
    stages = shown("stages")
    assert stages[:, 0].tolist() == list(range(1, 65))
    np.testing.assert_allclose(
        stages[:, 1:].T, np.array([stage.double().numpy() for stage in path]), atol=2e-5
    )

    np.testing.assert_allclose(shown("grey_boxes"), h, rtol=1e-6)
    np.testing.assert_allclose(shown("red_rows"), z, rtol=1e-6)
    shares = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    streams = [
        (trace.token_embeddings[0] + trace.position_embeddings).numpy(),
        trace.blocks[0].output[0].numpy(),
        h,
    ]
    moved = np.array(
        [np.sqrt(((after - before) ** 2).sum(axis=1)) for before, after in itertools.pairwise(streams)]
    )
    boxes = shown("boxes")
    np.testing.assert_allclose(boxes[:, :2], moved.T, rtol=1e-4)
    np.testing.assert_allclose(boxes[:, 2:], np.sort(shares, axis=1)[:, :-4:-1], rtol=1e-4)
    lengths = re.search(r"a length of ([0-9.]+) in block 0 and ([0-9.]+) in block 1", said(at)).groups()
    np.testing.assert_allclose([float(length) for length in lengths], moved.mean(axis=1), rtol=6e-4)

    entropies = np.array([-math.fsum(w * math.log(w) for w in weights[row, : row + 1]) for row in range(T)])
    np.testing.assert_allclose(
        shown("entropies"), np.transpose([entropies, range(1, T + 1)]), rtol=1e-4, atol=1e-7
    )
    first = [max(key, 1) for key in range(T)]  # row 0 has no choice
    got = [
        [weights[row:, key].mean(), np.mean([1 / (n + 1) for n in range(row, T)]), T - row]
        for key, row in enumerate(first)
    ]
    np.testing.assert_allclose(shown("received"), got, rtol=1e-4)


def test_differences_to_what_the_decoder_computed_are_those_of_the_sums(visit):
    at = visit(layer=0, head=1, row=3)
    block = traced(at.model).blocks[0]
    mixed = (block.attention.weights[0, 1, 3][:, None] * block.value[0, 1]).sum(dim=0)
    pairs = [(mixed, block.attention.context[0, 1, 3])]
    with torch.no_grad():
        pairs.append(
            (at.model.blocks[0].attention_projection(block.joined[0, 3]), block.attention_output[0, 3])
        )
    given = traced(at.model).token_embeddings[0] + traced(at.model).position_embeddings
    pairs.append(((given + block.attention_output[0] + block.mlp_output[0])[3], block.output[0, 3]))
    told = re.findall(
        r"differs from the decoder's by (exactly 0|at most [^,.]+[.][^,]+, which is rounding)", said(at)
    )
    assert len(told) == 3
    for words, (one, other) in zip(told, pairs, strict=True):
        difference = (one - other).abs().max().item()
        assert (words == "exactly 0") == (difference == 0)
        if difference:
            digits, power = re.match(r"at most ([0-9.]+)·10⁻(.)", words).groups()
            assert float(digits) * 10.0 ** -"⁰¹²³⁴⁵⁶⁷⁸⁹".index(power) == pytest.approx(difference, rel=6e-3)


@pytest.mark.parametrize("causal", [True, False])
def test_plain_names_take_the_place_of_symbols(visit, causal):
    at = visit(notation="plain names", causal=causal, row=3)
    for concept in ("c26-1", "c26-2", "c16-0", "c16-1", "c16-2"):
        at.button(key=f"reveal-{concept}").click().run()
    page = words_of(at) + [
        str(text)
        for table, _ in at.offered.values()
        for text in (table.title, *table.columns, *(row[0] for row in table.rows))
    ]
    assert [text for text in page if SYMBOL.search(text) or SIZE.search(text)] == []
    assert list(strips(at, "The vectors of all positions")) == LABELS, "called as everywhere on the page"
    assert list(strips(at, "The logits of all positions")) == LABELS
    assert "The answer: exactly the first value, value 0." in said(at) or not causal


def test_the_glossary_explains_the_words_of_the_page(visit):
    at = visit()
    assert terms_in(words_of(at)) - terms_offered(at) == set()
    assert terms_offered(at) <= set(glossary.TERMS)


def test_where_the_lecture_is_muddled_the_page_says_so(visit):
    (caption,) = [
        caption.value
        for caption in visit().caption
        if "Where the lecture says it differently" in caption.value
    ]
    assert "“the output denoted as h and z” and defines neither. This is our reading" in caption


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
    assert "token 0 <s> can look only at itself, with a weight of 1." in said(at)
    assert "The row of 0 <s> has one open place and so no choice: its entropy is 0." in said(at)
    assert not re.search("looks most|in the mean|all 1 |[0-9] 1 open", said(at))
    assert not {"received", "every_head"} & {key for _, key in pictures_and_numbers(at)}
    for box in at.selectbox:
        assert not str(box.key).startswith("answer-") or len(box.options) > 1, box.label
    at.button(key="reveal-c26-2").click().run()
    assert "in all heads and rows of “IBM taught me GPT”, is exactly 0" in said(at)
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
    assert "5 × 64" not in said(at), "this is asked below"
    assert (
        "Each of the 5 positions has one grey box and one red row: the box is normalised once more"
        in said(at)
    )
    assert any("the box is normalised once more (the final norm)" in caption.value for caption in at.caption)
    (lens,) = at.offered["red_rows"][1]
    assert "model.final_norm(block_input(trace, layers))" in inspect.getsource(inspect.unwrap(lens))
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
    notes = [[row["note"] for row in data["rows"]] for data in sent(at) if data.get("look") == "table"]
    assert notes[0] == SENTENCE
    assert notes[1] == [f"→ {row[3]}" for row in rows]


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
    received = [weights[max(key, 1) :, key].mean() for key in range(T)]  # row 0 has no choice
    bars, got = charts(at)[1], charts(at)[2]
    assert [row["position"] for row in bars["bars"]] == LABELS
    np.testing.assert_allclose([row["loss"] for row in bars["bars"]], entropies, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose([row["loss"] for row in bars["ghosts"]], np.log(range(2, T + 1)), rtol=1e-9)
    even = [np.mean([1 / (row + 1) for row in range(max(key, 1), T)]) for key in range(T)]
    np.testing.assert_allclose([row["loss"] for row in got["bars"]], received, rtol=1e-4)
    np.testing.assert_allclose([row["loss"] for row in got["ghosts"]], even, rtol=1e-6)
    (caption,) = [caption.value for caption in at.caption if caption.value.startswith("Entropy measures")]
    assert "here in nats" in caption
    most = int(np.argmax(np.subtract(received, even)))
    assert f"most at {LABELS[most]}" in said(at)
    assert "ln 4 = 1.386" in said(at)
    rows = table(at, "every head")
    assert len(rows) == 8
    assert float(rows[5][2]) == pytest.approx(np.mean(entropies[1:]), rel=1e-3)
    assert rows[5][3] == LABELS[most]
    assert float(rows[5][5]) == pytest.approx(even[most], rel=1e-3)
    assert rows[5][6] == str(T - max(most, 1))
    who = (
        "the one row that has a choice"
        if most == T - 1
        else f"the {T - max(most, 1)} rows that have a choice"
    )
    assert who in said(at)


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
    assert "By the grammar the next token depends on 5 Isaac (◆), which leaves 1 of the 8 tokens" in said(at)
    assert [line[1:] for line in rows_of(at, "head_history")] == [
        pytest.approx([weights_of(at.kept.models[step], 0, head, ids)[17, 5] for head in range(4)], rel=1e-3)
        for step in KEPT
    ]
    assert f"puts {weights_of(at.model, 0, 0, ids)[17, 5]:.4g} of its weight there" in said(at)


def test_only_the_data_of_the_charts_change_with_the_head(visit):
    """A browser begins a chart anew whose specification or description changes; so what it says is data too."""
    at, other = visit(layer=1, head=2, row=3), visit(layer=1, head=3, row=3)
    frames, others = (
        [(chart.proto.spec, chart.proto.alt) for chart in each.get("vega_lite_chart")] for each in (at, other)
    )
    assert frames == others
    for each, head in ((at, 2), (other, 3)):
        arcs, entropies, *_ = [data["said"] for data in charts(each)]
        weights = weights_of(each.model, 1, head)
        assert f"3 me looks at: 0 <s>: {weights[3, 0]:.3f}" in arcs[0]["description"]
        assert "4 GPT: entropy" in entropies[0]["description"]


def test_what_a_click_draws_anew_is_one_fragment_without_any_within_it(visit, monkeypatch):
    """See furniture.apart: quick clicks would stop the browser."""
    fragment, fragments, within = st.fragment, [], []

    def counted(draw, **settings):
        def draw_counted():
            fragments.append([*within])
            within.append(draw)
            try:
                draw()
            finally:
                within.pop()

        return fragment(draw_counted, **settings)

    monkeypatch.setattr(st, "fragment", counted)
    visit()
    assert fragments == [[]]


def test_a_row_without_a_needed_token_says_so_and_leads_to_one_that_has(visit):
    at = visit(corpus="story", row=7)
    assert "the next token depends on no earlier one" in said(at)
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
    assert "By the grammar" in said(at)


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
    assert answer(at, "c16", 0, "5 × 35").startswith("✗ Not yet. That is the shape of the logits")
    assert answer(at, "c16", 0, "5 × 64").startswith("✓")
    assert answer(at, "c16", 1, 6 * 64).startswith("✗ Not yet. 384 is what the contextual embeddings have")
    assert answer(at, "c16", 1, 6 * 35).startswith("✓")
    assert answer(at, "c16", 2, "z, the logits").startswith("✓")


def test_without_the_mask_the_checks_have_other_answers(visit):
    at = visit(causal=False)
    assert answer(at, "c26", 1, "something else").startswith("✓")
    assert answer(at, "c26", 2, "more than 0").startswith("✓")
    assert "ln 5 = 1.609" in said(at)
