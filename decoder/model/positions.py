"""Positional encodings: a vector that depends on the position only, added to the token's embedding."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sinusoidal_positions(length: int, d_model: int) -> Tensor:
    """Return the fixed (T, C) table of sines (even columns) and cosines (odd columns).

    Source: Vaswani et al. 2017, Attention Is All You Need, section 3.5.
    """
    position = torch.arange(length, dtype=torch.float32)[:, None]  # (T, 1)
    frequency = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10_000.0) / d_model))  # (C/2,)
    angles = position * frequency  # (T, C/2)
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)  # (T, C)
