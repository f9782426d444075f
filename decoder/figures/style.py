"""The look of every figure: colours, names, fonts. The one place; a test keeps .streamlit/config.toml equal.

The lecture's colour language: one fixed colour per training mode, contextual embeddings grey, logits red. The
mode colours are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), safe for colour-blind eyes. Light and
dark are both designed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from decoder.config import Mode

Appearance = Literal["light", "dark"]
Kind = Literal["scores", "masked_scores", "weights"]
Meaning = Mode | Literal["no_mask", "logits", "contextual_embeddings", "weights"]

COLORS: Final[dict[Meaning, str]] = {
    "teacher_forcing": "#0072B2",
    "free_running": "#E69F00",
    "scheduled_sampling": "#009E73",
    "parallel_scheduled_sampling": "#56B4E9",
    "no_mask": "#CC79A7",
    "logits": "#D55E00",
    "contextual_embeddings": "#8A8A8A",
    "weights": "#7A70C8",
}
"""Lines, bars and boxes: the same in light and dark."""

NAMES: Final[dict[Meaning, str]] = {
    "teacher_forcing": "teacher forcing",
    "free_running": "free running",
    "scheduled_sampling": "scheduled sampling",
    "parallel_scheduled_sampling": "parallel scheduled sampling",
    "no_mask": "no mask",
    "logits": "logits",
    "contextual_embeddings": "contextual embeddings",
    "weights": "attention weights",
}
"""What legends and tables call them."""

DASHES: Final[dict[Meaning, tuple[int, ...]]] = {
    "teacher_forcing": (),
    "free_running": (10, 3),
    "scheduled_sampling": (6, 2, 2, 2),
    "parallel_scheduled_sampling": (2, 2),
    "no_mask": (10, 3, 2, 3),
}
"""A second sign beside the colour for curves (pixels on, pixels off): no meaning hangs on colour alone."""

THEORY_DASH: Final = (4, 4)
THEORY_WIDTH: Final = 1.0
CURVE_WIDTH: Final = 2.25

FONT: Final = (
    "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Liberation Sans', 'DejaVu Sans', Arial, "
    "sans-serif"
)
CODE_FONT: Final = "ui-monospace, 'Cascadia Mono', 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace"
FONT_SIZE: Final = 17
"""Pixels of running text; larger than Streamlit's 16, for the last row of a classroom."""


@dataclass(frozen=True)
class Theme:
    """The colours of one appearance; every text colour reads at 4.5 : 1 or better on both surfaces."""

    background: str
    secondary: str
    text: str
    muted: str
    border: str
    primary: str
    link: str
    masked: str
    """Ground of a masked cell; the hatch is drawn over it, and the sign over the hatch."""
    hatch: str
    sign: str
    scores: tuple[str, ...]
    """Diverging, from the lowest score over 0 in the middle to the highest."""
    text_colors: dict[Meaning, str]
    """The colours of COLORS where they are used for words."""


LIGHT: Final = Theme(
    background="#FBFAF7",
    secondary="#F2F0EA",
    text="#0E151C",
    muted="#55606D",
    border="#D9D5CA",
    primary="#0072B2",
    link="#005C91",
    masked="#EFECE4",
    hatch="#A8A08D",
    sign="#4A463C",
    scores=(
        "#0B3C6F",
        "#2A6BA5",
        "#6FA5D0",
        "#BCD7EA",
        "#F7F5F0",
        "#F2D6A8",
        "#DD9F52",
        "#AC6819",
        "#6B3A05",
    ),
    text_colors={
        "teacher_forcing": "#0069A5",
        "free_running": "#8A5A00",
        "scheduled_sampling": "#00704F",
        "parallel_scheduled_sampling": "#1B6C99",
        "no_mask": "#9B3F75",
        "logits": "#AD4A00",
        "contextual_embeddings": "#666666",
        "weights": "#5A50A6",
    },
)

DARK: Final = Theme(
    background="#131B25",
    secondary="#1D2834",
    text="#E7ECF2",
    muted="#A6B2C0",
    border="#37475A",
    primary="#459ACF",
    link="#86C5F0",
    masked="#1B2530",
    hatch="#566779",
    sign="#CBD4DE",
    scores=(
        "#A9D9FF",
        "#63ABE2",
        "#3274AE",
        "#264D70",
        "#2B333D",
        "#5C4321",
        "#93601F",
        "#D08F3A",
        "#FFD08C",
    ),
    text_colors={
        "teacher_forcing": "#5FB2E8",
        "free_running": "#E69F00",
        "scheduled_sampling": "#2FC49B",
        "parallel_scheduled_sampling": "#7CC6F2",
        "no_mask": "#DE9BBF",
        "logits": "#F5894A",
        "contextual_embeddings": "#ABABAB",
        "weights": "#A9A1EA",
    },
)

THEMES: Final[dict[Appearance, Theme]] = {"light": LIGHT, "dark": DARK}

_CIVIDIS: Final = (
    "00224e00234f00245100255300255400265600275800285900285b00295d002a5f002a61002b62002c64002c66002d68"
    "002e6a002e6c002f6d00306f0030700031700031710132710533710833700c34700f357012357014367016377018376f"
    "1a386f1c396f1e3a6f203a6f213b6e233c6e243c6e263d6e273e6e293f6e2a3f6d2b406d2d416d2e416d2f426d31436d"
    "32436d33446d34456c35456c36466c38476c39486c3a486c3b496c3c4a6c3d4a6c3e4b6c3f4c6c404c6c414d6c424e6c"
    "434e6c444f6c45506c46516c47516c48526c49536c4a536c4b546c4c556c4d556c4e566c4f576c50576c51586d52596d"
    "535a6d545a6d555b6d555c6d565c6d575d6d585e6d595e6e5a5f6e5b606e5c616e5d616e5e626e5e636f5f636f60646f"
    "61656f62656f636670646770656870656870666970676a71686a71696b716a6c716b6d726c6d726c6e726d6f726e6f73"
    "6f70737071737172747272747273747374757474757575757676767777767777777878777979777a7a787b7a787c7b78"
    "7d7c787e7c787e7d787f7e78807f78817f788280798381798482798582798683798784788885788985788a86788b8778"
    "8c88788d88788e89788f8a78908b78918b78928c78928d78938e78948e77958f779690779791779892779992779a9376"
    "9b94769c95769d95769e96769f9775a09875a19975a29975a39a74a49b74a59c74a69c74a79d73a89e73a99f73aaa073"
    "aba072aca172ada272aea371afa471b0a571b1a570b3a670b4a76fb5a86fb6a96fb7a96eb8aa6eb9ab6dbaac6dbbad6d"
    "bcae6cbdae6cbeaf6bbfb06bc0b16ac1b26ac2b369c3b369c4b468c5b568c6b667c7b767c8b866c9b965cbb965ccba64"
    "cdbb63cebc63cfbd62d0be62d1bf61d2c060d3c05fd4c15fd5c25ed6c35dd7c45cd9c55cdac65bdbc75adcc859ddc858"
    "dec958dfca57e0cb56e1cc55e2cd54e4ce53e5cf52e6d051e7d150e8d24fe9d34eead34cebd44bedd54aeed649efd748"
    "f0d846f1d945f2da44f3db42f5dc41f6dd3ff7de3ef8df3cf9e03afbe138fce236fde334fee434fee535fee636fee838"
)
WEIGHTS: Final = tuple(f"#{_CIVIDIS[start : start + 6]}" for start in range(0, len(_CIVIDIS), 6))
"""cividis in its 256 steps, dark for 0 and bright for 1.

Nunez, Anderton, Renslow 2018, Optimizing colormaps with consideration for color vision deficiency.
"""


def stops(kind: Kind, appearance: Appearance) -> tuple[str, ...]:
    """The evenly spaced colours between which a matrix of this kind is coloured."""
    return WEIGHTS if kind == "weights" else THEMES[appearance].scores


def sample(colors: tuple[str, ...], count: int) -> tuple[str, ...]:
    """`count` evenly spaced colours out of `colors`, ends included: a Streamlit theme wants ten, for instance."""
    return tuple(color_at(colors, step / (count - 1)) for step in range(count))


def color_at(colors: tuple[str, ...], fraction: float) -> str:
    """The colour at `fraction` (0 first, 1 last, clamped), linear in sRGB between two neighbours."""
    place = min(max(fraction, 0.0), 1.0) * (len(colors) - 1)
    left = min(int(place), len(colors) - 2)
    share = place - left
    mixed = (
        round(a + (b - a) * share)
        for a, b in zip(channels(colors[left]), channels(colors[left + 1]), strict=True)
    )
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def channels(color: str) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of "#rrggbb"."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def luminance(color: str) -> float:
    """Relative luminance as WCAG 2.2 defines it, 0 for black and 1 for white."""
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (channel / 255 for channel in channels(color))
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Contrast ratio as WCAG 2.2 defines it, 1 to 21."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def text_on(color: str) -> str:
    """Black or white, whichever reads better on this colour; never below 4.58 : 1."""
    return "#000000" if contrast(color, "#000000") >= contrast(color, "#ffffff") else "#ffffff"
