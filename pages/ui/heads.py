"""Every head of a decoder at a glance, and the choice of one, which the address carries from page to page."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import streamlit as st

from decoder import attend
from decoder.figures.matrices import Matrix, head_table
from pages.ui import aids
from pages.ui.address import IN_ADDRESS
from pages.ui.choice import in_range
from pages.ui.matrix import Head, thumbnails


def choose_head(n_layers: int, n_heads: int) -> Head:
    """Let the visitor choose a head by its numbers."""
    in_range("layer", n_layers)
    layer = st.selectbox("Layer", range(n_layers), key="layer", **IN_ADDRESS, width=120)
    in_range("head", n_heads)
    head = st.selectbox("Head", range(n_heads), key="head", **IN_ADDRESS, width=120)
    return Head(layer, head)


def show_heads(heads: Sequence[Sequence[Matrix]], labels: Sequence[str], chosen: Head, *, key: str) -> None:
    """Show all heads as small pictures, of which a click chooses one, and offer their numbers.

    Args:
        heads: `head_thumbnails(trace)`, layers x heads.
        labels: of the tokens.
        chosen: the head that is looked at.
        key: Streamlit key, unique in a run.
    """
    thumbnails(heads, key=key, selected=chosen, on_choose=look_at)
    aids.numbers(partial(head_table, heads, labels), key=key, code=(attend,))


def look_at(chosen: Head) -> None:
    """Show this head; a callback, before the choice is drawn."""
    st.session_state["layer"], st.session_state["head"] = chosen
