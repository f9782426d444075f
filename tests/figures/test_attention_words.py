"""Sentences about attention: each is true of the numbers that it is made from."""

import pytest

from decoder.figures import attention_words as words

LABELS = ["0 <s>", "1 fox", "2 ate", "3 the", "4 fox"]


def test_the_needed_token_is_named_with_its_weight():
    said = words.needed_sentence(LABELS, [1], 0.75, has_grammar=True, fits=True)
    assert (
        said == "By the grammar 1 fox tells what has to follow (◆). This head puts 0.75 of its weight there."
    )
    said = words.needed_sentence(LABELS, [1, 4], 0.75, has_grammar=True, fits=True)
    assert "1 fox and 4 fox tell what has to follow" in said
    assert "0.75 of its weight on them together" in said
    assert "no token is needed" in words.needed_sentence(LABELS, [], 0.0, has_grammar=True, fits=True)
    assert "has no grammar" in words.needed_sentence(LABELS, [], 0.0, has_grammar=False, fits=False)
    assert "No sentence of this corpus begins so" in words.needed_sentence(
        LABELS, [], 0.0, has_grammar=True, fits=False
    )


@pytest.mark.parametrize(
    ("difference", "said"),
    [(0.0, "at most 0."), (2.5e-8, "2.50·10⁻⁸, which is rounding."), (0.25, "at most 0.25.")],
)
def test_a_difference_is_called_rounding_only_if_it_is(difference, said):
    assert words.mixture_sentence("2 ate", "o₂", 3, 16, difference).endswith(said)
    assert words.stages_sentence(0, 2, 4, 16, (0.5, difference)).startswith("4 heads of 16 numbers")
    assert said.removeprefix("at most ") in words.stages_sentence(0, 2, 4, 16, (0.5, difference))


def test_the_output_is_said_to_be_a_sum_of_as_many_values_as_are_open():
    assert "the sum of 3 values, each multiplied" in words.mixture_sentence("2 ate", "o₂", 3, 16, 0.0)
    assert "the only value that is open to it" in words.mixture_sentence("0 <s>", "o₀", 1, 16, 0.0)


def test_what_a_block_gives_goes_to_the_next_or_is_h():
    assert "what block 1 is given" in words.stages_sentence(0, 2, 4, 16, (0.0, 0.0))
    assert "its output is h" in words.stages_sentence(1, 2, 4, 16, (0.0, 0.0))


def test_shapes_are_multiplied_out():
    said = words.boxes_sentence(5, 64, 35, [1.5, 2.25])
    assert "h is 5 × 64 = 320 numbers" in said
    assert "z is 5 × 35 = 175" in said
    assert said.endswith("the length 1.5 in block 0 and 2.25 in block 1.")


def test_what_an_earlier_block_would_say_is_not_called_a_prediction():
    top = [("fox", 0.5), ("owl", 0.25)]
    assert words.top_sentence("1 a", top, 2, 2) == "At 1 a softmax(z) gives “fox” 50 % and “owl” 25 %."
    assert "if the output layer read the vectors after 1 of 2 blocks, it would give" in words.top_sentence(
        "1 a", top, 1, 2
    )


def test_entropy_stands_beside_the_most_that_is_possible():
    said = words.entropy_sentence("2 ate", 0.5, 3, "0 <s>", 0.4, 0.25)
    assert "an entropy of 0.5 nats" in said
    assert "ln 3 = 1.099" in said
    assert said.endswith(
        "most at 0 <s>: the rows that may look there give it 0.4 in the mean, instead of 0.25."
    )


def test_a_head_that_has_not_appeared_is_not_promised():
    said = words.appeared_sentence(0, None, (2, 0.25), 200, ["5 Ada"])
    assert "not yet" in said
    assert said.endswith("After 200 updates the strongest is head 2, with 0.25.")
    said = words.appeared_sentence(1, (1_040, 3), (3, 0.75), 2_000, ["3 fox", "15 berries"])
    assert "of its weight on 3 fox and 15 berries together is" in said
    assert "is the one after 1,040 updates: head 3." in said
    said = words.appeared_sentence(0, (20, 1), (1, 0.9), 40, ["1 a", "2 b"], 0.85)
    assert "puts more than 0.85 of its weight, half way from looking equally at all tokens" in said
