"""The decoder's face: what a trace holds, what is refused, and where its weights come from."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decoder import Decoder, DecoderConfig, KeyValueCache
from decoder.model.positions import sinusoidal_positions

CONFIG = DecoderConfig(vocab_size=13, context_length=7, n_layers=3, n_heads=4, d_model=24)
TOKENS = torch.randint(13, (2, 6), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "none"])
@pytest.mark.parametrize("causal", [True, False])
def test_forward_is_exactly_the_logits_of_the_trace(positions, causal):
    model = Decoder(DecoderConfig(13, 7, d_model=16, positions=positions, causal=causal))
    assert torch.equal(model(TOKENS), model.trace(TOKENS).logits)


def test_every_field_of_a_trace_has_the_shape_that_the_lecture_gives_it():
    B, T, H, D, C, V = 2, 6, 4, 6, 24, 13
    trace = Decoder(CONFIG).trace(TOKENS)
    assert trace.token_embeddings.shape == (B, T, C)
    assert trace.position_embeddings.shape == (T, C)
    assert trace.contextual_embeddings.shape == (B, T, C)
    assert trace.normalised.shape == (B, T, C)
    assert trace.logits.shape == (B, T, V)
    assert len(trace.blocks) == 3
    for block in trace.blocks:
        assert block.query.shape == block.key.shape == block.value.shape == (B, H, T, D)
        assert block.joined.shape == (B, T, C)
        assert block.attention_output.shape == block.mlp_output.shape == block.output.shape == (B, T, C)
        scores, masked_scores, weights, context = block.attention
        assert scores.shape == masked_scores.shape == weights.shape == (B, H, T, T)
        assert context.shape == (B, H, T, D)


def test_with_a_cache_rows_are_the_new_positions_and_keys_are_all():
    model, cache = Decoder(CONFIG), KeyValueCache(CONFIG, 2)
    model.trace(TOKENS[:, :4], cache=cache)
    trace = model.trace(TOKENS[:, 4:], cache=cache)
    for block in trace.blocks:
        assert block.query.shape == (2, 4, 2, 6)
        assert block.key.shape == block.value.shape == (2, 4, 6, 6)
        assert block.attention.weights.shape == (2, 4, 2, 6)
    assert torch.equal(trace.position_embeddings, model.position_table[4:6])


def test_the_residual_stream_is_the_sum_of_what_was_written_into_it():
    trace = Decoder(CONFIG).trace(TOKENS)
    stream = trace.token_embeddings + trace.position_embeddings
    for block in trace.blocks:
        stream = stream + block.attention_output + block.mlp_output
        torch.testing.assert_close(block.output, stream, atol=1e-5, rtol=1e-5)
    assert torch.equal(trace.blocks[-1].output, trace.contextual_embeddings)


def test_context_is_weights_times_values_in_every_layer():
    for block in Decoder(CONFIG).trace(TOKENS).blocks:
        torch.testing.assert_close(
            block.attention.context, torch.einsum("bhtk,bhkd->bhtd", block.attention.weights, block.value)
        )


def test_a_mask_of_ones_own_is_really_used_in_every_layer():
    model = Decoder(CONFIG)
    mask = torch.ones(6, 6, dtype=torch.bool).tril()
    mask[5, 2] = mask[3, 0] = False
    mask[0, 5] = True  # one look into the future
    custom = model.trace(TOKENS, mask=mask)
    for block in custom.blocks:
        assert torch.equal(block.attention.weights != 0, mask.expand_as(block.attention.weights))
    assert not torch.allclose(custom.logits[:, 0], model(TOKENS)[:, 0])
    ordinary = model.trace(TOKENS, mask=torch.ones(6, 6, dtype=torch.bool).tril())
    assert torch.equal(ordinary.logits, model(TOKENS))


def test_a_diagonal_mask_makes_every_position_an_island():
    model = Decoder(CONFIG)
    islands = model.trace(TOKENS, mask=torch.eye(6, dtype=torch.bool)).logits
    changed = TOKENS.clone()
    changed[:, 2] = (changed[:, 2] + 1) % 13
    after = model.trace(changed, mask=torch.eye(6, dtype=torch.bool)).logits
    others = [0, 1, 3, 4, 5]
    assert torch.equal(after[:, others], islands[:, others])
    assert not torch.equal(after[:, 2], islands[:, 2])


def test_an_open_mask_given_to_a_causal_decoder_equals_the_decoder_without_a_mask():
    causal = Decoder(CONFIG)
    bare = Decoder(DecoderConfig(13, 7, 3, 4, 24, causal=False))
    torch.testing.assert_close(
        causal.trace(TOKENS, mask=torch.ones(6, 6, dtype=torch.bool)).logits, bare(TOKENS)
    )


def test_a_sequence_longer_than_the_context_is_refused_with_both_numbers():
    with pytest.raises(ValueError, match="8 tokens; this decoder sees 7"):
        Decoder(CONFIG)(torch.zeros(1, 8, dtype=torch.int64))


def test_a_cache_that_would_outgrow_the_context_is_refused_with_both_numbers_and_stays_usable():
    model, cache = Decoder(CONFIG), KeyValueCache(CONFIG, 2)
    model.trace(TOKENS, cache=cache)
    with pytest.raises(ValueError, match="12 tokens; this decoder sees 7"):
        model.trace(TOKENS, cache=cache)
    assert cache.length == 6
    model.trace(TOKENS[:, :1], cache=cache)


def test_a_decoder_without_a_causal_mask_refuses_a_cache():
    config = DecoderConfig(13, 7, 3, 4, 24, causal=False)
    with pytest.raises(ValueError, match="use no cache"):
        Decoder(config).trace(TOKENS, cache=KeyValueCache(config, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_cache_holds_the_precision_of_its_decoder(dtype):
    model = Decoder(CONFIG).to(dtype)
    cache = KeyValueCache(CONFIG, 2, dtype=dtype)
    first, second = (model.trace(part, cache=cache).logits for part in TOKENS.split((4, 2), dim=1))
    torch.testing.assert_close(torch.cat((first, second), dim=1), model(TOKENS))


@settings(deadline=None, max_examples=40)
@given(
    V=st.integers(2, 40),
    T=st.integers(1, 20),
    n_layers=st.integers(1, 4),
    n_heads=st.integers(1, 4),
    D=st.sampled_from([2, 4, 6]),
    positions=st.sampled_from(["learned", "sinusoidal", "none"]),
)
def test_the_configuration_knows_the_number_of_trained_parameters(V, T, n_layers, n_heads, D, positions):
    config = DecoderConfig(V, T, n_layers, n_heads, n_heads * D, positions)
    assert config.n_parameters == sum(parameter.numel() for parameter in Decoder(config).parameters())


def test_the_parameter_counts_are_those_of_the_lecture():
    sizes = {(59, 24): 109_184, (35, 9): 105_152, (58, 14): 108_416, (31, 15): 105_024, (14, 18): 103_040}
    assert {shape: DecoderConfig(*shape).n_parameters for shape in sizes} == sizes


def test_equal_seeds_give_bit_identical_weights_whatever_torchs_global_seed():
    states = []
    for seed, global_seed in ((3, 0), (3, 99), (4, 0)):
        torch.manual_seed(global_seed)
        torch.rand(global_seed)
        before = torch.get_rng_state()
        states.append(Decoder(CONFIG, seed=seed).state_dict())
        assert torch.equal(torch.get_rng_state(), before)
    first, same, other = states
    assert all(torch.equal(first[name], same[name]) for name in first)
    drawn = [name for name in first if "norm" not in name]
    assert not any(torch.equal(first[name], other[name]) for name in drawn)


@pytest.mark.parametrize(("positions", "spread"), [("learned", 0.02), ("sinusoidal", 0.3), ("none", 0.3)])
def test_initial_weights_are_those_that_the_configuration_of_the_lecture_names(positions, spread):
    model = Decoder(DecoderConfig(200, 100, positions=positions))
    assert model.token_table.weight.std().item() == pytest.approx(spread, rel=0.05)
    if positions == "learned":
        assert model.position_table.std().item() == pytest.approx(0.02, rel=0.05)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            assert (parameter == (1 if name.endswith("weight") else 0)).all()
    for layer in (model.blocks[0].mlp_out, model.blocks[1].query_key_value, model.output):
        bound = layer.in_features**-0.5
        assert 0.95 * bound < layer.weight.abs().max() <= bound


def test_positions_are_trained_only_if_they_are_learned():
    for positions, trained in (("learned", True), ("sinusoidal", False), ("none", False)):
        model = Decoder(DecoderConfig(13, 7, positions=positions))
        assert ("position_table" in dict(model.named_parameters())) is trained
        assert ("position_table" in model.state_dict()) is trained


def test_without_positions_the_position_embeddings_are_exactly_zero():
    model = Decoder(DecoderConfig(13, 7, positions="none"))
    assert (model.trace(TOKENS).position_embeddings == 0).all()


def test_sinusoidal_positions_follow_the_formula_of_the_paper():
    import math

    table = sinusoidal_positions(50, 16)
    for position in range(50):
        for pair in range(8):
            angle = position / 10_000 ** (2 * pair / 16)
            assert table[position, 2 * pair].item() == pytest.approx(math.sin(angle), abs=1e-5)
            assert table[position, 2 * pair + 1].item() == pytest.approx(math.cos(angle), abs=1e-5)


def test_a_decoder_uses_the_sinusoidal_table():
    model = Decoder(DecoderConfig(13, 7, positions="sinusoidal", d_model=16))
    assert torch.equal(model.trace(TOKENS).position_embeddings, sinusoidal_positions(6, 16))
