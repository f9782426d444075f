"""Rows of tokens, aligned column by column: one component (assets/tokens), given a typed Python face."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import streamlit as st

from decoder.figures import style
from decoder.figures.matrices import visible
from decoder.language import clean
from pages.ui import assets
from pages.ui.choice import Choice
from pages.ui.choice import chosen as chosen_now

_component = st.components.v2.component(
    "decoder_tokens",
    html='<div class="root"></div>',
    css=assets.text("tokens/tokens.css"),
    js=assets.POINTING + assets.text("tokens/tokens.js"),
)

Kind = Literal["true", "own", "wrong", "special", "empty", "fresh"]
NOTE_LENGTH = 24
TIP_LENGTH = 200


class Chip(NamedTuple):
    """One token.

    Kinds: "true" is plain; "own" was picked by the decoder, "wrong" too and differs from the truth; "special" is quiet, for
    `<s>` and `</s>`; "empty" is padding; "fresh" is being predicted now.
    """

    text: str
    note: str = ""
    """A small line under the token, "ω₃" or "p = 0.93"."""
    kind: Kind = "true"
    tip: str = ""
    """More words for who points at it, goes to it with the keyboard, or listens."""


class Strip(NamedTuple):
    """One row."""

    name: str
    chips: Sequence[Chip]
    meaning: style.Meaning | None = None
    """Gives the row its colour."""
    start: int | None = 0
    """Time of its first token in the row of the page's batch; None: its tokens do not stand there."""


def token_strips(
    strips: Sequence[Strip],
    *,
    key: str,
    selected: int | None = None,
    pressable: bool = False,
    first: int = 0,
    caption: str = "",
    row: int | None = None,
    marked: int | None = None,
    on_choose: Callable[[int], None] | None = None,
) -> int | None:
    """Rows of tokens with their columns aligned; columns that do not fit follow below, all rows together.

    Args:
        strips: the rows from top to bottom; a shorter one ends earlier. Any text is safe.
        key: Streamlit key, unique in a run.
        selected: the column that is chosen until somebody chooses another; a changed value overrides the choice.
        pressable: whether a click, or arrow keys and Enter, choose a column; again, or Escape, lets go, but only where
            none is chosen by `selected`.
        first: number of the first column.
        caption: a line under the rows.
        row: of the page's batch, from 0, if the strips show one: pointing at a token marks it in all pictures of that batch.
        marked: time of the token that is chosen in another picture.
        on_choose: called with a column that was chosen, before the run that follows.

    Returns:
        The chosen column, or None.

    Raises:
        ValueError: if a chip is of no known kind.
    """
    limits = [max((len(strip.chips) for strip in strips), default=0)]
    state = Choice(key, None if selected is None else [selected], limits)

    def chooses() -> None:
        place = chosen_now(key, limits)
        if place and on_choose:
            on_choose(place[0])

    _component(
        key=key,
        data={
            "strips": [_strip(strip) for strip in strips],
            "pressable": pressable,
            "stays": selected is not None,
            "first": first,
            "selected": state.place,
            "turn": state.turn,
            "caption": clean(caption),
            "row": row,
            "marked": marked,
            "looks": _LOOKS,
        },
        on_chosen_change=chooses,
    )
    return state.place[0] if state.place else None


def _strip(strip: Strip) -> dict[str, Any]:
    meant = strip.meaning
    return {
        "name": clean(strip.name),
        "chips": [_chip(chip) for chip in strip.chips],
        "color": meant and style.COLORS[meant],
        "start": strip.start,
        "ink": meant and _in_both(*(theme.text_colors[meant] for theme in style.THEMES.values())),
    }


def _chip(chip: Chip) -> dict[str, str]:
    if chip.kind not in get_args(Kind):
        raise ValueError(
            f"a chip cannot be of the kind {chip.kind!r}: choose one of {', '.join(get_args(Kind))}"
        )
    return {
        "text": visible(chip.text),
        "note": clean(chip.note)[:NOTE_LENGTH],
        "kind": chip.kind,
        "tip": clean(chip.tip)[:TIP_LENGTH],
    }


def _in_both(light: str, dark: str) -> str:
    """A colour that the browser chooses by the page's colour scheme."""
    return f"light-dark({light}, {dark})"


_LOOKS = {
    "own": style.COLORS["free_running"],
    **{
        name: _in_both(*(getattr(theme, name) for theme in style.THEMES.values()))
        for name in ("muted", "masked", "hatch", "sign")
    },
}
