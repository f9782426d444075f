"""What a visitor has chosen in a component: numbers that the browser sends, kept between runs and checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st


class Choice:
    """What is selected: the visitor's last choice, unless the page has asked for something else since.

    Choices are numbered ("turn"), so that neither side takes an older one for news when both act at once. What the
    browser sends is checked: it may be anything.
    """

    def __init__(self, key: str, given: Sequence[int] | None, limits: Sequence[int]) -> None:
        told = _told(key)
        turn = told.get("turn")
        self.turn: int = turn if isinstance(turn, int) and not isinstance(turn, bool) else 0
        self.place = whole_numbers(told.get("place"), limits)
        note: dict[str, Any] = st.session_state.setdefault(f"{key} given", {"given": given, "turn": 0})
        if note["given"] != given:
            st.session_state[f"{key} given"] = note = {"given": given, "turn": self.turn + 1}
        if note["turn"] > self.turn or not told:
            self.turn, self.place = note["turn"], whole_numbers(given, limits)


def chosen(key: str, limits: Sequence[int]) -> list[int] | None:
    """What the browser has just sent for a component, for its callback."""
    return whole_numbers(_told(key).get("place"), limits)


def _told(key: str) -> dict[str, Any]:
    told = dict(st.session_state.get(key) or {}).get("chosen")
    return told if isinstance(told, dict) else {}


def whole_numbers(value: object, limits: Sequence[int]) -> list[int] | None:
    """`value` as whole numbers, each from 0 to below its limit; None if it is anything else."""
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != len(limits):
        return None
    if all(isinstance(part, int) and 0 <= part < limit for part, limit in zip(value, limits, strict=True)):
        return [int(part) for part in value]
    return None


def in_range(key: str, count: int) -> None:
    """Let go of a widget's number that there is no longer, because a sentence or a decoder has become smaller."""
    state = st.session_state
    if key in state and state[key] not in range(count):
        del state[key]


def nothing() -> None:
    """Streamlit keeps a component's state only for names that have a callback."""
