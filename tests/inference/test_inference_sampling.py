"""From logits to a token: against a plain Python reference, at every extreme, and never a token of probability 0."""

import math
from itertools import accumulate
from unittest import mock

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from decoder import Sampling, distribution
from decoder.inference.sampling import contest, draw

LOGITS = st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=12)
# Equal, or so far apart that no temperature rounds the difference away.
APART = st.lists(st.integers(-240, 240).map(lambda eighths: eighths / 8), min_size=1, max_size=12)
TEMPERATURES = st.floats(0.05, 20)
TOP_KS = st.none() | st.integers(1, 14)
TOP_PS = st.none() | st.floats(0.01, 1)
LARGEST_BELOW_ONE = math.nextafter(1.0, 0.0)


def fresh(seed=0):
    return torch.Generator().manual_seed(seed)


def naive(logits, temperature, top_k, top_p):
    """Temperature, top-k, top-p in plain Python; also how close top-p came to another decision."""
    scaled = [logit / temperature for logit in logits]
    highest = max(scaled)
    weights = [math.exp(value - highest) for value in scaled]
    shares = [weight / math.fsum(weights) for weight in weights]
    ranked = sorted(range(len(shares)), key=lambda token: (-shares[token], token))
    kept, total, margin = [], 0.0, math.inf
    for token in ranked[:top_k]:
        if top_p is not None:
            margin = min(margin, abs(total - top_p))
            if total >= top_p:
                break
        kept.append(token)
        total += shares[token]
    mass = math.fsum(shares[token] for token in kept)
    return [shares[token] / mass if token in kept else 0.0 for token in range(len(shares))], margin


@settings(deadline=None, max_examples=300)
@given(LOGITS, TEMPERATURES, TOP_KS, TOP_PS)
def test_the_distribution_equals_a_plain_python_reference(logits, temperature, top_k, top_p):
    expected, margin = naive(logits, temperature, top_k, top_p)
    assume(margin > 1e-9)  # on the edge itself rounding decides
    result = distribution(torch.tensor(logits), Sampling(temperature, top_k, top_p)).tolist()
    assert result == pytest.approx(expected, abs=1e-6)
    assert all(value == 0 for value, wanted in zip(result, expected, strict=True) if wanted == 0)
    assert all(value > 0 for value, wanted in zip(result, expected, strict=True) if wanted > 1e-30)


@settings(deadline=None, max_examples=200)
@given(LOGITS, st.floats(1e-300, 1e300), TOP_KS, TOP_PS)
def test_it_is_a_distribution_at_every_temperature(logits, temperature, top_k, top_p):
    result = distribution(torch.tensor(logits), Sampling(temperature, top_k, top_p))
    assert result.isfinite().all()
    assert (result >= 0).all()
    assert result.double().sum().item() == pytest.approx(1, abs=1e-6)


@settings(deadline=None, max_examples=100)
@given(LOGITS)
def test_temperature_one_without_truncation_is_the_softmax(logits):
    logits = torch.tensor(logits)
    torch.testing.assert_close(distribution(logits, Sampling()), logits.softmax(dim=-1), atol=1e-6, rtol=1e-5)


@settings(deadline=None, max_examples=100)
@given(APART, st.floats(1e-3, 1e3), TOP_KS, TOP_PS)
def test_the_most_likely_token_stays_the_most_likely_at_every_temperature(logits, temperature, top_k, top_p):
    logits = torch.tensor(logits)
    result = distribution(logits, Sampling(temperature, top_k, top_p))
    assert result[logits.argmax()] == result.max()
    assert result[logits.argmax()] > 0


@pytest.mark.parametrize("top_k", range(1, 9))
def test_top_k_keeps_exactly_k_tokens_also_on_ties(top_k):
    result = distribution(torch.zeros(8), Sampling(top_k=top_k))
    assert result.tolist() == pytest.approx([1 / top_k] * top_k + [0] * (8 - top_k))
    assert int((result > 0).sum()) == top_k


def test_among_thousands_of_equals_the_smaller_ids_stay():
    assert distribution(torch.zeros(5_000), Sampling(top_k=3)).nonzero().flatten().tolist() == [0, 1, 2]


def test_a_top_k_above_the_vocabulary_changes_nothing():
    logits = torch.randn(8, generator=fresh())
    torch.testing.assert_close(distribution(logits, Sampling(top_k=99)), distribution(logits, Sampling()))


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.001, 1), (0.5, 1), (0.51, 2), (0.74, 2), (0.76, 3), (0.88, 4), (1.0, 4)]
)
def test_top_p_keeps_the_fewest_tokens_that_reach_p(top_p, kept):
    logits = torch.tensor([0.125, 0.5, 0.125, 0.25]).log()
    result = distribution(logits, Sampling(top_p=top_p))
    order = [1, 3, 0, 2][:kept]
    assert sorted(result.nonzero().flatten().tolist()) == sorted(order)
    assert result.sum().item() == pytest.approx(1)


@pytest.mark.parametrize("size", [5, 10, 20, 100, 1000])
def test_of_equally_likely_tokens_top_p_keeps_the_share_itself(size):
    for count in range(1, size + 1):
        kept = distribution(torch.zeros(size), Sampling(top_p=count / size)) > 0
        assert kept.sum() == count


def test_a_top_p_of_one_keeps_every_token_however_unlikely():
    logits = torch.cat([torch.zeros(50), torch.full((20,), -38.0)]).double()
    assert torch.equal(distribution(logits, Sampling(top_p=1.0)), distribution(logits, Sampling()))


@settings(deadline=None, max_examples=200)
@given(LOGITS, st.floats(0.01, 0.99))
def test_top_p_is_a_share_of_the_whole_vocabulary_and_one_token_less_would_not_reach_it(logits, top_p):
    whole = distribution(torch.tensor(logits).double(), Sampling())
    kept = distribution(torch.tensor(logits).double(), Sampling(top_p=top_p)) > 0
    assert whole[kept].sum() >= top_p - 1e-9
    assert whole[kept].sum() - whole[kept].min() < top_p + 1e-9
    if not kept.all():
        assert whole[kept].min() >= whole[~kept].max()


def test_top_p_counts_what_top_k_has_cut_away():
    """0.4 + 0.3 reach 0.65 of the whole vocabulary; of the two that top-k leaves, 0.4 would be 0.57."""
    logits = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    assert (distribution(logits, Sampling(top_k=2, top_p=0.65)) > 0).tolist() == [True, True, False, False]
    assert (distribution(logits, Sampling(top_k=2, top_p=0.39)) > 0).tolist() == [True, False, False, False]


def test_rows_are_treated_one_by_one():
    logits = torch.randn(2, 3, 9, generator=fresh())
    sampling = Sampling(0.7, 5, 0.8)
    together = distribution(logits, sampling)
    for row in range(2):
        for column in range(3):
            torch.testing.assert_close(together[row, column], distribution(logits[row, column], sampling))


@pytest.mark.parametrize("temperature", [1e-300, 1e-6, 1e-2])
def test_a_temperature_near_zero_is_greedy(temperature):
    result = distribution(torch.tensor([1.0, 3.0, 2.0]), Sampling(temperature))
    assert result.tolist() == pytest.approx([0, 1, 0], abs=1e-30)


@pytest.mark.parametrize("temperature", [1e6, 1e300])
def test_a_very_large_temperature_is_uniform(temperature):
    result = distribution(torch.tensor([1.0, 3.0, 2.0]), Sampling(temperature))
    assert result.tolist() == pytest.approx([1 / 3] * 3, abs=1e-5)


def test_logits_far_apart_stay_finite():
    assert distribution(torch.tensor([-3e38, 3e38]), Sampling(0.01)).tolist() == [0, 1]


def test_the_logits_are_left_as_they_were():
    logits = torch.randn(9, generator=fresh())
    kept = logits.clone()
    distribution(logits, Sampling(0.5, 3, 0.5))
    assert torch.equal(logits, kept)


SHARES = st.lists(st.just(0.0) | st.floats(1e-12, 1), min_size=1, max_size=12).filter(any)
UNIFORM = st.floats(0, LARGEST_BELOW_ONE) | st.sampled_from([0.0, LARGEST_BELOW_ONE, 0.5])


@settings(deadline=None, max_examples=400)
@given(SHARES, UNIFORM, st.sampled_from([torch.float32, torch.float64]), st.booleans())
def test_a_token_of_probability_zero_is_never_drawn(shares, uniform, dtype, normal):
    probabilities = torch.tensor([shares], dtype=dtype)
    if normal:
        probabilities = probabilities / probabilities.sum()
    with mock.patch.object(torch, "rand", return_value=torch.tensor([[uniform]], dtype=torch.float64)):
        picked = int(draw(probabilities))
    assert probabilities[0, picked] > 0


@settings(deadline=None, max_examples=200)
@given(SHARES, UNIFORM)
def test_the_draw_is_the_first_token_whose_running_sum_passes_the_number(shares, uniform):
    with mock.patch.object(torch, "rand", return_value=torch.tensor([[uniform]], dtype=torch.float64)):
        picked = int(draw(torch.tensor([shares], dtype=torch.float64)))
    running = list(accumulate(shares))
    assert picked == next(token for token, total in enumerate(running) if total > uniform * running[-1])


def test_draws_are_as_frequent_as_they_are_probable():
    probabilities = torch.tensor([0.0, 0.5, 0.3, 0.0, 0.15, 0.05, 0.0])
    n = 20_000
    picked = draw(probabilities.expand(n, -1), fresh(0))
    shares = (picked.bincount(minlength=7) / n).tolist()
    for share, p in zip(shares, probabilities.tolist(), strict=True):
        assert share == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / n))


def test_a_draw_is_replayed_by_its_generator_and_rows_are_independent():
    probabilities = torch.full((64, 5), 0.2)
    assert torch.equal(draw(probabilities, fresh(1)), draw(probabilities, fresh(1)))
    assert not torch.equal(draw(probabilities, fresh(1)), draw(probabilities, fresh(2)))
    assert len(set(draw(probabilities, fresh(1)).tolist())) == 5
    assert draw(probabilities, fresh()).shape == (64,)


def test_a_contest_is_the_softmax_of_the_largest_logits_alone():
    logits = torch.tensor([0.1, 2.0, -3.0, 1.0])
    found = contest(logits, 3, (1.0, 2.0))
    assert found.tokens == (1, 3, 0)
    assert found.logits == pytest.approx((2.0, 1.0, 0.1))
    for temperature, shares in zip((1.0, 2.0), found.shares, strict=True):
        powers = [math.exp(logit / temperature) for logit in (2.0, 1.0, 0.1)]
        assert shares == pytest.approx([power / sum(powers) for power in powers])
    assert [round(shares[0], 3) for shares in found.shares] == [0.659, 0.502]  # as the lecture's example says
