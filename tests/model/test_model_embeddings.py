"""x is a row of the table, p a row of the positions, and what is fed back is looked up like everything else."""

import numpy as np
import pytest
import torch

from decoder import Decoder, DecoderConfig
from decoder.model.embeddings import (
    decoder_inputs,
    difference,
    distinct_rows,
    feed_back,
    first_with_twin,
    other_pair,
    predictions,
    reach,
    twins,
)

ROWS = [[1, 3, 4, 2, 0], [1, 4, 4, 3, 2]]


def decoder(positions="learned", **changes):
    settings = {"n_layers": 2, "n_heads": 2, "d_model": 8, **changes}
    return Decoder(DecoderConfig(6, 5, positions=positions, **settings), seed=3)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "none"])
def test_the_inputs_are_rows_of_the_two_tables_and_their_sum(positions):
    model = decoder(positions)
    inputs = decoder_inputs(model, ROWS)
    table = model.token_table.weight.detach().numpy()
    places = model.position_table.detach().numpy()
    for row, ids in enumerate(ROWS):
        for time, token in enumerate(ids):
            assert np.array_equal(inputs.embeddings[row, time], table[token])
            assert np.array_equal(inputs.positions[time], places[time])
            assert np.array_equal(inputs.sums[row, time], table[token] + places[time])
    assert inputs.embeddings.numel() == 2 * 5 * 8
    assert not any(part.requires_grad for part in inputs)


def test_the_sum_is_what_the_first_block_reads():
    model = decoder()
    read = []
    handle = model.blocks[0].register_forward_pre_hook(lambda _, given: read.append(given[0]))
    model(torch.tensor(ROWS))
    handle.remove()
    assert torch.equal(read[0], decoder_inputs(model, ROWS).sums)


@pytest.mark.parametrize(("positions", "moved"), [("learned", True), ("sinusoidal", True), ("none", False)])
def test_equal_ids_have_equal_vectors_until_positions_are_added(positions, moved):
    model = decoder(positions)
    found = difference(decoder_inputs(model, ROWS), (1, 1), (1, 2))
    places = model.position_table.detach().numpy()
    assert found.embedding == 0
    assert found.position == np.abs(places[1] - places[2]).max()
    assert (found.total > 0) == moved
    assert difference(decoder_inputs(model, ROWS), (0, 2), (1, 2)) == (0, 0, 0)
    other = difference(decoder_inputs(model, ROWS), (0, 1), (1, 1))
    table = model.token_table.weight.detach().numpy()
    assert other.embedding == np.abs(table[3] - table[4]).max()
    assert other.position == 0


def test_twins_are_all_other_cells_of_one_id_those_at_another_time_first():
    assert twins(ROWS, (1, 2)) == [(1, 1), (0, 2)]
    assert twins(ROWS, (0, 0)) == [(1, 0)]
    assert twins(ROWS, (0, 4)) == []
    assert first_with_twin(ROWS) == (0, 1)
    assert first_with_twin([[1, 3, 4], [1, 3, 3]]) == (0, 1)
    assert first_with_twin([[1, 3, 4], [1, 5, 3]]) == (0, 1)
    assert first_with_twin([[1, 3, 0, 0], [1, 3, 5, 5]], pad=0) == (
        1,
        2,
    )  # at different times, and no padding
    assert first_with_twin([[1, 3, 0, 0], [1, 3, 5, 6]], pad=0) == (0, 1)  # else at the same time
    assert first_with_twin([[1, 3, 4], [1, 5, 4]]) == (0, 2)
    assert first_with_twin([[1, 3], [1, 5]]) == first_with_twin([[1, 3], [2, 5]]) == (0, 0)


def test_the_other_pair_shares_an_id_and_is_not_the_one_that_is_shown():
    assert other_pair([[1, 3, 4], [1, 5, 4]], [(0, 2), (1, 2)]) == ((0, 0), (1, 0))
    assert other_pair([[1, 3, 4], [1, 5, 4]], [(0, 0), (1, 0)]) == ((0, 2), (1, 2))
    assert other_pair([[1, 3], [1, 5], [1, 6]], [(0, 0), (1, 0)]) == ((0, 0), (2, 0))
    assert other_pair([[1, 3], [1, 5]], [(0, 0), (1, 0)]) is None
    assert other_pair([[1, 3], [2, 5]], [(0, 0)]) is None


@pytest.mark.parametrize("tokens", [[1], [1, 3, 4], [1, 3, 4, 2, 0]])
def test_a_token_that_is_fed_back_is_its_row_of_the_table(tokens):
    model = decoder()
    for token in range(6):
        fed = feed_back(model, tokens, token)
        assert fed.is_row
        assert fed.vector.tolist() == model.token_table.weight[token].tolist()


def test_a_vector_that_is_no_row_is_found_out(monkeypatch):
    model = decoder()
    trace = model.trace

    def spoiled(tokens):
        return (found := trace(tokens))._replace(token_embeddings=found.token_embeddings + 1e-6)

    monkeypatch.setattr(model, "trace", spoiled)
    assert not feed_back(model, [1, 3], 4).is_row


def test_a_prediction_is_the_place_of_the_largest_logit_after_each_prefix():
    model = decoder()
    expected = [
        int(model(torch.tensor([ROWS[0][:end]]))[0, -1].detach().numpy().argmax()) for end in range(1, 6)
    ]
    assert predictions(model, ROWS[0]) == expected


def test_without_a_mask_a_prediction_is_made_from_its_prefix_alone():
    model = decoder("sinusoidal", causal=False)
    with torch.no_grad():
        expected = [int(model(torch.tensor([ROWS[0][:end]]))[0, -1].argmax()) for end in range(1, 6)]
        at_once = model(torch.tensor([ROWS[0]]))[0].argmax(dim=1).tolist()
    assert at_once != expected  # it reads what comes
    assert predictions(model, ROWS[0]) == expected


def test_equal_rows_of_a_table_count_once():
    table = torch.tensor([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0]])
    assert distinct_rows(table) == 2
    assert distinct_rows(decoder().token_table.weight) == 6


def test_the_scale_reaches_the_greatest_number_and_is_never_empty():
    assert reach(torch.tensor([0.5, -2.0]), torch.tensor([1.0])) == 2
    assert reach(torch.zeros(3)) == 1
