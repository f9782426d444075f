"""Bars of change as data: every number is there, exactly 0 is written as 0, and any text is safe."""

import altair as alt
import pytest

from decoder.figures.changes import change_bars
from decoder.figures.export import export

SERIES = [("with the mask", "teacher_forcing", [0.0, 0.0, 1.25]), ("without", "no_mask", [0.5, 2.0, 1e-7])]


def figure(**settings):
    return change_bars(["0 a → z₁", "1 b → z₂", "2 c → z₃"], SERIES, **settings)


def test_every_output_has_a_bar_and_a_number_per_series():
    rows = figure().datasets["rows"]
    assert [(row["place"], row["series"], row["change"]) for row in rows] == [
        (place, name, changes[place]) for place in range(3) for name, _, changes in SERIES
    ]
    assert [row["words"] for row in rows] == ["0", "0.5", "0", "2", "1.25", "1.00·10⁻⁷"]


@pytest.mark.parametrize("appearance", ["light", "dark"])
def test_the_figure_is_valid_and_can_be_drawn(appearance):
    alt.LayerChart.from_dict(figure(appearance=appearance).to_dict())
    assert b"1.00" in export(figure(appearance=appearance), "svg", appearance)


def test_a_screen_reader_hears_every_number():
    assert "1 b → z₂, without: 2" in figure().description


def test_nothing_moved_is_still_a_picture():
    assert change_bars(["x"], [("a", "no_mask", [0.0])]).to_dict()["layer"][0]["encoding"]["x"]["scale"][
        "domain"
    ] == [0, 1]


@pytest.mark.parametrize("text", ["x:y", "", "=1", "<b>", "a.b[0]", "https://x"])
def test_any_text_is_a_value_and_never_a_field(text):
    assert export(change_bars([text], [(text, "no_mask", [1.0])]), "svg")


def test_a_series_has_one_change_per_output():
    with pytest.raises(ValueError, match="2 changes and there are 1 outputs"):
        change_bars(["x"], [("a", "no_mask", [0.0, 1.0])])
