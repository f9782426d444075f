import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from decoder.language import Batch, pad_sequences

PAD = 0


@given(st.integers(1, 5), st.integers(1, 9), st.integers(1, 10))
def test_targets_are_inputs_shifted_by_one_and_prompts_are_not_scored(rows, length, prompt):
    sequences = torch.arange(rows * (length + 1)).reshape(rows, length + 1)
    batch = Batch.from_sequences(sequences, prompt_lengths=prompt)
    assert torch.equal(batch.inputs, sequences[:, :-1])
    assert torch.equal(batch.targets, batch.inputs + 1)
    for t in range(1, length + 1):
        assert bool(batch.keep[:, t - 1].all()) is (t >= prompt)
    assert batch.prompt_lengths.tolist() == [min(prompt, length)] * rows
    assert len(batch) == rows


def test_padding_is_never_scored_and_each_row_has_its_own_prompt():
    sequences = pad_sequences([[1, 5, 6, 7, 2], [1, 5, 2]], PAD)
    batch = Batch.from_sequences(sequences, PAD, torch.tensor([3, 1]))
    assert sequences.tolist() == [[1, 5, 6, 7, 2], [1, 5, 2, 0, 0]]
    assert batch.keep.tolist() == [[False, False, True, True], [True, True, False, False]]
    assert batch.prompt_lengths.tolist() == [3, 1]
    assert batch.prompt_lengths.dtype == torch.int64


def test_a_window_cuts_columns_of_all_rows_or_of_each_row_from_its_own_place():
    batch = Batch.from_sequences(torch.arange(14).reshape(2, 7), prompt_lengths=4)
    same = batch.window(2, 3)
    assert same.inputs.tolist() == [[2, 3, 4], [9, 10, 11]]
    assert same.targets.tolist() == [[3, 4, 5], [10, 11, 12]]
    assert same.keep.tolist() == [[False, True, True]] * 2
    assert batch.window(torch.tensor([0, 3]), 3).inputs.tolist() == [[0, 1, 2], [10, 11, 12]]
    assert torch.equal(batch.to("cpu").inputs, batch.inputs)


@pytest.mark.parametrize(("offset", "length"), [(-1, 2), (5, 2), (0, 7), (0, 0)])
def test_a_window_outside_the_columns_is_refused(offset, length):
    batch = Batch.from_sequences(torch.arange(14).reshape(2, 7))
    with pytest.raises(ValueError, match=f"{length} columns .* 6 columns"):
        batch.window(offset, length)


def test_malformed_sequences_are_refused():
    with pytest.raises(ValueError, match="at least 2 tokens"):
        Batch.from_sequences(torch.zeros(3, 1, dtype=torch.int64))
    with pytest.raises(ValueError, match="give all three the same"):
        Batch(torch.zeros(1, 2), torch.zeros(1, 2), torch.zeros(1, 3))
    with pytest.raises(ValueError, match="2 to 3 tokens"):
        pad_sequences([[1, 2], [1, 2, 3]], None)
    assert pad_sequences([[1, 2], [3, 4]], None).tolist() == [[1, 2], [3, 4]]
