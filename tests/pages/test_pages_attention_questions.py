"""Questions about attention: right is what was computed, and wrong answers get the reason that fits them."""

import re

import pytest
import torch

from decoder import Decoder, DecoderConfig
from decoder.model.mixing import Mixture, mix_values
from pages.ui import attention_questions as questions

TOKENS = torch.tensor([[1, 5, 3, 2]])


def traced(*, causal=True):
    with torch.no_grad():
        return Decoder(DecoderConfig(13, 7, d_model=24, n_heads=4, causal=causal), seed=1).trace(TOKENS)


def test_h_has_a_row_per_position():
    question = questions.what_shape(traced())
    assert question.right == "4 × 24"
    assert "z" not in question.reason.split()
    assert "shape of the logits" in question.wrong("4 × 13")
    assert "rows are the positions" in question.wrong("24 × 4")
    assert sorted(question.options) == ["24 × 4", "4 × 13", "4 × 24", "4 × 4"]


def test_z_has_a_number_per_position_and_token():
    question = questions.how_many_numbers(traced())
    assert question.is_right(5 * 13), "of a sentence with one token more than the page shows"
    assert "120 is what the contextual embeddings have" in question.wrong(5 * 24)
    assert "V = 13" in question.wrong(7)


def test_in_plain_names_sizes_are_words(monkeypatch):
    monkeypatch.setattr(questions.notation, "chosen", lambda: "names")
    for question, given in (
        (questions.what_shape(traced()), "24 × 4"),
        (questions.how_many_numbers(traced()), 5 * 24),
        (questions.how_many_numbers(traced()), 7),
    ):
        said = " ".join([question.text, question.reason, question.wrong(given)])
        assert not re.search(r"\b[TdV]\b", said), said
    assert questions.what_shape(traced()).text.startswith(
        "4 positions, a width of 24 and 13 tokens in the vocabulary: which shape have the contextual embeddings, "
    )
    assert "5 tokens, with a width of 24 and 13" in question.text
    assert "number per token of the vocabulary, 13." in question.wrong(7)


def test_the_loss_reads_what_its_function_is_given():
    question = questions.what_the_loss_reads()
    assert question.right == "z, the logits"
    assert question.right in question.options
    assert "never sees them" in question.wrong("h, the contextual embeddings")


def test_three_values_are_added_up_by_their_weights():
    question = questions.what_is_the_sum()
    assert question.is_right(0.5 * 2 + 0.3 * 0 + 0.2 * 10)
    assert "mean of the values" in question.wrong(4.0)
    assert "largest weight alone" in question.wrong(2.0)
    assert "0.5 · 2 + 0.3 · 0 + 0.2 · 10" in question.wrong(12.0)


def test_row_0_gives_back_the_first_value_only_under_a_mask():
    question = questions.what_is_row_0(mix_values(traced().blocks[0], 1, 0))
    assert question.right == "exactly the first value, v₀"
    assert "nothing else is open" in question.reason
    question = questions.what_is_row_0(mix_values(traced(causal=False).blocks[0], 1, 0))
    assert question.right == questions.OTHER
    assert "no mask" in question.reason
    values = torch.tensor([[1.0], [3.0]])
    mean = Mixture(torch.tensor([0.5, 0.5]), values, values / 2, torch.tensor([2.0]), 0.0)
    assert questions.what_is_row_0(mean).right == questions.MEAN


@pytest.mark.parametrize(("greatest", "right"), [(0.0, "exactly 0"), (1e-12, "more than 0")])
def test_later_tokens_get_what_was_measured(greatest, right):
    question = questions.what_do_later_tokens_get(greatest)
    assert question.right == right
    assert question.right in question.options
    assert ("−∞" in question.wrong("")) == (greatest == 0)
