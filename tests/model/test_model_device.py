"""Devices: the CPU unless another is asked for, and that only where it is."""

import pytest
import torch

from decoder import DecoderConfig, TrainConfig, evaluate, generate, load_corpus, open_device, train
from decoder.training.trainer import Trainer

CONFIG = TrainConfig("ibm", DecoderConfig(35, 9, n_layers=1, n_heads=2, d_model=16), steps=3)
ACCELERATORS = [
    name
    for name, here in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available()))
    if here
]


def test_the_cpu_is_what_is_used_unless_another_device_is_asked_for():
    assert Trainer(CONFIG).model.device == open_device() == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda", "cuda:7", "mps", "xpu", "no such thing", ""])
def test_a_device_that_is_not_here_is_refused_with_those_that_are(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"choose one of cpu$"):
        next(train(CONFIG, device=name))


def test_a_device_that_is_here_is_opened_by_its_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert open_device("cuda") == torch.device("cuda")
    assert open_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ValueError, match="no device 'cuda:2' here: choose one of cpu, cuda:0, cuda:1"):
        open_device("cuda:2")


@pytest.mark.skipif(not ACCELERATORS, reason="no CUDA or MPS device here: run it on a machine that has one")
@pytest.mark.parametrize("name", ACCELERATORS or ["none"])
@pytest.mark.parametrize(
    "mode", ["teacher_forcing", "free_running", "scheduled_sampling", "parallel_scheduled_sampling"]
)
def test_on_an_accelerator_everything_is_as_on_the_cpu_but_for_rounding(name, mode):
    from dataclasses import replace

    config, corpus = replace(CONFIG, mode=mode), load_corpus("ibm")
    *_, there = train(config, device=name)
    *_, here = train(config)
    assert there.model.device.type == name
    assert there.loss == pytest.approx(here.loss, abs=1e-3)
    measured, expected = evaluate(there.model, corpus), evaluate(here.model, corpus)
    assert measured.true_history_loss == pytest.approx(expected.true_history_loss, abs=1e-3)
    step = next(generate(there.model, corpus.tokenizer, "IBM"))
    assert step.model_probabilities.cpu().sum().item() == pytest.approx(1, abs=1e-5)
