"""From ids to what enters the first block: x, a row of the embedding table, plus p, which belongs to the position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from decoder.model.decoder import Decoder, logits_of_prefixes

Cell = tuple[int, int]
"""Row and time of a token in a batch, both from 0."""


class Inputs(NamedTuple):
    """What a decoder makes of a batch of ids before its first block.

    Attributes:
        embeddings: x, the row of the embedding table that belongs to each id, (B, T, C).
        positions: p, added at each position in every row, (T, C); zeros without positions.
        sums: x + p, (B, T, C).
    """

    embeddings: Tensor
    positions: Tensor
    sums: Tensor


@torch.no_grad()
def decoder_inputs(model: Decoder, rows: Sequence[Sequence[int]]) -> Inputs:
    """Look up x and p for rows of ids (B, T), and add them as the decoder does."""
    trace = model.trace(torch.tensor(rows))
    x, p = trace.token_embeddings, trace.position_embeddings.detach()  # a view of the weights
    return Inputs(x, p, x + p)


class Difference(NamedTuple):
    """Greatest absolute difference between two cells, of x, of p and of x + p; 0 only if equal in every bit."""

    embedding: float
    position: float
    total: float


def difference(inputs: Inputs, one: Cell, other: Cell) -> Difference:
    """Compare the vectors of two cells, number by number."""
    x, p, total = inputs
    pairs = ((x[one], x[other]), (p[one[1]], p[other[1]]), (total[one], total[other]))
    return Difference(*(float((first - second).abs().max()) for first, second in pairs))


def twins(rows: Sequence[Sequence[int]], cell: Cell) -> list[Cell]:
    """Return the other cells with the same id, those at another time first."""
    own = rows[cell[0]][cell[1]]
    cells = [(row, time) for row, ids in enumerate(rows) for time, token in enumerate(ids) if token == own]
    return sorted((place for place in cells if place != cell), key=lambda place: place[1] == cell[1])


def first_with_twin(rows: Sequence[Sequence[int]], pad: int | None = None) -> Cell:
    """Return the first cell after a row's start whose id, no padding, stands at another time as well.

    If there is none: the first one of row 0 whose id stands in another row; else the start of row 0.
    """
    cells = [
        (row, time)
        for row, ids in enumerate(rows)
        for time, token in enumerate(ids)
        if time > 0 and token != pad
    ]
    for cell in cells:
        if any(time != cell[1] for _, time in twins(rows, cell)[:1]):  # those at another time come first
            return cell
    return next((cell for cell in cells if cell[0] == 0 and twins(rows, cell)), (0, 0))


def other_pair(rows: Sequence[Sequence[int]], shown: Sequence[Cell]) -> tuple[Cell, Cell] | None:
    """Return two cells with the same id that are not the two shown, of another id if there are such; else None."""
    own = rows[shown[0][0]][shown[0][1]]
    cells = [(row, time) for row, ids in enumerate(rows) for time in range(len(ids))]
    for of_shown in (False, True):
        for cell in cells:
            if (rows[cell[0]][cell[1]] == own) == of_shown:
                for twin in twins(rows, cell):
                    if {cell, twin} != set(shown):
                        return cell, twin
    return None


class FedBack(NamedTuple):
    """A token that is read as the next input, as in generation.

    Attributes:
        vector: x̂, the embedding that the decoder then reads, (C,).
        is_row: whether it equals the token's row of the embedding table in every bit.
    """

    vector: Tensor
    is_row: bool


@torch.no_grad()
def feed_back(model: Decoder, tokens: Sequence[int], token: int) -> FedBack:
    """Append a token to a sequence of ids and let the decoder read it; the oldest ids that do not fit are left out."""
    sequence = torch.tensor([[*tokens, token][-model.config.context_length :]])
    vector = model.trace(sequence).token_embeddings[0, -1]
    return FedBack(vector, torch.equal(vector, model.token_table.weight[token]))


@torch.no_grad()
def predictions(model: Decoder, tokens: Sequence[int]) -> list[int]:
    """Return the id of the largest logit after each prefix of these ids, (T,): what is predicted for times 1 to T."""
    logits = logits_of_prefixes(model, torch.tensor([*tokens]))  # (T, V)
    return [int(token) for token in logits.argmax(dim=1)]


def distinct_rows(table: Tensor) -> int:
    """Return how many different rows a table (V, C) has: that many vectors can be looked up in it."""
    return len(torch.unique(table, dim=0))


def reach(*vectors: Tensor) -> float:
    """Return the greatest absolute number in any of these: half the width of a colour scale around 0; 1 if all are 0."""
    return max(float(part.detach().abs().max()) for part in vectors) or 1.0
