"""Tiny trainings and stores of their own for every test of runs."""

import dataclasses
import math

import pytest
import torch

from decoder.config import DecoderConfig, TrainConfig
from decoder.language import load_corpus
from decoder.runs.store import open_store
from decoder.training.trainer import train

TINY = TrainConfig(
    "ibm",
    DecoderConfig(load_corpus("ibm").tokenizer.vocab_size, 9, n_layers=1, n_heads=2, d_model=8),
    steps=30,
    batch_size=4,
)


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def store(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/runs.db")
    yield store
    store.close()


@pytest.fixture
def tiny():
    return lambda **changes: dataclasses.replace(TINY, **changes)


@pytest.fixture
def assert_bit_identical():
    def check(store, run_id):
        """Compare the whole history of a finished run with one undisturbed training."""
        run = store.run(run_id)
        assert (run.state, run.step) == ("finished", run.config.steps)
        rows = store.metrics(run_id)
        assert [row.step for row in rows] == list(range(1, run.step + 1))
        for row, step in zip(rows, train(run.config), strict=True):
            assert row.loss == step.loss
            assert row.tokens_seen == step.tokens_seen
            expected = [None if math.isnan(value) else value for value in step.loss_per_position.tolist()]
            assert list(row.loss_per_position) == expected
            if step.step in store.snapshots(run_id):
                weights = store.weights(run_id, step.step)
                assert weights.keys() == step.model.state_dict().keys()
                assert all(torch.equal(weights[name], live) for name, live in step.model.state_dict().items())

    return check
