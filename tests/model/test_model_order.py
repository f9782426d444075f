"""One layer without positions cannot tell orders apart, whatever its weights; two layers can, through the mask."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from decoder import DecoderConfig
from decoder.model.order import ROUNDING, probe_order, shuffle_before_last, untrained

SHAPE = DecoderConfig(9, 8, n_layers=3, n_heads=2, d_model=16, causal=False)
TOKENS = [1, 5, 3, 5, 8, 2, 4]


@given(st.lists(st.integers(0, 8), min_size=3, max_size=12), st.integers(0, 50))
def test_a_shuffle_is_another_order_of_the_same_tokens_with_the_last_in_place(tokens, seed):
    if len(set(tokens[:-1])) < 2:
        with pytest.raises(ValueError, match="no other order"):
            shuffle_before_last(tokens, seed)
        return
    shuffled = shuffle_before_last(tokens, seed)
    assert shuffled != tokens
    assert shuffled[-1] == tokens[-1]
    assert sorted(shuffled) == sorted(tokens)
    assert shuffle_before_last(tokens, seed) == shuffled


def test_another_seed_gives_another_order():
    assert len({tuple(shuffle_before_last(TOKENS, seed)) for seed in range(20)}) > 5


@pytest.mark.parametrize("tokens", [[], [1], [1, 2], [3, 3, 3, 4]])
def test_where_there_is_no_other_order_it_says_so(tokens):
    with pytest.raises(ValueError, match="at least 2 different"):
        shuffle_before_last(tokens)


@pytest.mark.parametrize("seed", range(5))
def test_one_layer_without_positions_changes_by_rounding_only(seed):
    model = untrained(SHAPE, 1, "none", seed)
    assert probe_order(model, TOKENS, shuffle_before_last(TOKENS, seed)).change < ROUNDING / 50


@pytest.mark.parametrize(
    ("layers", "positions"), [(2, "none"), (3, "none"), (1, "learned"), (1, "sinusoidal")]
)
def test_a_second_layer_or_positions_tell_orders_apart(layers, positions):
    changes = [
        probe_order(
            untrained(SHAPE, layers, positions, seed), TOKENS, shuffle_before_last(TOKENS, seed)
        ).change
        for seed in range(5)
    ]
    assert min(changes) > 10 * ROUNDING


def test_it_is_the_mask_that_gives_order_away_to_a_second_layer():
    model = untrained(SHAPE, 2, "none", 0)
    model.default_mask = None
    assert probe_order(model, TOKENS, shuffle_before_last(TOKENS)).change < ROUNDING / 50


def test_the_probe_compares_the_last_logits_of_two_separate_passes():
    model = untrained(SHAPE, 2, "none", 1)
    shuffled = shuffle_before_last(TOKENS)
    with torch.no_grad():
        before, after = (model(torch.tensor([ids]))[0, -1].numpy() for ids in (TOKENS, shuffled))
    probe = probe_order(model, TOKENS, shuffled)
    assert np.allclose(probe.before, before, atol=1e-6)
    assert np.allclose(probe.after, after, atol=1e-6)
    assert probe.change == pytest.approx(np.abs(after - before).max(), abs=1e-6)
    assert probe.change == pytest.approx(
        max(abs(a - b) for a, b in zip(probe.before, probe.after, strict=True))
    )


def test_an_untrained_decoder_has_a_mask_and_the_shape_that_was_asked_for():
    config = untrained(SHAPE, 2, "sinusoidal", 0).config
    assert (config.n_layers, config.positions, config.causal) == (2, "sinusoidal", True)
    assert (config.vocab_size, config.d_model, config.n_heads) == (9, 16, 2)
