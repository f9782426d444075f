"""The logits of one position as bars: the largest ones, and the one that the loss is about."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import altair as alt

from decoder.figures import style
from decoder.figures.matrices import visible
from decoder.figures.words import number, percent

FONT_SIZE = 13
_ROW = 27  # pixels from one bar to the next
_LETTER = 7.6  # pixels, on the generous side


class LogitBar(NamedTuple):
    """One token of the vocabulary: its logit, its probability, and whether it is the target."""

    token: str
    logit: float
    probability: float
    target: bool = False


def logit_bars(
    bars: Sequence[LogitBar], *, description: str = "", appearance: style.Appearance = "light"
) -> alt.LayerChart:
    """Bars from 0 to the left and right, red as all logits; the target has a full bar and a sign.

    Args:
        bars: from top to bottom.
        description: what a screen reader says; else the numbers themselves.
        appearance: "light" or "dark": the colours of words.
    """
    theme = style.THEMES[appearance]
    rows = [
        {
            "rank": rank,
            "token": visible(bar.token),
            "logit": bar.logit,
            "edge": max(bar.logit, 0.0),
            "words": f"{number(bar.logit)} · {percent(bar.probability)}"
            + (" ← target" if bar.target else ""),
            "target": bar.target,
            "opacity": 1.0 if bar.target else 0.4,
            "outline": theme.text if bar.target else "transparent",
        }
        for rank, bar in enumerate(bars)
    ]
    ends = [0.0, *(bar.logit for bar in bars)]
    left = math.ceil(12 + _LETTER * max((len(str(row["token"])) for row in rows), default=0))
    right = math.ceil(14 + _LETTER * max((len(str(row["words"])) for row in rows), default=0))
    x = alt.X(
        "logit:Q",
        stack=None,
        axis=None,
        scale=alt.Scale(
            domain=[min(ends), max(*ends, 1e-6)], nice=False, range=[left, alt.ExprRef(f"width - {right}")]
        ),
    )
    y = alt.Y("rank:O", scale=alt.Scale(domain=list(range(len(rows))), paddingInner=0.3), axis=None)
    table = alt.Chart(alt.NamedData(name="rows"))
    boxes = table.mark_bar(strokeWidth=1.5, color=style.COLORS["logits"], aria=False).encode(
        x=x,
        x2=alt.X2Datum(0),
        y=y,
        fillOpacity=alt.FillOpacity("opacity:Q", scale=None, legend=None),
        stroke=alt.Stroke("outline:N", scale=None, legend=None),
    )
    zero = table.mark_rule(color=theme.muted, strokeWidth=1, aria=False).encode(x=alt.XDatum(0))
    weight = alt.ExprRef("datum.target ? 700 : 400")
    ink: dict[str, Any] = {"baseline": "middle", "fontWeight": weight, "color": theme.text, "aria": False}
    tokens = table.mark_text(align="right", x=left - 8, fontSize=FONT_SIZE + 1, **ink).encode(
        y=y, text=alt.Text("token:N")
    )
    numbers = table.mark_text(align="left", dx=8, fontSize=FONT_SIZE, **ink).encode(
        x=alt.X("edge:Q"), y=y, text=alt.Text("words:N")
    )
    said = "; ".join(f"{row['token']} {row['words']}" for row in rows)
    return alt.LayerChart(
        layer=[boxes, zero, tokens, numbers],
        datasets={"rows": rows},
        description=description or f"Logits and probabilities. {said}",
        width="container",
        height=_ROW * max(len(rows), 1),
        autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
        padding={"left": 2, "top": 6, "right": 2, "bottom": 2},
    )
