"""A batch as a grid of samples and times: one component (assets/grid), given a typed Python face."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import streamlit as st

from decoder.figures import style
from decoder.figures.matrices import visible
from decoder.figures.target_words import Role
from decoder.language import clean
from pages.ui import assets
from pages.ui.choice import Choice, chosen

_component = st.components.v2.component(
    "decoder_grid",
    html='<div class="root"></div>',
    css=assets.text("grid/grid.css"),
    js=assets.POINTING + assets.text("grid/grid.js"),
)
_LOOKS: dict[Role, str] = {"input only": "given", "target": "", "padding": "empty"}


class GridCell(NamedTuple):
    """One token of a batch, with a small line under it."""

    text: str
    note: str
    role: Role
    said: str
    """All of it in words, for who listens."""
    counted: bool = False
    """Whether padding enters the mean; it then has a dashed frame."""


class Place(NamedTuple):
    """A chosen cell, both from 0."""

    row: int
    time: int


def batch_grid(
    rows: Sequence[tuple[str, Sequence[GridCell]]],
    *,
    key: str,
    selected: tuple[int, int] | None = None,
    title: str,
    legend: Sequence[str] = (),
    on_choose: Callable[[Place], None] | None = None,
) -> Place | None:
    """Draw rows of equally many cells; a click, or arrow keys and Enter, choose one.

    Args:
        rows: name and cells of every sample; any text is safe.
        key: Streamlit key, unique in a run.
        selected: the cell that is chosen until somebody chooses another; a changed value overrides the choice.
        title: what a screen reader calls the grid.
        legend: short lines under the grid.
        on_choose: called with a cell that was chosen, before the run that follows.

    Returns:
        The chosen cell, or None.

    Raises:
        ValueError: if the rows differ in length.
    """
    widths = {len(cells) for _, cells in rows}
    if len(widths) != 1:
        raise ValueError(f"the rows have {sorted(widths)} cells: pad them to one length")
    (width,) = widths
    state = Choice(key, selected, (len(rows), width))

    def chooses() -> None:
        place = chosen(key, (len(rows), width))
        if place and on_choose:
            on_choose(Place(*place))

    _component(
        key=key,
        data={
            "rows": [{"name": clean(name), "cells": [_cell(cell) for cell in cells]} for name, cells in rows],
            "times": [f"t = {time}" if time == 0 else str(time) for time in range(width)],
            "selected": state.place,
            "turn": state.turn,
            "title": clean(title),
            "legend": [clean(line) for line in legend],
            "looks": {
                name: f"light-dark({getattr(style.LIGHT, name)}, {getattr(style.DARK, name)})"
                for name in ("muted", "masked", "hatch", "sign")
            },
        },
        on_chosen_change=chooses,
    )
    return Place(*state.place) if state.place else None


def _cell(cell: GridCell) -> dict[str, Any]:
    return {
        "text": visible(cell.text),
        "note": clean(cell.note),
        "kind": _LOOKS[cell.role] + " counted" * (cell.counted and cell.role == "padding"),
        "said": clean(cell.said),
    }
