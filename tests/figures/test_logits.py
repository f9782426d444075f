"""Logit bars as data, and as files that can be taken away."""

import json
import re
import struct
from xml.etree import ElementTree as ET

import altair as alt
import pytest

from decoder.figures import style
from decoder.figures.export import PNG_SCALE, export
from decoder.figures.logits import LogitBar, logit_bars

BARS = [LogitBar("me", 7.25, 0.6), LogitBar("you", 5.0, 0.2, target=True), LogitBar("x", -2.0, 0.001)]
HOSTILE = ["=1+1", "<b>", "</script><script>x", "a.b[0]", "", "\n", "x:y", "http://x/y.png", "datum.x"]


def test_every_bar_is_the_logit_that_was_given():
    figure = logit_bars(BARS)
    rows = figure.datasets["rows"]
    assert [row["logit"] for row in rows] == [7.25, 5.0, -2.0]
    assert [row["target"] for row in rows] == [False, True, False]
    assert [row["words"] for row in rows] == ["7.25 · 60 %", "5 · 20 % ← target", "−2 · 0.10 %"]
    assert "you 5 · 20 % ← target" in figure.description


def test_logits_are_red_and_zero_is_on_the_axis():
    spec = logit_bars(BARS).to_dict()
    bar = spec["layer"][0]
    assert bar["mark"]["color"] == style.COLORS["logits"]
    assert bar["encoding"]["x"]["scale"]["domain"] == [-2.0, 7.25]
    assert logit_bars(BARS[:2]).to_dict()["layer"][0]["encoding"]["x"]["scale"]["domain"] == [0.0, 7.25]
    assert logit_bars(BARS[2:]).to_dict()["layer"][0]["encoding"]["x"]["scale"]["domain"] == [-2.0, 1e-6]


@pytest.mark.parametrize("appearance", ["light", "dark"])
@pytest.mark.parametrize("text", HOSTILE)
def test_any_token_can_be_drawn(text, appearance):
    figure = logit_bars([LogitBar(text, 1.0, 0.5, target=True)], appearance=appearance)
    alt.LayerChart.from_dict(figure.to_dict())


def test_a_picture_is_drawn_without_a_browser():
    (width, height) = struct.unpack(">II", export(logit_bars(BARS), "png")[16:24])
    assert export(logit_bars(BARS), "png")[:8] == b"\x89PNG\r\n\x1a\n"
    assert width > 700 * PNG_SCALE
    assert height > 3 * 20 * PNG_SCALE


@pytest.mark.parametrize("appearance", ["light", "dark"])
def test_a_picture_as_svg_says_every_token_and_keeps_it_a_text(appearance):
    bars = [LogitBar(text, 1.0, 0.25) for text in ("me", "<b>&", "</svg>")]
    picture = export(logit_bars(bars, appearance=appearance), "svg", appearance).decode()
    root = ET.fromstring(picture)  # noqa: S314 - our own file
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"me", "<b>&", "</svg>"} <= set(texts)
    assert style.THEMES[appearance].background in picture
    assert not [element for element in root.iter() if element.tag.endswith(("}image", "}script", "}a"))]


@pytest.mark.parametrize("text", [*HOSTILE, "<!--<script>", "</SCRIPT >", "\u2028", "\ud800"])
def test_a_picture_as_a_page_keeps_every_token_inside_its_script(text):
    bars = [LogitBar(text, 1.0, 0.25)]
    page = export(logit_bars(bars, description=text), "html").decode()
    harmless = export(logit_bars([LogitBar("me", 1.0, 0.25)], description="me"), "html").decode()
    tags = re.compile(r"<[a-z!/][^>]{0,20}", re.IGNORECASE)
    assert tags.findall(page) == tags.findall(harmless)
    chart = json.loads(re.search(r'vegaEmbed\("#figure", (.*), \{"renderer"', page)[1])
    assert chart["datasets"]["rows"][0]["token"] == logit_bars(bars).datasets["rows"][0]["token"]
