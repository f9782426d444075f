"""Attention: the weights of every layer and head, and where one token of the sentence looks."""

from __future__ import annotations

import streamlit as st

from decoder import attend
from decoder.figures import words
from decoder.figures.matrices import head_thumbnails
from decoder.model.decoder import Block
from pages.ui import furniture, session, strip
from pages.ui.matrix import matrices, thumbnails
from pages.ui.sentence import choose_sentence
from pages.ui.tokens import Chip, Strip, token_strips

furniture.head(
    "Attention",
    "Where does each token look, and does every head look at the same places?",
)
exploration = session.explore()
snapshot = strip.require(strip.show(exploration))
sentence = choose_sentence(exploration.corpus, snapshot.model)
T = len(sentence.tokens)
trace = snapshot.model.trace(sentence.ids)
heads = head_thumbnails(trace)

st.subheader("Every layer, every head")
hatched = ", hatched ones are masked" if exploration.config.decoder.causal else ""
st.caption(f"Bright cells are looked at{hatched}. Click a head to enlarge it.")
layer, head = thumbnails(heads, key="attention_heads", selected=(0, 0)) or (0, 0)
weights = trace.blocks[layer].attention.weights[0, head]  # (T, T)

st.subheader("One head, enlarged")
picture, reading = st.columns([3, 2])
with picture:
    cell = matrices(
        [heads[layer][head]],
        rows=sentence.labels,
        columns=sentence.labels,
        key="attention_matrix",
        selected=(0, T - 1, 0),
    )
row = cell.row if cell else T - 1
with reading:
    furniture.say(words.attention_sentence(sentence.labels, weights.tolist(), row, layer, head))
    st.caption("Click a row of the picture to choose another token.")
st.markdown("**Where this token looks**")
looks = [
    Chip(token, note=f"{weight:.3f}")
    for place, (token, weight) in enumerate(zip(sentence.tokens, weights[row].tolist(), strict=True))
    if place <= row or weight
]
token_strips(
    [Strip(f"{sentence.labels[row]} looks at", looks)],
    key="attention_row",
    caption="Under each token its weight. Together they make 1"
    + ("; what comes later is masked and not shown." if exploration.config.decoder.causal else "."),
)

furniture.next_page("training", "how does it learn where to look?")
furniture.show_code(attend, Block.forward)
