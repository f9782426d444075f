"""One masked pass is T passes over prefixes: to rounding with the mask, and not at all without."""

import numpy as np
import pytest
import torch

from decoder import Decoder, DecoderConfig
from decoder.inference import prefixes
from decoder.inference.prefixes import compare_passes, prefix_lengths

CONFIG = DecoderConfig(vocab_size=9, context_length=8, n_layers=2, n_heads=2, d_model=16)
TOKENS = torch.tensor([[1, 5, 2, 7, 3, 3, 8]])


@pytest.fixture(scope="module")
def model():
    return Decoder(CONFIG, seed=2)


def by_hand(model, *, masked):
    """Greatest difference at every position, one prefix at a time."""
    T = TOKENS.shape[1]
    ones = np.ones((T, T), dtype=bool)
    mask = torch.tensor(np.tril(ones) if masked else ones)
    with torch.no_grad():
        whole = model.trace(TOKENS, mask=mask).logits[0].numpy()
        return [
            np.abs(
                model.trace(TOKENS[:, : at + 1], mask=mask[: at + 1, : at + 1]).logits[0, at].numpy()
                - whole[at]
            ).max()
            for at in range(T)
        ]


def test_with_the_mask_the_difference_is_rounding(model):
    comparison = compare_passes(model, TOKENS, repeats=1)
    assert comparison.passes == len(prefix_lengths(7)) == 7
    assert [*prefix_lengths(3)] == [1, 2, 3]
    assert comparison.greatest == max(comparison.differences) < 1e-5
    np.testing.assert_allclose(comparison.differences, by_hand(model, masked=True), atol=1e-6)


def test_without_the_mask_only_the_last_position_is_the_same(model):
    comparison = compare_passes(model, TOKENS, masked=False, repeats=1)
    np.testing.assert_allclose(comparison.differences, by_hand(model, masked=False), rtol=1e-3, atol=1e-6)
    assert comparison.differences[-1] < 1e-5
    assert min(comparison.differences[:-1]) > 1e-3


def test_times_are_medians_of_the_repeats_and_threads_stay_as_they_were(model, monkeypatch):
    ticks = iter([0, 5, 5, 6, 10, 13, 13, 15, 20, 24, 24, 124])  # prefixes 5, 3, 4; one pass 1, 2, 100
    monkeypatch.setattr(prefixes.time, "perf_counter", lambda: next(ticks))
    threads = torch.get_num_threads()
    comparison = compare_passes(model, TOKENS, repeats=3)
    assert (comparison.prefix_seconds, comparison.parallel_seconds) == (4, 2)
    assert torch.get_num_threads() == threads


def test_one_token_is_one_pass(model):
    comparison = compare_passes(model, TOKENS[:, :1], repeats=1)
    assert (comparison.passes, comparison.greatest) == (1, 0)
