"""A figure to take away, made without a browser and without a network: as SVG, as PNG, or as a page that needs nothing else."""

from __future__ import annotations

import html
import io
import json
from functools import cache
from typing import Any, Literal

import altair as alt
import vl_convert

from decoder.figures import style
from decoder.figures.growing import GrowingChart

Figure = alt.LayerChart | GrowingChart
Format = Literal["svg", "png", "html"]
WIDTH = 720  # pixels: on a page the container decides, on paper nobody does
PNG_SCALE = 2  # as fine as a good screen


def export(figure: Figure, form: Format, appearance: style.Appearance = "light") -> bytes:
    """Draw a figure into a file, on the ground and in the font that it has on the page.

    Args:
        figure: one that the other modules here make.
        form: "svg", "png", or "html": the figure with its tooltips, in one file that asks nobody for anything.
        appearance: the one that the figure was made for.
    """
    theme = style.THEMES[appearance]
    chart = figure.chart if isinstance(figure, GrowingChart) else figure
    drawn = chart.properties(width=WIDTH, background=theme.background)
    drawn = drawn.configure(font=style.FONT, view=alt.ViewConfig(strokeWidth=0))
    if form == "html":
        return _page(drawn.to_dict(validate=False), theme).encode(errors="replace")
    if form == "svg":
        text = io.StringIO()
        drawn.save(text, format="svg")
        return text.getvalue().encode()
    picture = io.BytesIO()
    drawn.save(picture, format="png", scale_factor=PNG_SCALE)
    return picture.getvalue()


# Only what stands in the file itself may run or be shown; Vega makes functions of its own expressions.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data:"
)


@cache
def _library() -> str:
    """Return what draws charts in a browser, 0.9 MB; putting it together takes seconds, so it is done once."""
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")


def _page(chart: dict[str, Any], theme: style.Theme) -> str:
    """Write a page that draws a chart; texts of the chart are escaped, so that none of them can end the script.

    In JSON "<" may be written by its number: then no tag and no comment begins in the script, whatever a token contains.
    """
    data = json.dumps(chart).replace("<", "\\u003c")
    title = html.escape(str(chart.get("description", "figure")))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f'<meta name="viewport" content="width=device-width">\n<title>{title}</title>\n'
        f"<style>body {{ margin: 16px; background: {theme.background}; color: {theme.text}; }}</style>\n</head>\n"
        f'<body>\n<div id="figure"></div>\n<script>{_library()}</script>\n'
        f'<script>vegaEmbed("#figure", {data}, {{"renderer": "svg", "actions": false}});</script>\n</body>\n</html>\n'
    )
