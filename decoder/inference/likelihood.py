"""The probability of a sentence by the chain rule: a product of conditionals, a sum of logarithms."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from decoder.model.decoder import Decoder, logits_of_prefixes


@torch.no_grad()
def log_probabilities(model: Decoder, tokens: Tensor | Sequence[int]) -> Tensor:
    """Return ln p(token t | all before it) for t = 1 ... T-1, (T-1,); their sum is ln p(all | the first).

    Raises:
        ValueError: if there are fewer than two tokens, more than context and one target, or other ids than the decoder's.
    """
    ids = torch.as_tensor(tokens, device=model.device)
    if ids.ndim != 1 or len(ids) < 2:
        raise ValueError(
            f"{ids.numel()} tokens were given: a conditional probability needs at least 2 in a row"
        )
    if len(ids) > model.config.context_length + 1:
        raise ValueError(
            f"{len(ids)} tokens were given; this decoder sees {model.config.context_length} and predicts one more: "
            "shorten them or choose a larger context"
        )
    if ids.is_floating_point() or ids.min() < 0 or ids.max() >= model.config.vocab_size:
        raise ValueError(
            f"the tokens are {ids.tolist()}: give ids from 0 to {model.config.vocab_size - 1}, whole numbers"
        )
    log_p = logits_of_prefixes(model, ids[:-1]).log_softmax(dim=-1)  # (T-1, V)
    return log_p.gather(-1, ids[1:, None]).squeeze(-1)


def perplexity(model: Decoder, tokens: Tensor | Sequence[int]) -> float:
    """Return exp of the mean surprise: the number of equally likely choices that would be as hard."""
    return math.exp(-log_probabilities(model, tokens).mean().item())
