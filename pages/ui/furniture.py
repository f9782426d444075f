"""What every page stands in: its head, sentences, live drawing, and the code behind a picture."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

import altair as alt
import pyarrow as pa
import streamlit as st

from decoder.figures.export import Figure
from decoder.runs import StoreError, UnknownRunError
from pages.ui import session
from pages.ui.session import Exploration

alt.theme.enable("none")  # Streamlit's theme decides
POLL_SECONDS = 0.5
_in_a_fragment: ContextVar[bool] = ContextVar("_in_a_fragment", default=False)


def head(title: str, question: str) -> None:
    """Show the page's title and the one question that it answers."""
    st.title(title)
    st.markdown(f"##### {question}")


def say(*sentences: str, key: str = "what_you_see") -> None:
    """Say what is to be seen, in sentences made from the actual numbers; plain text, so any token is safe."""
    with st.container(border=True, key=key):
        st.caption("What you see")
        st.text(" ".join(sentences))


def differently(concept: str, text: str) -> None:
    """Say where the lecture puts a concept ("c8") in other words than this page, and why; plain Markdown of our own."""
    with st.container(key=f"lecture-{concept}"):
        st.caption(f"**Where the lecture says it differently.** {text}")


def show_code(*functions: Callable[..., Any] | type) -> None:
    """Offer the source of the very functions that computed the page."""
    with st.expander("The code that computes this"):
        for function in functions:
            st.code(inspect.getsource(inspect.unwrap(function)), language="python")


def chart(figure: Figure, *, key: str) -> None:
    """Draw an altair figure.

    Not through st.altair_chart: it would check the figure against the whole grammar of Vega-Lite at every redraw,
    holding all other visitors up for longer than everything else takes; tests check the figures once.
    """
    specification = _described_by_data(figure.to_dict(validate=False))
    # Streamlit would make the same of rows, by way of pandas, and take several times as long.
    tables = {name: pa.Table.from_pylist(rows) for name, rows in specification["datasets"].items()}
    with st.container(key=key):
        st.vega_lite_chart(
            specification | {"datasets": tables}, alt=f"Chart: {key.replace('_', ' ')}", key=f"{key} chart"
        )


def _described_by_data(specification: dict[str, Any]) -> dict[str, Any]:
    """Let an unseen mark say what a layered chart shows, below all others: what it says is data, and may change.

    A browser begins a chart anew whose specification changes, and Streamlit's `alt` becomes a part of that.
    """
    said = {
        "data": {"name": "said"},
        "mark": {"type": "rect", "fillOpacity": 0},
        "encoding": {"description": {"field": "description", "type": "nominal"}},
    }
    rest = {name: part for name, part in specification.items() if name != "description"}
    return rest | {
        "layer": [said, *specification["layer"]],
        "datasets": specification["datasets"] | {"said": [{"description": specification["description"]}]},
    }


def live(draw: Callable[[], None], *, running: bool, every: float = POLL_SECONDS) -> None:
    """Draw in a fragment, and while something runs draw again every so many seconds; nothing polls once it has ended."""
    st.fragment(guarded(_as_one(draw)), run_every=every if running else None)()


def apart(draw: Callable[[], None]) -> None:
    """Draw in a fragment: what is clicked in it draws nothing else anew. Within another one it is drawn with that."""
    if _in_a_fragment.get():
        draw()
    else:
        live(draw, running=False)


def _as_one(draw: Callable[[], None]) -> Callable[[], None]:
    """Return what draws the same without fragments within it.

    If one run of a fragment is broken off by the next, Streamlit drops what it has not sent yet of the first, but for the
    fragments within it: the browser is then told to put them into places that it does not have, and stops.
    """

    def draw_as_one() -> None:
        before = _in_a_fragment.set(True)
        try:
            draw()
        finally:
            _in_a_fragment.reset(before)

    return draw_as_one


def guarded(draw: Callable[[], None]) -> Callable[[], None]:
    """Return what draws the same, and says it in a sentence if the store no longer has what is to be drawn."""

    def try_to_draw() -> None:
        try:
            draw()
        except UnknownRunError:  # the store needed its room: a new look at the page asks for the run again
            st.rerun()
        except StoreError as error:
            session.refuse(error)

    return try_to_draw


def any_running(explorations: Sequence[Exploration]) -> bool:
    """Whether one of these trainings goes on."""
    return any(exploration.run.state in session.RUNNING for exploration in explorations)


def next_page(path: str, label: str) -> None:
    """Lead on to the next step of the lecture."""
    st.page_link(f"pages/lecture/{path}.py", label=f"Next: {label}", icon=":material/arrow_forward:")
