"""Parts of the page of attention about one position: its way through a block, and h and z at the end of the last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import streamlit as st
from torch import Tensor

from decoder.figures import attention_words
from decoder.figures.matrices import visible
from decoder.figures.symbols import Term
from decoder.figures.tables import Table
from decoder.model import mixing
from decoder.model.decoder import Block
from pages.ui import aids, furniture, notation
from pages.ui import attention_questions as questions
from pages.ui.address import IN_ADDRESS
from pages.ui.checks import check
from pages.ui.head_row import HeadRow, look_from
from pages.ui.notation import name
from pages.ui.sheet import sheet
from pages.ui.vectors import Vector, vectors

MOST_LOGITS = 64  # of a position, in one strip
TOP = 3


def way_through_the_block(seen: HeadRow) -> None:
    """Show the vector of the row's token on its way through the layer."""
    forward, layer, row = seen.forward, seen.layer, seen.row
    path = mixing.stages(forward.trace, layer, row)
    width = seen.block.value.shape[-1]
    contextual = name("contextual embedding", t=row + 1)
    signs = {
        "heads joined": f"{forward.n_heads} × {width}",
        "attention output": "projected",
        "MLP output": "of the sum, normalised",
        "block output": "sum" if layer < forward.n_layers - 1 else contextual,
        "final norm": "what the output layer reads",
    }

    st.subheader("All heads joined: the way through the block")
    st.caption(
        f"The token of row {row} on its way through layer {layer}. Attention and MLP only add to what is there: the residual "
        "stream. What each of them reads of it is normalised first: brought to mean 0 and spread 1, then scaled by learned "
        "numbers."
    )
    vectors(
        [Vector(stage.name, stage.vector.tolist(), signs.get(stage.name, "")) for stage in path],
        key="stages",
        reach=max(stage.vector.abs().max().item() for stage in path),
        title="One token on its way through one block",
        names=15,
    )
    furniture.say(
        attention_words.stages_sentence(
            layer,
            forward.n_layers,
            forward.n_heads,
            width,
            mixing.stage_differences(forward.model, forward.trace, layer, row),
            contextual,
        ),
        key="what_stages",
    )
    aids.numbers(
        Table(
            f"{seen.label} on its way through layer {layer}",
            ["number", *(stage.name for stage in path)],
            [
                [at, *values]
                for at, values in enumerate(zip(*(stage.vector.tolist() for stage in path), strict=True), 1)
            ],
        ),
        key="stages",
        code=(mixing.stages, Block.forward),
    )


def boxes_and_rows(seen: HeadRow) -> None:
    """Show the vectors of all positions after some block, and the logits that are made of them: at the end h and z."""
    st.subheader(f"Grey boxes and red rows: {name('contextual embeddings')} and {name('logits')}")
    st.caption(
        "Each position has a grey box, its contextual embedding after the last block, and a red row, its logits. From the one "
        "to the other it takes two steps: the box is normalised once more (the final norm), and from that the output layer "
        "makes one logit per token. The code under the red rows has both steps. The colour of a cell is its number: blue below "
        "0, brown above, as the scales say. Behind the arrow stands the most likely next token. Choose after which block you "
        "look; a click on a position chooses its row in everything above."
    )
    boxes = _choose_boxes(seen)
    grey, red = st.columns(2)
    with grey:
        _grey_boxes(boxes)
    with red:
        _red_rows(boxes)
    _changes_and_predictions(boxes)
    trace = seen.forward.trace
    check(
        "c16", questions.what_shape(trace), questions.how_many_numbers(trace), questions.what_the_loss_reads()
    )
    _differently()
    if seen.forward.causal:
        st.caption("All rows at once equal one pass per prefix. This is proved where the mask is explained:")
        st.page_link(
            "pages/lecture/causal_mask.py",
            label="It looks sequential, and runs in parallel",
            icon=":material/arrow_forward:",
        )


@dataclass(frozen=True)
class Boxes:
    """The vectors of all positions after so many blocks, and what final norm and output layer make of them."""

    seen: HeadRow
    layers: int

    @property
    def texts(self) -> Sequence[str]:
        """All tokens of the vocabulary."""
        return self.seen.forward.corpus.tokenizer.tokens

    @property
    def labels(self) -> Sequence[str]:
        """The positions."""
        return self.seen.forward.labels

    @property
    def are_last(self) -> bool:
        """Whether no block comes after."""
        return self.layers == self.seen.forward.n_layers

    @cached_property
    def vectors(self) -> Tensor:
        """The vectors, (T, C)."""
        return mixing.block_input(self.seen.forward.trace, self.layers)[0]

    @cached_property
    def logits(self) -> Tensor:
        """What is made of them, (T, V)."""
        return mixing.logits_after(self.seen.forward.model, self.seen.forward.trace, self.layers)

    @cached_property
    def drawn(self) -> Tensor:
        """The ids of the tokens whose logits are drawn."""
        return mixing.greatest(self.logits, MOST_LOGITS)

    def name_of(self, term: Term, at: int) -> tuple[str, str]:
        """Name a position's vector, and its token; by the token alone where there are no symbols, or it is not the last."""
        if self.are_last and notation.chosen() == "symbols":
            return name(term, t=at + 1), visible(self.seen.forward.tokens[at])
        return self.labels[at], ""


def _choose_boxes(seen: HeadRow) -> Boxes:
    """Let the visitor choose after which block, and say what the logits there are."""
    n_layers = seen.forward.n_layers
    after = [f"after {at} of {n_layers}" for at in range(n_layers + 1)]
    chosen = st.segmented_control(
        "Blocks",
        after,
        default=after[-1],
        required=True,
        key=f"boxes_of_{n_layers}",
        **IN_ADDRESS,
    )
    boxes = Boxes(seen, after.index(chosen))
    if not boxes.are_last:
        st.caption(
            "⚠ Not what training knows: final norm and output layer learn to read the last block only. What they make of an "
            "earlier one is a look inside (a “logit lens”), no prediction of this decoder."
        )
    if len(boxes.drawn) < len(boxes.texts):
        st.caption(
            f"Of the {len(boxes.texts):,} logits of a position, the {len(boxes.drawn)} tokens with the greatest."
        )
    return boxes


def _grey_boxes(boxes: Boxes) -> None:
    values = boxes.vectors.tolist()
    st.caption("Grey boxes")
    vectors(
        [
            Vector(called, numbers, note)
            for at, numbers in enumerate(values)
            for called, note in [boxes.name_of("contextual embedding", at)]
        ],
        key="grey_boxes",
        reach=boxes.vectors.abs().max().item(),
        title=f"The vectors of all positions after {boxes.layers} blocks",
        look="table",
        pressable=True,
        selected=boxes.seen.row,
        on_choose=look_from,
        meaning="contextual_embeddings",
        names=8,
    )
    numbered = [f"number {at + 1}" for at in range(boxes.vectors.shape[1])]
    _offer_numbers(boxes, "vectors", "grey_boxes", numbered, values, mixing.block_input)


def _red_rows(boxes: Boxes) -> None:
    logits, drawn, texts = boxes.logits, boxes.drawn, boxes.texts
    st.caption("Red rows")
    vectors(
        [
            Vector(boxes.name_of("logits", at)[0], values, f"→ {visible(texts[best])}")
            for at, (values, best) in enumerate(
                zip(logits[:, drawn].tolist(), logits.argmax(dim=-1).tolist(), strict=True)
            )
        ],
        key="red_rows",
        reach=logits[:, drawn].abs().max().item(),
        title="The logits of all positions; behind each arrow the most likely next token",
        look="table",
        pressable=True,
        selected=boxes.seen.row,
        on_choose=look_from,
        meaning="logits",
        columns=[f"{visible(texts[token])} (id {token})" for token in drawn],
        names=8,
    )
    _offer_numbers(boxes, "logits", "red_rows", texts, logits.tolist(), mixing.logits_after)


def _offer_numbers(
    boxes: Boxes,
    what: str,
    key: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[float]],
    code: Callable[..., object],
) -> None:
    """Offer the numbers of all positions after the chosen block."""
    table = Table(
        f"{what} after {boxes.layers} of {boxes.seen.forward.n_layers} blocks",
        ["position", *columns],
        [[label, *values] for label, values in zip(boxes.labels, rows, strict=True)],
    )
    aids.numbers(table, key=key, code=(code,))


def _changes_and_predictions(boxes: Boxes) -> None:
    """Say and show how far each block moves each vector, and the most likely next tokens."""
    seen, texts = boxes.seen, boxes.texts
    forward, row = seen.forward, seen.row
    best = boxes.logits.softmax(dim=-1).topk(min(TOP, len(texts)))
    changes = mixing.block_changes(forward.trace)  # (layers, T)
    top = [
        [(texts[token], share) for token, share in zip(ids, shares, strict=True)]
        for ids, shares in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]
    furniture.say(
        attention_words.boxes_sentence(forward.length, changes.mean(dim=1).tolist()),
        attention_words.top_sentence(
            seen.label, top[row], boxes.layers, forward.n_layers, name("logits", t=row + 1)
        ),
        key="what_boxes",
    )
    table = Table(
        "how far each block moves each vector, and the most likely next tokens",
        [
            "position",
            *(f"moved by block {at}" for at in range(forward.n_layers)),
            *(part for rank in range(1, len(top[0]) + 1) for part in (f"{rank}. token", "probability")),
        ],
        [
            [label, *moved, *(part for pair in pairs for part in pair)]
            for label, moved, pairs in zip(forward.labels, changes.T.tolist(), top, strict=True)
        ],
    )
    sheet(table, key="boxes")
    aids.numbers(table, key="boxes", code=(mixing.block_changes, mixing.logits_after))


def _differently() -> None:
    furniture.differently(
        "c16",
        (
            "The lecture speaks of “the output denoted as h and z” and defines neither. This is our reading: h is the "
            "contextual embedding of a position, the grey box, and z are the logits, the red row: what the output layer makes "
            "from h when that has been normalised once more."
        )
        if notation.chosen() == "symbols"
        else (
            "The lecture names the output by two letters and defines neither. This is our reading: the one is the contextual "
            "embedding of a position, the grey box, and the other are the logits, the red row: what the output layer makes "
            "from it when it has been normalised once more."
        ),
    )
