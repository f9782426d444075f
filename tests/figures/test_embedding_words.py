"""Sentences of the page of embeddings and positions: every number in them is one that was given."""

import pytest

from decoder.figures import embedding_words as words
from decoder.figures.embedding_words import TrainedPositions
from decoder.model.embeddings import Difference
from decoder.training.matching import Matches, Tally

SAME, MOVED, EQUAL = Difference(0, 0.5, 0.25), Difference(0, 0.5, 0.5), Difference(0, 0, 0)


def test_the_shape_is_spelled_out():
    said = words.shape_sentence(16, 9, 64)
    assert said.startswith("16 rows of 9 tokens are 144 ids")
    assert "144 · 64 = 9,216 numbers" in said


def test_a_vector_is_compared_with_that_of_another_cell_if_there_is_one():
    said = words.vector_sentence("me", 11, "x⁽¹⁾₃", "x⁽²⁾₆", SAME, 2)
    assert "x⁽¹⁾₃ is “me”: its vector is row 11" in said
    assert "2 other cells of the batch hold the same id, x⁽²⁾₆ for instance" in said
    assert "exactly 0 before positions are added, and 0.25 afterwards" in said
    assert "1 other cell of the batch holds" in words.vector_sentence("me", 11, "a", "b", SAME, 1)
    assert "No other cell" in words.vector_sentence("me", 11, "x", None, None, 0)


def test_the_last_token_of_a_padded_row_is_said_to_be_read_and_not_to_count():
    said = words.padded_sentence(1, 6, "</s>")
    assert said.startswith("Row 1 has 6 tokens and is filled up with <pad>.")
    assert "“</s>”, is an input here too, but its target is a pad and does not count" in said
    assert said.endswith("its first 5 tokens as inputs.")
    assert words.padded_sentence(3, 2, "b").endswith("its first 1 token as input.")


def test_what_a_token_may_read_is_said_with_and_without_a_mask():
    assert "itself and those before it" in words.layers_sentence(causal=True)
    unmasked = words.layers_sentence(causal=False)
    assert "has no causal mask, these are all tokens" in unmasked
    assert "before it" not in unmasked


def test_a_difference_is_called_exactly_zero_only_if_it_is():
    assert [words.exactly(value) for value in (0.0, 1e-9, 0.25)] == ["exactly 0", "1.00·10⁻⁹", "0.25"]


def test_a_prediction_is_an_id():
    said = words.predicted_sentence(["<s>", "IBM"], "taught", 8, symbol="the prediction ω̂₂", vocab_size=35)
    assert (
        "After “<s> IBM” the largest of 35 logits is that of “taught”, so the prediction ω̂₂ is the id 8"
        in said
    )
    assert "After “… " in words.predicted_sentence(["a"] * 9, "b", 1, symbol="", vocab_size=2)


@pytest.mark.parametrize(("is_row", "claim"), [(True, "bit by bit"), (False, "differ from row 8")])
def test_a_row_is_claimed_only_where_it_was_found(is_row, claim):
    said = words.row_sentence("taught", 8, 64, symbol="x̂₂", is_row=is_row, own_pick=False)
    assert claim in said
    assert "You have picked" not in said
    assert words.row_sentence("taught", 8, 64, symbol="x̂₂", is_row=is_row, own_pick=True).startswith(
        "You have picked “taught” in its place."
    )


def test_the_sum_is_spelled_out_with_its_sign():
    said = words.sum_sentence("me", 3, 0.25, 0.5, 0.75, has_positions=True)
    assert "0.25 + 0.5 = 0.75" in said
    assert "0.25 − 0.5 = −0.25" in words.sum_sentence("me", 3, 0.25, -0.5, -0.25, has_positions=True)
    assert "p is 0 everywhere" in words.sum_sentence("me", 3, 0.25, 0, 0.25, has_positions=False)


def test_what_tells_two_equal_tokens_apart_is_what_differs():
    said = words.twice_sentence("me", 3, 6, MOVED)
    assert "“me” at t = 3 and at t = 6, 3 steps apart" in said
    assert (
        "embedding x exactly 0, position vector p 0.5, sum x + p 0.5. Only thanks to the position vector p"
        in said
    )
    assert "Nothing tells the two apart" in words.twice_sentence("me", 3, 4, EQUAL)
    assert words.twice_sentence("me", 3, 4, Difference(1, 1, 1)).endswith("x + p 1.")
    plain = words.twice_sentence("me", 3, 6, MOVED, words.called("names"))
    assert (
        "embedding exactly 0, position vector 0.5, sum 0.5. Only thanks to the position vector are" in plain
    )
    assert words.called("symbols") == words.SYMBOLS


def trained(kind, different, repeated):
    return TrainedPositions(kind, 500, 0.1, Matches(Tally(different, 10), Tally(repeated, 30)))


def test_what_breaks_without_positions_is_said_from_the_numbers_only():
    said = words.positions_sentence(
        [trained("learned", 10, 30), trained("sinusoidal", 10, 29), trained("none", 8, 6)]
    )
    assert "Measured on 40 prompts" in said
    assert "100 % with learned positions (500 updates)" in said
    assert "35 % with no positions" in said
    assert "6 of the 30 prompts in which a letter comes twice, and 8 of the 10" in said
    assert "fails more often where letters are equal" in said


def test_nothing_breaks_where_nothing_broke():
    assert "did no harm" in words.positions_sentence([trained("learned", 5, 5), trained("none", 5, 5)])
    assert "equal" not in words.positions_sentence([trained("learned", 10, 30), trained("none", 2, 6)])
    assert "Without" not in words.positions_sentence([trained("learned", 10, 30)])
    assert "Without" not in words.positions_sentence([trained("none", 10, 30)])


def test_order_is_called_unseen_only_below_rounding():
    assert "cannot tell the two orders apart" in words.order_sentence(4e-7, 1, "none", 1e-4)
    assert "rounding" in words.order_sentence(4e-7, 1, "none", 1e-4)
    unmoved = words.order_sentence(0, 1, "none", 1e-4)
    assert "do not change at all" in unmoved
    assert "cannot tell" in unmoved
    assert "rounding" not in unmoved
    said = words.order_sentence(0.35, 2, "none", 1e-4)
    assert said.startswith("2 layers, no positions: ")
    assert "up to 0.35" in said
    assert "mask gives order away" in said
    assert "positions tell the orders apart" in words.order_sentence(0.4, 1, "sinusoidal", 1e-4)
