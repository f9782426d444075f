"""Strips of numbers as data: what is sent to the browser is what was given, and any text is safe."""

import json

import pytest
from streamlit.testing.v1 import AppTest

from decoder.figures import style
from pages.ui.vectors import Vector, _row, vectors

PAGE = """
import streamlit as st
from pages.ui.vectors import Vector, vectors

rows = [Vector("x", [0.123456789, -1.0], "a", marked=True), Vector("p", [0.0, 0.5])]
row = vectors(rows, key="v", reach=1.0, title="two", pressable=True, selected=st.session_state.get("wanted"))
st.text(f"chosen {row}")
"""


def run(chosen=None, wanted=None):
    app = AppTest.from_string(PAGE)
    app.session_state["wanted"] = wanted
    if chosen is not None:
        app.session_state["v"] = {"chosen": chosen}
    app.run()
    assert not app.exception
    return app


def test_numbers_names_and_both_appearances_are_sent():
    (component,) = run(wanted=1).get("bidi_component")
    data = json.loads(component.proto.json)
    assert [row["values"] for row in data["rows"]] == [[0.1234568, -1.0], [0.0, 0.5]]
    assert [(row["name"], row["note"], row["marked"]) for row in data["rows"]] == [
        ("x", "a", True), ("p", "", False)
    ]  # fmt: skip
    assert (data["reach"], data["selected"]) == (1.0, 1)
    assert {name: tuple(look["colors"]) for name, look in data["looks"].items()} == {
        "light": style.LIGHT.scores,
        "dark": style.DARK.scores,
    }


@pytest.mark.parametrize("place", [[2], [-1], [0, 0], "1", [True, 1], None, [0.5]])
def test_a_choice_is_taken_only_if_it_is_a_row(place):
    assert run(wanted=0).text[0].value == "chosen 0"
    assert run({"place": [1], "turn": 1}, 0).text[0].value == "chosen 1"
    assert run({"place": place, "turn": 1}, 0).text[0].value == "chosen None"


@pytest.mark.parametrize("rows", [[], [Vector("a", [])], [Vector("a", [1]), Vector("b", [1, 2])]])
def test_rows_without_a_common_length_are_refused(rows):
    with pytest.raises(ValueError, match="all of one length above 0"):
        vectors(rows, key="k", reach=1, title="t")


@pytest.mark.parametrize("reach", [0, -1, float("inf"), float("nan")])
def test_a_scale_without_width_is_refused(reach):
    with pytest.raises(ValueError, match="finite number above 0"):
        vectors([Vector("a", [1.0])], key="k", reach=reach, title="t")


@pytest.mark.parametrize("text", ["x:y", "", "=1+1", "<b>", "a\ud800b", "\u202eevil", "\n"])
def test_any_text_can_be_sent(text):
    json.dumps(_row(Vector(text, [1.0], text)), ensure_ascii=False).encode()
