"""Causal mask: how scores become weights, what the mask keeps out, how it is got wrong, and what it is good for."""

from __future__ import annotations

from functools import partial

import streamlit as st

from decoder import causal_mask
from decoder.figures import mask_words, words
from decoder.figures.changes import change_bars
from decoder.figures.matrices import token_labels
from decoder.figures.tables import Table
from decoder.inference.generation import encode_prompt
from decoder.inference.prefixes import Comparison, compare_passes
from decoder.language import clean
from decoder.model.masking import causal_effect
from pages.ui import aids, furniture, glossary, lanes, mask_questions, notation, session, strip
from pages.ui.address import IN_ADDRESS
from pages.ui.checks import check
from pages.ui.mask_laboratory import Subject, laboratory
from pages.ui.mask_questions import Trained
from pages.ui.sentence import as_sentence, choose_sentence, example

WRITTEN = 3  # sentences of each decoder

furniture.head(
    "The causal mask",
    "All tokens are processed at once. What keeps a token from reading the answer that stands after it?",
)
exploration = session.explore()
snapshot = strip.require(strip.show(exploration))
corpus, model, state, name = exploration.corpus, snapshot.model, st.session_state, notation.name
texts = corpus.tokenizer.tokens

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

# ---- C23, C25 and C27: scores, masked scores, exponentials, weights; how one of them comes about, and wrong ways

subject = Subject(model, texts, sentence, targets)


def experiment() -> None:
    """Draw the laboratory: a click there draws only this again, not the rest of the page."""
    session.look([exploration.run_id])  # who clicks here still looks at it
    laboratory(subject)


furniture.apart(experiment)

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
furniture.apart(show_passes)

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
