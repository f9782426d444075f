"""Curves as data: fixed axes, fixed colours and dashes, bounds with their formulas, texts that keep apart."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoder.figures import style
from decoder.figures.curves import MOST_POINTS, Curve, TheoryLine, loss_curves, share_curves, spread

FLOOR = TheoryLine(0.315, "floor 0.315 = (ln 6 + ln 8 + ln 8 + ln 5) / 24: no model can do better")
PLATEAU = TheoryLine(
    0.6905, "free running from token 1: 0.691 = (ln 6 + ln 8 + ln 8 + ln 5 + ln 2 + 4 ln 8) / 24"
)


def lanes(n=200):
    steps = list(range(1, n + 1))
    return [
        Curve("teacher forcing", "teacher_forcing", steps, [0.32 + 3.7 * math.exp(-s / 20) for s in steps]),
        Curve("free running", "free_running", steps, [0.7 + 3.3 * math.exp(-s / 25) for s in steps]),
    ]


def spec(n=200, theory=(FLOOR, PLATEAU), **settings: Any) -> dict[str, Any]:
    settings = {"planned_steps": 200, "top": math.log(59), "description": "Two losses fall.", **settings}
    return loss_curves(lanes(n), theory, **settings).to_dict()


def lines(chart):
    return next(layer for layer in chart["layer"] if layer["mark"]["type"] == "line")["encoding"]


def test_the_axes_are_fixed_from_the_first_update_on():
    for n in (1, 20, 200):
        encoding = lines(spec(n))
        assert encoding["x"]["scale"]["domain"] == [0, 200]
        assert encoding["y"]["scale"]["domain"] == [0, math.log(59)]


def test_while_a_curve_grows_only_tables_change():
    def rest(n):
        return {name: part for name, part in spec(n, top=None).items() if name != "datasets"}

    assert rest(1) == rest(77) == rest(200)


def test_without_a_given_top_the_first_values_decide():
    assert (
        lines(spec(3, top=None))["y"]["scale"]["domain"] == lines(spec(200, top=None))["y"]["scale"]["domain"]
    )
    assert lines(loss_curves([], planned_steps=9, description="d").to_dict())["y"]["scale"]["domain"] == [
        0,
        0.5,
    ]


@pytest.mark.parametrize("appearance", ["light", "dark"])
def test_every_lane_keeps_its_colour_and_its_dash(appearance):
    encoding = lines(spec(appearance=appearance))
    meanings = ["teacher_forcing", "free_running"]
    assert encoding["color"]["scale"]["range"] == [style.COLORS[meaning] for meaning in meanings]
    assert encoding["strokeDash"]["scale"]["range"] == [[1, 0], list(style.DASHES["free_running"])]


def test_bounds_are_thin_dashed_and_carry_their_formula():
    chart = spec()
    rule = chart["layer"][0]["mark"]
    assert rule["strokeDash"] == list(style.THEORY_DASH)
    assert rule["strokeWidth"] == style.THEORY_WIDTH
    rows = chart["datasets"]["theory"]
    for row, line in zip(rows, (FLOOR, PLATEAU), strict=True):
        assert row["value"] == line.value
        for shape in ("wide", "narrow"):
            assert row[shape].replace("\n", " ") == line.formula
        assert max(map(len, row["narrow"].split("\n"))) <= 35


def box(row, shape, anchor):
    """Lower and upper edge of a text in pixels above 0."""
    count = row[shape].count("\n") + 1
    first = anchor - row[f"{shape}_dy"]
    return first - 16 * (count - 1) - 8, first + 8


@pytest.mark.parametrize("shape", ["wide", "narrow"])
@pytest.mark.parametrize("n", [1, 5, 30, 80, 200])
def test_names_keep_clear_of_each_other_and_formulas_of_each_other_and_of_their_lines(shape, n):
    chart, height = spec(n), 240
    feet = re.findall(r"height - (\d+)", lines(chart)["y"]["scale"]["range"][0]["expr"])
    pixels = height - int(feet[("narrow", "wide").index(shape)])
    for table in ("heads", "theory"):
        rows = chart["datasets"][table]
        boxes = sorted(box(row, shape, row["value"] / math.log(59) * pixels) for row in rows)
        assert all(above[0] >= below[1] - 0.2 for below, above in pairwise(boxes))
        assert boxes[0][0] >= pixels - height - 8
    for row in chart["datasets"]["theory"]:
        low_edge, high_edge = box(row, shape, 0)
        assert low_edge > 0 or high_edge < 0


def test_names_stand_right_of_the_axis_where_no_formula_goes():
    chart = spec()
    ranges = lines(chart)["x"]["scale"]["range"]
    assert ranges[0] == 0
    assert ranges[1]["expr"].startswith("width < 600 ? width - ")
    text = [layer for layer in chart["layer"] if layer["mark"]["type"] == "text"]
    assert {layer["data"]["name"]: layer["mark"]["align"] for layer in text} == {
        "theory": "right",
        "heads": "left",
        "turns": "left",
    }


def test_formulas_of_shares_stand_above_their_lines_where_rising_curves_do_not_go():
    steps = [0, 50, 100]
    curve = Curve("free running", "free_running", steps, [0.0, 0.1, 0.19], points=True)
    chart = share_curves(
        [curve], [TheoryLine(0.2, "1/5: by chance")], planned_steps=100, description="d"
    ).to_dict()
    assert lines(chart)["y"]["scale"]["domain"] == [0, 1]
    assert lines(chart)["y"]["axis"]["format"] == ".0%"
    assert chart["datasets"]["theory"][0]["wide_dy"] < 0
    assert chart["datasets"]["hover"][1]["value_0"] == "10 %"


def test_a_chart_says_what_it_shows():
    assert spec()["description"] == "Two losses fall."


def test_gaps_stay_gaps_and_reach_no_name():
    curve = Curve("a", "no_mask", [1, 2, 3], [1.0, math.nan, None])
    tables = loss_curves([curve], planned_steps=3, description="d").to_dict()["datasets"]
    assert [row["value"] for row in tables["curves"]] == [1.0, None, None]
    assert [row["step"] for row in tables["heads"]] == [1.0]


def test_a_curve_that_has_not_begun_has_no_name_yet():
    tables = loss_curves(
        [Curve("a", "no_mask", [], [])], [FLOOR], planned_steps=3, description="d"
    ).to_dict()["datasets"]
    assert tables["curves"] == tables["heads"] == tables["hover"] == []


def test_the_hover_says_from_which_update_an_older_value_is():
    curves = [
        Curve("training", "teacher_forcing", [1, 2, 3], [3.0, 2.0, 1.0]),
        Curve("held-out", "teacher_forcing", [2], [2.5], points=True),
    ]
    rows = loss_curves(curves, planned_steps=3, description="d").to_dict()["datasets"]["hover"]
    assert rows == [
        {"step": 1.0, "value_0": "3.000", "value_1": "–"},
        {"step": 2.0, "value_0": "2.000", "value_1": "2.500"},
        {"step": 3.0, "value_0": "1.000", "value_1": "2.500 (at 2)"},
    ]


def test_long_curves_are_thinned_the_same_way_while_they_grow():
    def drawn(n):
        curve = Curve("a", "no_mask", range(n), [1.0] * n)
        return [
            row["step"]
            for row in loss_curves([curve], planned_steps=5000, description="d").to_dict()["datasets"][
                "curves"
            ]
        ]

    assert len(drawn(5000)) <= MOST_POINTS + 2
    assert drawn(3333)[:-1] == drawn(5000)[: len(drawn(3333)) - 1]
    assert drawn(3333)[-1] == 3332


@pytest.mark.parametrize("name", ["x:y", "", "=1+1", "<b>", "image", "a[0].b"])
def test_no_name_becomes_a_field(name):
    chart = loss_curves([Curve(name, "no_mask", [1], [1.0])], planned_steps=2, description="d").to_dict()
    fields = {column for rows in chart["datasets"].values() for row in rows for column in row}
    assert not any(name == field for field in fields)
    titles = [line["title"] for line in chart["layer"][-1]["encoding"]["tooltip"]]
    assert "image" not in titles


def test_wrong_lengths_and_plans_are_refused():
    with pytest.raises(ValueError, match="2 steps and 1 values"):
        loss_curves([Curve("a", "no_mask", [1, 2], [1.0])], planned_steps=2, description="d")
    with pytest.raises(ValueError, match="planned_steps is 0"):
        loss_curves([], planned_steps=0, description="d")


@given(st.lists(st.tuples(st.floats(0, 300), st.floats(1, 60)), max_size=8))
def test_spread_boxes_never_overlap(boxes):
    wanted, sizes = [place for place, _ in boxes], [size for _, size in boxes]
    placed = sorted(zip(spread(wanted, sizes, 300), sizes, strict=True))
    for (one, half), (other, half_other) in pairwise(placed):
        assert other - one >= (half + half_other) / 2 - 1e-6
    assert all(place + size / 2 <= 300 + 1e-6 for place, size in placed)
