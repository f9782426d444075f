"""Attention: where every head looks, what it takes from there, how that becomes h and z, and when a head learned to look."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import streamlit as st

from decoder import attend
from decoder.figures import attention_words, words
from decoder.figures.arcs import arc_rows, written
from decoder.figures.bars import position_bars
from decoder.figures.head_curves import head_curves
from decoder.figures.matrices import head_table, head_thumbnails, visible
from decoder.figures.symbols import Term
from decoder.figures.tables import Table
from decoder.inference.generation import encode_prompt
from decoder.language.grammar import farthest
from decoder.model import mixing
from decoder.model.decoder import Block
from pages.ui import aids, furniture, glossary, notation, session, strip
from pages.ui import attention_questions as questions
from pages.ui.address import IN_ADDRESS
from pages.ui.checks import check
from pages.ui.choice import in_range
from pages.ui.head_history import weights_over_time
from pages.ui.matrix import Cell, Head, matrices, thumbnails
from pages.ui.sentence import as_sentence, choose_sentence, example
from pages.ui.sheet import sheet
from pages.ui.vectors import Vector, vectors

MOST_PARTS = 6  # values that are drawn one by one
MOST_LOGITS = 64  # of a position, in one strip
TOP = 3
NEEDED = "the next token depends on it"

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
    layer = st.selectbox("Layer", range(n_layers), key="layer", **IN_ADDRESS, width=120)
    head = st.selectbox("Head", range(n_heads), key="head", **IN_ADDRESS, width=120)
    first_row = farthest(needed)
    row = (
        st.slider(
            "Row: the token that looks",
            0,
            T - 1,
            T - 1 if first_row is None else first_row,
            key="row",
            **IN_ADDRESS,
            width=320,
        )
        if T > 1
        else 0
    )
with pictures:
    thumbnails(heads, key="attention_heads", selected=(layer, head), on_choose=look_at)
    aids.numbers(partial(head_table, heads, labels), key="attention_heads", code=(attend,))
block = trace.blocks[layer]
weights = block.attention.weights[0, head]  # (T, T)
masked_scores = block.attention.masked_scores[0, head]
masked = masked_scores.isneginf()
looks = weights[row].tolist()

st.subheader("One head, enlarged")
st.caption(
    "First the whole head: click a cell, or walk with the arrow keys and press Enter, to choose its row. "
    "Then this row as arcs: the thicker, the more weight."
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
        mark_name=NEEDED,
    )
    aids.numbers(
        Table(
            f"weights of layer {layer}, head {head}",
            ["this token looks", *labels],
            [[label, *values] for label, values in zip(labels, heads[layer][head].values, strict=True)],
        ),
        key="attention_matrix",
        code=(attend,),
    )
arcs = arc_rows(
    labels,
    looks,
    row,
    masked=masked[row].tolist(),
    marked=needed[row],
    mark_name=NEEDED,
    appearance=session.appearance(),
)
with reading:
    furniture.chart(arcs, key="attention_row")
    note = "▸ looks" + (f"   ◆ {NEEDED}" if needed[row] else "")
    st.caption(note + ("   ╱╱╱ later, closed by the mask" if masked[row].any() else ""))
    aids.numbers(
        Table(
            f"where {labels[row]} looks, layer {layer}, head {head}",
            ["token", "weight"],
            [list(line) for line in zip(labels, heads[layer][head].values[row], strict=True)],
        ),
        key="attention_row",
        code=(attend,),
        figure=arcs,
    )
open_places = (~masked[row]).nonzero().flatten().tolist()
choices = len(open_places)
fits = grammar is not None and grammar.begins(ids[: row + 1])
furniture.say(
    attention_words.looks_sentence(labels, looks, row, layer, head, choices),
    attention_words.needed_sentence(
        labels,
        needed[row],
        weights[row, list(needed[row])].sum().item(),
        grammar.possible(ids[: row + 1]) if grammar else (0, 0),
        has_grammar=corpus.has_grammar,
        fits=fits,
    ),
    key="what_head",
)

# ---- C26: the weighted sum of values

mixture = mixing.mix_values(block, head, row)
width = mixture.values.shape[1]
shown = sorted(sorted(open_places, key=lambda place: -looks[place])[:MOST_PARTS])
rest = [place for place in open_places if place not in shown]
output_name = name("head output", t=row)

st.subheader("What the head takes from there: a weighted sum of values")
st.caption(
    "First the values that the open tokens hand over. Then each of them multiplied with its weight, and below these their "
    f"sum, {output_name}. All colours mean the same numbers."
    + (f" The {MOST_PARTS} tokens with the most weight are drawn one by one." if rest else "")
)
reach = max(mixture.values[open_places].abs().max().item(), mixture.total.abs().max().item())
left, right = st.columns(2)
value_strips = [
    Vector(name("value", t=place), mixture.values[place].tolist(), visible(tokens[place])) for place in shown
]
part_strips = [
    Vector(
        f"{written(looks[place], choices)} · {name('value', t=place)}",
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
numbered = [f"number {at + 1}" for at in range(width)]
with left:
    vectors(value_strips, key="values", reach=reach, title="Values", names=7)
    aids.numbers(
        Table(
            f"values of layer {layer}, head {head}",
            ["token", *numbered],
            [[labels[place], *mixture.values[place].tolist()] for place in open_places],
        ),
        key="values",
        code=(Block.forward,),
    )
with right:
    vectors(
        part_strips,
        key="parts",
        reach=reach,
        title="Values times weights, and their sum",
        names=11,
    )
    aids.numbers(
        Table(
            f"values times weights of layer {layer}, head {head}, row {labels[row]}",
            ["token", "weight", *numbered],
            [
                *([labels[place], looks[place], *mixture.parts[place].tolist()] for place in open_places),
                ["sum", None, *mixture.total.tolist()],
            ],
        ),
        key="parts",
        code=(mixing.mix_values,),
    )
furniture.say(
    attention_words.mixture_sentence(
        labels[row],
        output_name if notation.chosen() == "symbols" else "",
        choices,
        width,
        mixture.difference,
    ),
    key="what_mixture",
)
asked_trace, asked_sentence = trace, "this sentence"
if T == 1:  # nothing comes later than a single token
    asked_sentence = f"“{example(corpus, model.config.context_length)}”"
    longer = encode_prompt(corpus.tokenizer, example(corpus, model.config.context_length))
    asked_trace = model.trace(as_sentence(corpus, longer[: model.config.context_length]).ids)
later = [block.attention.weights[0].triu(1).max().item() for block in asked_trace.blocks]
check(
    "c26",
    questions.what_is_the_sum(),
    questions.what_is_row_0(mixing.mix_values(block, head, 0)),
    questions.what_do_later_tokens_get(max(later), asked_sentence),
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
    "final norm": "what the output layer reads",
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
        layer,
        n_layers,
        n_heads,
        width,
        mixing.stage_differences(model, trace, layer, row),
        name("contextual embedding", t=row + 1),
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
    key="stages",
    code=(mixing.stages, Block.forward),
)

# ---- C16: h and z

st.subheader(f"Grey boxes and red rows: {name('contextual embeddings')} and {name('logits')}")
st.caption(
    "Each position has a grey box, its contextual embedding after the last block, and a red row, its logits. From the one to "
    "the other it takes two steps: the box is normalised once more (the final norm), and from that the output layer makes one "
    "logit per token. The code under the red rows has both steps. The colour of a cell is its number: blue below 0, brown "
    "above, as the scales say. Behind the arrow stands the most likely next token. Choose after which block you look; a click "
    "on a position chooses its row in everything above."
)
after = [f"after {at} of {n_layers}" for at in range(n_layers + 1)]
layers = after.index(
    st.segmented_control(
        "Blocks",
        after,
        default=after[-1],
        required=True,
        key=f"boxes_of_{n_layers}",
        **IN_ADDRESS,
    )
)
vectors_after = mixing.block_input(trace, layers)[0] if layers < n_layers else trace.contextual_embeddings[0]
logits = mixing.logits_after(model, trace, layers)  # (T, V)
shares = logits.softmax(dim=-1)
drawn = mixing.greatest(logits, MOST_LOGITS)
if layers < n_layers:
    st.caption(
        "⚠ Not what training knows: final norm and output layer learn to read the last block only. What they make of an "
        "earlier one is a look inside (a “logit lens”), no prediction of this decoder."
    )
if len(drawn) < len(texts):
    st.caption(f"Of the {len(texts):,} logits of a position, the {len(drawn)} tokens with the greatest.")


def numbers_after(
    what: str, key: str, columns: Sequence[str], rows: Sequence[Sequence[float]], code: Callable[..., object]
) -> None:
    """Offer the numbers of all positions after the chosen block."""
    table = Table(
        f"{what} after {layers} of {n_layers} blocks",
        ["position", *columns],
        [[label, *values] for label, values in zip(labels, rows, strict=True)],
    )
    aids.numbers(table, key=key, code=(code,))


def line(term: Term, at: int) -> tuple[str, str]:
    """Name a position's vector, and its token; by the token alone where there are no symbols, or it is not the last vector."""
    if layers == n_layers and notation.chosen() == "symbols":
        return name(term, t=at + 1), visible(tokens[at])
    return labels[at], ""


grey, red = st.columns(2)
with grey:
    st.caption("Grey boxes")
    vectors(
        [
            Vector(called, values, note)
            for at, values in enumerate(vectors_after.tolist())
            for called, note in [line("contextual embedding", at)]
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
        "vectors",
        "grey_boxes",
        [f"number {at + 1}" for at in range(vectors_after.shape[1])],
        vectors_after.tolist(),
        mixing.block_input,
    )
with red:
    st.caption("Red rows")
    vectors(
        [
            Vector(line("logits", at)[0], values, f"→ {visible(texts[best])}")
            for at, (values, best) in enumerate(
                zip(logits[:, drawn].tolist(), logits.argmax(dim=-1).tolist(), strict=True)
            )
        ],
        key="red_rows",
        reach=logits[:, drawn].abs().max().item(),
        title="The logits of all positions; behind each arrow the most likely next token",
        look="table",
        pressable=True,
        selected=row,
        on_choose=look_from,
        meaning="logits",
        columns=[f"{visible(texts[token])} (id {token})" for token in drawn],
        names=8,
    )
    numbers_after("logits", "red_rows", texts, logits.tolist(), mixing.logits_after)
best = shares.topk(min(TOP, len(texts)))
changes = mixing.block_changes(trace)  # (layers, T)
top = [
    [(texts[token], share) for token, share in zip(ids_of, shares_of, strict=True)]
    for ids_of, shares_of in zip(best.indices.tolist(), best.values.tolist(), strict=True)
]
furniture.say(
    attention_words.boxes_sentence(T, changes.mean(dim=1).tolist()),
    attention_words.top_sentence(labels[row], top[row], layers, n_layers, name("logits", t=row + 1)),
    key="what_boxes",
)
boxes = Table(
    "how far each block moves each vector, and the most likely next tokens",
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
aids.numbers(boxes, key="boxes", code=(mixing.block_changes, mixing.logits_after))
check("c16", questions.what_shape(trace), questions.how_many_numbers(trace), questions.what_the_loss_reads())
furniture.differently(
    "c16",
    (
        "The lecture speaks of “the output denoted as h and z” and defines neither. This is our reading: h is the contextual "
        "embedding of a position, the grey box, and z are the logits, the red row: what the output layer makes from h when "
        "that has been normalised once more."
    )
    if notation.chosen() == "symbols"
    else (
        "The lecture names the output by two letters and defines neither. This is our reading: the one is the contextual "
        "embedding of a position, the grey box, and the other are the logits, the red row: what the output layer makes from it "
        "when it has been normalised once more."
    ),
)
if causal:
    st.caption("All rows at once equal one pass per prefix. This is proved where the mask is explained:")
    st.page_link(
        "pages/lecture/causal_mask.py",
        label="It looks sequential, and runs in parallel",
        icon=":material/arrow_forward:",
    )

# ---- how widely a head looks, and at what

st.subheader("How widely does it look, and at what?")
st.caption(
    "Entropy measures how widely a row spreads its weights, here in nats: the sum of −weight · ln weight over its open places. "
    "It is 0 if one place gets everything, and ln n if n places get equally much. Each bar is the entropy of one row; its "
    "outline is the most that the row could have, if it looked equally at all that is open to it."
)
entropies = mixing.entropies(weights).tolist()
open_counts = (~masked).sum(dim=-1).tolist()
bars = position_bars(
    tokens,
    [("entropy of the row", "weights", entropies)],
    [("equal weights", [math.log(count) for count in open_counts])],
    description="; ".join(
        f"{label}: entropy {words.number(entropy)} nats, at most ln {count}"
        for label, entropy, count in zip(labels, entropies, open_counts, strict=True)
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
        [list(line) for line in zip(labels, entropies, open_counts, strict=True)],
    ),
    key="entropies",
    code=(mixing.entropies,),
    figure=bars,
)
said = [attention_words.entropy_sentence(labels[row], entropies[row], choices)]
if T > 1:
    st.caption(
        "Mean weight that each token gets from the rows that may look at it. The outline is what it would get if they looked "
        "equally at all that is open to them. The first row is left out: it has no choice. Mind how few rows there are behind "
        "the last bars: at the last token only its own row may look."
        if causal
        else "Mean weight that each token gets from all rows. The outline is what it would get if they looked equally at all "
        "tokens."
    )
    received, even = (
        mixing.received(each, masked_scores).tolist()
        for each in (weights, mixing.even_weights(masked_scores))
    )
    looking = mixing.lookers(masked_scores).sum(dim=0).tolist()
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
    summary = mixing.summarise(weights, masked_scores)
    said.append(
        attention_words.most_sentence(labels[summary.place], summary.mean, summary.even, summary.rows)
    )
    aids.numbers(
        Table(
            f"mean weight received in layer {layer}, head {head}",
            ["token", "mean weight received", "with equal weights", "rows behind it"],
            [list(line) for line in zip(labels, received, even, looking, strict=True)],
        ),
        key="received",
        code=(mixing.received, mixing.even_weights),
        figure=got,
    )
furniture.say(*said, key="what_entropy")
if T > 1:
    every = Table(
        "every head, over the rows that have a choice: mean entropy, and the token it looks at most beyond an even share",
        [
            "layer",
            "head",
            "mean entropy",
            "looks most at",
            "mean weight there",
            "with equal weights",
            "rows behind it",
        ],
        [
            [at, of, each.entropy, labels[each.place], each.mean, each.even, each.rows]
            for at, attention in enumerate(b.attention for b in trace.blocks)
            for of in range(n_heads)
            for each in [mixing.summarise(attention.weights[0, of], attention.masked_scores[0, of])]
        ],
    )
    sheet(every, key="every_head")
    aids.numbers(every, key="every_head", code=(mixing.summarise, mixing.received))

# ---- time travel

st.subheader("When did a head learn to look there?")
if first_row is None:
    st.text(attention_words.needed_sentence(labels, (), 0.0, has_grammar=corpus.has_grammar, fits=fits))
elif not needed[row]:
    st.text(
        f"What follows {labels[row]} depends on no earlier token. Choose another row, for instance {labels[first_row]}."
    )
    st.button(f"Look from row {first_row}", key="needed_row", on_click=look_from, args=(first_row,))
else:
    steps, over_time = weights_over_time(exploration.run_id, ids, layer, row, needed[row])
    threshold = mixing.halfway(len(needed[row]), choices)
    found = mixing.first_above(steps, over_time, threshold)
    strongest = int(over_time[-1].argmax())
    places = [labels[place] for place in needed[row]]
    appeared = attention_words.appeared_sentence(
        layer, found, (strongest, over_time[-1, strongest].item()), steps[-1], places, threshold
    )
    st.caption(
        f"How much weight each head of layer {layer} puts from row {row} on what the next token depends on (◆ above), in every "
        f"decoder that the run has kept. ▼ is the step that this page shows; the dashed line is at {words.number(threshold)}."
    )
    curves = head_curves(
        steps,
        over_time.tolist(),
        chosen=head,
        playhead=snapshot.step,
        planned_steps=exploration.planned_snapshots[-1],
        description=appeared,
        threshold=threshold,
        appearance=session.appearance(),
    )
    furniture.chart(curves, key="head_history")
    furniture.say(appeared, key="what_history")
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
        key="head_history",
        code=(mixing.all_weights, mixing.first_above),
        figure=curves,
    )
    st.caption(
        "What such a curve shows is where the weight goes, on this sentence. Small decoders like this one find the needed "
        "token by what stands there and where; do not read more into it."
    )

furniture.next_page("training", "how does it learn where to look?")
