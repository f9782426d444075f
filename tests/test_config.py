"""Configurations: they travel as JSON unchanged, and every wrong field is one sentence with a remedy."""

import dataclasses
import json
import math
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decoder.config import (
    MAX_BATCH_SIZE,
    MAX_CONTEXT,
    MAX_LAYERS,
    MAX_PARAMETERS,
    MAX_STEPS,
    MAX_TEXT_LENGTH,
    MAX_TRAINING_SECONDS,
    DecoderConfig,
    Level,
    Mode,
    Pick,
    Positions,
    Sampling,
    Schedule,
    TextSource,
    TrainConfig,
)

DECODER = DecoderConfig(35, 9)
TRAIN = TrainConfig("ibm", DECODER)


@st.composite
def decoders(draw):
    n_heads = draw(st.integers(1, 8))
    return DecoderConfig(
        vocab_size=draw(st.integers(2, 10**6)),
        context_length=draw(st.integers(1, 10**6)),
        n_layers=draw(st.integers(1, 100)),
        n_heads=n_heads,
        d_model=2 * n_heads * draw(st.integers(1, 64)),
        positions=draw(st.sampled_from(get_args(Positions))),
        causal=draw(st.booleans()),
    )


def trainings():
    return st.builds(
        TrainConfig,
        corpus=st.text() | st.builds(TextSource, text=st.text(), level=st.sampled_from(get_args(Level))),
        decoder=decoders(),
        mode=st.sampled_from(get_args(Mode)),
        steps=st.integers(1, 10**6),
        batch_size=st.integers(1, 10**6),
        learning_rate=st.floats(0, exclude_min=True, allow_infinity=False),
        seed=st.integers(0, 2**64),
        start=st.none() | st.integers(1, 10**6),
        pick=st.sampled_from(get_args(Pick)),
        schedule=st.sampled_from(get_args(Schedule)),
    )


@settings(deadline=None, max_examples=200)
@given(trainings())
def test_a_training_comes_back_from_json_as_it_was(config):
    text = config.to_json()
    assert TrainConfig.from_json(text) == config
    assert TrainConfig.from_json(text).to_json() == text
    assert "\n" not in text
    text.encode()  # a database takes it: plain ASCII, lone surrogates escaped


@settings(deadline=None, max_examples=200)
@given(trainings(), trainings())
def test_equal_configurations_give_equal_text_and_different_ones_different_text(first, second):
    copy = dataclasses.replace(first)
    assert copy.to_json() == first.to_json()
    assert (first.to_json() == second.to_json()) == (first == second)
    assert hash(copy) == hash(first)


def test_the_text_does_not_depend_on_the_order_of_the_fields():
    fields = json.loads(TRAIN.to_json())
    turned = json.dumps(dict(reversed(fields.items())))
    assert TrainConfig.from_json(turned).to_json() == TRAIN.to_json()


def test_a_configuration_cannot_be_changed():
    for config, field in (
        (DECODER, "d_model"),
        (TRAIN, "steps"),
        (Sampling(), "seed"),
        (TextSource("a"), "text"),
    ):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(config, field, 1)


NOT_WHOLE = [0, -1, 1.5, 2.0, True, "3", None, math.nan, math.inf, [4]]
NO_CHOICE = ["", "Learned", "rotary", None, 0, ["learned"], True]
NO_BOOLEAN = ["yes", None, 1, 0, []]
NO_RATE = [0, 0.0, -1e-3, math.nan, math.inf, -math.inf]

WRONG = (
    [
        (DECODER, field, value)
        for field in ("vocab_size", "context_length", "n_layers", "n_heads", "d_model")
        for value in NOT_WHOLE
    ]
    + [
        (DECODER, "vocab_size", 1),
        (DECODER, "d_model", 66),
        (DECODER, "n_heads", 7),
        (DECODER, "n_heads", 128),
    ]
    + [(DECODER, "positions", value) for value in NO_CHOICE]
    + [(DECODER, "causal", value) for value in NO_BOOLEAN]
    + [(TRAIN, field, value) for field in ("steps", "batch_size") for value in NOT_WHOLE]
    + [(TRAIN, "seed", value) for value in NOT_WHOLE if value != 0]
    + [(TRAIN, "start", value) for value in NOT_WHOLE if value is not None]
    + [(TRAIN, field, value) for field in ("mode", "pick", "schedule") for value in NO_CHOICE]
    + [(TRAIN, "learning_rate", value) for value in NO_RATE]
    + [(Sampling(), "temperature", value) for value in NO_RATE]
    + [(Sampling(), "top_k", value) for value in NOT_WHOLE if value is not None]
    + [(Sampling(), "top_p", value) for value in (0, -0.1, 1.0001, math.nan, math.inf)]
    + [(Sampling(), "seed", value) for value in NOT_WHOLE if value != 0]
    + [(Sampling(), "greedy", value) for value in NO_BOOLEAN]
    + [(TextSource("a"), "level", value) for value in NO_CHOICE]
)


def name_of(value):
    return f"{type(value).__name__}" if dataclasses.is_dataclass(value) else str(value)[:12]


@pytest.mark.parametrize(("config", "field", "value"), WRONG, ids=name_of)
def test_every_invalid_field_is_one_sentence(config, field, value):
    with pytest.raises(ValueError, match=r"\S") as error:
        dataclasses.replace(config, **{field: value})
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


def test_the_sentence_names_the_field_the_value_and_a_remedy():
    for changes, words in (
        ({"steps": 0}, ("steps", "0", "choose")),
        ({"mode": "magic"}, ("mode", "magic", "teacher_forcing", "free_running")),
        ({"learning_rate": -2.5}, ("learning rate", "-2.5", "choose")),
    ):
        with pytest.raises(ValueError, match=r"\S") as error:
            dataclasses.replace(TRAIN, **changes)
        assert all(word in str(error.value) for word in words)
    with pytest.raises(ValueError, match="d_model 64 cannot be shared by 7 heads: choose a multiple of 7"):
        DecoderConfig(35, 9, n_heads=7)


def test_sinusoidal_positions_need_an_even_width():
    with pytest.raises(ValueError, match="d_model is 9"):
        DecoderConfig(35, 9, n_heads=3, d_model=9, positions="sinusoidal")
    assert DecoderConfig(35, 9, n_heads=3, d_model=9).d_head == 3


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "3",
        '"ibm"',
        "{}",
        '{"corpus": "ibm"}',
        '{"corpus": "ibm", "decoder": null}',
        '{"corpus": "ibm", "decoder": []}',
        '{"corpus": "ibm", "decoder": {"vocab_size": 35}}',
        "[" * 100_000,
    ],
    ids=lambda text: text[:50],
)
def test_text_that_is_no_configuration_is_refused(text):
    with pytest.raises(ValueError, match=r"\S"):
        TrainConfig.from_json(text)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(TrainConfig)])
@pytest.mark.parametrize(
    "value", ["null", "[]", "{}", '"?"', "-1", "NaN", "Infinity", "1" + "0" * 400, "[[1]]"]
)
def test_no_json_value_in_any_field_gives_anything_but_a_training_or_one_sentence(field, value):
    text = json.dumps(json.loads(TRAIN.to_json()) | {field: "HERE"}).replace('"HERE"', value)
    try:
        config = TrainConfig.from_json(text)
    except ValueError as error:
        assert str(error)
    else:
        assert TrainConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[
            ("corpus", value)
            for value in (None, 3, True, ["ibm"], {}, {"text": 3}, {"text": "a", "level": "bits"})
        ],
        *[("decoder", value) for value in (None, 3, [], {}, "ibm")],
        *[("learning_rate", value) for value in ("0.1", None, [0.1], 10**400)],
        *[("decoder", dataclasses.asdict(DECODER) | {"causal": value}) for value in NO_BOOLEAN],
        *[("decoder", dataclasses.asdict(DECODER) | {"d_model": value}) for value in NOT_WHOLE],
    ],
    ids=lambda value: str(value)[-30:],
)
def test_a_value_of_the_wrong_type_is_refused_when_it_is_read(field, value):
    text = json.dumps(json.loads(TRAIN.to_json()) | {field: value})
    with pytest.raises(ValueError, match=r"\S"):
        TrainConfig.from_json(text)


@pytest.mark.parametrize("place", [(), ("decoder",), ("corpus",)])
def test_an_unknown_field_is_refused(place):
    fields = json.loads(TrainConfig(TextSource("a b"), DECODER).to_json())
    part = fields
    for key in place:
        part = part[key]
    part["extra"] = 1
    with pytest.raises(ValueError, match="no training configuration"):
        TrainConfig.from_json(json.dumps(fields))


SMALL = TrainConfig("ibm", DecoderConfig(10, 9, n_layers=1, n_heads=1, d_model=8), steps=10, batch_size=2)


@pytest.mark.parametrize(
    ("limit", "at_most"),
    [
        (MAX_STEPS, lambda size: dataclasses.replace(SMALL, steps=size)),
        (MAX_BATCH_SIZE, lambda size: dataclasses.replace(SMALL, batch_size=size)),
        (MAX_CONTEXT, lambda size: with_decoder(context_length=size)),
        (MAX_CONTEXT, lambda size: dataclasses.replace(SMALL, mode="free_running", start=size)),
        (MAX_LAYERS, lambda size: with_decoder(n_layers=size)),
    ],
)
def test_a_limit_itself_is_allowed_and_one_more_is_refused_with_both_numbers(limit, at_most):
    at_most(limit).check_limits()
    with pytest.raises(ValueError, match=f"{limit + 1:,}.*{limit:,}"):
        at_most(limit + 1).check_limits()


def test_all_limits_at_once_would_take_a_core_for_hours_and_are_refused_with_the_time():
    decoder = DecoderConfig(10, MAX_CONTEXT, n_layers=MAX_LAYERS, n_heads=8, d_model=8)
    largest = TrainConfig("ibm", decoder, steps=MAX_STEPS, batch_size=MAX_BATCH_SIZE)
    seconds = math.ceil(MAX_STEPS * largest.estimated_step_seconds)
    assert seconds > MAX_TRAINING_SECONDS
    with pytest.raises(ValueError, match=f"{seconds:,} seconds.*{MAX_TRAINING_SECONDS:,}"):
        largest.check_limits()


def with_decoder(**changes):
    return dataclasses.replace(SMALL, decoder=dataclasses.replace(SMALL.decoder, **changes))


def test_too_many_parameters_are_refused_with_both_numbers():
    decoder = DecoderConfig(100_000, 9, d_model=64)
    with pytest.raises(ValueError, match=f"{decoder.n_parameters:,}.*{MAX_PARAMETERS:,}"):
        TrainConfig("ibm", decoder).check_limits()


def test_a_text_at_the_limit_is_taken_and_one_character_more_is_refused_with_both_numbers():
    TextSource("a" * MAX_TEXT_LENGTH)
    with pytest.raises(ValueError, match=f"{MAX_TEXT_LENGTH + 1:,}.*{MAX_TEXT_LENGTH:,}"):
        TextSource("a" * (MAX_TEXT_LENGTH + 1))
