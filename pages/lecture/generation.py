"""Generation: a typed prompt is continued token by token, and every step can be looked at."""

from __future__ import annotations

import streamlit as st

from decoder import Sampling, generate
from decoder.figures import words
from decoder.figures.bars import candidate_bars
from decoder.figures.matrices import token_labels
from decoder.figures.steps import candidates, newest_row
from decoder.inference.sampling import distribution, draw
from decoder.language import clean
from pages.ui import furniture, session, strip
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
tokenizer = exploration.corpus.tokenizer

prompt = choose_prompt(exploration.corpus)
with st.expander("How the next token is picked"):
    left, middle, right = st.columns(3)
    greedy = left.toggle("Always the most likely token", key="greedy", bind="query-params")
    seed = left.number_input("Seed of the picks", 0, 9_999, 0, key="picks", bind="query-params")
    temperature = middle.slider("Temperature", 0.1, 3.0, 1.0, 0.1, key="temperature", bind="query-params")
    top_k = right.slider(
        "Top-k: only the k most likely", 0, tokenizer.vocab_size, 0, key="top_k", help="0: all of them."
    )
    top_p = right.slider("Top-p: the fewest that reach this share", 0.05, 1.0, 1.0, 0.05, key="top_p")
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
        Chip(text, note="start", kind="special")
        if token == tokenizer.bos
        else Chip(text, note="typed" if forced else "picked", kind="true" if forced else "own")
        for text, token, forced in zip(texts, step.tokens, step.forced, strict=True)
    ]
    picked = tokenizer.tokens[step.picked]
    probability = words.percent(step.model_probabilities[step.picked].item())
    token_strips([Strip("text", [*chips, Chip(picked, note=probability, kind="fresh")])], key="generated")
    left, right = st.columns(2)
    with left:
        st.markdown("**The candidates for the next token**")
        shown = candidates(step, tokenizer.tokens, CANDIDATES)
        furniture.chart(
            candidate_bars(shown, appearance=session.appearance()),
            key="candidates",
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
    furniture.say(words.generation_sentence(step, number, len(steps), picked))


walk(len(steps), show, key="step")
furniture.next_page("start", "back to the start, with another corpus")
furniture.show_code(generate, distribution, draw)
