"""Inputs beside targets, with the shift by one drawn: one component (assets/shift), given a typed Python face."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import streamlit as st

from decoder.figures import style
from decoder.figures.matrices import visible
from decoder.language import clean
from pages.ui import assets
from pages.ui.choice import Choice, chosen

_component = st.components.v2.component(
    "decoder_shift",
    html='<div class="root"></div>',
    css=assets.text("shift/shift.css"),
    js=assets.POINTING + assets.text("shift/shift.js"),
)


class Token(NamedTuple):
    """A token with the line beside it; special ones are set in italics."""

    text: str
    symbol: str
    special: bool = False


class Heading(NamedTuple):
    """Name of a column, and a small line under it."""

    text: str
    note: str = ""


def shift_table(
    tokens: Sequence[Token],
    losses: Sequence[tuple[str, float]],
    *,
    headings: tuple[Heading, Heading, Heading],
    key: str,
    selected: int | None = None,
    caption: str = "",
    legend: Sequence[str] = (),
    reads_all: bool = False,
    on_choose: Callable[[int], None] | None = None,
) -> int | None:
    """Draw T inputs, T targets, and an arrow from each target to the same token one row lower among the inputs.

    Args:
        tokens: T+1 tokens of one sequence; any text is safe.
        losses: of every target, (text, length of its bar from 0 to 1), T of them.
        headings: of inputs, targets and losses.
        key: Streamlit key, unique in a run.
        selected: the token that is chosen until somebody chooses another; a changed value overrides the choice.
        caption: what a screen reader says first.
        legend: short lines under the picture.
        reads_all: whether every prediction reads all inputs, as without a mask; else those above its own place.
        on_choose: called with a token that was chosen, before the run that follows.

    Returns:
        The chosen token's time, or None.

    Raises:
        ValueError: if there is not one loss per target.
    """
    if len(losses) != len(tokens) - 1:
        raise ValueError(
            f"{len(tokens)} tokens have {len(tokens) - 1} targets and {len(losses)} losses are given: give one each"
        )
    state = Choice(key, None if selected is None else [selected], [len(tokens)])
    sent = [_token(token) for token in tokens]

    def chooses() -> None:
        place = chosen(key, [len(tokens)])
        if place and on_choose:
            on_choose(place[0])

    _component(
        key=key,
        data={
            "rows": [
                {"input": before, "target": after, "loss": text, "share": min(max(share, 0.0), 1.0)}
                for before, after, (text, share) in zip(sent, sent[1:], losses, strict=False)
            ],
            "heads": [list(heading) for heading in headings],
            "selected": state.place,
            "turn": state.turn,
            "caption": clean(caption),
            "legend": [clean(line) for line in legend],
            "reads_all": reads_all,
            "looks": {"muted": f"light-dark({style.LIGHT.muted}, {style.DARK.muted})"},
        },
        on_chosen_change=chooses,
    )
    return state.place[0] if state.place else None


def _token(token: Token) -> dict[str, Any]:
    return {"text": visible(token.text), "symbol": clean(token.symbol), "special": token.special}
