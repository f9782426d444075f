"""The check questions about embeddings and positions, made from what the page shows: no answer is written down here."""

from __future__ import annotations

from decoder.figures.embedding_words import called, exactly
from decoder.figures.matrices import visible
from decoder.figures.words import number
from decoder.model.embeddings import Difference
from pages.ui import notation
from pages.ui.checks import Question

YES, BY_ROUNDING = "yes", "no, at most by rounding"
EQUAL, DIFFERENT = "yes, exactly", "no"


def _size(symbol: str, value: int) -> str:
    """Write "V = 35", or in plain names the number alone."""
    return f"{symbol} = {value:,}" if notation.chosen() == "symbols" else f"{value:,}"


def how_many_numbers(rows: int, length: int, width: int) -> Question:
    """C13: how many numbers does a batch become?"""
    total = rows * length * width
    return Question(
        f"In training this decoder reads {rows} rows of {length} positions at once, each a vector of width "
        f"{_size('d', width)}. How many numbers is that?",
        total,
        f"{rows} · {length} · {width} = {total:,}.",
        lambda given: (
            f"{given:,} is the number of ids. Each of them becomes {width} numbers."
            if given == rows * length
            else f"Rows times positions are {rows * length:,} ids; each becomes {width} numbers."
        ),
        kind="number",
    )


def are_twins_equal(token: str, one: str, other: str, found: Difference) -> Question:
    """C13: have two cells with the same id equal vectors, before positions are added?"""
    right = EQUAL if found.embedding == 0 else DIFFERENT
    return Question(
        f"{one} and {other} are both “{visible(token)}”. Are their vectors equal before positions are added?",
        right,
        f"Compared number by number just now: the greatest difference is {exactly(found.embedding)}.",
        lambda _: (
            "Both ids are the same number, and the table has one row per id."
            if right == EQUAL
            else f"The greatest difference is {number(found.embedding)}."
        ),
        options=[EQUAL, DIFFERENT],
    )


def how_many_vectors(vocab_size: int, width: int, distinct: int) -> Question:
    """C3: how many different vectors can x̂ be? `distinct` rows of the table differ, counted."""
    x_hat = f" {notation.name('predicted embedding')}" if notation.chosen() == "symbols" else ""
    return Question(
        f"The vocabulary has {_size('V', vocab_size)} tokens, a vector {_size('d', width)} numbers. How many different "
        f"vectors can the embedding{x_hat} of a predicted token be?",
        distinct,
        f"It is a row of a table with {vocab_size:,} rows; {distinct:,} of them are different, counted just now.",
        lambda given: (
            f"{given:,} is how many numbers one vector has. Which vectors are there to choose from?"
            if given == width
            else f"{given:,} is how many numbers the whole table has."
            if given == vocab_size * width
            else "It is looked up, never computed: count the rows of the table."
        ),
        kind="number",
    )


def what_comes_out(outputs: int, width: int) -> Question:
    """C3: what does the decoder output at a position? `outputs` numbers came out, counted."""
    x_hat = "the vector x̂" if notation.chosen() == "symbols" else "the embedding of the prediction"
    logits, vector, one = (
        f"{outputs:,} logits, one per token",
        f"{x_hat}, {width} numbers",
        "one number, the id",
    )
    return Question(
        "What does the decoder itself put out at a position?",
        logits,
        f"{outputs:,} logits came out just now. The largest one is found, its id is looked up, and only that gives {x_hat}.",
        lambda given: (
            f"{x_hat.capitalize()} is looked up afterwards, in the same table as any other token's vector."
            if given == vector
            else "The id is found from what the decoder puts out: it is the place of the largest number."
        ),
        options=[vector, logits, one],
    )


def what_differs(token: str, t: int, other: int, found: Difference) -> Question:
    """C8: one token at two positions: which of x, p and x + p differ?"""
    names = called(notation.chosen())
    x, p, total = ("x", "p", "x + p") if notation.chosen() == "symbols" else names
    sets = {
        (True, False, False): f"{x} only",
        (False, True, False): f"{p} only",
        (False, True, True): f"{p} and {total}",
        (True, True, True): "all three",
        (False, False, False): "none of them",
    }
    found_to_differ = found.embedding != 0, found.position != 0, found.total != 0
    right = sets.get(found_to_differ, f"{x} and {total}" if found_to_differ[0] else f"{total} only")
    return Question(
        f"Suppose “{visible(token)}” stood at t = {t} and at t = {other}. Which of its {names.embedding}, its "
        f"{names.position} and their {names.total} would differ between the two?",
        right,
        f"Computed just now: greatest difference of the {names.embedding} {exactly(found.embedding)}, of the {names.position} "
        f"{exactly(found.position)}, of the {names.total} {exactly(found.total)}.",
        lambda given: (
            f"The {names.embedding} is looked up by the id alone, and the id is the same."
            if given in {sets[True, False, False], "all three"} and found.embedding == 0
            else f"The {names.position} is looked up by the time alone, and the times differ: then the sum differs too."
            if found.position != 0
            else f"This decoder has no positions: the {names.position} is 0 at every time."
        ),
        options=list(dict.fromkeys([*sets.values(), right])),
    )


def does_order_matter(n_layers: int, change: float, rounding: float) -> Question:
    """C8: positions off, all tokens before the last one shuffled: do the last logits change?

    Args:
        n_layers: of the decoder.
        change: greatest change of a logit, computed.
        rounding: what is smaller comes from rounding.
    """
    right = BY_ROUNDING if change < rounding else YES
    layers = "One layer" if n_layers == 1 else "Two layers" if n_layers == 2 else f"{n_layers} layers"
    measured = f"they change by {number(change)}" if change else "they do not change in a single bit"
    return Question(
        f"{layers}, positions off: all tokens before the last one are shuffled. Do the logits after the last token change?",
        right,
        f"Tried just now: {measured}"
        + (
            f"{', which is rounding' if change else ''}: the last token sums over all others, whatever their order."
            if right == BY_ROUNDING
            else ": a second layer reads what the first has mixed under the mask, and that depends on the order."
        ),
        lambda _: (
            "The last token looks at all others at once; nothing in them says where they stand."
            if right == BY_ROUNDING
            else "Under the mask a token has mixed in only those before it. Who reads that afterwards?"
        ),
        options=[YES, BY_ROUNDING],
    )
