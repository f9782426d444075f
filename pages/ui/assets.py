"""Reads what the pages' components are made of: scripts and styles in the folder assets/."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).resolve().parents[2] / "assets"


def text(path: str) -> str:
    """Return the file at this path below assets/."""
    return (_FOLDER / path).read_text(encoding="utf-8")


ELEMENTS = text("elements.js")
"""Stands in front of a component's own script, which calls `make` and `between`."""
POINTING = ELEMENTS + text("pointing/pointing.js")
"""The same for components that show the tokens of one batch: pointing at one, by `pointAt`, marks it in all of them."""
