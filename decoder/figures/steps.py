"""One step of generation as figures: the candidates for the next token, and where the newest token looks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from decoder.figures.bars import Candidate
from decoder.figures.matrices import Matrix, weights_matrix
from decoder.inference.generation import GenerationStep


def candidates(step: GenerationStep, tokens: Sequence[str], count: int) -> list[Candidate]:
    """Return the `count` most likely next tokens, and the picked one if it is not among them."""
    order = step.model_probabilities.argsort(descending=True, stable=True).tolist()
    shown = order[:count]
    if step.picked not in shown:
        shown = [*shown, step.picked]
    return [
        Candidate(
            tokens[token],
            step.model_probabilities[token].item(),
            step.probabilities[token].item(),
            token == step.picked,
        )
        for token in shown
    ]


def newest_row(step: GenerationStep) -> tuple[Matrix, list[str]]:
    """Return the weights of the newest token, one row per head, and the names of the rows."""
    blocks = step.passes[-1].blocks
    rows = np.concatenate([block.attention.weights[0, :, -1].numpy() for block in blocks])  # (layers * H, K)
    names = [
        f"L{layer} H{head}"
        for layer, block in enumerate(blocks)
        for head in range(block.attention.weights.shape[1])
    ]
    return weights_matrix(rows, np.zeros_like(rows, dtype=np.bool_), title="weights"), names
