"""What all tests share: one thread per process, and a store that is thrown away."""

from __future__ import annotations

import os

import pytest
import torch


def pytest_configure() -> None:
    """Use one thread, as every training process does: threads of several tests would fight."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _store_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Never touch the visitor's own store."""
    os.environ["DECODER_STORE"] = f"sqlite:///{tmp_path_factory.mktemp('store') / 'runs.sqlite3'}"
