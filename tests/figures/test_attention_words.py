"""Sentences about attention: each is true of the numbers that it is made from."""

import pytest

from decoder.figures import attention_words as words

LABELS = ["0 <s>", "1 fox", "2 ate", "3 the", "4 fox"]


def test_the_needed_token_is_named_with_its_weight():
    said = words.needed_sentence(LABELS, [1], 0.75, (3, 15), has_grammar=True, fits=True)
    assert said == (
        "By the grammar the next token depends on 1 fox (◆), which leaves 3 of the 15 tokens that can stand there. "
        "This head puts 0.75 of its weight there."
    )
    said = words.needed_sentence(LABELS, [1, 4], 0.75, (1, 8), has_grammar=True, fits=True)
    assert "depends on 1 fox and 4 fox (◆), which leave 1 of the 8 tokens" in said
    assert "0.75 of its weight on them together" in said
    assert "depends on no earlier one" in words.needed_sentence(LABELS, [], 0.0, has_grammar=True, fits=True)
    assert "has no grammar" in words.needed_sentence(LABELS, [], 0.0, has_grammar=False, fits=False)
    assert "No sentence of this corpus begins so" in words.needed_sentence(
        LABELS, [], 0.0, has_grammar=True, fits=False
    )


@pytest.mark.parametrize(
    ("difference", "said"),
    [
        (0.0, "by exactly 0."),
        (2.5e-8, "by at most 2.50·10⁻⁸, which is rounding."),
        (0.25, "by at most 0.25."),
    ],
)
def test_a_difference_is_called_rounding_only_if_it_is(difference, said):
    assert words.mixture_sentence("2 ate", "o₂", 3, 16, difference).endswith(said)
    assert words.stages_sentence(0, 2, 4, 16, (0.5, difference)).startswith("4 heads of 16 numbers")
    assert said in words.stages_sentence(0, 2, 4, 16, (0.5, difference))


def test_the_output_is_said_to_be_a_sum_of_as_many_values_as_are_open():
    assert "the sum of 3 values, each multiplied" in words.mixture_sentence("2 ate", "o₂", 3, 16, 0.0)
    assert "the only value that is open to it" in words.mixture_sentence("0 <s>", "o₀", 1, 16, 0.0)


def test_what_a_block_gives_goes_to_the_next_or_is_h():
    assert "what block 1 is given" in words.stages_sentence(0, 2, 4, 16, (0.0, 0.0))
    assert "its output is h, and" in words.stages_sentence(1, 2, 4, 16, (0.0, 0.0))
    assert "1 head of 64 numbers stands alone: 64 numbers" in words.stages_sentence(0, 2, 1, 64, (0.0, 0.0))


def test_the_length_of_what_a_block_adds_is_a_mean_only_over_several_positions():
    said = words.boxes_sentence(5, [1.5, 2.25])
    assert said.startswith(
        "Each of the 5 positions has one grey box and one red row: the box is normalised once more, and from that the output "
        "layer makes the row."
    )
    assert said.endswith(
        "has, in the mean over the positions, a length of 1.5 in block 0 and 2.25 in block 1."
    )
    assert "The one position has" in words.boxes_sentence(1, [1.5])
    assert "in the mean" not in words.boxes_sentence(1, [1.5])


def test_what_an_earlier_block_would_say_is_not_called_a_prediction():
    top = [("fox", 0.5), ("owl", 0.25)]
    assert words.top_sentence("1 a", top, 2, 2) == "At 1 a softmax(z) gives “fox” 50 % and “owl” 25 %."
    assert words.top_sentence("1 a", top, 1, 2) == (
        "At 1 a final norm and output layer, given the vectors after 1 of 2 blocks, would make “fox” 50 % and “owl” 25 %."
    )


def test_entropy_stands_beside_the_most_that_is_possible():
    said = words.entropy_sentence("2 ate", 0.5, 3)
    assert said.endswith(
        "an entropy of 0.5 nats; looking equally at all 3 open places would be ln 3 = 1.099."
    )
    assert "one open place and so no choice: its entropy is 0" in words.entropy_sentence("0 <s>", 0.0, 1)


def test_a_mean_is_told_with_the_rows_behind_it():
    assert words.most_sentence("1 fox", 0.4, 0.25, 3).endswith(
        "most at 1 fox: the 3 rows that have a choice and may look there give it 0.4 in the mean, instead of 0.25."
    )
    assert "the one row that has a choice and may look there, a single example, gives it 0.4, instead" in (
        words.most_sentence("4 fox", 0.4, 0.25, 1)
    )


def test_what_is_not_exactly_1_is_not_written_so():
    said = words.looks_sentence(LABELS, [1e-6, 1 - 1e-6], 1, 0, 2, 2)
    assert "token 1 fox looks most at 1 fox, with a weight of more than 0.9999." in said
    assert said.endswith("Hardly anything is left for the others.")
    assert words.looks_sentence(LABELS, [0.5, 0.5], 1, 0, 2, 2).endswith("over 2.0 equally strong places.")
    assert words.looks_sentence(LABELS, [1.0, 0.0], 0, 0, 2, 1).endswith(
        "can look only at itself, with a weight of 1."
    )
    said = words.needed_sentence(LABELS, [1], 1.0, (3, 15), has_grammar=True, fits=True)
    assert "puts more than 0.9999 of its weight there" in said
    assert words.share(0.5) == "0.5"


def test_a_head_that_has_not_appeared_is_not_promised():
    said = words.appeared_sentence(0, None, (2, 0.25), 200, ["5 Ada"])
    assert "not yet" in said
    assert said.endswith("After 200 updates the strongest is head 2, with 0.25.")
    said = words.appeared_sentence(1, (1_040, [3]), (3, 0.75), 2_000, ["3 fox", "15 berries"])
    assert "of its weight on 3 fox and 15 berries together is" in said
    assert "is the one after 1,040 updates: head 3." in said
    assert "the one after 20 updates: heads 0 and 3. After 40 updates the strongest is head 1" in (
        words.appeared_sentence(0, (20, [0, 3]), (1, 0.9), 40, ["1 a"])
    )
    said = words.appeared_sentence(0, (20, [1]), (1, 0.9), 40, ["1 a", "2 b"], 0.85)
    assert "puts more than 0.85 of its weight, half way from looking equally at all tokens" in said
