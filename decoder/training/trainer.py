"""The training loop: one loss, one step, for every mode. A training is a generator of its steps."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import safetensors.torch
import torch
from torch import Tensor

from decoder.config import Mode, Schedule, TrainConfig
from decoder.language import Batch, Corpus, open_corpus
from decoder.model.checkpoint import load_weights
from decoder.model.decoder import Decoder
from decoder.model.device import open_device
from decoder.seeds import generator_for
from decoder.training.loss import loss_by_position, mean_loss, token_losses
from decoder.training.optimizer import GRADIENT_NORM, learning_rate_at, make_optimizer
from decoder.training.rollout import (
    Rollout,
    free_running,
    parallel_scheduled_sampling,
    scheduled_sampling,
    teacher_forced,
)

WEIGHTS = "weights."
MOMENTS = ("exp_avg", "exp_avg_sq")  # AdamW's names for its running means


class TrainStep(NamedTuple):
    """One update.

    Attributes:
        step: number of updates made, from 1.
        loss: mean over the batch before the update, in the training's own mode, nats per token.
        loss_per_position: the same at each position, (T,); nan where nothing counts.
        tokens_seen: targets that counted since the training began.
        seconds: time spent in updates since the training began.
        model: the live decoder; its weights change with the next step, so do not keep it.
    """

    step: int
    loss: float
    loss_per_position: Tensor
    tokens_seen: int
    seconds: float
    model: Decoder


class TrainingDivergedError(RuntimeError):
    """The loss is no longer a finite number."""


class Trainer:
    """A training that stands after `step` updates and can be advanced by one.

    Args:
        config: what is trained, and how.
        device: where; see `open_device`. Another device rounds differently: bits are promised on one only.
        state: what the `state` of a training was, of this configuration or of one with the same decoder: the
            training goes on from there, bit by bit as if it had never stopped. None: from the beginning.

    Raises:
        ValueError: if the decoder's vocabulary or context does not fit the corpus, or the state another decoder, or if
            there is no such device here.
    """

    def __init__(
        self, config: TrainConfig, device: torch.device | str = "cpu", state: bytes | None = None
    ) -> None:
        self.config = config
        self.corpus = open_corpus(config.corpus, config.decoder.context_length)
        check_fit(config, self.corpus)
        self.model = Decoder(config.decoder, seed=config.seed).to(open_device(device))
        self.optimizer = make_optimizer(self.model, config)
        self.step = 0
        self.tokens_seen = 0
        self.seconds = 0.0
        if state is not None:
            self._resume(state)

    @property
    def state(self) -> bytes:
        """Weights, the optimiser's moments and the counters, as a safetensors file.

        Randomness needs no place in it: every generator is made anew from (seed, step, purpose).
        """
        tensors = {f"{WEIGHTS}{name}": weight for name, weight in self.model.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            for moment in MOMENTS if self.step else ():
                tensors[f"{moment}.{name}"] = self.optimizer.state[parameter][moment]
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        counters = {"step": self.step, "tokens_seen": self.tokens_seen, "seconds": self.seconds}
        return safetensors.torch.save(tensors, metadata={"counters": json.dumps(counters)})

    def _resume(self, state: bytes) -> None:
        tensors = safetensors.torch.load(state)
        weights = {name: tensors.pop(name) for name in [*tensors] if name.startswith(WEIGHTS)}
        load_weights(self.model, {name.removeprefix(WEIGHTS): weight for name, weight in weights.items()})
        header_bytes = int.from_bytes(state[:8], "little")
        metadata = json.loads(state[8 : 8 + header_bytes])["__metadata__"]
        counters = json.loads(metadata["counters"])
        self.step, self.tokens_seen = int(counters["step"]), int(counters["tokens_seen"])
        self.seconds = float(counters["seconds"])
        for name, parameter in self.model.named_parameters() if self.step else ():
            self.optimizer.state[parameter] = {
                "step": torch.tensor(float(self.step), device=parameter.device),
                **{moment: tensors[f"{moment}.{name}"].to(parameter.device) for moment in MOMENTS},
            }

    @property
    def is_finite(self) -> bool:
        """Whether all weights are finite numbers."""
        return all(bool(weight.isfinite().all()) for weight in self.model.parameters())

    def advance(self) -> TrainStep:
        """Make one update.

        Raises:
            TrainingDivergedError: if the loss is not finite; the weights are left as they were. After the last
                planned update, if the weights are not.
        """
        began = time.perf_counter()
        step = self.step + 1
        batch = self.corpus.batch(
            self.config.batch_size,
            generator_for(self.config.seed, step, "batch"),
            window=self.config.decoder.context_length,
        ).to(self.model.device)
        rollout = roll_out(self.model, batch, self.config, step)
        losses = token_losses(rollout.logits, batch)
        loss = mean_loss(losses, batch)
        value = loss.item()
        if not math.isfinite(value):
            raise self.diverged(f"the loss became {value} at step {step}")
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), GRADIENT_NORM)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(step, self.config)
        self.optimizer.step()
        if step == self.config.steps and not self.is_finite:  # else the next loss would tell
            raise self.diverged(f"the weights are no longer finite after step {step}")
        self.step = step
        self.tokens_seen += int(batch.keep.sum())
        self.seconds += time.perf_counter() - began
        return TrainStep(
            step, value, loss_by_position(losses, batch), self.tokens_seen, self.seconds, self.model
        )

    def diverged(self, what: str) -> TrainingDivergedError:
        """Return the error that says what is no longer finite, and the remedy."""
        return TrainingDivergedError(f"{what}: choose a learning rate below {self.config.learning_rate:g}")


def train(config: TrainConfig, device: torch.device | str = "cpu") -> Iterator[TrainStep]:
    """Train a decoder from its seed, and yield after each update; nothing happens between two steps."""
    trainer = Trainer(config, device)
    while trainer.step < config.steps:
        yield trainer.advance()


def roll_out(model: Decoder, batch: Batch, config: TrainConfig, step: int) -> Rollout:
    """Feed the batch to the decoder as update `step` of this training does, in its mode."""
    return ROLLOUTS[config.mode](model, batch, config, step)


def truth_at(progress: float, schedule: Schedule) -> float:
    """Return the probability of feeding the true token when a share `progress` of the steps is done.

    Source: Bengio et al. 2015, Scheduled Sampling, section 2.4.
    """
    return TRUTH_SCHEDULES[schedule](progress)


TRUTH_SCHEDULES: dict[Schedule, Callable[[float], float]] = {
    "linear": lambda progress: 1 - progress,
    "exponential": lambda progress: 0.02**progress,
    "inverse_sigmoid": lambda progress: 12 / (12 + math.exp(100 * progress / 12)),
}


def _teacher_forcing(model: Decoder, batch: Batch, _config: TrainConfig, _step: int) -> Rollout:
    return teacher_forced(model, batch)


def _free_running(model: Decoder, batch: Batch, config: TrainConfig, step: int) -> Rollout:
    start = batch.prompt_lengths if config.start is None else config.start
    return free_running(model, batch, start, config.pick, generator_for(config.seed, step, "picks"))


def _scheduled(
    mix: Callable[[Decoder, Batch, float, torch.Generator], Rollout],
) -> Callable[[Decoder, Batch, TrainConfig, int], Rollout]:
    def rollout(model: Decoder, batch: Batch, config: TrainConfig, step: int) -> Rollout:
        truth = truth_at((step - 1) / config.steps, config.schedule)
        return mix(model, batch, truth, generator_for(config.seed, step, "coins"))

    return rollout


ROLLOUTS: dict[Mode, Callable[[Decoder, Batch, TrainConfig, int], Rollout]] = {
    "teacher_forcing": _teacher_forcing,
    "free_running": _free_running,
    "scheduled_sampling": _scheduled(scheduled_sampling),
    "parallel_scheduled_sampling": _scheduled(parallel_scheduled_sampling),
}


def check_fit(config: TrainConfig, corpus: Corpus) -> None:
    """Raise ValueError if the decoder's vocabulary does not fit the corpus."""
    vocabulary = corpus.tokenizer.vocab_size
    if config.decoder.vocab_size != vocabulary:
        raise ValueError(
            f"the decoder has {config.decoder.vocab_size} tokens and corpus {corpus.name} has {vocabulary}: "
            f"build it with vocab_size={vocabulary}"
        )
