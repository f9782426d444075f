"""How far outputs have moved, as bars: one row per output, one bar per series, and 0 where nothing moved at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import altair as alt

from decoder.figures import style
from decoder.figures.words import number

FONT_SIZE = 13
_ROW = 21  # pixels from one bar to the next
_LETTER = 7.6  # pixels, on the generous side

Series: TypeAlias = tuple[str, style.Meaning, Sequence[float]]


def change_bars(
    outputs: Sequence[str],
    series: Sequence[Series],
    *,
    title: str = "Greatest change of any logit",
    appearance: style.Appearance = "light",
) -> alt.LayerChart:
    """Bars from 0 to the right, each with its number; exactly 0 is written as 0, and anything else never is.

    Args:
        outputs: what may have moved, from top to bottom; any text is safe.
        series: (name, meaning, change of every output); the names must differ.
        title: what a screen reader says first.
        appearance: "light" or "dark": the colours of words.

    Raises:
        ValueError: if a series has not one change per output.
    """
    for name, _, changes in series:
        if len(changes) != len(outputs):
            raise ValueError(
                f"“{name}” has {len(changes)} changes and there are {len(outputs)} outputs: give one for each"
            )
    theme = style.THEMES[appearance]
    rows: list[dict[str, Any]] = [
        {
            "place": place,
            "output": output,
            "series": name,
            "change": changes[place],
            "words": number(changes[place]),
        }
        for place, output in enumerate(outputs)
        for name, _, changes in series
    ]
    left = math.ceil(12 + _LETTER * max(map(len, outputs), default=0))
    right = math.ceil(14 + _LETTER * max((len(str(row["words"])) for row in rows), default=0))
    highest = max((row["change"] for row in rows), default=0.0) or 1.0
    names = [name for name, _, _ in series]
    x = alt.X(
        "change:Q",
        stack=None,
        axis=None,
        scale=alt.Scale(domain=[0, highest], nice=False, range=[left, alt.ExprRef(f"width - {right}")]),
    )
    y = alt.Y("place:O", scale=alt.Scale(domain=list(range(len(outputs))), paddingInner=0.25), axis=None)
    lane = alt.YOffset("series:N", scale=alt.Scale(domain=names, paddingInner=0.12))
    legend = alt.Legend(
        orient="top", title=None, symbolType="square", symbolSize=150, labelFontSize=FONT_SIZE, labelColor=theme.muted
    )  # fmt: skip
    colors = alt.Scale(domain=names, range=[style.COLORS[meaning] for _, meaning, _ in series])
    table = alt.Chart(alt.NamedData(name="rows"))
    ink: dict[str, Any] = {"baseline": "middle", "color": theme.text, "aria": False}
    bars = table.mark_bar(aria=False).encode(
        x=x, x2=alt.X2Datum(0), y=y, yOffset=lane, fill=alt.Fill("series:N", scale=colors, legend=legend)
    )
    numbers = table.mark_text(align="left", dx=6, fontSize=FONT_SIZE, **ink).encode(
        x=x, y=y, yOffset=lane, text="words:N"
    )
    heads = alt.Chart(alt.NamedData(name="outputs"))
    labels = heads.mark_text(align="right", x=left - 8, fontSize=FONT_SIZE + 1, **ink).encode(
        y=y, text="output:N"
    )
    zero = heads.mark_rule(color=theme.muted, aria=False).encode(x=alt.XDatum(0, axis=None))
    said = "; ".join(f"{row['output']}, {row['series']}: {row['words']}" for row in rows)
    return alt.LayerChart(
        layer=[bars, zero, labels, numbers],
        datasets={
            "rows": rows,
            "outputs": [{"place": place, "output": output} for place, output in enumerate(outputs)],
        },
        description=f"{title}. {said}",
        width="container",
        height=_ROW * max(len(rows), 1) + 10,
        autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
        padding={"left": 2, "top": 6, "right": 2, "bottom": 2},
    )
