"""What is said about lanes and steps: counts and places are those of the numbers that are given."""

from decoder.figures.training_words import fed_sentence, position_sentence
from decoder.figures.words import newest_sentence


def test_what_a_lane_is_fed_is_counted():
    assert fed_sentence("a", [1, 2, 3], [1, 2, 3], 1) == "What a is fed is the truth at all 3 positions."
    assert fed_sentence("a", [1], [1], 1) == "What a is fed is the truth at 1 position."
    assert fed_sentence("a", [1, 2, 9, 3, 8], [1, 2, 3, 3, 4], 2) == (
        "What a is fed is not the truth at 2 of the 3 positions where it could differ, first at t = 2; the targets stay "
        "the true ones."
    )


def test_the_most_surprising_position_is_named_beside_what_nobody_can_avoid():
    sentence = position_sentence("a", ["x", "y", "z"], [None, 2.0, 1.5], [3.0, 1.9, 0.5])
    assert "most at position 2 (here “y”), by 2 nats on average; at least 1.9 are" in sentence
    assert sentence.endswith("at position 3: 1.5 in place of 0.5.")
    assert position_sentence("a", ["x", "y"], [0.25, 0.5], ()) == (
        "a is surprised most at position 2 (here “y”), by 0.5 nats on average."
    )
    assert position_sentence("a", ["x"], [None], ()) == ""


def test_the_most_decided_head_and_the_mean_are_those_of_the_weights():
    sentence = newest_sentence([[0.5, 0.5, 0.0], [0.1, 0.3, 0.6]], ["L0 H0", "L0 H1"], ["0 a", "1 b", "2 c"])
    assert sentence == (
        "The most decided of 2 heads is L0 H1: it gives 2 c a weight of 0.6. On average over all heads 1 b gets most, 0.4."
    )
