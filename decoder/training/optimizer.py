"""The optimiser: AdamW with a short warm-up, a linear fall, and clipped gradients."""

from __future__ import annotations

import torch

from decoder.config import TrainConfig
from decoder.model.decoder import Decoder

WARM_UP_STEPS = 20
FINAL_SHARE = 0.1
GRADIENT_NORM = 1.0


def make_optimizer(model: Decoder, config: TrainConfig) -> torch.optim.AdamW:
    """Return AdamW over all weights of the decoder (Loshchilov & Hutter 2019)."""
    return torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )


def learning_rate_at(step: int, config: TrainConfig) -> float:
    """Return the rate of update `step` (from 1): rising over the warm-up, then falling to a tenth.

    The fall ends with the planned number of steps, so the rate belongs to the whole plan.
    """
    warm_up = min(WARM_UP_STEPS, config.steps)
    if step <= warm_up:
        return config.learning_rate * step / warm_up
    fallen = (step - warm_up) / (config.steps - warm_up)
    return config.learning_rate * (1 - (1 - FINAL_SHARE) * fallen)
