"""Training: two decoders with one seed and the same batches, fed with different histories, side by side."""

from __future__ import annotations

import streamlit as st

from decoder import free_running, next_token_loss, scheduled_sampling, teacher_forced, train
from decoder.figures.style import NAMES
from pages.ui import furniture, lanes, session

SENTENCES = 4
MOST_SENTENCES = 50

furniture.head(
    "Training",
    "Should a decoder learn from the true history, or from what it wrote itself?",
)
left, right, axis = st.columns([2, 2, 1.4])
first = left.selectbox(
    "Lane A", session.LANES, format_func=NAMES.__getitem__, key="lane_a", bind="query-params"
)
second = right.selectbox(
    "Lane B", session.LANES, index=1, format_func=NAMES.__getitem__, key="lane_b", bind="query-params"
)
seconds = (
    axis.segmented_control(
        "Horizontal axis", ["updates", "seconds"], default="updates", key="axis", bind="query-params"
    )
    == "seconds"
)
if first == second:
    st.caption("Both lanes are the same training: choose another mode in one of them to compare.")
both = [session.explore(lane) for lane in dict.fromkeys((first, second))]
drawn = [session.newest(lane.run_id) for lane in both]

with st.container(border=True, key="strip"):
    config = both[0].config
    st.markdown(
        f"**{both[0].corpus.name}** · in both lanes the same {config.decoder.n_parameters:,} initial weights and the "
        f"same {config.steps} batches of {config.batch_size} sentences · seed {config.seed}"
    )
    for lane in both:
        furniture.refuse_failed(lane)
    furniture.follow(both, drawn=drawn)

lanes.live_curves(both, key="lanes", shares=True, seconds=seconds)
furniture.live(lambda: lanes.scores(both), running=furniture.any_running(both))
snapshots = [furniture.require(snapshot) for snapshot in drawn]

st.subheader("The same sentence, two histories")
st.caption(
    "The targets are the true tokens in every lane. What differs is what a lane is fed: a dashed chip is an own "
    "prediction that is not the truth."
)
for lane, snapshot in zip(both, snapshots, strict=True):
    st.caption(f"{NAMES[lane.meaning]} as shown from here on: {snapshot.state}.")
batch = both[0].corpus.held_out(config.decoder.context_length)
count = min(MOST_SENTENCES, len(batch))
which = st.slider("Which sentence", 1, count, 1, key="held_out", bind="query-params") - 1 if count > 1 else 0
lanes.histories(both, snapshots, batch[which : which + 1], key="histories")

st.subheader("Loss at each position, with the true history")
lanes.position_losses(both, snapshots)

st.subheader("What they write by themselves")
for lane, snapshot in zip(both, snapshots, strict=True):
    st.markdown(f"**{NAMES[lane.meaning]}**, {snapshot.state}")
    lanes.sentences(lane, snapshot, SENTENCES)

furniture.next_page("generation", "let it write, token by token")
furniture.show_code(train, teacher_forced, free_running, scheduled_sampling, next_token_loss)
