"""The look as data: the promised colours, readable words, scales that colour-blind eyes can order."""

from __future__ import annotations

import ast
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

from decoder.figures import style

ROOT = Path(__file__).resolve().parents[2]
CONFIG = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))
SURFACES = [
    (theme, surface) for theme in style.THEMES.values() for surface in (theme.background, theme.secondary)
]


def test_the_colours_of_the_lecture_are_those_of_the_design():
    assert style.COLORS["teacher_forcing"] == "#0072B2"
    assert style.COLORS["free_running"] == "#E69F00"
    assert style.COLORS["scheduled_sampling"] == "#009E73"
    assert style.COLORS["no_mask"] == "#CC79A7"
    assert style.COLORS["logits"] == "#D55E00"
    assert style.COLORS["contextual_embeddings"] == "#8A8A8A"


def test_no_two_meanings_share_a_colour_or_a_name():
    assert len(set(style.COLORS.values())) == len(style.COLORS) == len(set(style.NAMES.values()))
    assert style.COLORS.keys() == style.NAMES.keys()
    assert len(set(style.DASHES.values())) == len(style.DASHES)


@pytest.mark.parametrize(("theme", "surface"), SURFACES)
def test_every_colour_that_words_are_written_in_is_readable(theme, surface):
    words = {
        "text": theme.text,
        "muted": theme.muted,
        "link": theme.link,
        "primary": theme.primary,
        **theme.text_colors,
    }
    assert {name: color for name, color in words.items() if style.contrast(color, surface) < 4.5} == {}
    assert theme.text_colors.keys() == style.COLORS.keys()


@pytest.mark.parametrize(("theme", "surface"), SURFACES)
def test_the_caption_that_streamlit_fades_to_60_percent_is_still_readable(theme, surface):
    assert style.contrast(style.color_at((surface, theme.text), 0.6), surface) >= 4.5


@pytest.mark.parametrize("appearance", style.THEMES)
def test_numbers_and_signs_inside_cells_are_readable(appearance):
    theme = style.THEMES[appearance]
    assert style.contrast(theme.sign, theme.masked) >= 4.5
    for kind in ("scores", "weights"):
        for step in range(256):
            color = style.color_at(style.stops(kind, appearance), step / 255)
            assert style.contrast(color, style.text_on(color)) >= 4.5


def test_the_text_of_a_primary_button_is_readable_with_the_rule_in_app_css():
    css = (ROOT / "assets" / "app.css").read_text(encoding="utf-8")
    assert "light-dark(#ffffff, #0b1119)" in css
    assert style.contrast(style.LIGHT.primary, "#ffffff") >= 4.5
    assert style.contrast(style.DARK.primary, "#0b1119") >= 4.5


def test_weights_are_cividis_and_get_brighter_with_every_step():
    bright = [style.luminance(color) for color in style.WEIGHTS]
    assert (style.WEIGHTS[0], style.WEIGHTS[128], style.WEIGHTS[-1]) == ("#00224e", "#7d7c78", "#fee838")
    assert len(bright) == 256
    assert all(after > before - 1e-3 for before, after in pairwise(bright))


@pytest.mark.parametrize("appearance", style.THEMES)
def test_scores_leave_zero_evenly_on_both_sides_towards_colours_that_a_dichromat_tells_apart(appearance):
    scale = style.THEMES[appearance].scores
    bright = [style.luminance(color) for color in scale]
    half = len(scale) // 2
    outwards = 1 if appearance == "dark" else -1
    for side in (bright[half:], bright[half::-1]):
        assert all((after - before) * outwards > 0 for before, after in pairwise(side))
    for low, high in zip(bright[:half], bright[:half:-1], strict=True):
        assert (
            style.contrast(*(_gray(part) for part in (low, high))) < 1.45
        )  # equal |score|, about equal weight
    # Without red against green what remains is blue against yellow: the sides differ in it, strongly and with the sign.
    for low, high in zip(scale[:half], scale[:half:-1], strict=True):
        assert _yellowness(low) < -15 < 15 < _yellowness(high)


def _gray(brightness):
    part = brightness * 12.92 if brightness <= 0.0031308 else 1.055 * brightness ** (1 / 2.4) - 0.055
    return f"#{round(255 * part):02x}" + f"{round(255 * part):02x}" * 2


def _yellowness(color):
    red, green, blue = style.channels(color)
    return (red + green) / 2 - blue


def test_a_colour_between_two_stops_is_their_mixture_and_the_ends_hold():
    assert style.color_at(("#000000", "#ffffff"), 0.5) == "#808080"
    assert style.color_at(("#000000", "#ffffff"), -3) == "#000000"
    assert style.color_at(("#000000", "#00ff00", "#ffffff"), 7) == "#ffffff"
    assert len(style.sample(style.WEIGHTS, 10)) == 10


def test_contrast_is_that_of_wcag():
    assert style.contrast("#000000", "#ffffff") == pytest.approx(21)
    assert style.contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.005)


def test_the_theme_in_config_toml_is_the_one_of_style():
    theme = CONFIG["theme"]
    assert (theme["font"], theme["headingFont"], theme["codeFont"]) == (
        style.FONT,
        style.FONT,
        style.CODE_FONT,
    )
    assert theme["baseFontSize"] == style.FONT_SIZE
    assert theme["chartCategoricalColors"] == list(style.COLORS.values())
    assert theme["chartSequentialColors"] == list(style.sample(style.WEIGHTS, 10))
    for appearance, colors in style.THEMES.items():
        section = theme[appearance]
        assert section["primaryColor"] == colors.primary
        assert section["backgroundColor"] == colors.background
        assert section["secondaryBackgroundColor"] == colors.secondary
        assert section["textColor"] == section["codeTextColor"] == colors.text
        assert section["linkColor"] == colors.link
        assert section["borderColor"] == colors.border
        assert section["chartDivergingColors"] == list(style.sample(colors.scores, 10))


def test_no_font_and_no_picture_comes_from_another_host():
    for path in (
        ROOT / ".streamlit" / "config.toml",
        *(ROOT / "assets").rglob("*.css"),
        *(ROOT / "assets").rglob("*.js"),
    ):
        assert "http" not in path.read_text(encoding="utf-8"), path


def test_the_server_settings_are_the_safe_ones():
    server = CONFIG["server"]
    assert server["address"] == "127.0.0.1"
    assert server["allowedHosts"] == ["localhost", "127.0.0.1"]
    assert server["maxUploadSize"] == 1
    assert server["disconnectedSessionTTL"] == 30
    assert CONFIG["client"]["toolbarMode"] == "viewer"
    assert server["enableCORS"] is server["enableXsrfProtection"] is True
    assert server["enableStaticServing"] is server["enableAgentApi"] is False
    assert server["fileWatcherType"] == CONFIG["client"]["showErrorDetails"] == "none"
    assert CONFIG["browser"]["gatherUsageStats"] is CONFIG["runner"]["postScriptGC"] is False


def test_style_needs_neither_torch_nor_streamlit():
    tree = ast.parse((ROOT / "decoder" / "figures" / "style.py").read_text(encoding="utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported == {"__future__", "dataclasses", "typing", "decoder.config"}
