"""Text to tokens and back: words, characters or byte pairs; special tokens only where they are asked for."""

from __future__ import annotations

import difflib
import re
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import ClassVar, Self

import tokenizers

PAD, BOS, EOS, UNKNOWN = "<pad>", "<s>", "</s>", "<unk>"
MAX_WORDS = 2_000
MAX_BYTE_PAIRS = 512
MAX_WORD_BYTES = 24

# Control characters other than tab and newline, and marks that override or isolate the direction of writing.
_FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_SURROGATE = re.compile("[\ud800-\udfff]")
# Accents, vowel signs and the like, which \w leaves out.
_MARKS = "".join(
    character for character in map(chr, range(0x300, 0x20000)) if unicodedata.category(character)[0] == "M"
)


def clean(text: str) -> str:
    r"""Make any text safe to show, store and encode; cleaning twice changes nothing.

    NFC, line ends as "\n", U+FFFD for lone surrogates, no control and no direction-override characters.
    """
    text = _SURROGATE.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))
    # NFC comes last: taking a character away can bring a letter and its accent together.
    return unicodedata.normalize("NFC", _FORBIDDEN.sub("", text))


class Tokenizer(ABC):
    """The face of all tokenizers.

    Args:
        specials: special tokens, ids from 0 in this order; any of <pad>, <s>, </s>, <unk>, or none.
        tokens: the other tokens, ids after them.
    """

    noun: ClassVar[str] = "tokens"

    def __init__(self, specials: Sequence[str], tokens: Sequence[str]) -> None:
        self.specials = tuple(specials)
        self.tokens = (*specials, *tokens)
        self.pad, self.bos, self.eos, self.unknown = (
            self.specials.index(token) if token in self.specials else None
            for token in (PAD, BOS, EOS, UNKNOWN)
        )

    @classmethod
    @abstractmethod
    def from_text(cls, text: str, specials: Sequence[str] = ()) -> Self:
        """Make the tokenizer whose vocabulary is learned from this text."""

    @property
    def vocab_size(self) -> int:
        """Number of tokens, special ones included."""
        return len(self.tokens)

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Ids of the cleaned text: adds no special token, reads typed ones such as <s> as what they are.

        Unknown tokens are <unk> if there is one, else a ValueError that names them.
        """

    def unknown_pieces(self, text: str) -> list[str]:
        """Pieces of the text that are not in the vocabulary, each once."""
        del text
        return []

    def explain(self, missing: Sequence[str]) -> str:
        """Name pieces that are not in the vocabulary, and close ones that are."""
        first = [piece[:30] for piece in missing[:3]]
        named = ", ".join(map(repr, first)) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        known = {token.lower(): token for token in self.tokens[len(self.specials) :]}
        close = [known[hit] for piece in first for hit in difflib.get_close_matches(piece.lower(), known, 1)]
        remedy = f"did you mean {', '.join(close)}?" if close else f"use {', '.join([*known.values()][:5])} …"
        verb = "is" if len(missing) == 1 else "are"
        return f"{named} {verb} not among the {len(known)} {self.noun} of this vocabulary: {remedy}"

    def decode(self, ids: Sequence[int], *, skip_specials: bool = False) -> str:
        """Text of the ids; ids outside the vocabulary are a ValueError."""
        for token in ids:
            if not 0 <= token < self.vocab_size:
                last = self.vocab_size - 1
                raise ValueError(f"there is no token {token}: use the ids 0 to {last} of this vocabulary")
        first = len(self.specials) if skip_specials else 0
        return self._join([token for token in ids if token >= first])

    @abstractmethod
    def _join(self, ids: list[int]) -> str: ...


class _TableTokenizer(Tokenizer):
    """Cuts text with a regular expression and looks the pieces up in a table."""

    pattern: ClassVar[str]
    glue: ClassVar[str]

    def __init__(self, specials: Sequence[str], tokens: Sequence[str]) -> None:
        super().__init__(specials, tokens)
        self._ids = {token: index for index, token in enumerate(self.tokens)}

    @classmethod
    def _cut(cls, text: str, specials: Sequence[str]) -> list[str]:
        return re.findall("|".join([*map(re.escape, specials), cls.pattern]), clean(text))

    def encode(self, text: str) -> list[int]:
        """Ids of the pieces of the cleaned text."""
        pieces = self._cut(text, self.specials)
        if self.unknown is not None:
            return [self._ids.get(piece, self.unknown) for piece in pieces]
        missing = self.unknown_pieces(text)
        if missing:
            raise ValueError(self.explain(missing))
        return [self._ids[piece] for piece in pieces]

    def unknown_pieces(self, text: str) -> list[str]:
        """Pieces of the text that are not in the table, each once."""
        pieces = dict.fromkeys(self._cut(text, self.specials))
        return [piece for piece in pieces if piece not in self._ids]

    def _join(self, ids: list[int]) -> str:
        return self.glue.join(self.tokens[token] for token in ids)


class WordTokenizer(_TableTokenizer):
    """Words and punctuation marks, joined by single spaces."""

    noun = "words"
    # A mark belongs to the character before it, and what a joiner joins is one sign: "नमस्ते" and "👩‍👧" are one piece each.
    pattern = rf"\w[{_MARKS}\u200c\u200d]*(?:['’]?\w[{_MARKS}\u200c\u200d]*)*|[^\w\s][{_MARKS}]*(?:\u200d\S[{_MARKS}]*)*"
    glue = " "

    @classmethod
    def from_text(cls, text: str, specials: Sequence[str] = ()) -> Self:
        """Keep the MAX_WORDS most frequent words; <unk> is added if, and only if, that leaves some out."""
        counts = Counter(piece for piece in cls._cut(text, specials) if piece not in specials)
        if len(counts) > MAX_WORDS and UNKNOWN not in specials:
            specials = (*specials, UNKNOWN)
        return cls(specials, [word for word, _ in counts.most_common(MAX_WORDS)])


class CharacterTokenizer(_TableTokenizer):
    """Single characters, in the order of their code points."""

    noun = "characters"
    pattern = r"(?s:.)"
    glue = ""

    @classmethod
    def from_text(cls, text: str, specials: Sequence[str] = ()) -> Self:
        """Keep every character of the text."""
        return cls(specials, sorted({piece for piece in cls._cut(text, specials) if piece not in specials}))


class BytePairTokenizer(Tokenizer):
    """Byte-level byte-pair encoding (Sennrich et al. 2016, arXiv 1508.07909), by Hugging Face's `tokenizers`.

    All 256 bytes are tokens, so that no text is ever unknown.
    """

    def __init__(self, specials: Sequence[str], model: tokenizers.Tokenizer) -> None:
        self._model = model
        written = [model.id_to_token(index) for index in range(len(specials), model.get_vocab_size())]
        super().__init__(specials, [_readable(token) for token in written if token is not None])

    @classmethod
    def from_text(cls, text: str, specials: Sequence[str] = ()) -> Self:
        """Learn at most MAX_BYTE_PAIRS tokens from the text: the 256 bytes and the most frequent pairs."""
        model = tokenizers.Tokenizer(tokenizers.models.BPE())
        # Learning takes quadratic time in the length of a word: a text without spaces is cut into short ones.
        model.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
            [
                tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False),
                tokenizers.pre_tokenizers.Split(tokenizers.Regex(f".{{1,{MAX_WORD_BYTES}}}"), "isolated"),
            ]
        )
        model.decoder = tokenizers.decoders.ByteLevel()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=len(specials) + MAX_BYTE_PAIRS,
            min_frequency=2,
            special_tokens=list(specials),
            initial_alphabet=list(_GLYPHS),
            show_progress=False,
        )
        model.train_from_iterator([clean(text)], trainer)
        return cls(specials, model)

    def encode(self, text: str) -> list[int]:
        """Ids of the byte pairs of the cleaned text."""
        return list(self._model.encode(clean(text)).ids)

    def _join(self, ids: list[int]) -> str:
        return str(self._model.decode(ids, skip_special_tokens=False))


def _byte_glyphs() -> dict[str, int]:
    """Characters that stand for bytes in byte-level tokens: visible ones for themselves, others moved up."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = [byte for byte in range(0x100) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(0x100 + i): byte for i, byte in enumerate(moved)}


_GLYPHS = _byte_glyphs()


def _readable(token: str) -> str:
    r"""Text of a byte-level token; bytes that are only a part of a character are written as \xe2."""
    return bytes(_GLYPHS[glyph] for glyph in token).decode(errors="backslashreplace")
