"""Matrices as data: the numbers are those of attention, masked is never a number, labels keep tokens apart."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from decoder.figures.matrices import (
    LABEL_LENGTH,
    Matrix,
    attention_matrices,
    head_thumbnails,
    masking_matrices,
    token_labels,
    visible,
    weights_matrix,
)
from decoder.model.attention import attend, causal_mask
from decoder.model.masking import mask_scores
from pages.ui import choice
from pages.ui import matrix as component

T = 5


def attention(mask=None, length=T, keys=T):
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 3, n, 4, generator=generator) for n in (length, keys, keys))
    return attend(query, key, value, mask)


def test_the_three_stages_hold_exactly_the_numbers_of_the_computation():
    stages = attention(causal_mask(T))
    scores, masked_scores, weights = attention_matrices(stages, head=2, example=1)
    for row in range(T):
        for column in range(T):
            assert scores.values[row][column] == stages.scores[1, 2, row, column].item()
            if column <= row:
                assert masked_scores.values[row][column] == stages.masked_scores[1, 2, row, column].item()
                assert weights.values[row][column] == stages.weights[1, 2, row, column].item()


def test_masked_cells_have_no_number_after_the_mask_and_all_have_one_before():
    scores, masked_scores, weights = attention_matrices(attention(causal_mask(T)))
    above = tuple(tuple(column > row for column in range(T)) for row in range(T))
    assert scores.masked == masked_scores.masked == weights.masked == above
    assert all(value is not None for row in scores.values for value in row)
    for stage in (masked_scores, weights):
        assert tuple(tuple(value is None for value in row) for row in stage.values) == above


def test_without_a_mask_nothing_is_masked():
    for stage in attention_matrices(attention()):
        assert not any(map(any, stage.masked))
        assert all(value is not None for row in stage.values for value in row)


def test_scores_before_and_after_the_mask_share_one_scale_around_zero():
    stages = attention(causal_mask(T))
    scores, masked_scores, weights = attention_matrices(stages)
    assert (scores.low, scores.high) == (masked_scores.low, masked_scores.high)
    assert scores.high == -scores.low == pytest.approx(stages.scores[0, 0].abs().max().item())
    assert (weights.low, weights.high) == (0, 1)


def test_the_exponentials_stand_between_masked_scores_and_weights():
    mask = causal_mask(T)
    stages = mask_scores(attention().scores[0, 0], mask)
    panels = masking_matrices(stages, ~mask)
    assert [panel.title for panel in panels] == ["scores", "masked scores", "exp", "weights"]
    powers = panels[2]
    for row in range(T):
        for column in range(T):
            value, score = powers.values[row][column], stages.masked_scores[row, column].item()
            assert value is None if column > row else value == pytest.approx(math.exp(score))
            if column <= row:
                assert panels[3].values[row][column] == pytest.approx(value / powers.row_sums[row], rel=1e-6)
    assert powers.high == max(value for row in powers.values for value in row if value is not None)


@pytest.mark.parametrize(
    ("way", "left"),
    [("minus infinity", (0, 0, 0)), ("finite number", (10, 10, 10)), ("zero after", (10, 10, 0)), ("no mask", (10, 10, 10))],
)  # fmt: skip
def test_a_number_that_a_wrong_mask_leaves_is_shown(way, left):
    mask = causal_mask(T)
    panels = masking_matrices(mask_scores(attention().scores[0, 0], mask, way), ~mask)
    assert panels[0].leaks == 0  # there the mask is still to come
    assert tuple(panel.leaks for panel in panels[1:]) == left
    assert all(
        ("are not" in panel.summary) == (count > 0) for panel, count in zip(panels[1:], left, strict=True)
    )


def test_exponentials_that_are_not_finite_have_no_sum():
    mask = causal_mask(2)
    powers = masking_matrices(mask_scores(torch.full((2, 2), 1e4), mask), ~mask)[2]
    assert powers.row_sums is None
    assert powers.values == ((None, None), (None, None))
    json.dumps(component._panel(powers), allow_nan=False)


def test_rows_of_weights_sum_to_one():
    weights = attention_matrices(attention(causal_mask(T)))[2]
    assert weights.row_sums == pytest.approx([1] * T, abs=1e-6)
    assert attention_matrices(attention(causal_mask(T)), row_sums=False)[2].row_sums is None


def test_queries_and_keys_may_differ_in_number():
    stages = attention_matrices(attention(length=2, keys=7))
    assert {stage.shape for stage in stages} == {(2, 7)}


def test_scores_that_are_all_zero_still_have_a_scale():
    zero = torch.zeros(1, 1, 2, 2)
    flat = attend(zero, zero, zero, causal_mask(2))
    assert [(stage.low, stage.high) for stage in attention_matrices(flat)] == [(-1, 1), (-1, 1), (0, 1)]


def test_a_number_that_is_not_finite_is_left_out_and_not_called_masked():
    broken = weights_matrix([[1.0, math.nan]], [[False, False]])
    assert broken.values == ((1.0, None),)
    assert broken.masked == ((False, False),)


def test_matrices_of_uneven_or_empty_shape_are_refused():
    with pytest.raises(ValueError, match="same rows x columns"):
        Matrix("m", "weights", ((1.0,), (0.5, 0.5)), ((False,), (False, False)), 0, 1)
    with pytest.raises(ValueError, match="at least 1 x 1"):
        Matrix("m", "weights", (), (), 0, 1)
    with pytest.raises(ValueError, match="low < high"):
        Matrix("m", "weights", ((1.0,),), ((False,),), 1, 1)


def test_the_summary_says_what_the_picture_shows():
    summary = attention_matrices(attention(causal_mask(T)))[2].summary
    assert summary.startswith("weights: 5 queries by 5 keys, values from ")
    assert summary.endswith("10 of 25 cells are masked.")
    assert "will be masked" in attention_matrices(attention(causal_mask(T)))[0].summary


def test_thumbnails_come_by_layer_and_head():
    block = type("Block", (), {"attention": attention(causal_mask(T))})
    trace = type("Trace", (), {"blocks": (block, block)})
    heads = head_thumbnails(trace, example=1)
    assert [[head.title for head in layer] for layer in heads] == [
        [f"layer {layer}, head {head}" for head in range(3)] for layer in range(2)
    ]
    assert heads[1][2].values == attention_matrices(block.attention, 2, example=1)[2].values


def test_equal_tokens_keep_distinct_labels():
    assert token_labels(["the", "cat", "the"]) == ["0 the", "1 cat", "2 the"]


def test_labels_show_white_space_and_stay_short():
    assert visible(" a\n\t") == "␣a⏎⇥"
    assert visible("") == "∅"
    assert visible("x" * 1000) == "x" * (LABEL_LENGTH - 1) + "…"
    assert visible("a\u202eb\ud800\x00") == "a▯b▯▯"


@given(st.text(st.characters(exclude_categories=[])))
def test_any_token_becomes_a_short_line_that_can_be_sent(token):
    label = visible(token)
    assert 1 <= len(label) <= LABEL_LENGTH
    assert label.isprintable()
    label.encode()


def test_what_goes_to_the_browser_is_json_without_nan_or_infinity():
    for stage in attention_matrices(attention(causal_mask(T))):
        sent = json.loads(json.dumps(component._panel(stage), allow_nan=False))
        assert sent["masked"][0] == [0, 1, 1, 1, 1]
        assert sent["values"][1][0] == pytest.approx(stage.values[1][0], rel=1e-6)
    thumbnail = component._thumbnail(
        weights_matrix([[1.0, 0.0], [0.25, 0.75]], [[False, True], [False, False]])
    )
    assert thumbnail["steps"] == [[255, -1], [64, 191]]


@pytest.mark.parametrize(
    "said", ["x", [0, 0], [0, 0, 5], [0, -1, 0], [0, 0.5, 0], [0, None, 0], {"a": 1}, None]
)
def test_a_choice_that_is_no_cell_is_ignored(said):
    assert choice.whole_numbers(said, (3, 5, 5)) is None
    assert choice.whole_numbers([2, 4, 0], (3, 5, 5)) == [2, 4, 0]


PAGE = """
import streamlit as st

from decoder.figures.matrices import token_labels, weights_matrix
from pages.ui.matrix import matrices

given = st.session_state.get("given", (0, 1, 1))
panel = weights_matrix([[1.0, 0.0], [0.5, 0.5]], [[False, True], [False, False]])
labels = token_labels(["a", "b"])
st.text(repr(matrices([panel], rows=labels, columns=labels, key="m", selected=given)))
"""


def test_a_page_can_select_a_cell_and_override_the_choice():
    app = AppTest.from_string(PAGE).run()
    assert not app.exception
    assert app.text[0].value == "Cell(panel=0, row=1, column=1)"
    app.session_state["given"] = (0, 1, 0)
    assert app.run().text[0].value == "Cell(panel=0, row=1, column=0)"
    app.session_state["given"] = None
    assert app.run().text[0].value == "None"


PRESSED = """
import streamlit as st

from decoder.figures.matrices import token_labels, weights_matrix
from pages.ui.matrix import matrices

panel = weights_matrix([[1.0, 0.0], [0.5, 0.5]], [[False, True], [False, False]])
labels = token_labels(["a", "b"])
cell = matrices([panel], rows=labels, columns=labels, key="m", selected=(0, 1, 1), press="flips it", walk=["x", "y"])
st.text(repr(cell))
"""


def test_a_pressed_matrix_keeps_its_selection_and_walks_with_a_line_per_row():
    app = AppTest.from_string(PRESSED).run()
    assert not app.exception
    assert app.text[0].value == "Cell(panel=0, row=1, column=1)"
    sent = json.loads(app.get("bidi_component")[0].proto.json)
    assert (sent["press"], sent["walk"], sent["selected"]) == ("flips it", ["x", "y"], [0, 1, 1])


def test_every_row_needs_a_line_to_walk_through():
    panel = weights_matrix([[1.0]], [[False]])
    with pytest.raises(ValueError, match="1 rows have 2 lines"):
        component.matrices([panel], rows=["0 a"], columns=["0 a"], key="m", walk=["x", "y"])


def test_labels_that_do_not_fit_the_matrix_are_refused():
    panel = weights_matrix([[1.0]], [[False]])
    with pytest.raises(ValueError, match="1 x 1 cells and there are 2 x 1"):
        component.matrices([panel], rows=["0 a", "1 b"], columns=["0 a"], key="m")
