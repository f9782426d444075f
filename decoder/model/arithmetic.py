"""One attention cell spelled out: from the query and the key to the weight, number by number."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from decoder.model.decoder import BlockTrace


class CellArithmetic(NamedTuple):
    """How one weight came about; K counts the keys of the row.

    Attributes:
        query: the query's numbers, (D,).
        key: the key's numbers, (D,).
        products: their products, (D,).
        dot: the sum of the products.
        divisor: the square root of D.
        score: dot / divisor.
        masked_score: the score, or minus infinity where the mask is closed.
        row: the masked scores of the whole row, (K,).
        exponentials: e to the power of the row, (K,); exactly 0 where the mask is closed.
        total: the sum of the exponentials.
        weight: the cell's exponential divided by the total, as the decoder computed it.
    """

    query: tuple[float, ...]
    key: tuple[float, ...]
    products: tuple[float, ...]
    dot: float
    divisor: float
    score: float
    masked_score: float
    row: tuple[float, ...]
    exponentials: tuple[float, ...]
    total: float
    weight: float


def cell_arithmetic(block: BlockTrace, head: int, row: int, column: int, example: int = 0) -> CellArithmetic:
    """Spell out the weight with which position `row` looks at position `column`."""
    query = block.query[example, head, row].tolist()
    key = block.key[example, head, column].tolist()
    products = [a * b for a, b in zip(query, key, strict=True)]
    masked_scores = block.attention.masked_scores[example, head, row].tolist()
    # In torch, where what is too large becomes infinite: a decoder gone wild is shown as it is.
    exponentials = torch.tensor(masked_scores, dtype=torch.float64).exp().tolist()
    return CellArithmetic(
        query=tuple(query),
        key=tuple(key),
        products=tuple(products),
        dot=math.fsum(products),
        divisor=math.sqrt(len(query)),
        score=block.attention.scores[example, head, row, column].item(),
        masked_score=masked_scores[column],
        row=tuple(masked_scores),
        exponentials=tuple(exponentials),
        total=math.fsum(exponentials),
        weight=block.attention.weights[example, head, row, column].item(),
    )
