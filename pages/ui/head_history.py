"""When a head came to look at a token: its weights in all decoders that a run has kept."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st
import torch
from torch import Tensor

from decoder.figures import attention_words, words
from decoder.figures.head_curves import head_curves
from decoder.figures.tables import Table
from decoder.language.grammar import farthest
from decoder.model import mixing
from pages.ui import aids, furniture, session
from pages.ui.head_row import HeadRow, look_from
from pages.ui.heads import look_at
from pages.ui.matrix import Head


def when_learned(seen: HeadRow) -> None:
    """Show when the heads of the layer came to look from the row at what its next token depends on, if it depends on any."""
    st.subheader("When did a head learn to look there?")
    forward = seen.forward
    first = farthest(forward.needed)
    if first is None:
        st.text(
            attention_words.needed_sentence(
                forward.labels, (), 0.0, has_grammar=forward.corpus.has_grammar, fits=seen.fits
            )
        )
    elif not seen.needed:
        st.text(
            f"What follows {seen.label} depends on no earlier token. Choose another row, for instance {forward.labels[first]}."
        )
        st.button(f"Look from row {first}", key="needed_row", on_click=look_from, args=(first,))
    else:
        _curves(seen)


def _curves(seen: HeadRow) -> None:
    forward, layer = seen.forward, seen.layer
    steps, weights = _weights_over_time(forward.exploration.run_id, forward.ids, layer, seen.row, seen.needed)
    threshold = mixing.halfway(len(seen.needed), seen.choices)
    strongest = int(weights[-1].argmax())
    places = [forward.labels[place] for place in seen.needed]
    appeared = attention_words.appeared_sentence(
        layer,
        mixing.first_above(steps, weights, threshold),
        (strongest, weights[-1, strongest].item()),
        steps[-1],
        places,
        threshold,
    )
    st.caption(
        f"How much weight each head of layer {layer} puts from row {seen.row} on what the next token depends on (◆ above), in "
        "every decoder that the run has kept. ▼ is the step that this page shows; the dashed line is at "
        f"{words.number(threshold)}."
    )
    curves = head_curves(
        steps,
        weights.tolist(),
        chosen=seen.head,
        playhead=forward.snapshot.step,
        planned_steps=forward.exploration.planned_snapshots[-1],
        description=appeared,
        threshold=threshold,
        appearance=session.appearance(),
    )
    furniture.chart(curves, key="head_history")
    furniture.say(appeared, key="what_history")
    if strongest != seen.head:
        st.button(
            f"Show head {strongest} in everything above",
            key="strongest_head",
            on_click=look_at,
            args=(Head(layer, strongest),),
        )
    aids.numbers(
        Table(
            f"weight from {seen.label} on {words.listed(places)}, layer {layer}",
            ["updates", *(f"head {of}" for of in range(forward.n_heads))],
            [[step, *line] for step, line in zip(steps, weights.tolist(), strict=True)],
        ),
        key="head_history",
        code=(mixing.all_weights, mixing.first_above),
        figure=curves,
    )
    st.caption(
        "What such a curve shows is where the weight goes, on this sentence. Small decoders like this one find the needed "
        "token by what stands there and where; do not read more into it."
    )


def _weights_over_time(
    run_id: str, ids: Sequence[int], layer: int, row: int, places: Sequence[int]
) -> tuple[list[int], Tensor]:
    """Return the kept steps of a run, and the weight that each head of a layer put on some places then.

    Args:
        run_id: the run.
        ids: the sentence.
        layer: whose heads are measured.
        row: which position looks.
        places: the positions that are looked at; their weights are added up.

    Returns:
        The steps, and (steps, H).
    """
    steps = session.store().snapshots(run_id)
    weights = [_weights(run_id, step, tuple(ids))[layer, :, row, places].sum(dim=-1) for step in steps]
    return list(steps), torch.stack(weights)


@st.cache_resource(max_entries=256, show_spinner=False)
def _weights(run_id: str, step: int, ids: tuple[int, ...]) -> Tensor:
    """(layers, H, T, T) of one kept decoder. Only the weights are remembered: the decoder itself is much larger."""
    model, _ = session.store().model(run_id, step)
    return mixing.all_weights(model, torch.tensor([ids]))
