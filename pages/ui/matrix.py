"""Every token x token matrix of the app: one canvas component (assets/matrix), given a typed Python face."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import streamlit as st

from decoder.figures import style
from decoder.figures.matrices import Matrix
from decoder.language import clean
from pages.ui import assets, picture
from pages.ui.choice import Choice, chosen, nothing, whole_numbers

_component = st.components.v2.component(
    "decoder_matrix",
    html='<div class="root"></div>',
    css=assets.text("matrix/matrix.css") + picture.STYLE,
    js=picture.SCRIPT + assets.text("matrix/matrix.js"),
)


class Cell(NamedTuple):
    """One chosen cell."""

    panel: int
    row: int
    column: int


class Head(NamedTuple):
    """One chosen thumbnail."""

    layer: int
    head: int


def matrices(
    panels: Sequence[Matrix],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    key: str,
    size: Literal["large", "small"] = "large",
    selected: Cell | tuple[int, int, int] | None = None,
    press: str = "",
    on_press: Callable[[Cell], None] | None = None,
    on_choose: Callable[[Cell], None] | None = None,
    cross: bool = False,
    walk: Sequence[str] = (),
    bright_row: int | None = None,
    marks: Sequence[tuple[int, int]] = (),
    mark_name: str = "",
    axes: tuple[str, str] = ("this token looks …", "… at this token"),
    caption: str = "",
) -> Cell | None:
    """Linked matrices of one shape, side by side; what is pointed at in one is outlined in all.

    Args:
        panels: the matrices, left to right.
        rows: labels of the queries, `token_labels(...)`; drawn as plain text, so any text is safe.
        columns: labels of the keys.
        key: Streamlit key, unique in a run.
        size: "small" for a matrix beside other things: small cells, no numbers in them.
        selected: the cell that is selected until somebody chooses another; a changed value overrides the choice.
        press: what Enter and a click do to a cell, "opens or closes it", instead of selecting it.
        on_press: called with a cell that was pressed, before the run that follows.
        on_choose: called with a cell that was selected, before the run that follows.
        cross: outline the row and the column of the selected cell as well, in every panel.
        walk: one line of words per row; buttons then lead through the rows, without asking the server.
        bright_row: keep this row as it is and fade the others.
        marks: (row, column) of cells that get a small corner in every panel; the legend says `mark_name`.
        mark_name: what a mark means.
        axes: what the rows and the columns are.
        caption: a line under the panels.

    Returns:
        The selected cell, or None.

    Raises:
        ValueError: if the panels or labels differ in shape, or there is not one line per row to walk through.
    """
    shape = (len(rows), len(columns))
    for panel in panels:
        if panel.shape != shape:
            raise ValueError(
                f"“{panel.title}” has {panel.shape[0]} x {panel.shape[1]} cells and there are {shape[0]} x {shape[1]} "
                "labels: give one label per row and column"
            )
    if walk and len(walk) != len(rows):
        raise ValueError(f"{len(rows)} rows have {len(walk)} lines to walk through: give one per row")
    limits = (len(panels), *shape)
    state = Choice(key, selected, limits)

    def pressed() -> None:
        place = whole_numbers(dict(st.session_state.get(key) or {}).get("pressed"), limits)
        if place and on_press:
            on_press(Cell(*place))

    def selects() -> None:
        place = chosen(key, limits)
        if place and on_choose:
            on_choose(Cell(*place))

    _component(
        key=key,
        data={
            "view": "matrices",
            "panels": [_panel(panel) for panel in panels],
            "rows": list(rows),
            "columns": list(columns),
            "size": size,
            "press": press,
            "selected": state.place,
            "turn": state.turn,
            "cross": cross,
            "walk": [clean(line) for line in walk],
            "bright_row": bright_row if bright_row is not None and 0 <= bright_row < len(rows) else None,
            "marks": [list(mark) for mark in marks],
            "mark_name": mark_name,
            "axes": list(axes),
            "caption": caption,
            "file": picture.file_name(key),
            "looks": _looks(),
        },
        on_chosen_change=selects,
        on_pressed_change=pressed,
    )
    return Cell(*state.place) if state.place else None


def thumbnails(
    heads: Sequence[Sequence[Matrix]],
    *,
    key: str,
    selected: Head | tuple[int, int] | None = None,
    on_choose: Callable[[Head], None] | None = None,
    caption: str = "",
) -> Head | None:
    """One small picture per head, a line per layer; a click or Enter chooses one.

    Args:
        heads: `head_thumbnails(trace)`, layers x heads; the titles are their names.
        key: Streamlit key, unique in a run.
        selected: (layer, head) until somebody chooses another; a changed value overrides the choice.
        on_choose: called with a head that was chosen, before the run that follows.
        caption: a line under the pictures.

    Returns:
        The chosen head, or None.
    """
    limits = (len(heads), max(map(len, heads), default=0))
    state = Choice(key, selected, limits)

    def chooses() -> None:
        place = chosen(key, limits)
        if place and on_choose:
            on_choose(Head(*place))

    _component(
        key=key,
        data={
            "view": "thumbnails",
            "layers": [[_thumbnail(head) for head in layer] for layer in heads],
            "selected": state.place,
            "turn": state.turn,
            "caption": caption,
            "file": picture.file_name(key),
            "looks": _looks(),
        },
        on_chosen_change=chooses,
        on_pressed_change=nothing,
    )
    return Head(*state.place) if state.place else None


def _panel(matrix: Matrix) -> dict[str, Any]:
    return {
        "title": matrix.title,
        "note": matrix.note,
        "kind": matrix.kind,
        "low": matrix.low,
        "high": matrix.high,
        "values": [[None if value is None else _short(value) for value in row] for row in matrix.values],
        "masked": [[int(closed) for closed in row] for row in matrix.masked],
        "leaks": matrix.leaks > 0,
        "row_sums": matrix.row_sums and [_short(total) for total in matrix.row_sums],
        "summary": matrix.summary,
    }


def _thumbnail(matrix: Matrix) -> dict[str, Any]:
    """Steps of the colour scale, 0 to 255, and -1 for a masked cell: all that 70 pixels can show."""
    span = matrix.high - matrix.low
    return {
        "title": matrix.title,
        "kind": matrix.kind,
        "steps": [
            [
                -1 if value is None else round(255 * min(max((value - matrix.low) / span, 0), 1))
                for value in row
            ]
            for row in matrix.values
        ],
    }


def _short(value: float) -> float:
    """Seven significant digits: what a float32 holds, and more than the picture prints."""
    return float(f"{value:.7g}")


def _looks() -> dict[str, Any]:
    return {
        appearance: {
            "weights": style.WEIGHTS,
            "scores": theme.scores,
            "muted": theme.muted,
            "masked": theme.masked,
            "hatch": theme.hatch,
            "sign": theme.sign,
        }
        for appearance, theme in style.THEMES.items()
    }
