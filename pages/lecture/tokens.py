"""Tokens and targets: a text becomes tokens, the targets are the same tokens one step later, rows become a batch."""

from __future__ import annotations

from typing import get_args

import streamlit as st

from decoder.figures import target_words as words
from decoder.figures.logits import LogitBar, logit_bars
from decoder.figures.matrices import token_labels, visible
from decoder.figures.tables import Table
from decoder.figures.target_words import Role
from decoder.figures.words import number
from decoder.language import Batch
from decoder.language.sequences import (
    Lengths,
    as_batch,
    kind,
    kinds,
    neighbours,
    typed_sequence,
    with_edges,
    words_of,
)
from decoder.training.loss import token_losses
from decoder.training.reading import after_prefix, read, replace_token, target_arithmetic
from pages.ui import aids, furniture, glossary, notation, session, strip, token_questions
from pages.ui.address import IN_ADDRESS
from pages.ui.checks import check
from pages.ui.grid import GridCell, Place, batch_grid
from pages.ui.sentence import type_sentence
from pages.ui.sheet import sheet
from pages.ui.shift import Heading, Token, shift_table
from pages.ui.tokens import Chip, Strip, token_strips

MOST_ROWS = 8
ASKED_TOKENS = 6  # of the row whose targets are to be typed
SHORT_ROW = 2  # words of the row that is imagined to join the batch
ASKED_SEED = 917  # of that row: not one that the page shows

furniture.head(
    "Tokens and targets",
    "Nobody writes answers beside a text. Where do the answers come from that a decoder is trained on?",
)
exploration = session.explore()
snapshot = strip.require(strip.show(exploration))
corpus, model, state = exploration.corpus, snapshot.model, st.session_state
tokenizer, context = corpus.tokenizer, model.config.context_length
texts = tokenizer.tokens
has_edges = tokenizer.bos is not None
specials = {tokenizer.bos, tokenizer.eos, tokenizer.pad}
causal, has_prompt = model.config.causal, corpus.prompt_length > 1
name = notation.name

notation.switch()
in_symbols = notation.chosen() == "symbols"
glossary.explain(
    "token",
    "vocabulary",
    "target",
    "start token",
    "end token",
    "batch",
    "padding",
    "sample",
    "embedding",
    "prediction",
    "logits",
    "softmax",
    "loss",
    "nats",
    *([] if causal else ["mask"]),
    *glossary.OF_THE_STRIP,
)

# ---- C1: a text is a row of tokens

st.subheader("A text is a row of tokens")


def take_another() -> None:
    """Put the next sentence of the corpus where typed ones stand."""
    state["sentences taken"] = state.get("sentences taken", 0) + 1
    ids = tokenizer.encode(corpus.examples(1, seed=state["sentences taken"])[0])
    state["sentence"] = tokenizer.decode(ids[:context])


with st.container(horizontal=True, vertical_alignment="bottom"):
    typed = type_sentence(corpus, context)
    st.button("Another from the corpus", icon=":material/casino:", key="another", on_click=take_another)
start = end = False
if has_edges:
    with st.container(horizontal=True):
        start = st.toggle("start token `<s>`", value=True, key="with_start", **IN_ADDRESS)
        end = st.toggle("end token `</s>`", value=True, key="with_end", **IN_ADDRESS)
    if not (start and end):
        st.caption(
            "The switches are for this page only: on the next ones the sentence always begins with `<s>`, and `</s>` follows "
            "it wherever its targets are shown."
        )
    if has_prompt:
        st.caption(
            f"In training the first {corpus.prompt_length} tokens of this corpus are a given prompt, and not scored. On this "
            "page every token but the first is a target."
        )
else:
    st.caption(
        "A text of your own goes on without beginning and end: its vocabulary has no start and no end token."
    )

try:
    typed_words, whole = typed_sequence(tokenizer, typed, start=start, end=end)
except ValueError as error:
    session.refuse(error)
own = whole[: context + 1]  # T inputs, and the target of the last of them
tokens = [texts[token] for token in own]
last = len(own) - 1
if len(own) < len(whole):
    st.text(
        f"The sentence has {len(whole)} tokens. This decoder reads {context} and predicts one more: "
        f"the first {len(own)} are shown."
    )


def choose_token(time: int) -> None:
    """Choose a token of the sentence, in every picture that shows it."""
    state["token at"], state["cell at"] = time, (0, time)


def choose_cell(cell: Place) -> None:
    """Choose a cell of the batch; its first row is the sentence."""
    state["cell at"] = tuple(cell)
    if cell.row == 0:
        state["token at"] = cell.time


at = min(max(state.get("token at", 1), 0), last)
chosen = token_strips(
    [
        Strip(
            "text",
            [
                Chip(text, name("token", t=t), "special" if token in specials else "true")
                for t, (text, token) in enumerate(zip(tokens, own, strict=True))
            ],
        ),
        Strip("id", [Chip(str(token)) for token in own]),
    ],
    key="token_chips",
    pressable=True,
    selected=at,
    row=0,
    on_choose=choose_token,
)
at = state["token at"] = at if chosen is None else chosen
if told := notation.how_to_read(min(token_questions.ASKED_TIME, last)):
    st.caption(told)
with st.container(key="what_token"):
    st.text(words.token_sentence(tokens, own, at, len(texts)))
aids.numbers(
    Table(
        "tokens of the sentence",
        ["t", "token", "id"],
        [[t, texts[token], token] for t, token in enumerate(own)],
    ),
    key="token_chips",
    code=(type(tokenizer).encode, with_edges),
)
questions = [token_questions.which_token(tokens, own)]
if has_edges:
    flipped = with_edges(tokenizer, typed_words, start=not start, end=end)[: context + 1]
    questions.append(
        token_questions.which_token_if_shifted(tokens, [texts[token] for token in flipped], start=start)
    )
check("c1", *questions)

# ---- C9 and C10: the targets are the inputs, shifted by one; start and end token

st.subheader("The targets are the same tokens, one step later")
reading = read(model, as_batch([own], tokenizer, context))
losses = reading.losses[0].tolist()
left, right = st.columns([3, 2], gap="large")
with left:
    shift_table(
        [Token(text, name("token", t=t), own[t] in specials) for t, text in enumerate(tokens)],
        [(words.nats(loss), loss / reading.uniform_loss) for loss in losses],
        headings=(
            Heading("inputs", name("inputs", last=last - 1)),
            Heading("targets", name("targets", last=last)),
            Heading("loss", "−ln p(target)" if in_symbols else "in nats"),
        ),
        key="shift",
        selected=at,
        caption="Inputs and targets, position by position, and the loss of every target.",
        legend=[
            "p(target) is the probability that the decoder gives to the target."
            if in_symbols
            else "The loss is −ln of the probability that the decoder gives to the target.",
            "Arrows lead from each target to the same token among the inputs, one position later.",
            f"A full bar would be guessing among all tokens: ln {len(texts)} = {number(reading.uniform_loss)}.",
        ],
        reads_all=not causal,
        on_choose=choose_token,
    )
    aids.numbers(
        Table(
            "inputs and targets",
            ["t", "input", "input id", "target", "target id", "loss in nats"],
            [
                [t, texts[token], token, texts[target], target, loss]
                for t, (token, target, loss) in enumerate(zip(own, own[1:], losses, strict=False))
            ],
        ),
        key="shift",
        code=(Batch.from_sequences, read),
    )
with right, st.container(key="target_reading"):
    st.text(words.target_sentence(tokens, at, causal=causal))
    if at:
        arithmetic = target_arithmetic(reading.logits[0, at - 1], own[at])
        figure = logit_bars(
            [
                LogitBar(
                    texts[token], arithmetic.logits[token], arithmetic.probabilities[token], token == own[at]
                )
                for token in arithmetic.shown
            ],
            appearance=session.appearance(),
        )
        called = name("logits", t=at)
        st.caption(f"{called}, computed at position t = {at - 1}: the largest ones and the target")
        furniture.chart(figure, key="target_logits")
        spelled = (
            {"logits": called, "probability": "p"}
            if in_symbols
            else {"logits": "logit", "probability": "probability"}
        )
        st.code(
            words.loss_arithmetic(arithmetic, tokens[at], vocab_size=len(texts), **spelled),
            language=None,
            wrap_lines=True,
        )
        vocabulary = zip(texts, arithmetic.logits, arithmetic.probabilities, strict=True)
        aids.numbers(
            Table(
                f"logits from which token {at} is predicted",
                ["id", "token", "logit", "probability"],
                [[token, *row] for token, row in enumerate(vocabulary)],
            ),
            key="target_logits",
            figure=figure,
            code=(target_arithmetic,),
        )


def edges() -> list[str]:
    """Say what start and end token do, where they can be seen."""
    if not has_edges or len(own) < len(whole):
        return []
    first, kind_of_first = typed_words[0], kind(tokenizer, typed_words[0])
    if start:
        alone = after_prefix(model, own[:1], first)
        read_there = None if causal or last < 2 else reading.probabilities[0, 0].item()
        begun = words.start_sentence(
            texts[first], words.First(kind_of_first, alone, read_there, is_prompt=has_prompt)
        )
    else:
        begun = words.no_start_sentence(
            texts[first], kind_of_first, is_prompt=has_prompt, always_fed=context >= corpus.context_length
        )
    # The last target is never among the inputs, with or without a mask.
    return [
        begun,
        words.end_sentence(texts[typed_words[-1]], reading.probabilities[0, -1].item() if end else None),
    ]


furniture.say(words.shift_sentence(tokens, reading.loss, causal=causal), *edges(), key="what_targets")
asked_words = words_of(tokenizer, corpus.examples(1, seed=ASKED_SEED)[0])
asked = with_edges(tokenizer, asked_words, start=start, end=end)[:ASKED_TOKENS]
check(
    "c9",
    token_questions.what_targets(
        tokenizer.decode(asked[:-1]),
        tokenizer.decode(asked[1:]),
        tokenizer.decode(asked[-1:]),
        len(asked) - 1,
    ),
)
if has_edges:
    other = not (start or end)
    imagined = with_edges(tokenizer, typed_words, start=other, end=other)
    question = token_questions.how_many_targets(
        len(typed_words),
        len(imagined) - 1,
        start=other,
        end=other,
        now=len(whole) - 1,
        kinds=kinds(tokenizer, typed_words),
    )
else:
    noun = tokenizer.noun.removesuffix("s")
    question = token_questions.how_many_targets_with_one_more(len(typed_words), noun=noun)
check("c10", question)

# ---- C12 and C11: several sequences as one batch, padded to one length

st.subheader("Several sequences make a batch")
st.caption(
    "Row 1 is your sentence; the others are drawn from the corpus. Click any cell, or walk with the arrow keys."
)
with st.container(horizontal=True, vertical_alignment="bottom"):
    count = st.slider("Rows", 2, MOST_ROWS, 4, key="rows", **IN_ADDRESS, width=160)
    lengths = st.selectbox("Lengths", get_args(Lengths), key="lengths", **IN_ADDRESS, width=210)
    draw = st.number_input("Shuffle number", 0, 999, 0, key="shuffle", **IN_ADDRESS, width=160)
drawn = neighbours(corpus, typed_words, count - 1, lengths, seed=int(draw))
rows = [own, *(with_edges(tokenizer, row, start=start, end=end) for row in drawn)]
batch = as_batch(rows, tokenizer, context)
reading = read(model, batch)
losses = reading.losses.tolist()  # (B, T)
padding = (~batch.keep).tolist()
samples = [  # (B, T+1) ids
    [*first, *rest] for first, rest in zip(batch.inputs[:, :1].tolist(), batch.targets.tolist(), strict=True)
]


def role(row: int, time: int) -> Role:
    """What a cell of the batch is for; both from 0."""
    return "input only" if time == 0 else "padding" if padding[row][time - 1] else "target"


def loss_of(row: int, time: int) -> float | None:
    """Loss of a cell of the batch as a target, nats; None where it is none."""
    return losses[row][time - 1] if role(row, time) == "target" else None


def grid_cell(row: int, time: int) -> GridCell:
    """A cell of the batch with its loss."""
    text, loss, kind = texts[samples[row][time]], loss_of(row, time), role(row, time)
    note = words.nats(loss) if loss is not None else "input" if time == 0 else "0" if counted_in else ""
    said = f"{name('token', t=time, n=row + 1)}: {text}, {kind}{f', loss {note}' if loss is not None else ''}"
    return GridCell(text, note, kind, said, counted=counted_in)


asked_time = min(3, len(samples[0]) - 1)
counted_in = False  # where there is no padding
grid_box, padding_box = st.container(), st.container()

with padding_box:
    st.subheader("Padding fills up, and counts for nothing")
    st.caption(
        "A batch is a rectangle, so short rows are filled up with the pad token, id 0. A pad is never a target "
        "that counts. What would happen to the loss if it were? Predict, then switch it on."
        if tokenizer.pad is not None
        else "A text of your own has no padding: its rows are cut to one length instead."
    )
    if tokenizer.pad is not None:
        short = typed_words[:SHORT_ROW]
        larger = as_batch([*rows, with_edges(tokenizer, short, start=start, end=end)], tokenizer, context)
        check(
            "c11",
            token_questions.how_many_pads(
                tokenizer.decode(short), larger.keep.numel(), int(larger.keep.sum())
            ),
            token_questions.what_mean(reading),
        )
        counted_in = st.toggle("count the padding", key="count_pads", **IN_ADDRESS)
        honest, counted = st.columns(2)
        honest.metric(f"pads left out: sum / {reading.real}", number(reading.loss), border=True)
        counted.metric(
            f"pads counted: sum / {reading.cells}",
            number(reading.padded_loss) if counted_in else "…",
            border=True,
        )
    furniture.say(
        words.padding_sentence(
            reading, counted_in=counted_in, pads_exist=tokenizer.pad is not None, causal=causal
        ),
        key="what_padding",
    )
    if tokenizer.pad is not None:
        furniture.differently(
            "c11",
            "It speaks of zero padding. Zero is only the id of the pad token: its embedding is a vector like any other, not "
            "one of zeros, and what pads would cost is left out of the loss.",
        )

row_at, time_at = state.get("cell at", (0, at))
if row_at >= len(samples):
    row_at, time_at = 0, at
with grid_box:
    place = batch_grid(
        [
            (name("row", n=row + 1), [grid_cell(row, time) for time in range(len(sample))])
            for row, sample in enumerate(samples)
        ],
        key="batch_grid",
        selected=(row_at, min(time_at, len(samples[0]) - 1)),
        title="The batch: a row per sample, a column per time",
        legend=[
            "Under each token its loss as a target, in nats."
            + ("" if tokenizer.pad is None else " Patterned: padding.")
        ],
        on_choose=choose_cell,
    ) or Place(0, 1)
    n, t = place
    aids.numbers(
        Table(
            "the batch, cell by cell",
            ["sample", "t", "token", "id", "role", "loss in nats"],
            [
                [row + 1, time, texts[token], token, role(row, time), loss_of(row, time)]
                for row, sample in enumerate(samples)
                for time, token in enumerate(sample)
            ],
        ),
        key="batch_grid",
        code=(as_batch, token_losses),
    )
    with st.container(key="what_cell"):
        symbol = name("token", t=t, n=n + 1)
        st.text(
            words.cell_sentence(symbol, texts[samples[n][t]], samples[n][t], n, t, role(n, t), loss_of(n, t))
        )
    check("c12", token_questions.click_token(2, asked_time, place, texts[samples[1][asked_time]]))

# ---- C14: one sequence is enough

st.subheader("One row is enough")
st.caption(
    "The rows of a batch are read at once, but each by itself. So it is enough to look at one row, the one that is chosen in "
    "the grid, and its number is left out. "
    + (
        "It is your sentence, and the next pages look at it too. Choose another row in the grid to go on with that one."
        if n == 0
        else "The next pages look at your sentence, which is row 1, unless you go on with this row."
    )
)
length = padding[n].count(False)
token_strips(
    [
        Strip("input", [Chip(texts[samples[n][time]], name("token", t=time)) for time in range(length)]),
        Strip(
            "target",
            [
                Chip(texts[samples[n][time]], f"{name('token', t=time)} · {words.nats(losses[n][time - 1])}")
                for time in range(1, length + 1)
            ],
            start=1,
        ),
    ],
    key="one_row",
    row=n,
    marked=t,
    caption=f"Row {n + 1}. Under each target its loss; their mean is {number(reading.row_means[n].item())} nats.",
)
aids.numbers(
    Table(
        f"inputs and targets of row {n + 1}",
        ["t", "input", "target", "loss in nats"],
        [
            [time, texts[samples[n][time]], texts[samples[n][time + 1]], losses[n][time]]
            for time in range(length)
        ],
    ),
    key="one_row",
    code=(read,),
)


def go_on() -> None:
    """Put the words of the chosen row where the sentence is typed: the next pages follow."""
    state["sentence"] = tokenizer.decode(drawn[n - 1][:context])
    choose_token(t)


if n > 0:
    st.button("Go on with this row", icon=":material/arrow_upward:", key="go_on_with_row", on_click=go_on)

st.markdown("**Does another row matter? Change a token in it.**")
others = [row for row in range(len(samples)) if row != n]
with st.container(horizontal=True, vertical_alignment="bottom"):
    changed = st.selectbox(
        "in row", others, format_func=lambda row: f"row {row + 1}", key=f"changed row but {n}", width=120
    )
    labels = token_labels([texts[token] for token in samples[changed][:-1]])
    spot = st.selectbox(
        "replace",
        range(len(labels)),
        index=min(1, len(labels) - 1),
        format_func=labels.__getitem__,
        key=f"changed place in {'-'.join(map(str, samples[changed]))}",  # other words, another choice
        width=210,
    )
    new = st.selectbox(
        "by",
        range(len(texts)),
        index=None,
        placeholder="choose a token",
        key=f"new token of {corpus.name}",
        format_func=token_labels(texts).__getitem__,  # the id first: no two tokens look alike
        width=210,
    )
if new is not None:
    changes = replace_token(model, batch, changed, spot, new).amax(dim=1).tolist()  # (B,)
    old = texts[samples[changed][spot]]
    table = Table(
        "greatest change of any logit of a row",
        ["row", "token replaced", "greatest change"],
        [
            [row + 1, f"{visible(old)} → {visible(texts[new])}" if row == changed else "", change]
            for row, change in enumerate(changes)
        ],
    )
    sheet(table, key="changes")
    aids.numbers(table, key="changes", code=(replace_token,))
    furniture.say(words.change_sentence(changes, changed, n), key="what_change")
other_row = others[0]
another = (samples[other_row][0] + 1) % len(texts)
tried = replace_token(model, batch, other_row, 0, another).amax(dim=1).tolist()  # (B,)
check("c14", token_questions.how_much_change(n, other_row, tried[n], tried[other_row]))

furniture.next_page("embeddings", "how does a token become numbers?")
