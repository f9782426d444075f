"""Where training text comes from: seven grammars whose best loss is known, or a text of one's own."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache, cached_property, lru_cache

import torch
from torch import Tensor

from decoder.config import Level, TextSource
from decoder.language.batches import Batch
from decoder.language.grammar import Grammar
from decoder.language.sentences import GRAMMARS
from decoder.language.tokenizer import BytePairTokenizer, CharacterTokenizer, Tokenizer, WordTokenizer, clean

CORPORA = tuple(GRAMMARS)

_VALIDATION_ROWS = 512
_VALIDATION_SEED = 2017
_SMALLEST_TO_SPLIT = 1_000  # a grammar with fewer sentences needs every one of them for training
_HELD_OUT = 8  # one sentence in so many
_HASH_PRIME = 2**31 - 1
_HASH_BASE = 48_271  # a primitive root of the prime: its powers spread over all residues


class Corpus(ABC):
    """A source of training rows with a part held out and, if it has a grammar, the theory of its losses.

    Token 0 is the first input, tokens 1 ... T are the targets. Losses and entropies are in nats; without a
    grammar they are None.
    """

    name: str
    source: str | TextSource  # what stands in TrainConfig.corpus
    tokenizer: Tokenizer
    context_length: int  # T
    holds_out: bool = True  # False: validation is drawn from what is trained on
    grammar: Grammar | None = None

    @abstractmethod
    def batch(self, size: int, generator: torch.Generator, window: int | None = None) -> Batch:
        """Draw `size` training rows of T columns, or of `window` if the decoder sees less."""

    @abstractmethod
    def held_out(self, window: int) -> Batch:
        """Return the validation rows as a context of `window` sees them, the same at every call."""

    @abstractmethod
    def examples(self, count: int, seed: int = 0) -> list[str]:
        """Draw texts of the training part, without special tokens."""

    @cached_property
    def validation(self) -> Batch:
        """The held-out part, all T columns."""
        return self.held_out(self.context_length)

    @property
    def has_grammar(self) -> bool:
        """Whether sentences can be judged and losses compared with theory."""
        return self.grammar is not None

    @property
    def distinct(self) -> int | None:
        """Number of different sentences."""
        return self.grammar.distinct if self.grammar else None

    @property
    def prompt_length(self) -> int:
        """Least number of given tokens in a row; `Batch.prompt_lengths` has each row's own."""
        return int(self.grammar.prompt_lengths.min()) if self.grammar else 1

    @property
    def question_length(self) -> int | None:
        """Number of leading true tokens when prompted accuracy is measured; None: each row's prompt."""
        return self.grammar.question_length if self.grammar else None

    @property
    def floor(self) -> float | None:
        """Entropy per scored target: no model can do better on fresh data."""
        return self.plateau(self.context_length)

    def plateau(self, start: int) -> float | None:
        """Least true-history loss after free running from `start` true tokens; a prompt always stays true."""
        _require_positive("start", start)
        return self.grammar.bound(start) if self.grammar else None

    def entropies(self, start: int | None = None) -> tuple[float, ...] | None:
        """Entropy of target 1 ... T given the first `start` tokens (None: all before); 0 if never scored."""
        start = self.context_length if start is None else start
        _require_positive("start", start)
        return self.grammar.entropies(start) if self.grammar else None

    @property
    def kept(self) -> tuple[float, ...] | None:
        """Probability that target 1 ... T is scored; their sum is the number of targets per sentence."""
        return tuple(self.grammar.kept.tolist()) if self.grammar else None

    @property
    def choices(self) -> tuple[float, ...] | None:
        """Number of equally likely choices for target 1 ... T given all before it."""
        entropies = self.entropies()
        return tuple(math.exp(entropy) for entropy in entropies) if entropies else None

    def valid(self, tokens: Sequence[int]) -> bool:
        """Whether the ids, <s> and </s> included, are a sentence of the grammar; ValueError without one."""
        if self.grammar is None:
            raise ValueError(
                f"these {len(tokens)} tokens cannot be judged, a text has no grammar: use {', '.join(CORPORA)}"
            )
        return self.grammar.accepts(tokens)


class GrammarCorpus(Corpus):
    """A generated corpus: training draws fresh sentences from the grammar, except those held out."""

    grammar: Grammar

    def __init__(self, name: str, grammar: Grammar) -> None:
        self.name = self.source = name
        self.grammar = grammar
        self.tokenizer = grammar.tokenizer
        self.context_length = grammar.context_length
        self.holds_out = grammar.distinct >= _SMALLEST_TO_SPLIT
        powers = [pow(_HASH_BASE, index + 1, _HASH_PRIME) for index in range(grammar.context_length + 1)]
        self._hash = torch.tensor(powers)  # (T+1,)

    def batch(self, size: int, generator: torch.Generator, window: int | None = None) -> Batch:
        """Draw training sentences; a window smaller than T starts at one random place, the same for all."""
        _require_positive("batch size", size)
        forms, rows = self._training(size, generator)
        batch = self._shift(forms, rows)
        if window is None or window >= self.context_length:
            return batch
        offsets = _useful_offsets(batch, window)
        return batch.window(offsets[int(torch.randint(len(offsets), (), generator=generator))], window)

    def held_out(self, window: int) -> Batch:
        """Draw 512 held-out sentences; windows smaller than T take all places in turn."""
        generator = torch.Generator().manual_seed(_VALIDATION_SEED)
        # Every form appears exactly as often as the grammar says, and the sentences of one form are equally
        # likely: the grammar itself scores exactly its floor on these rows, whatever the luck of the draw.
        counts = (self.grammar.weights * _VALIDATION_ROWS).round().long()
        forms = torch.arange(len(counts)).repeat_interleave(counts)
        forms = forms[torch.randperm(len(forms), generator=generator)]
        batch = self._shift(forms, self._draw(forms, generator, held_out=True))
        if window >= self.context_length:
            return batch
        offsets = torch.tensor(_useful_offsets(batch, window))
        return batch.window(offsets[torch.arange(len(batch)) % len(offsets)], window)

    def examples(self, count: int, seed: int = 0) -> list[str]:
        """Draw training sentences."""
        _, rows = self._training(count, torch.Generator().manual_seed(seed))
        return [self.tokenizer.decode(row, skip_specials=True) for row in rows.tolist()]

    def is_held_out(self, rows: Tensor) -> Tensor:
        """(N,) bool: whether each padded row (N, T+1) is kept from training, decided by its ids alone."""
        if not self.holds_out:
            return torch.zeros(len(rows), dtype=torch.bool)
        return (rows * self._hash).sum(dim=1) % _HASH_PRIME % _HELD_OUT == 0

    def _training(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        forms = torch.multinomial(self.grammar.weights, count, replacement=True, generator=generator)
        return forms, self._draw(forms, generator, held_out=False)

    def _draw(self, forms: Tensor, generator: torch.Generator, *, held_out: bool) -> Tensor:
        """Rows (N, T+1) of one part; a row of the other part is drawn again and keeps its form."""
        rows = self.grammar.draw(forms, generator)
        if self.holds_out:
            while len(wrong := (self.is_held_out(rows) != held_out).nonzero().squeeze(1)):
                rows[wrong] = self.grammar.draw(forms[wrong], generator)
        return rows

    def _shift(self, forms: Tensor, rows: Tensor) -> Batch:
        return Batch.from_sequences(rows, self.tokenizer.pad, self.grammar.prompt_lengths[forms])


class TextTooShortError(ValueError):
    """A text has room for no window of the context, beside what is held out of it.

    Attributes:
        tokens: of the whole text.
    """

    def __init__(self, tokens: int, training: int, window: int) -> None:
        self.tokens = tokens
        super().__init__(
            f"the text has {tokens} tokens, {training} of them in its training part, and a context of {window} needs "
            f"{window + 1}: paste a longer text or choose a smaller context"
        )


class TextCorpus(Corpus):
    """A visitor's text: rows are windows of it, and its last tenth is held out."""

    name = "text"

    def __init__(self, source: TextSource, context_length: int) -> None:
        text = clean(source.text)
        if not text.strip():
            raise ValueError("the text has 0 words: paste at least a few sentences")
        kinds: dict[Level, type[Tokenizer]] = {
            "word": WordTokenizer,
            "char": CharacterTokenizer,
            "bpe": BytePairTokenizer,
        }
        self.source = source
        self.context_length = context_length
        self.tokenizer = kinds[source.level].from_text(text)
        tokens = self.tokenizer.encode(text)
        if len(set(tokens)) < 2:
            raise ValueError(
                f"the text has nothing but {len(tokens)} times the same token: use a text with at least 2 different ones"
            )
        self._tokens = torch.tensor(tokens)
        self._split = len(tokens) - max(1, len(tokens) // 10)  # index of the first held-out token
        self._require_room(context_length)

    def batch(self, size: int, generator: torch.Generator, window: int | None = None) -> Batch:
        """Draw windows of the training part, each from its own random place."""
        _require_positive("batch size", size)
        window = self.context_length if window is None else window
        return Batch.from_sequences(self._passages(size, window, generator), self.tokenizer.pad)

    def held_out(self, window: int) -> Batch:
        """Return consecutive windows over the last tenth, each of its tokens a target once; at most 512.

        The windows end where the text ends; what the first one lacks it borrows, unscored, from training.
        """
        self._require_room(window)
        last = len(self._tokens) - 1 - window
        first = torch.arange(last, self._split - 1 - window, -window).flip(0)  # (B,) place of each token 0
        first = first[:: math.ceil(len(first) / _VALIDATION_ROWS)]
        rows = self._tokens[first[:, None] + torch.arange(window + 1)]  # (B, T+1)
        return Batch.from_sequences(rows, self.tokenizer.pad, self._split - first)

    def examples(self, count: int, seed: int = 0) -> list[str]:
        """Draw passages of T+1 tokens from the training part."""
        passages = self._passages(count, self.context_length, torch.Generator().manual_seed(seed))
        return [self.tokenizer.decode(row) for row in passages.tolist()]

    def _passages(self, count: int, window: int, generator: torch.Generator) -> Tensor:
        self._require_room(window)
        first = torch.randint(self._split - window, (count, 1), generator=generator)
        return self._tokens[first + torch.arange(window + 1)]  # (count, window+1)

    def _require_room(self, window: int) -> None:
        _require_positive("context", window)
        if self._split < window + 1:
            raise TextTooShortError(len(self._tokens), self._split, window)


@cache
def load_corpus(name: str) -> GrammarCorpus:
    """Return the generated corpus of this name, one object for all; other names are a ValueError."""
    if name not in GRAMMARS:
        raise ValueError(f"there is no corpus {name!r}: choose one of {', '.join(CORPORA)}")
    return GrammarCorpus(name, GRAMMARS[name]())


def corpus_from_text(text: str, level: Level = "word", context_length: int = 32) -> TextCorpus:
    """Make a corpus of a text; one that is empty, too short or all of one token is a ValueError."""
    return _text_corpus(TextSource(text, level), context_length)


def open_corpus(source: str | TextSource, context_length: int = 32) -> Corpus:
    """Return the corpus that a TrainConfig names or brings along; a text is cut to this context."""
    return load_corpus(source) if isinstance(source, str) else _text_corpus(source, context_length)


@lru_cache(maxsize=8)  # byte pairs take a while to learn, and all pages of a visitor open the same text
def _text_corpus(source: TextSource, context_length: int) -> TextCorpus:
    return TextCorpus(source, context_length)


def _useful_offsets(batch: Batch, window: int) -> range:
    """Places where a window holds a scored target of some row: elsewhere there would be no loss."""
    _require_positive("window", window)
    columns = batch.keep.any(dim=0).nonzero().squeeze(1).tolist()
    return range(max(0, columns[0] - window + 1), min(batch.keep.shape[1] - window, columns[-1]) + 1)


def _require_positive(name: str, value: int) -> None:
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"the {name} is {value!r}: choose a whole number from 1 upwards")
