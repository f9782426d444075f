"""What the page of tokens and targets says, built from the very values that it is about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from decoder.figures.matrices import visible
from decoder.figures.words import listed, number, percent
from decoder.training.reading import Reading, TargetArithmetic

Role = Literal["input only", "target", "padding"]
"""What a cell of a batch is for."""
LIKELY = 0.1
"""From this probability on, what may come does come when a decoder writes."""


def counted(count: int, noun: str) -> str:
    """Return "1 target", "2 targets"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def counted_kinds(count: int, kinds: Sequence[str]) -> str:
    """Return "4 words", "14 words and letters"."""
    return (
        counted(count, kinds[0]) if len(kinds) == 1 else f"{count} {listed([f'{kind}s' for kind in kinds])}"
    )


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


def shift_sentence(tokens: Sequence[str], mean_loss: float, *, causal: bool = True) -> str:
    """Say how many targets a sequence has, which of its tokens stands on one side only, and what the loss is worth."""
    said = (
        f"{counted(len(tokens), 'token')} make {counted(len(tokens) - 1, 'target')}: every token but the first. "
        f"The first one, {quoted(tokens[0])}, is only an input here; the last one, {quoted(tokens[-1])}, is only a target. "
        f"The mean loss of the row is {number(mean_loss)} nats per target."
    )
    return said if causal or len(tokens) == 2 else f"{said} {_OPEN}"


_OPEN = (
    "This decoder has no mask: at every position but the last it reads its own target among the inputs, so a low loss is no "
    "sign that it can predict."
)


class First(NamedTuple):
    """The first token of a sentence after the start token, as a target.

    Attributes:
        kind: what such a token is called, "word" or "letter".
        alone: its probability after <s> alone.
        read: its probability where it stands among the inputs itself, without a mask; None under the mask.
        is_prompt: whether it belongs to a prompt, which training never scores.
    """

    kind: str
    alone: float
    read: float | None = None
    is_prompt: bool = False


def start_sentence(word: str, first: First) -> str:
    """Say what the start token is good for."""
    said = f"Thanks to <s> the first {first.kind} {quoted(word)} is a target" + (
        " on this page as well; in training it belongs to the prompt and is never scored."
        if first.is_prompt
        else " as well."
    )
    said += f" From <s> alone the decoder gives it {percent(first.alone)}."
    if first.read is None:
        return said
    return f"{said} In the table above {quoted(word)} gets {percent(first.read)}, because without a mask it is read there."


def no_start_sentence(word: str, kind: str, *, is_prompt: bool, always_fed: bool) -> str:
    """Say what is missing without the start token.

    Args:
        word: the first token.
        kind: what such a token is called.
        is_prompt: whether training never scores it.
        always_fed: whether every row that the decoder was trained on began with <s>.
    """
    return (
        f"Without <s> the first {kind} {quoted(word)} is never predicted"
        + (
            "; here training does not score it anyway, as it belongs to the prompt."
            if is_prompt
            else ", so nothing is learned about how a sentence begins."
        )
        + (
            " And this decoder, which has always been fed <s>, reads something that it does not know."
            if always_fed
            else ""
        )
    )


def end_sentence(word: str, last: float | None) -> str:
    """Say what the end token, of probability `last` after the last word, is good for; None: there is none."""
    if last is None:
        return (
            f"Without </s> nothing follows {quoted(word)} here: trained on such rows only, a decoder would have "
            "no reason ever to stop."
        )
    return (
        f"Thanks to </s> the end is a target: after {quoted(word)} the decoder gives it {percent(last)}. "
        + (
            "That is how it comes to stop when it writes."
            if last >= LIKELY
            else "When it writes, it would hardly ever stop here: targets like this one are what can teach it when to."
        )
    )


def target_sentence(tokens: Sequence[str], at: int, *, causal: bool = True) -> str:
    """Say what the prediction of token `at` may read; `at` = 0 is never predicted."""
    if at == 0:
        return f"{quoted(tokens[0])} is the first input. Nothing stands before it, so it is never a target."
    place = f"{quoted(tokens[at])} is the target at position t = {at - 1}, where {quoted(tokens[at - 1])} is the input."
    last = len(tokens) - 1  # as many inputs
    if not causal and last > 1:
        among = "the target among them" if at < last else "and only this last target is not among them"
        return f"{place} This decoder has no mask: its prediction reads all {last} inputs, {among}."
    seen = " ".join(visible(token) for token in tokens[max(0, at - 8) : at])
    before = "… " if at > 8 else ""
    return f"{place} Its prediction may read {counted(at, 'input')}: {before}{seen}."


def loss_arithmetic(
    arithmetic: TargetArithmetic, token: str, logits: str, vocab_size: int, *, probability: str = "p"
) -> str:
    """Spell out -ln p of one target, from its logit to its loss.

    Args:
        arithmetic: the numbers.
        token: text of the target.
        logits: what the row of logits is called, "z₃".
        vocab_size: how many logits there are.
        probability: what a probability is called.
    """
    shown = visible(token)
    total, loss = arithmetic.log_total, number(arithmetic.loss)

    def agrees(decimals: int) -> bool:
        return number(round(total, decimals) - round(arithmetic.logit, decimals)) == loss

    # As many decimals as it takes to get the printed loss from the printed numbers.
    decimals = next(filter(agrees, range(3, 17)), 16)
    logit = f"{arithmetic.logit:.{decimals}f}".replace("-", "−")
    lines = [
        f"−ln {probability}({shown}) = ln Σ e^{logits} − {logits}[{shown}]",
        f"= {total:.{decimals}f} − {f'({logit})' if arithmetic.logit < 0 else logit}".replace("= -", "= −"),
        f"= {loss} nats",
    ]
    share = percent(arithmetic.probabilities[arithmetic.target])
    return "\n".join(
        [
            *lines,
            f"{probability}({shown}) = e^−{loss} = {share}, rank {arithmetic.rank} of {vocab_size:,}",
        ]
    )


def padding_sentence(reading: Reading, *, counted_in: bool, pads_exist: bool, causal: bool = True) -> str:
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
    if not causal:
        honest += (
            " Without a mask the pads are read all the same: the tokens before them may cost something else than in a row "
            "that has none."
        )
    if not counted_in:
        return honest
    return (
        f"{honest} Divided by all {reading.cells} cells the same sum looks like {number(reading.padded_loss)}, and no "
        "prediction has improved. A decoder that is trained on pads soon knows them, and each costs about 0. "
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
