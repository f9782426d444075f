"""Walk through steps: back, forward, play. The step is shown again and again without touching the rest of the page."""

from __future__ import annotations

import time
from collections.abc import Callable

import streamlit as st

from pages.ui import furniture

SECONDS_PER_STEP = 0.9


def walk(count: int, show: Callable[[int], None], *, key: str) -> None:
    """Let the visitor choose one of `count` steps (from 1), by slider, buttons or playing, and show it."""
    state = st.session_state
    playing = state.get(f"{key} plays", False)

    def fragment() -> None:
        # Whoever presses something meanwhile draws it too; only time leads on.
        if playing and time.monotonic() - state[f"{key} moved"] > SECONDS_PER_STEP / 2:
            state[key], state[f"{key} moved"] = min(state.get(key, 1) + 1, count), time.monotonic()
        if state.get(key, 1) > count:
            state[key] = count
        _controls(count, key, playing=playing)
        if playing and state[key] == count:
            state[f"{key} plays"] = False
        show(state[key])
        if state.get(f"{key} plays", False) != playing:
            st.rerun()

    furniture.live(fragment, running=playing, every=SECONDS_PER_STEP)


def stop_playing() -> None:
    """Stand still: what plays must not go on by itself on a page that is visited again."""
    for key in st.session_state:
        if isinstance(key, str) and key.endswith(" plays"):
            st.session_state[key] = False


def _controls(count: int, key: str, *, playing: bool) -> None:
    state = st.session_state

    def go(step: int) -> None:
        state[key], state[f"{key} moved"] = step, time.monotonic()

    def toggle() -> None:
        state[f"{key} plays"], state[f"{key} moved"] = not playing, time.monotonic()
        if state[key] == count:
            state[key] = 1

    step = state.setdefault(key, 1)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.button(
            "Back", key=f"{key} back", on_click=go, args=(step - 1,), disabled=step == 1, width="content"
        )
        st.button(
            "Next", key=f"{key} next", on_click=go, args=(step + 1,), disabled=step == count, width="content"
        )
        label = "Stop" if playing else "Play"
        st.button(label, key=f"{key} play", on_click=toggle, type="primary", width="content")
        if count > 1:
            st.slider("Step", 1, count, key=key)
