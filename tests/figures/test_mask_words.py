"""Sentences about the mask: each is true of the numbers that it is made from."""

import math

import pytest

from decoder.figures import mask_words as words
from decoder.inference.prefixes import Comparison
from decoder.model.masking import Leak


def mask_sentence(T=5, open_future=0, closed_past=0, *, trained_masked=True):
    return words.mask_sentence(
        T, open_future=open_future, closed_past=closed_past, trained_masked=trained_masked, layer=1, head=2
    )


def test_cells_of_the_mask_are_counted():
    assert "5 tokens make 25 pairs. 10 of them, those above the diagonal, would let" in mask_sentence()
    assert "2 tokens make 4 pairs. 1 of them, the one above the diagonal, would let a token look ahead; " in (
        mask_sentence(T=2)
    )
    assert "the mask sets its score to −∞, and e^−∞ is exactly 0. The other 3 are open." in mask_sentence(T=2)
    assert "The other 15 are open" in mask_sentence()
    assert "1 token makes 1 pair. The token looks at itself" in mask_sentence(T=1)
    assert "all of them are open" in mask_sentence(open_future=10)
    edited = mask_sentence(open_future=1, closed_past=2)
    assert "1 cell of the future is open and 2 cells of the past or present are closed" in edited
    assert mask_sentence(trained_masked=False).startswith("This decoder was trained without the mask.")


@pytest.mark.parametrize(
    ("places", "said"),
    [([0], "x0"), ([0, 1], "x0 and x1"), ([0, 2, 3], "x0, x2 and x3"), ([0, 1, 2, 3], "x0 … x3")],
)  # fmt: skip
def test_places_are_named_and_a_long_run_is_shortened(places, said):
    assert words.spelled(places, "x{}".format) == said


def test_a_line_of_the_walk_says_who_predicts_what():
    line = words.walk_line("x₀", "ω₁", ("IBM", 0.25), ("NASA", 0.125), alone=True)
    assert (
        line
        == "x₀ alone predicts ω₁: “IBM” is most likely, with 25 %; “NASA”, which really follows, gets 12 %."
    )
    line = words.walk_line("x₀ and x₁", "ω₂", ("me", 0.5), ("me", 0.5), alone=False)
    assert line == "x₀ and x₁ predict ω₂: “me” is most likely, with 50 %, and it really follows."
    assert words.walk_line("x₀", "ω₁", ("me", 1.0), None, alone=True).endswith(
        "100 %. Here the text ends: nothing follows that this could be compared with."
    )


@pytest.mark.parametrize("way", words.WAY_NAMES)
def test_a_leak_is_told_with_its_numbers(way):
    leak = Leak(closed_share=0.25, sums=(0.5, 1.0), moved=0.0625, by=1, tried=2)
    said = words.leak_sentence(way, leak, -10, ("GPT", "chess", "melody"), "GPT", above=False)
    assert "25 %" in said
    assert "The last token “GPT” was replaced by each of the 2 other tokens: results" in said
    assert said.endswith("moved by up to 0.0625, most with “chess” in its place.")
    assert ("0.500 … 1.000 instead of 1" in said) == (way == "zero after")


def test_nothing_leaks_is_said_exactly():
    texts = ("GPT", "chess", "melody", "harmony")
    leak = Leak(0.0, (1.0, 1.0), 0.0, None, 2)
    said = words.leak_sentence("minus infinity", leak, -10, texts, "GPT", above=False)
    assert "0 % of all weight" in said
    assert said.endswith(
        "replaced by 2 of the 3 other tokens, and no result of an earlier row moved: the change is exactly 0."
    )
    leak = Leak(4.5e-5, (1.0, 1.0), 1e-5, 2, 3)
    small = words.leak_sentence("finite number", leak, -10, texts, "GPT", above=True)
    assert "e^−10 is 4.54·10⁻⁵, not 0" in small
    assert "4.50·10⁻⁵ of all weight" in small
    assert small.endswith("although all layers below are masked rightly.")
    assert "type a longer sentence" in words.leak_sentence(
        "no mask", Leak(0, (1.0,), 0), -1, texts, "a", above=False
    )


def test_a_row_of_scores_is_told_with_its_weights_and_its_leak():
    said = words.row_sentence([1, 1, 0, 0], [0.5, 0.5, 0, 0], 2, None)
    assert said == (
        "2 of 4 cells are open. Each exponential, divided by their sum 2, is a weight: 0.5, 0.5, 0 and 0. "
        "e^−∞ is exactly 0, so nothing leaks to the closed cells."
    )
    said = words.row_sentence([1, 1, 1, 0.5], [0.3, 0.3, 0.3, 0.1], 3, -2)
    assert said.endswith("e^−2 is 0.1353, not 0: 10 % of the weight leaks to the closed cell.")
    assert words.row_sentence([1, 1], [0.5, 0.5], 2, -1).endswith("Nothing is closed in this row.")
    assert "1 of 2 cells is open. Its exponential is divided by itself" in words.row_sentence(
        [3, 0], [1, 0], 1, None
    )
    almost = words.row_sentence([1e9, 1], [1 - 1e-9, 1e-9], 1, -1)
    assert "a weight: more than 0.9999 and 1.00·10⁻⁹" in almost, "what is not exactly 1 is not written so"


def test_it_is_said_which_columns_the_four_scores_are_from():
    digits = ": the fields show three decimals, the weights are computed with all digits."
    assert words.own_scores_sentence(2, 5, 4, alike=True) == (
        f"Until you change one, they are the scores of row 2 above in columns 0 to 3{digits} Its column 4 is left out here."
    )
    said = words.own_scores_sentence(4, 6, 4, alike=False)
    assert said.endswith(
        "Its columns 4 to 5 are left out here. "
        "Other cells are open above, so the sums and the weights differ from those there."
    )
    assert f"of row 0 above in column 0, and 0 where it has no more{digits}" in (
        words.own_scores_sentence(0, 1, 4, alike=True)
    )
    assert words.own_scores_sentence(3, 4, 4, alike=True).endswith(f"in columns 0 to 3{digits}")


def test_the_table_of_a_row_has_the_sums_that_are_divided_by():
    table = words.row_table([0, 1], [0, -math.inf], [1, 0], [1, 0])
    assert table.columns == ["", "key 0", "key 1", "sum of the row"]
    assert table.rows[1:] == [["masked score", 0, -math.inf, None], ["exp", 1, 0, 1], ["weight", 1, 0, 1]]
    assert [words.row_name(row) for row in (0, 3)] == ["row 0: 1 open, 3 closed", "row 3: 4 open, 0 closed"]


def test_the_probe_is_told_from_both_sides():
    said = words.probe_sentence([0, 0, 0.5, 0.25], [1, 2, 3, 4], 2, "me", "you")
    assert "the 2 outputs before it change by exactly 0, those from position 2 on by up to 0.5" in said
    assert said.endswith("by up to 2.")
    assert "nothing changes" in words.probe_sentence([0], [0], 0, "me", "me")
    assert "every output may move" in words.probe_sentence([1, 1], [1, 1], 0, "me", "you")


def test_both_times_and_both_differences_are_told():
    masked, unmasked = Comparison((0.0, 1e-6), 0.012, 0.003), Comparison((5.0, 1e-6), 0.012, 0.003)
    said = words.parallel_sentence(masked, unmasked)
    assert said.startswith(
        "2 passes over growing prefixes took 12 ms, one masked pass over the whole sentence 3 ms: 4.0 times"
    )
    assert "1.00·10⁻⁶ at most" in said
    assert "up to 5:" in said
    same = words.parallel_sentence(Comparison((0.0, 0.0), 0.012, 0.003), unmasked)
    assert "Their logits do not differ at all: the difference is exactly 0. Without" in same
    assert [words.counted_passes(count) for count in (1, 5)] == [
        "1 pass over a prefix",
        "5 passes over prefixes",
    ]
    alone = Comparison((0.0,), 0.003, 0.003)
    assert words.parallel_sentence(alone, alone).startswith("A single token has one prefix, itself")


@pytest.mark.parametrize("way", words.WAY_NAMES)
def test_the_notes_of_the_matrices_name_what_was_done(way):
    scores, weights = words.way_notes(way, -5.0)
    assert ("−5" in scores) == (way == "finite number")
    assert ("× 0" in weights) == (way == "zero after")
    assert words.way_name(way, -5.0) == words.WAY_NAMES[way] + (", −5" if way == "finite number" else "")
