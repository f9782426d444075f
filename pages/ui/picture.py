"""What the canvas components share: pens, and buttons that save their picture as SVG, PNG or page (assets/picture)."""

from __future__ import annotations

import json
from pathlib import Path

_ASSETS = Path(__file__).resolve().parents[2] / "assets" / "picture"
_PAGE, _PEN, _PICTURE = (
    (_ASSETS / name).read_text(encoding="utf-8") for name in ("page.html", "pen.js", "picture.js")
)

SCRIPT = f"const PAGE = {json.dumps(_PAGE)};\n{_PEN}{_PICTURE}"
"""Stands in front of a component's own script, which draws with `drawOn(...)` and calls `saveButtons(root, view)`."""
STYLE = (_ASSETS / "picture.css").read_text(encoding="utf-8")
"""Stands behind its own style."""


def file_name(key: str) -> str:
    """Return how the file of the component under this key is called, without its ending."""
    return "".join(letter if letter.isalnum() else "_" for letter in key)
