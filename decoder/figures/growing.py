"""Charts that are drawn again and again with other numbers: what altair makes of their layers is made once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import altair as alt

Row = dict[str, Any]


@dataclass(frozen=True)
class GrowingChart:
    """A chart that is redrawn with other tables, because altair takes longer for the rest than a click may take.

    Attributes:
        frame: the specification without what changes; shared by all redraws, and not to be changed.
        tables: by name, the rows that its layers are drawn from.
        description: what a screen reader says.
    """

    frame: dict[str, Any]
    tables: dict[str, list[Row]]
    description: str

    def to_dict(self, *, validate: bool = True) -> dict[str, Any]:
        """Return the Vega-Lite specification.

        Raises:
            SchemaValidationError: if it is wrong, and to be validated.
        """
        specification = self.frame | {"datasets": self.tables, "description": self.description}
        if validate:
            alt.LayerChart.validate(specification)
        return specification

    @property
    def chart(self) -> alt.LayerChart:
        """The same as altair's own object, to be taken away as a file."""
        chart: alt.LayerChart = alt.LayerChart.from_dict(self.to_dict(validate=False))
        return chart
