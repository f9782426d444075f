"""The check questions about generation, made from the steps that the page shows: no answer is written down here."""

from __future__ import annotations

from collections.abc import Sequence

from decoder.figures.target_words import counted, quoted
from decoder.figures.words import number
from decoder.inference.generation import GenerationStep, Work, room
from decoder.inference.sampling import Contest
from pages.ui import notation
from pages.ui.checks import Question

CONTESTANTS = 3
TEMPERATURES = (1.0, 2.0, 0.5, 0.1)
"""The first is what the model says; the second is asked for."""


def does_temperature_change_the_first(contest: Contest, tokens: Sequence[str]) -> Question:
    """C2: does temperature change which token is the most likely one? `contest` is at TEMPERATURES."""
    firsts = {max(range(len(shares)), key=shares.__getitem__) for shares in contest.shares}
    shares = ", ".join(
        f"{number(shares[0])} at {number(temperature)}"
        for temperature, shares in zip(TEMPERATURES, contest.shares, strict=True)
    )
    return Question(
        f"After your prompt {quoted(tokens[contest.tokens[0]])} has the largest logit. Can another temperature make another "
        "token the most likely one?",
        "no" if firsts == {0} else "yes",
        f"All logits are divided by the same number, so their order stays. Its share among the {len(contest.tokens)} with the "
        f"largest logits: {shares}; never less than that of another.",
        lambda _: "Dividing all logits by the temperature keeps their order. What does it change?",
        options=("yes", "no"),
    )


def what_share_when_warmer(contest: Contest, tokens: Sequence[str]) -> Question:
    """C2: which probability has the largest logit at another temperature?"""
    cold, warm = contest.shares[:2]
    warmer = number(TEMPERATURES[1])
    logits = ", ".join(
        f"{quoted(tokens[token])} {number(logit)}"
        for token, logit in zip(contest.tokens, contest.logits, strict=True)
    )
    return Question(
        f"The {len(contest.tokens)} largest logits after your prompt: {logits}. If there were no other tokens, which "
        f"probability would the first one have at temperature {warmer}? (two decimals)",
        warm[0],
        f"Logits divided by {warmer}, then the softmax: {number(warm[0])}; at temperature 1 it is {number(cold[0])}.",
        lambda given: (
            "That is its probability at temperature 1."
            if abs(given - cold[0]) < 0.006
            else f"That is half its probability. The logits are divided by {warmer}, before the softmax."
            if abs(given - cold[0] / TEMPERATURES[1]) < 0.006
            else f"Divide each logit by {warmer}, take e to that power, and divide the first by the sum of all."
        ),
        kind="number",
        digits=2,
    )


def how_many_boxes(steps: Sequence[GenerationStep], work: Work) -> Question:
    """C5: how many contextual embeddings do these steps take if nothing is kept?"""
    first, last = (len(step.tokens) - step.window_start for step in (steps[0], steps[-1]))
    total = f"{first} + … + {last} = " if len(steps) > 2 else ""
    several = f"the first over {counted(first, 'token')}, the last over {last}"
    over = several if len(steps) > 1 else f"over {counted(first, 'token')}"
    return Question(
        f"{counted(len(steps), 'step')}, {over}. Every step makes one "
        f"contextual embedding ({notation.name('contextual embedding')}) per token. How many is that in all?",
        work.recomputed,
        f"{total}{work.recomputed}, one per token and step.",
        lambda given: (
            f"{given} is the number of tokens in the last step alone."
            if given == last
            else f"{given} is the number of steps; each makes as many as it has tokens."
            if given == len(steps)
            else f"Add up the tokens of the {counted(len(steps), 'step')}, each of which has one more than the one before, "
            "until the context is full."
        ),
        kind="number",
    )


def how_many_new_boxes(steps: Sequence[GenerationStep], work: Work, *, causal: bool) -> Question:
    """C5: how many of them had to be computed, with those of earlier tokens kept?"""
    typed = len(steps[0].tokens)
    why = (
        f"The first step made {counted(steps[0].passes[-1].contextual_embeddings.shape[1], 'embedding')}"
        + (f", and each of the {len(steps) - 1} others only what was new" if len(steps) > 1 else "")
        + f": {work.computed}."
        if causal
        else f"Without the mask every earlier embedding changes with the new token, so nothing can be kept: {work.computed}."
    )
    slid = any(step.window_start for step in steps)
    return Question(
        "With the mask the embeddings of earlier tokens never change. This decoder was trained "
        + (
            "with it, and keeps their keys and values in a cache"
            if causal
            else "without it, so a cache would be wrong"
        )
        + (", which it must give up when the context slides" if slid and causal else "")
        + ". How many embeddings were really computed?",
        work.computed,
        why,
        lambda given: (
            "That would be without a cache."
            if given == work.recomputed
            else f"{given} leaves out the {counted(typed, 'token')} of the prompt, all of which are read in the first step."
            if given == len(steps) - 1
            else "The first step reads the whole prompt; each one after it reads one new token"
            + (", until the context slides: from then on all are read anew." if slid else ".")
            if causal
            else "Nothing can be kept here: every step reads everything."
        ),
        kind="number",
    )


def how_many_at_most(context_length: int, typed: int) -> Question:
    """C7: how many tokens can be predicted before the context is too small? `typed` fit into it."""
    most = room(context_length, typed)
    return Question(
        f"The context holds {context_length} tokens. A prompt has {typed}, the start token included. How many can be "
        "written at most before the first one falls out of sight?",
        most,
        f"{context_length} − {typed} of its own fit into the context as inputs, and with all of them in sight one "
        f"more is predicted: {most}. An end token may come earlier.",
        lambda given: (
            "The last token that is predicted need not be an input any more: one more."
            if given == most - 1
            else "The tokens of the prompt take up room too."
            if given in {context_length, context_length + 1}
            else f"How many of the {context_length} places are free, and what is predicted when all of them are taken?"
        ),
        kind="number",
    )
