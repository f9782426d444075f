"""The numbers of a picture as a table: to be read aloud, and to be taken away as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from decoder.figures.words import number

Value: TypeAlias = str | int | float | None

_STARTS_A_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Table:
    """Named columns and rows of values; None is an empty cell.

    Raises:
        ValueError: if a row has not one value per column.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Value]]

    def __post_init__(self) -> None:
        for at, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(
                    f"row {at} of “{self.title}” has {len(row)} values for {len(self.columns)} columns: "
                    "give one per column"
                )

    @property
    def texts(self) -> list[list[str]]:
        """The cells as a person reads them: four significant digits, a true minus sign."""
        return [[_text(value) for value in row] for row in self.rows]


def to_csv(table: Table) -> str:
    """Write a table as CSV, numbers with all their digits.

    A text that a spreadsheet would take for a formula gets an apostrophe in front; real numbers stay numbers.
    """
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow([_harmless(column) for column in table.columns])
    writer.writerows([_harmless(value) for value in row] for row in table.rows)
    return file.getvalue()


def _harmless(value: Value) -> Value:
    return f"'{value}" if isinstance(value, str) and value.startswith(_STARTS_A_FORMULA) else value


def _text(value: Value) -> str:
    if value is None:
        return ""
    return number(value) if isinstance(value, float) else str(value)
