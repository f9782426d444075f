"""Randomness that can be replayed: one generator per (seed, step, purpose), never the global state."""

from __future__ import annotations

import hashlib

import torch


def generator_for(seed: int, step: int, purpose: str) -> torch.Generator:
    """Return a CPU generator that depends on its three arguments only.

    The purpose ("weights", "batch", "picks", ...) keeps streams apart, so that two trainings with one
    seed see the same initial weights and the same batches whatever else they draw.
    """
    digest = hashlib.blake2b(f"{seed}/{step}/{purpose}".encode(), digest_size=7).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))
