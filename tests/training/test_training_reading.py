"""How a decoder reads a batch, against -ln p worked out cell by cell in NumPy and row by row through the decoder."""

import numpy as np
import pytest
import torch

from decoder import Batch, Decoder, DecoderConfig
from decoder.training.reading import after_prefix, read, replace_token, target_arithmetic

PAD = 0
ROWS = torch.tensor([[1, 5, 6, 2, PAD, PAD], [1, 4, 3, 5, 6, 2], [1, 2, PAD, PAD, PAD, PAD]])
BATCH = Batch.from_sequences(ROWS, PAD)


@pytest.fixture(scope="module")
def model():
    return Decoder(DecoderConfig(vocab_size=7, context_length=5, n_layers=2, n_heads=2, d_model=16), seed=3)


def nats(model, row, position):
    """-ln p of the token after `position`, from a pass over the row's prefix alone."""
    with torch.no_grad():
        logits = model(ROWS[row : row + 1, : position + 1])[0, -1].double().numpy()
    return np.log(np.exp(logits).sum()) - logits[ROWS[row, position + 1]]


def test_every_real_target_costs_minus_the_logarithm_of_its_probability(model):
    reading = read(model, BATCH)
    for row in range(3):
        for position in range(5):
            real = ROWS[row, position + 1] != PAD
            expected = nats(model, row, position) if real else 0
            assert reading.losses[row, position].item() == pytest.approx(expected, abs=1e-5)
            assert reading.probabilities[row, position].item() == pytest.approx(np.exp(-expected), abs=1e-5)


def test_after_a_prefix_nothing_behind_it_is_read(model):
    for position in range(3):
        expected = np.exp(-nats(model, 0, position))
        found = after_prefix(model, ROWS[0, : position + 1].tolist(), int(ROWS[0, position + 1]))
        assert found == pytest.approx(expected, abs=1e-6)


def test_the_means_divide_one_sum_by_the_real_targets_or_by_all_cells(model):
    reading = read(model, BATCH)
    real = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (1, 3), (1, 4), (2, 0)]
    total = sum(nats(model, *cell) for cell in real)
    assert (reading.real, reading.cells) == (9, 15)
    assert reading.loss == pytest.approx(total / 9, abs=1e-5)
    assert reading.padded_loss == pytest.approx(total / 15, abs=1e-5)
    assert reading.uniform_loss == pytest.approx(np.log(7))
    means = [np.mean([nats(model, *cell) for cell in real if cell[0] == row]) for row in range(3)]
    assert reading.row_means.tolist() == pytest.approx(means, abs=1e-5)


def test_what_the_pads_would_cost_is_computed_and_not_assumed(model):
    reading = read(model, BATCH)
    pads = [(0, 3), (0, 4), (2, 1), (2, 2), (2, 3), (2, 4)]
    assert reading.pad_losses.tolist() == pytest.approx([nats(model, *cell) for cell in pads], abs=1e-5)


def test_the_arithmetic_of_a_target_ends_in_its_loss():
    logits = torch.tensor([2.0, 1.0, 0.1, -3.0])
    exact = np.exp([2.0, 1.0, 0.1, -3.0])
    spelled = target_arithmetic(logits, 1, shown=2)
    assert spelled.loss == pytest.approx(-np.log(exact[1] / exact.sum()))
    assert spelled.log_total == pytest.approx(np.log(exact.sum()))
    assert (spelled.target, spelled.logit, spelled.rank, spelled.shown) == (1, 1.0, 2, (0, 1))
    assert spelled.logits == pytest.approx([2.0, 1.0, 0.1, -3.0])
    assert spelled.probabilities == pytest.approx(exact / exact.sum())


def test_a_target_with_a_small_logit_is_shown_all_the_same():
    spelled = target_arithmetic(torch.tensor([2.0, 1.0, 0.1, -3.0]), 3, shown=2)
    assert (spelled.shown, spelled.rank) == ((0, 3), 4)


def test_a_replaced_token_changes_its_own_row_from_there_on_and_no_other(model):
    changes = replace_token(model, BATCH, 1, 2, 6)
    assert changes.shape == (3, 5)
    assert bool((changes[[0, 2]] == 0).all())
    assert bool((changes[1, :2] == 0).all())
    altered = BATCH.inputs.clone()
    altered[1, 2] = 6
    with torch.no_grad():
        difference = (model(altered) - model(BATCH.inputs)).abs()[1].max(dim=1).values
    assert changes[1].tolist() == difference.tolist()
    assert changes[1, 2] > 0


def test_the_batch_itself_stays_as_it_is(model):
    before = BATCH.inputs.clone()
    replace_token(model, BATCH, 0, 0, 3)
    assert torch.equal(BATCH.inputs, before)
