"""Bars as data: one slot per position, bounds as outlines, hostile tokens as values only."""

from __future__ import annotations

import math

import pytest

from decoder.figures import style
from decoder.figures.bars import OWN, SHAPED, Candidate, candidate_bars, position_bars
from decoder.figures.words import percent

HOSTILE = ["x:y", "", "=1+1", "<b>", "a\ud800b", "image", "http://x.y", "a.b[0]", " ", "\n"]
BOUNDS = [math.log(5), math.log(3), 0.0]


def positions(**settings):
    lanes = [
        ("teacher forcing", "teacher_forcing", [1.7, None, 0.02]),
        ("free running", "free_running", [1.8, 2.6, 0.0]),
    ]
    settings = {"description": "Losses.", **settings}
    return position_bars(["fox", "fox", "."], lanes, [("floor", BOUNDS), ("k = 1", [math.log(5), math.log(15), 0.0])],
                         **settings).to_dict()  # fmt: skip


def fields(chart):
    found = set()

    def walk(part):
        if isinstance(part, dict):
            found.update(value for key, value in part.items() if key == "field")
            [walk(value) for key, value in part.items() if key != "datasets"]
        elif isinstance(part, list):
            [walk(value) for value in part]

    walk(chart)
    return found | {column for rows in chart["datasets"].values() for row in rows for column in row}


def test_equal_tokens_keep_their_own_positions():
    chart = positions()
    assert chart["layer"][0]["encoding"]["x"]["scale"]["domain"] == ["1 fox", "2 fox", "3 ."]
    assert [row["position"] for row in chart["datasets"]["bars"]] == ["1 fox", "2 fox", "3 ."] * 2


def test_lanes_and_bounds_share_one_scale_of_colours_and_dashes():
    encoding = positions()["layer"][0]["encoding"]
    assert encoding["fill"]["scale"]["domain"] == ["teacher forcing", "free running", "floor", "k = 1"]
    assert encoding["fill"]["scale"]["range"][:2] == [
        style.COLORS["teacher_forcing"],
        style.COLORS["free_running"],
    ]
    assert encoding["fill"]["scale"]["range"][2:] == ["transparent", "transparent"]
    assert encoding["stroke"]["scale"]["range"][2:] == [style.LIGHT.text, style.LIGHT.text]
    assert encoding["strokeDash"]["scale"]["range"][1:3] == [
        list(style.DASHES["free_running"]),
        list(style.THEORY_DASH),
    ]


def test_a_missing_loss_has_no_bar_and_a_bound_of_zero_no_outline():
    tables = positions()["datasets"]
    assert tables["bars"][1]["loss"] is None
    assert [row["position"] for row in tables["ghosts"]] == ["1 fox", "2 fox"] * 2
    assert tables["hover"][1] == {"position": "2 fox", "loss": 3.0, "value_0": "–", "value_1": "2.600",
                                  "value_2": "1.099", "value_3": "2.708"}  # fmt: skip


def test_bounds_are_written_as_logarithms_over_the_highest_bar():
    rows = positions()["datasets"]["formulas"]
    assert [(row["formula"], row["loss"]) for row in rows] == [("ln 5", 1.8), ("ln 3, ln 15", math.log(15))]


def test_the_axis_can_be_held_while_losses_change():
    assert positions(top=4)["layer"][0]["encoding"]["y"]["scale"]["domain"] == [0, 4]


def test_dark_outlines_are_light():
    assert style.DARK.text in positions(appearance="dark")["layer"][1]["encoding"]["stroke"]["scale"]["range"]


def test_uneven_or_doubly_named_series_are_refused():
    with pytest.raises(ValueError, match="1 values and there are 2 positions"):
        position_bars(["a", "b"], [("x", "no_mask", [1.0])], description="d")
    with pytest.raises(ValueError, match="2 losses have 1 different names"):
        position_bars(["a"], [("x", "no_mask", [1.0]), ("x", "no_mask", [1.0])], description="d")


def test_hostile_tokens_are_values_never_fields():
    losses = [("lane", "teacher_forcing", [1.0] * len(HOSTILE))]
    for chart in (
        position_bars(HOSTILE, losses, description="d").to_dict(),
        candidate_bars([Candidate(token, 0.1, 0.1, picked=False) for token in HOSTILE]).to_dict(),
    ):
        assert not fields(chart) & set(HOSTILE)
        assert "\ud800" not in repr(chart)
        assert "href" not in repr(chart)
        str(chart).encode()


def candidates():
    return candidate_bars(
        [
            Candidate("fox", 0.41, 0.62, picked=True),
            Candidate("owl", 0.3, 0.38, picked=False),
            Candidate("", 0.01, 0, picked=False),
        ]
    ).to_dict()


def test_candidates_always_stand_on_an_axis_from_0_to_1():
    assert candidates()["layer"][0]["encoding"]["x"]["scale"]["domain"] == [0, 1]


def test_a_candidate_has_a_full_bar_and_an_outline():
    chart = candidates()
    assert [row["probability"] for row in chart["datasets"]["bars"][:2]] == [0.62, 0.41]
    fill, stroke = (chart["layer"][0]["encoding"][name]["scale"] for name in ("fill", "stroke"))
    assert fill == {"domain": [SHAPED, OWN], "range": [style.THEMES["light"].muted, "transparent"]}
    assert stroke["range"] == ["transparent", style.LIGHT.text]


def test_the_picked_candidate_is_marked_by_a_sign_and_a_cut_one_by_a_word():
    chart = candidates()
    assert [row["words"] for row in chart["datasets"]["lines"]] == ["62 %  ◀ picked", "38 %", "0 %, cut off"]
    assert (
        chart["description"] == "Candidates for the next token. fox 62 %  ◀ picked; owl 38 %; ∅ 0 %, cut off"
    )


@pytest.mark.parametrize(
    ("probability", "words"),
    [(0, "0 %"), (1, "100 %"), (0.93, "93 %"), (0.0412, "4.1 %"), (0.0032, "0.32 %"), (0.00001, "< 0.01 %"),
     (0.996, "99.60 %"), (0.97, "97 %"), (0.99999, "> 99.99 %"), (0.5, "50 %")],
)  # fmt: skip
def test_percentages_have_as_many_digits_as_they_can_bear(probability, words):
    assert percent(probability) == words
