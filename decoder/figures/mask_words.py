"""What the page of the causal mask says, built from the very values that it is about."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

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
    return (
        f"{where} {future} of them, those above the diagonal, would let a token look ahead; the mask sets their "
        f"scores to −∞, and e^−∞ is exactly 0. The other {T * T - future} are open. {sums}"
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
        target: the token that really follows and its probability; None where the sentence ends.
        alone: whether it is one input only.
    """
    verb = "alone predicts" if alone else "predict"
    line = f"{inputs} {verb} {output}: {quoted(pick[0])} is most likely, with {percent(pick[1])}"
    if target is None:
        return f"{line}. Here the sentence ends."
    if target[0] == pick[0]:
        return f"{line}, and it really follows."
    return f"{line}; {quoted(target[0])}, which really follows, gets {percent(target[1])}."


def leak_sentence(way: Way, leak: Leak, finite: float, last: str, *, above: bool) -> str:
    """Say what goes wrong with one way of masking, by the measured numbers.

    Args:
        way: how closed cells are kept out.
        leak: what was measured.
        finite: the number that "finite number" uses.
        last: the last token.
        above: whether the head stands in a layer above others, which are masked rightly.
    """
    if len(leak.sums) == 1:
        return "A single token has no future that could leak: type a longer sentence."
    small = 0 < leak.closed_share < 1e-4
    share = number(leak.closed_share) if small else percent(leak.closed_share)
    moved = (
        f"Replace the last token {quoted(last)}, and results of earlier rows move by up to {number(leak.moved)}"
        + (", although all layers below are masked rightly." if above else ".")
        if leak.moved
        else f"Replace the last token {quoted(last)}, and no result of an earlier row moves: the change is exactly 0."
    )
    low, high = f"{min(leak.sums):.3f}", f"{max(leak.sums):.3f}"
    reason = {
        "minus infinity": f"e^−∞ is exactly 0, so {share} of all weight lies on the future, and rows add up to 1.",
        "finite number": (
            f"e^{number(finite)} is {number(math.exp(finite))}, not 0: {share} of all weight lies on the future. The rows "
            "still add up to 1, so nothing looks wrong."
        ),
        "zero before": (
            f"0 is a score like any other, higher than every negative one, and e^0 is 1: {share} of all weight lies on "
            "the future. The rows still add up to 1, so nothing looks wrong."
        ),
        "zero after": (
            f"{share} of all weight lies on the future, but the softmax had already divided by sums over all cells: the rows "
            f"add up to {low} … {high} instead of 1, and how much is missing depends on tokens to come."
        ),
        "no mask": f"{share} of all weight lies on the future: every token but the last may read its own target.",
    }[way]
    return f"{reason} {moved}"


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
    return (
        f"{masked.passes} passes over growing prefixes took "
        f"{milliseconds(masked.prefix_seconds)}, one masked pass over the whole sentence "
        f"{milliseconds(masked.parallel_seconds)}: {ratio:.1f} times as long for the same numbers. Their logits differ by "
        f"{number(masked.greatest)} at most, which is rounding. Without the mask they differ by up to "
        f"{number(unmasked.greatest)}: there the one pass reads tokens that a prefix does not have."
    )


def milliseconds(seconds: float) -> str:
    """Write a short time: "1.24 ms"."""
    return f"{1000 * seconds:.3g} ms"
