"""Generation without a browser: tables, sentences and checks are recomputed from the stored decoder."""

import json
import math

import numpy as np
import pytest
import torch
from short_trainings import train, visit

from decoder import Sampling, generate, load_corpus
from decoder.training.presets import preset

CORPUS = load_corpus("ibm")
TOKENS = CORPUS.tokenizer.tokens
PROMPT = "IBM taught"
HAT = "\u0302"


@pytest.fixture(scope="module", params=["teacher_forcing", "no_mask"])
def lane(request, store):
    config = preset("ibm", size="small", causal=request.param == "teacher_forcing")
    train(store, config)
    model = store.model(store.request(config))[0]
    return request.param.replace("_", " "), model


def open_page(lane, prompt=PROMPT, **state):
    at = visit("generation", state, size="small", mode=lane[0], prompt=prompt)
    assert not at.exception
    return at


def steps_of(lane, prompt=PROMPT):
    return list(generate(lane[1], CORPUS.tokenizer, prompt, Sampling(), 64))


def sent(at):
    return [json.loads(component.proto.json) for component in at.get("bidi_component")]


def sheets(at):
    return {
        data["title"]: (data["columns"], data["rows"])
        for data in sent(at)
        if "columns" in data and "numeric" in data
    }


def said(at):
    return [text.value for text in at.text]


def close(text, value):
    if "·10" in text:
        digits, power = text.split("·10")
        text = digits + "e" + power.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
    return math.isclose(float(text), value, rel_tol=6e-4, abs_tol=1e-9)


@pytest.mark.parametrize("number", [1, 3])
def test_candidates_and_attention_of_every_step_can_be_read_as_tables(lane, number):
    at = open_page(lane, step=number, **{"candidates numbers": True, "step_attention numbers": True})
    step = steps_of(lane)[number - 1]
    found = sheets(at)
    ((_, rows),) = [table for title, table in found.items() if title.startswith("candidates")]
    best = step.model_probabilities.argsort(descending=True, stable=True)[:8].tolist()
    best += [step.picked] * (step.picked not in best)
    assert [row[0] for row in rows] == [TOKENS[token] for token in best]
    assert all(close(row[1], step.model_probabilities[token]) for row, token in zip(rows, best, strict=True))
    assert [row[3] for row in rows] == ["picked" if token == step.picked else "" for token in best]

    ((columns, rows),) = [table for title, table in found.items() if title.startswith("weights of")]
    assert (
        columns[1:] == [f"{at} {TOKENS[token]}" for at, token in enumerate(step.tokens)][step.window_start :]
    )
    with torch.no_grad():
        trace = lane[1].trace(torch.tensor([step.tokens[step.window_start :]]))
    weights = np.concatenate([block.attention.weights[0, :, -1] for block in trace.blocks])
    assert all(
        math.isclose(float(text.split("·")[0]), value, rel_tol=6e-4) or value < 1e-3
        for row, values in zip(rows, weights.tolist(), strict=True)
        for text, value in zip(row[1:], values, strict=True)
    )
    (sentence,) = [text for text in said(at) if text.startswith("The most decided")]
    head, place = np.unravel_index(weights.argmax(), weights.shape)
    assert f"is L0 H{head}: it gives {columns[1 + place]} a weight of {weights.max():.4g}" in sentence
    means = weights.mean(axis=0)
    assert f"all heads {columns[1 + means.argmax()]} gets most, {means.max():.4g}" in sentence


def test_tokens_are_named_as_the_visitor_wants(lane):
    for notation, names in (
        ("symbols ω x h z", ["ω₀ start", "ω₁ typed", "ω₂ typed", f"ω{HAT}₃ picked"]),
        ("plain names", ["token 0 start", "token 1 typed", "token 2 typed", "prediction 3 picked"]),
    ):
        at = visit("generation", {"step": 2}, size="small", mode=lane[0], prompt=PROMPT, notation=notation)
        (strip,) = [data["strips"][0] for data in sent(at) if "strips" in data]
        assert [chip["note"] for chip in strip["chips"][:4]] == names


def expected(lane, prompt=PROMPT):
    """Every check of the page, answered by an own computation."""
    steps = steps_of(lane, prompt)
    context, typed = CORPUS.context_length, len(steps[0].tokens)
    windows = [min(len(step.tokens), context) for step in steps]
    masked = lane[0] == "teacher forcing"
    fresh = [
        window if at == 0 or len(step.tokens) > context or not masked else 1
        for at, (step, window) in enumerate(zip(steps, windows, strict=True))
    ]
    with torch.no_grad():
        first = lane[1](torch.tensor([steps[0].tokens[-context:]]))[0, -1].double()
    powers = (first.sort(descending=True).values[:3] / 2).exp()
    return {
        "c2-0": "no",
        "c2-1": round((powers[0] / powers.sum()).item(), 2),
        "c5-0": sum(windows),
        "c5-1": sum(fresh),
        "c7-0": context + 1 - (typed if typed <= context else 1),
    }


def hand_in(at, name, answer):
    field = at.selectbox if isinstance(answer, str) else at.number_input
    field(key=f"answer-{name}").set_value(answer)
    at.button(key=f"submit-{name}").click().run()
    assert not at.exception


@pytest.mark.parametrize("prompt", [PROMPT, "", " ".join(["IBM taught me GPT"] * 3)])
def test_every_check_can_be_answered_with_computed_numbers(lane, prompt):
    at, answers = open_page(lane, prompt), expected(lane, prompt)
    for name, answer in answers.items():
        hand_in(at, name, answer)
    verdicts = [text for text in said(at) if text.startswith(("✓", "✗"))]
    assert [text[:7] for text in verdicts] == ["✓ Right"] * len(answers), verdicts


def test_a_wrong_answer_is_told_why(lane):
    at, right, steps = open_page(lane), expected(lane), steps_of(lane)
    cases = [
        ("c2-0", "yes", "keeps their order"),
        ("c2-1", 0.01, "Divide each logit by 2"),
        ("c5-0", len(steps), "is the number of steps"),
        ("c5-0", min(len(steps[-1].tokens), CORPUS.context_length), "in the last step alone"),
        ("c5-0", 1, "Add up the tokens"),
        ("c5-1", 2, "first step reads" if lane[0] == "teacher forcing" else "Nothing can be kept"),
        ("c7-0", right["c7-0"] - 1, "one more"),
        ("c7-0", CORPUS.context_length, "take up room too"),
        ("c7-0", 1, "places are free"),
    ]
    for name, answer, hint in cases:
        hand_in(at, name, answer)
        assert [text for text in said(at) if text.startswith("✗ N") and hint in text], (name, answer)
