"""What the page of embeddings and positions says, built from the very values that it is about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from decoder.config import Positions
from decoder.figures.matrices import visible
from decoder.figures.symbols import Notation
from decoder.figures.target_words import counted, quoted
from decoder.figures.words import listed, number, percent, printed
from decoder.model.embeddings import Difference
from decoder.training.matching import Matches

TRAINED_WITH: dict[Positions, str] = {
    "learned": "learned positions",
    "sinusoidal": "sinusoidal positions",
    "none": "no positions",
}


class Called(NamedTuple):
    """What the three vectors of a position are called in a sentence."""

    embedding: str
    position: str
    total: str


SYMBOLS = Called("embedding x", "position vector p", "sum x + p")
NAMES = Called("embedding", "position vector", "sum")


def called(notation: Notation) -> Called:
    """Return what the vectors are called with the lecture's symbols, or in plain words."""
    return NAMES if notation == "names" else SYMBOLS


class TrainedPositions(NamedTuple):
    """How well a decoder with one kind of positions does after `step` updates."""

    kind: Positions
    step: int
    loss: float
    matches: Matches


def shape_sentence(rows: int, length: int, width: int) -> str:
    """Say how many numbers a batch of ids becomes."""
    ids = rows * length
    return (
        f"{counted(rows, 'row')} of {counted(length, 'token')} are {ids:,} ids. Each id is replaced by its row of the "
        f"embedding table, {width} numbers: {ids:,} · {width} = {ids * width:,} numbers enter the decoder."
    )


def vector_sentence(
    token: str, token_id: int, place: str, other: str | None, difference: Difference | None, same: int
) -> str:
    """Say whose vector a cell of the batch has, and how it compares with another cell of the same id.

    Args:
        token: text of the cell.
        token_id: its id.
        place: what the cell is called.
        other: what the other cell is called; None if no other has this id.
        difference: between the two, computed.
        same: how many other cells have this id.
    """
    begin = f"{place} is {quoted(token)}: its vector is row {token_id} of the embedding table."
    if other is None or difference is None:
        return f"{begin} No other cell of this batch holds this id."
    return (
        f"{begin} {counted(same, 'other cell')} of the batch {'holds' if same == 1 else 'hold'} the same id, {other} for "
        f"instance: the greatest difference between the two vectors is {exactly(difference.embedding)} before positions are "
        f"added, and {exactly(difference.total)} afterwards."
    )


def padded_sentence(row: int, tokens: int, last: str) -> str:
    """Say that the last token of a row that is filled up is read too, though nothing is asked after it.

    Args:
        row: its number, from 1.
        tokens: how many it has without padding.
        last: the last of them.
    """
    return (
        f"Row {row} has {counted(tokens, 'token')} and is filled up with <pad>. So its last one, {quoted(last)}, is an input "
        f"here too, but its target is a pad and does not count: by itself the row has only its first "
        f"{counted(tokens - 1, 'token')} as {'input' if tokens == 2 else 'inputs'}."
    )


def layers_sentence(*, causal: bool) -> str:
    """Say what has to be known of a layer before one can tell what it makes of an order."""
    return (
        "A question about layers looks ahead: in a layer each token adds to its own vector a sum over the tokens that it "
        "may read, in which their order does not count (page Attention). "
        + (
            "These are the token itself and those before it (page Causal mask)."
            if causal
            else "In this decoder, which has no causal mask, these are all tokens (page Causal mask)."
        )
    )


def exactly(value: float) -> str:
    """A difference in words: 0 only if it is 0 in every bit."""
    return "exactly 0" if value == 0 else number(value)


def predicted_sentence(
    seen: Sequence[str], predicted: str, predicted_id: int, *, symbol: str, vocab_size: int
) -> str:
    """Say which token is predicted after those seen, as an id."""
    shown = " ".join(visible(token) for token in seen[-8:])
    before = "… " if len(seen) > 8 else ""
    return (
        f"After “{before}{shown}” the largest of {vocab_size:,} logits is that of {quoted(predicted)}, so "
        f"{symbol} is the id {predicted_id}: one whole number, no vector."
    )


def row_sentence(token: str, token_id: int, width: int, *, symbol: str, is_row: bool, own_pick: bool) -> str:
    """Say that the embedding of a fed-back token is a row of the table, as it was found.

    Args:
        token: text of the token that is fed back.
        token_id: its id.
        width: numbers of a vector.
        symbol: what its embedding is called.
        is_row: whether vector and row are equal in every bit, computed.
        own_pick: whether the visitor has picked it in place of the decoder.
    """
    begin = (
        f"You have picked {quoted(token)} in its place. Read as the next input,"
        if own_pick
        else "Read as the next input,"
    )
    found = (
        f"all {width} numbers are equal to those of row {token_id} of the table, bit by bit"
        if is_row
        else f"its numbers differ from row {token_id} of the table"
    )
    return f"{begin} it becomes {symbol}, and {found}."


def sum_sentence(
    token: str, t: int, x: float, p: float, total: float, *, has_positions: bool, names: Called = SYMBOLS
) -> str:
    """Spell out the first number of the three vectors at a position."""
    if not has_positions:
        return (
            f"This decoder has no positions: the {names.position} is 0 everywhere, so at t = {t} the sum is the vector of "
            f"{quoted(token)} itself."
        )
    # As many digits as it takes to get the printed sum from the printed numbers.
    digits = next((d for d in range(4, 17) if number(printed(x, d) + printed(p, d)) == number(total)), 17)
    plus = f"− {number(-p, digits)}" if p < 0 else f"+ {number(p, digits)}"
    return (
        f"At t = {t}, number by number: the first one is {number(x, digits)} {plus} = {number(total)}. The {names.embedding} "
        f"belongs to {quoted(token)} wherever it stands; the {names.position} belongs to t = {t} whatever stands there."
    )


def twice_sentence(token: str, t: int, other: int, found: Difference, names: Called = SYMBOLS) -> str:
    """Say which vectors of one token differ between two positions."""
    return (
        f"{quoted(token)} at t = {t} and at t = {other}, {counted(abs(t - other), 'step')} apart. Greatest difference: "
        f"{names.embedding} {exactly(found.embedding)}, {names.position} {exactly(found.position)}, {names.total} "
        f"{exactly(found.total)}."
        + (
            f" Only thanks to the {names.position} are the two inputs different."
            if found.embedding == 0 < found.total
            else " Nothing tells the two apart."
            if found.total == 0
            else ""
        )
    )


def positions_sentence(trained: Sequence[TrainedPositions]) -> str:
    """Say how often decoders with different kinds of positions do the task without a mistake, and where they fail."""
    shares = [
        f"{percent(each.matches.all.share)} with {TRAINED_WITH[each.kind]} ({each.step:,} updates)"
        for each in trained
    ]
    said = (
        f"Measured on {trained[0].matches.all.rows} prompts that none was trained on, reversed without a mistake: "
        f"{listed(shares)}."
    )
    without = next((each.matches for each in trained if each.kind == "none"), None)
    others = [each.matches for each in trained if each.kind != "none"]
    if without is None or not others:
        return said
    if without.all.share >= min(other.all.share for other in others):
        return f"{said} Here, having no positions did no harm."
    repeated, different = without.repeated, without.different
    said += (
        f" Without positions it is {repeated.right} of the {repeated.rows} prompts in which a letter comes twice, and "
        f"{different.right} of the {different.rows} whose letters are all different."
    )
    if repeated.share < different.share:
        said += " It fails more often where letters are equal: so are their vectors, wherever they stand."
    return said


def order_sentence(change: float, n_layers: int, kind: Positions, rounding: float) -> str:
    """Say what shuffling the tokens before the last one did to the last logits."""
    decoder = f"{counted(n_layers, 'layer')}, {TRAINED_WITH[kind]}"
    if change == 0:
        return (
            f"{decoder}: the logits after the last token do not change at all, not in a single bit: this decoder cannot tell "
            "the two orders apart."
        )
    if change < rounding:
        return (
            f"{decoder}: the logits after the last token change by at most {number(change)}. That is rounding, from adding "
            "the same numbers in another order: this decoder cannot tell the two orders apart."
        )
    if kind != "none":
        return (
            f"{decoder}: the logits after the last token change by up to {number(change)}. The positions tell the orders "
            "apart."
        )
    return (
        f"{decoder}: the logits after the last token change by up to {number(change)}, though no position is told. The causal "
        "mask gives order away: each token in the first layer has mixed in only those before it, and the next layer reads that."
    )
