"""Which decoder is being looked at: the sidebar's settings, the run that they name, and its weights.

Session state holds ids and small settings only; whatever is worth keeping is in the store.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal, NoReturn, cast, get_args

import streamlit as st

from decoder import CORPORA, Corpus, Decoder, TextSource, TrainConfig, open_corpus
from decoder.config import MAX_TEXT_LENGTH, Level, Mode
from decoder.figures.style import NAMES, Appearance, Meaning
from decoder.language import clean
from decoder.runs import EvaluationRow, Run, Store, open_store
from decoder.training.presets import Size, preset

Lane = Mode | Literal["no_mask"]  # what a lane of the training page can be
OWN_TEXT = "text"
LANES: tuple[Lane, ...] = (*get_args(Mode), "no_mask")
CORPUS_STORIES = {
    "ibm": "Who taught whom what: “IBM taught me GPT”.",
    "story": "A small animal, its name, its food and its sound.",
    "ibm-long": "As ibm, with rows of very unequal length.",
    "alphabet": "Twelve letters in order, from any letter on.",
    "count": "Counting by ones, twos or threes.",
    "recall": "A song, and at its end the name from its beginning.",
    "reverse": "Letters, and the same letters backwards.",
    OWN_TEXT: "A text of yours, cut into words, characters or byte pairs.",
}
SIZES = ("small", "standard", "large")
LEVELS = {"word": "words", "char": "characters", "bpe": "byte pairs"}
FIRST_USEFUL_STEP = 20
FIRST_CORPUS = "ibm"
WORKERS = os.cpu_count() or 1
MAX_SEED = 9_999
MOST_STRANGE_SHARE = 0.05  # of an upload's characters; above it is no text


@dataclass(frozen=True)
class Snapshot:
    """A decoder as it was after `step` updates."""

    model: Decoder
    step: int

    @property
    def state(self) -> str:
        """How much it has learned, in words that stand beside everything it says."""
        return f"trained {self.step:,} steps" if self.step else "untrained"


@dataclass(frozen=True)
class Exploration:
    """What the visitor has chosen: a training, its run in the store, and its corpus."""

    config: TrainConfig
    run_id: str
    corpus: Corpus

    @property
    def meaning(self) -> Meaning:
        """What decides its colour and its name."""
        return self.config.mode if self.config.decoder.causal else "no_mask"

    @property
    def run(self) -> Run:
        """The run as the store has it now."""
        return store().run(self.run_id)


@st.cache_resource(show_spinner=False)
def store() -> Store:
    """Return the one connection of this server to the store of runs."""
    return open_store()


def choose(*, with_mode: bool = True) -> None:
    """Draw the sidebar's settings; every one is part of the address, so that a link carries them.

    Args:
        with_mode: whether the page follows the chosen training mode; a page with lanes has its own.
    """
    with st.sidebar:
        corpus = st.selectbox(
            "Corpus",
            [*CORPORA, OWN_TEXT],
            key="corpus",
            bind="query-params",
            help="What the decoder learns to write. Seven are generated, so the best possible loss is known.",
        )
        st.caption(CORPUS_STORIES[corpus])
        if corpus == OWN_TEXT:
            _choose_text()
        st.selectbox(
            "Decoder",
            SIZES,
            index=1,
            key="size",
            bind="query-params",
            help="Small: 1 layer of 2 heads. Standard: 2 layers of 4 heads. Large: 4 layers of 4 heads, twice as wide.",
        )
        if with_mode:
            st.selectbox(
                "Training mode",
                LANES,
                format_func=NAMES.__getitem__,
                key="mode",
                bind="query-params",
                help="Which history the decoder is fed while it learns.",
            )
        st.number_input(
            "Seed",
            min_value=0,
            max_value=MAX_SEED,
            value=0,
            key="seed",
            bind="query-params",
            help="Decides initial weights and batches. The same seed gives the same training, bit by bit.",
        )


def _choose_text() -> None:
    st.text_area(
        "Text",
        height=160,
        max_chars=MAX_TEXT_LENGTH,
        key="text",
        persist_state="session",
        placeholder="Paste a text of some pages …",
    )
    st.file_uploader("or a .txt file, at most 1 MB", type=["txt"], key="upload", on_change=_take_upload)
    if refusal := st.session_state.get("upload refusal"):
        st.text(f"⚠ {refusal}")
    st.radio("Cut into", list(LEVELS), format_func=LEVELS.__getitem__, key="level", bind="query-params")


def _take_upload() -> None:
    """Put an uploaded text where typed text stands, so that what is seen there is what is trained on."""
    state = st.session_state
    state["upload refusal"] = ""
    if state.upload is None:
        return
    text = state.upload.getvalue().decode(errors="replace")
    strange = sum(character in {"�", "\x00"} for character in text)
    if strange > MOST_STRANGE_SHARE * len(text):
        state["upload refusal"] = (
            f"{strange:,} of {len(text):,} characters of the file are no text in UTF-8: save it as UTF-8 and try again"
        )
        return
    state.text = clean(text)


def config_of(lane: Lane) -> TrainConfig:
    """Return the training of the chosen corpus, size and seed in this mode.

    Raises:
        ValueError: if the visitor's own text cannot be trained on; the message says what to change.
    """
    state = st.session_state
    source: str | TextSource = state.corpus
    if source == OWN_TEXT:
        source = TextSource(clean(state.text), cast("Level", state.level))
    mode = "teacher_forcing" if lane == "no_mask" else lane
    size = cast("Size", state.size)
    return preset(source, mode=mode, size=size, seed=int(state.seed), causal=lane != "no_mask")


def explore(lane: Lane | None = None) -> Exploration:
    """Return what is being looked at, and have it trained if nobody has done so yet.

    Where it cannot be trained, one sentence says why and what to do, and the page ends there.
    """
    try:
        config = config_of(lane or st.session_state.mode)
        run_id = store().request(config)
        corpus = open_corpus(config.corpus, config.decoder.context_length)
    except ValueError as error:
        refuse(error)
    return Exploration(config, run_id, corpus)


def refuse(error: Exception) -> NoReturn:
    """Say in one sentence what is wrong and what to do, and end the page; nothing that was typed is lost."""
    with st.container(border=True, key="refusal"):
        st.text(f"⚠ {error}")  # plain text: the message quotes what the visitor typed
    st.stop()


def newest(run_id: str) -> Snapshot | None:
    """Return the newest decoder of a run; None while not even the first is stored."""
    steps = store().snapshots(run_id)
    return at_step(run_id, steps[-1]) if steps else None


def at_step(run_id: str, step: int) -> Snapshot:
    """Return the decoder as it was at the last snapshot at or before `step`."""
    known = max(known for known in store().snapshots(run_id) if known <= step)
    return _snapshot(run_id, known)


@st.cache_resource(max_entries=64, show_spinner=False)
def _snapshot(run_id: str, step: int) -> Snapshot:
    return Snapshot(*store().model(run_id, step))


def evaluation(run_id: str, step: int | None = None) -> EvaluationRow | None:
    """Return what was measured last at or before `step`, or at all; None while nothing has been measured."""
    rows = [row for row in store().evaluations(run_id) if step is None or row.step <= step]
    return rows[-1] if rows else None


def appearance() -> Appearance:
    """Return whether the visitor sees the app in light or in dark."""
    return "dark" if st.context.theme.type == "dark" else "light"
