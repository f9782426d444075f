"""The chain rule: the probability of a sentence is the product of what generation says step by step."""

import math

import pytest
import torch

from decoder import Decoder, DecoderConfig, Sampling, generate, load_corpus, log_probabilities, perplexity

IBM = load_corpus("ibm")


@pytest.fixture
def model():
    model = Decoder(DecoderConfig(35, 9, 2, 2, 16), seed=1)
    with torch.no_grad():
        model.output.weight.mul_(8)
    return model


@torch.no_grad()
def conditionals(model, tokens):
    """ln p(token t | all before it), one growing pass each, in Python's own arithmetic."""
    values = []
    for t in range(1, len(tokens)):
        logits = model(torch.tensor([tokens[:t]]))[0, -1].double().tolist()
        values.append(logits[tokens[t]] - math.log(math.fsum(math.exp(logit) for logit in logits)))
    return values


@pytest.mark.parametrize("length", [2, 3, 9, 10])
def test_log_probabilities_are_the_conditionals_of_growing_prefixes(model, length):
    tokens = torch.randint(35, (length,), generator=torch.Generator().manual_seed(length)).tolist()
    result = log_probabilities(model, tokens)
    assert result.shape == (length - 1,)
    assert result.tolist() == pytest.approx(conditionals(model, tokens), abs=1e-5)
    assert torch.equal(log_probabilities(model, torch.tensor(tokens)), result)


def test_without_a_mask_each_prefix_is_read_by_itself_and_the_target_by_none(model):
    blind = Decoder(DecoderConfig(35, 9, 2, 2, 16, causal=False), seed=1)
    blind.load_state_dict(model.state_dict())
    tokens = [1, 30, 4, 17, 22, 8]
    result = log_probabilities(blind, tokens)
    assert result.tolist() == pytest.approx(conditionals(blind, tokens), abs=1e-5)
    steps = list(generate(blind, IBM.tokenizer, "", Sampling(seed=3), 6))
    written = [*steps[-1].tokens, steps[-1].picked]
    said = [step.log_probability for step in steps]
    assert log_probabilities(blind, written).tolist() == pytest.approx(said, abs=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_their_sum_is_the_log_probability_of_what_was_generated(model, seed):
    steps = list(generate(model, IBM.tokenizer, "", Sampling(seed=seed), 9))
    written = [*steps[-1].tokens, steps[-1].picked]
    result = log_probabilities(model, written)
    assert result.tolist() == pytest.approx([step.log_probability for step in steps], abs=1e-5)
    assert result.sum().item() == pytest.approx(sum(step.log_probability for step in steps), abs=1e-4)


def test_the_probabilities_of_all_sequences_sum_to_one():
    small = Decoder(DecoderConfig(3, 4, 1, 1, 8), seed=0)
    rows = torch.cartesian_prod(*[torch.arange(3)] * 4)
    total = sum(log_probabilities(small, [0, *row]).sum().exp().item() for row in rows.tolist())
    assert len(rows) == 81
    assert total == pytest.approx(1, abs=1e-5)


def test_perplexity_is_exp_of_the_mean_surprise(model):
    tokens = [1, 5, 9, 20, 3]
    surprises = [-value for value in conditionals(model, tokens)]
    assert perplexity(model, tokens) == pytest.approx(math.exp(sum(surprises) / len(surprises)), rel=1e-5)


def test_the_perplexity_of_equal_chances_is_the_size_of_the_vocabulary(model):
    with torch.no_grad():
        model.output.weight.zero_()
    assert perplexity(model, [1, 5, 9]) == pytest.approx(35, rel=1e-5)


@pytest.mark.parametrize("tokens", [[], [1], torch.tensor(3), torch.zeros(1, 4, dtype=torch.int64)], ids=str)
def test_fewer_than_two_tokens_in_a_row_are_refused_with_their_number(model, tokens):
    given = tokens.numel() if isinstance(tokens, torch.Tensor) else len(tokens)
    with pytest.raises(ValueError, match=rf"^{given} tokens were given.*at least 2"):
        log_probabilities(model, tokens)


def test_more_tokens_than_context_and_one_target_are_refused_with_both_numbers(model):
    assert len(log_probabilities(model, list(range(10)))) == 9
    with pytest.raises(ValueError, match="11 tokens were given; this decoder sees 9 and predicts one more"):
        log_probabilities(model, list(range(11)))


@pytest.mark.parametrize("tokens", [[1, 35], [1, -1], [99, 1], [1.0, 2.5]], ids=str)
def test_what_is_no_id_of_the_decoder_is_refused_with_the_ids_that_are(model, tokens):
    with pytest.raises(ValueError, match="ids from 0 to 34"):
        log_probabilities(model, tokens)


def test_no_gradient_is_recorded(model):
    assert not log_probabilities(model, [1, 2, 3]).requires_grad
    assert torch.is_grad_enabled()
