"""Text to tokens to batches: everything a decoder can be trained on."""

from decoder.language.batches import Batch, pad_sequences
from decoder.language.corpora import (
    CORPORA,
    Corpus,
    GrammarCorpus,
    TextCorpus,
    TextTooShortError,
    corpus_from_text,
    load_corpus,
    open_corpus,
)
from decoder.language.tokenizer import (
    BytePairTokenizer,
    CharacterTokenizer,
    Tokenizer,
    WordTokenizer,
    clean,
)

__all__ = [
    "CORPORA",
    "Batch",
    "BytePairTokenizer",
    "CharacterTokenizer",
    "Corpus",
    "GrammarCorpus",
    "TextCorpus",
    "TextTooShortError",
    "Tokenizer",
    "WordTokenizer",
    "clean",
    "corpus_from_text",
    "load_corpus",
    "open_corpus",
    "pad_sequences",
]
