"""The linter, the formatter and the type checker have nothing to say; what they say is the failure's message."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "."], ["ruff", "format", "--check", "--diff", "."], ["mypy"]],
    ids=["ruff check", "ruff format", "mypy"],
)
def test_has_nothing_to_say(command):
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, f"python -m {' '.join(command)}\n{done.stdout}\n{done.stderr}"
