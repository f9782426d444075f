"""What the page of the causal mask says, built from the very values that it is about."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from decoder.figures.attention_words import share
from decoder.figures.tables import Table
from decoder.figures.target_words import counted, quoted
from decoder.figures.words import listed, number, percent
from decoder.inference.prefixes import Comparison
from decoder.model.masking import Leak, Way

WAY_NAMES: Final[dict[Way, str]] = {
    "minus infinity": "−∞, as it should be",
    "finite number": "a finite number",
    "zero before": "0 before the softmax",
    "zero after": "× 0 after the softmax",
    "no mask": "no mask",
}


def way_name(way: Way, finite: float) -> str:
    """A way of masking, with the number that "finite number" uses."""
    return WAY_NAMES[way] + (f", {number(finite)}" if way == "finite number" else "")


def way_notes(way: Way, finite: float) -> tuple[str, str]:
    """Say in a few words what a way of masking does to the scores, and to the weights."""
    scores = {
        "minus infinity": "−∞ where closed",
        "finite number": f"{number(finite)} where closed",
        "zero before": "0 where closed",
    }.get(way, "the scores, unchanged")
    return scores, "softmax, then × 0 where closed" if way == "zero after" else "each / sum of its row"


def mask_sentence(
    T: int, *, open_future: int, closed_past: int, trained_masked: bool, layer: int, head: int
) -> str:
    """Say what the four matrices show, by counting.

    Args:
        T: number of tokens.
        open_future: cells above the diagonal that are open.
        closed_past: cells on or below it that are closed.
        trained_masked: whether the decoder was trained with the mask.
        layer: of the head.
        head: which is shown.
    """
    future = T * (T - 1) // 2
    where = f"Layer {layer}, head {head}: {counted(T, 'token')} {'makes' if T == 1 else 'make'} {counted(T * T, 'pair')}."
    if not trained_masked:
        where = f"This decoder was trained without the mask. {where}"
    if T == 1:
        return f"{where} The token looks at itself, with a weight of 1: nothing comes later that the mask could close."
    sums = "Each row of weights adds up to 1 over the cells that are open."
    if closed_past == 0 and open_future == future > 0:
        return (
            f"{where} Without the mask all of them are open: every token may read what comes after it. {sums}"
        )
    if closed_past or open_future:
        edits = [
            text
            for count, text in (
                (open_future, f"{counted(open_future, 'cell')} of the future {_is(open_future)} open"),
                (
                    closed_past,
                    f"{counted(closed_past, 'cell')} of the past or present {_is(closed_past)} closed",
                ),
            )
            if count
        ]
        return f"{where} In this mask {listed(edits)}, in every layer and head. {sums}"
    which, scores = ("the one", "its score") if future == 1 else ("those", "their scores")
    return (
        f"{where} {future} of them, {which} above the diagonal, would let a token look ahead; the mask sets {scores} to −∞, "
        f"and e^−∞ is exactly 0. The other {T * T - future} are open. {sums}"
    )


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def spelled(places: Sequence[int], name: Callable[[int], str]) -> str:
    """Name what stands at these places: "x₀, x₁ and x₃", or "x₀ … x₄" for a longer run without gaps."""
    if len(places) > 3 and places[-1] - places[0] == len(places) - 1:
        return f"{name(places[0])} … {name(places[-1])}"
    return listed([name(place) for place in places])


def walk_line(
    inputs: str, output: str, pick: tuple[str, float], target: tuple[str, float] | None, *, alone: bool
) -> str:
    """Say what one row reads and predicts.

    Args:
        inputs: names of the inputs that it may look at.
        output: name of the token that it predicts.
        pick: the most likely token and its probability.
        target: the token that really follows and its probability; None where nothing follows.
        alone: whether it is one input only.
    """
    verb = "alone predicts" if alone else "predict"
    line = f"{inputs} {verb} {output}: {quoted(pick[0])} is most likely, with {percent(pick[1])}"
    if target is None:
        return f"{line}. Here the text ends: nothing follows that this could be compared with."
    if target[0] == pick[0]:
        return f"{line}, and it really follows."
    return f"{line}; {quoted(target[0])}, which really follows, gets {percent(target[1])}."


def own_scores_sentence(row: int, T: int, count: int, *, alike: bool) -> str:
    """Say where the scores come from that stand in the fields until somebody changes one.

    Args:
        row: which is chosen above.
        T: how many columns it has there.
        count: how many fields there are.
        alike: whether the same cells are open above as in the row of these fields.
    """
    columns = "column 0" if T == 1 else f"columns 0 to {min(T, count) - 1}"
    said = f"Until you change one, they are the scores of row {row} above in {columns}"
    if count > T:
        said += ", and 0 where it has no more"
    said += ": the fields show three decimals, the weights are computed with all digits."
    if count < T:
        missing = f"column {count} is" if count + 1 == T else f"columns {count} to {T - 1} are"
        said += f" Its {missing} left out here."
    return (
        said
        if alike
        else f"{said} Other cells are open above, so the sums and the weights differ from those there."
    )


def row_name(row: int) -> str:
    """A row of a causal mask over four tokens, with what is open in it."""
    return f"row {row}: {row + 1} open, {3 - row} closed"


def row_table(
    scores: Sequence[float],
    masked_scores: Sequence[float],
    exponentials: Sequence[float],
    weights: Sequence[float],
) -> Table:
    """The way of one row from scores to weights, with the sums of what is divided and of what comes out."""
    lines = {
        "score": (*scores, None),
        "masked score": (*masked_scores, None),
        "exp": (*exponentials, math.fsum(exponentials)),
        "weight": (*weights, math.fsum(weights)),
    }
    return Table(
        "from four scores to four weights",
        ["", *(f"key {at}" for at in range(len(scores))), "sum of the row"],
        [[name, *values] for name, values in lines.items()],
    )


def row_sentence(
    exponentials: Sequence[float], weights: Sequence[float], open_cells: int, finite: float | None
) -> str:
    """Say what became of the scores of one row.

    Args:
        exponentials: of all cells.
        weights: of all cells.
        open_cells: how many cells are open, the first ones.
        finite: what stands in closed cells in place of minus infinity; None: minus infinity itself.
    """
    closed = len(weights) - open_cells
    cells = "cell" if closed == 1 else "cells"
    said = f"{open_cells} of {len(weights)} cells {_is(open_cells)} open. "
    if open_cells == 1 and finite is None:
        return f"{said}Its exponential is divided by itself: a weight of 1, whatever the score. The others get exactly 0."
    shown = listed([share(weight) for weight in weights])
    said += (
        f"Each exponential, divided by their sum {number(math.fsum(exponentials))}, is a weight: {shown}. "
    )
    if not closed:
        return f"{said}Nothing is closed in this row."
    if finite is None:
        return f"{said}e^−∞ is exactly 0, so nothing leaks to the closed {cells}."
    return (
        f"{said}e^{number(finite)} is {number(math.exp(finite))}, not 0: {number(100 * math.fsum(weights[open_cells:]), 3)} % "
        f"of the weight leaks to the closed {cells}."
    )


def leak_sentence(
    way: Way, leak: Leak, finite: float, texts: Sequence[str], last: str, *, above: bool
) -> str:
    """Say what goes wrong with one way of masking, by the measured numbers.

    Args:
        way: how closed cells are kept out.
        leak: what was measured.
        finite: the number that "finite number" uses.
        texts: all tokens, by their ids.
        last: the last token of the sentence.
        above: whether the head stands in a layer above others, which are masked rightly.
    """
    if len(leak.sums) == 1:
        return "A single token has no future that could leak: type a longer sentence."
    small = 0 < leak.closed_share < 1e-4
    part = number(leak.closed_share) if small else percent(leak.closed_share)
    low, high = f"{min(leak.sums):.3f}", f"{max(leak.sums):.3f}"
    reason = {
        "minus infinity": f"e^−∞ is exactly 0, so {part} of all weight lies on the future, and rows add up to 1.",
        "finite number": (
            f"e^{number(finite)} is {number(math.exp(finite))}, not 0: {part} of all weight lies on the future. The rows "
            "still add up to 1, so nothing looks wrong."
        ),
        "zero before": (
            f"0 is a score like any other, higher than every negative one, and e^0 is 1: {part} of all weight lies on "
            "the future. The rows still add up to 1, so nothing looks wrong."
        ),
        "zero after": (
            f"{part} of all weight lies on the future, but the softmax had already divided by sums over all cells: the rows "
            f"add up to {low} … {high} instead of 1, and how much is missing depends on tokens to come."
        ),
        "no mask": f"{part} of all weight lies on the future: every token but the last may read its own target.",
    }[way]
    return f"{reason} {_moved(leak, texts, last, above=above)}"


def tried(leak: Leak, vocab_size: int) -> str:
    """Name the tokens that were put in the place of the last one: "each of the 34 other tokens"."""
    others = vocab_size - 1
    return (
        f"each of the {others:,} other tokens"
        if leak.tried == others
        else f"{leak.tried} of the {others:,} other tokens"
    )


def _moved(leak: Leak, texts: Sequence[str], last: str, *, above: bool) -> str:
    replaced = f"The last token {quoted(last)} was replaced by {tried(leak, len(texts))}"
    if leak.by is None:
        return f"{replaced}, and no result of an earlier row moved: the change is exactly 0."
    return (
        f"{replaced}: results of earlier rows moved by up to {number(leak.moved)}, most with {quoted(texts[leak.by])} in its "
        "place" + (", although all layers below are masked rightly." if above else ".")
    )


def probe_sentence(
    masked: Sequence[float], unmasked: Sequence[float], position: int, old: str, new: str
) -> str:
    """Say which outputs moved when the token at `position` was replaced, with the mask and without."""
    if old == new:
        return "The token is the one that stood there before, so nothing changes: choose another one."
    before = f"the {counted(position, 'output')} before it" if position else "no output stands before it"
    said = f"{quoted(old)} at position {position} is replaced by {quoted(new)}. "
    if position == 0:
        return f"{said}It is the first, so {before}: with the mask and without, every output may move."
    kept = max(masked[:position])
    return (
        f"{said}With the mask {before} {'change' if position > 1 else 'changes'} by "
        f"{'exactly 0' if kept == 0 else number(kept)}, those from position {position} on by up to "
        f"{number(max(masked[position:]))}. Without the mask the earlier ones change as well, by up to "
        f"{number(max(unmasked[:position]))}."
    )


def parallel_sentence(masked: Comparison, unmasked: Comparison) -> str:
    """Say what one pass has in common with T passes, and which took longer."""
    if masked.passes == 1:
        return (
            "A single token has one prefix, itself: both ways are the same pass, and there is no later token to read. "
            "Type a longer sentence."
        )
    ratio = masked.prefix_seconds / masked.parallel_seconds
    difference = (
        "do not differ at all: the difference is exactly 0"
        if masked.greatest == 0
        else f"differ by {number(masked.greatest)} at most, which is rounding"
    )
    return (
        f"{masked.passes} passes over growing prefixes took "
        f"{milliseconds(masked.prefix_seconds)}, one masked pass over the whole sentence "
        f"{milliseconds(masked.parallel_seconds)}: {ratio:.1f} times as long for the same numbers. Their logits {difference}. "
        f"Without the mask they differ by up to {number(unmasked.greatest)}: there the one pass reads tokens that a prefix "
        "does not have."
    )


def counted_passes(count: int) -> str:
    """Return "1 pass over a prefix", "5 passes over prefixes"."""
    return "1 pass over a prefix" if count == 1 else f"{count} passes over prefixes"


def milliseconds(seconds: float) -> str:
    """Write a short time: "1.24 ms"."""
    return f"{1000 * seconds:.3g} ms"
