"""Token x token matrices as plain numbers: what looks at what. Rows are queries, columns are keys.

The component in assets/matrix draws them; nothing here knows how. Masked is never a small number: where the mask
closes a cell, its value is None in masked scores and in weights, and `masked` says so. Where a wrong way of masking
leaves a number in a closed cell, the number is there.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from decoder.figures.style import Kind
from decoder.figures.tables import Table
from decoder.model.attention import Attention
from decoder.model.decoder import Trace
from decoder.model.masking import Stages

LABEL_LENGTH = 14
"""Characters of a token that a label shows; a longer one ends in an ellipsis."""

GLYPHS = {" ": "␣", "\n": "⏎", "\r": "␍", "\t": "⇥", "": "∅"}

Row: TypeAlias = tuple[float | None, ...]
Numbers: TypeAlias = NDArray[np.float64]
Booleans: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True)
class Matrix:
    """One token x token picture: queries down, keys across; not necessarily square.

    `masked` is the mask in every kind. In "scores" it is still to come: all values are there and the picture only
    marks the edge of what will be closed. In "masked_scores" and "weights" a closed cell has the value None, or, if it
    was masked in a wrong way, the number that was left there. None in an open cell means that the number is not finite.
    `low` and `high` are the ends of the colour scale. "weights" are any numbers from 0 on, exponentials for instance.
    """

    title: str
    kind: Kind
    values: tuple[Row, ...]
    masked: tuple[tuple[bool, ...], ...]
    low: float
    high: float
    note: str = ""
    row_sums: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        widths = {len(row) for row in (*self.values, *self.masked)}
        if not self.values or len(self.values) != len(self.masked) or len(widths) != 1 or not max(widths):
            raise ValueError(
                f"values has {len(self.values)} rows and masked {len(self.masked)}, of widths {sorted(widths)}: "
                "both need the same rows x columns, at least 1 x 1"
            )
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(
                f"the colour scale goes from {self.low} to {self.high}: it needs two finite ends, low < high"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """(queries, keys)."""
        return len(self.values), len(self.values[0])

    @property
    def leaks(self) -> int:
        """Number of cells that should be masked and hold a number all the same."""
        cells = [
            (value, closed)
            for values, masked in zip(self.values, self.masked, strict=True)
            for value, closed in zip(values, masked, strict=True)
        ]
        return sum(closed and value is not None for value, closed in cells) if self.kind != "scores" else 0

    @property
    def summary(self) -> str:
        """One sentence for somebody who does not see the picture."""
        n_rows, n_columns = self.shape
        closed = sum(map(sum, self.masked))
        shown = [value for row in self.values for value in row if value is not None]
        span = f"values from {min(shown):.4g} to {max(shown):.4g}" if shown else "no values"
        verb = (
            "will be masked"
            if self.kind == "scores"
            else f"should be masked, and {self.leaks} of them are not"
            if self.leaks
            else "are masked"
        )
        return (
            f"{self.title}: {n_rows} {'query' if n_rows == 1 else 'queries'} by {n_columns} "
            f"{'key' if n_columns == 1 else 'keys'}, {span}; {closed} of "
            f"{n_rows * n_columns} {'cell' if n_rows * n_columns == 1 else 'cells'} {verb}."
        )


def attention_matrices(
    attention: Attention, head: int = 0, *, example: int = 0, row_sums: bool = True
) -> tuple[Matrix, Matrix, Matrix]:
    """Scores, masked scores and weights of one head; the first two share a colour scale symmetric around 0."""
    scores, masked_scores, weights = (
        stage[example, head].detach().cpu().double().numpy()  # (T, K)
        for stage in (attention.scores, attention.masked_scores, attention.weights)
    )
    return stage_matrices(scores, masked_scores, weights, row_sums=row_sums)


def stage_matrices(
    scores: ArrayLike, masked_scores: ArrayLike, weights: ArrayLike, *, row_sums: bool = True
) -> tuple[Matrix, Matrix, Matrix]:
    """The same from the three stages of one head, each (queries, keys)."""
    closed = np.isneginf(np.asarray(masked_scores, np.float64))
    before, after = _scores_matrices(scores, masked_scores, closed, "−∞ where masked")
    return before, after, weights_matrix(weights, closed, note="softmax of each row", row_sums=row_sums)


def masking_matrices(
    stages: Stages,
    masked: ArrayLike,
    *,
    note: str = "−∞ where masked",
    weights_note: str = "each / sum of its row",
) -> tuple[Matrix, Matrix, Matrix, Matrix]:
    """Scores, masked scores, exponentials and weights of one head, (queries, keys), however they were masked.

    Args:
        stages: the scores and what becomes of them.
        masked: True = the mask closes the cell, even if the way of masking leaves something in it.
        note: what the mask does to the scores.
        weights_note: how the weights came about.
    """
    closed, exponentials = np.asarray(masked, np.bool_), np.asarray(stages.exponentials, np.float64)
    finite = exponentials[np.isfinite(exponentials)]
    return (
        *_scores_matrices(stages.scores, stages.masked_scores, closed, note),
        Matrix(
            title="exp",
            kind="weights",
            values=_rows(exponentials, closed & (exponentials == 0)),
            masked=_mask(closed),
            low=0.0,
            high=float(finite.max(initial=0.0)) or 1.0,
            note="e to the power of each",
            row_sums=_sums(exponentials),
        ),
        weights_matrix(stages.weights, closed, note=weights_note, row_sums=True),
    )


def _scores_matrices(
    scores: ArrayLike, masked_scores: ArrayLike, closed: Booleans, note: str
) -> tuple[Matrix, Matrix]:
    before, after = np.asarray(scores, np.float64), np.asarray(masked_scores, np.float64)
    reach = _largest(before, after)
    return (
        Matrix(
            title="scores",
            kind="scores",
            values=_rows(before),
            masked=_mask(closed),
            low=-reach,
            high=reach,
            note="query · key / √(head width)",
        ),
        Matrix(
            title="masked scores",
            kind="masked_scores",
            values=_rows(after, closed & np.isneginf(after)),
            masked=_mask(closed),
            low=-reach,
            high=reach,
            note=note,
        ),
    )


def weights_matrix(
    weights: ArrayLike, masked: ArrayLike, *, title: str = "weights", note: str = "", row_sums: bool = False
) -> Matrix:
    """Weights (queries, keys), coloured from 0 to 1; `masked` has the same shape, True = closed."""
    values, closed = np.asarray(weights, np.float64), np.asarray(masked, np.bool_)
    return Matrix(
        title=title,
        kind="weights",
        values=_rows(values, closed & (values == 0)),
        masked=_mask(closed),
        low=0.0,
        high=1.0,
        note=note,
        row_sums=_sums(values) if row_sums else None,
    )


def head_thumbnails(trace: Trace, *, example: int = 0) -> tuple[tuple[Matrix, ...], ...]:
    """The weights of every head: one row of the result per layer, one column per head."""
    return tuple(
        tuple(
            weights_matrix(weights, np.isneginf(masked_scores), title=f"layer {layer}, head {head}")
            for head, (weights, masked_scores) in enumerate(
                zip(
                    block.attention.weights[example].detach().cpu().double().numpy(),  # (H, T, K)
                    block.attention.masked_scores[example].detach().cpu().double().numpy(),
                    strict=True,
                )
            )
        )
        for layer, block in enumerate(trace.blocks)
    )


def stages_table(title: str, stages: Stages, labels: Sequence[str]) -> Table:
    """The numbers of the four matrices of one head, (queries, keys), cell by cell."""
    columns = [stage.flatten().tolist() for stage in stages]
    pairs = [[query, key] for query in labels for key in labels]
    return Table(
        title,
        ["query", "key", "score", "masked score", "exp", "weight"],
        [[*pair, *values] for pair, values in zip(pairs, zip(*columns, strict=True), strict=True)],
    )


def head_table(heads: Sequence[Sequence[Matrix]], labels: Sequence[str]) -> Table:
    """The weights of every head, `head_thumbnails(trace)`, a line per query; masked cells are empty."""
    return Table(
        "weights of every layer and head",
        ["layer", "head", "this token looks", *labels],
        [
            [at, of, label, *values]
            for at, layer in enumerate(heads)
            for of, head in enumerate(layer)
            for label, values in zip(labels, head.values, strict=True)
        ],
    )


def token_labels(tokens: Sequence[str], first: int = 0) -> list[str]:
    """`["the", "cat", "the"]` -> `["0 the", "1 cat", "2 the"]`: the index first, so that equal tokens stay distinct."""
    return [f"{index} {visible(token)}" for index, token in enumerate(tokens, first)]


def visible(token: str) -> str:
    """A token as a short line of visible characters; still plain text, to be drawn or set with textContent."""
    if not token:
        return GLYPHS[""]
    shown = "".join(GLYPHS.get(character) or _visible(character) for character in token[: LABEL_LENGTH + 1])
    return shown if len(shown) <= LABEL_LENGTH else shown[: LABEL_LENGTH - 1] + "…"


def _visible(character: str) -> str:
    """Controls, formats (among them marks that turn writing around), surrogates and odd spaces become a box."""
    return (
        "▯"
        if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp"}
        else character
    )


def _largest(*stages: Numbers) -> float:
    """The greatest finite |score|, or 1.0 if there is none above 0: half the width of a scale around 0."""
    return max(float(np.abs(stage[np.isfinite(stage)]).max(initial=0.0)) for stage in stages) or 1.0


def _sums(values: Numbers) -> tuple[float, ...] | None:
    """The sum of each row; None if one is not finite, for then there is nothing to compare."""
    return tuple(math.fsum(row) for row in values.tolist()) if np.isfinite(values).all() else None


def _rows(values: Numbers, closed: Booleans | None = None) -> tuple[Row, ...]:
    shown = np.isfinite(values) if closed is None else np.isfinite(values) & ~closed
    return tuple(
        tuple(value if show else None for value, show in zip(row, shows, strict=True))
        for row, shows in zip(values.tolist(), shown.tolist(), strict=True)
    )


def _mask(closed: Booleans) -> tuple[tuple[bool, ...], ...]:
    return tuple(tuple(row) for row in closed.tolist())
