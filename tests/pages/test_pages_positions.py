"""Three decoders that differ in their positions only, without a browser: over trainings of a few updates."""

import re

import pytest
from reading_pages import pictures_and_numbers, recorded, terms_in, terms_offered, words_of
from short_trainings import STEPS, train, visit

from decoder import load_corpus
from decoder.training.matching import exact_matches
from decoder.training.presets import preset

KINDS = ("learned", "sinusoidal", "none")


def test_the_comparison_has_its_numbers_its_words_and_one_measurement_of_exact_matches(store, monkeypatch):
    configs = [preset("reverse", positions=kind) for kind in KINDS]
    tables = recorded(monkeypatch)
    before = visit("embeddings", compare_positions="true")  # nobody trains them: they wait
    assert not before.exception
    assert not [key for kind, key in pictures_and_numbers(before) if "losses" in key and kind == "picture"]

    train(store, preset("ibm"), *configs)
    at = visit("embeddings", compare_positions="true")
    assert not at.exception
    shown = pictures_and_numbers(at)
    first = shown.index(("picture", "losses_learned"))
    assert shown[first:] == [
        *((part, f"losses_{kind}") for kind in KINDS for part in ("picture", "numbers")),
        ("numbers", "kinds"),
        *((part, f"table_{kind}") for kind in KINDS for part in ("picture", "numbers")),
    ]
    assert terms_in(words_of(at)) - terms_offered(at) == set()  # those of the strip on top among them

    runs, batch = [store.request(config) for config in configs], load_corpus("reverse").validation
    for kind, run, row in zip(KINDS, runs, tables["kinds"][0].rows, strict=True):
        tests, updates = store.evaluations(run), store.metrics(run)
        model = store.model(run)[0]
        found = exact_matches(model, batch)
        assert row == [
            kind, STEPS, tests[-1].true_history_loss, *found.all, *found.different, *found.repeated, tests[-1].valid_share
        ]  # fmt: skip
        losses, measured = ({row.step: row for row in rows} for rows in (updates, tests))
        assert tables[f"losses_{kind}"][0].rows == [
            [
                step,
                losses[step].loss if step in losses else None,
                measured[step].true_history_loss if step in measured else None,
            ]
            for step in range(STEPS + 1)
        ]
        assert [row[1:] for row in tables[f"table_{kind}"][0].rows] == [
            pytest.approx(places) for places in model.position_table.tolist()
        ]
    lines = [text.value for text in at.text if "exact match" in text.value]
    assert len(lines) == 3
    shares = [re.search(r"exact match (.*?) of (\d+) prompts", line).groups() for line in lines]
    (said,) = [text.value for text in at.text if text.value.startswith("Measured on")]
    assert (
        {prompts for _, prompts in shares} == {str(len(batch))} == {re.search(r"on (\d+) prompts", said)[1]}
    )
    assert [share for share, _ in shares] == re.findall(r"([<>0-9.]+ ?[0-9.]* %) with", said)
