"""It looks sequential and runs in parallel: one masked pass against one pass per prefix, compared and timed."""

from __future__ import annotations

import time
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor

from decoder.model.attention import causal_mask
from decoder.model.decoder import Decoder

REPEATS = 7


class Comparison(NamedTuple):
    """One pass over T tokens beside T passes over prefixes of 1, 2, ..., T tokens.

    Attributes:
        differences: greatest difference of any logit at each position, (T,) numbers.
        prefix_seconds: all T passes together, median of the repeats.
        parallel_seconds: the one pass, median of the repeats.
    """

    differences: tuple[float, ...]
    prefix_seconds: float
    parallel_seconds: float

    @property
    def passes(self) -> int:
        """T, the number of prefixes."""
        return len(self.differences)

    @property
    def greatest(self) -> float:
        """The greatest difference of any logit."""
        return max(self.differences)


def prefix_lengths(T: int) -> range:
    """Return how long the prefixes are that T predictions are made from, one pass over each."""
    return range(1, T + 1)


@torch.no_grad()
def compare_passes(
    model: Decoder, tokens: Tensor, *, masked: bool = True, repeats: int = REPEATS
) -> Comparison:
    """Predict after every prefix of tokens (1, T), one prefix at a time and all at once, with or without the mask.

    Without it a pass over a prefix has no future to look at, while the one pass over everything has.
    """
    T = tokens.shape[1]
    mask = causal_mask(T) if masked else causal_mask(T).new_ones(T, T)

    def one_by_one() -> Tensor:
        passes = [model.trace(tokens[:, :n], mask=mask[:n, :n]) for n in prefix_lengths(T)]
        return torch.cat([each.logits[:, -1] for each in passes])

    def at_once() -> Tensor:
        return model.trace(tokens, mask=mask).logits[0]

    differences = (one_by_one() - at_once()).abs().amax(dim=-1)  # (T,); this first round also warms up
    prefixes: list[float] = []
    parallel: list[float] = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so little work gains nothing from more, and waits for them on a busy machine
    try:
        for _ in range(repeats):  # in turns, so that a busy moment meets both
            for passes, seconds in ((one_by_one, prefixes), (at_once, parallel)):
                start = time.perf_counter()
                passes()
                seconds.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return Comparison(tuple(differences.tolist()), median(prefixes), median(parallel))
