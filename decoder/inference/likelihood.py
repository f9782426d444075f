"""The probability of a sentence by the chain rule: a product of conditionals, a sum of logarithms."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from decoder.model.decoder import Decoder


@torch.no_grad()
def log_probabilities(model: Decoder, tokens: Tensor | Sequence[int]) -> Tensor:
    """Return ln p(token t | all before it) for t = 1 ... T-1, (T-1,); their sum is ln p(all | the first).

    Without a mask a parallel pass would read what it has to predict: each prefix is then read by itself.

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
    inputs = ids[None, :-1]
    if model.config.causal:
        logits = model.trace(inputs).logits[0]  # (T-1, V)
    else:
        prefixes = [inputs[:, :t] for t in range(1, len(ids))]
        logits = torch.cat([model.trace(prefix).logits[:, -1] for prefix in prefixes])  # (T-1, V)
    log_p = logits.log_softmax(dim=-1)
    return log_p.gather(-1, ids[1:, None]).squeeze(-1)


def perplexity(model: Decoder, tokens: Tensor | Sequence[int]) -> float:
    """Return exp of the mean surprise: the number of equally likely choices that would be as hard."""
    return math.exp(-log_probabilities(model, tokens).mean().item())
