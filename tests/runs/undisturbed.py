"""The oracle of all tests of runs: what a training becomes when nothing ever happens to it.

A plain run is compared with `train`, a fork with trainers that are handed over by hand: neither knows of a
store, a quantum or a checkpoint.
"""

import dataclasses
import math
from functools import lru_cache
from typing import NamedTuple

import torch

from decoder.config import DecoderConfig, TrainConfig
from decoder.language import load_corpus
from decoder.model.decoder import Decoder
from decoder.runs import leases
from decoder.runs.history import EvaluationRow, MetricsRow, snapshot_steps
from decoder.training.evaluation import Evaluation, evaluate
from decoder.training.loss import loss_by_position, mean_loss, token_losses
from decoder.training.rollout import teacher_forced
from decoder.training.trainer import Trainer, train

TINY = TrainConfig(
    "ibm",
    DecoderConfig(load_corpus("ibm").tokenizer.vocab_size, 9, n_layers=1, n_heads=2, d_model=8),
    steps=30,
    batch_size=4,
)


class Change(NamedTuple):
    """A fork: after `step` updates the training goes on with `config`."""

    step: int
    config: TrainConfig


class Undisturbed(NamedTuple):
    """A whole training: its curve, and at every step that is kept its weights and their evaluation."""

    metrics: tuple
    weights: dict
    evaluations: dict


def undisturbed(config, *changes):
    """Train once, without a store; what is kept before a fork is what the parent keeps there."""
    return _undisturbed(config, changes, evaluate)


@lru_cache(maxsize=512)
def _undisturbed(config, changes, evaluate):
    kept = kept_steps(config, changes)
    weights = {0: Decoder(config.decoder, seed=config.seed).state_dict()}
    updates = []
    for update in _updates(config, changes):
        losses = tuple(None if math.isnan(loss) else loss for loss in update.loss_per_position.tolist())
        updates.append(MetricsRow(update.step, update.loss, losses, update.tokens_seen, update.seconds))
        if update.step in kept:
            weights[update.step] = {
                name: weight.clone() for name, weight in update.model.state_dict().items()
            }
    evaluations = {}
    for step, state in weights.items():
        used = config_at(step, config, changes)
        model = Decoder(used.decoder)
        model.load_state_dict(state)
        row = evaluate(model, Trainer(used).corpus)
        losses = tuple(None if math.isnan(loss) else loss for loss in row.loss_per_position.tolist())
        evaluations[step] = EvaluationRow(step, **row._replace(loss_per_position=losses)._asdict())
    return Undisturbed(tuple(updates), weights, evaluations)


@torch.no_grad()
def quick_evaluation(model, corpus):
    """Measure little of a decoder, but exactly: most of a tiny run's time would go into its evaluations."""
    batch = corpus.held_out(model.config.context_length)[:8]
    losses = token_losses(teacher_forced(model, batch).logits, batch)
    loss = mean_loss(losses, batch).item()
    return Evaluation(loss, 2 * loss, loss_by_position(losses, batch), None, None)


def config_at(step, config, changes):
    """Return the configuration by which update `step` was made."""
    return [config, *(change.config for change in changes if change.step < step)][-1]


def kept_steps(config, changes):
    starts = [-1, *(change.step for change in changes)]
    configs = [config, *(change.config for change in changes)]
    ends = [*starts[1:], configs[-1].steps]
    return {
        step
        for start, end, used in zip(starts, ends, configs, strict=True)
        for step in snapshot_steps(used.steps)
        if start < step <= end
    }


def _updates(config, changes):
    if not changes:
        yield from train(config)
        return
    trainer = Trainer(config)
    for change in (*changes, None):
        until = trainer.config.steps if change is None else change.step
        while trainer.step < until:
            yield trainer.advance()
        if change is not None:
            trainer = Trainer(change.config, state=trainer.state)


def assert_undisturbed(store, run_id, *changes):
    """Compare everything that the store keeps of a finished run with the undisturbed training, bit by bit.

    `changes` are the forks that led to it; without any it is a plain run.
    """
    run = store.run(run_id)
    assert (run.state, run.step, run.error) == ("finished", run.config.steps, None)
    config = store.lineage(run_id)[0].config
    assert run.config == config_at(run.step, config, changes)
    expected = undisturbed(config, *changes)
    # Only the time it took is not determined.
    assert [row._replace(seconds=0) for row in store.metrics(run_id)] == [
        row._replace(seconds=0) for row in expected.metrics
    ]
    assert store.snapshots(run_id) == tuple(sorted(expected.weights))
    for step, weights in expected.weights.items():
        assert_equal_weights(store.weights(run_id, step), weights)
    assert_equal_weights(store.weights(run_id), expected.weights[run.step])
    assert store.evaluations(run_id) == [row for _, row in sorted(expected.evaluations.items())]
    last = leases.checkpoint(store, run_id)
    assert last is not None, "the checksum of the last checkpoint is wrong"
    assert last.step == run.step


def assert_equal_weights(found, expected):
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def tiny(**changes):
    return dataclasses.replace(TINY, **changes)
