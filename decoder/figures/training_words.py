"""What the pages of training say, built from the very values that they are about."""

from __future__ import annotations

from collections.abc import Sequence

from decoder.config import TrainConfig
from decoder.figures.target_words import counted, quoted
from decoder.figures.words import number


def changed_settings(before: TrainConfig, after: TrainConfig) -> list[str]:
    """Name what a training goes on with, where that is not what it went with before; its mode apart."""
    changed: list[tuple[object, object, str]] = [
        (before.learning_rate, after.learning_rate, f"learning rate {after.learning_rate:g}"),
        (before.batch_size, after.batch_size, f"{after.batch_size} sentences per update"),
        (before.steps, after.steps, f"{after.steps:,} updates planned"),
    ]
    if after.mode == before.mode:
        start = "the prompt" if after.start is None else counted(after.start, "true token")
        changed += [
            (before.start, after.start, f"own predictions after {start}"),
            (before.pick, after.pick, "sampled picks" if after.pick == "sample" else "greedy picks"),
            (before.schedule, after.schedule, f"truth falls {after.schedule.replace('_', ' ')}"),
        ]
    return [name for one, other, name in changed if one != other]


def fed_sentence(name: str, fed: Sequence[int], truth: Sequence[int], given: int) -> str:
    """Say what a lane is fed in place of a true sequence, by counting.

    Args:
        name: of the lane.
        fed: ids of its inputs.
        truth: ids of the true inputs.
        given: leading inputs that are true in every mode.
    """
    wrong = [at for at, (one, other) in enumerate(zip(fed, truth, strict=True)) if one != other]
    if not wrong:
        return f"What {name} is fed is the truth at {'all ' * (len(truth) > 1)}{counted(len(truth), 'position')}."
    return (
        f"What {name} is fed is not the truth at {len(wrong)} of the {counted(len(truth) - given, 'position')} where it "
        f"could differ, first at t = {wrong[0]}; the targets stay the true ones."
    )


def position_sentence(
    name: str, tokens: Sequence[str], losses: Sequence[float | None], floor: Sequence[float]
) -> str:
    """Say where a lane is surprised most, and how much of that nobody can avoid.

    Args:
        name: of the lane.
        tokens: a target of each position, as an example.
        losses: mean loss of each position, nats; None where nothing counts.
        floor: the least that is possible there, nats; empty where it is not known.
    """
    places = [at for at, loss in enumerate(losses) if loss is not None]
    if not places:
        return ""
    most = max(places, key=lambda at: losses[at] or 0.0)
    sentence = (
        f"{name} is surprised most at position {most + 1} (here {quoted(tokens[most])}), by "
        f"{number(losses[most] or 0.0)} nats on average"
    )
    if not floor:
        return f"{sentence}."
    above = max(places, key=lambda at: (losses[at] or 0.0) - floor[at])
    return (
        f"{sentence}; at least {number(floor[most])} are unavoidable there. It is furthest above the least possible at "
        f"position {above + 1}: {number(losses[above] or 0.0)} in place of {number(floor[above])}."
    )
