"""Start and training without a browser: tables, sentences and checks are recomputed from the store and its decoders."""

import json
import math

import pytest
import torch
from reading_pages import terms_offered
from short_trainings import STEPS, train, visit

from decoder import free_running, load_corpus, teacher_forced
from decoder.training.presets import preset

CORPUS = load_corpus("ibm")
TOKENS = CORPUS.tokenizer.tokens
MODES = ("teacher_forcing", "free_running")
TABLES = ("lanes_losses", "lanes_shares", "scores", "histories", "position_losses")
HAT = "\u0302"


@pytest.fixture(scope="module", autouse=True)
def runs(store):
    """Both lanes, trained."""
    configs = [preset("ibm", mode=mode, size="small") for mode in MODES]
    train(store, *configs)
    return [store.request(config) for config in configs]


@pytest.fixture
def model(store, runs):
    return store.model(runs[0])[0]


def open_training(*tables, **query):
    at = visit("training", {f"{name} numbers": True for name in tables}, size="small", **query)
    assert not at.exception
    return at


def sheets(at):
    """The open tables: title -> (columns, rows of texts)."""
    sent = [json.loads(component.proto.json) for component in at.get("bidi_component")]
    return {data["title"]: (data["columns"], data["rows"]) for data in sent if "columns" in data}


def said(at):
    return [text.value for text in at.text]


def close(text, value):
    return math.isclose(float(text.replace("−", "-")), value, rel_tol=6e-4, abs_tol=1e-9)


def test_no_table_is_made_before_somebody_asks():
    assert not sheets(open_training())
    assert len(sheets(open_training(*TABLES))) == len(TABLES)


def test_the_tables_of_the_curves_are_what_the_store_has(store, runs):
    found = sheets(open_training("lanes_losses", "lanes_shares", axis="seconds"))
    columns, rows = found["losses, nats per token"]
    names = ["teacher forcing", "free running"]
    assert columns == [
        "update",
        *(f"{what}, {name}" for name in names for what in ("seconds", "batches", "true history")),
    ]
    assert [row[0] for row in rows] == [str(step) for step in range(STEPS + 1)]
    for at, run in enumerate(runs):
        updates, tests = store.metrics(run), store.evaluations(run)
        for update in updates:
            seconds, loss = rows[update.step][1 + 3 * at : 3 + 3 * at]
            assert close(seconds, update.seconds)
            assert close(loss, update.loss)
        measured = {int(row[0]): row[3 + 3 * at] for row in rows if row[3 + 3 * at]}
        assert list(measured) == [test.step for test in tests]
        assert all(close(measured[test.step], test.true_history_loss) for test in tests)
    _, rows = found["share of valid sentences"]
    for at, run in enumerate(runs):
        shares = [row[2 + 2 * at] for row in rows]
        assert [
            close(text, row.valid_share) for text, row in zip(shares, store.evaluations(run), strict=True)
        ]


def test_the_lanes_in_numbers_can_be_taken_away(store, runs):
    ((columns, rows),) = sheets(open_training("scores")).values()
    assert columns == ["lane", "updates", "loss in its own mode", "loss, true history", "valid sentences"]
    for row, run in zip(rows, runs, strict=True):
        test, update = store.evaluations(run)[-1], store.metrics(run)[-1]
        assert row[1] == str(STEPS)
        expected = (update.loss, test.true_history_loss, test.valid_share)
        assert all(close(text, value) for text, value in zip(row[2:], expected, strict=True))


@pytest.mark.parametrize("notation", ["symbols ω x h z", "plain names"])
def test_what_the_lanes_are_fed_is_said_counted_and_tabled(store, runs, notation):
    at = open_training("histories", held_out=3, notation=notation)
    row = CORPUS.validation[2:3]
    length = int(row.keep.sum())
    truth = row.inputs[0, :length]
    fed = free_running(store.model(runs[1])[0], row).inputs[0, :length]
    ((_, rows),) = sheets(at).values()
    assert [cells[1:] for cells in rows] == [
        [TOKENS[target], TOKENS[true], TOKENS[own]]
        for target, true, own in zip(row.targets[0, :length], truth, fed, strict=True)
    ]
    wrong = (fed != truth).nonzero().flatten().tolist()
    (sentence,) = [text for text in said(at) if text.startswith("What teacher forcing is fed")]
    assert f"is the truth at all {length} positions" in sentence
    assert f"not the truth at {len(wrong)} of the {length - 1} positions" in sentence
    assert f"first at t = {wrong[0]};" in sentence
    sent = [json.loads(component.proto.json) for component in at.get("bidi_component")]
    (strips,) = [data["strips"] for data in sent if "strips" in data]
    notes = [chip["note"] for chip in strips[2]["chips"][:2]]
    names = ["embedding 0", "predicted embedding 1"] if notation == "plain names" else ["x₀", f"x{HAT}₁"]
    assert notes == names


def test_the_losses_by_position_are_those_that_were_measured(store, runs):
    at = open_training("position_losses")
    ((columns, rows),) = sheets(at).values()
    assert columns == ["position", "token", "teacher forcing", "free running", "floor", "plateau"]
    losses = [store.evaluations(run)[-1].loss_per_position for run in runs]
    floor = CORPUS.entropies()
    for place, row in enumerate(rows):
        expected = (*(lane[place] for lane in losses), floor[place])
        assert all(
            text == "" if value is None else close(text, value)
            for text, value in zip(row[2:5], expected, strict=True)
        )
    (sentence,) = [text for text in said(at) if "is surprised most at position" in text]
    known = [at for at, loss in enumerate(losses[0]) if loss is not None]
    most = max(known, key=losses[0].__getitem__)
    assert f"teacher forcing is surprised most at position {most + 1} " in sentence
    assert f"by {losses[0][most]:.4g} nats on average; at least {floor[most]:.4g} are" in sentence


def answers(model):
    """Every check of the page, answered by an own computation over the first sentence."""
    with torch.no_grad():
        batch = CORPUS.validation[:50]
        row = batch[:1]
        length = int(row.keep.sum())
        shares = teacher_forced(model, row).logits[0, :length].double().softmax(dim=-1)
        targets = row.targets[0, :length]
        losses = -shares[torch.arange(length), targets].log()
        fed = free_running(model, batch).inputs
    wrong = [
        (at, time)
        for at in range(50)
        for time in range(1, int(batch.keep[at].sum()))
        if fed[at, time] != batch.inputs[at, time]
    ]
    at, time = wrong[0]
    right = (shares.argmax(dim=-1) == targets).any()
    found = {
        "c21-0": TOKENS[fed[at, time]],
        "c22-0": TOKENS[batch.inputs[at, time]],
        "c22-1": "they are exactly equal",
        "c19-0": round(losses.max().item(), 2),
    }
    return found | ({"c19-1": "no, more than 0"} if right else {})


def hand_in(at, name, answer):
    field = at.selectbox if isinstance(answer, str) else at.number_input
    field(key=f"answer-{name}").set_value(answer)
    at.button(key=f"submit-{name}").click().run()
    assert not at.exception


def test_every_check_can_be_answered_with_computed_numbers(model):
    at, expected = open_training(), answers(model)
    for name, answer in expected.items():
        hand_in(at, name, answer)
    assert [text[:7] for text in said(at) if text.startswith(("✓ Right", "✗ Not"))] == ["✓ Right"] * len(
        expected
    )


def test_a_wrong_answer_is_told_why(model):
    at, right = open_training(), answers(model)
    cases = [
        ("c21-0", right["c22-0"], "fed what it predicted itself"),
        ("c22-0", right["c21-0"], "fed the truth, whatever it predicted"),
        ("c22-1", "they differ", "before anything has been predicted"),
        ("c19-0", round(math.exp(-right["c19-0"]), 2), "cost is −ln of that"),
        ("c19-0", round(right["c19-0"] / math.log(10), 2), "base 10; nats are natural"),
        ("c19-0", 9.0, "The cost is −ln p"),
    ]
    for name, answer, hint in cases:
        hand_in(at, name, answer)
        assert [text for text in said(at) if text.startswith("✗ N") and hint in text], (name, said(at))


def test_an_even_guess_costs_the_logarithm_of_the_vocabulary(store, runs):
    at = visit(size="small", state={"start_losses numbers": True})
    assert len(sheets(at)) == 1
    for answer, hint in (
        (0.03, "1 / 35 is the probability"),
        (1.54, "base 10"),
        (5.13, "base 2"),
        (9, "what is −ln of that"),
    ):
        hand_in(at, "c19-start-0", answer)
        assert [text for text in said(at) if text.startswith("✗ N") and hint in text], answer
    hand_in(at, "c19-start-0", round(math.log(35), 2))
    (verdict,) = [text for text in said(at) if text.startswith("✓ R")]
    assert f"began at {store.evaluations(runs[0])[0].true_history_loss:.4g}" in verdict


@pytest.mark.parametrize("page", ["start", "training", "generation"])
def test_the_words_of_the_pages_open_in_place(page):
    at = visit(page, size="small")
    assert len(terms_offered(at)) >= 9
