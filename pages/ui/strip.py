"""The strip at the top of every page: which decoder is looked at, how far it is, and what can be done about it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import get_args

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from decoder.config import MAX_BATCH_SIZE, MAX_STEPS, Pick, Schedule
from decoder.figures.style import NAMES
from decoder.figures.words import run_state
from decoder.runs import Run
from pages.ui import furniture, session
from pages.ui.address import IN_ADDRESS
from pages.ui.session import Exploration, Snapshot
from pages.ui.visitor import viewer

LONG_WAIT_SECONDS = 10.0
ENDED = {"finished", "failed"}
PLAYHEAD = "after"  # of the address: after how many updates the decoder is looked at


def show(exploration: Exploration) -> Snapshot | None:
    """Name the decoder that the page looks at; return it as it is after the chosen step, or as it is now.

    At its right end the playhead follows the training, and the page is drawn again from time to time. None while
    there is not even an untrained decoder: whatever needs one then waits in `require`.
    """
    with st.container(border=True, key="strip"):
        headline = st.container()
        (snapshot,) = follow([exploration])
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


def follow(explorations: Sequence[Exploration]) -> list[Snapshot | None]:
    """Show how far trainings are, with what can be done about them, and return the decoders at the playhead.

    While the playhead follows, the page is drawn again when they end, or have come much further than it shows.
    """
    for exploration in explorations:
        if exploration.run.state == "failed" and not session.store().snapshots(exploration.run_id):
            session.refuse(ValueError(f"the training failed: {exploration.run.error}"))
    states = [exploration.run.state for exploration in explorations]
    going = any(state not in ENDED for state in states)
    progress = st.container()
    several = len(explorations) > 1
    for letter, exploration, place in zip("AB", explorations, _side_by_side(len(explorations)), strict=False):
        with place:
            controls(exploration, of=f", lane {letter}" if several else "")
    at = _playhead(explorations)
    drawn = [session.newest(exploration.run_id, at) for exploration in explorations]
    # Twice as far is worth a new picture: at 20 updates, 40, 80, ... and at the end.
    next_steps = [max(2 * snapshot.step if snapshot else 0, session.FIRST_USEFUL_STEP) for snapshot in drawn]

    def look() -> None:
        runs = [exploration.run for exploration in explorations]
        session.look([run.id for run in runs if run.state not in ENDED])
        for exploration, run, place in zip(explorations, runs, _side_by_side(len(runs)), strict=True):
            with place:
                _progress(exploration, run)
        now = [session.newest(run.id, at) for run in runs]
        further = any(
            snapshot and snapshot.step >= step for snapshot, step in zip(now, next_steps, strict=True)
        )
        ended = all(run.state in ENDED for run in runs)
        # Somebody else, or a page of one's own, may have paused it or let it go on.
        turned = any(
            (run.state == "paused") != (state == "paused") for run, state in zip(runs, states, strict=True)
        )
        if going and (further or ended or turned):
            st.rerun()

    with progress:
        furniture.live(look, running=going)
    return drawn


def _side_by_side(count: int) -> Sequence[DeltaGenerator]:
    return st.columns(count) if count > 1 else [st.container()]


def controls(exploration: Exploration, of: str = "") -> None:
    """Offer to pause a training, to let it go on, and to continue it in another way.

    Args:
        exploration: the training.
        of: what the labels end with, where a page has several.
    """
    run, slot = exploration.run, exploration.slot
    with st.container(horizontal=True, vertical_alignment="center"):
        if run.state in session.RUNNING:
            st.button(
                f"Pause{of}", key=f"{slot} pause", icon=":material/pause:", on_click=_pause, args=(run.id,)
            )
        elif run.state == "paused":
            st.button(
                f"Go on{of}",
                key=f"{slot} go on",
                icon=":material/play_arrow:",
                on_click=_go_on,
                args=(run.id,),
            )
        furniture.apart(partial(_offer_fork, exploration, of))
    if refusal := st.session_state.pop("pause refusal", None):
        st.text(f"⚠ {refusal}")


def _pause(run_id: str) -> None:
    try:
        session.store().pause(run_id, viewer())
    except ValueError as error:
        st.session_state["pause refusal"] = str(error)


def _go_on(run_id: str) -> None:
    try:
        session.store().resume(run_id)
    except ValueError as error:
        st.session_state["pause refusal"] = str(error)


def _offer_fork(exploration: Exploration, of: str) -> None:
    """Offer the form of a fork, which is drawn only while it is open; opening it draws nothing else of the page anew."""
    if session.shown(exploration.slot) != exploration.run_id:  # the press has come here first
        st.rerun()
    # A key of its own for every run: the form of the next one is closed, and says what that one does.
    box = st.popover(
        f"Change from here on{of}",
        icon=":material/alt_route:",
        key=f"change {exploration.run_id}",
        on_change="rerun",
    )
    if box.open:
        with box:
            _fork_form(exploration)


def _fork_form(exploration: Exploration) -> None:
    """Ask for other settings from the playhead on, and show the run that goes on with them."""
    config, run, key = exploration.config, exploration.run, f"fork of {exploration.run_id}"
    chosen = int(st.session_state.get(PLAYHEAD, config.steps))
    step = min(chosen, run.step)
    follows = chosen >= run.step and run.state not in ENDED
    here = "where this one stands when you press" if follows else f"exactly here, after {step:,} updates"
    st.caption(
        f"A new training goes on from {here}, with other settings. "
        "The old one stays as it is, for you and for everybody else."
    )
    with st.form(key, border=False):
        st.selectbox(
            "Training mode",
            session.LANES,
            index=session.LANES.index(session.lane_of(config)),
            format_func=NAMES.__getitem__,
            key=f"{key} mode",
        )
        rate = config.learning_rate
        st.number_input(
            "Learning rate",
            min(1e-5, rate),
            max(1.0, rate),
            rate,
            _tenth(rate),
            format="%g",
            key=f"{key} rate",
        )
        st.number_input("Sentences per update", 1, MAX_BATCH_SIZE, config.batch_size, key=f"{key} batch")
        planned = min(config.steps if step < config.steps else 2 * config.steps, MAX_STEPS)
        st.number_input("Planned updates in all", 1, MAX_STEPS, planned, key=f"{key} steps")
        st.selectbox(
            "In scheduled sampling the truth falls",
            get_args(Schedule),
            index=get_args(Schedule).index(config.schedule),
            format_func=lambda name: name.replace("_", " "),
            key=f"{key} schedule",
        )
        st.selectbox(
            "In free running predictions are picked",
            get_args(Pick),
            index=get_args(Pick).index(config.pick),
            key=f"{key} pick",
        )
        st.number_input(
            "In free running true tokens come first",
            0,
            max(config.decoder.context_length, config.start or 0),
            config.start or 0,
            help="0: as many as the corpus gives as a prompt.",
            key=f"{key} start",
        )
        # Not a primary button: app.css cannot know in a popover whether the page is dark.
        st.form_submit_button(
            "Go on this way", on_click=_fork, args=(exploration, None if follows else step), key=f"{key} go"
        )
    if refusal := st.session_state.pop(f"{key} refusal", None):
        st.text(f"⚠ {refusal}")


def _tenth(rate: float) -> float:
    """Return the tenth of a learning rate, to one digit: by so much a press changes it."""
    return float(f"{rate / 10:.0e}")


def _fork(exploration: Exploration, step: int | None) -> None:
    """Continue the training as the form says, and show that in its place.

    Called before the page is drawn: a page that is drawn again because its training ended loses no press.

    Args:
        exploration: the training.
        step: after which of its updates; None: after the last one that is recorded now.
    """
    state, key = st.session_state, f"fork of {exploration.run_id}"
    lane: session.Lane = state[f"{key} mode"]
    try:
        step = exploration.run.step if step is None else step
        fork = session.store().fork(
            exploration.run_id,
            step,
            viewer=viewer(),
            mode="teacher_forcing" if lane == "no_mask" else lane,
            decoder=dataclasses.replace(exploration.config.decoder, causal=lane != "no_mask"),
            learning_rate=float(state[f"{key} rate"]),
            batch_size=int(state[f"{key} batch"]),
            steps=int(state[f"{key} steps"]),
            schedule=state[f"{key} schedule"],
            pick=state[f"{key} pick"],
            start=int(state[f"{key} start"]) or None,
        )
    except ValueError as error:
        state[f"{key} refusal"] = str(error)
        return
    session.show_instead(exploration.slot, fork)
    state[f"{PLAYHEAD} reset"] = True


def _progress(exploration: Exploration, run: Run) -> None:
    """Say in words where the training stands, and what may be expected."""
    expected = session.forecasts().get(run.id) if run.state in session.RUNNING else None
    state = run_state(
        run.state,
        run.step,
        run.config.steps,
        wait=expected.next_point if expected else None,
        left=expected.end if expected else None,
        speed=session.speed(run.id, run.step) if run.state == "training" else None,
        trained=run.trained,
    )
    text = f"{exploration.name}: {state}"
    if run.state in {"finished", "failed"}:
        st.caption(text)
        if run.error:
            st.text(f"⚠ {run.error}")
        return
    if run.state == "paused":
        by = " by you" if run.paused_by == viewer() else " by hand"
        text += by if run.paused_by else " because nobody looked"
    watchers = len(session.store().watchers(run.id))
    if watchers > 1:
        text += f" · {watchers} people look at it"
    st.progress(run.step / run.config.steps, text=text)
    if run.state == "waiting" and expected and expected.next_point > LONG_WAIT_SECONDS:
        _offer_nearest(exploration)


def _offer_nearest(exploration: Exploration) -> None:
    nearest = session.nearest_finished(exploration.run_id)
    if nearest is not None:
        name = f"{NAMES[session.lane_of(nearest.config)]}, seed {nearest.config.seed}"
        if st.button(f"Meanwhile look at a finished one: {name}", key=f"{exploration.slot} nearest"):
            session.show_instead(exploration.slot, nearest.id)
            st.rerun()


def _headline(exploration: Exploration, snapshot: Snapshot | None) -> None:
    shape = exploration.config.decoder
    st.markdown(
        f"**{exploration.corpus.name}** · {exploration.name} · {shape.n_layers} layers × "
        f"{shape.n_heads} heads, width {shape.d_model} · {shape.n_parameters:,} parameters · "
        f"seed {exploration.config.seed}" + (f" · shown here: {snapshot.state}" if snapshot else "")
    )


def _playhead(explorations: Sequence[Exploration]) -> int | None:
    """Let the visitor move through the training; return the chosen step, or None to follow the newest."""
    options = sorted(set().union(*(exploration.planned_snapshots for exploration in explorations)))
    state, end = st.session_state, options[-1]
    ended = state.get(f"{PLAYHEAD} end", end)
    # Where a shorter training ended, a longer one may have a snapshot too.
    follows = ended != end and state.get(PLAYHEAD) == ended
    if state.pop(f"{PLAYHEAD} reset", False) or follows or state.get(PLAYHEAD, end) not in options:
        state[PLAYHEAD] = end
    state[f"{PLAYHEAD} end"] = end
    at = st.select_slider(
        "Look at it after so many updates",
        options=options,
        value=end,
        key=PLAYHEAD,
        **IN_ADDRESS,
        help="At the right end it follows the training. Anywhere else it stands still, while the training goes on.",
    )
    return None if at == end else int(at)
