"""Start: a decoder that is learning to write right now, and what it wrote before it had learned anything."""

from __future__ import annotations

import streamlit as st

from decoder import train
from decoder.training.evaluation import write_sentences
from pages.ui import furniture, glossary, lanes, session, strip, training_questions
from pages.ui.checks import check

SENTENCES = 3

furniture.head(
    "Watch a decoder learn to write",
    "A language model begins as noise. What changes while it is trained?",
)
exploration = session.explore()
snapshot = strip.show(exploration)

glossary.explain(
    "token",
    "vocabulary",
    "loss",
    "nats",
    "true history",
    "floor",
    "valid sentence",
    "batch",
    "mask",
    *glossary.OF_THE_STRIP,
)
lanes.live_curves([exploration], key="start")
now = strip.require(snapshot)

st.markdown("**It wrote this before training**")
lanes.sentences(exploration, session.at_step(exploration.run_id, 0), SENTENCES)
st.markdown(f"**It writes this now**, {now.state}")
lanes.sentences(exploration, now, SENTENCES)

lanes.say_how_good([exploration], [session.evaluation(exploration.run_id, now.step)])

left, right = st.columns(2)
if left.button("Let it finish my sentence", type="primary", icon=":material/edit_note:", width="stretch"):
    st.switch_page("pages/lecture/generation.py")
mask = (
    "See the mask it learns under" if exploration.config.decoder.causal else "See the mask it learns without"
)
if right.button(mask, icon=":material/grid_on:", width="stretch"):
    st.switch_page("pages/lecture/causal_mask.py")

if untrained := session.evaluation(exploration.run_id, 0):
    vocab_size = exploration.corpus.tokenizer.vocab_size
    check("c19-start", training_questions.what_even_guess(vocab_size, untrained.true_history_loss))
furniture.next_page("tokens", "what is it trained on?")
furniture.show_code(train, write_sentences)
