"""Words for who listens to a page: one component (assets/announcement), given a typed Python face."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from decoder.language import clean

_ASSETS = Path(__file__).resolve().parents[2] / "assets" / "announcement"

_component = st.components.v2.component(
    "decoder_announcement",
    html='<div class="root" role="status" aria-live="polite"></div>',
    css=(_ASSETS / "announcement.css").read_text(encoding="utf-8"),
    js=(_ASSETS / "announcement.js").read_text(encoding="utf-8"),
)


def announce(text: str, turn: int, *, key: str) -> None:
    """Have a screen reader say a text that has just appeared, as Streamlit's own elements never do.

    To be called at every run, also while there is nothing to say: what is to be heard must stand there before its words.

    Args:
        text: the words; they are shown elsewhere too, for who sees.
        turn: number of the announcement; another one says the text, even the same again.
        key: Streamlit key, unique in a run.
    """
    _component(key=key, data={"text": clean(text), "turn": turn})
