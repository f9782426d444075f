"""The same decoder trained three times on "reverse": with learned, with sinusoidal and without positions, side by side."""

from __future__ import annotations

from functools import partial
from typing import get_args

import streamlit as st

from decoder import Decoder, next_token_loss, open_corpus
from decoder.config import Positions
from decoder.figures import embedding_words as words
from decoder.figures.curves import Curve, TheoryLine, loss_curves
from decoder.figures.embedding_words import TrainedPositions
from decoder.figures.growing import GrowingChart
from decoder.figures.tables import Table
from decoder.figures.target_words import nats
from decoder.figures.words import percent, run_state
from decoder.model.positions import sinusoidal_positions
from decoder.runs import Run
from decoder.training.evaluation import PROMPTS, true_history_loss
from decoder.training.matching import Matches, exact_matches
from decoder.training.presets import preset
from pages.ui import aids, furniture, lanes, session
from pages.ui.session import Exploration
from pages.ui.vectors import Vector, vectors
from pages.ui.visitor import viewer

CORPUS = "reverse"
KINDS: tuple[Positions, ...] = get_args(Positions)
SENTENCES = 4
TOP = 3  # nats; a little above ln V, knowing nothing


def explore(seed: int) -> list[Exploration]:
    """Have the three trainings done if nobody has yet, and return them."""
    try:
        configs = [preset(CORPUS, positions=kind, seed=seed) for kind in KINDS]
        runs = [session.store().request(config, viewer()) for config in configs]
        session.look(runs)
    except ValueError as error:
        session.refuse(error)
    return [
        Exploration(config, run_id, open_corpus(CORPUS), f"positions {config.decoder.positions}")
        for config, run_id in zip(configs, runs, strict=True)
    ]


def compare(explorations: list[Exploration]) -> None:
    """Draw the three trainings while they run, and once they have ended what they have learned."""
    running = furniture.any_running(explorations)
    ended = not running and all(exploration.run.state == "finished" for exploration in explorations)

    def draw(exploration: Exploration) -> None:
        run = exploration.run
        if run.state in session.RUNNING:
            session.look([run.id])
        _training(exploration, run, ended=ended)
        if running and not furniture.any_running(explorations):
            st.rerun()

    for exploration, place in zip(explorations, st.columns(len(explorations)), strict=True):
        with place:
            furniture.live(partial(draw, exploration), running=running)
            _curve_numbers(exploration)
    st.caption(
        "Loss, in nats per letter to be written: thin on the batch of each update, points on sentences that none was "
        "trained on. Exact match: how many of such prompts are reversed without a mistake."
    )
    if ended:
        _learned(explorations)


def _curve_numbers(exploration: Exploration) -> None:
    """Offer the numbers of a curve; apart from it, so that who reads them is not disturbed."""
    kind = exploration.config.decoder.positions
    aids.numbers(
        partial(_loss_table, exploration),
        key=f"losses_{kind}",
        code=(next_token_loss, true_history_loss),
        figure=partial(_loss_figure, exploration),
    )


def _loss_table(exploration: Exploration) -> Table:
    """Return the losses of a training as they stand."""
    store, kind = session.store(), exploration.config.decoder.positions
    tests: dict[int, float] = {
        row.step: row.true_history_loss for row in store.evaluations(exploration.run_id)
    }
    losses: dict[int, float] = {row.step: row.loss for row in store.metrics(exploration.run_id)}
    return Table(
        f"losses with {words.TRAINED_WITH[kind]}, nats per letter to be written",
        ["updates", "on the batch", "on sentences not trained on"],
        [[step, losses.get(step), tests.get(step)] for step in sorted({*losses, *tests})],
    )


def _loss_figure(exploration: Exploration) -> GrowingChart:
    """Return the losses of a training as they stand, as a picture."""
    kind, store = exploration.config.decoder.positions, session.store()
    tests, losses = store.evaluations(exploration.run_id), store.metrics(exploration.run_id)
    curves = [
        Curve(
            "batches",
            exploration.meaning,
            [row.step for row in losses],
            [row.loss for row in losses],
            named=False,
        ),
        Curve(
            kind,
            exploration.meaning,
            [row.step for row in tests],
            [row.true_history_loss for row in tests],
            points=True,
            named=False,
        ),
    ]
    now = f", now {nats(tests[-1].true_history_loss)}" if tests else ""
    return loss_curves(
        curves,
        [TheoryLine(exploration.corpus.floor or 0.0, "floor 0")],
        planned_steps=exploration.config.steps,
        y_title="loss",
        top=TOP,
        height=190,
        description=f"Loss on {CORPUS} with {words.TRAINED_WITH[kind]}{now}.",
        appearance=session.appearance(),
    )


def _training(exploration: Exploration, run: Run, *, ended: bool) -> None:
    """One training as it stands: how far, its curve, its newest measurement; on all held-out prompts once all have ended."""
    kind = exploration.config.decoder.positions
    st.markdown(f"**{words.TRAINED_WITH[kind]}**")
    st.caption(run_state(run.state, run.step, run.config.steps))
    tests = session.store().evaluations(run.id)
    if not tests:
        return
    furniture.chart(_loss_figure(exploration), key=f"losses_{kind}")
    share, prompts = tests[-1].prompted_accuracy or 0.0, PROMPTS
    if ended:
        share, prompts = (found := _matches(run.id, run.config.steps).all).share, found.rows
    st.text(f"loss {nats(tests[-1].true_history_loss)} · exact match {percent(share)} of {prompts} prompts")


def _learned(explorations: list[Exploration]) -> None:
    """Say and show what the three have learned: numbers, what they write, their position vectors."""
    snapshots = [session.at_step(lane.run_id, lane.config.steps) for lane in explorations]
    tests = [session.store().evaluations(lane.run_id)[-1] for lane in explorations]
    trained = [
        TrainedPositions(kind, snapshot.step, test.true_history_loss, _matches(lane.run_id, snapshot.step))
        for kind, lane, snapshot, test in zip(KINDS, explorations, snapshots, tests, strict=True)
    ]
    furniture.say(words.positions_sentence(trained), key="what_breaks")
    rows = [
        [
            each.kind,
            each.step,
            each.loss,
            *each.matches.all,
            *each.matches.different,
            *each.matches.repeated,
            test.valid_share,
        ]
        for each, test in zip(trained, tests, strict=True)
    ]
    columns = ["positions", "updates", "loss, true history", "without a mistake", "prompts", "letters all different",
               "such prompts", "a letter twice", "such prompts", "valid when sampled"]  # fmt: skip
    aids.numbers(Table("three kinds of positions", columns, rows), key="kinds", code=(exact_matches,))

    st.markdown("**What they write after the same prompts**")
    for lane, snapshot, place in zip(explorations, snapshots, st.columns(len(KINDS)), strict=True):
        with place:
            st.caption(words.TRAINED_WITH[lane.config.decoder.positions])
            lanes.sentences(lane, snapshot, SENTENCES)

    st.markdown("**What they add: the position vectors, a row per position**")
    for kind, snapshot, place in zip(KINDS, snapshots, st.columns(len(KINDS)), strict=True):
        table = snapshot.model.position_table.tolist()
        with place:
            is_zero = not any(map(any, table))
            st.caption(words.TRAINED_WITH[kind] + (": every number is 0" if is_zero else ""))
            vectors(
                [Vector(f"t = {t}", row) for t, row in enumerate(table)],
                key=f"table_{kind}",
                reach=max(max(map(abs, row)) for row in table) or 1.0,
                title=f"position vectors, {words.TRAINED_WITH[kind]}",
                look="table",
                names=4,
            )
            aids.numbers(
                Table(
                    f"position vectors, {words.TRAINED_WITH[kind]}",
                    ["t", *(f"number {column + 1}" for column in range(len(table[0])))],
                    [[t, *row] for t, row in enumerate(table)],
                ),
                key=f"table_{kind}",
                code=(sinusoidal_positions,) if kind == "sinusoidal" else (Decoder.__init__,),
            )


@st.cache_resource(max_entries=64, show_spinner=False)
def _matches(run_id: str, step: int) -> Matches:
    return exact_matches(session.at_step(run_id, step).model, open_corpus(CORPUS).validation)
