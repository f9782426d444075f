"""Plain names or the lecture's symbols: one switch, part of the address, for every page that names things."""

from __future__ import annotations

import streamlit as st

from decoder.figures import symbols
from decoder.figures.symbols import Notation, Term
from pages.ui.address import IN_ADDRESS

_LABELS: dict[Notation, str] = {"names": "plain names", "symbols": "symbols ω x h z"}


def switch() -> None:
    """Let the visitor choose; to be drawn before anything is named."""
    st.segmented_control(
        "Notation",
        list(_LABELS),
        default="symbols",
        required=True,
        format_func=_LABELS.__getitem__,
        key="notation",
        **IN_ADDRESS,
    )


def chosen() -> Notation:
    """Return what is chosen; symbols where nobody has been asked."""
    return "names" if st.session_state.get("notation") == "names" else "symbols"


def with_word(term: Term, *, t: int) -> str:
    """Name a term with its word in any case: "the prediction for t = 3" or "the prediction ω̂₃"."""
    return f"the {term} for t = {t}" if chosen() == "names" else f"the {term} {name(term, t=t)}"


def how_to_read(t: int) -> str:
    """Say what the symbol of a token means, by the one at time t; nothing in plain names."""
    if chosen() == "names":
        return ""
    return f"{name('token', t=t)} means the token at t = {t}: the index is its time t, which counts from 0."


def name(term: Term, *, t: int | None = None, n: int | None = None, last: int | None = None) -> str:
    """Name a term as the visitor wants it: "targets" or "ω₁ … ω₅"; see decoder/figures/symbols.py."""
    return symbols.name(term, chosen(), t=t, n=n, last=last)
