"""Training modes: which history the decoder is fed. A mode is a function (model, batch, ...) -> Rollout.

Teacher forcing feeds the truth (Williams & Zipser 1989), free running the decoder's own predictions,
scheduled sampling a mixture of both (Bengio et al. 2015), and its parallel form takes the predictions of
one teacher-forced pass (Mihaylova & Martins 2019; Duckworth et al. 2019).

Picks are discrete, so no gradient flows through them. Therefore all modes first settle the inputs without
gradient and then do one parallel pass over them; the gradients equal those of T growing passes.
"""

from __future__ import annotations

from typing import NamedTuple, get_args

import torch
from torch import Tensor

from decoder.config import Pick
from decoder.inference.sampling import draw
from decoder.language.batches import Batch
from decoder.model.decoder import Decoder, KeyValueCache


class Rollout(NamedTuple):
    """What the decoder was really fed, (B, T), and the logits it gave, (B, T, V)."""

    logits: Tensor
    inputs: Tensor


def teacher_forced(model: Decoder, batch: Batch) -> Rollout:
    """Feed the true token at every position, whatever the decoder predicted."""
    return Rollout(model(batch.inputs), batch.inputs)


def free_running(
    model: Decoder,
    batch: Batch,
    start: int | Tensor = 1,
    pick: Pick = "greedy",
    generator: torch.Generator | None = None,
) -> Rollout:
    """Feed the first `start` true tokens, then the decoder's own predictions.

    Args:
        model: the decoder.
        batch: sequences; targets stay the true tokens.
        start: number of leading true inputs, one for all rows or one per row, (B,); at least 1.
        pick: the most likely token, or one sampled from the probabilities.
        generator: source of the sampled picks.

    Raises:
        ValueError: for a start of less than one input, or of none that can be counted, and for another pick.
    """
    if not isinstance(start, Tensor):
        if not isinstance(start, int):
            raise ValueError(f"start is {start!r}: give a whole number of inputs, or one per row")
        start = torch.tensor(min(start, batch.inputs.shape[1]))
    if start.is_floating_point() or start.numel() not in {1, len(batch.inputs)} or bool((start < 1).any()):
        raise ValueError(
            f"start is {start.tolist()}: at least 1 input must be true, there is nothing to predict it from; "
            f"give a whole number, or one for each of the {len(batch.inputs)} rows"
        )
    if pick not in get_args(Pick):
        raise ValueError(f"pick is {pick!r}: choose one of {', '.join(get_args(Pick))}")
    inputs = continue_rows(model, batch.inputs, _leading(batch, start), pick, generator)
    return Rollout(model(inputs), inputs)


def scheduled_sampling(model: Decoder, batch: Batch, truth: float, generator: torch.Generator) -> Rollout:
    """Feed at each position the true token with probability `truth`, else the decoder's most likely one.

    The prompt stays true: with `truth` 0 this is free running after each row's prompt.
    """
    forced = _coins(batch, truth, generator)
    inputs = continue_rows(model, batch.inputs, forced)
    return Rollout(model(inputs), inputs)


def parallel_scheduled_sampling(
    model: Decoder, batch: Batch, truth: float, generator: torch.Generator
) -> Rollout:
    """Mix as in scheduled sampling, but take the predictions of one teacher-forced pass: two passes in all."""
    forced = _coins(batch, truth, generator)
    with torch.no_grad():
        predicted = model(batch.inputs).argmax(dim=-1)  # (B, T), column t predicts token t + 1
    inputs = batch.inputs.clone()
    inputs[:, 1:] = torch.where(forced[:, 1:], batch.inputs[:, 1:], predicted[:, :-1])
    return Rollout(model(inputs), inputs)


def continue_rows(
    model: Decoder,
    tokens: Tensor,
    forced: Tensor,
    pick: Pick = "greedy",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Replace every token that is not forced by what the decoder picks after the tokens before it.

    Works from left to right with cached keys and values. Rows may be longer than the context: the decoder
    then sees the last `context_length` tokens, as it does when it generates.

    Args:
        model: the decoder.
        tokens: (B, N) ids; only the forced ones are read.
        forced: (B, N) bool, True = keep the token; the first column counts as forced.
        pick: the most likely token, or one sampled from the probabilities.
        generator: source of the sampled picks.

    Returns:
        (B, N) ids.
    """
    with torch.inference_mode():
        tokens, forced = tokens.to(model.device, copy=True), forced.to(model.device)
        context = model.config.context_length
        own_columns = (~forced[:, 1:]).any(dim=0).nonzero()
        first = int(own_columns[0]) + 1 if len(own_columns) else tokens.shape[1]
        cache = (
            KeyValueCache(model.config, len(tokens), model.device, model.dtype)
            if model.config.causal
            else None
        )
        for column in range(first, tokens.shape[1]):
            if cache is not None and column <= context:
                trace = model.trace(tokens[:, cache.length : column], cache=cache)
            else:
                trace = model.trace(tokens[:, max(0, column - context) : column])
            logits = trace.logits[:, -1]
            picked = logits.argmax(dim=-1) if pick == "greedy" else draw(logits.softmax(dim=-1), generator)
            tokens[:, column] = torch.where(forced[:, column], tokens[:, column], picked)
    return tokens.clone()  # what inference mode made could take no part in training


def _coins(batch: Batch, truth: float, generator: torch.Generator) -> Tensor:
    """Return (B, T) bool, True with probability `truth`, and always in the prompt: nothing there is predicted."""
    if not 0 <= truth <= 1:
        raise ValueError(f"the probability of the true token is {truth}: choose one from 0 to 1")
    forced = torch.rand(batch.inputs.shape, generator=generator) < truth
    return forced.to(batch.inputs.device) | _leading(batch, batch.prompt_lengths)


def _leading(batch: Batch, lengths: int | Tensor) -> Tensor:
    """Return (B, T) bool, True at the first `lengths` inputs of each row, one number for all or (B,)."""
    columns = torch.arange(batch.inputs.shape[1], device=batch.inputs.device)
    lengths = torch.as_tensor(lengths, device=batch.inputs.device).reshape(-1, 1)
    return (columns < lengths.clamp(min=1)).expand_as(batch.inputs)
