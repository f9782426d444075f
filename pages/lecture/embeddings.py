"""Embeddings and positions: a token becomes a row of the embedding table, and the position adds a vector of its own."""

from __future__ import annotations

import streamlit as st

from decoder import Batch, Decoder
from decoder.figures import embedding_words as words
from decoder.figures.matrices import visible
from decoder.figures.tables import Table
from decoder.language.sequences import as_batch, neighbours, typed_sequence, with_edges
from decoder.model import embeddings, order
from decoder.model.positions import sinusoidal_positions
from pages.ui import aids, furniture, glossary, notation, position_lanes, session, strip
from pages.ui import embedding_questions as questions
from pages.ui.address import IN_ADDRESS
from pages.ui.checks import check
from pages.ui.grid import GridCell, Place, batch_grid
from pages.ui.sentence import type_sentence
from pages.ui.tokens import Chip, Strip, token_strips
from pages.ui.vectors import Vector, vectors

MOST_ROWS = 8
MOST_TOKENS = 96  # of the embedding table in one picture
MOST_LAYERS = 4

furniture.head(
    "Embeddings and positions",
    "A decoder calculates with numbers. How does a token become numbers, and who tells it where it stands?",
)
exploration = session.explore()
snapshot = strip.require(strip.show(exploration))
corpus, model, state = exploration.corpus, snapshot.model, st.session_state
tokenizer, shape = corpus.tokenizer, model.config
texts, width = tokenizer.tokens, shape.d_model
table = model.token_table.weight
name = notation.name

notation.switch()
in_symbols, called = notation.chosen() == "symbols", words.called(notation.chosen())
glossary.explain(
    "token",
    "vocabulary",
    "embedding",
    "embedding table",
    "position vector",
    "batch",
    "sample",
    "padding",
    "logits",
    "target",
    "prediction",
    "loss",
    "nats",
    "floor",
    "exact match",
    "causal mask",
    *glossary.OF_THE_STRIP,
)

# ---- C13: tokens become embeddings

st.subheader("Every id becomes a vector")
typed = type_sentence(corpus, shape.context_length)
try:
    typed_words, whole = typed_sequence(tokenizer, typed, start=True, end=True)
except ValueError as error:
    session.refuse(error)
own = whole[: shape.context_length + 1]
seen = own[:-1]  # the inputs; the last token is only a target
if len(own) < len(whole):
    st.text(f"The sentence has {len(whole)} tokens. This decoder reads the first {len(seen)}.")
with st.container(horizontal=True, vertical_alignment="bottom"):
    count = st.slider("Rows", 2, MOST_ROWS, 4, key="rows", **IN_ADDRESS, width=160)
    draw = st.number_input("Shuffle number", 0, 999, 0, key="shuffle", **IN_ADDRESS, width=160)
b_rows, t_tokens, d = (
    ("B rows", "T tokens", " d") if in_symbols else ("several rows", "equally many tokens", "")
)
st.caption(
    f"The inputs of a batch, {b_rows} of {t_tokens}: row 1 is your sentence, the others are drawn from the corpus. Click any "
    f"cell, or walk with the arrow keys, to see the vector that it becomes. The width{d} is chosen with the decoder, in the "
    "sidebar."
)
drawn = neighbours(corpus, typed_words, count - 1, seed=int(draw))
rows = [own, *(with_edges(tokenizer, row, start=True, end=True) for row in drawn)]
batch = as_batch(rows, tokenizer, shape.context_length)
ids = batch.inputs.tolist()  # (B, T)
length = len(ids[0])
# The inputs whose targets count: of a row that is filled up, all but the last token.
counting = ids if tokenizer.pad is None else batch.inputs.where(batch.keep, tokenizer.pad).tolist()
inputs = embeddings.decoder_inputs(model, ids)


def grid_cell(row: int, time: int) -> GridCell:
    """A cell of the batch with its id."""
    token = ids[row][time]
    said = f"{name('token', t=time, n=row + 1)}: {visible(texts[token])}, id {token}"
    return GridCell(texts[token], f"id {token}", "padding" if token == tokenizer.pad else "target", said)


place = batch_grid(
    [(name("row", n=row + 1), [grid_cell(row, time) for time in range(length)]) for row in range(len(ids))],
    key="ids",
    selected=embeddings.first_with_twin(counting, tokenizer.pad),
    title="The inputs of a batch: a row per sample, a column per time",
) or Place(0, 0)
aids.numbers(
    Table(
        "inputs of the batch",
        ["sample", "t", "token", "id"],
        [
            [row, time, texts[token], token]
            for row, sample in enumerate(ids, 1)
            for time, token in enumerate(sample)
        ],
    ),
    key="ids",
    code=(as_batch, Batch.from_sequences),
)
filled = next((row for row, kept in enumerate(batch.keep.tolist()) if not all(kept)), None)
if filled is not None:
    with st.container(key="what_padding"):
        st.text(words.padded_sentence(filled + 1, len(rows[filled]), texts[rows[filled][-1]]))
grid_shape, block_shape = ("B × T", "B × T × d") if in_symbols else ("rows × tokens", "rows × tokens × width")
ids_box, numbers_box = st.columns(2)
ids_box.metric(f"{grid_shape} = {len(ids)} × {length}: ids", f"{len(ids) * length:,}", border=True)
numbers_box.metric(
    f"{block_shape} = {len(ids)} × {length} × {width}: numbers", f"{inputs.embeddings.numel():,}", border=True
)

token = ids[place.row][place.time]
same = embeddings.twins(ids, place)
compared = [place, *same[:1]]
found = embeddings.difference(inputs, place, same[0]) if same else None
named = [name("embedding", t=time, n=row + 1) for row, time in compared]
scale = embeddings.reach(table)
shown = [inputs.embeddings[cell].tolist() for cell in compared]
vectors(
    [Vector(symbol, values, visible(texts[token])) for symbol, values in zip(named, shown, strict=True)],
    key="cell_vector",
    reach=scale,
    title="The vector of the chosen cell, and of another one with the same id",
)
furniture.say(
    words.shape_sentence(len(ids), length, width),
    words.vector_sentence(texts[token], token, named[0], named[-1] if same else None, found, len(same)),
    key="what_vector",
)
aids.numbers(
    Table(
        "vector of the chosen cell",
        ["number", *named],
        [[at, *values] for at, values in enumerate(zip(*shown, strict=True), 1)],
    ),
    key="cell_vector",
    code=(embeddings.decoder_inputs, embeddings.difference),
)
asked = [questions.how_many_numbers(exploration.config.batch_size, shape.context_length, width)]
if pair := embeddings.other_pair(ids, compared):  # not the two that are compared above
    one, twin = (name("token", t=time, n=row + 1) for row, time in pair)
    text = texts[ids[pair[0][0]][pair[0][1]]]
    asked.append(questions.are_twins_equal(text, one, twin, embeddings.difference(inputs, *pair)))
check("c13", *asked)

# ---- C3: the embedding of a prediction is a row of the same table

st.subheader("A predicted token is looked up in the same table")
st.caption(
    "Choose up to where the decoder reads. Under each input stands what it predicts next, and whether that is true."
    + (
        ""
        if shape.causal
        else " This decoder has no causal mask: each prediction is made in a pass over the inputs up to its own, so that it "
        "cannot read its target."
    )
)
predicted = embeddings.predictions(model, seen)
at = min(state.get("read to", 2), len(seen) - 1)
chosen = token_strips(
    [
        Strip("input", [Chip(texts[token], name("token", t=t)) for t, token in enumerate(seen)]),
        Strip(
            "prediction",
            [
                Chip(texts[token], name("prediction", t=t), "own" if token == own[t] else "wrong")
                for t, token in enumerate(predicted, 1)
            ],
            start=None,
        ),
    ],
    key="read_to",
    pressable=True,
    selected=at,
    row=0,
)
at = state["read to"] = at if chosen is None else chosen
aids.numbers(
    Table(
        "what is predicted after each input",
        ["t", "input", "prediction", "id of the prediction", "next token"],
        [
            [t, texts[token], texts[after], after, texts[true]]
            for t, (token, after, true) in enumerate(zip(seen, predicted, own[1:], strict=True))
        ],
    ),
    key="read_to",
    code=(embeddings.predictions,),
)
strips_box = st.container()
st.caption(
    f"The embedding table{' E' if in_symbols else ''}: one row per token of the vocabulary, one column per number. The "
    "outlined row belongs to the prediction. Click another one, or use the arrow keys and Enter, to feed that token back "
    "instead."
)
marked = set(seen)
first = sorted({*own, *predicted})
others = [token for token in range(len(texts)) if token not in first]
listed = sorted([*first, *others[: max(0, MOST_TOKENS - len(first))]])
if len(listed) < len(texts):
    st.caption(
        f"{len(listed)} of its {len(texts):,} rows are shown, those of the sentence and its predictions among them."
    )
row = vectors(
    [
        Vector(visible(texts[token]), values, f"id {token}", marked=token in marked)
        for token, values in zip(listed, table[listed].tolist(), strict=True)
    ],
    key="table",
    reach=scale,
    title="The embedding table",
    look="table",
    pressable=True,
    selected=listed.index(predicted[at]),
    mark_name="in the sentence",
)
picked = predicted[at] if row is None else listed[row]
aids.numbers(
    Table(
        "embedding table",
        ["id", "token", *(f"number {column + 1}" for column in range(width))],
        [
            [token, texts[token], *values]
            for token, values in zip(listed, table[listed].tolist(), strict=True)
        ],
    ),
    key="embedding_table",
    code=(Decoder.__init__,),
)
with strips_box:
    fed = embeddings.feed_back(model, seen[: at + 1], picked)
    x, x_hat = name("embedding", t=at), name("predicted embedding", t=at + 1)
    vectors(
        [
            Vector(x, table[seen[at]].tolist(), visible(texts[seen[at]])),
            Vector(x_hat, fed.vector.tolist(), visible(texts[picked])),
        ],
        key="looked_up",
        reach=scale,
        title="The vector of the last input, and of the token that is fed back",
    )
    aids.numbers(
        Table(
            "vector of the last input, and of the token that is fed back",
            ["number", x, x_hat],
            [
                [at, *values]
                for at, values in enumerate(
                    zip(table[seen[at]].tolist(), fed.vector.tolist(), strict=True), 1
                )
            ],
        ),
        key="looked_up",
        code=(embeddings.feed_back,),
    )
    furniture.say(
        words.predicted_sentence(
            [texts[token] for token in seen[: at + 1]],
            texts[predicted[at]],
            predicted[at],
            symbol=notation.with_word("prediction", t=at + 1),
            vocab_size=len(texts),
        ),
        words.row_sentence(
            texts[picked],
            picked,
            width,
            symbol=notation.with_word("predicted embedding", t=at + 1),
            is_row=fed.is_row,
            own_pick=picked != predicted[at],
        ),
        key="what_row",
    )
omega_hat, x_hat = (
    (f" {name('prediction')}", name("predicted embedding")) if in_symbols else ("", "its embedding")
)
furniture.differently(
    "c3",
    f"It calls the prediction{omega_hat} “derived from the maximum output”, and {x_hat} a vector that is predicted and "
    "“combined with” the original embedding. The prediction is the index of the largest logit, not that logit. No vector is "
    f"predicted: {x_hat} is the row of the table with that index. And it is appended as the next input, not added to an "
    "earlier one.",
)
check(
    "c3",
    questions.how_many_vectors(len(texts), width, embeddings.distinct_rows(table)),
    questions.what_comes_out(model.output.out_features, width),
)

# ---- C8: positions

st.subheader("The position adds a vector of its own")
st.caption(
    f"The {called.embedding} says which token stands there, the {called.position} says where. The decoder reads their sum. "
    "Choose a position; then put the same token at another one as well."
)
t = min(state.get("position at", 2), len(seen) - 1)
chosen = token_strips(
    [Strip("input", [Chip(texts[token], name("token", t=time)) for time, token in enumerate(seen)])],
    key="position_at",
    pressable=True,
    selected=t,
    row=0,
)
t = state["position at"] = t if chosen is None else chosen
aids.numbers(
    Table(
        "the inputs",
        ["t", "token", "id"],
        [[time, texts[token], token] for time, token in enumerate(seen)],
    ),
    key="position_at",
    code=(type(tokenizer).encode, with_edges),
)
elsewhere = [time for time in range(len(seen)) if time != t]
other = st.selectbox(
    "Put the same token also at",
    elsewhere,
    index=None,
    placeholder="choose a position",
    format_func=lambda time: f"t = {time}, in place of {visible(texts[seen[time]])}",
    key=f"same token but at {t} of {len(seen)}",
    width=320,
)


def with_token_at(time: int | None) -> list[int]:
    """The inputs, with the chosen token at this time too."""
    return [seen[t] if at == time else token for at, token in enumerate(seen)]


inputs = embeddings.decoder_inputs(model, [with_token_at(other)])
times = [t] if other is None else [t, other]
parts = [
    ("{x}", inputs.embeddings[0]),
    ("{p}", inputs.positions),
    ("{x} + {p}", inputs.sums[0]),
]
strips = [
    Vector(
        pattern.format(x=name("embedding", t=time), p=name("position vector", t=time)), part[time].tolist()
    )
    for pattern, part in parts
    for time in times
]
vectors(
    strips,
    key="sum",
    reach=embeddings.reach(*(part for _, part in parts)),
    title="Embedding, position vector and their sum",
)
sentences = [
    words.sum_sentence(
        texts[seen[t]],
        t,
        *(part[t][0].item() for _, part in parts),
        has_positions=shape.positions != "none",
        names=called,
    )
]
if other is not None:
    apart = embeddings.difference(inputs, (0, t), (0, other))
    sentences.append(words.twice_sentence(texts[seen[t]], t, other, apart, called))
furniture.say(*sentences, key="what_sum")
aids.numbers(
    Table(
        "embedding, position vector and sum",
        ["number", *(strip.name for strip in strips)],
        [[at, *values] for at, values in enumerate(zip(*(strip.values for strip in strips), strict=True), 1)],
    ),
    key="sum",
    code=(embeddings.decoder_inputs, *([sinusoidal_positions] if shape.positions == "sinusoidal" else [])),
)
furniture.differently(
    "c8",
    "It says that positional encoding is “added at each step”. A position vector is added once, to the embedding at its own "
    "position: what was added at earlier positions stays as it is when later tokens come.",
)

shuffles = state.get("shuffles", 0)
asked = []
if elsewhere:
    asked_time = elsewhere[-1] if other is None else other
    twice = embeddings.decoder_inputs(model, [with_token_at(asked_time)])
    asked.append(
        questions.what_differs(
            texts[seen[t]], t, asked_time, embeddings.difference(twice, (0, t), (0, asked_time))
        )
    )
shuffled, refusal = None, ""
try:
    shuffled = order.shuffle_before_last(seen, seed=shuffles)
except ValueError as error:
    refusal = str(error)
else:
    for n_layers in (1, 2):
        blind = order.untrained(shape, n_layers, "none", exploration.config.seed)
        change = order.probe_order(blind, seen, shuffled).change
        asked.append(questions.does_order_matter(n_layers, change, order.ROUNDING))
    with st.container(key="what_layers"):
        st.text(words.layers_sentence(causal=shape.causal))
check("c8", *asked)

st.markdown("**Can a decoder without positions tell two orders apart?**")
st.caption(
    "All tokens before the last one are shuffled, and the logits after the last one compared. The decoders are untrained: an "
    "order that never reaches the last position cannot be learned either."
)
with st.container(horizontal=True, vertical_alignment="bottom"):
    n_layers = st.slider("Layers", 1, MOST_LAYERS, 1, key="layers", **IN_ADDRESS, width=160)
    kind = st.selectbox(
        "Positions",
        position_lanes.KINDS,
        index=position_lanes.KINDS.index("none"),
        key="probe_positions",
        **IN_ADDRESS,
        width=160,
    )


def shuffle() -> None:
    """Try another order."""
    state["shuffles"] = shuffles + 1


st.button("Shuffle and compare", icon=":material/shuffle:", key="shuffle_order", on_click=shuffle)
if shuffled is None:
    st.text(f"⚠ {refusal}")
elif shuffles:
    probe = order.probe_order(order.untrained(shape, n_layers, kind, exploration.config.seed), seen, shuffled)
    token_strips(
        [
            Strip(title, [Chip(texts[token]) for token in tokens])
            for title, tokens in (("as typed", seen), ("shuffled", shuffled))
        ],
        key="orders",
    )
    aids.numbers(
        Table(
            "the two orders",
            ["t", "as typed", "id", "shuffled", "id"],
            [
                [time, texts[one], one, texts[two], two]
                for time, (one, two) in enumerate(zip(seen, shuffled, strict=True))
            ],
        ),
        key="orders",
        code=(order.shuffle_before_last,),
    )
    furniture.say(words.order_sentence(probe.change, n_layers, kind, order.ROUNDING), key="what_order")
    aids.numbers(
        Table(
            "logits after the last token, in both orders",
            ["id", "token", "as typed", "shuffled"],
            [[at, *values] for at, values in enumerate(zip(texts, probe.before, probe.after, strict=True))],
        ),
        key="order_logits",
        code=(order.untrained, order.probe_order),
    )

st.subheader("What positions are worth")
st.caption(
    "Does training need them? In the corpus “reverse” everything hangs on order: letters, and the same letters backwards. One "
    "decoder is trained on it three times, with one seed and the same batches; only the positions differ."
)
if st.toggle("Train and compare the three", key="compare_positions", **IN_ADDRESS):
    position_lanes.compare(position_lanes.explore(exploration.config.seed))

furniture.next_page("causal_mask", "what keeps a prediction from reading its own target?")
