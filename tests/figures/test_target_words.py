"""Sentences of the page of tokens and targets: every number in them is one that was given."""

import math

import pytest
import torch

from decoder import Batch, Decoder, DecoderConfig
from decoder.figures import target_words as words
from decoder.training.reading import read, target_arithmetic

TOKENS = ["<s>", "IBM", "taught", "me", "GPT", "</s>"]


ORDINALS = {
    1: "1st",
    2: "2nd",
    3: "3rd",
    4: "4th",
    11: "11th",
    12: "12th",
    13: "13th",
    21: "21st",
    112: "112th",
}


@pytest.mark.parametrize(("count", "text"), ORDINALS.items())
def test_ordinals(count, text):
    assert words.ordinal(count) == text


def test_a_loss_in_a_picture_has_three_decimals_and_is_never_a_false_zero():
    assert [words.nats(loss) for loss in (0.0, 1e-9, 0.0004, 0.0005, 1.2346)] == [
        "0.000", "< 0.001", "< 0.001", "0.001", "1.235"
    ]  # fmt: skip


def test_a_token_is_named_with_place_and_id():
    assert words.token_sentence(TOKENS, [1, 3, 8, 11, 15, 2], 3, 35) == (
        "The 4th of 6 tokens is “me”, id 11 in the vocabulary (0 to 34). Time counts from 0, so it stands "
        "at t = 3."
    )


def test_the_shift_counts_targets_and_names_both_ends():
    said = words.shift_sentence(TOKENS, 1.25)
    assert "6 tokens make 5 targets" in said
    assert "“<s>” is only an input, “</s>” is only a target" in said
    assert "1.25 nats" in said


@pytest.mark.parametrize("start", [True, False])
@pytest.mark.parametrize("end", [True, False])
def test_the_edges_are_said_as_they_are(start, end):
    said = words.edges_sentence(["IBM", "GPT"], start=start, end=end, first=0.2, last=0.5)
    assert ("20 %" in said, "never predicted" in said) == (start, not start)
    assert ("50 %" in said, "no reason ever to stop" in said) == (end, not end)


def test_what_a_prediction_may_read_is_what_stands_before_it():
    assert "may read 3 inputs: <s> IBM taught." in words.target_sentence(TOKENS, 3)
    assert "never a target" in words.target_sentence(TOKENS, 0)
    assert "12 inputs: … " in words.target_sentence([*TOKENS, *TOKENS, "end"], 12)


def test_a_loss_is_spelled_out_from_its_logit():
    spelled = target_arithmetic(torch.tensor([2.0, 1.0, -0.5]), 2)
    total = math.log(math.exp(2) + math.exp(1) + math.exp(-0.5))
    assert words.loss_arithmetic(spelled, "me", "z₃", 3).splitlines() == [
        "−ln p(me) = ln Σ e^z₃ − z₃[me]",
        f"= {total:.3f} − (−0.500)",
        f"= {total + 0.5:.4g} nats",
        f"p(me) = e^−{total + 0.5:.4g} = {100 * math.exp(-total - 0.5):.1f} %, rank 3 of 3",
    ]


def test_a_small_loss_can_be_recomputed_from_the_numbers_shown():
    spelled = target_arithmetic(torch.tensor([12.0, 2.0, 1.0]), 0)
    (_, difference, loss, _) = words.loss_arithmetic(spelled, "a", "z₁", 3).splitlines()
    total, logit = map(float, difference.strip("= ").split(" − "))
    exact = math.log1p(math.exp(-10) + math.exp(-11))
    assert total - logit == pytest.approx(exact, rel=2e-3)
    assert float(loss.split()[1].split("·")[0]) * 1e-5 == pytest.approx(exact, rel=1e-2)


def reading(rows):
    model = Decoder(DecoderConfig(vocab_size=7, context_length=5, n_layers=1, n_heads=2, d_model=16), seed=1)
    return read(model, Batch.from_sequences(torch.tensor(rows), 0))


def test_padding_is_counted_and_its_effect_is_said_only_when_it_is_counted():
    found = reading([[1, 5, 2, 0, 0], [1, 4, 3, 5, 2]])
    for counted_in in (True, False):
        said = words.padding_sentence(found, counted_in=counted_in, pads_exist=True)
        assert "2 of the 8 targets are padding" in said
        assert f"the 6 real ones cost {found.losses.sum().item():.4g} nats" in said
        assert f"{found.losses.sum().item() / 6:.4g} each" in said
        assert (f"{found.losses.sum().item() / 8:.4g}, and no" in said) == counted_in
        assert (f"{found.pad_losses.mean().item():.4g} nats for each" in said) == counted_in


def test_a_batch_without_padding_says_so():
    found = reading([[1, 5, 2], [1, 4, 2]])
    assert "All 4 targets are real" in words.padding_sentence(found, counted_in=True, pads_exist=True)
    assert "no padding token" in words.padding_sentence(found, counted_in=False, pads_exist=False)


@pytest.mark.parametrize(
    ("role", "loss", "end"),
    [
        ("target", 1.5, "As a target it costs 1.5 nats."),
        ("padding", None, "It only fills the row."),
        ("input only", None, "It is an input only."),
    ],
)
def test_a_cell_says_its_place_and_its_role(role, loss, end):
    said = words.cell_sentence("ω⁽²⁾₃", "me", 11, 1, 3, role, loss)
    assert said == f"ω⁽²⁾₃ is “me”, id 11: row 2, 4th cell, because t starts at 0. {end}"


def test_an_exact_zero_is_called_exact_and_a_small_number_is_not():
    assert "exactly 0 in row 1" in words.change_sentence([0.0, 2.5, 0.0], 1, 0)
    assert "2.5 in row 2" in words.change_sentence([0.0, 2.5, 0.0], 1, 0)
    assert "exactly" not in words.change_sentence([1e-7, 2.5, 1e-7], 1, 0)
    assert "choose another one" in words.change_sentence([0.0, 0.0], 1, 0)
