"""One training or several beside each other: their curves while they grow, their numbers, what they write."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import streamlit as st

from decoder import Corpus
from decoder.figures.bars import position_bars
from decoder.figures.curves import Curve, TheoryLine, loss_curves, share_curves
from decoder.figures.style import NAMES
from decoder.figures.words import bound_formula, lane_sentence, listed, number, percent
from decoder.language import Batch
from decoder.runs import EvaluationRow
from decoder.training.evaluation import write_sentences
from decoder.training.trainer import roll_out
from pages.ui import furniture, session
from pages.ui.session import Exploration, Snapshot
from pages.ui.tokens import Chip, Strip, token_strips


def live_curves(
    lanes: Sequence[Exploration], *, key: str, shares: bool = False, seconds: bool = False
) -> None:
    """Draw the curves of these trainings; while one of them runs, they grow twice a second."""
    furniture.live(
        lambda: _curves(lanes, key=key, shares=shares, seconds=seconds),
        running=furniture.any_running(lanes),
    )


def _curves(lanes: Sequence[Exploration], *, key: str, shares: bool, seconds: bool) -> None:
    corpus = lanes[0].corpus
    losses: list[Curve] = []
    valid: list[Curve] = []
    end = 1
    for lane in lanes:
        name, meaning = NAMES[lane.meaning], lane.meaning
        metrics = session.store().metrics(lane.run_id)
        tests = session.store().evaluations(lane.run_id)
        places = {0: 0.0} | {row.step: row.seconds if seconds else row.step for row in metrics}
        tests = [row for row in tests if row.step in places]
        tested = [places[row.step] for row in tests]
        end = math.ceil(max(end, *places.values())) if seconds else lane.config.steps
        losses.append(
            Curve(f"{name} (batches)", meaning, list(places.values())[1:], [row.loss for row in metrics])
        )
        losses.append(Curve(name, meaning, tested, [row.true_history_loss for row in tests], points=True))
        if corpus.has_grammar:
            shown = [row.valid_share or 0.0 for row in tests]
            valid.append(Curve(name, meaning, tested, shown, points=True))
    bounds = theory(lanes)
    who = listed([NAMES[lane.meaning] for lane in lanes])
    x_title = "seconds of training" if seconds else "updates"
    furniture.chart(
        loss_curves(
            losses,
            [
                TheoryLine(bound.value, f"{bound.name} {number(bound.value)}: {bound.meaning}")
                for bound in bounds
            ],
            planned_steps=end,
            x_title=x_title,
            y_title="loss, nats per token",
            top=math.ceil(math.log(corpus.tokenizer.vocab_size) + 0.3),  # a little above knowing nothing
            description=f"Loss on {corpus.name}: {who}. Points: held-out sentences with the true history.",
            appearance=session.appearance(),
        ),
        key=f"{key}_losses",
    )
    st.caption(
        "Thin: loss on the training's batches, with the inputs that its mode feeds. Points: the same decoder on "
        "held-out sentences, always with the true history, so that lanes can be compared."
        + "".join(
            f" Dashed: {bound.name} {number(bound.value)} = {bound.formula}, {bound.meaning}."
            for bound in bounds
        )
    )
    if valid and shares:
        furniture.chart(
            share_curves(
                valid,
                [],
                planned_steps=end,
                x_title=x_title,
                y_title="valid sentences",
                description=f"Share of valid sentences on {corpus.name}: {who}.",
                appearance=session.appearance(),
            ),
            key=f"{key}_shares",
        )


class Bound(NamedTuple):
    """A loss that the grammar itself sets, and the sum that it is."""

    name: str
    value: float
    formula: str
    meaning: str


def theory(lanes: Sequence[Exploration]) -> list[Bound]:
    """Return the floor of the loss and, if a lane feeds own predictions, the plateau of free running."""
    corpus = lanes[0].corpus
    if corpus.grammar is None:
        return []
    bounds = [_bound(corpus, corpus.context_length, "floor", "no model can do better")]
    own_history = any(lane.config.mode != "teacher_forcing" for lane in lanes)
    plateau = _bound(corpus, corpus.prompt_length, "plateau", "the best after free running")
    return [*bounds, plateau] if own_history and plateau.value > bounds[0].value else bounds


def _bound(corpus: Corpus, start: int, name: str, meaning: str) -> Bound:
    formula = bound_formula(corpus.entropies(start) or (), corpus.kept or ())
    return Bound(name, corpus.plateau(start) or 0.0, formula, meaning)


def scores(lanes: Sequence[Exploration]) -> None:
    """Show the numbers by which lanes may be compared, at the newest measurement of each, and say what they mean."""
    table = {"": ["updates", "loss in its own mode", "loss, true history", "valid sentences"]}
    tests = [session.evaluation(lane.run_id) for lane in lanes]
    for lane, row in zip(lanes, tests, strict=True):
        metrics = session.store().metrics(lane.run_id)
        table[NAMES[lane.meaning]] = [
            str(row.step) if row else "—",
            number(metrics[row.step - 1].loss) if row and row.step else "—",
            number(row.true_history_loss) if row else "—",
            percent(row.valid_share) if row and row.valid_share is not None else "—",
        ]
    st.table(table)
    st.caption(
        "Compare lanes by the loss with the true history and by what they write: the losses in their own modes "
        "are about different inputs."
    )
    say_how_good(lanes, tests)


def say_how_good(lanes: Sequence[Exploration], tests: Sequence[EvaluationRow | None]) -> None:
    """Say in a sentence per lane how good its decoder was when it was measured."""
    sentences = [
        lane_sentence(
            NAMES[lane.meaning], row.step, row.true_history_loss, lane.corpus.floor, row.valid_share
        )
        for lane, row in zip(lanes, tests, strict=True)
        if row is not None
    ]
    if sentences:
        furniture.say(*sentences)


def histories(lanes: Sequence[Exploration], snapshots: Sequence[Snapshot], batch: Batch, *, key: str) -> None:
    """Show for one sentence (a batch of one row) what each lane is fed, beside the targets."""
    corpus = lanes[0].corpus
    texts = corpus.tokenizer.tokens
    truth = batch.inputs[0].tolist()
    length = int(batch.keep[0].nonzero().max()) + 1
    strips = [
        Strip(
            "target",
            [
                Chip(texts[token], note=f"ω{t}")
                for t, token in enumerate(batch.targets[0, :length].tolist(), 1)
            ],
        )
    ]
    for lane, snapshot in zip(lanes, snapshots, strict=True):
        fed = roll_out(snapshot.model, batch, lane.config, max(snapshot.step, 1)).inputs[0, :length].tolist()
        chips = [
            Chip(
                texts[token],
                note=f"{'x' if token == true else 'x̂'}{t}",
                kind="true" if token == true else "wrong",
            )
            for t, (token, true) in enumerate(zip(fed, truth, strict=False))
        ]
        strips.append(Strip(f"{NAMES[lane.meaning]} is fed", chips, lane.meaning))
    token_strips(strips, key=key)


def position_losses(lanes: Sequence[Exploration], snapshots: Sequence[Snapshot]) -> None:
    """Show the loss at each position with the true history, beside what the grammar allows."""
    corpus = lanes[0].corpus
    tests = [
        (lane.meaning, row.loss_per_position)
        for lane, snapshot in zip(lanes, snapshots, strict=True)
        if (row := session.evaluation(lane.run_id, snapshot.step))
    ]
    context = lanes[0].config.decoder.context_length
    held_out = corpus.held_out(context)  # in a smaller context, windows from several places of a sentence
    ghosts = []
    if corpus.grammar is not None and context == corpus.context_length:
        ghosts = [
            ("floor", corpus.entropies() or ()),
            ("plateau", corpus.entropies(corpus.prompt_length) or ()),
        ]
    longest = int(held_out.keep.sum(dim=1).argmax())
    labels = [corpus.tokenizer.tokens[token] for token in held_out.targets[longest].tolist()]
    furniture.chart(
        position_bars(
            labels,
            [(NAMES[meaning], meaning, losses) for meaning, losses in tests],
            ghosts,
            description="Loss per position on held-out sentences with the true history.",
            appearance=session.appearance(),
        ),
        key="position_losses",
    )


def sentences(lane: Exploration, snapshot: Snapshot, count: int) -> None:
    """Show sentences that the decoder writes at this step, each judged by the grammar."""
    corpus = lane.corpus
    written = write_sentences(snapshot.model, corpus, count, seed=lane.config.seed)
    signs = [("✓ " if corpus.valid(ids) else "✗ ") if corpus.has_grammar else "" for ids in written]
    texts = [corpus.tokenizer.decode(ids, skip_specials=True) for ids in written]
    with st.container(border=True):
        for sign, text in zip(signs, texts, strict=True):
            st.text(sign + text)
