"""What the page of attention looks at: a sentence on its way through a decoder, and one row of one of its heads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import streamlit as st
from torch import Tensor

from decoder import Corpus, Decoder
from decoder.figures.matrices import Matrix, head_thumbnails
from decoder.model.decoder import BlockTrace, Trace
from decoder.model.mixing import HeadSummary, summarise
from pages.ui.sentence import Sentence
from pages.ui.session import Exploration, Snapshot

NEEDED = "the next token depends on it"


@dataclass(frozen=True)
class ForwardPass:
    """A sentence on its way through a decoder: all that stays as it is whichever row of whichever head is looked at."""

    exploration: Exploration
    snapshot: Snapshot
    sentence: Sentence

    @property
    def corpus(self) -> Corpus:
        """Where its words are from."""
        return self.exploration.corpus

    @property
    def model(self) -> Decoder:
        """Who reads it."""
        return self.snapshot.model

    @property
    def causal(self) -> bool:
        """Whether a mask closes later tokens."""
        return self.exploration.config.decoder.causal

    @property
    def tokens(self) -> tuple[str, ...]:
        """The texts of its tokens."""
        return self.sentence.tokens

    @property
    def labels(self) -> tuple[str, ...]:
        """The same with their places."""
        return self.sentence.labels

    @property
    def length(self) -> int:
        """T."""
        return len(self.tokens)

    @cached_property
    def ids(self) -> list[int]:
        """The ids of its tokens."""
        ids: list[int] = self.sentence.ids[0].tolist()
        return ids

    @cached_property
    def trace(self) -> Trace:
        """Everything that the decoder computed."""
        return self.model.trace(self.sentence.ids)

    @cached_property
    def heads(self) -> tuple[tuple[Matrix, ...], ...]:
        """The weights as pictures, layers x heads."""
        return head_thumbnails(self.trace)

    @property
    def n_layers(self) -> int:
        """How many blocks the decoder has."""
        return len(self.heads)

    @property
    def n_heads(self) -> int:
        """How many heads each of them has."""
        return len(self.heads[0])

    @cached_property
    def needed(self) -> list[tuple[int, ...]]:
        """Per row the places that its next token depends on, where a grammar knows them."""
        grammar = self.corpus.grammar
        return grammar.needed(self.ids) if grammar else [()] * self.length

    @cached_property
    def summaries(self) -> list[list[HeadSummary]]:
        """Every head summed up, layers x heads; some row must have a choice."""
        attentions = [block.attention for block in self.trace.blocks]
        return [
            [
                summarise(attention.weights[0, head], attention.masked_scores[0, head])
                for head in range(self.n_heads)
            ]
            for attention in attentions
        ]


@dataclass(frozen=True)
class HeadRow:
    """One row of one head in such a pass."""

    forward: ForwardPass
    layer: int
    head: int
    row: int

    @property
    def label(self) -> str:
        """The token that looks."""
        return self.forward.labels[self.row]

    @property
    def block(self) -> BlockTrace:
        """What the block of the head computed."""
        return self.forward.trace.blocks[self.layer]

    @property
    def matrix(self) -> Matrix:
        """The weights of the head as a picture."""
        return self.forward.heads[self.layer][self.head]

    @property
    def weights(self) -> Tensor:
        """All weights of the head, (T, T)."""
        return self.block.attention.weights[0, self.head]

    @property
    def masked_scores(self) -> Tensor:
        """What they were made from, (T, T)."""
        return self.block.attention.masked_scores[0, self.head]

    @property
    def masked(self) -> Tensor:
        """Which places are closed, (T, T)."""
        return self.masked_scores.isneginf()

    @cached_property
    def looks(self) -> list[float]:
        """The weights of the row."""
        looks: list[float] = self.weights[self.row].tolist()
        return looks

    @cached_property
    def open_places(self) -> list[int]:
        """Where the row may look."""
        places: list[int] = (~self.masked[self.row]).nonzero().flatten().tolist()
        return places

    @property
    def choices(self) -> int:
        """How many places these are."""
        return len(self.open_places)

    @property
    def needed(self) -> tuple[int, ...]:
        """The places that the token after the row depends on."""
        return self.forward.needed[self.row]

    @cached_property
    def fits(self) -> bool:
        """Whether the sentence up to the row is one that the grammar can begin with."""
        grammar = self.forward.corpus.grammar
        return grammar is not None and grammar.begins(self.forward.ids[: self.row + 1])


def look_from(row: int) -> None:
    """Show this row in everything that follows."""
    st.session_state["row"] = row
