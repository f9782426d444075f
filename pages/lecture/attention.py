"""Attention: where every head looks, what it takes from there, how that becomes h and z, and when a head learned to look."""

from __future__ import annotations

from pages.ui import boxes, furniture, glossary, head_history, head_parts, notation, session, strip
from pages.ui.head_row import ForwardPass
from pages.ui.sentence import choose_sentence

furniture.head(
    "Attention",
    "Where does each token look, what does it take from there, and does every head do the same?",
)
exploration = session.explore()
snapshot = strip.require(strip.show(exploration))

notation.switch()
glossary.explain(
    "token",
    "prefix",
    "query",
    "key",
    "value",
    "softmax",
    "weight",
    "mask",
    "entropy",
    "nats",
    "projection",
    "MLP",
    "residual stream",
    "contextual embedding",
    "logits",
    "loss",
    *glossary.OF_THE_STRIP,
)
forward = ForwardPass(exploration, snapshot, choose_sentence(exploration.corpus, snapshot.model))


def look_inside() -> None:
    """Draw all that depends on the chosen head and row: a click draws only this again, not the rest of the page."""
    session.look([exploration.run_id])  # who clicks here still looks at it

    # ---- C26: every layer and head, one of them with one of its rows, and what it takes from where it looks
    seen = head_parts.choose(forward)
    head_parts.enlarge(seen)
    head_parts.weighted_sum(seen)

    # ---- C26, C16: all heads joined, and the way to h and z
    boxes.way_through_the_block(seen)
    boxes.boxes_and_rows(seen)

    # ---- how widely a head looks, and when it learned to
    head_parts.spread(seen)
    head_history.when_learned(seen)


furniture.apart(look_inside)

furniture.next_page("training", "how does it learn where to look?")
