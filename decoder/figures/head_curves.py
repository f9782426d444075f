"""How the heads of a layer come to look at a token while the decoder is trained.

Pure functions: numbers in, an altair chart out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import altair as alt

from decoder.figures import style
from decoder.figures.curves import spread
from decoder.figures.growing import GrowingChart

FONT_SIZE = 13
_DASHES = ([1, 0], [10, 3], [6, 2, 2, 2], [2, 2], [10, 3, 2, 3], [5, 5], [1, 3], [14, 4])
_LINE = 16  # pixels from one name to the next
_NAMES = 62  # pixels right of the plot for the names


def head_curves(
    steps: Sequence[int],
    weights: Sequence[Sequence[float]],
    *,
    chosen: int,
    playhead: int,
    planned_steps: int,
    description: str,
    threshold: float = 0.5,
    y_title: str = "weight on what the next token depends on",
    height: int = 230,
    appearance: style.Appearance = "light",
) -> GrowingChart:
    """One curve per head, its name at its end; the chosen head stands out.

    Args:
        steps: when the weights were measured.
        weights: one row per step, one column per head.
        chosen: the head that stands out.
        playhead: the step that the page shows.
        planned_steps: right end of the axis.
        description: what a screen reader says.
        threshold: the dashed line.
        y_title: what is measured.
        height: pixels of the plot.
        appearance: "light" or "dark": the colours of words.

    Raises:
        ValueError: if there is not one row per step, or no step at all.
    """
    if not steps or len(steps) != len(weights):
        raise ValueError(
            f"{len(steps)} steps have {len(weights)} rows of weights: give one per step, at least 1"
        )
    theme, count = style.THEMES[appearance], len(weights[0])
    colors = [theme.primary if head == chosen else theme.muted for head in range(count)]
    thick = [3.0 if head == chosen else 1.4 for head in range(count)]
    curves: list[dict[str, Any]] = [
        {"step": step, "weight": row[head], "head": head, "color": colors[head], "thickness": thick[head]}
        for head in range(count)
        for step, row in zip(steps, weights, strict=True)
    ]
    wanted = [weights[-1][head] * height for head in range(count)]
    places = spread(wanted, [_LINE] * count, height)
    names = [
        {
            "step": planned_steps,
            "weight": weights[-1][head],
            "name": f"head {head}",
            "chosen": head == chosen,
            "color": theme.link if head == chosen else theme.muted,
            "dy": round(wanted[head] - places[head], 1),
        }
        for head in range(count)
    ]
    return GrowingChart(
        _frame(count, planned_steps, y_title, height, appearance),
        {
            "curves": curves,
            "names": names,
            "half": [{"step": 0, "planned": planned_steps, "weight": threshold}],
            "playhead": [{"step": playhead}],
        },
        description,
    )


@lru_cache(maxsize=128)
def _frame(
    count: int, planned_steps: int, y_title: str, height: int, appearance: style.Appearance
) -> dict[str, Any]:
    """Layers for so many heads."""
    theme = style.THEMES[appearance]
    axis: dict[str, Any] = {"labelColor": theme.muted, "titleColor": theme.muted, "grid": False}
    x = alt.X(
        "step:Q",
        title="updates",
        scale=alt.Scale(
            domain=[0, max(planned_steps, 1)], nice=False, range=[0, alt.ExprRef(f"width - {_NAMES}")]
        ),
        axis=alt.Axis(tickMinStep=1, tickCount=5, format=",.0f", titlePadding=4, **axis),
    )
    y = alt.Y(
        "weight:Q",
        title=y_title,
        scale=alt.Scale(domain=[0, 1], nice=False, range=[height, 0]),
        axis=alt.Axis(
            format="~g",
            labelFlush=False,
            tickCount=5,
            titleAngle=0,
            titleAlign="left",
            titleAnchor="end",
            titleX=-30,
            titleY=-12,
            **axis,
        ),
    )
    ink = alt.Color("color:N", scale=None, legend=None)
    table = alt.Chart(alt.NamedData(name="curves"))
    lines = table.mark_line(strokeJoin="round", aria=False).encode(
        x=x,
        y=y,
        detail="head:N",
        color=ink,
        strokeWidth=alt.StrokeWidth("thickness:Q", scale=None, legend=None),
        strokeDash=alt.StrokeDash(
            "head:N",
            scale=alt.Scale(domain=list(range(count)), range=[_DASHES[head % len(_DASHES)] for head in range(count)]),
            legend=None,
        ),
    )  # fmt: skip
    points = table.mark_point(filled=True, opacity=1, size=30, aria=False).encode(
        x=x,
        y=y,
        color=ink,
        tooltip=[
            alt.Tooltip("head:N", title="head "),
            alt.Tooltip("step:Q", title="updates ", format=",.0f"),
            alt.Tooltip("weight:Q", title="weight ", format=".3f"),
        ],
    )
    labels = (
        alt.Chart(alt.NamedData(name="names"))
        .mark_text(
            align="left",
            baseline="middle",
            dx=8,
            dy=alt.ExprRef("datum.dy"),
            fontSize=FONT_SIZE,
            fontWeight=alt.ExprRef("datum.chosen ? 700 : 400"),
            aria=False,
        )
        .encode(
            x=x,
            y=y,
            text="name:N",
            color=ink,
        )
    )
    half = (
        alt.Chart(alt.NamedData(name="half"))
        .mark_rule(strokeDash=[*style.THEORY_DASH], strokeWidth=style.THEORY_WIDTH, color=theme.text, aria=False)
        .encode(y=y, x=alt.X("step:Q"), x2="planned:Q")
    )  # fmt: skip
    here = alt.Chart(alt.NamedData(name="playhead"))
    rule = here.mark_rule(color=theme.text, strokeWidth=1.5, aria=False).encode(x=x)
    sign = here.mark_text(text="▼", y=-6, fontSize=FONT_SIZE - 2, color=theme.text, aria=False).encode(x=x)
    chart = alt.LayerChart(
        layer=[half, rule, sign, lines, points, labels],
        width="container",
        height=height,
        autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
        padding={"left": 2, "top": 6, "right": 2, "bottom": 2},
    )
    specification: dict[str, Any] = chart.to_dict(validate=False)
    return specification
