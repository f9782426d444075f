"""What every page stands in: its head, the strip that names the decoder, sentences, and the code behind a picture."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import altair as alt
import streamlit as st

from decoder.figures.style import NAMES
from decoder.figures.words import run_state
from pages.ui import session
from pages.ui.session import Exploration, Snapshot

alt.theme.enable("none")  # Streamlit's theme decides
POLL_SECONDS = 0.5
RUNNING = {"waiting", "training"}


def head(title: str, question: str) -> None:
    """Show the page's title and the one question that it answers."""
    st.title(title)
    st.markdown(f"##### {question}")


def say(*sentences: str, key: str = "what_you_see") -> None:
    """Say what is to be seen, in sentences made from the actual numbers; plain text, so any token is safe."""
    with st.container(border=True, key=key):
        st.caption("What you see")
        st.text(" ".join(sentences))


def show_code(*functions: Callable[..., Any] | type) -> None:
    """Offer the source of the very functions that computed the page."""
    with st.expander("The code that computes this"):
        for function in functions:
            st.code(inspect.getsource(inspect.unwrap(function)), language="python")


def chart(figure: alt.LayerChart, *, key: str) -> None:
    """Draw an altair figure.

    Not through st.altair_chart: it would check the figure against the whole grammar of Vega-Lite at every redraw,
    holding all other visitors up for longer than everything else takes; tests check the figures once.
    """
    with st.container(key=key):
        st.vega_lite_chart(figure.to_dict(validate=False), key=f"{key} chart")


def live(draw: Callable[[], None], *, running: bool) -> None:
    """Draw, and while something runs draw again twice a second; nothing polls once it has ended."""
    st.fragment(draw, run_every=POLL_SECONDS if running else None)()


def strip(exploration: Exploration) -> Snapshot | None:
    """Name the decoder that the page looks at; return it as it is now, or as it was at the chosen step.

    While it trains the strip follows it, and the page is drawn again from time to time; afterwards a slider
    moves through its snapshots. None while there is not even an untrained one: whatever needs a decoder then
    waits in `require`.
    """
    run_id = exploration.run_id
    with st.container(border=True, key="strip"):
        refuse_failed(exploration)
        headline = st.container()
        finished = exploration.run.state == "finished"
        snapshot = session.newest(run_id)
        follow([exploration], drawn=[snapshot])
        if finished:
            snapshot = session.at_step(run_id, _playhead(run_id))
        with headline:
            _headline(exploration, snapshot)
        warn_of_noise(snapshot)
    return snapshot


def warn_of_noise(snapshot: Snapshot | None) -> None:
    """Say so if the decoder has hardly been trained."""
    if snapshot and snapshot.step < session.FIRST_USEFUL_STEP:
        state = "is untrained" if not snapshot.step else f"was {snapshot.state} only"
        st.info(f"The decoder shown here {state}: what it does is mostly noise.", icon=":material/casino:")


def require(snapshot: Snapshot | None) -> Snapshot:
    """Return the decoder, or end the page here until there is one: the strip draws the page again."""
    if snapshot is None:
        st.caption("The rest of this page appears with the first updates.")
        st.stop()
    return snapshot


def refuse_failed(exploration: Exploration) -> None:
    """End the page with the reason if the training failed."""
    run = exploration.run
    if run.state == "failed":
        session.refuse(ValueError(f"the training failed: {run.error}"))


def any_running(explorations: Sequence[Exploration]) -> bool:
    """Whether one of these trainings goes on."""
    return any(exploration.run.state in RUNNING for exploration in explorations)


def follow(explorations: Sequence[Exploration], *, drawn: Sequence[Snapshot | None]) -> None:
    """Show how far trainings are; draw the page again when they end, or have come much further than it shows.

    Args:
        explorations: the trainings.
        drawn: the decoders that the page shows now, None where there is none yet.
    """
    running = any_running(explorations)
    # Twice as far is worth a new picture: at 20 updates, 40, 80, ... and at the end.
    next_steps = [max(2 * snapshot.step if snapshot else 0, session.FIRST_USEFUL_STEP) for snapshot in drawn]

    def progress() -> None:
        if not running:
            return
        runs = [exploration.run for exploration in explorations]
        for exploration, run in zip(explorations, runs, strict=True):
            text = f"{NAMES[exploration.meaning]}: {run_state(run.state, run.step, run.config.steps)}"
            st.progress(run.step / run.config.steps, text=text)
        ended = not any(run.state in RUNNING for run in runs)
        kept = [session.store().snapshots(run.id)[-1:] for run in runs]
        further = any(steps and steps[0] >= step for steps, step in zip(kept, next_steps, strict=True))
        if ended or further:
            st.rerun()

    live(progress, running=running)


def next_page(path: str, label: str) -> None:
    """Lead on to the next step of the lecture."""
    st.page_link(f"pages/lecture/{path}.py", label=f"Next: {label}", icon=":material/arrow_forward:")


def _headline(exploration: Exploration, snapshot: Snapshot | None) -> None:
    shape = exploration.config.decoder
    st.markdown(
        f"**{exploration.corpus.name}** · {NAMES[exploration.meaning]} · {shape.n_layers} layers × "
        f"{shape.n_heads} heads, width {shape.d_model} · {shape.n_parameters:,} parameters · "
        f"seed {exploration.config.seed}" + (f" · shown here: {snapshot.state}" if snapshot else "")
    )


def _playhead(run_id: str) -> int:
    steps = session.store().snapshots(run_id)
    return int(
        st.select_slider(
            "Look at it after so many updates",
            options=steps,
            value=steps[-1],
            key=f"step of {run_id}",
            persist_state="session",
        )
    )
