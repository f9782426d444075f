"""Attention: where every head looks, what it takes from there, how that becomes h and z, and when a head learned to look."""

from __future__ import annotations

import math
from collections.abc import Sequence

import streamlit as st

from decoder import attend
from decoder.figures import attention_words, words
from decoder.figures.arcs import arc_rows, written
from decoder.figures.bars import position_bars
from decoder.figures.head_curves import head_curves
from decoder.figures.matrices import head_thumbnails, visible
from decoder.figures.symbols import Term
from decoder.figures.tables import Table
from decoder.language.grammar import farthest
from decoder.model import mixing
from decoder.model.decoder import Block
from pages.ui import aids, furniture, glossary, notation, session, strip
from pages.ui import attention_questions as questions
from pages.ui.checks import check
from pages.ui.choice import in_range
from pages.ui.head_history import weights_over_time
from pages.ui.matrix import Cell, Head, matrices, thumbnails
from pages.ui.sentence import choose_sentence
from pages.ui.sheet import sheet
from pages.ui.vectors import Vector, vectors

MOST_PARTS = 6  # values that are drawn one by one
MOST_LOGITS = 64  # of a position, in one strip
TOP = 3

furniture.head(
    "Attention",
    "Where does each token look, what does it take from there, and does every head do the same?",
)
exploration = session.explore()
snapshot = strip.require(strip.show(exploration))
corpus, model, state, name = exploration.corpus, snapshot.model, st.session_state, notation.name
texts, causal = corpus.tokenizer.tokens, exploration.config.decoder.causal

notation.switch()
glossary.explain(
    "token",
    "layer",
    "head",
    "query",
    "key",
    "value",
    "weight",
    "mask",
    "entropy",
    "residual stream",
    "contextual embedding",
    "logits",
    *glossary.OF_THE_STRIP,
)
sentence = choose_sentence(corpus, model)
tokens, labels, T = sentence.tokens, sentence.labels, len(sentence.tokens)
ids = sentence.ids[0].tolist()
trace = model.trace(sentence.ids)
heads = head_thumbnails(trace)
n_layers, n_heads = len(heads), len(heads[0])
grammar = corpus.grammar
needed: list[tuple[int, ...]] = grammar.needed(ids) if grammar else [()] * T


def look_at(chosen: Head) -> None:
    """Show this head in everything that follows."""
    state["layer"], state["head"] = chosen


def look_from(row: int) -> None:
    """Show this row in everything that follows."""
    state["row"] = row


def look_along(cell: Cell) -> None:
    """Show the row of this cell in everything that follows."""
    state["attention column"] = cell.column
    look_from(cell.row)


# ---- C26: every layer and head, one of them enlarged, one of its rows

st.subheader("Every layer, every head")
hatched = ", hatched ones are masked" if causal else ""
st.caption(
    f"Rows are the tokens that look, columns what they look at. Bright cells get much weight{hatched}. "
    "Click a head to see it in everything below; the address carries your choice."
)
pictures = st.container()
with st.container(horizontal=True, vertical_alignment="bottom"):
    for key, count in (("layer", n_layers), ("head", n_heads), ("row", T)):
        in_range(key, count)
    layer = st.selectbox("Layer", range(n_layers), key="layer", bind="query-params", width=120)
    head = st.selectbox("Head", range(n_heads), key="head", bind="query-params", width=120)
    first_row = farthest(needed)
    row = (
        st.slider(
            "Row: the token that looks",
            0,
            T - 1,
            T - 1 if first_row is None else first_row,
            key="row",
            bind="query-params",
            width=320,
        )
        if T > 1
        else 0
    )
with pictures:
    thumbnails(heads, key="attention_heads", selected=(layer, head), on_choose=look_at)
block = trace.blocks[layer]
weights = block.attention.weights[0, head]  # (T, T)
masked_scores = block.attention.masked_scores[0, head]
masked = masked_scores.isneginf()
looks = weights[row].tolist()

st.subheader("One head, enlarged")
st.caption(
    "Left the whole head; click a cell, or walk with the arrow keys and press Enter, to choose its row. "
    "Right the same row as arcs: the thicker, the more weight."
)
picture, reading = st.columns(2)
with picture:
    matrices(
        [heads[layer][head]],
        rows=labels,
        columns=labels,
        key="attention_matrix",
        selected=(0, row, min(state.get("attention column", 0), T - 1)),
        on_choose=look_along,
        cross=True,
        marks=[(at, place) for at, places in enumerate(needed) for place in places],
        mark_name="tells what has to follow",
    )
arcs = arc_rows(
    labels,
    looks,
    row,
    masked=masked[row].tolist(),
    marked=needed[row],
    mark_name="tells what has to follow",
    appearance=session.appearance(),
)
with reading:
    furniture.chart(arcs, key="attention_row")
    note = "▸ looks" + ("   ◆ tells what has to follow" if needed[row] else "")
    st.caption(note + ("   ╱╱╱ later, closed by the mask" if masked[row].any() else ""))
fits = grammar is not None and grammar.begins(ids[: row + 1])
on_needed = weights[row, list(needed[row])].sum().item()
furniture.say(
    words.attention_sentence(labels, weights.tolist(), row, layer, head),
    attention_words.needed_sentence(
        labels, needed[row], on_needed, has_grammar=corpus.has_grammar, fits=fits
    ),
    key="what_head",
)
aids.numbers(
    Table(
        f"weights of layer {layer}, head {head}",
        ["this token looks", *labels],
        [
            [
                label,
                *(None if closed else value for value, closed in zip(values, closeds, strict=True)),
            ]
            for label, values, closeds in zip(labels, weights.tolist(), masked.tolist(), strict=True)
        ],
    ),
    key="head_weights",
    figure=arcs,
)

# ---- C26: the weighted sum of values

mixture = mixing.mix_values(block, head, row)
width, open_places = mixture.values.shape[1], (~masked[row]).nonzero().flatten().tolist()
shown = sorted(sorted(open_places, key=lambda place: -looks[place])[:MOST_PARTS])
rest = [place for place in open_places if place not in shown]
output_name = name("head output", t=row)


st.subheader("What the head takes from there: a weighted sum of values")
st.caption(
    "Left the values that the open tokens hand over. Right each multiplied with its weight, and below them their sum, "
    f"{output_name}. All colours mean the same numbers."
    + (f" The {MOST_PARTS} tokens with the most weight are drawn one by one." if rest else "")
)
reach = max(mixture.values[open_places].abs().max().item(), mixture.total.abs().max().item())
left, right = st.columns(2)
value_strips = [
    Vector(name("value", t=place), mixture.values[place].tolist(), visible(tokens[place])) for place in shown
]
part_strips = [
    Vector(
        f"{written(looks[place])} · {name('value', t=place)}",
        mixture.parts[place].tolist(),
        visible(tokens[place]),
    )
    for place in shown
]
if rest:
    together = mixture.parts[rest].sum(dim=0)
    share = weights[row, rest].sum().item()
    part_strips.append(Vector(f"+ {len(rest)} more, weight {share:.3f}", together.tolist(), "added up"))
part_strips.append(Vector(f"= {output_name}", mixture.total.tolist(), "the sum"))
with left:
    vectors(value_strips, key="values", reach=reach, title="Values", names=7)
with right:
    vectors(
        part_strips,
        key="parts",
        reach=reach,
        title="Values times weights, and their sum",
        names=11,
    )
furniture.say(
    attention_words.mixture_sentence(labels[row], output_name, len(open_places), width, mixture.difference),
    key="what_mixture",
)
aids.numbers(
    Table(
        f"values, and values times weights, of layer {layer}, head {head}, row {labels[row]}",
        ["token", "weight", "what", *(f"number {at + 1}" for at in range(width))],
        [
            *(
                [labels[place], looks[place], what, *vectors_of[place].tolist()]
                for what, vectors_of in (
                    ("value", mixture.values),
                    ("weight times value", mixture.parts),
                )
                for place in open_places
            ),
            ["", None, "sum", *mixture.total.tolist()],
        ],
    ),
    key="head_mixture",
)
later = [attention.weights[0].triu(1).max().item() for attention in (b.attention for b in trace.blocks)]
check(
    "c26",
    questions.what_is_the_sum(),
    questions.what_is_row_0(mixing.mix_values(block, head, 0)),
    questions.what_do_later_tokens_get(max(later)),
)

# ---- C26: all heads joined, and the way to the block's output

st.subheader("All heads joined: the way through the block")
st.caption(
    f"The token of row {row} on its way through layer {layer}. Attention and MLP only add to what is there: the residual "
    "stream. What each of them reads of it is normalised first: brought to mean 0 and spread 1, then scaled by learned numbers."
)
path = mixing.stages(trace, layer, row)
signs = {
    "heads joined": f"{n_heads} × {width}",
    "attention output": "projected",
    "MLP output": "of the sum, normalised",
    "block output": "sum" if layer < n_layers - 1 else name("contextual embedding", t=row + 1),
    "final norm": "what z is made of",
}
vectors(
    [Vector(stage.name, stage.vector.tolist(), signs.get(stage.name, "")) for stage in path],
    key="stages",
    reach=max(stage.vector.abs().max().item() for stage in path),
    title="One token on its way through one block",
    names=15,
)
furniture.say(
    attention_words.stages_sentence(
        layer, n_layers, n_heads, width, mixing.stage_differences(model, trace, layer, row)
    ),
    key="what_stages",
)
aids.numbers(
    Table(
        f"{labels[row]} on its way through layer {layer}",
        ["number", *(stage.name for stage in path)],
        [
            [at, *values]
            for at, values in enumerate(zip(*(stage.vector.tolist() for stage in path), strict=True), 1)
        ],
    ),
    key="block_stages",
)

# ---- C16: h and z

st.subheader("Grey boxes and red rows: h and z")
st.caption(
    "Every position has its grey vector and, made from it by the output layer, its red row of logits. Choose after which "
    "block you look; a click on a position chooses its row in everything above. The strips show the numbers, the edge and "
    "the names which is which: grey is h, red is z. Beside each red row stands the most likely next token."
)
after = [f"after {at} of {n_layers}" for at in range(n_layers + 1)]
layers = after.index(
    st.segmented_control(
        "Blocks",
        after,
        default=after[-1],
        required=True,
        key=f"boxes_of_{n_layers}",
        bind="query-params",
    )
)
vectors_after = mixing.block_input(trace, layers)[0] if layers < n_layers else trace.contextual_embeddings[0]
logits = mixing.logits_after(model, trace, layers)  # (T, V)
shares = logits.softmax(dim=-1)
drawn = mixing.greatest(logits, MOST_LOGITS)
if layers < n_layers:
    st.caption(
        "⚠ Not what training knows: the output layer learns to read the last block only. What it makes of an earlier one is "
        "a look inside (a “logit lens”), no prediction of this decoder."
    )
if len(drawn) < len(texts):
    st.caption(f"Of the {len(texts):,} logits of a position, the {len(drawn)} tokens with the greatest.")


def numbers_after(what: str, columns: Sequence[str], rows: Sequence[Sequence[float]]) -> None:
    """Offer the numbers of all positions after the chosen block."""
    table = Table(
        f"{what} after {layers} of {n_layers} blocks",
        ["position", *columns],
        [[label, *values] for label, values in zip(labels, rows, strict=True)],
    )
    aids.numbers(table, key=f"{what}_after")


def row_name(term: Term, at: int) -> str:
    """Name the vector of a prediction; by its number alone where there is no room for words, or it is not the last."""
    return name(term, t=at) if layers == n_layers and notation.chosen() == "symbols" else str(at)


grey, red = st.columns(2)
with grey:
    vectors(
        [
            Vector(row_name("contextual embedding", at), values, visible(token))
            for at, (values, token) in enumerate(zip(vectors_after.tolist(), tokens, strict=True), 1)
        ],
        key="grey_boxes",
        reach=vectors_after.abs().max().item(),
        title=f"The vectors of all positions after {layers} blocks",
        look="table",
        pressable=True,
        selected=row,
        on_choose=look_from,
        meaning="contextual_embeddings",
        names=8,
    )
    numbers_after(
        "vectors", [f"number {at + 1}" for at in range(vectors_after.shape[1])], vectors_after.tolist()
    )
with red:
    vectors(
        [
            Vector(row_name("logits", at), values, visible(texts[best]))
            for at, (values, best) in enumerate(
                zip(logits[:, drawn].tolist(), logits.argmax(dim=-1).tolist(), strict=True), 1
            )
        ],
        key="red_rows",
        reach=logits[:, drawn].abs().max().item(),
        title="The logits of all positions; beside each the most likely next token",
        look="table",
        pressable=True,
        selected=row,
        on_choose=look_from,
        meaning="logits",
        columns=[f"{visible(texts[token])} (id {token})" for token in drawn],
        names=8,
    )
    numbers_after("logits", texts, logits.tolist())
best = shares.topk(min(TOP, len(texts)))
changes = mixing.block_changes(trace)  # (layers, T)
top = [
    [(texts[token], share) for token, share in zip(ids_of, shares_of, strict=True)]
    for ids_of, shares_of in zip(best.indices.tolist(), best.values.tolist(), strict=True)
]
furniture.say(
    attention_words.boxes_sentence(
        T, trace.contextual_embeddings.shape[2], trace.logits.shape[2], changes.mean(dim=1).tolist()
    ),
    attention_words.top_sentence(labels[row], top[row], layers, n_layers),
    key="what_boxes",
)
boxes = Table(
    "how far each block moves each vector, and what softmax(z) says",
    [
        "position",
        *(f"moved by block {at}" for at in range(n_layers)),
        *(part for rank in range(1, best.values.shape[1] + 1) for part in (f"{rank}. token", "probability")),
    ],
    [
        [label, *moved, *(part for pair in pairs for part in pair)]
        for label, moved, pairs in zip(labels, changes.T.tolist(), top, strict=True)
    ],
)
sheet(boxes, key="boxes")
check("c16", questions.how_many_numbers(trace), questions.what_the_loss_reads())
if causal:
    st.caption("All rows at once equal one pass per prefix. This is proved where the mask is explained:")
    st.page_link(
        "pages/lecture/causal_mask.py",
        label="It looks sequential, and runs in parallel",
        icon=":material/arrow_forward:",
    )

# ---- how widely a head looks, and at what

st.subheader("How widely does it look, and at what?")
entropies = mixing.entropies(weights).tolist()
choices = (~masked).sum(dim=-1).tolist()
received = mixing.received(weights, masked_scores).tolist()
bars = position_bars(
    tokens,
    [("entropy of the row", "weights", entropies)],
    [("equal weights", [math.log(count) for count in choices])],
    description="; ".join(
        f"{label}: entropy {words.number(entropy)} nats, at most ln {count}"
        for label, entropy, count in zip(labels, entropies, choices, strict=True)
    ),
    x_title="the token that looks",
    y_title="entropy, nats",
    first=0,
    appearance=session.appearance(),
)
furniture.chart(bars, key="entropies")
aids.numbers(
    Table(
        f"entropy of every row of layer {layer}, head {head}",
        ["token", "entropy of its row", "open places"],
        [list(line) for line in zip(labels, entropies, choices, strict=True)],
    ),
    key="row_entropies",
    figure=bars,
)
st.caption(
    "Mean weight that each token gets from the rows that may look at it; outlined what it would get if they looked equally at "
    "all that is open to them. The first token gets much from rows that have little choice."
)


def most_beyond(shares: Sequence[float]) -> int:
    """Return the token that gets most beyond what looking equally would give it."""
    return max(range(T), key=lambda at: shares[at] - even[at])


even = mixing.received(mixing.even_weights(masked_scores), masked_scores).tolist()
got = position_bars(
    tokens,
    [("mean weight received", "weights", received)],
    [("equal weights", even)],
    description="; ".join(
        f"{label}: {words.number(mean)}, with equal weights {words.number(share)}"
        for label, mean, share in zip(labels, received, even, strict=True)
    ),
    x_title="the token looked at",
    y_title="mean weight",
    top=1.0,
    first=0,
    appearance=session.appearance(),
)
furniture.chart(got, key="received")
most = most_beyond(received)
furniture.say(
    attention_words.entropy_sentence(
        labels[row], entropies[row], choices[row], labels[most], received[most], even[most]
    ),
    key="what_entropy",
)
aids.numbers(
    Table(
        f"mean weight received in layer {layer}, head {head}",
        ["token", "mean weight received", "with equal weights"],
        [list(line) for line in zip(labels, received, even, strict=True)],
    ),
    key="weights_received",
    figure=got,
)
every = [
    (
        at,
        of,
        mixing.entropies(attention.weights[0, of]).mean().item(),
        mixing.received(attention.weights[0, of], attention.masked_scores[0, of]).tolist(),
    )
    for at, attention in enumerate(b.attention for b in trace.blocks)
    for of in range(n_heads)
]
sheet(
    Table(
        "every head: mean entropy of its rows, and the token that it looks at most beyond an even share",
        ["layer", "head", "mean entropy", "looks most at", "mean weight there", "with equal weights"],
        [
            [at, of, mean, labels[place], got_there[place], even[place]]
            for at, of, mean, got_there in every
            for place in [most_beyond(got_there)]
        ],
    ),
    key="every_head",
)

# ---- time travel

st.subheader("When did a head learn to look there?")
if first_row is None:
    st.text(
        attention_words.needed_sentence(labels, (), 0.0, has_grammar=corpus.has_grammar, fits=fits)
        if corpus.has_grammar
        else "A text of one's own has no grammar, so nobody knows which token a head should look at."
    )
elif not needed[row]:
    st.text(
        f"No earlier token tells what follows {labels[row]}. Choose another row, for instance {labels[first_row]}."
    )
    st.button(f"Look from row {first_row}", key="needed_row", on_click=look_from, args=(first_row,))
else:
    steps, over_time = weights_over_time(exploration.run_id, ids, layer, row, needed[row])
    threshold = mixing.halfway(len(needed[row]), choices[row])
    found = mixing.first_above(steps, over_time, threshold)
    strongest = int(over_time[-1].argmax())
    places = [labels[place] for place in needed[row]]
    said = attention_words.appeared_sentence(
        layer, found, (strongest, over_time[-1, strongest].item()), steps[-1], places, threshold
    )
    st.caption(
        f"How much weight each head of layer {layer} puts from row {row} on what tells the next token (◆ above), in every "
        f"decoder that the run has kept. ▼ is the step that this page shows; the dashed line is at {words.number(threshold)}."
    )
    curves = head_curves(
        steps,
        over_time.tolist(),
        chosen=head,
        playhead=snapshot.step,
        planned_steps=exploration.planned_snapshots[-1],
        description=said,
        threshold=threshold,
        appearance=session.appearance(),
    )
    furniture.chart(curves, key="head_history")
    furniture.say(said, key="what_history")
    if strongest != head:
        st.button(
            f"Show head {strongest} in everything above",
            key="strongest_head",
            on_click=look_at,
            args=(Head(layer, strongest),),
        )
    aids.numbers(
        Table(
            f"weight from {labels[row]} on {words.listed(places)}, layer {layer}",
            ["updates", *(f"head {of}" for of in range(n_heads))],
            [[step, *line] for step, line in zip(steps, over_time.tolist(), strict=True)],
        ),
        key="history_numbers",
        figure=curves,
    )
    st.caption(
        "What such a curve shows is where the weight goes, on this sentence. Small decoders like this one find the needed "
        "token by what stands there and where; do not read more into it."
    )

furniture.next_page("training", "how does it learn where to look?")
furniture.show_code(
    attend,
    Block.forward,
    mixing.mix_values,
    mixing.stages,
    mixing.block_changes,
    mixing.logits_after,
    mixing.entropies,
    mixing.received,
    mixing.first_above,
)
