"""Bars: the loss at every position beside the least that is possible there, and the candidates for the next token.

Pure functions: numbers in, an altair chart out. Tokens are data, never names of fields: any text is safe.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias, TypeGuard

import altair as alt

from decoder.figures import style
from decoder.figures.growing import GrowingChart
from decoder.figures.matrices import token_labels, visible
from decoder.figures.words import percent

FONT_SIZE = 13
GHOST_DASHES = (style.THEORY_DASH, (1, 3), (8, 3, 1, 3))
_ROW = 30  # pixels from one candidate to the next
_LETTER = 7.6  # pixels, on the generous side
OWN, SHAPED = "what the model says", "after temperature and truncation"


Series: TypeAlias = tuple[str, Sequence[float | None]]


class Candidate(NamedTuple):
    """A token that could come next."""

    token: str
    model_probability: float
    probability: float
    """After temperature and truncation; 0 means cut off."""
    picked: bool


def position_bars(
    positions: Sequence[str],
    losses: Sequence[tuple[str, style.Meaning, Sequence[float | None]]],
    ghosts: Sequence[Series] = (),
    *,
    description: str,
    top: float | None = None,
    x_title: str = "target position and token",
    y_title: str = "loss, nats",
    height: int = 200,
    first: int = 1,
    appearance: style.Appearance = "light",
) -> GrowingChart:
    """The loss at every position, one bar per lane, inside outlines of what theory allows.

    Args:
        positions: the target tokens; their number is written before each, so that equal ones stay apart.
        losses: (name, meaning, one loss per position or None) of every lane.
        ghosts: (name, least possible loss per position) of every bound, at most three.
        description: what a screen reader says.
        top: upper end of the axis; give it where the losses are live.
        x_title: what the positions are.
        y_title: what is measured, in which unit.
        height: pixels of the plot; axis, titles and legend come on top of it.
        first: number of the first position.
        appearance: "light" or "dark": the colours of words.

    Raises:
        ValueError: if a lane or bound has not one value per position, or names are not distinct.
    """
    _check(positions, [(name, values) for name, _, values in losses], "losses")
    _check(positions, ghosts, "bounds")
    lanes = [(name, values) for name, _, values in losses]
    labels, series = token_labels(positions, first), [*lanes, *ghosts]
    limit = top or _top(series)
    names, meanings = tuple(name for name, _ in series), tuple(meaning for _, meaning, _ in losses)
    tables = {
        "bars": _rows(labels, lanes),
        "ghosts": [row for row in _rows(labels, ghosts) if row["loss"]],
        "formulas": _formulas(labels, ghosts, series),
        "hover": [
            {"position": label, "loss": limit}
            | {f"value_{at}": _nats(values[place]) for at, (_, values) in enumerate(series)}
            for place, label in enumerate(labels)
        ],
    }
    frame = _position_frame(tuple(labels), names, meanings, limit, (x_title, y_title), height, appearance)
    return GrowingChart(frame, tables, description)


@lru_cache(maxsize=128)
def _position_frame(
    labels: tuple[str, ...],
    names: tuple[str, ...],
    meanings: tuple[style.Meaning, ...],
    limit: float,
    titles: tuple[str, str],
    height: int,
    appearance: style.Appearance,
) -> dict[str, Any]:
    """Layers for these positions, lanes and bounds."""
    theme = style.THEMES[appearance]
    x, y = _position_axes(labels, limit, *titles, theme)
    looks = _series_looks(names, meanings, theme)
    bars = (
        alt.Chart(alt.NamedData(name="bars"))
        .mark_bar(clip=True, fillOpacity=0.55, strokeWidth=1.5, aria=False)
        .encode(
            x=x,
            xOffset=alt.XOffset(
                "series:N", scale=alt.Scale(domain=list(names[: len(meanings)]), padding=0.08)
            ),
            y=y,
            **looks,
        )
    )
    outlines = (
        alt.Chart(alt.NamedData(name="ghosts"))
        .mark_bar(clip=True, strokeWidth=1.2, aria=False)
        .encode(x=x, y=y, **looks)
    )
    words = (
        alt.Chart(alt.NamedData(name="formulas"))
        .mark_text(
            baseline="bottom",
            dy=-4,
            fontSize=FONT_SIZE - 1,
            color=theme.muted,
            opacity=alt.ExprRef(f"width < {28 * len(labels)} ? 0 : 1"),
            aria=False,
        )
        .encode(x=x, y=y, text="formula:N")
    )
    hover = (
        alt.Chart(alt.NamedData(name="hover"))
        .mark_bar(fillOpacity=0, strokeOpacity=0, aria=False)
        .encode(
            x=x,
            y=y,
            tooltip=[
                alt.Tooltip("position:N", title="token"),
                # A space at the end of each title: the tooltip would load a picture for the title "image".
                *(alt.Tooltip(f"value_{at}:N", title=f"{name} ") for at, name in enumerate(names)),
            ],
        )
    )
    frame: dict[str, Any] = _chart([bars, outlines, words, hover], {}, "", height).to_dict(validate=False)
    return frame


def _position_axes(
    labels: Sequence[str], limit: float, x_title: str, y_title: str, theme: style.Theme
) -> tuple[alt.X, alt.Y]:
    upright = (
        f"width < {round((_LETTER * max((len(label) for label in labels), default=0) + 8) * len(labels))}"
    )
    colors: dict[str, Any] = {"labelColor": theme.muted, "titleColor": theme.muted}
    x = alt.X(
        "position:N",
        title=x_title,
        scale=alt.Scale(domain=labels, paddingInner=0.22, paddingOuter=0.11),
        axis=alt.Axis(labelAngle=alt.ExprRef(f"{upright} ? -90 : 0"),
                      labelAlign=alt.ExprRef(f"{upright} ? 'right' : 'center'"),
                      labelBaseline=alt.ExprRef(f"{upright} ? 'middle' : 'top'"),
                      labelOverlap=False, labelLimit=120, ticks=False, grid=False, titlePadding=6, **colors),
    )  # fmt: skip
    y = alt.Y(
        "loss:Q",
        title=y_title,
        stack=None,
        scale=alt.Scale(domain=[0, limit], nice=False),
        axis=alt.Axis(format="~g", tickCount=5, labelFlush=False, titleAngle=0, titleAlign="left", titleAnchor="end",
                      titleX=-30, titleY=-16, **colors),
    )  # fmt: skip
    return x, y


def _series_looks(
    names: Sequence[str], meanings: Sequence[style.Meaning], theme: style.Theme
) -> dict[str, Any]:
    """Fill, outline and dash of every lane, then of every bound, on one scale: so they share one legend."""
    bounds = len(names) - len(meanings)
    colors = [style.COLORS[meaning] for meaning in meanings]
    dashes = [[*style.DASHES.get(meaning, ())] or [1, 0] for meaning in meanings]
    legend = _legend("width < 640 ? 1 : 4", theme, offset=26)
    return {
        "fill": alt.Fill("series:N", legend=legend,
                         scale=alt.Scale(domain=names, range=[*colors, *["transparent"] * bounds])),
        "stroke": alt.Stroke("series:N", legend=legend,
                             scale=alt.Scale(domain=names, range=[*colors, *[theme.text] * bounds])),
        "strokeDash": alt.StrokeDash("series:N", legend=legend,
                                     scale=alt.Scale(domain=names, range=[*dashes, *map(list, GHOST_DASHES[:bounds])])),
    }  # fmt: skip


def _legend(columns: str, theme: style.Theme, offset: int = 12) -> alt.Legend:
    return alt.Legend(
        orient="top",
        title=None,
        columns=alt.ExprRef(columns),
        symbolType="square",
        symbolSize=150,
        symbolStrokeWidth=1.4,
        labelFontSize=FONT_SIZE,
        labelColor=theme.muted,
        offset=offset,
        labelLimit=330,
    )


def _chart(
    layers: Sequence[alt.Chart], tables: dict[str, list[dict[str, Any]]], description: str, height: int
) -> alt.LayerChart:
    return alt.LayerChart(
        layer=[*layers],
        datasets=tables,
        description=description,
        width="container",
        height=height,
        autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
        padding={"left": 2, "top": 6, "right": 2, "bottom": 2},
    )


def candidate_bars(
    candidates: Sequence[Candidate], *, description: str = "", appearance: style.Appearance = "light"
) -> alt.LayerChart:
    """The candidates for the next token on an axis that always goes from 0 to 100 %.

    Args:
        candidates: the first ones, most probable first.
        description: what a screen reader says; else the numbers themselves.
        appearance: "light" or "dark": the colours of words.
    """
    theme = style.THEMES[appearance]
    bars: list[dict[str, Any]] = []
    lines: list[dict[str, Any]] = []
    for rank, candidate in enumerate(candidates):
        for series, value in ((SHAPED, candidate.probability), (OWN, candidate.model_probability)):
            bars.append({"rank": rank, "series": series, "probability": value, "picked": candidate.picked})
        lines.append(
            {
                "rank": rank,
                "token": visible(candidate.token),
                "end": max(candidate.probability, candidate.model_probability),
                "words": _outcome(candidate),
                "picked": candidate.picked,
            }
        )
    left = 12 + _LETTER * max((len(line["token"]) for line in lines), default=0)
    right = 14 + _LETTER * max((len(line["words"]) for line in lines), default=0)
    x = alt.X(
        "probability:Q",
        scale=alt.Scale(
            domain=[0, 1], nice=False, range=[math.ceil(left), alt.ExprRef(f"width - {math.ceil(right)}")]
        ),
        stack=None,
        axis=None,
    )
    y = alt.Y("rank:O", scale=alt.Scale(domain=list(range(len(lines))), paddingInner=0.34), axis=None)
    ink, legend = theme.muted, _legend("width < 460 ? 1 : 2", theme)
    order = [SHAPED, OWN]
    boxes = (
        alt.Chart(alt.NamedData(name="bars"))
        .mark_bar(strokeWidth=1.2, aria=False)
        .encode(
            x=x,
            y=y,
            fill=alt.Fill(
                "series:N", scale=alt.Scale(domain=order, range=[ink, "transparent"]), legend=legend
            ),
            stroke=alt.Stroke(
                "series:N", scale=alt.Scale(domain=order, range=["transparent", theme.text]), legend=legend
            ),
            fillOpacity=alt.condition("datum.picked", alt.value(1), alt.value(0.55)),
        )
    )
    texts = alt.Chart(alt.NamedData(name="lines"))
    weight = alt.ExprRef("datum.picked ? 700 : 400")
    tokens = texts.mark_text(
        align="right",
        baseline="middle",
        dx=-8,
        fontSize=FONT_SIZE + 1,
        fontWeight=weight,
        color=theme.text,
        aria=False,
    ).encode(x=alt.datum(0), y=y, text="token:N")
    numbers = texts.mark_text(
        align="left",
        baseline="middle",
        dx=8,
        fontSize=FONT_SIZE,
        fontWeight=weight,
        color=theme.text,
        aria=False,
    ).encode(x=alt.X("end:Q"), y=y, text="words:N")
    said = "; ".join(f"{line['token']} {line['words']}" for line in lines)
    description = description or f"Candidates for the next token. {said}"
    return _chart(
        [boxes, tokens, numbers], {"bars": bars, "lines": lines}, description, _ROW * max(len(lines), 1)
    )


def _outcome(candidate: Candidate) -> str:
    sign = "  ◀ picked" if candidate.picked else ""
    cut = ", cut off" if candidate.probability == 0 < candidate.model_probability else ""
    return f"{percent(candidate.probability)}{cut}{sign}"


def _check(positions: Sequence[str], series: Sequence[tuple[str, Sequence[Any]]], what: str) -> None:
    for name, values in series:
        if len(values) != len(positions):
            raise ValueError(
                f"“{name}” has {len(values)} values and there are {len(positions)} positions: give one per position"
            )
    names = {name for name, _ in series}
    if len(names) != len(series):
        raise ValueError(f"{len(series)} {what} have {len(names)} different names: name each differently")


def _rows(labels: Sequence[str], series: Sequence[Series]) -> list[dict[str, Any]]:
    return [
        {"position": label, "series": name, "loss": value if _finite(value) else None}
        for name, values in series
        for label, value in zip(labels, values, strict=True)
    ]


def _formulas(
    labels: Sequence[str], ghosts: Sequence[Series], series: Sequence[Series]
) -> list[dict[str, Any]]:
    """Write "ln 8" over a position where a bound is the logarithm of a number of equally likely tokens."""
    rows = []
    for place, label in enumerate(labels):
        choices = [math.exp(values[place] or 0) for _, values in ghosts]
        whole = [round(number) for number in choices if math.isclose(number, round(number), rel_tol=1e-6)]
        formula = ", ".join(dict.fromkeys(f"ln {number}" for number in whole if number > 1))
        if formula:
            highest = max(value for _, values in series if _finite(value := values[place]))
            rows.append({"position": label, "loss": highest, "formula": formula})
    return rows


def _top(series: Sequence[Series]) -> float:
    """The next half above every value, with room for a formula over the highest."""
    highest = max((value for _, values in series for value in values if _finite(value)), default=0.0)
    return max(math.ceil(2.2 * highest) / 2, 0.5)


def _nats(value: float | None) -> str:
    return f"{value:.3f}" if _finite(value) else "–"


def _finite(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)
