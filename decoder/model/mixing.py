"""What weights of attention do: values mixed into the output of a head, and on to h. How widely a row looks, and at what."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from decoder.model.decoder import BlockTrace, Decoder, Trace


class Mixture(NamedTuple):
    """One row of one head taken apart: o = sum over j of weight j times value j; K is the number of keys.

    Attributes:
        weights: (K,).
        values: (K, D).
        parts: each value times its weight, (K, D).
        total: the parts added up, (D,).
        difference: greatest difference between that sum and the context that the decoder computed.
    """

    weights: Tensor
    values: Tensor
    parts: Tensor
    total: Tensor
    difference: float


class Stage(NamedTuple):
    """A vector on its way through one block, (C,)."""

    name: str
    vector: Tensor


@torch.no_grad()
def mix_values(block: BlockTrace, head: int, row: int) -> Mixture:
    """Take the output of one head at one position apart into weighted values, and add them up again."""
    weights, values = block.attention.weights[0, head, row], block.value[0, head]
    parts = weights[:, None] * values  # (K, D)
    total = parts.sum(dim=0)
    difference = (total - block.attention.context[0, head, row]).abs().max().item()
    return Mixture(weights, values, parts, total, difference)


@torch.no_grad()
def block_input(trace: Trace, layer: int) -> Tensor:
    """What a block is given: x + p, or the output of the block before it, (B, T, C); for the number of blocks, h."""
    return trace.blocks[layer - 1].output if layer else trace.token_embeddings + trace.position_embeddings


def stages(trace: Trace, layer: int, row: int) -> list[Stage]:
    """One position on its way through one block; after the last block also through the final norm."""
    block = trace.blocks[layer]
    given = block_input(trace, layer)
    path = [
        Stage("input", given),
        Stage("heads joined", block.joined),
        Stage("attention output", block.attention_output),
        Stage("input + attention", given + block.attention_output),
        Stage("MLP output", block.mlp_output),
        Stage("block output", block.output),
    ]
    if layer == len(trace.blocks) - 1:
        path.append(Stage("final norm", trace.normalised))
    return [Stage(name, vectors[0, row].detach()) for name, vectors in path]


@torch.no_grad()
def stage_differences(model: Decoder, trace: Trace, layer: int, row: int) -> tuple[float, float]:
    """Recompute two steps of a block: the projection of the joined heads, and the sum that leaves the block.

    Returns:
        The greatest differences to what the decoder computed.
    """
    block = trace.blocks[layer]
    projection = model.get_submodule(f"blocks.{layer}.attention_projection")
    projected = projection(block.joined[0, row]) - block.attention_output[0, row]
    total = block_input(trace, layer) + block.attention_output + block.mlp_output
    return projected.abs().max().item(), (total - block.output)[0, row].abs().max().item()


@torch.no_grad()
def block_changes(trace: Trace) -> Tensor:
    """How far each block moves the vector of each position: the length of what it adds, (layers, T)."""
    moves = [block.output - block_input(trace, layer) for layer, block in enumerate(trace.blocks)]
    return torch.stack([move[0].norm(dim=-1) for move in moves])


@torch.no_grad()
def logits_after(model: Decoder, trace: Trace, layers: int) -> Tensor:
    """What final norm and output layer make of the vectors after so many blocks, (T, V); after all of them: the logits.

    Both are trained to read the last block only; what they make of an earlier one is
    known as the logit lens (nostalgebraist 2020, interpreting GPT: the logit lens).
    """
    normalised = model.final_norm(block_input(trace, layers))  # (1, T, C)
    logits: Tensor = model.output(normalised)
    return logits[0]


def greatest(logits: Tensor, most: int) -> Tensor:
    """Return the ids, in their order, of at most so many tokens: those with the greatest logit at any position, (T, V)."""
    return logits.amax(dim=0).argsort(descending=True)[:most].sort().values


@torch.no_grad()
def entropies(weights: Tensor) -> Tensor:
    """Entropy in nats of rows of weights (..., K) that sum to 1: (...); 0 for a row that looks at one place only."""
    terms: Tensor = torch.special.entr(weights.double())
    return terms.sum(dim=-1)


def have_choice(masked_scores: Tensor) -> Tensor:
    """Which rows of (..., T, K) may look at more than one place, (..., T): the others give it all their weight, of course."""
    return (~masked_scores.isneginf()).sum(dim=-1) > 1


def lookers(masked_scores: Tensor) -> Tensor:
    """Which rows may look at which keys and have a choice: (..., T, K) bool."""
    return ~masked_scores.isneginf() & have_choice(masked_scores)[..., None]


@torch.no_grad()
def received(weights: Tensor, masked_scores: Tensor) -> Tensor:
    """Mean weight that each key gets from the rows that may look at it and have a choice: (..., T, K) twice, to (..., K).

    Not a number where no such row is.
    """
    looking = lookers(masked_scores)
    return (weights * looking).sum(dim=-2) / looking.sum(dim=-2)


@torch.no_grad()
def all_weights(model: Decoder, tokens: Tensor) -> Tensor:
    """Return the weights of every layer and head for one sentence (1, T): (layers, H, T, T)."""
    return torch.cat([block.attention.weights for block in model.trace(tokens).blocks])


def even_weights(masked_scores: Tensor) -> Tensor:
    """Return the weights (..., T, K) of rows that look equally at all that is open to them."""
    open_places = ~masked_scores.isneginf()
    return open_places / open_places.sum(dim=-1, keepdim=True)


class HeadSummary(NamedTuple):
    """What one head does in the mean over the rows that have a choice.

    Attributes:
        entropy: mean entropy of these rows, nats.
        place: the key that gets most beyond what looking equally would give it.
        mean: weight that it gets, the mean over those of these rows that may look at it.
        even: the same if they looked equally at all that is open to them.
        rows: how many they are.
    """

    entropy: float
    place: int
    mean: float
    even: float
    rows: int


@torch.no_grad()
def summarise(weights: Tensor, masked_scores: Tensor) -> HeadSummary:
    """Sum up one head, (T, K) twice; at least one row must have a choice."""
    got, even = (received(each, masked_scores) for each in (weights, even_weights(masked_scores)))
    place = int((got - even).nan_to_num(nan=-torch.inf).argmax())
    return HeadSummary(
        entropies(weights)[have_choice(masked_scores)].mean().item(),
        place,
        got[place].item(),
        even[place].item(),
        int(lookers(masked_scores)[:, place].sum()),
    )


def halfway(needed: int, open_places: int) -> float:
    """Return the weight on needed tokens from which on a head may be said to look at them.

    One half; but where looking equally at all open places gives them more than a quarter already, half way from there
    to all of it.
    """
    even = needed / open_places
    return 0.5 if even <= 0.25 else (1 + even) / 2


def first_above(steps: list[int], weights: Tensor, threshold: float = 0.5) -> tuple[int, list[int]] | None:
    """Find when a weight first exceeds a threshold.

    Args:
        steps: when the weights were measured.
        weights: one row per step, one column per head.
        threshold: to be exceeded.

    Returns:
        The step, and all heads whose weight exceeds it then; None if no weight ever does.
    """
    for step, row in zip(steps, weights.tolist(), strict=True):
        heads = [head for head, weight in enumerate(row) if weight > threshold]
        if heads:
            return step, heads
    return None
