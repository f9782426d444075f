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
    assert "The first one, “<s>”, is only an input here; the last one, “</s>”, is only a target." in said
    assert "1.25 nats" in said


def test_equal_tokens_at_both_ends_are_told_apart_by_their_places():
    said = words.shift_sentence(["IBM", "taught", "IBM"], 1.25)
    assert "The first one, “IBM”, is only an input here; the last one, “IBM”, is only a target." in said


def test_a_low_loss_without_a_mask_is_no_merit():
    assert "no mask" not in words.shift_sentence(TOKENS, 1.25)
    assert "a low loss is no sign that it can predict" in words.shift_sentence(TOKENS, 0.01, causal=False)
    assert "no mask" not in words.shift_sentence(
        ["IBM", "GPT"], 1.25, causal=False
    )  # its one target is no input


def test_the_start_token_makes_the_first_word_a_target():
    said = words.start_sentence("IBM", words.First("word", 0.2))
    assert (
        said
        == "Thanks to <s> the first word “IBM” is a target as well. From <s> alone the decoder gives it 20 %."
    )
    unmasked = words.start_sentence("IBM", words.First("word", 0.00029, 0.9995))
    assert "From <s> alone the decoder gives it 0.03 %." in unmasked
    assert "In the table above “IBM” gets 99.95 %, because without a mask it is read there." in unmasked
    given = words.start_sentence("c", words.First("letter", 0.2, is_prompt=True))
    assert (
        "the first letter “c” is a target on this page as well; in training it belongs to the prompt" in given
    )
    assert "never scored" in given


def test_without_the_start_token_the_first_word_is_never_predicted():
    said = words.no_start_sentence("IBM", "word", is_prompt=False, always_fed=True)
    assert "“IBM” is never predicted, so nothing is learned about how a sentence begins." in said
    assert "has always been fed <s>" in said
    said = words.no_start_sentence("5", "number", is_prompt=True, always_fed=False)
    assert "the first number “5” is never predicted; here training does not score it anyway" in said
    assert "always" not in said


@pytest.mark.parametrize(("last", "stops"), [(0.5, True), (0.1, True), (0.011, False)])
def test_a_decoder_is_said_to_stop_only_where_it_is_likely_to(last, stops):
    said = words.end_sentence("GPT", last)
    assert f"after “GPT” the decoder gives it {words.percent(last)}." in said
    assert ("That is how it comes to stop" in said, "hardly ever stop here" in said) == (stops, not stops)
    assert "no reason ever to stop" in words.end_sentence("GPT", None)


def test_what_a_prediction_may_read_is_what_stands_before_it():
    assert words.target_sentence(TOKENS, 3) == (
        "“me” is the target at position t = 2, where “taught” is the input. Its prediction may read 3 inputs: <s> IBM taught."
    )
    assert "never a target" in words.target_sentence(TOKENS, 0)
    assert "12 inputs: … " in words.target_sentence([*TOKENS, *TOKENS, "end"], 12)


def test_without_a_mask_a_prediction_reads_all_inputs():
    said = words.target_sentence(TOKENS, 1, causal=False)
    assert said.endswith(
        "This decoder has no mask: its prediction reads all 5 inputs, the target among them."
    )
    assert words.target_sentence(TOKENS, 5, causal=False).endswith("only this last target is not among them.")
    assert "may read 1 input: IBM." in words.target_sentence(["IBM", "GPT"], 1, causal=False)


def test_what_is_counted_is_called_what_it_is():
    assert words.counted_kinds(1, ["word"]) == "1 word"
    assert words.counted_kinds(14, ["word", "letter"]) == "14 words and letters"


def test_a_loss_is_spelled_out_from_its_logit():
    spelled = target_arithmetic(torch.tensor([2.0, 1.0, -0.5]), 2)
    total = math.log(math.exp(2) + math.exp(1) + math.exp(-0.5))
    assert words.loss_arithmetic(spelled, "me", "z₃", 3).splitlines() == [
        "−ln p(me) = ln Σ e^z₃ − z₃[me]",
        f"= {total:.3f} − (−0.500)",
        f"= {total + 0.5:.4g} nats",
        f"p(me) = e^−{total + 0.5:.4g} = {100 * math.exp(-total - 0.5):.1f} %, rank 3 of 3",
    ]


def test_a_loss_can_be_spelled_out_in_plain_names():
    spelled = target_arithmetic(torch.tensor([2.0, 1.0, -0.5]), 2)
    lines = words.loss_arithmetic(spelled, "me", "logit", 3, probability="probability").splitlines()
    assert lines[0] == "−ln probability(me) = ln Σ e^logit − logit[me]"
    assert lines[3].startswith("probability(me) = e^−")


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


def test_without_a_mask_pads_are_read_though_they_do_not_count():
    found = reading([[1, 5, 2, 0, 0], [1, 4, 3, 5, 2]])
    assert "the pads are read all the same" in words.padding_sentence(
        found, counted_in=False, pads_exist=True, causal=False
    )
    assert "mask" not in words.padding_sentence(found, counted_in=True, pads_exist=True)


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
