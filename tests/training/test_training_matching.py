"""Exact matches are those of a plain loop, one row and one token at a time."""

import math

import pytest
import torch

from decoder import Batch, Decoder, DecoderConfig, load_corpus
from decoder.training.evaluation import prompted_accuracy
from decoder.training.matching import Matches, Tally, exact_matches, has_repeats

CORPUS = load_corpus("reverse")
LETTERS = range(3, 13)


class Perfect(Decoder):
    """Reverses by rule; from the second letter on it takes equal letters for the end, if `confused`."""

    def __init__(self, *, confused):
        super().__init__(DecoderConfig(14, 18, n_layers=1, n_heads=1, d_model=4, causal=False))
        self.confused = confused

    def trace(self, tokens, mask=None, cache=None):
        assert mask is None
        assert cache is None
        logits = torch.zeros(*tokens.shape, 14)
        for row, ids in enumerate(tokens.tolist()):
            if 13 not in ids:
                continue
            middle = ids.index(13)
            wanted = [*ids[1:middle][::-1], 2]
            done = len(ids) - middle - 1
            end = self.confused and done > 0 and len(set(wanted)) < len(wanted)
            logits[row, -1, 2 if end or done >= len(wanted) else wanted[done]] = 1
        found = super().trace(tokens)
        return found._replace(logits=logits)


@pytest.mark.parametrize("confused", [False, True])
def test_rows_are_right_if_every_letter_and_the_end_are(confused):
    batch = CORPUS.validation[:60]
    answers = [targets[keep].tolist() for targets, keep in zip(batch.targets, batch.keep, strict=True)]
    repeated = sum(len(set(answer)) < len(answer) for answer in answers)
    found = exact_matches(Perfect(confused=confused), batch)
    assert found.repeated == (0 if confused else repeated, repeated)
    assert found.different == (60 - repeated, 60 - repeated)
    assert found.all == (60 - repeated * confused, 60)


def test_matches_are_those_of_a_loop_that_generates_row_by_row():
    model = Decoder(DecoderConfig(6, 6, n_layers=1, n_heads=2, d_model=8), seed=2)
    generator = torch.Generator().manual_seed(0)
    sequences = torch.randint(1, 6, (40, 6), generator=generator)
    sequences[:30, 3:] = sequences[:30, 2:3]  # one token over and over: some of these come true by themselves
    batch = Batch.from_sequences(sequences, None, 3)
    right = {True: 0, False: 0}
    for ids in sequences.tolist():
        written = ids[:3]
        while len(written) < 6:
            with torch.no_grad():
                written.append(int(model(torch.tensor([written]))[0, -1].argmax()))
        right[len(set(ids[3:])) < 3] += written == ids
    assert right[True]
    found = exact_matches(model, batch)
    assert (found.repeated.right, found.different.right) == (right[True], right[False])


def test_together_it_is_the_prompted_accuracy_of_the_evaluation():
    model = Perfect(confused=True)
    assert exact_matches(model, CORPUS.validation[:64]).all.share == prompted_accuracy(model, CORPUS)


def test_repeats_are_looked_for_in_what_counts_only():
    sequences = torch.tensor([[1, 5, 5, 3, 4, 0, 0], [1, 5, 6, 7, 8, 7, 0]])
    assert has_repeats(Batch.from_sequences(sequences, 0, 3)).tolist() == [False, True]


def test_shares():
    matches = Matches(Tally(3, 4), Tally(1, 8))
    assert (matches.all, matches.all.share) == ((4, 12), 1 / 3)
    assert math.isnan(Tally(0, 0).share)
