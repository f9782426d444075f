"""Grammars that are known completely: independent choices, written into a template, make a sentence."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from decoder.language.tokenizer import BOS, EOS, PAD, WordTokenizer


class Slot:
    """A place in a template and the words it can take.

    Args:
        words: an array of words with one axis per choice that decides among them; a plain word has none.
        by: names of these choices. The last may be made here; all others are known from slots before.
    """

    def __init__(self, words: str | Sequence[object], by: Sequence[str] = ()) -> None:
        self.words: NDArray[np.str_] = np.array(words)
        self.by = tuple(by)
        if self.words.ndim != len(self.by):
            raise ValueError(f"{self.words.ndim} axes of words for {len(self.by)} choices: name one per axis")

    @cached_property
    def tells(self) -> frozenset[str]:
        """The choices that its word gives away: with all others as they are, each option makes another word."""
        return frozenset(
            name
            for axis, name in enumerate(self.by)
            if all(len(set(words)) == len(words) for words in _along(self.words, axis))
        )


def _along(words: NDArray[np.str_], axis: int) -> list[list[str]]:
    """What one choice can make of a slot, once for every way in which the other choices can stand."""
    lines: list[list[str]] = np.moveaxis(words, axis, -1).reshape(-1, words.shape[axis]).tolist()
    return lines


def independent(**words: Sequence[str]) -> dict[str, Slot]:
    """Slots that are each decided by a choice of their own name."""
    return {name: Slot(options, by=[name]) for name, options in words.items()}


@dataclass(frozen=True, eq=False)
class Form:
    """Sentences of one length: a template of words and slots, all choices uniform and independent.

    Args:
        template: tokens separated by spaces; those that name a slot are replaced by its word.
        slots: the slots of the template.
        weight: probability of this form among those of its grammar.
        prompt_length: number of leading tokens, <s> included, that are given and never scored.
    """

    template: str
    slots: Mapping[str, Slot]
    weight: float = 1.0
    prompt_length: int = 1

    @cached_property
    def columns(self) -> tuple[Slot, ...]:
        """One slot per token of the sentence, plain words included."""
        return tuple(self.slots.get(token) or Slot(token) for token in self.template.split())

    @cached_property
    def options(self) -> dict[str, int]:
        """Number of options of every choice, in the order in which a reader meets the choices."""
        sizes = (zip(slot.by, slot.words.shape, strict=True) for slot in self.columns)
        return {name: size for column in sizes for name, size in column}

    @cached_property
    def needed(self) -> tuple[tuple[int, ...], ...]:
        """For each column the earlier columns that tell a choice on which its word depends."""
        return tuple(
            tuple(at for at, earlier in enumerate(self.columns[:column]) if earlier.tells & {*slot.by})
            for column, slot in enumerate(self.columns)
        )

    def write(self, choices: Mapping[str, int]) -> list[str]:
        """Words of the sentence that these choices make."""
        return [str(slot.words[tuple(choices[name] for name in slot.by)]) for slot in self.columns]

    def read(self, words: Sequence[str]) -> dict[str, int] | None:
        """Choices behind these first words, each taken where it first shows; None if no choice makes a word."""
        choices: dict[str, int] = {}
        for slot, word in zip(self.columns[: len(words)], words, strict=True):
            if slot.by and slot.by[-1] not in choices:
                *known, new = slot.by
                matches = np.flatnonzero(slot.words[tuple(choices[name] for name in known)] == word)
                if not len(matches):
                    return None
                choices[new] = int(matches[0])
        return choices

    def accepts(self, words: Sequence[str]) -> bool:
        """Whether some choices make exactly these words: every dependency holds."""
        return len(words) == len(self.columns) and self.begins(words)

    def begins(self, words: Sequence[str]) -> bool:
        """Whether some choices make a sentence that begins with these words."""
        if len(words) > len(self.columns):
            return False
        choices = self.read(words)
        return choices is not None and all(
            str(slot.words[tuple(choices[name] for name in slot.by)]) == word
            for slot, word in zip(self.columns, words, strict=False)
        )

    def after(self, words: Sequence[str]) -> set[str]:
        """Words that may follow these first ones, with which a sentence begins; the end token after all of them."""
        if len(words) == len(self.columns):
            return {EOS}
        choices, slot = self.read(words) or {}, self.columns[len(words)]
        return {*slot.words[tuple(choices.get(name, slice(None)) for name in slot.by)].flat}

    def after_any(self, count: int) -> set[str]:
        """Words that may follow the first `count` ones, whatever these are."""
        return {EOS} if count == len(self.columns) else {*self.columns[count].words.flat}


class Grammar:
    """A weighted choice among forms, with all that can be computed about it.

    Args:
        forms: no sentence belongs to two of them; their weights sum to 1.
        question_length: leading true tokens when prompted accuracy is measured; None: each row's prompt.
        closed_form: entropy of target 1 ... T for a true start, if the sentences are too many to enumerate.
    """

    def __init__(
        self,
        *forms: Form,
        question_length: int | None = None,
        closed_form: Callable[[int], Sequence[float]] | None = None,
    ) -> None:
        self.forms = forms
        self.question_length = question_length
        self.context_length = max(len(form.columns) for form in forms) + 1  # T
        self.weights = torch.tensor([form.weight for form in forms], dtype=torch.float64)
        self.prompt_lengths = torch.tensor([form.prompt_length for form in forms])
        words = [str(word) for form in forms for slot in form.columns for word in slot.words.flat]
        self.tokenizer = WordTokenizer((PAD, BOS, EOS), tuple(dict.fromkeys(words)))
        self._closed_form = closed_form
        self._entropies: dict[int, tuple[float, ...]] = {}
        self._compile()

    def _compile(self) -> None:
        """Make the tables by which one gather writes many sentences.

        The words of all slots lie in a row in `_table`; a token is `_table[start + choices @ strides]`.
        """
        ids = {token: index for index, token in enumerate(self.tokenizer.tokens)}
        F, C, K = len(self.forms), max(len(form.options) for form in self.forms), self.context_length + 1
        self._options = torch.ones(F, C, dtype=torch.int64)
        self._strides = torch.zeros(F, C, K, dtype=torch.int64)
        self._starts = torch.zeros(F, K, dtype=torch.int64)  # 0 is where the table has its padding
        table = [ids[PAD], ids[BOS], ids[EOS]]
        for f, form in enumerate(self.forms):
            names = list(form.options)
            self._options[f, : len(names)] = torch.tensor([*form.options.values()])
            self._starts[f, 0], self._starts[f, len(form.columns) + 1] = 1, 2
            for k, slot in enumerate(form.columns, start=1):
                self._starts[f, k] = len(table)
                table += [ids[str(word)] for word in slot.words.flat]
                for axis, name in enumerate(slot.by, start=1):
                    self._strides[f, names.index(name), k] = math.prod(slot.words.shape[axis:])
        self._table = torch.tensor(table)

    def _write(self, forms: Tensor | int, choices: Tensor) -> Tensor:
        places = (choices.unsqueeze(-2) @ self._strides[forms]).squeeze(-2)  # (N, T+1)
        return self._table[self._starts[forms] + places]

    def draw(self, forms: Tensor, generator: torch.Generator) -> Tensor:
        """One random sentence for each form (N,): (N, T+1) int64 with <s>, </s> and padding."""
        draws = torch.randint(2**62, (len(forms), self._options.shape[1]), generator=generator)
        return self._write(forms, draws % self._options[forms])  # from 2**62 the remainders are even enough

    def enumerate(self) -> tuple[Tensor, Tensor]:
        """All sentences (N, T+1) int64 and their probabilities (N,) float64."""
        rows, probabilities = [], []
        for f, form in enumerate(self.forms):
            options = [torch.arange(int(size)) for size in self._options[f]]
            choices = torch.cartesian_prod(*options).reshape(-1, len(options))
            rows.append(self._write(f, choices))
            probabilities.append(torch.full((len(choices),), form.weight / len(choices), dtype=torch.float64))
        return torch.cat(rows), torch.cat(probabilities)

    def accepts(self, tokens: Sequence[int]) -> bool:
        """Whether these ids, <s> and </s> included, are a sentence of the grammar."""
        bos, *sentence, eos = [*tokens] if len(tokens) > 1 else (None, None)
        if (bos, eos) != (self.tokenizer.bos, self.tokenizer.eos):
            return False
        if not all(0 <= token < self.tokenizer.vocab_size for token in sentence):
            return False
        words = [self.tokenizer.tokens[token] for token in sentence]
        return any(form.accepts(words) for form in self.forms)

    def needed(self, tokens: Sequence[int]) -> list[tuple[int, ...]]:
        """For each position the earlier positions whose tokens tell what the token after it depends on.

        Empty where chance or the template alone decides what follows, or where no sentence begins so.

        Args:
            tokens: ids, <s> first.
        """
        words = [self.tokenizer.tokens[token] for token in tokens[1:]]
        starts = [*tokens[:1]] == [self.tokenizer.bos]
        fitting = [
            [form for form in self.forms if starts and len(form.columns) > t and form.begins(words[:t])]
            for t in range(len(tokens))
        ]
        return [
            tuple(sorted({1 + column for form in forms for column in form.needed[t]}))
            for t, forms in enumerate(fitting)
        ]

    def possible(self, tokens: Sequence[int]) -> tuple[int, int]:
        """Count the tokens that may follow these ids, <s> first, and those that can stand there after any ids.

        Only the sentence forms count that can begin so. Both are 0 where none can.
        """
        words, starts = (
            [self.tokenizer.tokens[token] for token in tokens[1:]],
            [*tokens[:1]] == [self.tokenizer.bos],
        )
        left: set[str] = set()
        ever: set[str] = set()
        for form in self.forms:
            if starts and form.begins(words):
                left |= form.after(words)
                ever |= form.after_any(len(words))
        return len(left), len(ever)

    def begins(self, tokens: Sequence[int]) -> bool:
        """Whether a sentence begins with these ids, <s> first."""
        words = [self.tokenizer.tokens[token] for token in tokens[1:]]
        return [*tokens[:1]] == [self.tokenizer.bos] and any(form.begins(words) for form in self.forms)

    @property
    def distinct(self) -> int:
        """Number of different sentences."""
        return sum(math.prod(form.options.values()) for form in self.forms)

    @cached_property
    def kept(self) -> NDArray[np.float64]:
        """(T,) probability that target t is scored: neither padding nor inside the prompt."""
        index = np.arange(1, self.context_length + 1)
        scored = [(form.prompt_length <= index) & (index <= len(form.columns) + 1) for form in self.forms]
        return self.weights.numpy() @ np.array(scored, dtype=np.float64)

    def entropies(self, start: int) -> tuple[float, ...]:
        """Entropy, nats, of target 1 ... T given the first `start` tokens only; 0 where nothing is scored.

        The prompt always stays true: a `start` inside it counts from its end.
        """
        start = min(max(start, int(self.prompt_lengths.min())), self.context_length)
        if start not in self._entropies:
            if self._closed_form:
                values = np.array(self._closed_form(start))
            else:
                rows, probabilities = self.enumerate()
                values = conditional_entropies(rows.numpy(), probabilities.numpy(), start)
            self._entropies[start] = tuple(np.where(self.kept > 0, values, 0.0).tolist())
        return self._entropies[start]

    def bound(self, start: int) -> float:
        """Least possible loss, nats per scored target, if only the first `start` tokens tell the truth."""
        return float(self.kept @ self.entropies(start) / self.kept.sum())


def farthest(needed: Sequence[Sequence[int]]) -> int | None:
    """Of `Grammar.needed` the position that has to look back farthest; None if no position needs an earlier one."""
    reaches = {t: t - max(places) for t, places in enumerate(needed) if places}
    return max(reaches, key=reaches.__getitem__) if reaches else None


def conditional_entropies(
    rows: NDArray[np.int64], probabilities: NDArray[np.float64], start: int, pad: int = 0
) -> NDArray[np.float64]:
    """Entropy, nats, of token t = 1 ... T given the tokens before min(t, start), and that it is no pad.

    `rows` (N, T+1) are all sentences there are, each with its probability (N,).
    """
    V = int(rows.max()) + 1
    history = np.zeros(len(rows), dtype=np.int64)  # rows with one label share what is known of their past
    entropies = []
    for t, tokens in enumerate(rows.T[1:], start=1):
        longer = np.unique(history * V + tokens, return_inverse=True)[1]
        real = tokens != pad
        p, past, now = probabilities[real], history[real], longer[real]
        # Where the past decides the token, both masses are sums over the same rows: the ratio is exactly 1.
        surprise = np.log(np.bincount(past, p)[past] / np.bincount(now, p)[now])
        entropies.append(p @ surprise / p.sum())
        if t < start:
            history = longer
    return np.array(entropies)
