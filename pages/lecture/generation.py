"""Generation: a typed prompt is continued token by token, and every step can be looked at."""

from __future__ import annotations

import streamlit as st

from decoder import Sampling, attend, generate
from decoder.figures import words
from decoder.figures.bars import OWN, SHAPED, candidate_bars
from decoder.figures.matrices import token_labels
from decoder.figures.steps import candidates, newest_row
from decoder.figures.tables import Table
from decoder.inference.generation import count_work
from decoder.inference.sampling import contest, distribution, draw
from decoder.language import clean
from pages.ui import aids, furniture, glossary, notation, session, strip
from pages.ui import generation_questions as questions
from pages.ui.address import IN_ADDRESS
from pages.ui.checks import check
from pages.ui.matrix import matrices
from pages.ui.player import walk
from pages.ui.sentence import choose_prompt
from pages.ui.tokens import Chip, Strip, token_strips

MAX_NEW_TOKENS = 64
CANDIDATES = 8

furniture.head(
    "Generation",
    "A decoder only ever predicts one next token. How does a sentence come out of that?",
)
exploration = session.explore()
snapshot = strip.require(strip.show(exploration))
tokenizer, shape = exploration.corpus.tokenizer, snapshot.model.config

notation.switch()
glossary.explain(
    "token",
    "prediction",
    "start token",
    "end token",
    "context",
    "logits",
    "softmax",
    "temperature",
    "top-k",
    "top-p",
    "weight",
)
prompt = choose_prompt(exploration.corpus)
with st.expander("How the next token is picked"):
    left, middle, right = st.columns(3)
    greedy = left.toggle("Always the most likely token", key="greedy", **IN_ADDRESS)
    seed = left.number_input("Seed of the picks", 0, 9_999, 0, key="picks", **IN_ADDRESS)
    temperature = middle.slider("Temperature", 0.1, 3.0, 1.0, 0.1, key="temperature", **IN_ADDRESS)
    top_k = right.slider(
        "Top-k: only the k most likely",
        0,
        tokenizer.vocab_size,
        0,
        key="top_k",
        **IN_ADDRESS,
        help="0: all of them.",
    )
    top_p = right.slider(
        "Top-p: the fewest that reach this share", 0.05, 1.0, 1.0, 0.05, key="top_p", **IN_ADDRESS
    )
sampling = Sampling(temperature, top_k or None, top_p if top_p < 1 else None, greedy, int(seed))

try:
    steps = list(generate(snapshot.model, tokenizer, clean(prompt), sampling, MAX_NEW_TOKENS))
except ValueError as error:
    session.refuse(error)


def show(number: int) -> None:
    """Show one step: the tokens so far, the candidates, and where the newest token looks."""
    step = steps[number - 1]
    texts = [tokenizer.tokens[token] for token in step.tokens]
    chips = [
        Chip(text, note=f"{notation.name('token', t=t)} start", kind="special")
        if token == tokenizer.bos
        else Chip(text, note=f"{notation.name('token', t=t)} typed")
        if forced
        else Chip(text, note=f"{notation.name('prediction', t=t)} picked", kind="own")
        for t, (text, token, forced) in enumerate(zip(texts, step.tokens, step.forced, strict=True))
    ]
    picked, next_name = tokenizer.tokens[step.picked], notation.name("prediction", t=len(texts))
    probability = words.percent(step.model_probabilities[step.picked].item())
    token_strips([Strip("text", [*chips, Chip(picked, note=probability, kind="fresh")])], key="generated")
    left, right = st.columns(2)
    with left:
        st.markdown(f"**The candidates for the next token, {next_name}**")
        shown = candidates(step, tokenizer.tokens, CANDIDATES)
        figure = candidate_bars(shown, appearance=session.appearance())
        furniture.chart(figure, key="candidates")
        furniture.say(words.generation_sentence(step, number, len(steps), picked))
        aids.numbers(
            Table(
                f"candidates for the next token, {next_name}",
                ["token", OWN, SHAPED, "picked"],
                [
                    [each.token, each.model_probability, each.probability, "picked" if each.picked else ""]
                    for each in shown
                ],
            ),
            key="candidates",
            code=(distribution, draw),
            figure=figure,
        )
    with right:
        st.markdown("**Where the newest token looks**")
        row, names = newest_row(step)
        labels = token_labels(texts)[step.window_start :]
        matrices(
            [row],
            rows=names,
            columns=labels,
            key="step_attention",
            size="small",
            axes=("", ""),
            caption="Rows: layers (L) and heads (H). Columns: the tokens that the newest one looks at.",
        )
        furniture.say(words.newest_sentence(row.values, names, labels), key="what_newest")
        aids.numbers(
            Table(
                f"weights of {labels[-1]}",
                ["layer and head", *labels],
                [[name, *weights] for name, weights in zip(names, row.values, strict=True)],
            ),
            key="step_attention",
            code=(attend,),
        )


walk(len(steps), show, key="step")

first = contest(steps[0].passes[-1].logits[0, -1], questions.CONTESTANTS, questions.TEMPERATURES)
check(
    "c2",
    questions.does_temperature_change_the_first(first, tokenizer.tokens),
    questions.what_share_when_warmer(first, tokenizer.tokens),
)
work = count_work(steps)
check(
    "c5",
    questions.how_many_boxes(steps, work),
    questions.how_many_new_boxes(steps, work, causal=shape.causal),
)
typed = len(steps[0].tokens)
check("c7", questions.how_many_at_most(shape.context_length, typed if typed <= shape.context_length else 1))
furniture.next_page("start", "back to the start, with another corpus")
furniture.show_code(generate)
