"""The laboratory of the page about the causal mask: one head from its scores to its weights, with a mask that can be edited.

It is drawn as one fragment: another head, another cell or another mask draws nothing else of the page anew.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import streamlit as st
from torch import Tensor

from decoder import Decoder, attend, causal_mask
from decoder.figures import mask_words, words
from decoder.figures.mask_words import spelled
from decoder.figures.matrices import Matrix, head_thumbnails, masking_matrices, stages_table
from decoder.figures.tables import Table
from decoder.figures.target_words import counted
from decoder.model.arithmetic import cell_arithmetic
from decoder.model.decoder import BlockTrace
from decoder.model.masking import (
    Stages,
    Way,
    first_scores,
    flip_cells,
    mask_row,
    mask_scores,
    measure_leaks,
)
from pages.ui import aids, furniture, mask_questions, notation
from pages.ui.address import IN_ADDRESS
from pages.ui.checks import check
from pages.ui.choice import in_range, whole_numbers
from pages.ui.heads import choose_head, show_heads
from pages.ui.matrix import Cell, matrices
from pages.ui.sentence import Sentence
from pages.ui.sheet import sheet

FINITE_CHOICES = (-1.0, -2.0, -5.0, -10.0, -20.0)
OWN_SCORES = 4
FARTHEST_SCORE = 50.0


@dataclass(frozen=True)
class Subject:
    """What is looked at: a decoder, and a sentence that it reads.

    `targets` are the ids of the tokens that the rows should predict; of a sentence without an end the last row has none.
    """

    model: Decoder
    texts: Sequence[str]
    sentence: Sentence
    targets: Sequence[int]

    @property
    def labels(self) -> Sequence[str]:
        """One label per position."""
        return self.sentence.labels

    @property
    def length(self) -> int:
        """How many tokens are read, T."""
        return len(self.sentence.tokens)

    @property
    def causal(self) -> Tensor:
        """(T, T) the causal mask."""
        return causal_mask(self.length)


@dataclass(frozen=True)
class EditedMask:
    """A mask and what was edited in it, which the session state keeps under `key`."""

    base: Tensor  # (T, T)
    key: str

    @property
    def flips(self) -> list[tuple[int, int]]:
        """The cells that were opened or closed."""
        cells: list[tuple[int, int]] = st.session_state.setdefault(self.key, [])
        return cells

    @property
    def open(self) -> Tensor:
        """(T, T) True where a cell is open."""
        return flip_cells(self.base, self.flips)

    def read_link(self) -> None:
        """Take the edits of the address, once; afterwards the address follows what is edited here."""
        if "edits read" not in st.session_state:
            st.session_state["edits read"] = True
            st.session_state.setdefault(self.key, self._edits_in_link())

    def _edits_in_link(self) -> list[tuple[int, int]]:
        """Cells that the address opens and closes, "1.3,2.0"; none if it says anything else."""
        try:
            places = [
                whole_numbers([int(part) for part in place.split(".")], tuple(self.base.shape))
                for place in st.query_params.get("edits", "").split(",")
            ]
            cells = [(place[0], place[1]) for place in places if place]
            flip_cells(self.base, cells)
        except ValueError:
            return []
        return cells if len(set(cells)) == len(places) else []

    def write_link(self) -> None:
        """Put the edits into the address."""
        if self.flips:
            st.query_params["edits"] = ",".join(f"{row}.{column}" for row, column in self.flips)
        elif "edits" in st.query_params:
            del st.query_params["edits"]

    def flip(self, cell: Cell) -> None:
        """Open or close a cell, and look at it; a row must keep an open one."""
        place, flips = (cell.row, cell.column), self.flips
        wanted = [other for other in flips if other != place] if place in flips else [*flips, place]
        try:
            flip_cells(self.base, wanted)
            st.session_state[self.key] = wanted
        except ValueError as error:
            st.session_state["mask refusal"] = str(error)
        _look_at(cell)


@dataclass(frozen=True)
class Chosen:
    """Which head and which cell is looked at."""

    layer: int
    head: int
    row: int
    column: int


def laboratory(subject: Subject) -> None:
    """Draw it all: the steps from scores to weights, the arithmetic of one of them, and wrong ways to mask."""
    st.subheader("From scores to weights, in four steps")
    st.caption(
        "Rows are queries (this token looks …), columns are keys (… at this token). Point at a cell to find it in all four "
        "matrices; click it to see how it came about."
    )
    st.caption(
        "**Row by row: which inputs predict which token.** Press Play, or step with Next. Each row is one prediction, made "
        "from the inputs that its open cells name; all rows are computed at once."
    )
    edited, press = _choose_mask(subject)
    mask = edited.open
    trace = subject.model.trace(subject.sentence.ids, mask=mask)
    steps = st.container()
    chosen = _choose_head(subject, head_thumbnails(trace))
    block = trace.blocks[chosen.layer]
    stages = mask_scores(block.attention.scores[0, chosen.head], mask)  # (T, T) each
    with steps:
        walk = _walk(subject, mask, trace.logits[0].softmax(dim=-1))
        cell = _four_steps(subject, edited, chosen, stages, walk, press)
    check("c23", mask_questions.how_many_masked(subject.length + 1), mask_questions.is_diagonal_masked())

    st.subheader("How one weight comes about")
    if cell:
        _one_weight(subject, block, chosen, cell)
    else:
        st.caption("Click a cell of the matrices above.")

    st.subheader("Four scores of your own")
    alike = mask[chosen.row].nonzero().flatten().tolist() == [*range(min(chosen.row, OWN_SCORES - 1) + 1)]
    st.caption(
        "One row of a sentence of four tokens. Change its scores, choose which row it is, and what is put where a score is "
        "closed: the softmax is the decoder's own. "
        + mask_words.own_scores_sentence(chosen.row, subject.length, OWN_SCORES, alike=alike)
    )
    real = first_scores(stages.scores[chosen.row], OWN_SCORES, FARTHEST_SCORE)
    _own_row(real, chosen.row)

    st.subheader("Why −∞, and why before the softmax? Four ways to get it wrong")
    _wrong_ways(subject, chosen)


# ---- C23 and C27: scores, masked scores, exponentials, weights; the rows one after the other


def _choose_mask(subject: Subject) -> tuple[EditedMask, str]:
    """Let the visitor switch and edit the mask; return it, and what a press does to a cell."""
    T, trained_masked = subject.length, subject.model.config.causal
    with st.container(horizontal=True, vertical_alignment="center"):
        masked = st.toggle(
            "Causal mask",
            value=trained_masked,
            key="masked" if trained_masked else "masked_afterwards",
            **IN_ADDRESS,
            help="Switch it to see where the same decoder would look with and without it.",
        )
        editing = st.toggle(
            "Edit the mask",
            key="editing",
            help="Then a click, or Enter, opens a closed cell and closes an open one.",
        )
        base = subject.causal if masked else subject.causal.new_ones(T, T)
        # Of another sentence length, or of the other mask, there are others.
        edited = EditedMask(base, f"edits of {T} {masked}")
        edited.read_link()
        st.button(
            "Reset the mask",
            icon=":material/restart_alt:",
            key="reset",
            on_click=edited.flips.clear,
            disabled=not edited.flips,
        )
    edited.write_link()
    return edited, "opens or closes the cell" if editing else ""


def _look_at(cell: Cell) -> None:
    """Show this cell, in the sliders and so in the address as well."""
    state = st.session_state
    state["mask panel"], state["row"], state["column"] = cell


def _walk(subject: Subject, mask: Tensor, probabilities: Tensor) -> list[str]:
    """Say of each row what it may look at, and what it predicts from that; probabilities are (T, V)."""
    lines = []
    for row in range(subject.length):
        seen = mask[row].nonzero().flatten().tolist()
        share, token = probabilities[row].max(dim=0)
        target = None
        if row < len(subject.targets):
            id_ = subject.targets[row]
            target = subject.texts[id_], probabilities[row, id_].item()
        lines.append(
            mask_words.walk_line(
                spelled(seen, lambda place: notation.name("embedding", t=place)),
                notation.name("token", t=row + 1),
                (subject.texts[int(token)], share.item()),
                target,
                alone=len(seen) == 1,
            )
        )
    return lines


def _choose_head(subject: Subject, heads: Sequence[Sequence[Matrix]]) -> Chosen:
    """Show all heads, and let the visitor choose one, and a cell."""
    T = subject.length
    st.markdown("**Another head, another cell**")
    st.caption(
        "The weights of every layer and head for the same sentence. Click one to see its four steps above; the address "
        "carries your choice."
    )
    pictures = st.container()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        head = choose_head(len(heads), len(heads[0]))
        for key in ("row", "column"):
            in_range(key, T)
        row, column = (
            st.slider(label, 0, T - 1, default, key=key, **IN_ADDRESS, width=210) if T > 1 else 0
            for label, key, default in (
                ("Row: the query", "row", min(2, T - 1)),
                ("Column: the key", "column", 0),
            )
        )
    with pictures:
        show_heads(heads, subject.labels, head, key="mask_heads")
    return Chosen(*head, row, column)


def _four_steps(
    subject: Subject, edited: EditedMask, chosen: Chosen, stages: Stages, walk: Sequence[str], press: str
) -> Cell | None:
    """Draw the four matrices, and return the cell that is looked at."""
    labels, mask, causal = subject.labels, edited.open, subject.causal
    cell = matrices(
        masking_matrices(stages, ~mask),
        rows=labels,
        columns=labels,
        key="mask_matrices",
        selected=(st.session_state.get("mask panel", 3), chosen.row, chosen.column),
        on_choose=_look_at,
        press=press,
        on_press=edited.flip,
        cross=True,
        walk=walk,
    )
    if refusal := st.session_state.pop("mask refusal", None):
        with st.container(key="mask_refusal"):
            st.text(f"⚠ {refusal}")
    furniture.say(
        mask_words.mask_sentence(
            subject.length,
            open_future=int((mask & ~causal).sum()),
            closed_past=int((~mask & causal).sum()),
            trained_masked=subject.model.config.causal,
            layer=chosen.layer,
            head=chosen.head,
        ),
        key="what_mask",
    )
    aids.numbers(
        stages_table("scores, masked scores, exponentials and weights", stages, labels),
        key="mask_matrices",
        code=(attend, mask_scores),
    )
    check("c27", mask_questions.which_inputs(subject.length))
    return cell


# ---- C25: the arithmetic of one cell, and wrong ways to mask


def _one_weight(subject: Subject, block: BlockTrace, chosen: Chosen, cell: Cell) -> None:
    """Spell out how one weight was computed, with its real numbers."""
    config, labels = subject.model.config, subject.labels
    numbers = cell_arithmetic(block, chosen.head, cell.row, cell.column)
    st.text(f"query {labels[cell.row]}   looks at   key {labels[cell.column]}")
    widths = f"{config.d_model} / {counted(config.n_heads, 'head')} = {len(numbers.query)}"
    for title, spell in (
        (
            f"1. Score: query times key, divided by the root of the head width, a width of {widths}",
            words.score_arithmetic,
        ),
        ("2. Mask", words.mask_arithmetic),
        ("3. Softmax: exponentials, divided by the sum of their row", words.weight_arithmetic),
    ):
        st.caption(title)
        st.code(spell(numbers, cell.row, cell.column), language=None, wrap_lines=True)
    aids.numbers(
        Table(
            f"query {labels[cell.row]} times key {labels[cell.column]}, layer {chosen.layer}, head {chosen.head}",
            ["number", "query", "key", "product"],
            [
                [at, *values]
                for at, values in enumerate(zip(numbers.query, numbers.key, numbers.products, strict=True), 1)
            ],
        ),
        key="cell_arithmetic",
        code=(cell_arithmetic,),
    )


def _set_scores(scores: Sequence[float], row: int, *, follow: bool = False) -> None:
    """Put these scores into the four fields, as those of this row; they may follow what is chosen above."""
    state = st.session_state
    state["own row"] = row
    for at, score in enumerate(scores):
        state[f"own score {at}"] = score
    state["own scores follow"] = (*scores, row) if follow else None


def _own_row(real: Sequence[float], row: int) -> None:
    """Turn four scores into weights.

    Args:
        real: the scores that the row of the matrices begins with.
        row: which row that is.
    """
    state, own_row = st.session_state, min(row, OWN_SCORES - 1)
    fields = tuple(state.get(key) for key in (*(f"own score {at}" for at in range(OWN_SCORES)), "own row"))
    if None in fields or fields == state.get("own scores follow"):
        _set_scores(real, own_row, follow=True)
    with st.container(horizontal=True):
        st.button(
            "Four equal scores, row 1", key="equal_scores", on_click=_set_scores, args=([0.0] * OWN_SCORES, 1)
        )
        st.button(
            f"Scores of row {row} above",
            key="real_scores",
            on_click=_set_scores,
            args=(real, own_row),
            kwargs={"follow": True},
        )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        scores = [
            st.number_input(
                f"score on key {at}",
                -FARTHEST_SCORE,
                FARTHEST_SCORE,
                step=0.5,
                format="%.3f",
                key=f"own score {at}",
                persist_state="session",
                width=150,
            )
            for at in range(OWN_SCORES)
        ]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        which = st.selectbox(
            "which row it is",
            range(OWN_SCORES),
            format_func=mask_words.row_name,
            key="own row",
            persist_state="session",
            width=230,
        )
        fill = st.select_slider(
            "in place of a closed score",
            (*FINITE_CHOICES, -math.inf),
            value=-math.inf,
            format_func=words.number,
            key="own mask value",
            persist_state="session",
            width=320,
        )
    open_cells, finite = which + 1, None if math.isinf(fill) else fill
    own = mask_row(scores, which) if finite is None else mask_row(scores, which, "finite number", finite)
    table = mask_words.row_table(*(stage.tolist() for stage in own))
    sheet(table, key="own_scores")
    furniture.say(
        mask_words.row_sentence(own.exponentials.tolist(), own.weights.tolist(), open_cells, finite),
        key="what_own_scores",
    )
    aids.numbers(table, key="own_scores", code=(mask_row, mask_scores))


def _wrong_ways(subject: Subject, chosen: Chosen) -> None:
    """Mask the chosen head in five ways, and measure what each lets through."""
    layer, head, labels, causal = chosen.layer, chosen.head, subject.labels, subject.causal
    st.caption(
        f"The scores of layer {layer}, head {head}, {'with the causal mask in the layers below, ' if layer else ''}masked in "
        "five ways, in this head alone. All but the first are mistakes that are easily made, and easily overlooked."
    )
    way: Way = st.pills(  # on a phone they stand in several lines
        "How closed cells are kept out",
        get_args(Way),
        default="finite number",
        required=True,
        format_func=mask_words.WAY_NAMES.__getitem__,
        key="way",
        **IN_ADDRESS,
    )
    finite = FINITE_CHOICES[0]
    if way == "finite number":
        finite = st.select_slider(
            "in place of −∞",
            FINITE_CHOICES,
            value=finite,
            format_func=words.number,
            key="finite",
            **IN_ADDRESS,
            width=320,
        )
    trace = subject.model.trace(subject.sentence.ids, mask=causal)  # below the head all is right
    masked_this_way = mask_scores(trace.blocks[layer].attention.scores[0, head], causal, way, finite)
    scores_note, weights_note = mask_words.way_notes(way, finite)
    matrices(
        masking_matrices(masked_this_way, ~causal, note=scores_note, weights_note=weights_note)[1:],
        rows=labels,
        columns=labels,
        key="way_matrices",
        cross=True,
    )
    aids.numbers(
        stages_table(f"masked in this way: {mask_words.way_name(way, finite)}", masked_this_way, labels),
        key="way_matrices",
        code=(mask_scores,),
    )
    leaks = measure_leaks(subject.model, subject.sentence.ids, layer, head, finite)
    furniture.say(
        mask_words.leak_sentence(
            way, leaks[way], finite, subject.texts, subject.sentence.tokens[-1], above=layer > 0
        ),
        key="what_leak",
    )
    ways = Table(
        "what each way lets through",
        ["way", "share on the future", "row sums from", "to", "earlier results move"],
        [
            [
                mask_words.way_name(other, finite),
                leak.closed_share,
                min(leak.sums),
                max(leak.sums),
                leak.moved,
            ]
            for other, leak in leaks.items()
        ],
    )
    sheet(ways, key="ways")
    st.caption(
        "Share on the future: of all weight. Earlier results move: the greatest change of weights times values in any row "
        "before the last, when the last token is replaced by "
        f"{mask_words.tried(leaks[way], len(subject.texts))}, one after the other."
    )
    aids.numbers(ways, key="ways", code=(measure_leaks,))
    check(
        "c25",
        mask_questions.first_weight(),
        mask_questions.equal_scores(),
        mask_questions.how_much_leaks(),
    )
