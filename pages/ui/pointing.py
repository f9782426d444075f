"""What components share that show the tokens of one batch: pointing at one marks it in all of them (assets/pointing)."""

from __future__ import annotations

from pathlib import Path

SCRIPT = (Path(__file__).resolve().parents[2] / "assets" / "pointing" / "pointing.js").read_text(
    encoding="utf-8"
)
"""Stands in front of a component's own script, which calls `pointAt` and `whenPointed`."""
