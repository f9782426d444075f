"""Names and symbols: the lecture's indices, written in plain text."""

import pytest

from decoder.figures.symbols import SYMBOLS, lowered, name, raised


@pytest.mark.parametrize(
    ("term", "indices", "plain", "symbol"),
    [
        ("token", {"t": 3}, "token 3", "ω₃"),
        ("token", {"t": 3, "n": 2}, "token 3 of row 2", "ω⁽²⁾₃"),
        ("token", {"t": 10, "n": 12}, "token 10 of row 12", "ω⁽¹²⁾₁₀"),
        ("prediction", {"t": 1}, "prediction 1", "ω̂₁"),
        ("logits", {"t": 5}, "logits 5", "z₅"),
        ("row", {"n": 4}, "row 4", "ω⁽⁴⁾"),
        ("inputs", {"last": 4}, "tokens 0 to 4", "ω₀ … ω₄"),
        ("targets", {"last": 5}, "tokens 1 to 5", "ω₁ … ω₅"),
        ("targets", {"last": 1}, "token 1", "ω₁"),
        ("inputs", {"last": 0}, "token 0", "ω₀"),
        ("targets", {}, "targets", "ω₁ …"),
        ("loss", {}, "loss", "ℓ"),
        ("value", {"t": 2}, "value 2", "v₂"),
        ("head output", {"t": 3}, "head output 3", "o₃"),
        ("contextual embeddings", {}, "contextual embeddings", "h"),
    ],
)
def test_a_term_has_a_plain_name_and_a_symbol(term, indices, plain, symbol):
    assert name(term, "names", **indices) == plain
    assert name(term, "symbols", **indices) == symbol


def test_an_unknown_term_is_refused():
    with pytest.raises(ValueError, match="there is no term 'omega'"):
        name("omega", "names")


def test_every_digit_has_its_small_form():
    assert lowered(1234567890) == "₁₂₃₄₅₆₇₈₉₀"
    assert lowered(-1) == "₋₁"
    assert raised(1234567890) == "¹²³⁴⁵⁶⁷⁸⁹⁰"


def test_hats_mark_what_is_estimated():
    assert {term for term, symbol in SYMBOLS.items() if "\u0302" in symbol} == {
        "prediction",
        "predicted embedding",
    }
