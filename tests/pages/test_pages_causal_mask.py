"""The page of the causal mask without a browser: its sentences, tables and checks are recomputed from the decoder here."""

import json
import math
import random
import re

import numpy as np
import pytest
import torch
from reading_pages import key_of, pictures_and_numbers, recorded, terms_in, terms_offered, walk, words_of
from short_trainings import train
from short_trainings import visit as visit_trained
from streamlit.testing.v1 import AppTest

from decoder import Decoder, TextSource, load_corpus, open_corpus
from decoder.figures.mask_words import WAY_NAMES
from decoder.figures.words import percent
from decoder.model import masking
from decoder.runs import EvaluationRow
from decoder.training.evaluation import true_history_loss
from decoder.training.presets import preset
from pages.ui import mask_questions, session, strip
from pages.ui.mask_questions import Trained
from pages.ui.session import Exploration, Snapshot

TEXT = " ".join(random.Random(8).choices(["red", "old", "quiet", "boat", "train"], k=300))
TOKENS = load_corpus("ibm").tokenizer.tokens
SENTENCE = ["<s>", "IBM", "taught", "me", "GPT"]
IDS = torch.tensor([[TOKENS.index(token) for token in SENTENCE]])
T = len(SENTENCE)
# One of the lecture's letters, with an index or alone as a word.
SYMBOL = re.compile("(?<!\\w)[xhzωvqkop]\u0302?[₀-₉ₜᵢⱼ]*(?!\\w)")
SIGNS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


@pytest.fixture
def visit(monkeypatch):
    """Open the page over an untrained decoder: its numbers need no training to be right."""

    def open_page(corpus="ibm", level=None, *, causal=True, size="small", state=None, **query):
        source = TextSource(TEXT, level) if level else corpus
        config = preset(source, size=size, causal=causal)
        model = Decoder(config.decoder, seed=1).requires_grad_(requires_grad=False)  # it is only looked at
        explored = Exploration(config, "run", open_corpus(config.corpus, config.decoder.context_length))
        monkeypatch.setattr(session, "explore", lambda: explored)
        monkeypatch.setattr(session, "look", lambda _: None)  # the store knows nothing of it
        monkeypatch.setattr(strip, "show", lambda _: Snapshot(model, 0))
        offered = recorded(monkeypatch)
        at = AppTest.from_file("../../app.py", default_timeout=60)
        for key, value in query.items():
            at.query_params[key] = value
        for key, value in (state or {}).items():
            at.session_state[key] = value
        at.switch_page("pages/lecture/causal_mask.py")
        at.run()
        assert not at.exception
        at.model, at.offered = model, offered
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


def by_way(scores, way, finite):
    """Weights by every way of masking, (T, T), without the library."""
    future = np.triu(np.ones_like(scores, dtype=bool), 1)
    fill = {"minus infinity": -np.inf, "finite number": finite, "zero before": 0.0}.get(way)
    masked = scores if fill is None else np.where(future, fill, scores)
    return softmax(masked) * (~future if way == "zero after" else 1)


def in_double(model, ids, layer=0, head=0):
    """Scores and values of a head of the first layers, masked rightly, in double precision."""
    precise = Decoder(model.config)
    precise.load_state_dict(model.state_dict())
    with torch.no_grad():
        block = precise.double().trace(ids, mask=lower(ids.shape[1])).blocks[layer]
    query, key, value = (stage[0, head].numpy() for stage in (block.query, block.key, block.value))
    return query @ key.T / math.sqrt(query.shape[1]), value


def column(at, key, place):
    """One column of the numbers below a picture."""
    return [row[place] for row in at.offered[key][0].rows]


def sheet(at, key):
    """The rows of a table that stands open on the page, as texts."""
    (found,) = [node for node, _ in walk(at.main) if node.type == "bidi_component" and key_of(node) == key]
    return json.loads(found.proto.json)["rows"]


def read(text):
    """The value that stands there: "−∞", "2.50·10⁻⁵"; None for an empty cell."""
    digits, _, power = text.replace("−", "-").replace("∞", "inf").partition("·10")
    return float(digits) * 10.0 ** int(power.translate(SIGNS) or 0) if text else None


def probed_and_proved(visit, **query):
    """The page with everything that it can show without a training."""
    at = visit(state={"probing token of ibm": TOKENS.index("NASA")}, **query)
    at.button(key="prove").click().run()
    assert not at.exception
    return at


def test_every_picture_is_followed_by_its_numbers_and_the_code_that_computes_them(visit):
    at = probed_and_proved(visit)
    found = pictures_and_numbers(at)
    pictures = [key for kind, key in found if kind == "picture"]
    assert pictures == ["mask_matrices", "mask_heads", "own_scores", "way_matrices", "ways", "probe"]
    for picture in pictures:
        assert found[found.index(("picture", picture)) + 1] == ("numbers", picture)
    assert {"cell_arithmetic", "passes"} < {key for kind, key in found if kind == "numbers"}
    for key, (table, code) in at.offered.items():
        assert table.rows, key
        assert code, key


def test_all_numbers_below_the_pictures_are_recomputed(visit):
    at = probed_and_proved(visit)
    scores, future = head_scores(at.model, lower()), ~lower().numpy()
    for key, fill in (("mask_matrices", -np.inf), ("way_matrices", -1)):
        masked = np.where(future, fill, scores)
        assert [row[:2] for row in at.offered[key][0].rows] == [
            [f"{i} {query}", f"{j} {other}"]
            for i, query in enumerate(SENTENCE)
            for j, other in enumerate(SENTENCE)
        ]
        for place, stage in enumerate((scores, masked, np.exp(masked), softmax(masked)), 2):
            np.testing.assert_allclose(column(at, key, place), stage.ravel(), rtol=1e-4, atol=1e-7)

    rows = at.offered["mask_heads"][0].rows
    for head in range(2):
        expected = softmax(np.where(future, -np.inf, head_scores(at.model, lower(), 0, head)))
        for (layer, of, label, *shown), weights in zip(rows[head * T : head * T + T], expected, strict=True):
            assert (layer, of) == (0, head)
            seen = int(label[0]) + 1
            np.testing.assert_allclose(shown[:seen], weights[:seen], rtol=1e-4)
            assert shown[seen:] == [None] * (T - seen)

    with torch.no_grad():
        block = at.model.trace(IDS).blocks[0]
    query, key = block.query[0, 0, 2].numpy(), block.key[0, 0, 0].numpy()
    for place, expected in enumerate((query, key, query * key), 1):
        np.testing.assert_allclose(column(at, "cell_arithmetic", place), expected, rtol=1e-5)

    changed = IDS.clone()
    changed[0, 3] = TOKENS.index("NASA")
    for place, mask in ((2, lower()), (3, torch.ones(T, T, dtype=torch.bool))):
        with torch.no_grad():
            after, before = (at.model.trace(ids, mask=mask).logits[0].numpy() for ids in (changed, IDS))
            whole = at.model.trace(IDS, mask=mask).logits[0].numpy()
            prefixes = [
                at.model.trace(IDS[:, :n], mask=mask[:n, :n]).logits[0, -1].numpy() for n in range(1, T + 1)
            ]
        np.testing.assert_allclose(column(at, "probe", place), np.abs(after - before).max(axis=1), rtol=1e-4)
        differences = np.abs(np.array(prefixes) - whole).max(axis=1)
        np.testing.assert_allclose(column(at, "passes", place), differences, rtol=1e-4, atol=1e-6)
    greatest = {metric.label: metric.value for metric in at.metric}["greatest difference of a logit"]
    assert read(greatest) == pytest.approx(max(column(at, "passes", 2)), rel=6e-3)
    (sentence,) = [text for text in said(at) if "passes over growing prefixes" in text]
    told = re.search("Without the mask they differ by up to ([^:]+):", sentence)[1]
    assert read(told) == pytest.approx(differences.max(), rel=6e-4)


def test_the_leak_of_every_way_is_the_greatest_of_all_replacements(visit):
    at = visit()
    scores, value = in_double(at.model, IDS)
    moved = dict.fromkeys(WAY_NAMES, (0.0, None))
    for token in range(len(TOKENS)):
        ids = IDS.clone()
        ids[0, -1] = token
        others, values = in_double(at.model, ids)
        for way in WAY_NAMES:
            change = np.abs((by_way(others, way, -1) @ values - by_way(scores, way, -1) @ value)[:-1]).max()
            moved[way] = max(moved[way], (change, token), key=lambda pair: pair[0])
    future = ~lower().numpy()
    for way, row, shown in zip(WAY_NAMES, at.offered["ways"][0].rows, sheet(at, "ways"), strict=True):
        weights = by_way(scores, way, -1)
        sums = weights.sum(axis=1)
        expected = [weights[future].sum() / weights.sum(), sums.min(), sums.max(), moved[way][0]]
        np.testing.assert_allclose(row[1:], expected, rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose([read(text) for text in shown[1:]], expected, rtol=6e-4, atol=1e-12)
    assert sheet(at, "ways")[1][0] == "a finite number, −1"
    (sentence,) = [text for text in said(at) if "was replaced by each of the 34 other tokens" in text]
    change, token = moved["finite number"]
    assert sentence.endswith(f"moved by up to {change:.4g}, most with “{TOKENS[token]}” in its place.")


def test_of_a_large_vocabulary_it_is_said_how_many_tokens_were_tried(visit, monkeypatch):
    monkeypatch.setattr(masking, "MOST_REPLACEMENTS", 10)
    at = visit()
    tried = len([token for token in range(len(TOKENS)) if token != IDS[0, -1]][::4])
    assert any(f"was replaced by {tried} of the 34 other tokens" in text for text in said(at))


def own(at):
    """Scores, masked scores, exponentials and weights of the row of four, each with the sum of its row."""
    return [[read(text) for text in row[1:]] for row in sheet(at, "own_scores")]


def test_four_scores_begin_as_those_of_the_chosen_row_and_follow_it_until_they_are_changed(visit):
    at = visit(row=1)
    scores = head_scores(at.model, lower())

    def is_row(row):
        first = scores[row, :4]
        expected = softmax(np.where(np.arange(4) <= row, first, -np.inf)[None])[0]
        shown = own(at)
        np.testing.assert_allclose(shown[0][:4], first, rtol=6e-4)
        np.testing.assert_allclose(shown[3][:4], expected, rtol=6e-4)
        assert shown[3][4] == 1
        assert f"{shown[2][4]:.4g}" == f"{sent(at)['panels'][2]['row_sums'][row]:.4g}", "as above"
        assert any(
            f"they are the scores of row {row} above in columns 0 to 3" in caption.value
            for caption in at.caption
        )

    is_row(1)
    at.slider(key="row").set_value(2).run()
    is_row(2)
    at.number_input(key="own score 0").set_value(2.5).run()
    at.slider(key="row").set_value(1).run()
    assert own(at)[0][0] == 2.5
    assert own(at)[2][0] == pytest.approx(math.exp(2.5), rel=1e-3)
    at.button(key="real_scores").click().run()
    is_row(1)


def test_four_equal_scores_give_one_half_and_leak_as_the_lecture_says(visit):
    at = visit()
    at.button(key="equal_scores").click().run()
    assert own(at) == [
        [0, 0, 0, 0, None],
        [0, 0, -math.inf, -math.inf, None],
        [1, 1, 0, 0, 2],
        [0.5, 0.5, 0, 0, 1],
    ]
    assert any(
        "2 of 4 cells are open. Each exponential, divided by their sum 2, is a weight: 0.5, 0.5, 0 and 0."
        in text
        for text in said(at)
    )
    for finite, leak in ((-1, "26.9"), (-5, "0.669"), (-10, "0.00454")):
        at.select_slider(key="own mask value").set_value(float(finite)).run()
        shown = own(at)
        assert shown[1][2:4] == [finite, finite]
        assert shown[2][4] == pytest.approx(2 + 2 * math.exp(finite), rel=1e-3)
        assert 100 * sum(shown[3][2:4]) == pytest.approx(
            100 * math.exp(finite) / (1 + math.exp(finite)), rel=1e-3
        )
        assert any(f"{leak} % of the weight leaks to the closed cells" in text for text in said(at))
    at.selectbox(key="own row").set_value(0).run()
    at.select_slider(key="own mask value").set_value(-math.inf).run()
    assert own(at)[3] == [1, 0, 0, 0, 1]
    assert any("a weight of 1, whatever the score" in text for text in said(at))


def test_where_the_lecture_is_muddled_the_page_says_so(visit):
    at = visit()
    captions = [
        caption.value for caption in at.caption if "Where the lecture says it differently" in caption.value
    ]
    assert len(captions) == 2
    assert "“me” when “IBM” is predicted. Two true statements are mixed" in captions[0]
    assert "crucial for inference. The damage is done in training" in captions[1]
    assert "makes the rows of earlier tokens final" in captions[1]


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
        target = [*SENTENCE, "</s>"][row + 1]  # the end token is a target too
        told = re.search(rf"“{target}”, which really follows, gets ([0-9.]+) %", line)
        assert float(told[1]) == pytest.approx(100 * shares[row, TOKENS.index(target)], rel=0.05)


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


def test_passes_are_measured_when_somebody_asks_and_not_before(visit):
    at = visit()
    assert "passes" not in at.session_state
    assert not at.metric
    assert not any("passes over growing prefixes" in text for text in said(at))
    at.selectbox(key="answer-c28-1").set_value(mask_questions.DIFFERENCES[1])
    at.button(key="submit-c28-1").click().run()
    first = at.session_state["passes"]
    assert not at.metric, "an answer shows no more than whether it is right"
    at.button(key="prove").click().run()
    labels = {metric.label: metric.value for metric in at.metric}
    assert list(labels) == ["5 passes over prefixes", "one masked pass", "greatest difference of a logit"]
    assert at.session_state["passes"] is first
    at.button(key="measure").click().run()
    assert at.session_state["passes"] is not first
    at.text_input(key="sentence").set_value("NASA showed us gravity").run()
    assert not at.metric, "of another sentence nothing has been proved"
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
        "c28-2": "5 against 1",
        "c29-0": "ω₅",
    }
    for name, answer in answers.items():
        field = at.selectbox if isinstance(answer, str) else at.number_input
        field(key=f"answer-{name}").set_value(answer)
        at.button(key=f"submit-{name}").click().run()
    assert not at.exception
    assert [text[:7] for text in said(at) if text.startswith(("✓", "✗"))] == ["✓ Right"] * len(answers)


WRONG = [
    ("c23-0", 21, "stay open"),
    ("c23-0", 18, "the diagonal stays open"),
    ("c23-0", 7, "add them up"),
    ("c23-1", "yes", "both are the same position"),
    ("c27-0", "x₂", "the earlier ones take part too"),
    ("c27-0", "x₀ and x₁", "also look at its own input, x₂"),
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
    ("c28-2", "15 against 1", "how many tokens the 5 prefixes have together"),
    ("c28-2", "1 against 5", "the other way round"),
    ("c28-2", "5 against 5", "a single pass makes all predictions"),
    ("c29-0", "ω₁", "is also an input"),
]


def test_a_wrong_answer_is_told_why(visit):
    at = visit()
    for name, answer, hint in WRONG:
        field = at.selectbox if isinstance(answer, str) else at.number_input
        field(key=f"answer-{name}").set_value(answer)
        at.button(key=f"submit-{name}").click().run()
        verdicts = [text for text in said(at) if text.startswith("✗")]
        assert any(hint in verdict for verdict in verdicts), (name, answer)


def test_the_reason_names_a_column_of_the_mask_only_where_there_is_one():
    reasons = [
        mask_questions.which_move(SENTENCE, [0, 0, 0, 1, 1], 3, "you", masked=masked).reason
        for masked in (True, False)
    ]
    assert reasons[0].startswith("Column 3 of the mask is open for those at 3 and 4.")
    assert reasons[1].startswith("Without a mask every position looks at all tokens, and so at this one.")


def test_the_head_width_is_spelled_out_and_not_called_the_width(visit):
    at = visit(size="standard")
    assert any(
        "the root of the head width, a width of 64 / 4 heads = 16" in text.value for text in at.caption
    )
    assert sent(at)["panels"][0]["note"] == "query · key / √(head width)"


def test_on_the_way_to_minus_infinity_the_leak_shrinks(visit):
    at = visit()
    at.button(key="equal_scores").click().run()
    slider, leaks = at.select_slider(key="own mask value"), []
    assert slider.options[-1] == "−∞"
    assert slider.value == -math.inf
    for option in slider.options:
        at.select_slider(key="own mask value").set_value(-math.inf if option == "−∞" else read(option)).run()
        leaks.append(sum(own(at)[3][2:4]))
    assert leaks == sorted(leaks, reverse=True)
    assert leaks[-1] == 0


def trained(loss, share):
    return Trained(loss, EvaluationRow(200, 1.5 * loss, 1.0, (loss,), share, None))


@pytest.mark.parametrize(
    ("masked", "unmasked", "right"), [(0.9, 0.0, "the one with the mask"), (0.1, 0.3, "the one without")]
)
def test_which_decoder_writes_better_is_decided_by_what_was_measured(masked, unmasked, right):
    both = trained(1.0, masked), trained(0.004, unmasked)
    question = mask_questions.which_writes_better(*both)
    assert question.right == right
    assert "1.5 with the mask and 0.006 without" in question.reason
    assert question.text == mask_questions.which_writes_better(None, both[0]).text
    good = mask_questions.is_it_good(*both)
    assert good.right == ("no" if masked > unmasked else "yes")
    assert "its loss is 0.004 on training sentences and 0.006 on unseen ones" in good.reason
    assert good.text == mask_questions.is_it_good(None, None).text


def test_only_what_it_writes_shows_that_a_decoder_without_the_mask_is_no_good():
    good = trained(1.0, 0.9)
    question = mask_questions.what_shows_it(good, trained(0.004, 0.0))
    assert question.right == "what it writes by itself"
    assert (
        "0.004 against 1, on unseen ones 0.006 against 1.5, valid sentences 0 % against 90 %"
        in question.reason
    )
    for either in mask_questions.MEASUREMENTS[:2]:
        assert f"By {either} it looks better" in question.wrong(either)
    unclear = mask_questions.what_shows_it(good, trained(2.0, 0.0))
    assert unclear.right is None
    assert "3 of the three measurements" in unclear.reason
    assert mask_questions.what_shows_it(good, None).reason == mask_questions.NOT_YET


def test_what_needs_both_trainings_is_asked_before_and_not_judged(visit):
    at = visit()
    for name, answer in (
        ("c29-1", "no"),
        ("c29-2", mask_questions.MEASUREMENTS[2]),
        ("c29-3", "the one without"),
    ):
        at.selectbox(key=f"answer-{name}").set_value(answer)
        for button in ("submit", "reveal"):
            at.button(key=f"{button}-{name}").click().run()
            assert mask_questions.NOT_YET in said(at)
            assert not any(text.startswith(("✓", "✗", "The answer")) for text in said(at))


def test_losses_and_valid_shares_of_both_trainings_are_those_of_their_decoders(store):
    configs = [preset("ibm", size="small", causal=causal) for causal in (True, False)]
    train(store, *configs)
    at = visit_trained("causal_mask", size="small", retrain="true")
    assert not at.exception
    (sentence,) = [text.value for text in at.text if "nats per token with the true history" in text.value]
    corpus = load_corpus("ibm")
    tests = []
    for config in configs:
        run_id = store.request(config)
        model, _ = store.model(run_id)
        test = store.evaluations(run_id)[-1]
        with torch.no_grad():
            loss = true_history_loss(model, corpus.held_out(config.decoder.context_length)[:4])
        assert f"has a loss of {loss:.4g} nats per token" in sentence
        assert f"that it writes by itself, {percent(test.valid_share)} are valid" in sentence
        tests.append(Trained(store.metrics(run_id)[-1].loss, test))
    at.button(key="reveal-c29-1").click().run()
    (verdict,) = [text.value for text in at.text if text.value.startswith("The answer")]
    assert verdict.endswith(mask_questions.is_it_good(*tests).reason)
    assert f"{tests[1].loss:.4g} on training sentences" in verdict


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
    assert sent(at)["walk"][0].startswith("x₀ alone predicts ω₁")
    assert "“</s>”" in sent(at)["walk"][0]
    for box in at.selectbox:
        if str(box.key).startswith("answer-"):
            assert len(box.options) > 1, box.label
    at.button(key="reveal-c24-0").click().run()
    (verdict,) = [text for text in said(at) if text.startswith("The answer")]
    assert any("In “<s> IBM taught me GPT”, with the mask: the token at input" in text for text in said(at))
    assert "greatest change exactly 0 before it" in verdict
    at.button(key="prove").click().run()
    assert at.metric[0].label == "1 pass over a prefix"
    assert any("5 inputs without padding" in text for text in said(at))
    assert any("In a sentence of 5 inputs: which inputs" in text for text in said(at))
    assert not [
        text for text in words_of(at) if re.search(r"\b1 (inputs|passes|tokens|cells|rows|heads)\b", text)
    ]
    at.selectbox(key="probing token of ibm").set_value(5).run()
    assert not at.exception


def test_a_decoder_that_was_trained_without_the_mask_is_shown_as_it_was_trained(visit):
    at = visit(causal=False)
    assert any("trained without the mask" in text and "all of them are open" in text for text in said(at))
    assert all(value is not None for row in sent(at)["panels"][3]["values"] for value in row)


def test_plain_names_take_the_place_of_symbols(visit):
    at = probed_and_proved(visit, notation="plain names")
    for concept in ("c23-0", "c27-0", "c25-0", "c24-0", "c28-0", "c28-2", "c29-0"):
        at.button(key=f"reveal-{concept}").click().run()
    page = words_of(at) + [
        str(text)
        for table, _ in at.offered.values()
        for text in (table.title, *table.columns, *(row[0] for row in table.rows))
    ]
    assert [text for text in page if SYMBOL.search(text) or re.search(r"\bT\b", text)] == []
    assert sent(at)["walk"][0].startswith("embedding 0 alone predicts token 1")


def test_the_glossary_explains_the_words_of_the_page(visit):
    at = probed_and_proved(visit)
    assert terms_in(words_of(at)) - terms_offered(at) == set()
