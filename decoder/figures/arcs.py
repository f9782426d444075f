"""Where one token looks: an arc to every token, as thick as its weight, beside the sentence read from top to bottom.

Pure functions: numbers in, an altair chart out. Tokens are data, never names of fields: any text is safe.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import altair as alt

from decoder.figures import style
from decoder.figures.growing import GrowingChart

FONT_SIZE = 13
MASKED = "╱╱╱ masked"
_LEAST = 0.0005  # of a weight that is written with three decimals
_ROW = 25  # pixels from one token to the next
_LETTER = 8.3  # pixels, on the generous side, for bold ones too
_ARCS = 84  # pixels in which the arcs stand
_POINTS = 24  # of an arc
_THICKEST = 11.0  # pixels of an arc of weight 1


def arc_rows(
    labels: Sequence[str],
    weights: Sequence[float],
    row: int,
    *,
    masked: Sequence[bool],
    marked: Sequence[int] = (),
    mark_name: str = "",
    appearance: style.Appearance = "light",
) -> GrowingChart:
    """The weights of one row as arcs from its token to all others, and as bars with their numbers.

    Args:
        labels: the tokens, `token_labels(...)`.
        weights: one per token.
        row: which token looks.
        masked: which tokens the mask closes; they get a sign, not a number.
        marked: tokens that get a diamond.
        mark_name: what the diamond means, for a screen reader.
        appearance: "light" or "dark": the colours of words.

    Raises:
        ValueError: if there is not one weight and one sign per token, or no such row.
    """
    if not len(labels) == len(weights) == len(masked) or not 0 <= row < len(labels):
        raise ValueError(
            f"{len(labels)} tokens have {len(weights)} weights and {len(masked)} signs, and row {row} looks: give one "
            "of each per token, and one of their rows"
        )
    choices = masked.count(False)
    rows: list[dict[str, Any]] = [
        {
            "place": place,
            "token": f"{'◆ ' * (place in marked)}{'▸ ' * (place == row)}{label}",
            "weight": 0.0 if closed else weight,
            "words": MASKED if closed else written(weight, choices),
            "masked": closed,
            "looks": place == row,
        }
        for place, (label, weight, closed) in enumerate(zip(labels, weights, masked, strict=True))
    ]
    left = math.ceil(_ARCS + 14 + _LETTER * max(len(line["token"]) for line in rows))
    said = "; ".join(
        f"{label}{', ' + mark_name if place in marked else ''}: {'masked' if closed else written(weight, choices)}"
        for place, (label, weight, closed) in enumerate(zip(labels, weights, masked, strict=True))
    )
    return GrowingChart(
        _frame(len(labels), left, appearance),
        {"rows": rows, "arcs": _arcs(weights, row, masked), "own": _own(weights[row], row)},
        f"{labels[row]} looks at: {said}",
    )


@lru_cache(maxsize=128)
def _frame(count: int, left: int, appearance: style.Appearance) -> dict[str, Any]:
    """Layers for so many tokens, with room for the names left of the bars and for the numbers right of them."""
    right = math.ceil(12 + _LETTER * len(written(_LEAST / 2)))
    theme = style.THEMES[appearance]
    y_scale = alt.Scale(domain=[-0.5, count - 0.5], nice=False, reverse=True)
    y = alt.Y("place:Q", scale=y_scale, axis=None)
    x_arcs = alt.X("bulge:Q", scale=alt.Scale(domain=[0, 1], nice=False, range=[_ARCS, 8]), axis=None)
    x_bars = alt.X(
        "weight:Q",
        axis=None,
        scale=alt.Scale(domain=[0, 1], nice=False, range=[left, alt.ExprRef(f"width - {right}")]),
    )
    table, ink = alt.Chart(alt.NamedData(name="rows")), theme.text
    arcs = (
        alt.Chart(alt.NamedData(name="arcs"))
        .mark_line(strokeCap="round", color=theme.primary, aria=False)
        .encode(
            x=x_arcs,
            y=y,
            detail="arc:N",
            order="at:Q",
            strokeWidth=alt.StrokeWidth("thickness:Q", scale=None, legend=None),
            opacity=alt.Opacity("opacity:Q", scale=None, legend=None),
        )
    )
    own = (
        alt.Chart(alt.NamedData(name="own"))
        .mark_point(filled=True, color=theme.primary, opacity=1, aria=False)
        .encode(x=x_arcs, y=y, size=alt.Size("size:Q", scale=None, legend=None))
    )
    tokens = table.mark_text(
        align="left",
        baseline="middle",
        fontSize=FONT_SIZE + 1,
        x=_ARCS + 10,
        color=alt.ExprRef(f"datum.masked ? '{theme.muted}' : '{ink}'"),
        fontWeight=alt.ExprRef("datum.looks ? 700 : 400"),
        aria=False,
    ).encode(y=y, text="token:N")
    bars = (
        table.transform_filter("!datum.masked")
        .mark_rule(strokeWidth=11, color=theme.primary, opacity=0.75, aria=False)
        .encode(x=x_bars, x2=alt.X2Datum(0), y=y)
    )
    numbers = table.mark_text(
        align="left",
        baseline="middle",
        dx=6,
        fontSize=FONT_SIZE,
        color=alt.ExprRef(f"datum.masked ? '{theme.muted}' : '{ink}'"),
        aria=False,
    ).encode(x=x_bars, y=y, text="words:N")
    chart = alt.LayerChart(
        layer=[arcs, own, bars, tokens, numbers],
        width="container",
        height=_ROW * count,
        autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
        padding={"left": 2, "top": 2, "right": 2, "bottom": 2},
    ).resolve_scale(x="independent")
    specification: dict[str, Any] = chart.to_dict(validate=False)
    return specification


def written(weight: float, choices: int = 2) -> str:
    """Three decimals; what is not exactly 0 or 1 is never written so.

    Args:
        weight: of a place.
        choices: how many places are open; only a single one gets exactly 1, whatever a computer makes of it.
    """
    if 0 < weight < _LEAST:
        return "< 0.001"
    return "> 0.999" if weight >= 1 - _LEAST and choices > 1 else f"{weight:.3f}"


def _arcs(weights: Sequence[float], row: int, masked: Sequence[bool]) -> list[dict[str, Any]]:
    """Half ellipses from the row to every other open token, further out the further apart."""
    farthest = max(len(weights) - 1, 1)
    return [
        {
            "arc": place,
            "at": at,
            "place": (row + place) / 2 + (row - place) / 2 * math.cos(math.pi * at / _POINTS),
            "bulge": math.sqrt(abs(row - place) / farthest) * math.sin(math.pi * at / _POINTS),
            "thickness": 0.6 + _THICKEST * weight,
            "opacity": 0.25 + 0.65 * weight,
        }
        for place, (weight, closed) in enumerate(zip(weights, masked, strict=True))
        if place != row and not closed
        for at in range(_POINTS + 1)
    ]


def _own(weight: float, row: int) -> list[dict[str, Any]]:
    """A dot for the weight that a token gives to itself: its diameter is the thickness of such an arc."""
    return [{"place": row, "bulge": 0.0, "size": math.pi / 4 * (0.6 + _THICKEST * weight) ** 2}]
