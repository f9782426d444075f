"""What the page of tokens and targets says, built from the very values that it is about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from decoder.figures.matrices import visible
from decoder.figures.words import number, percent
from decoder.training.reading import Reading, TargetArithmetic

Role = Literal["input only", "target", "padding"]
"""What a cell of a batch is for."""


def counted(count: int, noun: str) -> str:
    """Return "1 target", "2 targets"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def quoted(token: str) -> str:
    """A token as it stands in a sentence."""
    return f"“{visible(token)}”"


def nats(loss: float) -> str:
    """A loss as pictures show it, to a thousandth of a nat."""
    return "< 0.001" if 0 < loss < 0.0005 else f"{loss:.3f}"


def ordinal(count: int) -> str:
    """Return "1st", "2nd", "11th"."""
    ending = "th" if 10 <= count % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(count % 10, "th")
    return f"{count}{ending}"


def token_sentence(tokens: Sequence[str], ids: Sequence[int], at: int, vocab_size: int) -> str:
    """Say what a token of the sequence is, and where it stands."""
    return (
        f"The {ordinal(at + 1)} of {counted(len(tokens), 'token')} is {quoted(tokens[at])}, id {ids[at]} in the "
        f"vocabulary (0 to {vocab_size - 1:,}). Time counts from 0, so it stands at t = {at}."
    )


def shift_sentence(tokens: Sequence[str], mean_loss: float) -> str:
    """Say how many targets a sequence has, and which of its tokens stands on one side only."""
    return (
        f"{counted(len(tokens), 'token')} make {counted(len(tokens) - 1, 'target')}: every token but the first. "
        f"{quoted(tokens[0])} is only an input, {quoted(tokens[-1])} is only a target. "
        f"The mean loss of the row is {number(mean_loss)} nats per target."
    )


def edges_sentence(words: Sequence[str], *, start: bool, end: bool, first: float, last: float) -> str:
    """Say what start and end token do to this sentence.

    Args:
        words: its tokens without the special ones.
        start: whether it begins with the start token.
        end: whether it ends with the end token.
        first: probability of the first target.
        last: probability of the last target.
    """
    beginning = (
        f"Thanks to <s> the first word {quoted(words[0])} is a target as well: from <s> alone the decoder gives it "
        f"{percent(first)}."
        if start
        else f"Without <s> the first word {quoted(words[0])} is never predicted, so nothing is learned about how "
        "a sentence begins; and this decoder, which has always been fed <s>, reads something that it does not know."
    )
    ending = (
        f"Thanks to </s> the end is a target: after {quoted(words[-1])} the decoder gives it {percent(last)}. "
        "That is how it comes to stop when it writes."
        if end
        else f"Without </s> nothing follows {quoted(words[-1])} here: trained on such rows only, a decoder would have "
        "no reason ever to stop."
    )
    return f"{beginning} {ending}"


def target_sentence(tokens: Sequence[str], at: int) -> str:
    """Say what the prediction of token `at` may read; `at` = 0 is never predicted."""
    if at == 0:
        return f"{quoted(tokens[0])} is the first input. Nothing stands before it, so it is never a target."
    seen = " ".join(visible(token) for token in tokens[max(0, at - 8) : at])
    before = "… " if at > 8 else ""
    return (
        f"{quoted(tokens[at])} is the target of row {at - 1}. Its prediction may read {counted(at, 'input')}: "
        f"{before}{seen}."
    )


def loss_arithmetic(arithmetic: TargetArithmetic, token: str, logits: str, vocab_size: int) -> str:
    """Spell out -ln p of one target, from its logit to its loss.

    Args:
        arithmetic: the numbers.
        token: text of the target.
        logits: the symbol of the row of logits, "z₃".
        vocab_size: how many logits there are.
    """
    shown = visible(token)
    total, loss = arithmetic.log_total, number(arithmetic.loss)

    def agrees(decimals: int) -> bool:
        return number(round(total, decimals) - round(arithmetic.logit, decimals)) == loss

    # As many decimals as it takes to get the printed loss from the printed numbers.
    decimals = next(filter(agrees, range(3, 17)), 16)
    logit = f"{arithmetic.logit:.{decimals}f}".replace("-", "−")
    lines = [
        f"−ln p({shown}) = ln Σ e^{logits} − {logits}[{shown}]",
        f"= {total:.{decimals}f} − {f'({logit})' if arithmetic.logit < 0 else logit}".replace("= -", "= −"),
        f"= {loss} nats",
    ]
    share = percent(arithmetic.probabilities[arithmetic.target])
    return "\n".join(
        [
            *lines,
            f"p({shown}) = e^−{loss} = {share}, rank {arithmetic.rank} of {vocab_size:,}",
        ]
    )


def padding_sentence(reading: Reading, *, counted_in: bool, pads_exist: bool) -> str:
    """Say how many targets of a batch are padding, and what counting them would do to the mean."""
    pads, total = reading.cells - reading.real, reading.loss * reading.real
    if not pads_exist:
        return "This vocabulary has no padding token: the rows are cut to one length instead, and every target counts."
    if not pads:
        return (
            f"All {reading.cells} targets are real: the rows are equally long, so nothing is padded. "
            "Ask for very different lengths, type a shorter sentence, or choose the corpus ibm-long."
        )
    honest = (
        f"{pads} of the {reading.cells} targets are padding and left out: the {reading.real} real ones cost {number(total)} "
        f"nats together, {number(reading.loss)} each."
    )
    if not counted_in:
        return honest
    return (
        f"{honest} Divided by all {reading.cells} cells the same sum looks like {number(reading.padded_loss)}, and no "
        "prediction of a word has improved. A decoder that is trained on pads soon knows them, and each costs about 0. "
        "This one has never been asked for a pad, and would now pay "
        f"{number(reading.pad_losses.mean().item())} nats for each."
    )


def cell_sentence(
    symbol: str, token: str, token_id: int, row: int, time: int, role: Role, loss: float | None
) -> str:
    """Say what one cell of a batch is.

    Args:
        symbol: what the cell is called.
        token: its text.
        token_id: its id.
        row: its row, from 0.
        time: its column, from 0.
        role: what it is for.
        loss: of a target, nats.
    """
    place = f"{symbol} is {quoted(token)}, id {token_id}: row {row + 1}, {ordinal(time + 1)} cell, because t starts at 0."
    if loss is not None:
        return f"{place} As a target it costs {number(loss)} nats."
    return f"{place} It only fills the row." if role == "padding" else f"{place} It is an input only."


def change_sentence(changes: Sequence[float], changed: int, kept: int) -> str:
    """Say what a changed token in one row did to the logits of the rows; rows from 0."""
    if changes[changed] == 0:
        return "The token is the one that stood there before, so no logit changes: choose another one."
    others = [change for row, change in enumerate(changes) if row != changed]
    return (
        f"Greatest change of any logit: {number(changes[changed])} in row {changed + 1}, where the token was replaced, "
        f"and {_exactly(changes[kept])} in row {kept + 1}. Over all other rows together it is {_exactly(max(others))}: "
        "rows of a batch do not see each other, so whoever understands one row understands the batch."
    )


def _exactly(change: float) -> str:
    return "exactly 0" if change == 0 else number(change)
