"""One training or several beside each other: their curves while they grow, their numbers, what they write."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import streamlit as st

from decoder import Corpus
from decoder.figures.bars import position_bars
from decoder.figures.curves import Curve, TheoryLine, loss_curves, share_curves
from decoder.figures.words import bound_formula, lane_sentence, listed, number, percent
from decoder.language import Batch
from decoder.runs import EvaluationRow
from decoder.training.evaluation import SAMPLES, write_sentences
from decoder.training.trainer import roll_out
from pages.ui import furniture, session
from pages.ui.session import Exploration, Snapshot
from pages.ui.tokens import Chip, Strip, token_strips


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
    return name + (
        f"in both lanes the same {config.decoder.n_parameters:,} initial weights and the same "
        f"{min(lane.config.steps for lane in lanes)} batches of {config.batch_size} sentences · seed {config.seed}"
    )


def live_curves(
    lanes: Sequence[Exploration], *, key: str, shares: bool = False, seconds: bool = False
) -> None:
    """Draw the curves of these trainings; while one of them runs, they grow twice a second."""

    def draw() -> None:
        histories = [_History.read(lane, seconds=seconds) for lane in lanes]
        _loss_curves(histories, f"{key}_losses", seconds=seconds)
        if shares and lanes[0].corpus.has_grammar:
            _share_curves(histories, f"{key}_shares", seconds=seconds)

    furniture.live(draw, running=furniture.any_running(lanes))
    with st.expander("What the curves are"):
        _explain_curves(lanes)


class _History(NamedTuple):
    """What the store holds of a lane at one redraw, and where each update stands on the horizontal axis."""

    lane: Exploration
    losses: list[float]
    tests: list[EvaluationRow]
    places: dict[int, float]

    @classmethod
    def read(cls, lane: Exploration, *, seconds: bool) -> _History:
        metrics, evaluations = session.history(lane.run_id)
        places = {0: 0.0} | {row.step: row.seconds if seconds else row.step for row in metrics}
        tests = [row for row in evaluations if row.step in places]
        return cls(lane, [row.loss for row in metrics], tests, places)


def _loss_curves(histories: Sequence[_History], key: str, *, seconds: bool) -> None:
    lanes = [history.lane for history in histories]
    corpus = lanes[0].corpus
    curves = []
    for lane, losses, tests, places in histories:
        measured = [(row.step, row.true_history_loss) for row in tests]
        curves += _stretches(lane, places, list(enumerate(losses, 1)), name=f"{lane.name}, batches")
        curves += _stretches(lane, places, measured, name=lane.name, points=True)
    who = listed([lane.name for lane in lanes])
    figure = loss_curves(
        curves,
        [
            TheoryLine(bound.value, f"{bound.name} {number(bound.value)}: {bound.meaning}")
            for bound in theory(lanes)
        ],
        planned_steps=_end(histories, seconds=seconds),
        x_title=_x_title(seconds=seconds),
        y_title="loss, nats per token",
        top=math.ceil(math.log(corpus.tokenizer.vocab_size) + 0.3),  # a little above knowing nothing
        description=f"Loss on {corpus.name}: {who}. Points: {rows_name(corpus)}, with the true history.",
        appearance=session.appearance(),
    )
    furniture.chart(figure, key=key)
    st.caption(
        "How surprised the decoder is by the next token: 0 would be always certain and right. "
        f"Thin: while it trains. Points: on {rows_name(corpus)}."
    )


def _share_curves(histories: Sequence[_History], key: str, *, seconds: bool) -> None:
    lanes = [history.lane for history in histories]
    curves = []
    for lane, _, tests, places in histories:
        shares = [(row.step, row.valid_share) for row in tests]
        curves += _stretches(lane, places, shares, name=lane.name, points=True)
    who = listed([lane.name for lane in lanes])
    figure = share_curves(
        curves,
        planned_steps=_end(histories, seconds=seconds),
        x_title=_x_title(seconds=seconds),
        y_title="valid sentences",
        description=f"Share of valid sentences on {lanes[0].corpus.name}: {who}.",
        appearance=session.appearance(),
    )
    furniture.chart(figure, key=key)
    st.caption(f"How many of {SAMPLES} sentences that it writes by itself keep every rule of the grammar.")


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
    table = {"": ["updates", "loss in its own mode", "loss, true history", "valid sentences"]}
    tests = [session.evaluation(lane.run_id) for lane in lanes]
    for lane, row in zip(lanes, tests, strict=True):
        table[lane.name] = [
            str(row.step) if row else "—",
            number(_own_loss(lane, row.step)) if row and row.step else "—",
            number(row.true_history_loss) if row else "—",
            percent(row.valid_share) if row and row.valid_share is not None else "—",
        ]
    st.table(table)
    st.caption(
        "Compare lanes by the loss with the true history and by what they write: the losses in their own modes "
        "are about different inputs."
    )
    say_how_good(lanes, tests)


def _own_loss(lane: Exploration, step: int) -> float:
    return session.store().metrics(lane.run_id, after=step - 1)[0].loss


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
    corpus = lanes[0].corpus
    texts = corpus.tokenizer.tokens
    truth, targets = batch.inputs[0].tolist(), batch.targets[0].tolist()
    length = int(batch.keep[0].nonzero().max()) + 1
    strips = [
        Strip("target", [Chip(texts[token], note=f"ω{t}") for t, token in enumerate(targets[:length], 1)])
    ]
    for lane, snapshot in zip(lanes, snapshots, strict=True):
        step = min(snapshot.step + 1, lane.config.steps)  # as its next update feeds it
        config = lane.config_of_update(step)
        fed = roll_out(snapshot.model, batch, config, step).inputs[0].tolist()
        # Free running feeds own predictions from the prompt on, right or wrong; elsewhere only a wrong one shows.
        own_from = int(batch.prompt_lengths[0]) if config.mode == "free_running" else length
        chips = [
            _fed_chip(texts[fed[t]], t, wrong=fed[t] != truth[t], own=t >= own_from) for t in range(length)
        ]
        strips.append(Strip(f"{lane.name} is fed", chips, lane.meaning))
    token_strips(strips, key=key, first=1)


def _fed_chip(text: str, t: int, *, wrong: bool, own: bool) -> Chip:
    if wrong:
        return Chip(text, note=f"x̂{t}", kind="wrong")
    return Chip(text, note=f"x̂{t}", kind="own") if own else Chip(text, note=f"x{t}")


def position_losses(lanes: Sequence[Exploration], snapshots: Sequence[Snapshot]) -> None:
    """Show the loss at each position with the true history, beside what the grammar allows."""
    corpus = lanes[0].corpus
    tests = [
        (lane, row.loss_per_position)
        for lane, snapshot in zip(lanes, snapshots, strict=True)
        if (row := session.evaluation(lane.run_id, snapshot.step))
    ]
    held_out = corpus.held_out(lanes[0].config.decoder.context_length)
    ghosts = []
    if corpus.has_grammar and _sees_whole(lanes[0]):
        ghosts.append(("floor", corpus.entropies() or ()))
        if _own_history(lanes):
            ghosts.append(("plateau", corpus.entropies(corpus.prompt_length) or ()))
    longest = int(held_out.keep.sum(dim=1).argmax())
    labels = [corpus.tokenizer.tokens[token] for token in held_out.targets[longest].tolist()]
    furniture.chart(
        position_bars(
            labels,
            [(lane.name, lane.meaning, losses) for lane, losses in tests],
            ghosts,
            description="Loss per position with the true history.",
            appearance=session.appearance(),
        ),
        key="position_losses",
    )
    st.caption(
        f"Each bar is a mean over {len(held_out)} rows: {rows_name(corpus)}. The tokens below are those of one of them."
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
