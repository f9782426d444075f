"""The past does not depend on the future (G1, G2, G3): in parallel, prefix by prefix and with the cache."""

from itertools import pairwise

import pytest
import torch

from decoder import Decoder, DecoderConfig, KeyValueCache, TrainConfig, load_corpus, train

POSITIONS = ("learned", "sinusoidal", "none")
SHAPES = [
    DecoderConfig(11, 9, n_layers=1, n_heads=1, d_model=8),
    DecoderConfig(11, 9, n_layers=2, n_heads=4, d_model=32, positions="sinusoidal"),
    DecoderConfig(11, 9, n_layers=3, n_heads=2, d_model=16, positions="none"),
    DecoderConfig(35, 24, n_layers=2, n_heads=4, d_model=64),
]


def random_tokens(config, rows=8, length=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(config.vocab_size, (rows, length or config.context_length), generator=generator)


def amplify(model):
    """Make all weights larger, so that a leak would not drown in small embeddings."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    return model


@pytest.fixture(scope="module")
def trained():
    """Decoders after 30 steps on ibm, by kind of positions."""
    models = {}
    for positions in POSITIONS:
        config = DecoderConfig(35, 9, n_layers=2, n_heads=4, d_model=32, positions=positions)
        *_, last = train(TrainConfig("ibm", config, steps=30))
        models[positions] = last.model
    return models


@pytest.fixture(params=[*range(len(SHAPES)), *POSITIONS], ids=str)
def model_and_tokens(request, trained):
    if isinstance(request.param, int):
        model = amplify(Decoder(SHAPES[request.param], seed=request.param))
        return model, random_tokens(model.config)
    return trained[request.param], load_corpus("ibm").validation[:8].inputs


@torch.no_grad()
def test_the_parallel_pass_equals_the_passes_over_every_prefix(model_and_tokens):
    model, tokens = model_and_tokens
    parallel = model(tokens)
    for length in range(1, tokens.shape[1] + 1):
        assert (model(tokens[:, :length]) - parallel[:, :length]).abs().max() < 1e-4


@pytest.mark.parametrize("pieces", ["one by one", "prompt first", "in chunks"])
@torch.no_grad()
def test_the_cached_pass_equals_the_parallel_pass(model_and_tokens, pieces):
    model, tokens = model_and_tokens
    T = tokens.shape[1]
    cuts = {"one by one": range(T + 1), "prompt first": [0, *range(4, T + 1)], "in chunks": [0, 2, 5, 6, T]}[
        pieces
    ]
    cache = KeyValueCache(model.config, len(tokens))
    passes = []
    for begin, end in pairwise(cuts):
        passes.append(model.trace(tokens[:, begin:end], cache=cache).logits)
        assert cache.length == end
    assert (torch.cat(passes, dim=1) - model(tokens)).abs().max() < 1e-4


@torch.no_grad()
def test_changing_a_future_token_leaves_past_logits_unchanged_to_the_last_bit(model_and_tokens):
    model, tokens = model_and_tokens
    before = model.trace(tokens)
    for j in range(tokens.shape[1]):
        changed = tokens.clone()
        changed[:, j] = (changed[:, j] + 1) % model.config.vocab_size
        after = model.trace(changed)
        assert torch.equal(after.logits[:, :j], before.logits[:, :j])
        assert torch.equal(after.contextual_embeddings[:, :j], before.contextual_embeddings[:, :j])
        for past, now in zip(before.blocks, after.blocks, strict=True):
            assert torch.equal(now.attention.weights[:, :, :j], past.attention.weights[:, :, :j])
        assert not torch.equal(after.logits[:, j:], before.logits[:, j:])


@pytest.mark.parametrize("positions", POSITIONS)
@torch.no_grad()
def test_without_the_mask_a_changed_future_token_moves_the_past(positions):
    config = DecoderConfig(35, 24, positions=positions, causal=False)
    model = amplify(Decoder(config))
    tokens = random_tokens(config)
    changed = tokens.clone()
    changed[:, 12] = (changed[:, 12] + 1) % config.vocab_size
    moved = (model(changed) - model(tokens))[:, :12].abs().amax(dim=(1, 2))
    assert moved.mean() > 0.05


@torch.no_grad()
def test_no_gradient_of_a_logit_reaches_a_later_token(model_and_tokens):
    model, tokens = model_and_tokens
    reached = []
    with torch.enable_grad():
        handle = model.token_table.register_forward_hook(lambda *call: reached.append(call[-1]))
        logits = model(tokens)
        handle.remove()
        (gradient,) = torch.autograd.grad(logits[:, 4].sum(), reached)
    assert (gradient[:, 5:] == 0).all()
    assert (gradient[:, :5] != 0).any(dim=-1).all()


@torch.no_grad()
def test_weights_above_the_diagonal_are_exactly_zero_and_rows_sum_to_one(model_and_tokens):
    model, tokens = model_and_tokens
    T = tokens.shape[1]
    future = torch.tensor([[column > row for column in range(T)] for row in range(T)])
    for block in model.trace(tokens).blocks:
        weights, masked = block.attention.weights, block.attention.masked_scores
        assert (weights[..., future] == 0).all()
        assert (weights.sum(-1) - 1).abs().max() < 1e-6
        assert masked[..., future].isneginf().all()
        assert masked[..., ~future].isfinite().all()
        assert block.attention.scores.isfinite().all()


@pytest.mark.parametrize("seed", [0, 1, 2])
@torch.no_grad()
def test_one_layer_without_positions_does_not_know_the_order_of_earlier_tokens_and_two_do(seed):
    tokens = torch.tensor([[1, *range(3, 14), 2]])
    order = torch.randperm(12, generator=torch.Generator().manual_seed(seed))
    shuffled = torch.cat((tokens[:, order], tokens[:, -1:]), dim=1)

    def change(n_layers, positions):
        model = Decoder(DecoderConfig(14, 18, n_layers=n_layers, positions=positions), seed=seed)
        return (model(shuffled) - model(tokens))[0, -1].abs().max().item()

    assert change(1, "none") < 1e-4
    assert change(2, "none") > 0.1
    assert change(1, "sinusoidal") > 0.01
