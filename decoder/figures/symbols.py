"""The lecture's symbols beside plain names: ω, x, h, z with their indices, written in plain text.

An output carries the index of the token that it estimates: the logits that predict ω₃ are z₃, though they are
computed at input position 2.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

Notation = Literal["names", "symbols"]
Term = Literal[
    "token", "prediction", "embedding", "predicted embedding", "position vector", "contextual embedding",
    "contextual embeddings", "logits", "loss", "row", "inputs", "targets", "value", "head output",
]  # fmt: skip

SYMBOLS: Final[dict[Term, str]] = {
    "token": "ω",
    "prediction": "ω̂",
    "embedding": "x",
    "predicted embedding": "x̂",
    "position vector": "p",
    "contextual embedding": "h",
    "contextual embeddings": "h",
    "logits": "z",
    "loss": "ℓ",
    "row": "ω",
    "value": "v",
    "head output": "o",
}

_LOWERED = str.maketrans("-0123456789", "₋₀₁₂₃₄₅₆₇₈₉")
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def name(
    term: Term, notation: Notation, *, t: int | None = None, n: int | None = None, last: int | None = None
) -> str:
    """Name a term in plain words or with the lecture's symbol.

    Args:
        term: what is named.
        notation: "names" or "symbols".
        t: time, from 0: the subscript.
        n: number of the sample, from 1: the superscript in brackets.
        last: greatest time of "inputs" or "targets"; None leaves it open.

    Returns:
        For instance "token 3 of row 2" or "ω⁽²⁾₃".
    """
    if term not in get_args(Term):
        raise ValueError(f"there is no term {term!r}: use one of {', '.join(get_args(Term))}")
    first = int(term == "targets")
    if notation == "names":
        if term == "row":
            return f"row {n}"
        if last is not None:
            return f"tokens {first} to {last}" if last > first else f"token {last}"
        return term + ("" if t is None else f" {t}") + ("" if n is None else f" of row {n}")
    sample = "" if n is None else f"⁽{raised(n)}⁾"
    if term in {"inputs", "targets"}:
        end = "…" if last is None else f"… ω{sample}{lowered(last)}" if last > first else ""
        return f"ω{sample}{lowered(first)} {end}".strip()
    return SYMBOLS[term] + sample + ("" if t is None else lowered(t))


def lowered(number: int) -> str:
    """A whole number as a subscript: 12 -> "₁₂"."""
    return str(number).translate(_LOWERED)


def raised(number: int) -> str:
    """A whole number from 0 as a superscript: 12 -> "¹²"."""
    return str(number).translate(_RAISED)
