"""Words for who listens to a page: one component (assets/announcement), given a typed Python face."""

from __future__ import annotations

import streamlit as st

from decoder.language import clean
from pages.ui import assets

_component = st.components.v2.component(
    "decoder_announcement",
    html='<div class="root" role="status" aria-live="polite"></div>',
    css=assets.text("announcement/announcement.css"),
    js=assets.text("announcement/announcement.js"),
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
