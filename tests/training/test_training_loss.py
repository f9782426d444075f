"""The loss by hand (G5): the mean of -ln p(true) over what counts, and over nothing else."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decoder import Batch, Decoder, DecoderConfig, load_corpus, next_token_loss, teacher_forced
from decoder.training.loss import loss_by_position, mean_loss, token_losses


def surprise(logits, target):
    """-ln p(target) in Python's own arithmetic."""
    highest = max(logits)
    return highest - logits[target] + math.log(sum(math.exp(value - highest) for value in logits))


def random_batch(seed, B, T, V, share):
    generator = torch.Generator().manual_seed(seed)
    inputs, targets = torch.randint(V, (2, B, T), generator=generator).unbind()
    keep = torch.rand((B, T), generator=generator) < share
    keep[0, T - 1] = True
    logits = 5 * torch.randn((B, T, V), generator=generator)
    return Batch(inputs, targets, keep), logits


CASES = given(
    seed=st.integers(0, 10_000),
    B=st.integers(1, 4),
    T=st.integers(1, 6),
    V=st.integers(2, 9),
    share=st.floats(0, 1),
)


@settings(deadline=None, max_examples=60)
@CASES
def test_the_loss_is_the_mean_surprise_of_the_kept_targets(seed, B, T, V, share):
    batch, logits = random_batch(seed, B, T, V, share)
    kept = [
        surprise(logits[b, t].tolist(), int(batch.targets[b, t]))
        for b in range(B)
        for t in range(T)
        if batch.keep[b, t]
    ]
    assert next_token_loss(logits, batch).item() == pytest.approx(sum(kept) / len(kept), rel=1e-5, abs=1e-6)


@settings(deadline=None, max_examples=60)
@CASES
def test_the_loss_by_position_is_the_mean_of_each_column_and_nan_where_nothing_counts(seed, B, T, V, share):
    batch, logits = random_batch(seed, B, T, V, share)
    losses = token_losses(logits, batch)
    columns = loss_by_position(losses, batch).tolist()
    for t, column in enumerate(columns):
        kept = [
            surprise(logits[b, t].tolist(), int(batch.targets[b, t])) for b in range(B) if batch.keep[b, t]
        ]
        if kept:
            assert column == pytest.approx(sum(kept) / len(kept), rel=1e-5, abs=1e-6)
        else:
            assert math.isnan(column)
    counts = batch.keep.sum(dim=0).tolist()
    total = sum(column * count for column, count in zip(columns, counts, strict=True) if count)
    assert mean_loss(losses, batch).item() == pytest.approx(total / sum(counts), rel=1e-5, abs=1e-6)


@settings(deadline=None, max_examples=60)
@CASES
def test_what_does_not_count_changes_neither_the_loss_nor_a_gradient(seed, B, T, V, share):
    batch, logits = random_batch(seed, B, T, V, share)
    elsewhere = torch.where(batch.keep, batch.targets, (batch.targets + 1) % V)
    noisy = torch.where(batch.keep[..., None], logits, logits + 3)
    changed = Batch(batch.inputs, elsewhere, batch.keep)
    assert torch.equal(next_token_loss(logits, batch), next_token_loss(noisy, changed))
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(next_token_loss(logits, batch), logits)
    assert (gradient[~batch.keep] == 0).all()
    assert (gradient[batch.keep] != 0).any(dim=-1).all()


def test_what_does_not_count_may_be_anything():
    batch, logits = random_batch(3, 4, 6, 5, 0.5)
    for anything in (torch.nan, torch.inf, -torch.inf):
        spoiled = torch.where(batch.keep[..., None], logits, anything)
        assert torch.equal(next_token_loss(spoiled, batch), next_token_loss(logits, batch))


def test_the_loss_is_recomputed_from_the_displayed_probabilities():
    corpus = load_corpus("ibm")
    batch = corpus.validation[:32]
    with torch.no_grad():
        logits = teacher_forced(Decoder(DecoderConfig(35, 9)), batch).logits
    probabilities = logits.double().softmax(dim=-1).tolist()
    kept = [
        -math.log(probabilities[b][t][target])
        for b, row in enumerate(batch.targets.tolist())
        for t, target in enumerate(row)
        if target != corpus.tokenizer.pad
    ]
    assert len(kept) < batch.targets.numel()
    assert next_token_loss(logits, batch).item() == pytest.approx(sum(kept) / len(kept), abs=1e-6)


def test_padding_never_counts_and_its_embedding_gets_no_gradient():
    corpus = load_corpus("ibm")
    batch, pad = corpus.batch(32, torch.Generator().manual_seed(0)), corpus.tokenizer.pad
    assert (batch.targets == pad).any()
    assert torch.equal(batch.keep, batch.targets != pad)
    model = Decoder(DecoderConfig(35, 9))
    loss = next_token_loss(teacher_forced(model, batch).logits, batch)
    other = torch.where(batch.keep, batch.targets, torch.full_like(batch.targets, 7))
    assert torch.equal(loss, next_token_loss(model(batch.inputs), Batch(batch.inputs, other, batch.keep)))
    loss.backward()
    assert (model.token_table.weight.grad[pad] == 0).all()
    assert (model.token_table.weight.grad[corpus.tokenizer.bos] != 0).any()


def test_a_prompt_is_never_scored():
    corpus = load_corpus("count")
    batch = corpus.batch(8, torch.Generator().manual_seed(0))
    assert not batch.keep[:, :4].any()
    assert batch.keep[:, 4:].all()
    model = Decoder(DecoderConfig(58, 14))
    logits = model(batch.inputs)
    (gradient,) = torch.autograd.grad(next_token_loss(logits, batch), logits)
    assert (gradient[:, :4] == 0).all()


def test_equal_logits_cost_the_logarithm_of_the_vocabulary():
    batch = random_batch(0, 3, 4, 9, 0.5)[0]
    assert next_token_loss(torch.zeros(3, 4, 9), batch).item() == pytest.approx(math.log(9), abs=1e-6)


def test_certainty_costs_nothing_and_certain_error_costs_its_margin():
    batch = Batch(torch.tensor([[0]]), torch.tensor([[1]]), torch.tensor([[True]]))
    assert next_token_loss(torch.tensor([[[0.0, 200.0]]]), batch).item() == 0
    assert next_token_loss(torch.tensor([[[200.0, 0.0]]]), batch).item() == pytest.approx(200)


def test_a_batch_in_which_nothing_counts_is_refused():
    batch = Batch(
        torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3) > 0
    )
    with pytest.raises(ValueError, match="0 targets that count"):
        next_token_loss(torch.zeros(2, 3, 5), batch)
