"""What a decoder, a training and a sampling are: frozen, validated values that travel as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from sys import float_info
from typing import Any, Literal, get_args

Positions = Literal["learned", "sinusoidal", "none"]
Mode = Literal["teacher_forcing", "free_running", "scheduled_sampling", "parallel_scheduled_sampling"]
Pick = Literal["greedy", "sample"]
Schedule = Literal["linear", "exponential", "inverse_sigmoid"]
Level = Literal["word", "char", "bpe"]

OF_A_MODE: dict[str, tuple[Mode, ...]] = {
    "start": ("free_running",),
    "pick": ("free_running",),
    "schedule": ("scheduled_sampling", "parallel_scheduled_sampling"),
}
"""Settings of a training that only some modes use."""

MAX_PARAMETERS = 2_000_000
MAX_CONTEXT = 256
MAX_LAYERS = 8
MAX_BATCH_SIZE = 256
MAX_STEPS = 5_000
MAX_TRAINING_SECONDS = 1_800
MAX_UPDATE_SECONDS = 3
"""No worker can leave an update in its middle, so that all others wait for its end."""

MAX_TEXT_LENGTH = 1_000_000


@dataclass(frozen=True)
class DecoderConfig:
    """The shape of one decoder.

    `causal=False` removes the mask from training and generation alike: the lecture's counter-example.
    """

    vocab_size: int
    context_length: int
    n_layers: int = 2
    n_heads: int = 4
    d_model: int = 64
    positions: Positions = "learned"
    causal: bool = True

    def __post_init__(self) -> None:
        for name in ("vocab_size", "context_length", "n_layers", "n_heads", "d_model"):
            _require_whole(name, getattr(self, name), 1)
        if self.vocab_size < 2:
            raise ValueError(
                "the vocabulary has 1 token: there is nothing to predict, use a text with at least 2"
            )
        if self.d_model % self.n_heads:
            raise ValueError(
                f"d_model {self.d_model} cannot be shared by {self.n_heads} heads: "
                f"choose a multiple of {self.n_heads}"
            )
        if self.positions == "sinusoidal" and self.d_model % 2:
            raise ValueError(
                f"sinusoidal positions come in pairs and d_model is {self.d_model}: choose an even one"
            )
        _require_choice("positions", self.positions, Positions)
        if not isinstance(self.causal, bool):
            raise ValueError(f"causal is {self.causal!r}: choose True, or False to remove the mask")

    @property
    def d_head(self) -> int:
        """Width of one head's queries, keys and values."""
        return self.d_model // self.n_heads

    @property
    def n_parameters(self) -> int:
        """Number of trained numbers in `decoder.Decoder(self)`."""
        block = 12 * self.d_model**2 + 13 * self.d_model
        tables = 2 * self.vocab_size * self.d_model
        positions = self.context_length * self.d_model if self.positions == "learned" else 0
        return tables + positions + self.n_layers * block + 2 * self.d_model


@dataclass(frozen=True)
class TextSource:
    """A visitor's own text and how it is cut into tokens."""

    text: str
    level: Level = "word"

    def __post_init__(self) -> None:
        _require_choice("level", self.level, Level)
        if not isinstance(self.text, str):
            raise ValueError(f"the text is {self.text!r}: give a string")
        if len(self.text) > MAX_TEXT_LENGTH:
            raise ValueError(
                f"the text has {len(self.text):,} characters; at most {MAX_TEXT_LENGTH:,} are taken: shorten it"
            )


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training: two equal configurations give bit-identical weights.

    That holds on one machine and with one thread, as the workers train: sums of several threads round differently.

    Args:
        corpus: name of a generated corpus, or a text of one's own.
        decoder: shape of the decoder.
        mode: which history the decoder is fed while it learns.
        steps: planned number of updates; the learning rate's schedule belongs to it.
        batch_size: sequences per update.
        learning_rate: peak, reached after the warm-up.
        seed: decides initial weights, batches and picks.
        start: number of leading true tokens in free running; None: the corpus's own prompt.
        pick: how the decoder's own predictions are picked in free running.
        schedule: decay of the probability of the true token in scheduled sampling.

    What the mode does not use becomes its default, so that equal trainings are equal.
    """

    corpus: str | TextSource
    decoder: DecoderConfig
    mode: Mode = "teacher_forcing"
    steps: int = 200
    batch_size: int = 16
    learning_rate: float = 6e-3
    seed: int = 0
    start: int | None = None
    pick: Pick = "greedy"
    schedule: Schedule = "linear"

    def __post_init__(self) -> None:
        if not isinstance(self.corpus, str | TextSource):
            raise ValueError(f"the corpus is {self.corpus!r}: name a generated corpus or give a TextSource")
        _require_whole("steps", self.steps, 1)
        _require_whole("batch_size", self.batch_size, 1)
        _require_whole("seed", self.seed, 0)
        if self.start is not None:
            _require_whole("start", self.start, 1)
        _require_choice("mode", self.mode, Mode)
        _require_choice("pick", self.pick, Pick)
        _require_choice("schedule", self.schedule, Schedule)
        if not _is_positive(self.learning_rate):
            raise ValueError(
                f"the learning rate is {self.learning_rate!r}: choose a positive number such as 0.003"
            )
        # Equal trainings are equal: what is the same number is written alike, what the mode does not use is not kept.
        object.__setattr__(self, "learning_rate", float(self.learning_rate))
        for field in dataclasses.fields(self):
            if field.name in OF_A_MODE and self.mode not in OF_A_MODE[field.name]:
                object.__setattr__(self, field.name, field.default)

    def check_limits(self) -> None:
        """Raise ValueError if this training is larger than a shared machine should carry."""
        for name, value, limit in (
            ("parameters", self.decoder.n_parameters, MAX_PARAMETERS),
            ("positions of context", self.decoder.context_length, MAX_CONTEXT),
            ("layers", self.decoder.n_layers, MAX_LAYERS),
            ("sequences in a batch", self.batch_size, MAX_BATCH_SIZE),
            ("steps", self.steps, MAX_STEPS),
            ("true tokens at the start", self.start or 0, MAX_CONTEXT),
            (
                "seconds of a processor core",
                math.ceil(self.steps * self.estimated_step_seconds),
                MAX_TRAINING_SECONDS,
            ),
            (
                "seconds of a processor core per update",
                math.ceil(self.estimated_step_seconds),
                MAX_UPDATE_SECONDS,
            ),
        ):
            if value > limit:
                raise ValueError(
                    f"this training asks for {value:,} {name}; at most {limit:,} are allowed: choose fewer"
                )

    @property
    def estimated_step_seconds(self) -> float:
        """Roughly what one update costs one core of a laptop: good enough to plan with, before anything is measured."""
        shape = self.decoder
        tokens = self.batch_size * shape.context_length
        products = 6 * tokens * (shape.n_parameters - shape.vocab_size * shape.d_model)
        products += 12 * shape.n_layers * tokens * shape.context_length * shape.d_model
        cells = shape.n_layers * shape.n_heads * tokens * shape.context_length
        rollouts = 1 if self.mode == "teacher_forcing" else 2.1
        return rollouts * (0.001 * (1 + shape.n_layers) + products / 5e10 + cells * 5e-9)

    def to_json(self) -> str:
        """One canonical line: equal configurations give equal text."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> TrainConfig:
        """Read what `to_json` wrote; unknown or missing fields are a ValueError."""
        try:
            fields: dict[str, Any] = json.loads(text)
            fields["decoder"] = DecoderConfig(**fields["decoder"])
            if isinstance(fields["corpus"], dict):
                fields["corpus"] = TextSource(**fields["corpus"])
            return cls(**fields)
        except (KeyError, TypeError, OverflowError, RecursionError) as error:
            raise ValueError(f"this is no training configuration of this version: {error}") from error


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn from the decoder's probabilities."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    greedy: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not _is_positive(self.temperature):
            raise ValueError(
                f"the temperature is {self.temperature!r}: choose a number above 0, or greedy for the limit at 0"
            )
        if self.top_k is not None:
            _require_whole("top_k", self.top_k, 1)
        if self.top_p is not None and not (_is_positive(self.top_p) and self.top_p <= 1):
            raise ValueError(f"top_p is {self.top_p!r}: choose a share above 0 and up to 1")
        if not isinstance(self.greedy, bool):
            raise ValueError(f"greedy is {self.greedy!r}: choose True for the most likely token, or False")
        _require_whole("seed", self.seed, 0)


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= float_info.max


def _require_whole(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} is {value!r}: choose a whole number from {least} upwards")


def _require_choice(name: str, value: object, choices: Any) -> None:
    if value not in get_args(choices):
        raise ValueError(f"{name} is {value!r}: choose one of {', '.join(get_args(choices))}")
