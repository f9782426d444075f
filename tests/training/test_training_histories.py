"""One decoder, two histories: what is fed is the truth or its own greedy picks, and nothing differs before the first slip."""

import pytest
import torch

from decoder import Decoder, load_corpus
from decoder.config import DecoderConfig
from decoder.training.histories import compare_histories

CORPUS = load_corpus("ibm")
BATCH = CORPUS.validation[:20]


def decoder(**settings):
    vocab_size = CORPUS.tokenizer.vocab_size
    return Decoder(
        DecoderConfig(vocab_size, CORPUS.context_length, n_layers=1, n_heads=2, d_model=16, **settings), 3
    )


@torch.no_grad()
def picked(model, row, time):
    """The most likely token after a growing sequence that begins with the first true one."""
    tokens = BATCH.inputs[row, :1].tolist()
    while len(tokens) <= time:
        tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))
    return tokens[time]


def test_the_first_slip_is_where_the_growing_sequence_leaves_the_truth():
    model = decoder()
    found = compare_histories(model, BATCH)
    for row in range(len(BATCH)):
        slip = found.first_slip([row])
        length = int(BATCH.keep[row].sum())
        wrong = [time for time in range(length) if picked(model, row, time) != BATCH.inputs[row, time]]
        if not wrong:
            assert slip is None
            continue
        time = wrong[0]
        assert slip == (
            row, time, picked(model, row, time), int(BATCH.inputs[row, time]), int(BATCH.targets[row, time])
        )  # fmt: skip
    assert found.first_slip([]) is None
    assert found.first_slip(range(len(BATCH))).row == min(
        row for row in range(len(BATCH)) if found.first_slip([row])
    )


@pytest.mark.parametrize("causal", [True, False])
def test_the_first_losses_are_equal_exactly_where_nothing_later_can_be_seen(causal):
    model = decoder(causal=causal)
    found = compare_histories(model, BATCH)
    for row in range(5):
        true, own = found.first_losses(row)
        with torch.no_grad():
            shares = model(BATCH.inputs[row : row + 1])[0, 0].log_softmax(dim=-1)
        assert true == pytest.approx(-shares[BATCH.targets[row, 0]].item(), rel=1e-5)
        assert (true == own) == causal
