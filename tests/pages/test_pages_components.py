"""Shift table, batch grid and sheet as data: what is sent to the browser is what was given, and any text is safe."""

import json

import pytest
from streamlit.testing.v1 import AppTest

from decoder.figures.tables import Table
from pages.ui.grid import GridCell, _cell, batch_grid
from pages.ui.shift import Heading, Token, _token, shift_table

HEADINGS = (Heading("inputs"), Heading("targets"), Heading("loss"))
SHIFT = """
import streamlit as st
from pages.ui.shift import Heading, Token, shift_table

tokens = [Token("a", "ω₀"), Token("b", "ω₁"), Token("c", "ω₂")]
headings = (Heading("inputs"), Heading("targets"), Heading("loss"))
at = shift_table(tokens, [("1", 0.5), ("2", 3.0)], headings=headings, key="shift", selected=1)
st.text(f"chosen {at}")
"""
GRID = """
import streamlit as st
from pages.ui.grid import GridCell, batch_grid

row = ("row 1", [GridCell("a", "input", "input only", "a"), GridCell("b", "1.0", "target", "b")])
st.text(f"chosen {batch_grid([row, row], key='grid', selected=(0, 1), title='x')}")
"""
SHEET = """
from decoder.figures.tables import Table
from pages.ui.sheet import sheet

sheet(Table("numbers", ["token", "loss", "none"], [["=1", -1.25, None], ["a\\nb", 2, None]]), key="sheet")
"""


def run(page, key=None, chosen=None):
    app = AppTest.from_string(page)
    if chosen is not None:
        app.session_state[key] = {"chosen": chosen}
    app.run()
    assert not app.exception
    return app


def sent(app):
    """The JSON that the component is given."""
    (component,) = app.get("bidi_component")
    return json.loads(component.proto.json)


def test_inputs_and_targets_are_the_same_tokens_one_apart():
    rows = sent(run(SHIFT))["rows"]
    assert [row["input"]["text"] for row in rows] == ["a", "b"]
    assert [row["target"]["text"] for row in rows] == ["b", "c"]
    assert [row["loss"] for row in rows] == ["1", "2"]
    assert [row["share"] for row in rows] == [0.5, 1.0]  # no bar is longer than its column


@pytest.mark.parametrize("place", [[3], [-1], "2", [True, 1], None, [0.5]])
def test_a_choice_in_the_shift_is_taken_only_if_it_is_one(place):
    assert run(SHIFT).text[0].value == "chosen 1"
    assert run(SHIFT, "shift", {"place": [2], "turn": 1}).text[0].value == "chosen 2"
    assert run(SHIFT, "shift", {"place": place, "turn": 1}).text[0].value == "chosen None"


def test_there_is_one_loss_per_target():
    with pytest.raises(ValueError, match="2 tokens have 1 targets and 2 losses"):
        shift_table([Token("a", ""), Token("b", "")], [("1", 0), ("2", 0)], headings=HEADINGS, key="k")


def test_a_choice_in_the_grid_is_a_row_and_a_time():
    assert run(GRID).text[0].value == "chosen Place(row=0, time=1)"
    assert run(GRID, "grid", {"place": [1, 0], "turn": 1}).text[0].value == "chosen Place(row=1, time=0)"
    assert run(GRID, "grid", {"place": [1, 2], "turn": 1}).text[0].value == "chosen None"


def test_rows_of_a_grid_are_equally_long():
    cell = GridCell("a", "", "target", "a")
    with pytest.raises(ValueError, match=r"\[1, 2\] cells"):
        batch_grid([("x", [cell]), ("y", [cell, cell])], key="k", title="t")


def test_padding_has_a_pattern_and_counted_padding_a_frame_as_well():
    kinds = [
        _cell(GridCell("x", "", role, "", counted=True))["kind"]
        for role in ("input only", "target", "padding")
    ]
    assert kinds == ["given", "", "empty counted"]
    assert _cell(GridCell("x", "", "padding", ""))["kind"] == "empty"


@pytest.mark.parametrize("text", ["x:y", "", "=1+1", "<b>", "a\ud800b", "\u202eevil", "x" * 99, "\n"])
def test_any_text_can_be_shown_and_sent(text):
    for data in (_token(Token(text, text)), _cell(GridCell(text, text, "target", text))):
        json.dumps(data, ensure_ascii=False).encode()
        assert 1 <= len(data["text"]) <= 14


def test_a_sheet_shows_numbers_as_people_read_them():
    data = sent(run(SHEET))
    assert data["columns"] == ["token", "loss", "none"]
    assert data["rows"] == [["=1", "−1.25", ""], ["a⏎b", "2", ""]]
    assert data["numeric"] == [False, True, True]
    assert Table("t", ["a"], [[1.0]]).texts == [["1"]]
