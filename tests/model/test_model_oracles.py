"""The whole decoder against two independent ones: a NumPy forward written here, and Hugging Face's GPT-2."""

import math
import warnings

import numpy as np
import pytest
import torch

from decoder import Decoder, DecoderConfig

ERF = np.vectorize(math.erf, otypes=[np.float64])


def numpy_logits(weights, tokens, config):
    """Logits (T, V) of one sequence, position by position and head by head, in float64."""
    T, C, H = len(tokens), config.d_model, config.n_heads
    D = C // H

    def norm(x, name):
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def linear(x, name):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def gelu(x):
        return 0.5 * x * (1 + ERF(x / math.sqrt(2)))

    x = weights["token_table.weight"][tokens]
    for t in range(T):
        if config.positions == "learned":
            x[t] += weights["position_table"][t]
        elif config.positions == "sinusoidal":
            for i in range(0, C, 2):
                x[t, i] += math.sin(t / 10_000 ** (i / C))
                x[t, i + 1] += math.cos(t / 10_000 ** (i / C))
    for layer in range(config.n_layers):
        name = f"blocks.{layer}."
        query, key, value = np.split(
            linear(norm(x, name + "attention_norm"), name + "query_key_value"), 3, axis=1
        )
        merged = np.zeros((T, C))
        for head in range(H):
            columns = slice(head * D, (head + 1) * D)
            for t in range(T):
                seen = t + 1 if config.causal else T
                scores = [float(query[t, columns] @ key[k, columns]) / math.sqrt(D) for k in range(seen)]
                total = sum(math.exp(score) for score in scores)
                for k, score in enumerate(scores):
                    merged[t, columns] += math.exp(score) / total * value[k, columns]
        x = x + linear(merged, name + "attention_projection")
        x = x + linear(gelu(linear(norm(x, name + "mlp_norm"), name + "mlp_in")), name + "mlp_out")
    return norm(x, "final_norm") @ weights["output.weight"].T


def shaken(config, seed):
    """A decoder in which no weight is at its special initial value (norms are not 1 and 0)."""
    model = Decoder(config, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.3)
    return model


@pytest.mark.parametrize(
    "config",
    [
        DecoderConfig(11, 9, n_layers=2, n_heads=4, d_model=16),
        DecoderConfig(11, 9, n_layers=1, n_heads=1, d_model=6, positions="sinusoidal"),
        DecoderConfig(5, 4, n_layers=3, n_heads=2, d_model=10, positions="none"),
        DecoderConfig(11, 9, n_layers=2, n_heads=2, d_model=8, causal=False),
    ],
    ids=lambda config: f"{config.positions}-{config.causal}",
)
def test_the_decoder_equals_a_forward_pass_written_in_numpy(config):
    model = shaken(config, seed=1)
    rows = torch.randint(
        config.vocab_size, (3, config.context_length), generator=torch.Generator().manual_seed(2)
    )
    weights = {name: value.double().numpy() for name, value in model.state_dict().items()}
    expected = np.stack([numpy_logits(weights, row, config) for row in rows.tolist()])
    assert np.abs(expected).max() > 1  # the comparison is about real numbers
    np.testing.assert_allclose(model(rows).detach().numpy(), expected, atol=1e-4, rtol=1e-4)
    tolerance = 1e-5 if config.positions == "sinusoidal" else 1e-10  # the table itself is float32
    np.testing.assert_allclose(model.double()(rows).detach().numpy(), expected, atol=tolerance, rtol=1e-7)


@pytest.mark.parametrize("seed", [0, 1])
def test_with_copied_weights_the_decoder_equals_hugging_faces_gpt2(seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers' own deprecations at import are not ours
        from transformers import GPT2Config, GPT2LMHeadModel

        config = DecoderConfig(19, 12, n_layers=3, n_heads=4, d_model=32)
        gpt2 = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=19,
                n_positions=12,
                n_embd=32,
                n_layer=3,
                n_head=4,
                activation_function="gelu",  # the exact one; GPT-2's own is an approximation
                resid_pdrop=0.0,
                embd_pdrop=0.0,
                attn_pdrop=0.0,
                tie_word_embeddings=False,
                attn_implementation="eager",
                bos_token_id=1,
                eos_token_id=2,
            )
        ).eval()
    model = shaken(config, seed)

    def put(there, here, transposed=False):
        assert there.shape == (here.T if transposed else here).shape
        there.copy_(here.T if transposed else here)

    def put_both(there, here, transposed=False):
        put(there.weight, here.weight, transposed)
        put(there.bias, here.bias)

    with torch.no_grad():
        put(gpt2.transformer.wte.weight, model.token_table.weight)
        put(gpt2.transformer.wpe.weight, model.position_table)
        put_both(gpt2.transformer.ln_f, model.final_norm)
        put(gpt2.lm_head.weight, model.output.weight)
        for there, here in zip(gpt2.transformer.h, model.blocks, strict=True):
            put_both(there.ln_1, here.attention_norm)
            put_both(there.attn.c_attn, here.query_key_value, transposed=True)  # Conv1D stores (in, out)
            put_both(there.attn.c_proj, here.attention_projection, transposed=True)
            put_both(there.ln_2, here.mlp_norm)
            put_both(there.mlp.c_fc, here.mlp_in, transposed=True)
            put_both(there.mlp.c_proj, here.mlp_out, transposed=True)
        tokens = torch.randint(19, (4, 12), generator=torch.Generator().manual_seed(seed))
        theirs = gpt2(tokens, output_attentions=True, output_hidden_states=True)
        ours = model.trace(tokens)
    torch.testing.assert_close(ours.logits, theirs.logits, atol=1e-4, rtol=1e-4)
    for block, weights in zip(ours.blocks, theirs.attentions, strict=True):
        torch.testing.assert_close(block.attention.weights, weights, atol=1e-5, rtol=1e-4)
    for block, hidden in zip(ours.blocks, theirs.hidden_states[1:-1], strict=False):
        torch.testing.assert_close(block.output, hidden, atol=1e-4, rtol=1e-4)
