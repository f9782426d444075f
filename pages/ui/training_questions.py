"""The check questions about training, made from what the page shows: no answer is written down here."""

from __future__ import annotations

import math
from collections.abc import Sequence

from decoder.figures.matrices import visible
from decoder.figures.target_words import quoted
from decoder.figures.words import number
from decoder.language import Batch
from decoder.training.histories import Slip
from decoder.training.reading import Reading
from pages.ui import notation
from pages.ui.checks import Question

EQUAL, DIFFERENT = "they are exactly equal", "they differ"
LOGARITHMS = {"10": math.log10, "2": math.log2}


def what_even_guess(vocab_size: int, measured: float) -> Question:
    """C19: what does it cost to guess among all tokens alike? `measured` is the loss before the first update."""
    loss = math.log(vocab_size)
    return Question(
        f"This corpus has {vocab_size:,} tokens. Which loss has a decoder that gives each of them the same probability? "
        "(nats, two decimals)",
        loss,
        f"−ln (1 / {vocab_size:,}) = ln {vocab_size:,} = {number(loss)}. This decoder began at {number(measured)}: its random "
        "weights guess almost as evenly.",
        lambda given: (
            f"1 / {vocab_size:,} is the probability; the loss is its natural logarithm, without the minus sign."
            if math.isclose(given, 1 / vocab_size, abs_tol=0.006)
            else _wrong_logarithm(given, 1 / vocab_size)
            or f"Every token has the probability 1 / {vocab_size:,}, also the right one: what is −ln of that?"
        ),
        kind="number",
        digits=2,
        unit="nats",
    )


def what_target_costs(reading: Reading, row: Batch, texts: Sequence[str]) -> Question:
    """C19: what does the most surprising target of a row (a batch of one) cost?"""
    losses, targets = reading.losses[0].tolist(), row.targets[0].tolist()
    at = max(range(len(losses)), key=losses.__getitem__)
    loss, share = losses[at], reading.probabilities[0, at].item()
    return Question(
        f"{notation.name('token', t=at + 1)} is {quoted(texts[targets[at]])}, and the decoder of the first lane gives it a "
        f"probability of {number(share)}. What does this target cost? (nats, two decimals)",
        loss,
        f"−ln {number(share)} = {number(loss)}.",
        lambda given: (
            f"{given} is its probability; the cost is −ln of that."
            if abs(given - share) < 0.006
            else f"{given} is the probability of all others together; the loss is a logarithm."
            if abs(given - (1 - share)) < 0.006
            else _wrong_logarithm(given, share)
            or f"The cost is −ln p of the true token, with p = {number(share)}."
        ),
        kind="number",
        digits=2,
        unit="nats",
    )


def _wrong_logarithm(given: float, share: float) -> str:
    """Say so if somebody has taken another logarithm than the natural one."""
    return next(
        (
            f"That is the logarithm to the base {base}; nats are natural logarithms, ln."
            for base, logarithm in LOGARITHMS.items()
            if abs(given + logarithm(share)) < 0.006
        ),
        "",
    )


def is_right_free(reading: Reading, row: Batch, texts: Sequence[str]) -> Question | None:
    """C19: does a right prediction cost nothing? None if no prediction of the row (a batch of one) is right."""
    losses, targets = reading.losses[0].tolist(), row.targets[0].tolist()
    picks = reading.logits[0].argmax(dim=-1).tolist()
    right = [at for at, kept in enumerate(row.keep[0].tolist()) if kept and picks[at] == targets[at]]
    if not right:
        return None
    at = max(right, key=losses.__getitem__)
    yes, no = "yes, the prediction is right", "no, more than 0"
    return Question(
        f"{notation.name('prediction', t=at + 1)} is {quoted(texts[targets[at]])}, and so is the target. Is the loss there 0?",
        no if losses[at] > 0 else yes,
        f"The loss reads the probability of the true token, {number(reading.probabilities[0, at].item())}, not whether it is "
        f"the largest: {number(losses[at])} nats.",
        lambda _: "Right or wrong does not enter the loss; what is the probability of the true token?",
        options=(yes, no),
    )


def what_free_running_feeds(slip: Slip, texts: Sequence[str]) -> Question:
    """C21: which input follows a wrong prediction in free running?"""
    return _what_follows(
        slip, texts, "In free running", slip.predicted, "the decoder is fed what it predicted itself"
    )


def what_teacher_forcing_feeds(slip: Slip, texts: Sequence[str]) -> Question:
    """C22: which input follows the same wrong prediction in teacher forcing?"""
    return _what_follows(
        slip,
        texts,
        "And in teacher forcing",
        slip.truth,
        "the decoder is fed the truth, whatever it predicted",
    )


def _what_follows(slip: Slip, texts: Sequence[str], mode: str, fed: int, reason: str) -> Question:
    predicted, truth, target = (texts[token] for token in (slip.predicted, slip.truth, slip.target))
    hat, true = notation.name("prediction", t=slip.time), notation.name("token", t=slip.time)
    then = notation.name("token", t=slip.time + 1)
    return Question(
        f"In sentence {slip.row + 1} the decoder of the first lane predicts {hat} = {quoted(predicted)}, but {true} is "
        f"{quoted(truth)}. {mode}: which token is its input at t = {slip.time}?",
        visible(texts[fed]),
        f"{reason.capitalize()}: {quoted(texts[fed])}. The target is {then} = {quoted(target)} in both modes.",
        lambda given: (
            f"{quoted(given)} is the target at that position: what has to be predicted, not what is fed."
            if given == visible(target)
            else f"In this mode {reason}."
        ),
        options=sorted({visible(predicted), visible(truth), visible(target)}),
    )


def are_first_losses_equal(first: tuple[float, float], sentence: int, *, masked: bool) -> Question:
    """C22: one decoder, one sentence, two histories: do the losses at the first predicted position differ?

    Args:
        first: what that target costs with the true and with the own history, computed.
        sentence: its number, from 1.
        masked: whether the decoder has the causal mask.
    """
    true, own = first
    return Question(
        f"The decoder of the first lane reads sentence {sentence} twice: fed the truth, and fed its own predictions. Its "
        "losses at the first position that is predicted:",
        EQUAL if true == own else DIFFERENT,
        f"{number(true)} and {number(own)} nats, a difference of {number(abs(true - own))}: "
        + (
            "until then nothing has been predicted, so the inputs are the same."
            if true == own
            else "without the mask even the first position reads all later inputs, and these are not the same."
        ),
        lambda _: (
            "Which own prediction can be among the inputs before anything has been predicted?"
            if masked
            else "This decoder has no mask: which inputs does its first position read?"
        ),
        options=(EQUAL, DIFFERENT),
    )
