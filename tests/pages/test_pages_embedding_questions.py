"""Questions about embeddings and positions: right is what was computed, and wrong answers get the reason that fits them."""

import pytest

from decoder.model.embeddings import Difference
from pages.ui import embedding_questions as questions


def test_the_number_of_numbers():
    question = questions.how_many_numbers(16, 9, 64)
    assert question.is_right(9216)
    assert "number of ids" in question.wrong(144)
    assert "144 ids" in question.wrong(7)


@pytest.mark.parametrize(("difference", "right"), [(0.0, "yes, exactly"), (1e-9, "no")])
def test_equal_vectors_are_what_the_difference_says(difference, right):
    question = questions.are_twins_equal("me", "ω₁", "ω₂", Difference(difference, 0, 0))
    assert question.right == right
    assert question.right in question.options
    assert ("one row per id" in question.wrong("x")) == (difference == 0)


def test_as_many_vectors_as_there_are_different_rows():
    question = questions.how_many_vectors(35, 64, 34)
    assert question.is_right(34)
    assert "how many numbers one vector has" in question.wrong(64)
    assert "the whole table" in question.wrong(35 * 64)
    assert "count the rows" in question.wrong(1)


def test_logits_come_out():
    question = questions.what_comes_out(35, 64)
    assert question.right == "35 logits, one per token"
    assert "looked up afterwards" in question.wrong("the vector x̂, 64 numbers")
    assert "place of the largest" in question.wrong("one number, the id")


@pytest.mark.parametrize(
    ("found", "right"),
    [
        (Difference(0, 1, 1), "p and x + p"),
        (Difference(0, 0, 0), "none of them"),
        (Difference(1, 1, 1), "all three"),
    ],
)
def test_what_differs_is_what_was_found_to_differ(found, right):
    question = questions.what_differs("me", 2, 4, found)
    assert question.right == right
    assert right in question.options
    assert ("the id is the same" in question.wrong("x only")) == (found.embedding == 0)
    hint = "the times differ" if found.position else "no positions"
    assert hint in question.wrong("p only")


@pytest.mark.parametrize(("layers", "change"), [(1, 5e-7), (2, 0.35), (2, 1e-6), (1, 0.2), (1, 0.0)])
def test_whether_order_matters_is_decided_by_the_change(layers, change):
    question = questions.does_order_matter(layers, change, 1e-4)
    assert question.right == ("yes" if change > 1e-4 else "no, at most by rounding")
    assert question.text.startswith("One layer," if layers == 1 else "Two layers,")
    assert ("which is rounding" in question.reason) == (0 < change < 1e-4)
    assert ("do not change in a single bit" in question.reason) == (change == 0)
    assert ("Under the mask" in question.wrong("")) == (change > 1e-4)
