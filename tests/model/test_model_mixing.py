"""What weights do: each number against its own formula, written out here without the library."""

import math

import pytest
import torch
from torch.nn import functional

from decoder import Decoder, DecoderConfig
from decoder.model import mixing

CONFIG = DecoderConfig(vocab_size=13, context_length=7, n_layers=3, n_heads=4, d_model=24)
TOKENS = torch.randint(13, (1, 6), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def model():
    return Decoder(CONFIG, seed=3)


@pytest.fixture(scope="module")
def trace(model):
    with torch.no_grad():
        return model.trace(TOKENS)


def test_the_output_of_a_head_is_the_weighted_sum_of_values(trace):
    for layer, head, row in ((0, 0, 0), (1, 3, 5), (2, 1, 2)):
        block = trace.blocks[layer]
        mixture = mixing.mix_values(block, head, row)
        weights, values = block.attention.weights[0, head, row].tolist(), block.value[0, head].tolist()
        for at in range(6):
            total = math.fsum(
                weight * value[at] for weight, value in zip(weights[: row + 1], values, strict=False)
            )
            assert mixture.total[at] == pytest.approx(total, abs=1e-6)
            assert block.joined[0, row, 6 * head + at] == pytest.approx(total, abs=1e-6)
        assert mixture.difference < 1e-6
    assert torch.equal(mixing.mix_values(trace.blocks[0], 2, 0).total, trace.blocks[0].value[0, 2, 0])


def test_a_wrong_context_is_noticed(trace):
    block = trace.blocks[0]
    wrong = block._replace(attention=block.attention._replace(context=block.attention.context + 0.5))
    assert mixing.mix_values(wrong, 0, 3).difference == pytest.approx(0.5, abs=1e-6)


def test_the_stages_of_a_block_lead_from_its_input_to_its_output(model, trace):
    stream = trace.token_embeddings + trace.position_embeddings
    for layer, block in enumerate(trace.blocks):
        path = {stage.name: stage.vector for stage in mixing.stages(trace, layer, 4)}
        torch.testing.assert_close(path["input"], stream[0, 4])
        parts = [block.attention.context[0, head, 4] for head in range(4)]
        torch.testing.assert_close(path["heads joined"], torch.cat(parts))
        module = model.blocks[layer]
        weight, bias = module.attention_projection.weight, module.attention_projection.bias
        torch.testing.assert_close(path["attention output"], weight @ path["heads joined"] + bias)
        torch.testing.assert_close(path["input + attention"], stream[0, 4] + path["attention output"])
        torch.testing.assert_close(path["block output"], path["input + attention"] + path["MLP output"])
        assert ("final norm" in path) == (layer == 2)
        assert max(mixing.stage_differences(model, trace, layer, 4)) < 1e-5
        stream = block.output
    norm = functional.layer_norm(stream[0, 4], (24,), model.final_norm.weight, model.final_norm.bias)
    torch.testing.assert_close(path["final norm"], norm)
    torch.testing.assert_close(trace.logits[0, 4], model.output.weight @ path["final norm"])


def test_what_a_block_adds_has_this_length(trace):
    changes = mixing.block_changes(trace)
    assert changes.shape == (3, 6)
    for layer, block in enumerate(trace.blocks):
        for t in range(6):
            added = (block.attention_output + block.mlp_output)[0, t].tolist()
            assert changes[layer, t] == pytest.approx(math.hypot(*added), rel=1e-4)


def test_after_all_blocks_the_lens_shows_the_logits_and_before_them_what_the_output_layer_makes(model, trace):
    assert torch.equal(mixing.logits_after(model, trace, 3), trace.logits[0])
    for layers in range(3):
        given = mixing.block_input(trace, layers)[0]
        expected = model.output(model.final_norm(given))
        torch.testing.assert_close(mixing.logits_after(model, trace, layers), expected)
    assert torch.equal(mixing.block_input(trace, 0), trace.token_embeddings + trace.position_embeddings)


def test_entropy_lies_between_one_place_and_all_alike(trace):
    assert mixing.entropies(torch.tensor([[1.0, 0.0, 0.0]])).tolist() == [0.0]
    assert mixing.entropies(torch.full((1, 3), 1 / 3)).item() == pytest.approx(math.log(3), abs=1e-6)
    for row, entropy in enumerate(mixing.entropies(trace.blocks[1].attention.weights[0, 2]).tolist()):
        assert -1e-9 <= entropy <= math.log(row + 1) + 1e-6


def test_received_is_the_mean_over_the_rows_that_may_look_and_have_a_choice(trace):
    attention = trace.blocks[0].attention
    received = mixing.received(attention.weights, attention.masked_scores)[0, 1].tolist()
    weights = attention.weights[0, 1].tolist()
    rows = mixing.lookers(attention.masked_scores)[0, 1].sum(dim=0).tolist()
    assert rows == [5, 5, 4, 3, 2, 1], "row 0 has no choice"
    for key, value in enumerate(received):
        looking = [weights[row][key] for row in range(max(key, 1), 6)]
        assert value == pytest.approx(math.fsum(looking) / len(looking), rel=1e-5)
    assert mixing.have_choice(attention.masked_scores)[0, 1].tolist() == [False] + [True] * 5
    assert mixing.received(torch.ones(1, 1), torch.zeros(1, 1)).isnan().all()
    open_scores = torch.zeros(2, 2)  # without the mask every row has a choice
    assert torch.equal(
        mixing.received(torch.tensor([[0.25, 0.75], [0.5, 0.5]]), open_scores), torch.tensor([0.375, 0.625])
    )


def test_a_head_is_summed_up_over_the_rows_that_have_a_choice(trace):
    attention = trace.blocks[1].attention
    weights = attention.weights[0, 3].double().numpy()
    summary = mixing.summarise(attention.weights[0, 3], attention.masked_scores[0, 3])
    gains = []
    for key in range(6):
        rows = range(max(key, 1), 6)
        mean, even = (
            math.fsum(values) / len(rows)
            for values in ([weights[row, key] for row in rows], [1 / (row + 1) for row in rows])
        )
        gains.append((mean - even, key, mean, even, len(rows)))
    _, place, mean, even, rows = max(gains)
    assert (summary.place, summary.rows) == (place, rows)
    assert (summary.mean, summary.even) == pytest.approx((mean, even), rel=1e-5)
    spread = [-math.fsum(w * math.log(w) for w in weights[row, : row + 1]) for row in range(1, 6)]
    assert summary.entropy == pytest.approx(math.fsum(spread) / 5, rel=1e-5)


def test_the_weights_of_all_layers_are_those_of_the_trace(model, trace):
    weights = mixing.all_weights(model, TOKENS)
    assert torch.equal(weights, torch.stack([block.attention.weights[0] for block in trace.blocks]))


@pytest.mark.parametrize(
    ("weights", "first"),
    [
        ([[0.1, 0.2], [0.5, 0.4], [0.6, 0.7]], (40, [0, 1])),
        ([[0.1, 0.2], [0.7, 0.4], [0.6, 0.9]], (20, [0])),
        ([[0.1, 0.2], [0.5, 0.4], [0.5, 0.5]], None),
    ],
)
def test_a_weight_is_first_above_one_half_where_it_exceeds_it(weights, first):
    assert mixing.first_above([10, 20, 40], torch.tensor(weights)) == first


def test_the_greatest_logits_of_any_position_are_chosen_in_the_order_of_their_ids():
    logits = torch.tensor([[0.0, 5.0, -1.0, 2.0], [9.0, 0.0, -2.0, 3.0]])
    assert mixing.greatest(logits, 2).tolist() == [0, 1]
    assert mixing.greatest(logits, 3).tolist() == [0, 1, 3]
    assert mixing.greatest(logits, 9).tolist() == [0, 1, 2, 3]


def test_the_bar_for_having_learned_to_look_is_above_what_equal_weights_give():
    assert mixing.halfway(1, 10) == mixing.halfway(1, 4) == 0.5
    assert mixing.halfway(7, 10) == pytest.approx(0.85), "equal weights give 0.7 already"
    masked = torch.zeros(3, 3).masked_fill(torch.ones(3, 3).triu(1).bool(), -torch.inf)
    even = torch.tensor([[1, 0, 0], [1 / 2, 1 / 2, 0], [1 / 3] * 3])
    assert torch.allclose(mixing.even_weights(masked), even)
