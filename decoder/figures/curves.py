"""Curves of a training, growing towards the thin dashed lines that say how far any training can get.

Pure functions: numbers in, a chart out. Everything that changes while a decoder trains is data in five named tables,
"curves", "heads", "theory", "turns" and "hover"; the rest of the chart stays the same and is made once, because altair
takes longer for it than a page has that is redrawn twice a second for every one of a class.
"""

from __future__ import annotations

import math
import textwrap
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import altair as alt

from decoder.figures import style
from decoder.figures.growing import GrowingChart, Row
from decoder.figures.words import percent

MOST_POINTS = 500
"""A longer training curve shows every k-th update; k depends on the planned steps only, so what is drawn stays."""

NARROW = 600
"""Pixels of plot width below which names and formulas are broken into shorter lines."""

FONT_SIZE = 13
_LINE = 16  # pixels from one line of text to the next
_LETTER = 7.2  # pixels, on the generous side
_GAP = 6  # pixels between text and what it stands beside
_BREAKS = {"wide": (40, 72), "narrow": (10, 35)}  # letters in a line of a name, of a formula


class Curve(NamedTuple):
    """What was measured after which update; None or a number that is not finite leaves a gap."""

    name: str
    meaning: style.Meaning
    steps: Sequence[float]
    values: Sequence[float | None]
    points: bool = False
    """Few measured values, joined and marked as points; else a thin live training curve."""
    named: bool = True
    """Whether its end is marked and carries its name; not where another curve takes over from it."""


class TheoryLine(NamedTuple):
    """A bound that holds for every model, with the formula that anybody can recompute."""

    value: float
    formula: str


class Turn(NamedTuple):
    """Where a training was continued with other settings, and with which."""

    step: float
    settings: str


class _Plot(NamedTuple):
    """What a kind of chart decides once."""

    planned_steps: int
    x_title: str
    y_title: str
    top: float
    falling: bool
    """Curves come down to their bounds: the lowest bound carries its formula below its line, where no curve goes."""
    write: Callable[[float], str]
    axis_format: str
    height: int
    appearance: style.Appearance

    @property
    def theme(self) -> style.Theme:
        return style.THEMES[self.appearance]


class _Lane(NamedTuple):
    """What of a curve is the same at every redraw."""

    name: str
    meaning: style.Meaning


def loss_curves(
    curves: Sequence[Curve],
    theory: Sequence[TheoryLine] = (),
    *,
    planned_steps: int,
    description: str,
    x_title: str = "updates",
    y_title: str = "loss, nats per token",
    top: float | None = None,
    turns: Sequence[Turn] = (),
    height: int = 240,
    appearance: style.Appearance = "light",
) -> GrowingChart:
    """Losses over the updates of a training, from 0 to `planned_steps`.

    Args:
        curves: drawn in their order; a training curve and a measured one of the same lane share its colour and dash.
        theory: the lowest bound carries its formula below its line, the others above.
        planned_steps: right end of the axis, from the first update on.
        description: what a screen reader says.
        x_title: what is counted.
        y_title: what is measured, in which unit.
        top: upper end of the axis, ln V for instance; else the first values decide, which stay while a curve grows.
        turns: where trainings were continued with other settings.
        height: pixels from the lower to the upper end of the plot; axis and titles come on top of it.
        appearance: "light" or "dark": the colours of words.

    Raises:
        ValueError: if `planned_steps` is below 1, or a curve has not one value per step.
    """
    plot = _Plot(
        planned_steps=planned_steps,
        x_title=x_title,
        y_title=y_title,
        top=top or _stable_top(curves, theory),
        falling=True,
        write=_loss_words,
        axis_format="~g",
        height=height,
        appearance=appearance,
    )
    return _chart(plot, curves, theory, turns, description)


def share_curves(
    curves: Sequence[Curve],
    theory: Sequence[TheoryLine] = (),
    *,
    planned_steps: int,
    description: str,
    x_title: str = "updates",
    y_title: str = "valid sentences",
    turns: Sequence[Turn] = (),
    height: int = 240,
    appearance: style.Appearance = "light",
) -> GrowingChart:
    """Shares (0 to 1) over the updates of a training, on an axis from 0 to 100 %; the rest as in `loss_curves`."""
    plot = _Plot(
        planned_steps=planned_steps,
        x_title=x_title,
        y_title=y_title,
        top=1.0,
        falling=False,
        write=percent,
        axis_format=".0%",
        height=height,
        appearance=appearance,
    )
    return _chart(plot, curves, theory, turns, description)


def _stable_top(curves: Sequence[Curve], theory: Sequence[TheoryLine]) -> float:
    """The next half above every curve's first value and every bound."""
    firsts = [next(_finite_pairs(curve), (0.0, 0.0))[1] for curve in curves]
    highest = max([*firsts, *(1.1 * line.value for line in theory)], default=0.0)
    return max(math.ceil(2 * highest) / 2, 0.5)


def _loss_words(loss: float) -> str:
    return f"{loss:.3f}"


def _chart(
    plot: _Plot,
    curves: Sequence[Curve],
    theory: Sequence[TheoryLine],
    turns: Sequence[Turn],
    description: str,
) -> GrowingChart:
    if plot.planned_steps < 1:
        raise ValueError(f"planned_steps is {plot.planned_steps}: plan at least 1 update")
    drawn = [_thinned(curve, plot.planned_steps) for curve in curves]
    names = [_shapes(curve.name, 0) for curve in curves]
    formulas = [_shapes(line.formula, 1) for line in theory]
    feet = {shape: _foot(plot, theory, formulas, shape) for shape in _BREAKS}
    margins = {shape: _margin(names, shape) for shape in _BREAKS}
    lanes = tuple(_Lane(curve.name, curve.meaning) for curve in curves)
    return GrowingChart(
        _frame(plot, lanes, tuple(margins.items()), tuple(feet.items())),
        {
            "curves": [row for index, curve in enumerate(drawn) for row in _curve_rows(index, curve)],
            "heads": _head_rows(plot, drawn, names, feet),
            "theory": _theory_rows(plot, theory, formulas, feet),
            "turns": [{"step": turn.step, "settings": turn.settings} for turn in turns],
            "hover": _hover_rows(plot, drawn),
        },
        description,
    )


# ---- layers: the same for every redraw ----


@lru_cache(maxsize=128)
def _frame(
    plot: _Plot,
    lanes: tuple[_Lane, ...],
    margins: tuple[tuple[str, float], ...],
    feet: tuple[tuple[str, float], ...],
) -> dict[str, Any]:
    x, y = _axes(plot, dict(margins), dict(feet))
    rules, texts = _theory_layers(x, y, plot.theme)
    chart = alt.LayerChart(
        layer=[
            rules,
            *_curve_layers(lanes, x, y, plot),
            *texts,
            *_turn_layers(x, plot.theme),
            _hover_layer(lanes, x, plot),
        ],
        width="container",
        height=plot.height,
        autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
        padding={"left": 2, "top": 6, "right": 2, "bottom": 2},
    )
    specification: dict[str, Any] = chart.to_dict(validate=False)
    return specification


def _axes(plot: _Plot, margins: dict[str, float], feet: dict[str, float]) -> tuple[alt.X, alt.Y]:
    """Both axes; right of the plot stay `margins` pixels for names, below 0 `feet` for the lowest bound's formula."""
    colors: dict[str, Any] = {"labelColor": plot.theme.muted, "titleColor": plot.theme.muted}
    x = alt.X(
        "step:Q",
        title=plot.x_title,
        scale=alt.Scale(domain=[0, plot.planned_steps], nice=False, range=[0, _either("width - {}", margins)]),
        axis=alt.Axis(grid=False, tickMinStep=1, format=",.0f", tickCount=_either("{}", {"wide": 8, "narrow": 4}),
                      titlePadding=4, **colors),
    )  # fmt: skip
    y = alt.Y(
        "value:Q",
        title=plot.y_title,
        scale=alt.Scale(domain=[0, plot.top], nice=False, range=[_either("height - {}", feet), 0]),
        axis=alt.Axis(format=plot.axis_format, tickCount=5, labelFlush=False, titleAngle=0, titleAlign="left",
                      titleAnchor="end", titleX=-30, titleY=-16, **colors),
    )  # fmt: skip
    return x, y


def _curve_layers(curves: Sequence[_Lane], x: alt.X, y: alt.Y, plot: _Plot) -> tuple[alt.Chart, ...]:
    order, measured = list(range(len(curves))), [False, True]
    colors = [style.COLORS[curve.meaning] for curve in curves]
    dashes = [[*style.DASHES.get(curve.meaning, ())] or [1, 0] for curve in curves]
    words = [plot.theme.text_colors[curve.meaning] for curve in curves]
    color = alt.Color("curve:N", scale=alt.Scale(domain=order, range=colors), legend=None)
    lines, heads = (alt.Chart(alt.NamedData(name=name)) for name in ("curves", "heads"))
    return (
        lines.mark_line(clip=True, strokeJoin="round", aria=False).encode(
            x=x,
            y=y,
            color=color,
            strokeDash=alt.StrokeDash("curve:N", scale=alt.Scale(domain=order, range=dashes), legend=None),
            strokeWidth=alt.StrokeWidth(
                "measured:O", scale=alt.Scale(domain=measured, range=[1.5, style.CURVE_WIDTH]), legend=None
            ),
        ),
        lines.transform_filter(f"datum.measured && datum.value <= {plot.top}")
        .mark_point(filled=True, opacity=1, size=46, aria=False)
        .encode(x=x, y=y, color=color),
        heads.mark_rule(strokeWidth=0.75, opacity=0.5, aria=False).encode(
            x=x, x2="planned:Q", y=y, color=color
        ),
        heads.mark_point(filled=True, opacity=1, size=46, aria=False).encode(x=x, y=y, color=color),
        _text(heads, align="left", dx=_GAP, fontWeight=600).encode(
            x=alt.X("planned:Q"),
            y=y,
            fill=alt.Fill("curve:N", scale=alt.Scale(domain=order, range=words), legend=None),
        ),
    )


def _theory_layers(x: alt.X, y: alt.Y, theme: style.Theme) -> tuple[alt.Chart, tuple[alt.Chart, alt.Chart]]:
    """The lines, to be drawn below the curves, and their formulas, each on a halo that keeps it readable over a curve."""
    table, end = alt.Chart(alt.NamedData(name="theory")), alt.X("planned:Q")
    rules = table.mark_rule(
        strokeDash=[*style.THEORY_DASH], strokeWidth=style.THEORY_WIDTH, color=theme.text, aria=False
    ).encode(x=x, x2="planned:Q", y=y)
    halo = _text(
        table,
        align="right",
        color=theme.background,
        stroke=theme.background,
        strokeWidth=4,
        strokeOpacity=0.8,
        strokeJoin="round",
    )
    return rules, (halo.encode(x=end, y=y), _text(table, align="right", color=theme.text).encode(x=end, y=y))


def _turn_layers(x: alt.X, theme: style.Theme) -> tuple[alt.Chart, alt.Chart]:
    """A dotted line where a training went on with other settings, and these at its upper end."""
    table = alt.Chart(alt.NamedData(name="turns"))
    words = table.mark_text(
        align="left", baseline="top", dx=_GAP, fontSize=FONT_SIZE, color=theme.muted, aria=False
    )
    return (
        table.mark_rule(strokeDash=[2, 3], color=theme.muted, aria=False).encode(x=x),
        words.encode(x=x, y=alt.value(0), text="settings:N"),
    )


def _hover_layer(curves: Sequence[_Lane], x: alt.X, plot: _Plot) -> alt.Chart:
    """A rule at the update nearest to the pointer, and what every curve said there."""
    nearest = alt.selection_point(
        name="nearest", fields=["step"], nearest=True, on="pointermove", clear="pointerout", empty=False
    )
    layer: alt.Chart = (
        alt.Chart(alt.NamedData(name="hover"))
        .mark_rule(color=plot.theme.muted, strokeWidth=1, aria=False)
        .encode(
            x=x,
            opacity=alt.condition(nearest, alt.value(0.8), alt.value(0)),
            tooltip=[
                alt.Tooltip("step:Q", title=plot.x_title, format=",.0f"),
                # A space at the end of each title: the tooltip would load a picture for the title "image".
                *(
                    alt.Tooltip(f"value_{index}:N", title=f"{curve.name} ")
                    for index, curve in enumerate(curves)
                ),
            ],
        )
        .add_params(nearest)
    )
    return layer


def _text(table: alt.Chart, **settings: Any) -> alt.Chart:
    """Text in the shape that the width allows, as many pixels from its place as its row says."""
    chart: alt.Chart = table.mark_text(
        text=_either("datum.{}", {shape: shape for shape in _BREAKS}),
        dy=_either("datum.{}_dy", {shape: shape for shape in _BREAKS}),
        lineBreak="\n",
        lineHeight=_LINE,
        fontSize=FONT_SIZE,
        baseline="middle",
        aria=False,
        **settings,
    )
    return chart


def _either(pattern: str, choices: dict[str, Any]) -> alt.ExprRef:
    """`pattern` with one choice in a wide plot and the other in a narrow one; the browser decides."""
    return alt.ExprRef(
        f"width < {NARROW} ? {pattern.format(choices['narrow'])} : {pattern.format(choices['wide'])}"
    )


# ---- tables: what changes ----


def _thinned(curve: Curve, planned_steps: int) -> Curve:
    if len(curve.steps) != len(curve.values):
        raise ValueError(
            f"“{curve.name}” has {len(curve.steps)} steps and {len(curve.values)} values: give one value per step"
        )
    stride = 1 if curve.points else math.ceil(planned_steps / MOST_POINTS)
    last = len(curve.steps) - 1
    kept = [at for at, step in enumerate(curve.steps) if at in {0, last} or not step % stride]
    return curve._replace(steps=[curve.steps[at] for at in kept], values=[curve.values[at] for at in kept])


def _curve_rows(index: int, curve: Curve) -> Iterator[Row]:
    for step, value in zip(curve.steps, curve.values, strict=True):
        shown = value if value is not None and math.isfinite(value) else None
        yield {"curve": index, "step": float(step), "value": shown, "measured": curve.points}


def _head_rows(
    plot: _Plot, curves: Sequence[Curve], names: Sequence[Row], feet: dict[str, float]
) -> list[Row]:
    """Where every curve has got to, and its name right of the plot at that height, clear of the other names."""
    rows = [
        {"curve": index, "step": step, "value": min(value, plot.top), "planned": plot.planned_steps}
        | names[index]
        for index, curve in enumerate(curves)
        if curve.named
        for step, value in [*_finite_pairs(curve)][-1:]
    ]
    for shape, foot in feet.items():
        wanted = [row["value"] / plot.top * (plot.height - foot) for row in rows]
        _place(rows, shape, wanted, wanted, plot.height - foot)
    return rows


def _theory_rows(
    plot: _Plot, theory: Sequence[TheoryLine], formulas: Sequence[Row], feet: dict[str, float]
) -> list[Row]:
    rows: list[Row] = [
        {"step": 0, "planned": plot.planned_steps, "value": line.value} | formula
        for line, formula in zip(theory, formulas, strict=True)
    ]
    lowest, *above = sorted(rows, key=lambda row: float(row["value"])) or [{}]
    if not plot.falling:
        above = [lowest, *above] if lowest else []
    for shape, foot in feet.items():
        if lowest:
            lowest[f"{shape}_dy"] = _GAP + _LINE / 2
        lines = [row["value"] / plot.top * (plot.height - foot) for row in above]
        wanted = [line + _GAP + _tall(row[shape]) / 2 for row, line in zip(above, lines, strict=True)]
        _place(above, shape, lines, wanted, plot.height - foot)
    return rows


def _hover_rows(plot: _Plot, curves: Sequence[Curve]) -> list[Row]:
    """For every update that any curve knows, each curve's value there, or its last one with the update it is from."""
    known = [[*_finite_pairs(curve)] for curve in curves]
    steps = sorted({step for pairs in known for step, _ in pairs})
    rows: list[Row] = [{"step": step} for step in steps]
    for index, pairs in enumerate(known):
        own = [step for step, _ in pairs]
        for row in rows:
            at = bisect_right(own, row["step"]) - 1
            words = plot.write(pairs[at][1]) if at >= 0 else "–"
            row[f"value_{index}"] = (
                words if at < 0 or own[at] == row["step"] else f"{words} (at {own[at]:,.0f})"
            )
    return rows


def _finite_pairs(curve: Curve) -> Iterator[tuple[float, float]]:
    for step, value in zip(curve.steps, curve.values, strict=True):
        if value is not None and math.isfinite(value):
            yield float(step), float(value)


# ---- room for text ----


def spread(wanted: Sequence[float], sizes: Sequence[float], end: float) -> list[float]:
    """Centres of boxes on a line, near where they are wanted: none overlap, and none reaches beyond `end`."""
    places = list(wanted)
    order = sorted(range(len(places)), key=places.__getitem__)
    free = -math.inf
    for at in order:
        places[at] = max(places[at], free + sizes[at] / 2)
        free = places[at] + sizes[at] / 2
    free = end
    for at in reversed(order):
        places[at] = min(places[at], free - sizes[at] / 2)
        free = places[at] - sizes[at] / 2
    return places


def _place(
    rows: Sequence[Row], shape: str, anchors: Sequence[float], wanted: Sequence[float], end: float
) -> None:
    """Say in each row how far its text's first line is from its anchor (pixels, down), so that texts keep apart."""
    sizes = [_tall(row[shape]) for row in rows]
    for row, size, anchor, place in zip(rows, sizes, anchors, spread(wanted, sizes, end), strict=True):
        row[f"{shape}_dy"] = round(anchor - place - (size - _LINE) / 2, 1)


def _foot(plot: _Plot, theory: Sequence[TheoryLine], formulas: Sequence[Row], shape: str) -> float:
    """Pixels to leave free below 0, so that the lowest bound's formula has room under its line."""
    if not plot.falling or not theory:
        return 0
    line, formula = min(zip(theory, formulas, strict=True), key=lambda pair: pair[0].value)
    share = min(line.value / plot.top, 0.9)
    needed = 2 * _GAP + _tall(formula[shape])
    return max(0, math.ceil((needed - share * plot.height) / (1 - share)))


def _shapes(text: str, kind: int) -> Row:
    return {shape: _broken(text, most[kind]) for shape, most in _BREAKS.items()}


@lru_cache(maxsize=1024)
def _broken(text: str, most: int) -> str:
    """`text` in as few lines of at most so many letters as it needs, all about equally long; words stay whole."""
    lines = textwrap.wrap(text, most, break_long_words=False, break_on_hyphens=False)
    for fewer in range(most - 1, 0, -1):
        closer = textwrap.wrap(text, fewer, break_long_words=False, break_on_hyphens=False)
        if len(closer) > len(lines) or max(map(len, closer), default=0) > fewer:
            break
        lines = closer
    return "\n".join(lines)


def _margin(names: Sequence[Row], shape: str) -> float:
    letters = max((len(line) for name in names for line in name[shape].split("\n")), default=0)
    return math.ceil(2 * _GAP + _LETTER * letters)


def _tall(text: str) -> int:
    return _LINE * (text.count("\n") + 1)
