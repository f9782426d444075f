"""What stands under a picture: its numbers as a table and as CSV, the picture to take away, the code that computes it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import streamlit as st

from decoder.figures.export import Figure, Format, export
from decoder.figures.tables import Table, to_csv
from pages.ui import furniture, session
from pages.ui.sheet import sheet

MIME: dict[Format, str] = {"svg": "image/svg+xml", "png": "image/png", "html": "text/html"}


def numbers(
    table: Table | Callable[[], Table],
    *,
    key: str,
    code: Sequence[Callable[..., Any] | type],
    figure: Figure | Callable[[], Figure] | None = None,
) -> None:
    """Offer the numbers of a picture and the code behind them; nothing is drawn or computed before somebody asks.

    Args:
        table: the numbers, or who computes them: for a picture that goes on growing, those of the moment of asking. Any
            text is safe, on the page and in a spreadsheet.
        key: Streamlit key, unique in a run; also the name of the files.
        code: the functions of the library that computed the numbers; their source is shown.
        figure: the altair figure that shows them, or who makes it, if there is one.
    """

    def offer() -> None:
        box = st.expander(
            "As a table, to download, and the code", key=f"{key} numbers", type="compact", on_change="rerun"
        )
        if not box.open:
            return
        with box:
            shown = table if isinstance(table, Table) else table()
            picture = figure() if callable(figure) else figure
            sheet(shown, key=f"{key} sheet")
            with st.container(horizontal=True):
                # With a byte order mark spreadsheets read ω as it is.
                _button("numbers as CSV", lambda: to_csv(shown).encode("utf-8-sig"), f"{key}.csv", "text/csv")
                if picture is not None:
                    for form, mime in MIME.items():
                        draw = partial(export, picture, form, session.appearance())
                        _button(f"picture as {form.upper()}", draw, f"{key}.{form}", mime)
            st.caption("The code that computes this")
            for function in code:
                st.code(inspect.getsource(inspect.unwrap(function)), language="python")

    furniture.apart(offer)


def _button(label: str, content: Callable[[], bytes], file: str, mime: str) -> None:
    """Offer a file that is made when it is asked for: a link to a ready one would be dead once its numbers grow on."""
    st.download_button(
        label,
        content,
        file_name=file,
        mime=mime,
        on_click="ignore",
        icon=":material/download:",
        width="content",
        key=f"{file} download",
    )
