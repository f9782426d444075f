"""Training: two decoders with one seed and the same batches, fed with different histories, side by side."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import streamlit as st

from decoder import evaluate, train
from decoder.figures.style import NAMES
from decoder.training.histories import compare_histories
from decoder.training.reading import read
from pages.ui import aids, furniture, glossary, lanes, notation, session, strip
from pages.ui import training_questions as questions
from pages.ui.address import IN_ADDRESS
from pages.ui.checks import check

SENTENCES = 4
MOST_SENTENCES = 50

furniture.head(
    "Training",
    "Should a decoder learn from the true history, or from what it wrote itself?",
)
left, right, axis = st.columns([2, 2, 1.4])
first = left.selectbox("Lane A", session.LANES, format_func=NAMES.__getitem__, key="lane_a", **IN_ADDRESS)
second = right.selectbox(
    "Lane B", session.LANES, index=1, format_func=NAMES.__getitem__, key="lane_b", **IN_ADDRESS
)
seconds = (
    axis.segmented_control(
        "Horizontal axis", ["updates", "seconds"], default="updates", key="axis", **IN_ADDRESS
    )
    == "seconds"
)
both = [session.explore(first, slot="run_a"), session.explore(second, slot="run_b")]
if both[0].run_id == both[1].run_id:
    st.caption("Both lanes are the same training: choose another mode in one of them to compare.")
    both = both[:1]
elif both[0].name == both[1].name:
    both = [replace(lane, mark=mark) for lane, mark in zip(both, (" (A)", " (B)"), strict=True)]

with st.container(border=True, key="strip"):
    st.markdown(lanes.common_ground(both))
    drawn = strip.follow(both)

notation.switch()
glossary.explain(
    "teacher forcing",
    "free running",
    "scheduled sampling",
    "true history",
    "update",
    "batch",
    "target",
    "prediction",
    "embedding",
    "logits",
    "loss",
    "floor",
    "valid sentence",
)
lanes.live_curves(both, key="lanes", shares=True, seconds=seconds)
furniture.live(lambda: lanes.scores(both), running=furniture.any_running(both))
aids.numbers(partial(lanes.score_table, both), key="scores", code=(evaluate,))
snapshots = [strip.require(snapshot) for snapshot in drawn]
first_lane, decoder = both[0], snapshots[0]
texts = first_lane.corpus.tokenizer.tokens

st.subheader("The same sentence, two histories")
st.caption(
    "The targets are the true tokens in every lane. "
    + (
        "What differs is what a lane is fed: a dashed chip is an own prediction that is not the truth."
        if {lane.meaning for lane in both} - {"teacher_forcing", "no_mask"}
        else "Each lane is fed them too."
    )
)
for lane, snapshot in zip(both, snapshots, strict=True):
    st.caption(f"{lane.name} as shown from here on: {snapshot.state}.")
batch = first_lane.corpus.held_out(decoder.model.config.context_length)[:MOST_SENTENCES]


def show_sentence() -> None:
    """Show one sentence and ask about it; another one draws nothing else of the page anew."""
    count = len(batch)
    which = st.slider("Which sentence", 1, count, 1, key="held_out", **IN_ADDRESS) - 1 if count > 1 else 0
    row = batch[which : which + 1]
    lanes.histories(both, snapshots, row, key="histories")

    histories = lanes.two_histories(first_lane.run_id, decoder.step, decoder.model, batch)
    slip = histories.first_slip([*range(which, count), *range(which)])
    if slip:
        check("c21", questions.what_free_running_feeds(slip, texts))
    masked = decoder.model.config.causal
    equal = questions.are_first_losses_equal(histories.first_losses(which), which + 1, masked=masked)
    check("c22", *([questions.what_teacher_forcing_feeds(slip, texts)] if slip else []), equal)
    reading = read(decoder.model, row)
    free = questions.is_right_free(reading, row, texts)
    check("c19", questions.what_target_costs(reading, row, texts), *([free] if free else []))


furniture.apart(show_sentence)

st.subheader("Loss at each position, with the true history")
lanes.position_losses(both, snapshots)

st.subheader("What they write by themselves")
for lane, snapshot in zip(both, snapshots, strict=True):
    st.markdown(f"**{lane.name}**, {snapshot.state}")
    lanes.sentences(lane, snapshot, SENTENCES)

furniture.next_page("generation", "let it write, token by token")
furniture.show_code(train, compare_histories)
