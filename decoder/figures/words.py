"""Numbers as words: sentences and formulas that pages show, built from the very values they are about."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

from decoder.inference.generation import GenerationStep
from decoder.model.arithmetic import CellArithmetic

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def run_state(
    state: str,
    step: int,
    steps: int,
    *,
    wait: float | None = None,
    left: float | None = None,
    speed: float | None = None,
    trained: int | None = None,
) -> str:
    """Say where a training stands.

    Args:
        state: of the run.
        step: updates recorded.
        steps: updates planned.
        wait: seconds until its next point is to be expected; None: not known.
        left: seconds until its end is to be expected; None: not known.
        speed: updates per second, as they were seen to come; None: not known.
        trained: updates that its training goes on after; those from there to `step` are computed again. None: all.
    """
    where = f"step {step:,} of {steps:,}"
    soon = "" if wait is None else f", next point in {duration(wait)}"
    rest = "" if left is None or step == steps else f" · {duration(left)} left"
    if state in {"waiting", "training"} and trained is not None and trained < step:
        when = "waiting for a free worker, then" if state == "waiting" else "training:"
        return f"{when} {_again(trained, step)}{soon}{rest}"
    match state:
        case "waiting":
            return (
                f"waiting for a free worker{soon}"
                if not step
                else f"waiting for a free worker: {where}{soon}"
            )
        case "finished":
            return f"finished: trained {steps:,} steps"
        case "failed":
            return f"failed after step {step:,}"
        case "paused":
            return f"paused: {where}"
    pace = "" if speed is None else f" · {speed:,.0f} steps/s" if speed >= 9.95 else f" · {speed:.2g} steps/s"
    return f"training: {where}{pace}{rest}"


def _again(trained: int, step: int) -> str:
    """Say which updates are computed again, because no state was kept after the last of them."""
    if step - trained == 1:
        return f"computing update {step:,} again"
    which = f"updates {trained + 1:,} to {step:,}" if trained else f"its first {step:,} updates"
    return f"computing {which} again"


def duration(seconds: float) -> str:
    """Write a time to come as roughly as it is known."""
    if seconds < 1:
        return "less than a second"
    if seconds < 100:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 6000 else f"about {seconds / 3600:.0f} h"


def percent(probability: float) -> str:
    """Return a share as a percentage with as many digits as it can bear: "93 %", "4.1 %", "0.32 %", "< 0.01 %"."""
    hundred = 100 * probability
    if probability in {0, 1}:
        return f"{hundred:.0f} %"
    if hundred < 0.01:
        return "< 0.01 %"
    if hundred > 99.99:
        return "> 99.99 %"
    digits = 2 if hundred < 0.95 or hundred > 99.5 else 1 if hundred < 9.5 or hundred > 98.5 else 0
    return f"{hundred:.{digits}f} %"


def listed(names: Sequence[str]) -> str:
    """Return "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else list(names))


def bound_formula(entropies: Sequence[float], kept: Sequence[float]) -> str:
    """Write a least possible loss as the sum that it is: "(ln 6 + ln 8 + ln 8 + ln 5) / 24".

    Args:
        entropies: of each target, nats; where n tokens are equally likely it is ln n.
        kept: probability that the target counts; the sum of all is the number of targets per sentence.
    """
    groups: dict[Fraction, list[str]] = {}
    for entropy, probability in zip(entropies, kept, strict=True):
        if entropy > 0 and probability > 0:
            groups.setdefault(Fraction(probability).limit_denominator(1_000), []).append(_logarithm(entropy))
    sums = {share: " + ".join(_counted(names)) for share, names in groups.items()}
    terms = [names if share == 1 else f"{share} ({names})" for share, names in sums.items()]
    return f"({' + '.join(terms)}) / {sum(kept):g}" if terms else "0"


def _counted(names: Sequence[str]) -> list[str]:
    """Return each name once, with its number in front: ["ln 8", "ln 5", "ln 8"] gives ["2 ln 8", "ln 5"]."""
    return [f"{count} {name}" if count > 1 else name for name, count in Counter(names).items()]


def _logarithm(entropy: float) -> str:
    choices = math.exp(entropy)
    return f"ln {choices:.0f}" if math.isclose(choices, round(choices), rel_tol=1e-9) else f"{entropy:.4f}"


def number(value: float, digits: int = 4) -> str:
    """Return a number with four significant digits, or `digits`, a true minus sign, and a sign for infinity."""
    if math.isinf(value):
        return "−∞" if value < 0 else "∞"
    factor, _, exponent = _rounded(value, digits).partition("e")
    power = f"·10{str(int(exponent)).translate(_RAISED)}" if exponent else ""
    return f"{factor}{power}".replace("-", "−")


def _rounded(value: float, digits: int) -> str:
    small = 0 < abs(value) < 1e-3
    return f"{value:.{max(digits - 2, 0)}e}" if small else f"{value:.{digits}g}"


def printed(value: float, digits: int) -> float:
    """Return the value that stands there when `number` has written it."""
    return float(_rounded(value, digits))


class _Digits(NamedTuple):
    """Significant digits of a calculation: of what goes in, of what stands in between, and of what comes out."""

    given: int
    between: int
    result: int


# The readable ones first; a float32 is told apart by 9 digits, a float64 by 17.
_DIGITS = [
    _Digits(given, between, result)
    for result in (4, 3, 2, 1)
    for given, between in ((7, 5), (7, 6), (8, 6), (9, 6), (9, 8), (12, 9), (17, 12))
]


def _recomputable(values: Iterable[float], holds: Callable[[_Digits], bool]) -> _Digits:
    """Return as many digits as it takes to get the printed result from the printed numbers, digit by digit."""
    if not all(map(math.isfinite, values)):  # a decoder gone wild is shown as it is
        return _DIGITS[0]
    return next(filter(holds, _DIGITS), _DIGITS[-1])


def score_arithmetic(cell: CellArithmetic, row: int, column: int) -> str:
    """Spell out a score: the dot product of a query and a key, divided by the root of their width."""
    pairs = list(zip(cell.query, cell.key, strict=True))

    def holds(digits: _Digits) -> bool:
        given, between, result = digits
        dot = math.fsum(printed(q, given) * printed(k, given) for q, k in pairs)
        score = printed(cell.dot, between) / printed(cell.divisor, given)
        return number(dot, between) == number(cell.dot, between) and number(score, result) == number(
            cell.score, result
        )

    given, between, result = _recomputable((*cell.query, *cell.key, cell.dot), holds)
    terms = [f"({number(q, given)})·({number(k, given)})" for q, k in pairs]
    root = number(cell.divisor, given)
    return "\n".join(
        [
            f"score({row}, {column}) = query {row} · key {column} / √{len(cell.query)}",
            f"= [{' + '.join(terms)}] / {root}",
            f"= {number(cell.dot, between)} / {root}",
            f"= {number(cell.score, result)}",
        ]
    )


def mask_arithmetic(cell: CellArithmetic, row: int, column: int) -> str:
    """Say what the mask does to the cell."""
    place = f"masked score({row}, {column})"
    when = "is the query itself" if column == row else f"comes {'earlier' if column < row else 'later'}"
    if math.isinf(cell.masked_score):
        return f"{place} = −∞: the mask closes this cell; key {column} {when}"
    score = number(cell.masked_score, _DIGITS[0].given)
    return f"{place} = {score}, unchanged: the mask leaves this cell open; key {column} {when}"


def weight_arithmetic(cell: CellArithmetic, row: int, column: int) -> str:
    """Spell out the softmax of the row at this cell."""
    open_scores = [score for score in cell.row if not math.isinf(score)]
    exponential = cell.exponentials[column]

    def holds(digits: _Digits) -> bool:
        given, between, result = digits
        powers = [math.exp(printed(score, given)) for score in open_scores]
        power = 0.0 if math.isinf(cell.masked_score) else math.exp(printed(cell.masked_score, given))
        weight = printed(exponential, between) / printed(cell.total, between)
        return (
            number(power, between) == number(exponential, between)
            and number(math.fsum(powers), between) == number(cell.total, between)
            and number(weight, result) == number(cell.weight, result)
        )

    given, between, result = _recomputable((*open_scores, *cell.exponentials, cell.weight), holds)
    powers = " + ".join(f"e^{number(score, given)}" for score in open_scores)
    closed = len(cell.row) - len(open_scores)
    return "\n".join(
        [
            f"weight({row}, {column}) = e^{number(cell.masked_score, given)} / ({powers}{closed * ' + 0'})"
            + (", each 0 being e^−∞ of a masked key" if closed else ""),
            f"= {number(exponential, between)} / {number(cell.total, between)}",
            f"= {number(cell.weight, result)}",
        ]
    )


def generation_sentence(step: GenerationStep, index: int, count: int, picked: str) -> str:
    """Say what one step of generation did."""
    seen = len(step.tokens) - step.window_start
    sentences = [
        (
            f"Step {index} of {count}: the decoder sees {seen} token{'s' * (seen > 1)} and gives “{picked}” "
            f"a probability of {percent(step.model_probabilities[step.picked].item())}, that is "
            f"{number(step.log_probability)} nats."
        )
    ]
    if step.window_start:
        sentences.append(
            f"The text has {len(step.tokens)} tokens and the context holds {seen}: the first {step.window_start} "
            "are out of sight."
        )
    return " ".join(sentences)


def newest_sentence(
    weights: Sequence[Sequence[float | None]], heads: Sequence[str], labels: Sequence[str]
) -> str:
    """Say where the newest token looks: which head is the most decided one, and what all look at on average.

    Args:
        weights: one row per head, one column per token that can be seen.
        heads: names of the rows.
        labels: of the columns.
    """
    rows = [[weight or 0.0 for weight in row] for row in weights]
    means = [math.fsum(column) / len(rows) for column in zip(*rows, strict=True)]
    sharpest = max(range(len(rows)), key=lambda head: max(rows[head]))
    place, most = rows[sharpest].index(max(rows[sharpest])), means.index(max(means))
    return (
        f"The most decided of {len(heads)} heads is {heads[sharpest]}: it gives {labels[place]} a weight of "
        f"{number(rows[sharpest][place])}. On average over all heads {labels[most]} gets most, {number(means[most])}."
    )


def lane_sentence(name: str, step: int, loss: float, floor: float | None, valid_share: float | None) -> str:
    """Say how good a decoder is: its loss against the floor, and how much of what it writes is valid."""
    sentence = (
        f"After {step:,} updates {name} has a loss of {number(loss)} nats per token with the true history"
    )
    if floor and loss < 0.98 * floor:
        sentence += (
            f", far below {number(floor)}, the best without looking ahead: nothing hides the next token from it, "
            "so it reads the answer"
        )
    elif floor and loss < floor:
        sentence += f", on a sample as good as the floor of {number(floor)}"
    elif floor:
        sentence += f", {100 * (loss / floor - 1):.0f} % above the floor of {number(floor)}"
    if valid_share is None:
        return f"{sentence}."
    return f"{sentence}; of the sentences that it writes by itself, {percent(valid_share)} are valid."
