"""A figure to take away, drawn without a browser and without a network: as SVG or PNG."""

from __future__ import annotations

import io
from typing import Literal

import altair as alt

from decoder.figures import style

Format = Literal["svg", "png"]
WIDTH = 720  # pixels: on a page the container decides, on paper nobody does
PNG_SCALE = 2  # as fine as a good screen


def export(figure: alt.LayerChart, form: Format, appearance: style.Appearance = "light") -> bytes:
    """Draw a figure into a file, on the ground and in the font that it has on the page.

    Args:
        figure: an altair figure as the other modules here make it.
        form: "svg" or "png".
        appearance: the one that the figure was made for.
    """
    theme = style.THEMES[appearance]
    drawn = figure.properties(width=WIDTH, background=theme.background)
    drawn = drawn.configure(font=style.FONT, view=alt.ViewConfig(strokeWidth=0))
    if form == "svg":
        text = io.StringIO()
        drawn.save(text, format="svg")
        return text.getvalue().encode()
    picture = io.BytesIO()
    drawn.save(picture, format="png", scale_factor=PNG_SCALE)
    return picture.getvalue()
