"""Token strips as data: kinds checked, texts cleaned, a choice taken only if it is one."""

from __future__ import annotations

import json

import pytest
from streamlit.testing.v1 import AppTest

from decoder.figures import style
from pages.ui.tokens import NOTE_LENGTH, Chip, Strip, _chip, _strip, token_strips

PAGE = """
import streamlit as st
from pages.ui.tokens import Chip, Strip, token_strips

rows = [Strip("inputs", [Chip("a"), Chip("b"), Chip("c")]), Strip("targets", [Chip("b")], "free_running")]
column = token_strips(rows, key="strips", pressable=True, selected=st.session_state.get("wanted"))
st.text(f"chosen {column}")
"""


def page(chosen: object = None, selected: int | None = None):
    app = AppTest.from_string(PAGE)
    app.session_state["wanted"] = selected
    if chosen is not None:
        app.session_state["strips"] = {"chosen": chosen}
    return app.run()


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="'loud'"):
        token_strips([Strip("x", [Chip("a", kind="loud")])], key="k")


@pytest.mark.parametrize("text", ["x:y", "", "=1+1", "<b>", "a\ud800b", "\u202eevil", "x" * 99, "\n"])
def test_any_text_can_be_shown_and_sent(text):
    sent = _chip(Chip(text, note=text, tip=text))
    json.dumps(sent, ensure_ascii=False).encode()
    assert 1 <= len(sent["text"]) <= 14
    assert len(sent["note"]) <= NOTE_LENGTH


def test_a_row_with_a_meaning_has_its_colour_in_both_appearances():
    sent = _strip(Strip("free", [], "free_running"))
    assert sent["color"] == style.COLORS["free_running"]
    assert (
        sent["ink"]
        == f"light-dark({style.LIGHT.text_colors['free_running']}, {style.DARK.text_colors['free_running']})"
    )
    assert _strip(Strip("plain", []))["color"] is None


def test_the_wanted_column_is_chosen_until_somebody_chooses():
    assert page(selected=1).text[0].value == "chosen 1"
    assert page(chosen={"place": [2], "turn": 1}).text[0].value == "chosen 2"


@pytest.mark.parametrize("place", [[3], [-1], [1, 1], "2", [None], {"a": 1}, [0.5]])
def test_what_is_no_column_chooses_nothing(place):
    assert page(chosen={"place": place, "turn": 1}).text[0].value == "chosen None"
