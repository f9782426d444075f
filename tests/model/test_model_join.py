"""A cached generation, put together, is the parallel pass: every stage of every layer."""

import pytest
import torch

from decoder import Decoder, DecoderConfig, KeyValueCache
from decoder.model.decoder import join_traces


def every_field(trace):
    """Name -> tensor for all tensors of a trace."""
    fields = {name: getattr(trace, name) for name in trace._fields if name != "blocks"}
    for layer, block in enumerate(trace.blocks):
        for name in block._fields:
            part = getattr(block, name)
            if name == "attention":
                fields |= {f"{layer}.{stage}": getattr(part, stage) for stage in part._fields}
            else:
                fields[f"{layer}.{name}"] = part
    return fields


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "none"])
@pytest.mark.parametrize("sizes", [(1,) * 9, (4, 1, 1, 1, 1, 1), (9,), (3, 2, 4)], ids=str)
@torch.no_grad()
def test_joined_passes_equal_the_parallel_pass_in_every_field(positions, sizes):
    config = DecoderConfig(11, 9, n_layers=3, n_heads=2, d_model=16, positions=positions)
    model, cache = Decoder(config), KeyValueCache(config, 2)
    model.token_table.weight.mul_(5)
    tokens = torch.randint(11, (2, 9), generator=torch.Generator().manual_seed(0))
    joined = join_traces([model.trace(part, cache=cache) for part in tokens.split(sizes, dim=1)])
    parallel = every_field(model.trace(tokens))
    for name, field in every_field(joined).items():
        torch.testing.assert_close(field, parallel[name], atol=1e-4, rtol=0, msg=f"{name} differs")
    above = torch.ones(9, 9, dtype=torch.bool).triu(1)
    for block in joined.blocks:
        assert block.attention.scores.isfinite().all()
        assert (block.attention.scores[..., above] != 0).all()
        assert (block.attention.weights[..., above] == 0).all()


@torch.no_grad()
def test_a_step_that_was_kept_does_not_change_when_the_generation_goes_on():
    config = DecoderConfig(11, 9, n_layers=2, n_heads=2, d_model=16)
    model, cache = Decoder(config), KeyValueCache(config, 1)
    tokens = torch.randint(11, (1, 9), generator=torch.Generator().manual_seed(0))
    early = model.trace(tokens[:, :5], cache=cache)
    kept = {name: field.clone() for name, field in every_field(early).items()}
    for column in range(5, 9):
        model.trace(tokens[:, column : column + 1], cache=cache)
    assert all(torch.equal(field, kept[name]) for name, field in every_field(early).items())
