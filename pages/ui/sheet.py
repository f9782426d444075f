"""A table of numbers as plain text: one component (assets/sheet), given a typed Python face."""

from __future__ import annotations

import streamlit as st

from decoder.figures import style
from decoder.figures.matrices import GLYPHS
from decoder.figures.tables import Table
from decoder.language import clean
from pages.ui import assets

_component = st.components.v2.component(
    "decoder_sheet",
    html='<div class="root"></div>',
    css=assets.text("sheet/sheet.css"),
    js=assets.ELEMENTS + assets.text("sheet/sheet.js"),
)
_VISIBLE = str.maketrans({glyph: shown for glyph, shown in GLYPHS.items() if glyph in {"\n", "\t"}})


def sheet(table: Table, *, key: str) -> None:
    """Show a table; any text is safe, unlike in Streamlit's own tables, which read Markdown or offer raw CSV."""
    _component(
        key=key,
        data={
            "title": clean(table.title),
            "columns": [clean(column) for column in table.columns],
            "rows": [[clean(text).translate(_VISIBLE) for text in row] for row in table.texts],
            "numeric": [
                all(isinstance(row[at], int | float | None) for row in table.rows)
                for at in range(len(table.columns))
            ],
            "muted": f"light-dark({style.LIGHT.muted}, {style.DARK.muted})",
        },
    )
