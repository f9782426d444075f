"""Which decoder is being looked at: the sidebar's settings, the run that they name, and its weights.

Session state holds ids and small settings only; whatever is worth keeping is in the store.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from threading import Lock
from typing import Literal, NamedTuple, NoReturn, cast, get_args

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from decoder import CORPORA, Corpus, Decoder, TextSource, TrainConfig, open_corpus
from decoder.config import MAX_TEXT_LENGTH, Level, Mode
from decoder.figures.style import NAMES, Appearance, Meaning
from decoder.figures.training_words import changed_settings
from decoder.language import clean
from decoder.runs import (
    EvaluationRow,
    Forecast,
    Run,
    Segment,
    Store,
    StoreError,
    UnknownRunError,
    open_store,
    schedule,
    snapshot_steps,
)
from decoder.runs.engine import own_workers
from decoder.training.presets import Size, preset
from pages.ui.address import IN_ADDRESS
from pages.ui.visitor import viewer

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
SIZES: tuple[Size, ...] = get_args(Size)
LEVELS = {"word": "words", "char": "characters", "bpe": "byte pairs"}
FIRST_USEFUL_STEP = 20
FIRST_CORPUS = "ibm"
MAX_SEED = 9_999
HEARTBEAT_SECONDS = 5.0
FORECAST_SECONDS = 2.0
NEAREST_SECONDS = 10.0
SPEED_SECONDS = 5.0
MOST_SHOWN = 24  # letters of what an address names a run; the name of one has twenty
RUNNING = {"waiting", "training"}
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
    """What the visitor looks at: a training, its run in the store, and its corpus.

    `slot` is the parameter of the address that names the run; `mark` tells it from another of the same name.
    """

    config: TrainConfig
    run_id: str
    corpus: Corpus
    slot: str = "run"
    mark: str = ""

    @property
    def meaning(self) -> Meaning:
        """What decides its colour: how it is trained, at last."""
        return lane_of(self.config)

    @property
    def lineage(self) -> tuple[Segment, ...]:
        """The stretches of its history; more than one if it was continued in another way."""
        return store().lineage(self.run_id)

    @property
    def name(self) -> str:
        """How it is trained, and with what it was continued, one after the other."""
        first, *_ = self.lineage
        return " → ".join([NAMES[lane_of(first.config)], *(turn for _, turn in self.turns)]) + self.mark

    @property
    def turns(self) -> list[tuple[int, str]]:
        """After which updates it was continued with other settings, and with which: the mode first, if it changed."""
        turns = []
        for before, after in pairwise(self.lineage):
            modes = [NAMES[lane] for lane in (lane_of(after.config),) if lane != lane_of(before.config)]
            turns.append((after.start, ", ".join([*modes, *changed_settings(before.config, after.config)])))
        return turns

    @property
    def run(self) -> Run:
        """The run as the store has it now."""
        return store().run(self.run_id)

    @property
    def planned_snapshots(self) -> list[int]:
        """The steps at which its decoder is kept, also those to come."""
        steps: list[int] = []
        for segment in self.lineage:
            steps = [step for step in steps if step <= segment.start]
            steps += [
                step
                for step in sorted(snapshot_steps(segment.config.steps))
                if step > segment.start or not step
            ]
        return sorted(set(steps))

    def config_of_update(self, step: int) -> TrainConfig:
        """Return the configuration by which this update is made."""
        return [segment.config for segment in self.lineage if segment.start < step or not segment.start][-1]


class Shown(NamedTuple):
    """A run, and the settings in whose place it is shown: other settings bring another run."""

    settings: tuple[object, ...]
    run_id: str


def lane_of(config: TrainConfig) -> Lane:
    """Return what lane of the training page a configuration belongs to."""
    return config.mode if config.decoder.causal else "no_mask"


@st.cache_resource(show_spinner=False)
def store() -> Store:
    """Return the one connection of this server to the store of runs."""
    return open_store()


def choose(*, with_mode: bool = True) -> None:
    """Draw the sidebar's settings; every one is part of the address, so that a link carries them.

    Args:
        with_mode: whether the page follows the chosen training mode; a page with lanes has its own.
    """
    for slot, key in ({"run": "mode"} if with_mode else {"run_a": "lane_a", "run_b": "lane_b"}).items():
        _adopt(slot, key)
    with st.sidebar:
        corpus = st.selectbox(
            "Corpus",
            [*CORPORA, OWN_TEXT],
            key="corpus",
            **IN_ADDRESS,
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
            **IN_ADDRESS,
            help="Small: 1 layer of 2 heads. Standard: 2 layers of 4 heads. Large: 4 layers of 4 heads, twice as wide.",
        )
        if with_mode:
            st.selectbox(
                "Training mode",
                LANES,
                format_func=NAMES.__getitem__,
                key="mode",
                **IN_ADDRESS,
                help="Which history the decoder is fed while it learns.",
            )
        st.number_input(
            "Seed",
            min_value=0,
            max_value=MAX_SEED,
            value=0,
            key="seed",
            **IN_ADDRESS,
            help="Decides initial weights and batches. The same seed gives the same training, bit by bit.",
        )
        st.button(
            "New seed",
            icon=":material/casino:",
            key="new seed",
            on_click=_draw_seed,
            help="The same training by other chances: what of its curve stays, and what was luck?",
        )


def _draw_seed() -> None:
    st.session_state.seed = random.randint(0, MAX_SEED)  # for a lesson, not for a secret


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
    st.radio("Cut into", list(LEVELS), format_func=LEVELS.__getitem__, key="level", **IN_ADDRESS)


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
    return _preset(source, lane, cast("Size", state.size), int(state.seed))


def _preset(source: str | TextSource, lane: Lane, size: Size, seed: int) -> TrainConfig:
    mode = "teacher_forcing" if lane == "no_mask" else lane
    return preset(source, mode=mode, size=size, seed=seed, causal=lane != "no_mask")


def explore(lane: Lane | None = None, *, slot: str = "run") -> Exploration:
    """Return what is being looked at, and have it trained if nobody has done so yet.

    The address then names the run, so that a link to it opens this very run. Where it cannot be trained, one
    sentence says why and what to do, and the page ends there.

    Args:
        lane: how it is trained, if nothing else is shown in its place; None: as the sidebar says.
        slot: the parameter of the address that names the run.
    """
    lane = lane or st.session_state.mode
    try:
        run_id = _shown(slot, lane) or store().request(config_of(lane), viewer())
        show(slot, lane, run_id)
        config = store().lineage(run_id)[-1].config
        corpus = open_corpus(config.corpus, config.decoder.context_length)
    except ValueError as error:
        refuse(error)
    _say_missing(slot, lane)
    return Exploration(config, run_id, corpus, slot)


def _say_missing(slot: str, lane: Lane) -> None:
    """Say that a link's training is not here, until another one is chosen: the page may be drawn anew at any moment."""
    state = st.session_state
    if missing := state.get(f"{slot} missing"):
        if state.setdefault(f"{slot} missing with", _settings(lane)) == _settings(lane):
            st.text(
                f"⚠ The training {missing[:MOST_SHOWN]} of this link is not kept here. "
                "This one is made by the link's other settings."
            )
        else:
            del state[f"{slot} missing"], state[f"{slot} missing with"]


def show(slot: str, lane: Lane, run_id: str) -> None:
    """Show this run until the settings change, and name it in the address."""
    state = st.session_state
    state[f"{slot} shown"] = Shown(_settings(lane), run_id)
    state[f"{slot} written"] = run_id
    if st.query_params.get(slot) != run_id:
        st.query_params[slot] = run_id


def shown(slot: str) -> str:
    """Return the run that this slot shows now."""
    now: Shown = st.session_state[f"{slot} shown"]
    return now.run_id


def show_instead(slot: str, run_id: str) -> None:
    """Show this run in place of the one that is shown now."""
    now: Shown = st.session_state[f"{slot} shown"]
    st.session_state[f"{slot} shown"] = now._replace(run_id=run_id)


def look(run_ids: Sequence[str]) -> None:
    """Tell the store now and then that somebody looks at these runs: others are paused after a while."""
    looked: dict[str, float] = st.session_state.setdefault("looked", {})
    now = time.monotonic()
    for run_id in run_ids:
        if now - looked.get(run_id, -HEARTBEAT_SECONDS) >= HEARTBEAT_SECONDS:
            store().watch(run_id, viewer())
            looked[run_id] = now


def speed(run_id: str, step: int) -> float | None:
    """Return how many updates per second have been seen to come; None before two looks that lie apart.

    Args:
        run_id: the run.
        step: that it has now.
    """
    now = time.monotonic()
    looks: list[tuple[float, int]] = st.session_state.setdefault("steps seen", {}).setdefault(run_id, [])
    looks.append((now, step))
    while (
        now - looks[0][0] > SPEED_SECONDS or looks[0][1] > step
    ):  # of long ago, or of a training that began anew
        del looks[0]
    seconds, steps = now - looks[0][0], step - looks[0][1]
    return steps / seconds if steps and seconds > 1 else None


@st.cache_resource(ttl=FORECAST_SECONDS, show_spinner=False)
def forecasts() -> dict[str, Forecast]:
    """Return when every run that goes on gets its next point and its end, by the rule that the workers follow."""
    return schedule.forecast(store(), own_workers())


@st.cache_resource(ttl=NEAREST_SECONDS, max_entries=256, show_spinner=False)
def nearest_finished(run_id: str) -> Run | None:
    """Return the finished run that is most like this one, to be looked at meanwhile."""
    return store().nearest_finished(store().run(run_id).config)


def _shown(slot: str, lane: Lane) -> str | None:
    """Return the run that is shown in place of the settings, if it is still there and they have not changed."""
    state = st.session_state
    adopted = state.pop(f"{slot} adopted", None)
    now = Shown(_settings(lane), adopted) if adopted else state.get(f"{slot} shown")
    if now is None or now.settings != _settings(lane):
        return None
    try:
        look([now.run_id])  # first: who looks at a run keeps it
        return store().run(now.run_id).id
    except UnknownRunError:  # the store needed its room
        state[f"{slot} missing"] = now.run_id
        return None


def _settings(lane: Lane) -> tuple[object, ...]:
    state = st.session_state
    own = (state.get("text"), state.get("level")) if state.corpus == OWN_TEXT else ()
    return (state.corpus, state.size, int(state.seed), lane, *own)


def _adopt(slot: str, mode_key: str) -> None:
    """Take over the run that a link names: the settings become those that it was asked for with.

    A run that this store does not have is left aside: the link's other settings say what to train. And so is one that
    stands in the address only because the browser has not yet heard of what was written there since: with a server far
    away, a second click comes with the address from before the first one.
    """
    state = st.session_state
    named, written = st.query_params.get(slot), state.get(f"{slot} written")
    if named in {None, written} or (written is not None and not _goes_through_history()):
        return
    state[f"{slot} written"] = named
    try:
        if not named.isalnum():
            raise UnknownRunError(named)
        config = store().lineage(named)[0].config
    except StoreError:
        raise
    except ValueError:  # it is gone, or of another version, or was never one
        state[f"{slot} missing"] = named
        return
    source = config.corpus
    if isinstance(source, TextSource):
        state["text"], state["level"] = source.text, source.level
    state["corpus"] = OWN_TEXT if isinstance(source, TextSource) else source
    state["seed"] = min(config.seed, MAX_SEED)
    state[mode_key] = lane_of(config)
    fitting = [size for size in SIZES if _preset(source, lane_of(config), size, config.seed) == config]
    state["size"] = next(iter(fitting), "standard")
    state[f"{slot} adopted"] = named


def _goes_through_history() -> bool:
    """Whether the page is drawn because the visitor went back or forward in the browser's history."""
    context = get_script_run_ctx()
    return context is not None and context.is_history_navigation


def refuse(error: Exception) -> NoReturn:
    """Say in one sentence what is wrong and what to do, and end the page; nothing that was typed is lost."""
    with st.container(border=True, key="refusal"):
        st.text(f"⚠ {error}")  # plain text: the message quotes what the visitor typed
    st.stop()


def newest(run_id: str, at: int | None = None) -> Snapshot | None:
    """Return the decoder at the last snapshot at or before step `at`, or at the last that was measured.

    None while there is no snapshot at all.
    """
    steps = [step for step in store().snapshots(run_id) if at is None or step <= at]
    if at is None:
        measured = {row.step for row in store().evaluations(run_id)}
        steps = [step for step in steps if step in measured] or steps
    return _snapshot(run_id, steps[-1]) if steps else None


def at_step(run_id: str, step: int) -> Snapshot:
    """Return the decoder as it was after this step, which must have been kept."""
    return _snapshot(run_id, step)


@st.cache_resource(max_entries=64, show_spinner=False)
def _snapshot(run_id: str, step: int) -> Snapshot:
    model, step = store().model(run_id, step)
    return Snapshot(model.requires_grad_(requires_grad=False), step)  # it is only looked at


def evaluation(run_id: str, step: int | None = None) -> EvaluationRow | None:
    """Return what was measured after exactly so many updates, or last of all; None as long as nothing was."""
    rows = [row for row in store().evaluations(run_id) if step is None or row.step == step]
    return rows[-1] if rows else None


class Update(NamedTuple):
    """What a curve needs of an update."""

    step: int
    loss: float
    seconds: float


def updates(run_id: str) -> list[Update]:
    """Return all recorded updates; only those that came since somebody last asked are read from the store."""
    known, lock = _known_updates(run_id)
    with lock:
        if known and known[-1].step > store().run(run_id).step:
            known.clear()  # it was removed, and has begun anew
        rows = store().metrics(run_id, after=known[-1].step if known else 0)
        known += [Update(row.step, row.loss, row.seconds) for row in rows]
        return [*known]


@st.cache_resource(max_entries=64, show_spinner=False)
def _known_updates(run_id: str) -> tuple[list[Update], Lock]:  # noqa: ARG001  # its key
    return [], Lock()


def appearance() -> Appearance:
    """Return whether the visitor sees the app in light or in dark."""
    return "dark" if st.context.theme.type == "dark" else "light"
