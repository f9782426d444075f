"""Arcs as data: every weight is there, masked tokens get a sign and no number, and any text is safe."""

import altair as alt
import pytest

from decoder.figures.arcs import MASKED, arc_rows
from decoder.figures.export import export

LABELS = ["0 <s>", "1 fox", "2 ate", "3 ."]
WEIGHTS = [0.125, 0.625, 0.25, 0.0]
CLOSED = [False, False, False, True]


def figure(labels=LABELS, **settings):
    settings = {"masked": CLOSED, "marked": [1], "mark_name": "needed"} | settings
    return arc_rows(labels, WEIGHTS, 2, **settings)


def test_every_open_token_has_its_number_and_a_masked_one_a_sign():
    rows = figure().tables["rows"]
    assert [row["words"] for row in rows] == ["0.125", "0.625", "0.250", MASKED]
    assert [row["weight"] for row in rows] == WEIGHTS
    assert [row["token"] for row in rows] == ["0 <s>", "◆ 1 fox", "▸ 2 ate", "3 ."]
    assert [row["masked"] for row in rows] == CLOSED


def test_an_arc_leads_from_the_row_to_each_other_open_token_and_is_thick_as_its_weight():
    arcs = figure().tables["arcs"]
    assert {arc["arc"] for arc in arcs} == {0, 1}
    for place in (0, 1):
        points = [arc for arc in arcs if arc["arc"] == place]
        assert points[0]["place"] == pytest.approx(2)
        assert points[-1]["place"] == pytest.approx(place)
        assert points[0]["bulge"] == pytest.approx(0) == pytest.approx(points[-1]["bulge"], abs=1e-9)
    thickness = {arc["arc"]: arc["thickness"] for arc in arcs}
    assert (thickness[1] - thickness[0]) / (WEIGHTS[1] - WEIGHTS[0]) == pytest.approx(11)
    assert all(0 <= arc["bulge"] <= 1 for arc in arcs)


def test_a_small_weight_is_not_written_as_nothing_and_a_great_one_not_as_all():
    rows = arc_rows(["a", "b"], [1e-6, 1 - 1e-6], 1, masked=[False, False]).tables["rows"]
    assert [row["words"] for row in rows] == ["< 0.001", "> 0.999"]
    rows = arc_rows(["a", "b"], [1.0, 0.0], 0, masked=[False, True]).tables["rows"]
    assert rows[0]["words"] == "1.000", "the only open place"


def test_without_a_mask_later_tokens_get_arcs_too():
    arcs = figure(masked=[False] * 4).tables["arcs"]
    assert {arc["arc"] for arc in arcs} == {0, 1, 3}
    assert figure(masked=[False] * 4).tables["rows"][3]["words"] == "0.000"


@pytest.mark.parametrize("appearance", ["light", "dark"])
def test_the_figure_is_valid_and_can_be_drawn(appearance):
    chart = figure(appearance=appearance)
    alt.LayerChart.from_dict(chart.to_dict())
    assert b"0.625" in export(chart, "svg", appearance)


def test_a_screen_reader_hears_every_number():
    assert figure().description == (
        "2 ate looks at: 0 <s>: 0.125; 1 fox, needed: 0.625; 2 ate: 0.250; 3 .: masked"
    )


@pytest.mark.parametrize("text", ["x:y", "", "=1", "<b>", "a.b[0]", "https://x"])
def test_any_text_is_safe(text):
    assert export(figure(labels=[text, "1", "2", "3"]), "svg")


@pytest.mark.parametrize("row", [-1, 4])
def test_a_row_that_is_not_there_is_refused(row):
    with pytest.raises(ValueError, match=f"row {row} looks"):
        arc_rows(LABELS, WEIGHTS, row, masked=CLOSED)


def test_numbers_that_are_not_one_per_token_are_refused():
    with pytest.raises(ValueError, match="4 tokens have 3 weights"):
        arc_rows(LABELS, WEIGHTS[:3], 0, masked=CLOSED)
