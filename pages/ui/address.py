"""What the address carries of a page, so that a link opens it as it was."""

from __future__ import annotations

from typing import Literal, TypedDict


class InAddress(TypedDict):
    """The arguments by which a widget becomes a part of the address."""

    bind: Literal["query-params"]
    persist_state: Literal["session"]


# Bound alone, what a link says is told to the browser only once, and lost if by then it has not yet loaded the widget.
IN_ADDRESS: InAddress = {"bind": "query-params", "persist_state": "session"}
