"""The check questions about tokens, targets and batches, made from what the page shows: no answer is written down here."""

from __future__ import annotations

from collections.abc import Sequence

from decoder.figures.matrices import visible
from decoder.figures.target_words import counted, counted_kinds, ordinal, quoted
from decoder.figures.words import number
from decoder.training.reading import Reading
from pages.ui import notation
from pages.ui.checks import Question
from pages.ui.grid import Place

ASKED_TIME = 3


def _place(t: int, to_be: str, to_stand: str) -> str:
    """Ask for a token by its time: "is ω₃", or "stands at t = 3", as "token 3" could be taken for the one with the id 3."""
    return (
        f"{to_be} {notation.name('token', t=t)}"
        if notation.chosen() == "symbols"
        else f"{to_stand} at t = {t}"
    )


def which_token(tokens: Sequence[str], ids: Sequence[int]) -> Question:
    """C1: which token stands at a time? With its id, as it stands in the vocabulary."""
    at = min(ASKED_TIME, len(tokens) - 1)
    shown = [visible(token) for token in tokens]
    return Question(
        f"Which token {_place(at, 'is', 'stands')}?",
        shown[at],
        f"At t = {at} stands {quoted(tokens[at])}, id {ids[at]}, the {ordinal(at + 1)} token, because counting begins at 0.",
        lambda given: (
            f"“{given}” stands at t = {shown.index(given)}; counting begins at 0, so t = {at} is the {ordinal(at + 1)} token."
        ),
        options=sorted(set(shown)),
    )


def which_token_if_shifted(tokens: Sequence[str], shifted: Sequence[str], *, start: bool) -> Question:
    """C1: which token would stand there if the start token were switched?

    Args:
        tokens: as they are.
        shifted: as they would be.
        start: whether `tokens` has the start token.
    """
    at = min(ASKED_TIME, len(tokens) - 1, len(shifted) - 1)
    now, then = ("with", "without") if start else ("without", "with")
    right = visible(shifted[at])
    return Question(
        f"And {then} the start token: which token {_place(at, 'would be', 'would stand')}?",
        right,
        f"{then.capitalize()} <s> every other token moves by 1 place, and “{right}” comes to stand at t = {at}.",
        lambda given: (
            f"“{given}” stands at t = {at} {now} <s>; switching it moves every other token by 1 place."
            if given == visible(tokens[at])
            else f"Switching <s> moves every other token by exactly 1 place: look beside “{visible(tokens[at])}”."
        ),
        options=sorted({visible(token) for token in (*tokens, *shifted)}),
    )


def what_targets(inputs: str, targets: str, following: str, count: int) -> Question:
    """C9: type the targets of these inputs, all as text."""
    return Question(
        f"Another row has the inputs:  {inputs}\nAfter the last one comes:  {following}\nType its targets.",
        targets,
        f"Each of the {count} inputs has the token after it as its target: {targets}",
        lambda given: (
            "These are the inputs themselves. A target is what comes next, one step later."
            if given.split() == inputs.split()
            else f"Begin with the token after the first input, and end with {following}: {counted(count, 'target')} in all."
        ),
        kind="words",
    )


def how_many_targets(
    words: int, targets: int, *, start: bool, end: bool, now: int, kinds: Sequence[str] = ("word",)
) -> Question:
    """C10: how many targets would the sentence have with other special tokens?

    Args:
        words: number of its tokens without special ones.
        targets: number of its targets in the case that is asked for.
        start: whether it then has the start token.
        end: whether it then has the end token.
        now: number of its targets as the page shows it.
        kinds: what these tokens are called.
    """
    case = {
        (True, True): "with both <s> and </s>",
        (True, False): "with <s>, without </s>",
        (False, True): "without <s>, with </s>",
        (False, False): "without <s> and without </s>",
    }[start, end]
    tokens, counted_words = words + start + end, counted_kinds(words, kinds)
    return Question(
        f"How many targets has this sentence of {counted_words} {case}?",
        targets,
        f"{counted_words} {case} make {counted(tokens, 'token')}, and every one but the first is a target: {targets}.",
        lambda given: (
            f"{given} is the number of targets as the switches stand now."
            if given == now
            else f"{given} would be the number of tokens; the first of them is never a target."
            if given == tokens
            else f"Count the tokens {case}, then leave out the first."
        ),
        kind="number",
    )


def how_many_targets_with_one_more(words: int, *, noun: str) -> Question:
    """C10: how many targets would a text have that has neither start nor end token, if it were longer by one?"""
    return Question(
        f"Type one more {noun}: how many targets would the sentence have then?",
        words,
        f"{counted(words + 1, noun)}, of which the first is never a target: {words}.",
        lambda given: (
            f"{given} would be the number of {noun}s; the first of them is never a target."
            if given == words + 1
            else f"It has {counted(words, noun)} now; count one more, then leave out the first."
        ),
        kind="number",
    )


def click_token(n: int, t: int, place: Place | None, token: str) -> Question:
    """C12: find a sample's token in the grid; n from 1, t from 0."""
    symbol = notation.name("token", n=n, t=t)

    def wrong(chosen: tuple[int, int]) -> str:
        row, time = chosen
        reason = "the number in brackets is the row, the lower one the time"
        if (row, time) == (t, n):
            reason = "row and time have changed places"
        elif (row, time) == (n, t - 1):
            reason = f"time starts at 0, so t = {t} is the {ordinal(t + 1)} cell"
        elif (row, time) == (n + 1, t):
            reason = "samples are counted from 1"
        return f"You have chosen {notation.name('token', n=row, t=time)}: {reason}."

    return Question(
        f"Click {symbol} in the grid above, then press Check.",
        (n, t),
        f"{symbol} is {quoted(token)}: row {n}, and the {ordinal(t + 1)} cell of the row, because t starts at 0.",
        wrong,
        kind="here",
        chosen=None if place is None else (place.row + 1, place.time),
    )


def how_many_pads(text: str, cells: int, real: int) -> Question:
    """C11: how many targets would be padding if a short row joined the batch?

    Args:
        text: of that row.
        cells: target cells of the batch that it has joined.
        real: those of them that are no padding.
    """
    pads = cells - real
    return Question(
        f"Suppose that the short row “{text}” joins this batch. How many of the {cells} target cells that it then has are "
        "padding?",
        pads,
        f"{cells} target cells, {real} of them real tokens: {counted(pads, 'pad')}.",
        lambda given: (
            f"Count the patterned cells, then add those of the new row; the first column is no target. {cells} cells less "
            f"{given} pads would leave {counted(cells - given, 'real target')}."
        ),
        kind="number",
    )


def what_mean(reading: Reading) -> Question:
    """C11: which mean loss is reported if pads count?"""
    total = reading.loss * reading.real
    sums = f"{number(total)} / {reading.cells} = {number(reading.padded_loss)}"
    return Question(
        f"The batch as drawn has {reading.cells} target cells. Its {reading.real} real targets cost {number(total)} nats "
        "together. Suppose that a pad costs 0 and is counted like a target: which mean is reported? (two decimals)",
        reading.padded_loss,
        f"{sums}, although the {reading.real} real targets still cost {number(reading.loss)} each."
        if reading.cells > reading.real
        else f"{sums}: there is no padding in this batch, so the mean stays what it is.",
        lambda given: (
            f"{given} is the honest mean, over the {reading.real} real targets only."
            if abs(given - reading.loss) < 0.006
            else f"The sum stays {number(total)}; it is now divided by all {reading.cells} cells."
        ),
        kind="number",
        digits=2,
        unit="nats",
    )


def how_much_change(kept: int, changed: int, difference: float, own: float) -> Question:
    """C14: by how much do the logits of one row change with a token of another row? Rows from 0.

    Args:
        kept: the row that is asked about.
        changed: the row in which a token is replaced.
        difference: greatest change of a logit of the former, computed.
        own: greatest change of a logit of the latter, computed.
    """
    return Question(
        f"Replace a token in row {changed + 1}. By how much do the logits of row {kept + 1} change at most?",
        difference,
        f"Tried just now: the logits of row {changed + 1} change by up to {number(own)}, those of row {kept + 1} by "
        f"{number(difference)}.",
        lambda given: (
            f"{number(float(given))} would mean that rows see each other. Each row is read by itself."
        ),
        kind="number",
        digits=3,
    )
