"""The mask taken apart: every way of masking against NumPy, leaks that are really there, and causality as exact zeros."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decoder import Decoder, DecoderConfig, attend, causal_mask
from decoder.model import masking
from decoder.model.arithmetic import cell_arithmetic
from decoder.model.masking import (
    causal_effect,
    first_scores,
    flip_cells,
    mask_row,
    mask_scores,
    measure_leaks,
)

T, V = 6, 11
CONFIG = DecoderConfig(vocab_size=V, context_length=8, n_layers=2, n_heads=2, d_model=16)
TOKENS = torch.tensor([[3, 1, 4, 1, 5, 9]])


@pytest.fixture(scope="module")
def model():
    decoder = Decoder(CONFIG, seed=4)
    with torch.no_grad():  # far from zero scores, as after a training
        for block in decoder.blocks:
            block.query_key_value.weight.mul_(3)
    return decoder


def head_of(model, tokens, layer, head):
    """Query, key and value of one head below which all is masked rightly, in double precision."""
    precise = Decoder(model.config)
    precise.load_state_dict(model.state_dict())
    with torch.no_grad():
        block = precise.double().trace(tokens, mask=causal_mask(tokens.shape[1])).blocks[layer]
    return [stage[0, head].numpy() for stage in (block.query, block.key, block.value)]


def weights_by_hand(query, key, way, finite=-10.0):
    """Exponentials divided by their sum, cell by cell."""
    scores = query @ key.T / math.sqrt(query.shape[1])
    future = np.triu(np.ones_like(scores, dtype=bool), 1)
    if way in {"minus infinity", "finite number", "zero before"}:
        scores[future] = {"minus infinity": -np.inf, "finite number": finite, "zero before": 0.0}[way]
    powers = np.exp(scores)
    weights = powers / powers.sum(axis=1, keepdims=True)
    if way == "zero after":
        weights[future] = 0
    return weights, powers


@pytest.mark.parametrize("way", ["minus infinity", "finite number", "zero before", "zero after", "no mask"])
@pytest.mark.parametrize(("layer", "head"), [(0, 0), (1, 1)])
def test_every_way_of_masking_is_what_numpy_makes_of_it(model, way, layer, head):
    query, key, value = head_of(model, TOKENS, layer, head)
    expected, powers = weights_by_hand(query, key, way, finite=-3.0)
    scores = torch.tensor(query @ key.T / math.sqrt(query.shape[1]))
    stages = mask_scores(scores, causal_mask(T), way, finite=-3.0)
    np.testing.assert_allclose(stages.weights, expected, rtol=1e-9)
    np.testing.assert_allclose(stages.exponentials, powers, rtol=1e-9)

    leak = measure_leaks(model, TOKENS, layer, head, finite=-3.0)[way]
    future = np.triu(np.ones((T, T), dtype=bool), 1)
    assert leak.closed_share == pytest.approx(expected[future].sum() / expected.sum(), rel=1e-9)
    np.testing.assert_allclose(leak.sums, expected.sum(axis=1), rtol=1e-9)
    moved = {}
    for token in range(V):
        other = TOKENS.clone()
        other[0, -1] = token
        query, key, changed = head_of(model, other, layer, head)
        change = weights_by_hand(query, key, way, finite=-3.0)[0] @ changed - expected @ value
        moved[token] = np.abs(change[:-1]).max()
    assert leak.moved == pytest.approx(max(moved.values()), rel=1e-9, abs=1e-12)
    assert leak.by == (None if way == "minus infinity" else max(moved, key=moved.__getitem__))
    assert leak.tried == V - 1


def test_only_minus_infinity_lets_nothing_through(model):
    for layer in range(CONFIG.n_layers):
        leaks = measure_leaks(model, TOKENS, layer, 0)
        right = leaks.pop("minus infinity")
        assert (right.closed_share, right.moved) == (0, 0)
        assert right.sums == pytest.approx([1] * T)
        assert all(leak.moved > 0 for leak in leaks.values())
        assert leaks["zero after"].closed_share == 0
        assert min(leaks["zero after"].sums) < 0.9
        assert all(leaks[way].closed_share > 0 for way in ("finite number", "zero before", "no mask"))


def test_the_right_way_is_bit_by_bit_what_the_decoder_does():
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, 2, T, 4, generator=generator) for _ in range(3))
    attention = attend(query, key, value, causal_mask(T))
    stages = mask_scores(attention.scores, causal_mask(T))
    assert torch.equal(stages.masked_scores, attention.masked_scores)
    assert torch.equal(stages.weights, attention.weights)
    assert (stages.exponentials[..., ~causal_mask(T)] == 0).all()


@pytest.mark.parametrize(("finite", "leak"), [(-1, 0.269), (-5, 0.0067), (-10, 0.000045)])
def test_equal_scores_leak_what_the_formula_says(finite, leak):
    weights = mask_scores(torch.zeros(4, 4), causal_mask(4), "finite number", finite).weights[1]
    assert weights[2:].sum().item() == pytest.approx(leak, rel=0.02)
    assert weights[2:].sum().item() == pytest.approx(math.exp(finite) / (1 + math.exp(finite)), rel=1e-4)


def test_of_a_large_vocabulary_some_tokens_are_tried_and_counted(model, monkeypatch):
    every = measure_leaks(model, TOKENS, 1, 0)["no mask"]
    monkeypatch.setattr(masking, "MOST_REPLACEMENTS", 4)
    some = measure_leaks(model, TOKENS, 1, 0)["no mask"]
    assert (every.tried, some.tried) == (V - 1, 4)
    assert 0 < some.moved <= every.moved


def test_leaks_are_measured_on_a_copy(model):
    measure_leaks(model, TOKENS, 1, 1)
    assert model.dtype == torch.float32


@pytest.mark.parametrize("row", range(4))
def test_a_row_of_ones_own_scores_is_masked_as_its_place_asks(row):
    scores = [0.5, -1.0, 2.0, 0.0]
    powers = [math.exp(score) if at <= row else 0.0 for at, score in enumerate(scores)]
    stages = mask_row(scores, row)
    assert stages.scores.tolist() == scores
    assert stages.masked_scores.tolist() == [
        score if at <= row else -math.inf for at, score in enumerate(scores)
    ]
    np.testing.assert_allclose(stages.exponentials, powers, rtol=1e-12)
    np.testing.assert_allclose(stages.weights, np.array(powers) / math.fsum(powers), rtol=1e-12)
    leaking = mask_row(scores, row, "finite number", -1.0).masked_scores.tolist()
    assert leaking == [score if at <= row else -1.0 for at, score in enumerate(scores)]


def test_the_first_scores_of_a_row_are_filled_up_and_kept_in_reach():
    given = torch.tensor([0.12345, -2.0])
    assert first_scores(given, 4, 50) == [given[0].item(), -2, 0, 0], "all digits"
    wild = torch.tensor([math.inf, -math.inf, math.nan, 99.0, 1.0])
    assert first_scores(wild, 4, 50) == [50, -50, 0, 50]


def test_a_single_token_has_nothing_to_leak(model):
    for leak in measure_leaks(model, TOKENS[:, :1], 0, 0).values():
        assert leak.closed_share == leak.moved == 0
        assert leak.by is None
        assert leak.sums == pytest.approx([1])


def test_an_unknown_way_is_refused():
    with pytest.raises(ValueError, match="no way 'zeroes' to mask: use one of minus infinity, "):
        mask_scores(torch.zeros(2, 2), causal_mask(2), "zeroes")


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=12))
def test_cells_are_flipped_one_by_one_and_a_closed_row_is_refused(cells):
    expected = [[column <= row for column in range(4)] for row in range(4)]
    for row, column in cells:
        expected[row][column] = not expected[row][column]
    closed = [row for row, line in enumerate(expected) if not any(line)]
    if closed:
        with pytest.raises(ValueError, match=f"row {closed[0]} would have 0 of its 4 cells open"):
            flip_cells(causal_mask(4), cells)
    else:
        assert flip_cells(causal_mask(4), cells).tolist() == expected


def test_flipping_leaves_the_given_mask_as_it_was():
    mask = causal_mask(3)
    flip_cells(mask, [(0, 1)])
    assert torch.equal(mask, causal_mask(3))


@pytest.mark.parametrize("position", range(T))
def test_a_replaced_token_moves_nothing_before_it_under_the_mask_and_everything_without(model, position):
    with_mask, without = (
        causal_effect(model, TOKENS, position, 7, mask)
        for mask in (causal_mask(T), torch.ones(T, T, dtype=torch.bool))
    )
    assert (with_mask[:position] == 0).all()
    assert (with_mask[position:] > 0).all()
    assert (without > 0).all()
    changed = TOKENS.clone()
    changed[0, position] = 7
    with torch.no_grad():
        expected = np.abs((model(changed) - model(TOKENS))[0].numpy()).max(axis=1)
    np.testing.assert_array_equal(with_mask.numpy(), expected)
    assert (causal_effect(model, TOKENS, position, TOKENS[0, position].item(), causal_mask(T)) == 0).all()


def test_an_opened_cell_lets_its_row_see_that_token(model):
    mask = flip_cells(causal_mask(T), [(1, 4)])
    moved = causal_effect(model, TOKENS, 4, 7, mask) > 0
    assert moved.tolist() == [False, True, True, True, True, True]  # 2 and 3 read what row 1 has read


def test_a_score_that_is_too_large_for_its_exponential_is_spelled_out_all_the_same(model):
    with torch.no_grad():
        block = model.trace(TOKENS).blocks[0]
    wild = block.attention._replace(masked_scores=block.attention.masked_scores * 1e5)
    cell = cell_arithmetic(block._replace(attention=wild), 0, 3, 0)
    assert max(cell.exponentials) == math.inf or min(cell.exponentials) == 0
