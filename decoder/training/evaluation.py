"""How good a decoder is: loss with the true history, with its own, and what it writes by itself."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from decoder.config import Pick
from decoder.language import Batch, Corpus
from decoder.model.decoder import Decoder
from decoder.seeds import generator_for
from decoder.training.loss import loss_by_position, mean_loss, next_token_loss, token_losses
from decoder.training.rollout import continue_rows, free_running, teacher_forced

SAMPLES = 256
PROMPTS = 64
ROWS_AT_ONCE = 64  # small enough for the processor's caches: a large batch takes up to twice as long
OWN_HISTORIES = 64  # rows of the own-history loss: a rollout costs several passes


class Evaluation(NamedTuple):
    """What a decoder can do, on sequences held out of its training.

    Attributes:
        true_history_loss: teacher-forced, nats per token, whichever way the decoder was trained.
        own_history_loss: after a greedy rollout from the prompt, against the true targets, nats per token.
        loss_per_position: with the true history, (T,); nan where nothing counts.
        valid_share: share of sampled sentences that the grammar accepts; None without a grammar.
        prompted_accuracy: share of prompts whose greedy continuation is accepted; None without a grammar.
    """

    true_history_loss: float
    own_history_loss: float
    loss_per_position: Tensor
    valid_share: float | None
    prompted_accuracy: float | None


@torch.no_grad()
def evaluate(model: Decoder, corpus: Corpus, seed: int = 0) -> Evaluation:
    """Measure a decoder on the held-out part of its corpus; equal arguments give equal numbers."""
    batch = corpus.held_out(model.config.context_length).to(model.device)
    parts = [batch[row : row + ROWS_AT_ONCE] for row in range(0, len(batch), ROWS_AT_ONCE)]
    losses = torch.cat([token_losses(teacher_forced(model, part).logits, part) for part in parts])
    return Evaluation(
        true_history_loss=mean_loss(losses, batch).item(),
        own_history_loss=own_history_loss(model, batch[:OWN_HISTORIES]),
        loss_per_position=loss_by_position(losses, batch),
        valid_share=valid_share(model, corpus, seed) if corpus.has_grammar else None,
        prompted_accuracy=prompted_accuracy(model, corpus) if corpus.has_grammar else None,
    )


@torch.no_grad()
def true_history_loss(model: Decoder, batch: Batch) -> float:
    """Return the teacher-forced loss, nats per token."""
    return next_token_loss(teacher_forced(model, batch).logits, batch).item()


@torch.no_grad()
def own_history_loss(model: Decoder, batch: Batch, start: int | None = None) -> float:
    """Return the loss after a greedy rollout from token `start` (None: after each row's prompt)."""
    rollout = free_running(model, batch, batch.prompt_lengths if start is None else start)
    return next_token_loss(rollout.logits, batch).item()


def valid_share(model: Decoder, corpus: Corpus, seed: int = 0, samples: int = SAMPLES) -> float:
    """Return the share of valid sentences among those sampled at temperature 1 after the corpus's prompt.

    Where the prompt is the start token alone, every word is the decoder's own. The sampling error of a
    share s is sqrt(s (1 - s) / samples).
    """
    return _share_of_valid(corpus, write_sentences(model, corpus, samples, seed))


def prompted_accuracy(model: Decoder, corpus: Corpus, prompts: int = PROMPTS) -> float:
    """Return the share of held-out prompts whose greedy continuation makes a valid sentence.

    Where the prompt determines the rest, this is the share of exact matches.
    """
    batch = corpus.validation[:prompts]
    given = batch.prompt_lengths
    if corpus.question_length is not None:
        given = torch.full_like(given, corpus.question_length)
    return _share_of_valid(corpus, _write_on(model, corpus, batch, given, "greedy"))


def write_sentences(model: Decoder, corpus: Corpus, count: int, seed: int = 0) -> list[list[int]]:
    """Sample `count` sentences at temperature 1, each after the prompt of a held-out row; ids up to the end."""
    batch = corpus.validation[:count]
    generator = generator_for(seed, 0, "sentences")
    return _write_on(model, corpus, batch, batch.prompt_lengths, "sample", generator)


def _write_on(
    model: Decoder,
    corpus: Corpus,
    batch: Batch,
    given: Tensor,
    pick: Pick,
    generator: torch.Generator | None = None,
) -> list[list[int]]:
    """Let the decoder write on after the first `given` (B,) true tokens of each row."""
    sequences = torch.cat((batch.inputs[:, :1], batch.targets), dim=1)  # (B, T + 1)
    forced = torch.arange(sequences.shape[1]) < given[:, None]
    written = continue_rows(model, sequences.to(model.device), forced.to(model.device), pick, generator)
    return [_until(row, corpus.tokenizer.eos) for row in written.tolist()]


def _share_of_valid(corpus: Corpus, sentences: list[list[int]]) -> float:
    return sum(map(corpus.valid, sentences)) / len(sentences)


def _until(tokens: list[int], end: int | None) -> list[int]:
    """Return the tokens up to and including the first end token."""
    return tokens[: tokens.index(end) + 1] if end in tokens else tokens
