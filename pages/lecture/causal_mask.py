"""Causal mask: how scores become weights, what the mask keeps out, how it is got wrong, and what it is good for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import get_args

import streamlit as st

from decoder import attend, causal_mask
from decoder.figures import mask_words, words
from decoder.figures.changes import change_bars
from decoder.figures.mask_words import spelled
from decoder.figures.matrices import head_table, head_thumbnails, masking_matrices, stages_table, token_labels
from decoder.figures.tables import Table
from decoder.figures.target_words import counted
from decoder.inference.generation import encode_prompt
from decoder.inference.prefixes import Comparison, compare_passes
from decoder.language import clean
from decoder.model.arithmetic import cell_arithmetic
from decoder.model.masking import (
    Way,
    causal_effect,
    first_scores,
    flip_cells,
    mask_row,
    mask_scores,
    measure_leaks,
)
from pages.ui import aids, furniture, glossary, lanes, mask_questions, notation, session, strip
from pages.ui.address import IN_ADDRESS
from pages.ui.checks import check
from pages.ui.choice import in_range, whole_numbers
from pages.ui.mask_questions import Trained
from pages.ui.matrix import Cell, Head, matrices, thumbnails
from pages.ui.sentence import as_sentence, choose_sentence, example
from pages.ui.sheet import sheet

FINITE_CHOICES = (-1.0, -2.0, -5.0, -10.0, -20.0)
OWN_SCORES = 4
FARTHEST_SCORE = 50.0
WRITTEN = 3  # sentences of each decoder

furniture.head(
    "The causal mask",
    "All tokens are processed at once. What keeps a token from reading the answer that stands after it?",
)
exploration = session.explore()
snapshot = strip.require(strip.show(exploration))
corpus, model, state, name = exploration.corpus, snapshot.model, st.session_state, notation.name
texts, trained_masked = corpus.tokenizer.tokens, exploration.config.decoder.causal

notation.switch()
glossary.explain(
    "token",
    "target",
    "prediction",
    "prefix",
    "embedding",
    "query",
    "key",
    "value",
    "score",
    "mask",
    "causal mask",
    "softmax",
    "weight",
    "logits",
    "loss",
    "nats",
    "floor",
    "padding",
    "true history",
    "valid sentence",
    *glossary.OF_THE_STRIP,
)
sentence = choose_sentence(corpus, model)
tokens, labels, T = sentence.tokens, sentence.labels, len(sentence.tokens)
ids = sentence.ids[0].tolist()
causal = causal_mask(T)
typed, eos = encode_prompt(corpus.tokenizer, clean(state["sentence"])), corpus.tokenizer.eos
targets = [*typed[1:], *([] if eos is None or typed[-1] == eos else [eos])][:T]  # as on the first page


def edits_in_link() -> list[tuple[int, int]]:
    """Cells of `base` that the address opens and closes, "1.3,2.0"; none if it says anything else."""
    try:
        places = [
            whole_numbers([int(part) for part in place.split(".")], (T, T))
            for place in st.query_params.get("edits", "").split(",")
        ]
        cells = [(place[0], place[1]) for place in places if place]
        flip_cells(base, cells)
    except ValueError:
        return []
    return cells if len(set(cells)) == len(places) else []


# ---- C23 and C27: scores, masked scores, exponentials, weights; the rows one after the other

st.subheader("From scores to weights, in four steps")
st.caption(
    "Rows are queries (this token looks …), columns are keys (… at this token). Point at a cell to find it in all four "
    "matrices; click it to see how it came about."
)
st.caption(
    "**Row by row: which inputs predict which token.** Press Play, or step with Next. Each row is one prediction, made from "
    "the inputs that its open cells name; all rows are computed at once."
)
with st.container(horizontal=True, vertical_alignment="center"):
    masked = st.toggle(
        "Causal mask",
        value=trained_masked,
        key="masked" if trained_masked else "masked_afterwards",
        **IN_ADDRESS,
        help="Switch it to see where the same decoder would look with and without it.",
    )
    editing = st.toggle(
        "Edit the mask",
        key="editing",
        help="Then a click, or Enter, opens a closed cell and closes an open one.",
    )
    base = causal if masked else causal.new_ones(T, T)
    edits = f"edits of {T} {masked}"  # of another sentence length, or of the other mask, there are others
    if "edits read" not in state:  # a link is read once; afterwards the address follows what is edited here
        state["edits read"] = True
        state.setdefault(edits, edits_in_link())
    flips: list[tuple[int, int]] = state.setdefault(edits, [])
    st.button(
        "Reset the mask", icon=":material/restart_alt:", key="reset", on_click=flips.clear, disabled=not flips
    )


def flip(cell: Cell) -> None:
    """Open or close a cell, and look at it; a row must keep an open one."""
    place = (cell.row, cell.column)
    wanted = [other for other in flips if other != place] if place in flips else [*flips, place]
    try:
        flip_cells(base, wanted)
        state[edits] = wanted
    except ValueError as error:
        state["mask refusal"] = str(error)
    look_at(cell)


def look_at(cell: Cell) -> None:
    """Show this cell, in the sliders and so in the address as well."""
    state["mask panel"], state["row"], state["column"] = cell


def look_into(head: Head) -> None:
    """Show this head."""
    state["layer"], state["head"] = head


mask = flip_cells(base, flips)
if flips:
    st.query_params["edits"] = ",".join(f"{row}.{column}" for row, column in flips)
elif "edits" in st.query_params:
    del st.query_params["edits"]
trace = model.trace(sentence.ids, mask=mask)
probabilities = trace.logits[0].softmax(dim=-1)  # (T, V)


def walk_line(row: int) -> str:
    """What a row may look at, and what it predicts from that."""
    seen = mask[row].nonzero().flatten().tolist()
    share, token = probabilities[row].max(dim=0)
    target = (texts[targets[row]], probabilities[row, targets[row]].item()) if row < len(targets) else None
    return mask_words.walk_line(
        spelled(seen, lambda place: name("embedding", t=place)),
        name("token", t=row + 1),
        (texts[int(token)], share.item()),
        target,
        alone=len(seen) == 1,
    )


steps = st.container()
st.markdown("**Another head, another cell**")
st.caption(
    "The weights of every layer and head for the same sentence. Click one to see its four steps above; the address carries "
    "your choice."
)
pictures = st.container()
heads = head_thumbnails(trace)
with st.container(horizontal=True, vertical_alignment="bottom"):
    for key, count in (("layer", len(heads)), ("head", len(heads[0])), ("row", T), ("column", T)):
        in_range(key, count)
    layer = st.selectbox("Layer", range(len(heads)), key="layer", **IN_ADDRESS, width=120)
    head = st.selectbox("Head", range(len(heads[0])), key="head", **IN_ADDRESS, width=120)
    row, column = (
        st.slider(label, 0, T - 1, default, key=key, **IN_ADDRESS, width=210) if T > 1 else 0
        for label, key, default in (
            ("Row: the query", "row", min(2, T - 1)),
            ("Column: the key", "column", 0),
        )
    )
with pictures:
    thumbnails(heads, key="mask_heads", selected=(layer, head), on_choose=look_into)
    aids.numbers(partial(head_table, heads, labels), key="mask_heads", code=(attend,))
block = trace.blocks[layer]
stages = mask_scores(block.attention.scores[0, head], mask)  # (T, T) each

with steps:
    cell = matrices(
        masking_matrices(stages, ~mask),
        rows=labels,
        columns=labels,
        key="mask_matrices",
        selected=(state.get("mask panel", 3), row, column),
        on_choose=look_at,
        press="opens or closes the cell" if editing else "",
        on_press=flip,
        cross=True,
        walk=[walk_line(row) for row in range(T)],
    )
    if refusal := state.pop("mask refusal", None):
        with st.container(key="mask_refusal"):
            st.text(f"⚠ {refusal}")
    furniture.say(
        mask_words.mask_sentence(
            T,
            open_future=int((mask & ~causal).sum()),
            closed_past=int((~mask & causal).sum()),
            trained_masked=trained_masked,
            layer=layer,
            head=head,
        ),
        key="what_mask",
    )
    aids.numbers(
        stages_table("scores, masked scores, exponentials and weights", stages, labels),
        key="mask_matrices",
        code=(attend, mask_scores),
    )
    check("c27", mask_questions.which_inputs(T))
check("c23", mask_questions.how_many_masked(T + 1), mask_questions.is_diagonal_masked())

# ---- C25: the arithmetic of one cell, and wrong ways to mask

st.subheader("How one weight comes about")
if cell:
    numbers = cell_arithmetic(block, head, cell.row, cell.column)
    st.text(f"query {labels[cell.row]}   looks at   key {labels[cell.column]}")
    widths = f"{model.config.d_model} / {counted(model.config.n_heads, 'head')} = {len(numbers.query)}"
    for title, spell in (
        (
            f"1. Score: query times key, divided by the root of the head width, a width of {widths}",
            words.score_arithmetic,
        ),
        ("2. Mask", words.mask_arithmetic),
        ("3. Softmax: exponentials, divided by the sum of their row", words.weight_arithmetic),
    ):
        st.caption(title)
        st.code(spell(numbers, cell.row, cell.column), language=None, wrap_lines=True)
    aids.numbers(
        Table(
            f"query {labels[cell.row]} times key {labels[cell.column]}, layer {layer}, head {head}",
            ["number", "query", "key", "product"],
            [
                [at, *values]
                for at, values in enumerate(zip(numbers.query, numbers.key, numbers.products, strict=True), 1)
            ],
        ),
        key="cell_arithmetic",
        code=(cell_arithmetic,),
    )
else:
    st.caption("Click a cell of the matrices above.")

st.subheader("Four scores of your own")
st.caption(
    "One row of a sentence of four tokens. Change its scores, choose which row it is, and what is put where a score is closed: "
    "the softmax is the decoder's own. "
    + mask_words.own_scores_sentence(
        row,
        T,
        OWN_SCORES,
        alike=mask[row].nonzero().flatten().tolist() == [*range(min(row, OWN_SCORES - 1) + 1)],
    )
)
real = first_scores(stages.scores[row], OWN_SCORES, FARTHEST_SCORE)


def set_scores(scores: Sequence[float], row: int, *, follow: bool = False) -> None:
    """Put these scores into the four fields, as those of this row; they may follow what is chosen above."""
    state["own row"] = row
    for at, score in enumerate(scores):
        state[f"own score {at}"] = score
    state["own scores follow"] = (*scores, row) if follow else None


def own_row() -> None:
    """Turn four scores into weights; a change draws nothing else of the page anew."""
    fields = tuple(state.get(key) for key in (*(f"own score {at}" for at in range(OWN_SCORES)), "own row"))
    if None in fields or fields == state.get("own scores follow"):
        set_scores(real, min(row, OWN_SCORES - 1), follow=True)
    with st.container(horizontal=True):
        st.button(
            "Four equal scores, row 1", key="equal_scores", on_click=set_scores, args=([0.0] * OWN_SCORES, 1)
        )
        st.button(
            f"Scores of row {row} above",
            key="real_scores",
            on_click=set_scores,
            args=(real, min(row, OWN_SCORES - 1)),
            kwargs={"follow": True},
        )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        scores = [
            st.number_input(
                f"score on key {at}",
                -FARTHEST_SCORE,
                FARTHEST_SCORE,
                step=0.5,
                format="%.3f",
                key=f"own score {at}",
                persist_state="session",
                width=150,
            )
            for at in range(OWN_SCORES)
        ]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        which = st.selectbox(
            "which row it is",
            range(OWN_SCORES),
            format_func=mask_words.row_name,
            key="own row",
            persist_state="session",
            width=230,
        )
        fill = st.select_slider(
            "in place of a closed score",
            (*FINITE_CHOICES, -math.inf),
            value=-math.inf,
            format_func=words.number,
            key="own mask value",
            persist_state="session",
            width=320,
        )
    open_cells, finite = which + 1, None if math.isinf(fill) else fill
    own = mask_row(scores, which) if finite is None else mask_row(scores, which, "finite number", finite)
    table = mask_words.row_table(*(stage.tolist() for stage in own))
    sheet(table, key="own_scores")
    furniture.say(
        mask_words.row_sentence(own.exponentials.tolist(), own.weights.tolist(), open_cells, finite),
        key="what_own_scores",
    )
    aids.numbers(table, key="own_scores", code=(mask_row, mask_scores))


st.fragment(own_row)()

st.subheader("Why −∞, and why before the softmax? Four ways to get it wrong")
st.caption(
    f"The scores of layer {layer}, head {head}, {'with the causal mask in the layers below, ' if layer else ''}masked in five "
    "ways, in this head alone. All but the first are mistakes that are easily made, and easily overlooked."
)
way: Way = st.pills(  # on a phone they stand in several lines
    "How closed cells are kept out",
    get_args(Way),
    default="finite number",
    required=True,
    format_func=mask_words.WAY_NAMES.__getitem__,
    key="way",
    **IN_ADDRESS,
)
finite = FINITE_CHOICES[0]
if way == "finite number":
    finite = st.select_slider(
        "in place of −∞",
        FINITE_CHOICES,
        value=finite,
        format_func=words.number,
        key="finite",
        **IN_ADDRESS,
        width=320,
    )
right = (
    model.trace(sentence.ids, mask=causal).blocks[layer].attention.scores[0, head]
)  # below it all is right
masked_this_way = mask_scores(right, causal, way, finite)
scores_note, weights_note = mask_words.way_notes(way, finite)
matrices(
    masking_matrices(masked_this_way, ~causal, note=scores_note, weights_note=weights_note)[1:],
    rows=labels,
    columns=labels,
    key="way_matrices",
    cross=True,
)
aids.numbers(
    stages_table(f"masked in this way: {mask_words.way_name(way, finite)}", masked_this_way, labels),
    key="way_matrices",
    code=(mask_scores,),
)
leaks = measure_leaks(model, sentence.ids, layer, head, finite)
furniture.say(
    mask_words.leak_sentence(way, leaks[way], finite, texts, tokens[-1], above=layer > 0), key="what_leak"
)
ways = Table(
    "what each way lets through",
    ["way", "share on the future", "row sums from", "to", "earlier results move"],
    [
        [mask_words.way_name(other, finite), leak.closed_share, min(leak.sums), max(leak.sums), leak.moved]
        for other, leak in leaks.items()
    ],
)
sheet(ways, key="ways")
st.caption(
    "Share on the future: of all weight. Earlier results move: the greatest change of weights times values in any row before "
    f"the last, when the last token is replaced by {mask_words.tried(leaks[way], len(texts))}, one after the other."
)
aids.numbers(ways, key="ways", code=(measure_leaks,))
check(
    "c25",
    mask_questions.first_weight(),
    mask_questions.equal_scores(),
    mask_questions.how_much_leaks(),
)

# ---- C24: each token sees itself and the past

st.subheader("Change one token: which outputs notice?")
with st.container(horizontal=True, vertical_alignment="bottom"):
    position = st.selectbox(
        "replace",
        range(T),
        index=min(mask_questions.ASKED_POSITION, T - 1),
        format_func=labels.__getitem__,
        key=f"probed position in {'-'.join(map(str, ids))}",  # other words, another choice
        width=210,
    )
    new = st.selectbox(
        "by",
        range(len(texts)),
        index=None,
        placeholder="choose a token",
        key=f"probing token of {corpus.name}",
        format_func=token_labels(texts).__getitem__,
        width=210,
    )
opened = causal.new_ones(T, T)
if new is not None:
    with_mask, without = (
        causal_effect(model, sentence.ids, position, new, m).tolist() for m in (causal, opened)
    )
    figure = change_bars(
        [f"{label} → {name('logits', t=t)}" for t, label in enumerate(labels, 1)],
        [("with the mask", "teacher_forcing", with_mask), ("without", "no_mask", without)],
        appearance=session.appearance(),
    )
    st.caption("Greatest change of any logit of each output.")
    furniture.chart(figure, key="probe")
    furniture.say(
        mask_words.probe_sentence(with_mask, without, position, tokens[position], texts[new]),
        key="what_probe",
    )
    aids.numbers(
        Table(
            "greatest change of any logit",
            ["position", "token", "with the mask", "without"],
            [
                [at, token, *pair]
                for at, (token, *pair) in enumerate(zip(tokens, with_mask, without, strict=True))
            ],
        ),
        key="probe",
        code=(causal_effect,),
        figure=figure,
    )
longer = sentence  # of a single token there is nothing to ask
if T == 1:
    context = model.config.context_length
    longer = as_sentence(corpus, encode_prompt(corpus.tokenizer, example(corpus, context))[:context])
asked = min(mask_questions.ASKED_POSITION, len(longer.tokens) - 1)
other = (int(longer.ids[0, asked]) + 1) % len(texts)
mask_of = {True: causal_mask(len(longer.tokens)), False: opened.new_ones((len(longer.tokens),) * 2)}
check(
    "c24",
    *(
        mask_questions.which_move(
            longer.tokens,
            causal_effect(model, longer.ids, asked, other, mask_of[on]).tolist(),
            asked,
            texts[other],
            masked=on,
            imagined=longer is not sentence,
        )
        for on in (True, False)
    ),
)
furniture.differently(
    "c24",
    "The lecture says that later tokens should not influence the token “me” when “IBM” is predicted. Two true statements are "
    "mixed there. When “IBM” is predicted, nothing that comes later may count, and “me” comes later. And the row of the input "
    "“me” sees `<s>`, “IBM”, “taught” and “me” itself, nothing later.",
)

# ---- C28: it looks sequential, it runs in parallel

st.subheader("It looks sequential, and runs in parallel")
st.caption(
    "Row 0 predicts from one token, row 1 from two, and so on: as if the decoder had been asked once for every prefix. "
    "Is one masked pass over the whole sentence really the same?"
)


about = (exploration.run_id, snapshot.step, tuple(ids))


def compared(*, masked: bool) -> Comparison:
    """T passes beside one, with the mask or without: timed once and again when somebody asks."""
    if state.get("passes", (None,))[0] != about:
        state["passes"] = about, {on: compare_passes(model, sentence.ids, masked=on) for on in (True, False)}
    comparisons: dict[bool, Comparison] = state["passes"][1]
    return comparisons[masked]


def prove() -> None:
    """Show what is measured, for this decoder and sentence."""
    state["proved"] = about


def measure_again() -> None:
    """Forget what was measured."""
    state.pop("passes", None)


def show_passes() -> None:
    """Both times and the difference, once somebody asks; measuring again draws nothing else anew."""
    if state.get("proved") != about:
        st.button("Prove it", icon=":material/timer:", key="prove", on_click=prove)
        return
    st.button("Measure again", icon=":material/timer:", key="measure", on_click=measure_again)
    with_mask, without = (compared(masked=on) for on in (True, False))
    boxes = st.columns(3)
    for box, label, value in zip(
        boxes,
        (
            mask_words.counted_passes(with_mask.passes),
            "one masked pass",
            "greatest difference of a logit",
        ),
        (
            mask_words.milliseconds(with_mask.prefix_seconds),
            mask_words.milliseconds(with_mask.parallel_seconds),
            words.number(with_mask.greatest),
        ),
        strict=True,
    ):
        box.metric(label, value, border=True)
    furniture.say(mask_words.parallel_sentence(with_mask, without), key="what_passes")
    aids.numbers(
        Table(
            "difference between a pass over the prefix and the one pass",
            ["position", "token", "with the mask", "without"],
            [
                [at, token, *pair]
                for at, (token, *pair) in enumerate(
                    zip(tokens, with_mask.differences, without.differences, strict=True)
                )
            ],
        ),
        key="passes",
        code=(compare_passes,),
    )


check(
    "c28",
    *(mask_questions.how_much_difference(partial(compared, masked=on), masked=on) for on in (True, False)),
    mask_questions.how_many_passes(),
)
st.fragment(show_passes)()

# ---- C29: why the mask is crucial

st.subheader("Train it without the mask")
st.caption(
    "Without the mask every row but the last finds its own target among its inputs. What would training make of that? "
    "Predict, then look: the loss, and what the decoder writes."
)
questions = [mask_questions.which_not_copied(T)]
asked_box = st.container()  # before the results that answer it
ended: list[Trained | None] = [None, None]


def trained(lane: session.Lane, slot: str) -> session.Exploration:
    """The decoder that the page looks at, or the same one trained in another way."""
    return exploration if exploration.meaning == lane else session.explore(lane, slot=slot)


if st.toggle("Train it with and without the mask, side by side", key="retrain", **IN_ADDRESS):
    both = [trained("teacher_forcing", "run_a"), trained("no_mask", "run_b")]
    lanes.live_curves(both, key="retrained")

    def keep_watching() -> None:
        """Keep the trainings going while somebody looks, and draw the page once more when they have ended."""
        session.look([each.run_id for each in both])
        if not furniture.any_running(both):
            st.rerun()

    if furniture.any_running(both):
        furniture.live(keep_watching, running=True)
        st.caption("What they write appears when both are trained.")
    else:
        for each in both:
            decoder = session.newest(each.run_id)
            if decoder:
                st.markdown(f"**{each.name}**, {decoder.state}, writes by itself")
                lanes.sentences(each, decoder, WRITTEN)
        tests = [session.evaluation(each.run_id) for each in both]
        lanes.say_how_good(both, tests)
        ended = [
            Trained(session.store().metrics(each.run_id)[-1].loss, test) if test else None
            for each, test in zip(both, tests, strict=True)
        ]
if corpus.has_grammar:
    questions += [
        ask(*ended)
        for ask in (
            mask_questions.is_it_good,
            mask_questions.what_shows_it,
            mask_questions.which_writes_better,
        )
    ]
with asked_box:
    check("c29", *questions)
furniture.differently(
    "c29",
    "The lecture says that the mask decides where attention goes during generation, and calls it crucial for inference. The "
    "damage is done in training, where every row but the last could read its own target, and only shows at inference, where "
    "there is nothing ahead to read. There the mask does something else: it makes the rows of earlier tokens final, so they "
    "can be computed once and kept (cached).",
)

furniture.next_page("attention", "where does every head look?")
