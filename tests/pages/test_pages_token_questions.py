"""Wrong answers get the reason that fits them."""

import pytest

from pages.ui import token_questions as questions
from pages.ui.grid import Place

TOKENS = ["<s>", "IBM", "taught", "me", "GPT", "</s>"]


@pytest.mark.parametrize(
    ("chosen", "reason"),
    [
        ((3, 2), "row and time have changed places"),
        ((2, 2), "the 4th cell"),
        ((3, 3), "samples are counted from 1"),
        ((1, 5), "the number in brackets is the row"),
    ],
)
def test_a_wrong_cell_is_told_what_went_wrong(chosen, reason):
    row, time = chosen
    question = questions.click_token(2, 3, Place(row - 1, time), "me")
    assert not question.is_right(question.chosen)
    said = question.wrong(question.chosen)
    assert reason in said
    assert f"You have chosen ω⁽{'⁰¹²³'[row]}⁾{'₀₁₂₃₄₅'[time]}" in said


def test_the_right_cell_is_right_and_none_is_no_answer():
    assert questions.click_token(2, 3, Place(1, 3), "me").is_right((2, 3))
    assert questions.click_token(2, 3, None, "me").chosen is None


def test_the_token_asked_for_is_the_one_at_that_time():
    question = questions.which_token(TOKENS, [1, 3, 8, 11, 15, 2])
    assert question.right == TOKENS[3]
    assert set(question.options) == set(TOKENS)
    assert "At t = 3 stands “me”, id 11, the 4th token" in question.reason
    assert "t = 1;" in question.wrong("IBM")


@pytest.mark.parametrize(
    ("start", "shifted", "right"), [(True, TOKENS[1:], "GPT"), (False, ["<pad>", *TOKENS], "taught")]
)
def test_switching_the_start_token_moves_every_other_token_by_one(start, shifted, right):
    question = questions.which_token_if_shifted(TOKENS, shifted, start=start)
    assert question.right == right
    assert "moves every other token by 1 place" in question.wrong("me")
    assert "exactly 1 place" in question.wrong("IBM")


def test_a_short_row_is_asked_about_its_last_token():
    assert questions.which_token(["a", "b"], [3, 4]).right == "b"
    assert questions.which_token_if_shifted(["a", "b"], ["b"], start=True).right == "b"


@pytest.mark.parametrize(
    ("start", "end", "case"),
    [
        (True, True, "with both"),
        (False, False, "without <s> and without </s>"),
        (True, False, "without </s>"),
    ],
)
def test_the_number_of_targets_is_asked_for_a_named_case(start, end, case):
    question = questions.how_many_targets(4, 3 + start + end, start=start, end=end, now=9)
    assert case in question.text
    assert "as the switches stand now" in question.wrong(9)
    assert "number of tokens" in question.wrong(4 + start + end)
    assert "leave out the first" in question.wrong(77)
    assert question.text.startswith("How many targets has this sentence of 4 words")


def test_letters_and_numbers_are_not_called_words():
    question = questions.how_many_targets(14, 14, start=True, end=False, now=15, kinds=["word", "letter"])
    assert "this sentence of 14 words and letters with <s>" in question.text


def test_targets_are_compared_word_by_word():
    question = questions.what_targets("a b c", "b c d", "d", 3)
    assert question.is_right(" b  c d ")
    assert "the inputs themselves" in question.wrong("a b c")
    assert "3 targets in all" in question.wrong("b")


def test_no_change_is_the_measured_change():
    question = questions.how_much_change(0, 1, 0.0, 5.5)
    assert question.is_right(0.0)
    assert not question.is_right(0.001)
    assert "up to 5.5" in question.reason
