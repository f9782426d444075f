"""Autoregressive generation: predict, append, repeat; each step is returned whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from decoder.config import Sampling
from decoder.inference.sampling import distribution, draw
from decoder.language.tokenizer import Tokenizer
from decoder.model.decoder import Decoder, KeyValueCache, Trace, join_traces
from decoder.seeds import generator_for


@dataclass(frozen=True)
class GenerationStep:
    """One predicted token and everything it came from.

    Attributes:
        tokens: the ids before the pick, start token included.
        forced: per token, True = typed, False = picked by the decoder.
        window_start: index of the first token that the decoder could still see; 0 while all fit.
        passes: what the decoder computed for the window, pass by pass; each holds its new rows only.
        probabilities: (V,) after temperature and truncation: the pick was made from these.
        model_probabilities: (V,) before: the softmax of the last logits.
        picked: id of the chosen token.
        log_probability: its ln p under `model_probabilities`.
    """

    tokens: tuple[int, ...]
    forced: tuple[bool, ...]
    window_start: int
    passes: tuple[Trace, ...]
    probabilities: Tensor
    model_probabilities: Tensor
    picked: int
    log_probability: float

    @property
    def trace(self) -> Trace:
        """Every stage for all tokens of the window, as one trace with (1, H, T, T) attention."""
        return join_traces(list(self.passes))


def generate(
    model: Decoder,
    tokenizer: Tokenizer,
    prompt: str,
    sampling: Sampling | None = None,
    max_new_tokens: int | None = None,
) -> Iterator[GenerationStep]:
    """Continue the prompt token by token until the end token or `max_new_tokens` new ones.

    The start token is put in front where the tokenizer has one. When the text outgrows the context, the
    window slides: the decoder sees the last `context_length` tokens, and the step says where it begins.

    Args:
        model: the decoder.
        tokenizer: turns the prompt into ids.
        prompt: text; may be empty if there is a start token.
        sampling: temperature, truncation, greedy or drawn, seed.
        max_new_tokens: None: until the context is full.

    Raises:
        ValueError: for an empty prompt without a start token, for unknown tokens (they are named), and for no new token.
    """
    tokens = encode_prompt(tokenizer, prompt)
    if max_new_tokens is None:
        max_new_tokens = max(1, room(model.config.context_length, len(tokens)))
    elif not isinstance(max_new_tokens, int) or max_new_tokens < 1:
        raise ValueError(
            f"max_new_tokens is {max_new_tokens!r}: at least 1 token can be generated, or None for as many as fit"
        )
    return _steps(model, tokens, tokenizer.eos, sampling or Sampling(), max_new_tokens)


def room(context_length: int, typed: int) -> int:
    """Return how many tokens can be predicted after `typed` ones before the first of them falls out of sight."""
    return context_length + 1 - typed


class Work(NamedTuple):
    """How many contextual embeddings a generation takes, one per token and pass.

    Attributes:
        computed: as it was done, with the keys and values of earlier tokens kept where they can be.
        recomputed: if every step computed its whole window anew.
    """

    computed: int
    recomputed: int


def count_work(steps: Sequence[GenerationStep]) -> Work:
    """Count what these steps have computed, and what they would have without a cache."""
    return Work(
        sum(step.passes[-1].contextual_embeddings.shape[1] for step in steps),
        sum(len(step.tokens) - step.window_start for step in steps),
    )


def encode_prompt(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """Return the ids of a typed prompt, with the start token in front where there is one.

    Raises:
        ValueError: for an empty prompt without a start token, and for unknown tokens (they are named).
    """
    missing = tokenizer.unknown_pieces(prompt)
    if missing:  # also where training had <unk> for rare words: what is typed is never silently replaced
        raise ValueError(tokenizer.explain(missing))
    tokens = tokenizer.encode(prompt)
    if tokenizer.bos is not None and tokens[:1] != [tokenizer.bos]:
        tokens = [tokenizer.bos, *tokens]
    if not tokens:
        raise ValueError("the prompt is empty and this corpus has no start token: type at least one token")
    return tokens


def _steps(
    model: Decoder, tokens: list[int], eos: int | None, sampling: Sampling, max_new_tokens: int
) -> Iterator[GenerationStep]:
    typed, context = len(tokens), model.config.context_length
    generator = generator_for(sampling.seed, 0, "generation")
    cache = KeyValueCache(model.config, 1, model.device, model.dtype) if model.config.causal else None
    passes: list[Trace] = []
    for _ in range(max_new_tokens):
        window_start = max(0, len(tokens) - context)
        with torch.inference_mode():
            if cache is not None and not window_start:
                new = torch.tensor([tokens[cache.length :]], device=model.device)
                passes.append(model.trace(new, cache=cache))
            else:  # every position moved, or saw the new token: nothing can be reused
                window = torch.tensor([tokens[window_start:]], device=model.device)
                passes = [model.trace(window)]
            logits = passes[-1].logits[0, -1]  # (V,)
            log_probabilities = logits.log_softmax(dim=-1)
            model_probabilities = log_probabilities.exp()
            plain = (sampling.temperature, sampling.top_k, sampling.top_p) == (1, None, None)
            probabilities = model_probabilities if plain else distribution(logits, sampling)
            picked = int(logits.argmax() if sampling.greedy else draw(probabilities[None], generator))
        yield GenerationStep(
            tokens=tuple(tokens),
            forced=(True,) * typed + (False,) * (len(tokens) - typed),
            window_start=window_start,
            passes=tuple(passes),
            probabilities=probabilities,
            model_probabilities=model_probabilities,
            picked=picked,
            log_probability=log_probabilities[picked].item(),
        )
        if picked == eos:
            return
        tokens.append(picked)
