"""One training or several beside each other: their curves while they grow, their numbers, what they write."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, Protocol

import streamlit as st

from decoder import (
    Corpus,
    Decoder,
    free_running,
    next_token_loss,
    scheduled_sampling,
    teacher_forced,
)
from decoder.figures.bars import position_bars
from decoder.figures.curves import Curve, TheoryLine, Turn, loss_curves, share_curves
from decoder.figures.growing import GrowingChart
from decoder.figures.tables import Table
from decoder.figures.training_words import fed_sentence, position_sentence
from decoder.figures.words import bound_formula, lane_sentence, listed, number, percent
from decoder.language import Batch
from decoder.runs import EvaluationRow
from decoder.training.evaluation import SAMPLES, valid_share, write_sentences
from decoder.training.evaluation import true_history_loss as loss_evaluation
from decoder.training.histories import TwoHistories, compare_histories
from decoder.training.loss import loss_by_position, token_losses
from decoder.training.trainer import roll_out
from pages.ui import aids, furniture, notation, session
from pages.ui.session import Exploration, Snapshot
from pages.ui.tokens import Chip, Strip, token_strips

SHARED_SECONDS = 0.25
Code = tuple[Callable[..., Any], ...]
"""Functions of the library whose source is shown."""


class Figure(Protocol):
    """Who makes a picture of lanes as they stand."""

    __name__: str

    def __call__(self, lanes: Sequence[Exploration], *, seconds: bool) -> GrowingChart:
        """Return the picture, over updates or over seconds."""


def common_ground(lanes: Sequence[Exploration]) -> str:
    """Say what the lanes share, so that their difference is due to the rest alone, or that they differ in more."""
    configs = [segment.config for lane in lanes for segment in lane.lineage]
    shared = {(replace(config.decoder, causal=True), config.seed, config.batch_size) for config in configs}
    name = f"**{lanes[0].corpus.name}** · "
    if len(shared) > 1:
        seeds = listed([str(lane.config.seed) for lane in lanes])
        batches = listed([str(lane.config.batch_size) for lane in lanes])
        return name + (
            "these lanes differ in more than their mode, in their decoders, seeds or batches: "
            f"seeds {seeds}, {batches} sentences in a batch"
        )
    config = configs[0]
    rates = listed([f"{lane.config.learning_rate:g}" for lane in lanes])
    alike = len({config.learning_rate for config in configs}) == 1
    return (
        name
        + ("" if alike else f"learning rates {rates} · ")
        + (
            f"in both lanes the same {config.decoder.n_parameters:,} initial weights and the same "
            f"{min(lane.config.steps for lane in lanes)} batches of {config.batch_size} sentences · seed {config.seed}"
        )
    )


def live_curves(
    lanes: Sequence[Exploration], *, key: str, shares: bool = False, seconds: bool = False
) -> None:
    """Draw the curves of these trainings; while one of them runs, they grow twice a second."""
    running = furniture.any_running(lanes)
    losses = (next_token_loss, loss_evaluation)
    pictures: list[tuple[str, Figure, Any, str, Code]] = [
        ("losses", loss_figure, _loss_table, _about_losses(lanes[0].corpus), losses)
    ]
    if shares and lanes[0].corpus.has_grammar:
        pictures.append(("shares", share_figure, _share_table, _ABOUT_SHARES, (valid_share,)))
    for name, figure, table, about, code in pictures:
        _live_curve(
            partial(newest, figure, lanes, seconds=seconds)
            if running
            else partial(figure, lanes, seconds=seconds),
            partial(table, lanes, seconds=seconds),
            about,
            code,
            f"{key}_{name}",
            running=running,
        )
    with st.expander("What the curves are"):
        _explain_curves(lanes)


def _live_curve(
    figure: Callable[[], GrowingChart],
    table: Callable[[], Table],
    about: str,
    code: Code,
    key: str,
    *,
    running: bool,
) -> None:
    """Draw one picture, again and again; its numbers stand apart, so that who reads them is not disturbed."""

    def draw() -> None:
        furniture.chart(figure(), key=key)
        st.caption(about)

    furniture.live(draw, running=running)
    aids.numbers(table, key=key, code=code, figure=figure)


class _History(NamedTuple):
    """What the store holds of a lane at one redraw, and where each update stands on the horizontal axis."""

    lane: Exploration
    losses: dict[int, float]
    tests: dict[int, EvaluationRow]
    places: dict[int, float]


def _read(lanes: Sequence[Exploration], *, seconds: bool) -> list[_History]:
    histories = []
    for lane in lanes:
        metrics = session.updates(lane.run_id)
        places = {0: 0.0} | {row.step: row.seconds if seconds else row.step for row in metrics}
        tests = {row.step: row for row in session.store().evaluations(lane.run_id) if row.step in places}
        histories.append(_History(lane, {row.step: row.loss for row in metrics}, tests, places))
    return histories


def newest(figure: Figure, lanes: Sequence[Exploration], *, seconds: bool) -> GrowingChart:
    """Return the picture of trainings that go on, made once for all who look at them at the same moment."""
    what = (figure.__name__, *((lane.run_id, lane.name) for lane in lanes), seconds, session.appearance())
    return _shared(what, partial(figure, lanes, seconds=seconds))


@st.cache_resource(ttl=SHARED_SECONDS, max_entries=256, show_spinner=False)
def _shared(what: tuple[object, ...], _make: Callable[[], GrowingChart]) -> GrowingChart:  # noqa: ARG001  # its key
    return _make()


def loss_figure(lanes: Sequence[Exploration], *, seconds: bool) -> GrowingChart:
    """Return the losses of these trainings as they stand."""
    histories = _read(lanes, seconds=seconds)
    corpus = lanes[0].corpus
    curves = []
    for lane, losses, tests, places in histories:
        measured = [(step, row.true_history_loss) for step, row in tests.items()]
        curves += _stretches(lane, places, [*losses.items()], name=f"{lane.name}, batches")
        curves += _stretches(lane, places, measured, name=lane.name, points=True)
    who = listed([lane.name for lane in lanes])
    return loss_curves(
        curves,
        [
            TheoryLine(bound.value, f"{bound.name} {number(bound.value)}: {bound.meaning}")
            for bound in theory(lanes)
        ],
        planned_steps=_end(histories, seconds=seconds),
        x_title=_x_title(seconds=seconds),
        y_title="loss, nats per token",
        top=math.ceil(math.log(corpus.tokenizer.vocab_size) + 0.3),  # a little above knowing nothing
        turns=_turns(histories),
        description=f"Loss on {corpus.name}: {who}. Points: {rows_name(corpus)}, with the true history.",
        appearance=session.appearance(),
    )


def _about_losses(corpus: Corpus) -> str:
    return (
        "How surprised the decoder is by the next token: 0 would be always certain and right. "
        f"Thin: while it trains. Points: on {rows_name(corpus)}."
    )


def _loss_table(lanes: Sequence[Exploration], *, seconds: bool) -> Table:
    columns: dict[str, Mapping[int, float | None]] = {}
    for lane, losses, tests, places in _read(lanes, seconds=seconds):
        if seconds:
            columns[f"seconds, {lane.name}"] = places
        columns[f"batches, {lane.name}"] = losses
        columns[f"true history, {lane.name}"] = {step: row.true_history_loss for step, row in tests.items()}
    return _by_update("losses, nats per token", columns)


def share_figure(lanes: Sequence[Exploration], *, seconds: bool) -> GrowingChart:
    """Return the shares of valid sentences of these trainings as they stand."""
    histories = _read(lanes, seconds=seconds)
    curves = []
    for lane, _, tests, places in histories:
        shares = [(step, row.valid_share) for step, row in tests.items()]
        curves += _stretches(lane, places, shares, name=lane.name, points=True)
    who = listed([lane.name for lane in lanes])
    return share_curves(
        curves,
        planned_steps=_end(histories, seconds=seconds),
        x_title=_x_title(seconds=seconds),
        y_title="valid sentences",
        turns=_turns(histories),
        description=f"Share of valid sentences on {lanes[0].corpus.name}: {who}.",
        appearance=session.appearance(),
    )


_ABOUT_SHARES = f"How many of {SAMPLES} sentences that it writes by itself keep every rule of the grammar."


def _share_table(lanes: Sequence[Exploration], *, seconds: bool) -> Table:
    columns: dict[str, Mapping[int, float | None]] = {}
    for lane, _, tests, places in _read(lanes, seconds=seconds):
        if seconds:
            columns[f"seconds, {lane.name}"] = {step: places[step] for step in tests}
        columns[f"valid sentences, {lane.name}"] = {step: row.valid_share for step, row in tests.items()}
    return _by_update("share of valid sentences", columns)


def _by_update(title: str, columns: Mapping[str, Mapping[int, float | None]]) -> Table:
    """A row per update at which one of the columns has a value."""
    steps = sorted({step for values in columns.values() for step in values})
    rows = [[step, *(values.get(step) for values in columns.values())] for step in steps]
    return Table(title, ["update", *columns], rows)


def _stretches(
    lane: Exploration,
    places: dict[int, float],
    values: Sequence[tuple[int, float | None]],
    *,
    name: str,
    points: bool = False,
) -> list[Curve]:
    """Return one curve of a lane: where its training was changed, a curve of another colour takes over.

    Args:
        lane: the training.
        places: step -> where it stands on the horizontal axis.
        values: (step, value), in order.
        name: what the whole curve is called; if it was measured, its last stretch carries it.
        points: whether the values were measured now and then.
    """
    stretches = []
    ends = [segment.start for segment in lane.lineage[1:]] + [max(places)]
    for at, (segment, end) in enumerate(zip(lane.lineage, ends, strict=True)):
        own = [(step, value) for step, value in values if step <= end and (step > segment.start or not at)]
        before = [(step, value) for step, value in values if at and step <= segment.start]
        stretch = [*before[-1:], *own]  # joined to the stretch before
        last = segment is lane.lineage[-1]
        stretches.append(
            Curve(
                name if last else f"{name} until {end:,}",
                session.lane_of(segment.config),
                [places[step] for step, _ in stretch],
                [value for _, value in stretch],
                points=points,
                named=last and points,
            )
        )
    return stretches


def _turns(histories: Sequence[_History]) -> list[Turn]:
    """Where the lanes were continued with other settings; two that part at one place are told there together."""
    told: dict[float, list[str]] = {}
    for history in histories:
        for start, settings in history.lane.turns:
            told.setdefault(history.places.get(start, 0.0), []).append(settings)
    return [Turn(place, " / ".join(dict.fromkeys(settings))) for place, settings in told.items()]


def _end(histories: Sequence[_History], *, seconds: bool) -> int:
    if not seconds:
        return max(history.lane.config.steps for history in histories)
    return max(1, *(math.ceil(max(history.places.values())) for history in histories))


def _x_title(*, seconds: bool) -> str:
    return "seconds of training" if seconds else "updates"


def _explain_curves(lanes: Sequence[Exploration]) -> None:
    """Name inputs, unit and theory of the curves above, formula by formula."""
    st.markdown(
        "- **Loss**: the mean of −ln p(true next token), in nats per token; ln n is the loss of guessing among n.\n"
        "- **Thin line**: on the batch of each update, with the inputs that the training mode feeds.\n"
        f"- **Points**: the same decoder on {rows_name(lanes[0].corpus)}, always with the true history as its "
        "input, whatever it was trained with.\n"
        + "".join(
            f"- **{bound.name} {number(bound.value)}** = {bound.formula} nats per token: {bound.meaning}.\n"
            for bound in theory(lanes)
        )
    )


def rows_name(corpus: Corpus) -> str:
    """Return what a decoder is measured on."""
    if not corpus.has_grammar:
        return "passages of the text that it was not trained on"
    if corpus.holds_out:
        return "sentences that it was not trained on"
    return f"sentences of the corpus (it has only {corpus.distinct}, so all are trained on)"


class Bound(NamedTuple):
    """A loss that the grammar itself sets, and the sum that it is."""

    name: str
    value: float
    formula: str
    meaning: str


def theory(lanes: Sequence[Exploration]) -> list[Bound]:
    """Return the floor of the loss and, if a lane feeds own predictions, the plateau of free running.

    None for a text, and none where the context is smaller than a sentence: the bounds are those of whole ones.
    """
    corpus = lanes[0].corpus
    if corpus.grammar is None or not _sees_whole(lanes[0]):
        return []
    floor = _bound(corpus, corpus.context_length, "floor", "the best without looking ahead")
    plateau = _bound(corpus, corpus.prompt_length, "plateau", "the best after free running")
    return [floor, plateau] if _own_history(lanes) and plateau.value > floor.value else [floor]


def _sees_whole(lane: Exploration) -> bool:
    return lane.config.decoder.context_length >= lane.corpus.context_length


def _own_history(lanes: Sequence[Exploration]) -> bool:
    configs = [segment.config for lane in lanes for segment in lane.lineage]
    return any(config.mode != "teacher_forcing" for config in configs)


def _bound(corpus: Corpus, start: int, name: str, meaning: str) -> Bound:
    formula = bound_formula(corpus.entropies(start) or (), corpus.kept or ())
    return Bound(name, corpus.plateau(start) or 0.0, formula, meaning)


def scores(lanes: Sequence[Exploration]) -> None:
    """Show the numbers by which lanes may be compared, at the newest measurement of each, and say what they mean."""
    table = {"": [*_SCORES]}
    for lane, row in zip(lanes, _newest_tests(lanes), strict=True):
        step, own, true, valid = _score(lane, row)
        table[lane.name] = [
            "—" if step is None else str(step),
            "—" if own is None else number(own),
            "—" if true is None else number(true),
            "—" if valid is None else percent(valid),
        ]
    st.table(table)
    st.caption(
        "Compare lanes by the loss with the true history and by what they write: the losses in their own modes "
        "are about different inputs."
    )
    say_how_good(lanes, _newest_tests(lanes))


_SCORES = ("updates", "loss in its own mode", "loss, true history", "valid sentences")


def score_table(lanes: Sequence[Exploration]) -> Table:
    """Return the same numbers as they are now, a row per lane."""
    rows = [[lane.name, *_score(lane, row)] for lane, row in zip(lanes, _newest_tests(lanes), strict=True)]
    return Table("the lanes in numbers", ["lane", *_SCORES], rows)


def _newest_tests(lanes: Sequence[Exploration]) -> list[EvaluationRow | None]:
    return [session.evaluation(lane.run_id) for lane in lanes]


def _score(
    lane: Exploration, row: EvaluationRow | None
) -> tuple[int | None, float | None, float | None, float | None]:
    if row is None:
        return None, None, None, None
    own = session.store().metrics(lane.run_id, after=row.step - 1)[0].loss if row.step else None
    return row.step, own, row.true_history_loss, row.valid_share


def say_how_good(lanes: Sequence[Exploration], tests: Sequence[EvaluationRow | None]) -> None:
    """Say in a sentence per lane how good its decoder was when it was measured."""
    sentences = [
        lane_sentence(lane.name, row.step, row.true_history_loss, lane.corpus.floor, row.valid_share)
        for lane, row in zip(lanes, tests, strict=True)
        if row is not None
    ]
    if sentences:
        furniture.say(*sentences)


def histories(lanes: Sequence[Exploration], snapshots: Sequence[Snapshot], batch: Batch, *, key: str) -> None:
    """Show for one sentence (a batch of one row) what each lane is fed, beside the targets."""
    corpus, name = lanes[0].corpus, notation.name
    texts = corpus.tokenizer.tokens
    length, given = int(batch.keep[0].nonzero().max()) + 1, int(batch.prompt_lengths[0])
    truth, targets = batch.inputs[0, :length].tolist(), batch.targets[0, :length].tolist()
    strips = [
        Strip("target", [Chip(texts[token], note=name("token", t=t)) for t, token in enumerate(targets, 1)])
    ]
    said = []
    for lane, snapshot in zip(lanes, snapshots, strict=True):
        step = min(snapshot.step + 1, lane.config.steps)  # as its next update feeds it
        config = lane.config_of_update(step)
        fed = roll_out(snapshot.model, batch, config, step).inputs[0, :length].tolist()
        # Free running feeds own predictions from the prompt on, right or wrong; elsewhere only a wrong one shows.
        own_from = given if config.mode == "free_running" else length
        chips = [
            _fed_chip(texts[fed[t]], t, wrong=fed[t] != truth[t], own=t >= own_from) for t in range(length)
        ]
        strips.append(Strip(f"{lane.name} is fed", chips, lane.meaning))
        said.append(fed_sentence(lane.name, fed, truth, given))
    token_strips(strips, key=key, first=1)
    furniture.say(*said, key=f"what_{key}")
    rows = zip(*([chip.text for chip in strip.chips] for strip in strips), strict=True)
    columns = ["position", *(strip.name for strip in strips)]
    aids.numbers(
        Table("what is fed, and what should come", columns, [[at, *row] for at, row in enumerate(rows, 1)]),
        key=key,
        code=(teacher_forced, free_running, scheduled_sampling),
    )


def _fed_chip(text: str, t: int, *, wrong: bool, own: bool) -> Chip:
    if wrong or own:
        return Chip(text, notation.name("predicted embedding", t=t), "wrong" if wrong else "own")
    return Chip(text, notation.name("embedding", t=t))


@st.cache_resource(max_entries=64, show_spinner=False)
def two_histories(run_id: str, step: int, _model: Decoder, _batch: Batch) -> TwoHistories:
    """Compare both histories for a decoder of this run, after this step; the batch is that of its corpus."""
    del run_id, step  # they tell decoders apart
    return compare_histories(_model, _batch)


def position_losses(lanes: Sequence[Exploration], snapshots: Sequence[Snapshot]) -> None:
    """Show the loss at each position with the true history, beside what the grammar allows."""
    corpus = lanes[0].corpus
    tests = [
        (lane, row.loss_per_position)
        for lane, snapshot in zip(lanes, snapshots, strict=True)
        if (row := session.evaluation(lane.run_id, snapshot.step))
    ]
    for lane, snapshot in zip(lanes, snapshots, strict=True):
        if lane not in [measured for measured, _ in tests]:
            st.caption(f"{lane.name} has not been measured yet after {snapshot.step:,} updates.")
    held_out = corpus.held_out(lanes[0].config.decoder.context_length)
    ghosts = []
    if corpus.has_grammar and _sees_whole(lanes[0]):
        ghosts.append(("floor", corpus.entropies() or ()))
        if _own_history(lanes):
            ghosts.append(("plateau", corpus.entropies(corpus.prompt_length) or ()))
    longest = int(held_out.keep.sum(dim=1).argmax())
    labels = [corpus.tokenizer.tokens[token] for token in held_out.targets[longest].tolist()]
    figure = position_bars(
        labels,
        [(lane.name, lane.meaning, losses) for lane, losses in tests],
        ghosts,
        description="Loss per position with the true history.",
        appearance=session.appearance(),
    )
    furniture.chart(figure, key="position_losses")
    st.caption(
        f"Each bar is a mean over {len(held_out)} rows: {rows_name(corpus)}. The tokens below are those of one of them."
    )
    floor = ghosts[0][1] if ghosts else ()
    if tests:
        furniture.say(
            # Without the mask the next token is no secret, and nothing is unavoidable.
            *(
                position_sentence(lane.name, labels, losses, floor if lane.config.decoder.causal else ())
                for lane, losses in tests
            ),
            key="what_positions",
        )
    series = [*((lane.name, losses) for lane, losses in tests), *ghosts]
    rows = zip(labels, *(values for _, values in series), strict=True)
    aids.numbers(
        Table(
            "loss at each position, nats",
            ["position", "token", *(name for name, _ in series)],
            [[at, *row] for at, row in enumerate(rows, 1)],
        ),
        key="position_losses",
        code=(token_losses, loss_by_position),
        figure=figure,
    )


def sentences(lane: Exploration, snapshot: Snapshot, count: int) -> None:
    """Show sentences that the decoder writes at this step, each judged by the grammar."""
    corpus, tokenizer = lane.corpus, lane.corpus.tokenizer
    written = write_sentences(snapshot.model, corpus, count, seed=lane.config.seed)
    given = corpus.validation[:count].prompt_lengths.tolist()
    with st.container(border=True):
        for ids, start in zip(written, given, strict=True):
            sign = ("✓ " if corpus.valid(ids) else "✗ ") if corpus.has_grammar else ""
            prompt = tokenizer.decode(ids[:start], skip_specials=True)
            text = tokenizer.decode(ids[start:], skip_specials=True)
            st.text(f"{sign}{prompt} ▸ {text}" if prompt else sign + text)
        if corpus.has_grammar:
            given_too = " Before ▸ stands what was given." if max(given) > 1 else ""
            st.caption(f"✓ keeps every rule of the grammar, ✗ breaks one.{given_too}")
