"""Attention: every stage against torch's own kernel, and the mask to the last bit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from decoder import Decoder, DecoderConfig, attend, causal_mask


def qkv(seed, B, H, T, K, D):
    generator = torch.Generator().manual_seed(seed)
    shapes = (B, H, T, D), (B, H, K, D), (B, H, K, D)
    return [torch.randn(shape, generator=generator) for shape in shapes]


@st.composite
def cases(draw):
    """Random shapes, rectangular ones too, and a mask with at least one open cell in every row."""
    B, H, T, K, D = (draw(st.integers(1, most)) for most in (3, 3, 6, 6, 8))
    seed = draw(st.integers(0, 2**32 - 1))
    generator = torch.Generator().manual_seed(seed)
    shape = draw(st.sampled_from([(T, K), (B, 1, T, K), (B, H, T, K)]))
    mask = torch.rand(shape, generator=generator) < draw(st.floats(0, 1))
    mask.scatter_(-1, torch.randint(K, (*shape[:-1], 1), generator=generator), value=True)
    return qkv(seed, B, H, T, K, D), mask


@settings(deadline=None, max_examples=150)
@given(cases())
def test_attend_equals_torchs_scaled_dot_product_attention(case):
    (query, key, value), mask = case
    expected = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    torch.testing.assert_close(attend(query, key, value, mask).context, expected, atol=1e-5, rtol=1e-5)


@settings(deadline=None, max_examples=50)
@given(cases())
def test_without_a_mask_every_query_looks_at_every_key(case):
    query, key, value = case[0]
    expected = functional.scaled_dot_product_attention(query, key, value)
    attention = attend(query, key, value)
    torch.testing.assert_close(attention.context, expected, atol=1e-5, rtol=1e-5)
    assert (attention.weights > 0).all()
    assert torch.equal(attention.masked_scores, attention.scores)


@settings(deadline=None, max_examples=150)
@given(cases())
def test_weights_are_a_distribution_over_the_open_cells_and_exactly_zero_elsewhere(case):
    (query, key, value), mask = case
    attention = attend(query, key, value, mask)
    closed = ~mask.expand_as(attention.scores)
    torch.testing.assert_close(
        attention.weights.sum(-1), torch.ones(attention.weights.shape[:-1]), atol=1e-6, rtol=0
    )
    assert (attention.weights[closed] == 0).all()
    assert (attention.weights[~closed] >= 0).all()
    assert attention.masked_scores[closed].isneginf().all()
    assert torch.equal(attention.masked_scores[~closed], attention.scores[~closed])
    assert attention.scores.isfinite().all()


@settings(deadline=None, max_examples=50)
@given(cases())
def test_the_context_is_the_values_weighed_by_the_weights(case):
    (query, key, value), mask = case
    attention = attend(query, key, value, mask)
    by_hand = (attention.weights[..., None] * value[:, :, None]).sum(
        dim=-2
    )  # (B, H, T, K, D) -> (B, H, T, D)
    torch.testing.assert_close(attention.context, by_hand, atol=1e-5, rtol=1e-5)


def test_a_score_is_the_dot_product_divided_by_the_root_of_the_heads_width():
    query, key, value = qkv(0, 2, 3, 4, 5, 16)
    scores = attend(query, key, value).scores
    for cell in ((0, 0, 0, 0), (1, 2, 3, 4), (0, 1, 2, 3)):
        b, h, t, k = cell
        dot = sum(q * p for q, p in zip(query[b, h, t].tolist(), key[b, h, k].tolist(), strict=True))
        assert scores[cell].item() == pytest.approx(dot / 4, abs=1e-5)


def test_the_causal_mask_opens_itself_and_the_past_and_nothing_else():
    mask = causal_mask(7)
    assert mask.dtype == torch.bool
    assert mask.tolist() == [[column <= row for column in range(7)] for row in range(7)]


@pytest.mark.parametrize("row", [0, 2, 3])
def test_a_row_that_may_look_nowhere_is_refused_by_its_number(row):
    mask = causal_mask(4)
    mask[row] = False
    with pytest.raises(ValueError, match=rf"row {row} of the mask is closed entirely"):
        attend(*qkv(0, 1, 1, 4, 4, 2), mask)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.uint8])
def test_a_mask_of_numbers_is_refused_because_their_meaning_is_ambiguous(dtype):
    with pytest.raises(ValueError, match="give booleans"):
        attend(*qkv(0, 1, 1, 4, 4, 2), causal_mask(4).to(dtype))


@pytest.mark.parametrize("shape", [(4, 4), (6, 5), (5, 6), (1, 5), (5, 1), (5,)])
def test_a_mask_of_the_wrong_shape_is_refused_with_both_shapes(shape):
    model = Decoder(DecoderConfig(7, 8, d_model=8, n_heads=2))
    with pytest.raises(ValueError, match=r"5 positions over 5 keys need \(5, 5\)") as error:
        model.trace(torch.zeros(2, 5, dtype=torch.int64), mask=torch.ones(shape, dtype=torch.bool))
    assert str(tuple(shape)) in str(error.value)


def test_masking_costs_no_gradient_and_lets_none_through():
    query, key, value = (part.requires_grad_() for part in qkv(1, 1, 1, 3, 3, 4))
    attend(query, key, value, causal_mask(3)).context[:, :, 0].sum().backward()
    assert (key.grad[:, :, 1:] == 0).all()
    assert (value.grad[:, :, 1:] == 0).all()
    assert (value.grad[:, :, 0] == 1).all()
