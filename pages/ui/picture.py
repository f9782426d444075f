"""What the canvas components share: pens, and buttons that save their picture as SVG, PNG or page (assets/picture)."""

from __future__ import annotations

import json

from pages.ui import assets

_PAGE = f"const PAGE = {json.dumps(assets.text('picture/page.html'))};\n"

SCRIPT = assets.ELEMENTS + _PAGE + assets.text("picture/pen.js") + assets.text("picture/picture.js")
"""Stands in front of a component's own script, which draws with `drawOn(...)` and calls `saveButtons(root, view)`."""
STYLE = assets.text("picture/picture.css")
"""Stands behind its own style."""


def file_name(key: str) -> str:
    """Return how the file of the component under this key is called, without its ending."""
    return "".join(letter if letter.isalnum() else "_" for letter in key)
