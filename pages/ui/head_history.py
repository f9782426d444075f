"""When a head came to look at a token: its weights in all decoders that a run has kept."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st
import torch
from torch import Tensor

from decoder.model.mixing import all_weights
from pages.ui import session


def weights_over_time(
    run_id: str, ids: Sequence[int], layer: int, row: int, places: Sequence[int]
) -> tuple[list[int], Tensor]:
    """Return the kept steps of a run, and the weight that each head of a layer put on some places then.

    Args:
        run_id: the run.
        ids: the sentence.
        layer: whose heads are measured.
        row: which position looks.
        places: the positions that are looked at; their weights are added up.

    Returns:
        The steps, and (steps, H).
    """
    steps = session.store().snapshots(run_id)
    weights = [_weights(run_id, step, tuple(ids))[layer, :, row, places].sum(dim=-1) for step in steps]
    return list(steps), torch.stack(weights)


@st.cache_resource(max_entries=256, show_spinner=False)
def _weights(run_id: str, step: int, ids: tuple[int, ...]) -> Tensor:
    """(layers, H, T, T) of one kept decoder. Only the weights are remembered: the decoder itself is much larger."""
    model, _ = session.store().model(run_id, step)
    return all_weights(model, torch.tensor([ids]))
