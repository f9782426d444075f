"""The same decoder trained three times on "reverse": with learned, with sinusoidal and without positions, side by side."""

from __future__ import annotations

from typing import get_args

import streamlit as st

from decoder import open_corpus
from decoder.config import Positions
from decoder.figures import embedding_words as words
from decoder.figures.curves import Curve, TheoryLine, loss_curves
from decoder.figures.embedding_words import TrainedPositions
from decoder.figures.tables import Table
from decoder.figures.target_words import nats
from decoder.figures.words import percent, run_state
from decoder.runs import Run
from decoder.training.evaluation import PROMPTS
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

    def draw() -> None:
        runs = [exploration.run for exploration in explorations]
        session.look([run.id for run in runs if run.state in session.RUNNING])
        for exploration, run, place in zip(explorations, runs, st.columns(len(runs)), strict=True):
            with place:
                _training(exploration, run)
        if running and not any(run.state in session.RUNNING for run in runs):
            st.rerun()

    furniture.live(draw, running=running)
    st.caption(
        "Loss, in nats per letter to be written: thin on the batch of each update, points on sentences that none was "
        f"trained on. Exact match: of {PROMPTS} such prompts, how many are reversed without a mistake."
    )
    if not running and all(exploration.run.state == "finished" for exploration in explorations):
        _learned(explorations)


def _training(exploration: Exploration, run: Run) -> None:
    """One training as it stands: how far, its curve, its newest measurement."""
    kind = exploration.config.decoder.positions
    store = session.store()
    st.markdown(f"**{words.TRAINED_WITH[kind]}**")
    st.caption(run_state(run.state, run.step, run.config.steps))
    tests = store.evaluations(run.id)
    losses = [row.loss for row in store.metrics(run.id)]
    if tests:
        curves = [
            Curve("batches", exploration.meaning, range(1, len(losses) + 1), losses, named=False),
            Curve(
                kind,
                exploration.meaning,
                [row.step for row in tests],
                [row.true_history_loss for row in tests],
                points=True,
                named=False,
            ),
        ]
        figure = loss_curves(
            curves,
            [TheoryLine(exploration.corpus.floor or 0.0, "floor 0")],
            planned_steps=run.config.steps,
            y_title="loss",
            top=TOP,
            height=190,
            description=f"Loss on {CORPUS} with {words.TRAINED_WITH[kind]}, now {nats(tests[-1].true_history_loss)}.",
            appearance=session.appearance(),
        )
        furniture.chart(figure, key=f"positions_{kind}")
        st.text(
            f"loss {nats(tests[-1].true_history_loss)} · exact match {percent(tests[-1].prompted_accuracy or 0.0)}"
        )


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
    aids.numbers(Table("three kinds of positions", columns, rows), key="kinds")

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
                key=f"positions_{kind}",
            )


@st.cache_resource(max_entries=64, show_spinner=False)
def _matches(run_id: str, step: int) -> Matches:
    return exact_matches(session.at_step(run_id, step).model, open_corpus(CORPUS).validation)
