"""What the canvas components share: a button that saves their picture as PNG, made in the browser (assets/picture)."""

from __future__ import annotations

from pathlib import Path

_ASSETS = Path(__file__).resolve().parents[2] / "assets" / "picture"

SCRIPT = (_ASSETS / "picture.js").read_text(encoding="utf-8")
"""Stands in front of a component's own script, which calls `saveButton` and draws with `density()`."""
STYLE = (_ASSETS / "picture.css").read_text(encoding="utf-8")
"""Stands behind its own style."""


def file_name(key: str) -> str:
    """Return how the file of the component under this key is called, without its ending."""
    return "".join(letter if letter.isalnum() else "_" for letter in key)
