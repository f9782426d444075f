"""Batches of token sequences: the shift by one and the padding live here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Batch:
    """What a decoder reads, what it should say, and which of its answers count.

    Args:
        inputs: (B, T) int64, tokens 0 ... T-1 of each sequence.
        targets: (B, T) int64, tokens 1 ... T: column t-1 holds the token that follows input t-1.
        keep: (B, T) bool, False where the target is padding or belongs to the prompt.
    """

    inputs: Tensor
    targets: Tensor
    keep: Tensor

    def __post_init__(self) -> None:
        if not self.inputs.shape == self.targets.shape == self.keep.shape:
            shapes = ", ".join(str(tuple(part.shape)) for part in (self.inputs, self.targets, self.keep))
            raise ValueError(f"inputs, targets and keep have shapes {shapes}: give all three the same")

    @classmethod
    def from_sequences(
        cls, sequences: Tensor, pad: int | None = None, prompt_lengths: Tensor | int = 1
    ) -> Batch:
        """Shift (B, T+1) int64 sequences, padded on the right, into inputs and targets.

        `prompt_lengths`, one for all or (B,), counts the leading tokens that are given and never scored.
        """
        if sequences.dim() != 2 or sequences.shape[1] < 2:
            shape = tuple(sequences.shape)
            raise ValueError(f"the sequences have shape {shape}: give rows of at least 2 tokens")
        inputs, targets = sequences[:, :-1], sequences[:, 1:]  # (B, T) each
        index = torch.arange(1, sequences.shape[1], device=sequences.device)  # (T,) of the target tokens
        prompts = torch.as_tensor(prompt_lengths, device=sequences.device).reshape(-1, 1)  # (B or 1, 1)
        keep = (index >= prompts).expand_as(targets)
        return cls(inputs, targets, keep if pad is None else keep & (targets != pad))

    @property
    def prompt_lengths(self) -> Tensor:
        """(B,) int64: number of leading inputs that are true before an own prediction may be fed.

        The first prediction that counts is made from them; a row in which nothing counts is all prompt.
        """
        before = (~self.keep).long().cumprod(dim=1).sum(dim=1)  # (B,) columns before the first kept one
        return (before + 1).clamp(max=self.keep.shape[1])

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, rows: slice) -> Batch:
        """Return some of the rows."""
        return Batch(self.inputs[rows], self.targets[rows], self.keep[rows])

    def window(self, offsets: Tensor | int, length: int) -> Batch:
        """`length` columns of every row from its offset, one for all or (B,): what a smaller context sees."""
        T = self.inputs.shape[1]
        first = torch.as_tensor(offsets, device=self.inputs.device).reshape(-1, 1)
        if length < 1 or first.min() < 0 or first.max() > T - length:
            raise ValueError(
                f"windows of {length} columns from {int(first.min())} to {int(first.max())} "
                f"do not fit into {T} columns: choose them smaller or further left"
            )
        columns = first + torch.arange(length, device=first.device)  # (B or 1, length)
        columns = columns.expand(len(self), length)
        return Batch(
            self.inputs.gather(1, columns), self.targets.gather(1, columns), self.keep.gather(1, columns)
        )

    def to(self, device: torch.device | str) -> Batch:
        """Return the same batch on another device."""
        return Batch(self.inputs.to(device), self.targets.to(device), self.keep.to(device))


def pad_sequences(sequences: Sequence[Sequence[int]], pad: int | None) -> Tensor:
    """Stack token lists into (B, longest) int64, padded on the right.

    Unequal lengths without a padding token are a ValueError.
    """
    lengths = [len(sequence) for sequence in sequences]
    shortest, longest = min(lengths, default=0), max(lengths, default=0)
    if pad is None and shortest < longest:
        raise ValueError(
            f"the sequences have {shortest} to {longest} tokens and there is no padding token: "
            "cut them to one length or use a tokenizer with <pad>"
        )
    rows = [[*sequence, *[pad or 0] * (longest - len(sequence))] for sequence in sequences]
    return torch.tensor(rows, dtype=torch.int64).reshape(len(rows), longest)
