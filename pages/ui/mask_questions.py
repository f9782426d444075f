"""The check questions about the causal mask, answered by computing: no answer is written down here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from decoder import causal_mask
from decoder.figures.mask_words import spelled
from decoder.figures.target_words import counted, quoted
from decoder.figures.words import number, percent
from decoder.inference.prefixes import Comparison, prefix_lengths
from decoder.model.masking import mask_scores
from decoder.runs import EvaluationRow
from pages.ui import notation
from pages.ui.checks import Question

ASKED_POSITION = 3
ASKED_LENGTH = 5  # tokens of a sentence that is only imagined
SMALL_FINITE = -1.0
ROUNDING = 1e-4
DIFFERENCES = ("below 0.0001: rounding", "0.0001 or more: the results differ")
WRITERS = ("the one with the mask", "the one without")
MEASUREMENTS = ("the loss on training sentences", "the loss on unseen sentences", "what it writes by itself")
NOT_YET = "Keep your answer: it can be judged when both are trained, below."


class Trained(NamedTuple):
    """What is known of a decoder at the end of its training: its last loss there, and how it was tested."""

    loss: float
    test: EvaluationRow


class Measured(Question):
    """A choice whose answer is measured when one is handed in, or shown, and not before."""

    def __init__(self, text: str, options: Sequence[str], measure: Callable[[], Question]) -> None:
        for name, value in (
            ("text", text),
            ("options", options),
            ("right", "measured"),
            ("_measure", measure),
        ):
            object.__setattr__(self, name, value)

    @cached_property
    def _answered(self) -> Question:
        measure: Callable[[], Question] = vars(self)["_measure"]
        return measure()

    @property
    def reason(self) -> str:
        """Why the answer is right, with what was measured."""
        return self._answered.reason

    def wrong(self, answer: Any) -> str:
        """Why an answer is not right."""
        return self._answered.wrong(answer)

    def is_right(self, answer: Any) -> bool:
        """Compare an answer with what was measured."""
        return self._answered.is_right(answer)

    def answer(self) -> str:
        """Return the right answer."""
        return self._answered.answer()


def how_many_masked(T: int) -> Question:
    """C23: how many cells does the mask close for T tokens?"""
    mask = causal_mask(T)
    closed, open_cells = int((~mask).sum()), int(mask.sum())
    return Question(
        f"How many of the {T} × {T} cells does the causal mask close for a sentence of {T} tokens?",
        closed,
        f"Row by row {T - 1}, {T - 2}, … 0 keys come later than the query: {closed} of {T * T}; {open_cells} stay open.",
        lambda given: (
            f"{given} cells stay open; the others are closed."
            if given == open_cells
            else f"{given} would be half of all cells, but the diagonal stays open."
            if 2 * given in {T * T, T * T - 1, T * T + 1}
            else f"Row 0 has {T - 1} later keys, row 1 has {T - 2}, and so on down to 0: add them up."
        ),
        kind="number",
    )


def is_diagonal_masked() -> Question:
    """C23: does the mask close the diagonal?"""
    right = "no" if bool(causal_mask(ASKED_POSITION).diagonal().all()) else "yes"
    return Question(
        "Is the diagonal masked?",
        right,
        "A token may look at itself: on the diagonal the key is the query's own position, not a later one.",
        lambda _: (
            "Closed are keys that come later than the query. On the diagonal both are the same position."
        ),
        options=("yes", "no"),
    )


def which_inputs(T: int) -> Question:
    """C27: which inputs may take part in a prediction? A sentence too short to ask about is imagined longer."""
    imagined = T < ASKED_POSITION
    T = ASKED_LENGTH if imagined else T
    t = ASKED_POSITION

    def named(places: Sequence[int]) -> str:
        return spelled(places, lambda place: notation.name("embedding", t=place))

    right = named(causal_mask(T)[t - 1].nonzero().flatten().tolist())
    asked, last = notation.name("token", t=t), notation.name("embedding", t=t - 1)
    everything = named(range(T))
    where = f"In a sentence of {T} inputs: which" if imagined else "Which"
    return Question(
        f"{where} inputs may take part in predicting {asked}?",
        right,
        f"{asked} is predicted in row {t - 1}, and row {t - 1} may look at columns 0 to {t - 1}: {right}.",
        lambda given: (
            f"{last} is the last input, but the earlier ones take part too."
            if given == last
            else f"They are too few: row {t - 1} may also look at its own input, {last}."
            if given == named(range(t - 1))
            else f"With all of them {asked} itself would be among the inputs: the answer."
            if given == everything
            else f"The input that stands at time {t} is {asked} itself: the answer."
        ),
        options=sorted(
            {named(range(t - 1)), named(range(t)), named(range(min(t + 1, T))), last, everything},
            key=lambda text: (len(text), text),
        ),
    )


def first_weight() -> Question:
    """C25: what is the weight of row 0 on column 0?"""
    mask = causal_mask(ASKED_POSITION)
    weight = mask_scores(mask * 1.0, mask).weights[0, 0].item()
    return Question(
        "Which weight has row 0 on column 0, whatever its score?",
        weight,
        "Row 0 has one open cell, so its exponential is divided by itself: 1.",
        lambda given: (
            f"Row 0 has one open cell only, and its weights add up to 1, not to {number(float(given))}."
        ),
        kind="number",
        digits=2,
    )


def equal_scores() -> Question:
    """C25: what are the weights of the second row if all scores are equal?"""
    mask = causal_mask(4)
    weight = mask_scores(mask * 0.0, mask).weights[1, 0].item()
    return Question(
        "Four tokens, all scores equal to 0, masked with −∞. Which weight has row 1 on column 0? (two decimals)",
        weight,
        f"Row 1 has two open cells with e^0 = 1 each, so each gets 1 / 2 = {number(weight)}; the others get exactly 0.",
        lambda given: (
            "That would be without the mask: row 1 has two open cells, not four."
            if abs(given - 0.25) < 0.005
            else "Row 1 has two open cells with equal scores, and its weights add up to 1."
        ),
        kind="number",
        digits=2,
    )


def how_much_leaks() -> Question:
    """C25: how much weight leaks with a finite number in place of minus infinity?"""
    mask = causal_mask(4)
    weights = mask_scores(mask * 0.0, mask, "finite number", SMALL_FINITE).weights[1]
    leak = weights[~mask[1]].sum().item()
    small = number(SMALL_FINITE)
    return Question(
        f"The same row with {small} in place of −∞: how much of its weight leaks to the future? (per cent, one decimal)",
        100 * leak,
        f"2 e^{small} / (2 e^0 + 2 e^{small}) = {100 * leak:.1f} %, to two cells that should have none.",
        lambda given: (
            f"That is e^{small} itself; it still has to be divided by the sum of the row."
            if abs(given - 36.8) < 0.2
            else "That is what one of the two closed cells gets."
            if abs(given - 50 * leak) < 0.2
            else f"The row's exponentials are 1, 1, e^{small} and e^{small}; the last two are the leak."
        ),
        kind="number",
        digits=1,
        unit="%",
    )


def which_move(
    tokens: Sequence[str],
    changes: Sequence[float],
    position: int,
    new: str,
    *,
    masked: bool,
    imagined: bool = False,
) -> Question:
    """C24: which outputs may change if a token is replaced?

    Args:
        tokens: of the sentence.
        changes: of every position, measured with another token there.
        position: where the token is replaced.
        new: the token that was put there for the measurement.
        masked: whether the mask is on.
        imagined: whether the page shows another sentence.
    """
    T = len(tokens)
    everything = list(range(T))

    def named(positions: Sequence[int]) -> str:
        return f"{'that' if len(positions) == 1 else 'those'} at {spelled(positions, str)}"

    mask = causal_mask(T) if masked else causal_mask(T).new_ones(T, T)
    right = named(mask[:, position].nonzero().flatten().tolist())
    ways = [everything[position:], [position], everything[: position + 1], everything]
    before = f"{_exactly(max(changes[:position]))} before it, " if position else ""
    case = "With the mask" if masked else "Without the mask"
    where = f"In “{' '.join(tokens)}”, {case.lower()}" if imagined else case
    why = (
        f"Column {position} of the mask is open for {right}."
        if masked
        else "Without a mask every position looks at all tokens, and so at this one."
    )
    return Question(
        f"{where}: the token at input position {position} is replaced. Which outputs may change?",
        right,
        f"{why} Tried just now with {quoted(new)} in the place of "
        f"{quoted(tokens[position])}: greatest change {before}{_exactly(max(changes[position:]))} from there on.",
        lambda given: (
            "Without the mask every position looks at all others."
            if not masked
            else f"An output may look back: everything from position {position} on reads the new token."
            if given == named([position])
            else f"Positions before {position} may not look ahead, so they cannot know of the change."
        ),
        options=sorted({named(way) for way in ways}, key=lambda text: (len(text), text)),
    )


def how_much_difference(measure: Callable[[], Comparison], *, masked: bool) -> Question:
    """C28: by how much do the passes over prefixes and the one pass differ? Measured when it is answered."""
    case = "With the mask" if masked else "Without the mask"
    text = f"{case}: by how much do the logits of the separate passes and of the one pass differ?"

    def answered() -> Question:
        comparison = measure()
        return Question(
            text,
            DIFFERENCES[comparison.greatest >= ROUNDING],
            f"Measured just now: {_exactly(comparison.greatest)}{' at most' * (comparison.greatest > 0)}.",
            lambda _: (
                "With the mask no position sees more in the whole sentence than in its own prefix."
                if masked
                else "A single token has no future that it could read."
                if comparison.passes == 1
                else "Without it every position of the one pass reads the whole sentence, a prefix only itself."
            ),
        )

    return Measured(text, DIFFERENCES, answered)


def how_many_passes(T: int = ASKED_LENGTH) -> Question:
    """C28: how many passes do T predictions take, one prefix at a time and all at once?"""
    lengths = prefix_lengths(T)
    one_by_one, rows = len(lengths), sum(lengths)

    def named(separate: int, together: int) -> str:
        return f"{separate} against {together}"

    right = named(one_by_one, 1)
    predictions = f"{T} predictions" if notation.chosen() == "names" else f"T = {T} predictions"
    return Question(
        f"{predictions}: how many passes if every prefix is read by itself, against how many with the mask?",
        right,
        f"One pass for each of the prefixes of {', '.join(map(str, lengths[:-1]))} and {T} tokens, against a single pass over "
        f"all {T}: its row i is the prediction after i + 1 tokens.",
        lambda given: (
            f"{rows} is how many tokens the {T} prefixes have together; each prefix is one pass."
            if given == named(rows, 1)
            else f"It is the other way round: one pass for each prefix makes {T}."
            if given == named(1, one_by_one)
            else "With the mask a single pass makes all predictions: every row is one of them."
        ),
        options=[named(one_by_one, one_by_one), right, named(1, one_by_one), named(rows, 1)],
    )


def which_not_copied(T: int) -> Question:
    """C29: which target is not among the inputs, so that it cannot be copied even without the mask?"""
    T = T if T > 1 else ASKED_LENGTH
    inputs, targets = set(range(T)), range(1, T + 1)
    names = {t: notation.name("token", t=t) for t in targets}
    (missing,) = [t for t in targets if t not in inputs]
    shown = sorted({1, max(T // 2, 1), T - 1, T})
    return Question(
        f"{counted(T, 'input')} without padding and no mask: which target cannot be copied from the inputs?",
        names[missing],
        f"The inputs are {notation.name('inputs', last=T - 1)}, the targets {notation.name('targets', last=T)}: "
        f"only {names[missing]} is not among the inputs.",
        lambda given: f"{given} is also an input, one row lower, and without the mask every row may read it.",
        options=[names[t] for t in shown],
    )


def is_it_good(masked: Trained | None, unmasked: Trained | None) -> Question:
    """C29: is a decoder good whose loss is nearly 0? It is judged once both have been trained, and tried at writing."""
    text = (
        "Trained without the mask, a decoder ends with a loss near 0, 0.004 for instance, on training sentences and on unseen "
        "ones alike. Is it a good decoder?"
    )
    shares = _valid_shares(masked, unmasked)
    if masked is None or unmasked is None or shares is None:
        return Question(text, None, NOT_YET, str, options=("yes", "no"))
    good, bad = shares
    return Question(
        text,
        "no" if bad < good else "yes",
        f"Here its loss is {number(unmasked.loss)} on training sentences and {number(unmasked.test.true_history_loss)} on "
        f"unseen ones. Yet {percent(bad)} of what it writes by itself is valid; with the mask it is {percent(good)}.",
        lambda _: "A low loss is no merit if the answers can be read: let it write, and count.",
        options=("yes", "no"),
    )


def what_shows_it(masked: Trained | None, unmasked: Trained | None) -> Question:
    """C29: by which measurement is the decoder without the mask the worse one? That is compared when both are trained."""
    text = "Which measurement shows that the decoder without the mask has learned nothing useful?"
    shares = _valid_shares(masked, unmasked)
    if masked is None or unmasked is None or shares is None:
        return Question(text, None, NOT_YET, str, options=MEASUREMENTS)
    worse = [
        unmasked.loss > masked.loss,
        unmasked.test.true_history_loss > masked.test.true_history_loss,
        shares[1] < shares[0],
    ]
    if worse.count(True) != 1:
        reason = f"In these two trainings {worse.count(True)} of the three measurements show it: try another corpus."
        return Question(text, None, reason, str, options=MEASUREMENTS)
    return Question(
        text,
        MEASUREMENTS[worse.index(True)],
        f"Without the mask, against with it: loss on training sentences {number(unmasked.loss)} against {number(masked.loss)}, "
        f"on unseen ones {number(unmasked.test.true_history_loss)} against {number(masked.test.true_history_loss)}, valid "
        f"sentences {percent(shares[1])} against {percent(shares[0])}. Only one of the three is worse.",
        lambda given: f"By {given} it looks better than the one with the mask: it reads its targets there.",
        options=MEASUREMENTS,
    )


def which_writes_better(masked: Trained | None, unmasked: Trained | None) -> Question:
    """C29: which decoder is the better one? It is judged once both have been trained, and tried at writing."""
    text = "One decoder is trained with the mask, the same one without. Which of the two writes more valid sentences by itself?"
    found = _valid_shares(masked, unmasked)
    if masked is None or unmasked is None or found is None:
        return Question(text, None, NOT_YET, str, options=WRITERS)
    shares = dict(zip(WRITERS, found, strict=True))
    said = " and ".join(f"{name} {percent(share)}" for name, share in shares.items())
    return Question(
        text,
        max(shares, key=lambda name: shares[name]),
        f"With the true history the loss is {number(masked.test.true_history_loss)} with the mask and "
        f"{number(unmasked.test.true_history_loss)} without. Of what they write by themselves {said} is valid: when the "
        "decoder writes, there is no future to copy from.",
        lambda _: "A low loss is no merit if the answers can be read: let it write, and count.",
        options=WRITERS,
    )


def _valid_shares(masked: Trained | None, unmasked: Trained | None) -> tuple[float, float] | None:
    """Share of valid sentences with the mask and without; None as long as one of them is not known."""
    shares = [
        each.test.valid_share for each in (masked, unmasked) if each and each.test.valid_share is not None
    ]
    return (shares[0], shares[1]) if len(shares) == len(WRITERS) else None


def _exactly(change: float) -> str:
    return "exactly 0" if change == 0 else number(change)
