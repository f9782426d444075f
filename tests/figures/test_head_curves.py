"""Curves of heads as data: every measured weight, every name apart from the others, the playhead where it stands."""

import itertools

import altair as alt
import pytest

from decoder.figures.export import export
from decoder.figures.head_curves import head_curves

STEPS = [0, 5, 200]
WEIGHTS = [[0.1, 0.2, 0.1], [0.1, 0.55, 0.1], [0.15, 0.9, 0.15]]


def figure(**settings):
    settings = {"chosen": 1, "playhead": 5, "planned_steps": 200, "description": "d"} | settings
    return head_curves(STEPS, WEIGHTS, **settings)


def test_every_head_has_its_weight_at_every_step_and_the_chosen_one_stands_out():
    curves = figure().tables["curves"]
    assert [(row["head"], row["step"], row["weight"]) for row in curves] == [
        (head, step, WEIGHTS[at][head]) for head in range(3) for at, step in enumerate(STEPS)
    ]
    assert {row["head"] for row in curves if row["thickness"] > 2} == {1}
    assert len({(row["color"], row["thickness"]) for row in curves}) == 2


def test_names_stand_at_the_ends_and_keep_apart():
    names = figure(height=200).tables["names"]
    assert [row["name"] for row in names] == ["head 0", "head 1", "head 2"]
    places = sorted(200 * row["weight"] - row["dy"] for row in names)
    assert all(upper - lower >= 16 - 1e-9 for lower, upper in itertools.pairwise(places))


def test_the_playhead_and_one_half_are_marked():
    sets = figure().tables
    assert sets["playhead"] == [{"step": 5}]
    assert sets["half"] == [{"step": 0, "planned": 200, "weight": 0.5}]


@pytest.mark.parametrize("appearance", ["light", "dark"])
def test_the_figure_is_valid_and_can_be_drawn(appearance):
    chart = figure(appearance=appearance)
    alt.LayerChart.from_dict(chart.to_dict())
    drawn = export(chart, "svg", appearance)
    assert b"head 1" in drawn
    assert b"stroke-dasharray" in drawn


def test_a_single_untrained_decoder_is_a_picture_too():
    assert export(head_curves([0], [[0.5]], chosen=0, playhead=0, planned_steps=1, description="d"), "svg")


@pytest.mark.parametrize("steps", [[], [0, 5]])
def test_weights_that_are_not_one_row_per_step_are_refused(steps):
    with pytest.raises(ValueError, match="give one per step"):
        head_curves(steps, WEIGHTS, chosen=0, playhead=0, planned_steps=200, description="d")
