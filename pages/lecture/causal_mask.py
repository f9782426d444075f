"""Causal mask: scores, masked scores and weights of one head side by side, and the arithmetic of any cell."""

from __future__ import annotations

import streamlit as st

from decoder import attend, causal_mask
from decoder.figures import words
from decoder.figures.matrices import attention_matrices, head_thumbnails
from decoder.model.arithmetic import cell_arithmetic
from pages.ui import furniture, session
from pages.ui.matrix import matrices, thumbnails
from pages.ui.sentence import choose_sentence

furniture.head(
    "The causal mask",
    "All tokens are processed at once. What keeps a token from reading the answer that stands after it?",
)
exploration = session.explore()
snapshot = furniture.require(furniture.strip(exploration))
sentence = choose_sentence(exploration.corpus, snapshot.model)
T = len(sentence.tokens)
trained_masked = exploration.config.decoder.causal
masked = st.toggle(
    "Causal mask",
    value=trained_masked,
    key="masked" if trained_masked else "masked_afterwards",
    bind="query-params",
    help="Switch it to see where the same decoder would look with and without it.",
)
mask = causal_mask(T) if masked else causal_mask(T).new_ones(T, T)
trace = snapshot.model.trace(sentence.ids, mask=mask)

st.subheader("One head, in three steps")
st.caption(
    "Rows are queries (this token looks …), columns are keys (… at this token). "
    "Point at a cell to find it in all three; click it to see how it came about."
)
steps = st.container()
arithmetic = st.container()

st.subheader("All heads")
st.caption(
    "The weights of every layer and head for the same sentence. Click one to see its three steps above."
)
chosen = thumbnails(head_thumbnails(trace), key="mask_heads", selected=(0, 0))
layer, head = chosen or (0, 0)
block = trace.blocks[layer]

with steps:
    stages = attention_matrices(block.attention, head)
    cell = matrices(
        stages,
        rows=sentence.labels,
        columns=sentence.labels,
        key="mask_matrices",
        selected=(2, min(2, T - 1), 0),
    )
    furniture.say(
        words.mask_sentence(T, masked=masked, trained_masked=trained_masked, layer=layer, head=head)
    )

if cell:
    numbers = cell_arithmetic(block, head, cell.row, cell.column)
    with arithmetic:
        st.markdown("**How the chosen cell came about**")
        st.text(f"query {sentence.labels[cell.row]}   looks at   key {sentence.labels[cell.column]}")
        for title, spell in (
            ("1. Score", words.score_arithmetic),
            ("2. Mask", words.mask_arithmetic),
            ("3. Softmax", words.weight_arithmetic),
        ):
            st.caption(title)
            st.code(spell(numbers, cell.row, cell.column), language=None, wrap_lines=True)

furniture.next_page("attention", "where does every head look?")
furniture.show_code(causal_mask, attend)
