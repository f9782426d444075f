"""Vectors as strips of coloured cells, one below the other: one component (assets/vectors), given a typed Python face."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import streamlit as st

from decoder.figures import style
from decoder.language import clean
from pages.ui import assets, picture
from pages.ui.choice import Choice, chosen

_component = st.components.v2.component(
    "decoder_vectors",
    html='<div class="root"></div>',
    css=assets.text("vectors/vectors.css") + picture.STYLE,
    js=picture.SCRIPT + assets.text("vectors/vectors.js"),
)


class Vector(NamedTuple):
    """One row of numbers, with its name and a small word beside it."""

    name: str
    values: Sequence[float]
    note: str = ""
    marked: bool = False
    """Whether a sign stands before its name; the legend says what it means."""


def vectors(
    rows: Sequence[Vector],
    *,
    key: str,
    reach: float,
    title: str,
    look: Literal["strips", "table"] = "strips",
    pressable: bool = False,
    selected: int | None = None,
    on_choose: Callable[[int], None] | None = None,
    mark_name: str = "",
    columns: Sequence[str] = (),
    names: float = 9,
    meaning: style.Meaning | None = None,
) -> int | None:
    """Draw rows of equally many numbers, on one colour scale around 0.

    Args:
        rows: from top to bottom; any text is safe.
        key: Streamlit key, unique in a run.
        reach: the colours go from -reach over 0 to +reach; pictures that are compared have the same.
        title: what a screen reader says first.
        look: "strips" stand apart, and pointing at one tells the numbers of all; the rows of a "table" are low and close.
        pressable: whether a click, or arrow keys and Enter, choose a row.
        selected: the row that is chosen until somebody chooses another; a changed value overrides the choice.
        on_choose: called with a row that was chosen, before the run that follows.
        mark_name: what the sign before a name means.
        names: width of the column of names where there is room, in rem; pictures whose columns should be in line have the
            same.
        columns: what the numbers of a row are called, one by one; else they are counted.
        meaning: gives the names its colour, as everywhere: contextual embeddings grey, logits red.

    Returns:
        The chosen row, or None.

    Raises:
        ValueError: if the rows differ in length, or the scale has no width.
    """
    widths = {len(row.values) for row in rows}
    if len(widths) != 1 or not min(widths):
        raise ValueError(
            f"the rows have {sorted(widths)} numbers: give at least one row, all of one length above 0"
        )
    if not (math.isfinite(reach) and reach > 0):
        raise ValueError(f"the colours reach to {reach}: choose a finite number above 0")
    state = Choice(key, None if selected is None else [selected], [len(rows)])

    def chooses() -> None:
        place = chosen(key, [len(rows)])
        if place and on_choose:
            on_choose(place[0])

    _component(
        key=key,
        data={
            "rows": [_row(row) for row in rows],
            "reach": reach,
            "title": clean(title),
            "look": look,
            "pressable": pressable,
            "selected": state.place[0] if state.place else None,
            "turn": state.turn,
            "mark_name": clean(mark_name),
            "names": f"{names}rem",
            "columns": [clean(column) for column in columns],
            "file": picture.file_name(key),
            "color": style.COLORS[meaning] if meaning else "",
            "looks": {
                appearance: {
                    "colors": theme.scores,
                    "muted": theme.muted,
                    "ink": theme.text_colors[meaning] if meaning else theme.text,
                }
                for appearance, theme in style.THEMES.items()
            },
        },
        on_chosen_change=chooses,
    )
    return state.place[0] if state.place else None


def _row(row: Vector) -> dict[str, Any]:
    return {
        "name": clean(row.name),
        "note": clean(row.note),
        "marked": row.marked,
        "values": [float(f"{value:.7g}") for value in row.values],  # what a float32 holds
    }
