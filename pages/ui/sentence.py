"""The sentence that a page looks at: typed or taken from the corpus, as ids and as labels."""

from __future__ import annotations

from typing import NamedTuple

import streamlit as st
from torch import Tensor, tensor

from decoder import Corpus, Decoder
from decoder.figures.matrices import token_labels
from decoder.figures.words import listed
from decoder.inference.generation import encode_prompt
from decoder.language import clean
from decoder.language.sequences import kinds
from pages.ui.address import IN_ADDRESS
from pages.ui.session import refuse

REFERENCE = {"ibm": "IBM taught me GPT", "ibm-long": "IBM taught me GPT"}


class Sentence(NamedTuple):
    """Tokens that a page shows.

    Attributes:
        ids: (1, T).
        tokens: their texts.
        labels: their texts with the index first, so that repeated tokens stay distinct.
    """

    ids: Tensor
    tokens: tuple[str, ...]
    labels: tuple[str, ...]


def type_sentence(corpus: Corpus, context: int) -> str:
    """Let the visitor type a sentence: it follows from page to page, but not to another corpus, which has other words."""
    state = st.session_state
    if state.get("sentence corpus", corpus.name) != corpus.name:
        state["sentence"] = example(corpus, context)
    state["sentence corpus"] = corpus.name
    typed = st.text_input(
        "Sentence",
        value=example(corpus, context),
        max_chars=2_000,
        key="sentence",
        **IN_ADDRESS,
        help=f"Type another one, in {listed([f'{kind}s' for kind in kinds(corpus.tokenizer)])} that the corpus knows.",
    )
    return clean(typed)


def choose_sentence(corpus: Corpus, model: Decoder) -> Sentence:
    """Let the visitor type a sentence; what the decoder cannot read is refused with one sentence."""
    context = model.config.context_length
    typed = type_sentence(corpus, context)
    try:
        ids = encode_prompt(corpus.tokenizer, typed)
    except ValueError as error:
        refuse(error)
    if len(ids) > context:
        st.text(
            f"The sentence has {len(ids)} tokens; this decoder sees {context}: the first {context} are shown."
        )
        ids = ids[:context]
    return as_sentence(corpus, ids)


def as_sentence(corpus: Corpus, ids: list[int]) -> Sentence:
    """Return these ids with their texts and labels."""
    tokens = tuple(corpus.tokenizer.tokens[token] for token in ids)
    return Sentence(tensor([ids]), tokens, tuple(token_labels(tokens)))


def example(corpus: Corpus, context: int) -> str:
    """Return a sentence of the corpus to begin with: the lecture's own where the corpus has it."""
    if corpus.name in REFERENCE:
        return REFERENCE[corpus.name]
    text = corpus.examples(1)[0]
    return (
        text if corpus.has_grammar else corpus.tokenizer.decode(corpus.tokenizer.encode(text)[: context // 2])
    )


def choose_prompt(corpus: Corpus) -> str:
    """Let the visitor type a prompt; it belongs to the words of its corpus, so another corpus brings another."""
    state = st.session_state
    if state.get("prompt corpus", corpus.name) != corpus.name:
        state["prompt"] = _opening(corpus)
    state["prompt corpus"] = corpus.name
    # The default stands here too, so that a prompt equal to it leaves the address.
    return st.text_input("Your prompt", value=_opening(corpus), max_chars=2_000, key="prompt", **IN_ADDRESS)


def _opening(corpus: Corpus) -> str:
    """Return the first words of a sentence of the corpus, as a prompt to begin with."""
    ids = corpus.tokenizer.encode(corpus.examples(1)[0])
    return corpus.tokenizer.decode(ids[: max(corpus.prompt_length, 3) if corpus.name != "ibm" else 1])
