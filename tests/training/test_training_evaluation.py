"""Evaluation: every number recomputed by hand, and judges that cannot be fooled."""

import math
from types import SimpleNamespace

import pytest
import torch

from decoder import Decoder, DecoderConfig, corpus_from_text, evaluate, load_corpus
from decoder.seeds import generator_for
from decoder.training.evaluation import (
    OWN_HISTORIES,
    PROMPTS,
    own_history_loss,
    prompted_accuracy,
    true_history_loss,
    valid_share,
    write_sentences,
)

STORY, IBM, COUNT = (load_corpus(name) for name in ("story", "ibm", "count"))


def decoder_for(corpus, seed=0):
    return Decoder(DecoderConfig(corpus.tokenizer.vocab_size, corpus.context_length, 1, 2, 16), seed=seed)


@torch.no_grad()
def loss_by_hand(model, inputs, batch):
    """Mean surprise of the kept targets, in Python's own arithmetic."""
    total, kept = 0.0, 0
    probabilities = model(inputs).double().softmax(dim=-1).tolist()
    for row, targets, keeps in zip(probabilities, batch.targets.tolist(), batch.keep.tolist(), strict=True):
        for cell, target, keep in zip(row, targets, keeps, strict=True):
            if keep:
                total, kept = total - math.log(cell[target]), kept + 1
    return total / kept


class Scripted:
    """A stand-in whose probabilities after t tokens are row t of a fixed table of logits, (N, V)."""

    def __init__(self, logits):
        self.logits = logits
        self.config = SimpleNamespace(context_length=len(logits), causal=False)
        self.device = torch.device("cpu")

    def trace(self, tokens):
        return SimpleNamespace(logits=self.logits[1 : tokens.shape[1] + 1].expand(len(tokens), -1, -1))


def oracle(corpus, sentence):
    """Put probability 1 on the next token of this sentence, wherever it stands."""
    logits = torch.full((len(sentence), corpus.tokenizer.vocab_size), -torch.inf)
    logits[range(len(sentence)), sentence] = 0.0
    return Scripted(logits)


def whole(batch, row):
    return [*batch.inputs[row, :1].tolist(), *batch.targets[row].tolist()]


@pytest.mark.parametrize("corpus", [STORY, IBM, COUNT], ids=lambda corpus: corpus.name)
def test_the_true_history_loss_is_the_mean_surprise_computed_by_hand(corpus):
    model, batch = decoder_for(corpus), corpus.validation[:12]
    assert true_history_loss(model, batch) == pytest.approx(
        loss_by_hand(model, batch.inputs, batch), abs=1e-5
    )


@pytest.mark.parametrize(
    ("corpus", "prompt"), [(STORY, 1), (IBM, 1), (COUNT, 5)], ids=["story", "ibm", "count"]
)
@pytest.mark.parametrize("start", [None, 7])
@torch.no_grad()
def test_the_own_history_loss_is_that_of_a_greedy_rollout_against_the_true_targets(corpus, prompt, start):
    model, batch = decoder_for(corpus), corpus.validation[:12]
    inputs = batch.inputs[:, : start or prompt]
    while inputs.shape[1] < batch.inputs.shape[1]:
        inputs = torch.cat((inputs, model(inputs)[:, -1:].argmax(dim=-1)), dim=1)
    assert own_history_loss(model, batch, start) == pytest.approx(
        loss_by_hand(model, inputs, batch), abs=1e-5
    )


def test_an_oracle_that_knows_one_sentence_writes_only_valid_ones():
    sentence = whole(STORY.validation, 3)
    assert valid_share(oracle(STORY, sentence), STORY) == 1.0


def test_an_oracle_that_breaks_one_dependency_writes_no_valid_sentence():
    sentence = whole(STORY.validation, 3)
    names = [token for token in range(59) if STORY.tokenizer.tokens[token] in ("Ada", "Grace")]
    place = sentence.index(next(token for token in sentence if STORY.tokenizer.tokens[token] == "named")) + 1
    sentence[place] = next(token for token in names if token != sentence[place])
    assert valid_share(oracle(STORY, sentence), STORY) == 0.0


def test_an_oracle_without_an_end_writes_no_valid_sentence():
    sentence = [*whole(STORY.validation, 3)[:-1], 5]
    assert valid_share(oracle(STORY, sentence), STORY) == 0.0


def test_what_stands_after_the_end_token_is_not_judged():
    row = next(row for row in range(512) if not IBM.validation.keep[row].all())
    sentence = whole(IBM.validation, row)
    sentence = [token if token != IBM.tokenizer.pad else 7 for token in sentence]
    assert valid_share(oracle(IBM, sentence), IBM) == 1.0


def test_a_decoder_that_knows_nothing_writes_no_valid_story():
    assert valid_share(Scripted(torch.zeros(24, 59)), STORY) == 0.0


def test_a_coin_between_a_valid_and_a_broken_sentence_is_valid_half_of_the_time():
    sentence = whole(STORY.validation, 3)
    model = oracle(STORY, sentence)
    last = len(sentence) - 2  # the full stop before the end
    model.logits[last, 5] = 0.0
    assert valid_share(model, STORY, samples=512) == pytest.approx(0.5, abs=0.07)  # 3 standard errors


def test_prompted_accuracy_gives_the_question_and_judges_the_whole():
    sentence = whole(COUNT.validation, 0)
    model = oracle(COUNT, sentence)
    model.logits[model.logits.isneginf()] = -0.5  # hardly less likely: only the greedy choice is certain
    share = prompted_accuracy(model, COUNT)
    same = [whole(COUNT.validation, row) == sentence for row in range(PROMPTS)]
    assert share == sum(same) / PROMPTS
    assert 0 < share < 1


@torch.no_grad()
def test_sentences_are_sampled_column_by_column_from_the_seed_and_judged_by_the_grammar():
    model = oracle(IBM, whole(IBM.validation, 0))
    model.logits[model.logits.isneginf()] = -4.0  # mostly this sentence, with slips that break some of them
    model.logits = torch.cat((model.logits, torch.zeros(1, 35)))
    generator, written = generator_for(5, 0, "sentences"), IBM.validation.inputs[:64, :1]
    while written.shape[1] < 10:
        running = model.trace(written).logits[:, -1].softmax(-1).double().cumsum(-1)
        uniform = torch.rand(64, 1, dtype=torch.float64, generator=generator)
        picked = (running <= uniform * running[:, -1:]).sum(-1, keepdim=True)
        written = torch.cat((written, picked), dim=1)
    expected = [row[: row.index(2) + 1] if 2 in row else row for row in written.tolist()]
    assert write_sentences(model, IBM, 64, seed=5) == expected
    assert write_sentences(model, IBM, 64, seed=6) != expected
    share = sum(map(IBM.valid, expected)) / 64
    assert valid_share(model, IBM, seed=5, samples=64) == share
    assert 0 < share < 1


@pytest.mark.parametrize("corpus", [STORY, COUNT], ids=lambda corpus: corpus.name)
def test_equal_arguments_give_equal_numbers_and_no_weight_changes(corpus):
    model = decoder_for(corpus)
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    first = evaluate(model, corpus, seed=1)
    torch.manual_seed(99)
    second = evaluate(model, corpus, seed=1)
    assert repr(first[:2] + first[3:]) == repr(second[:2] + second[3:])
    assert torch.equal(first.loss_per_position.nan_to_num(-1), second.loss_per_position.nan_to_num(-1))
    assert all(torch.equal(kept[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_evaluate_collects_what_its_parts_measure():
    model = decoder_for(COUNT)
    result = evaluate(model, COUNT, seed=2)
    batch = COUNT.validation
    assert result.true_history_loss == true_history_loss(model, batch)
    assert result.own_history_loss == own_history_loss(model, batch[:OWN_HISTORIES])
    assert result.valid_share == valid_share(model, COUNT, 2)
    assert result.prompted_accuracy == prompted_accuracy(model, COUNT)
    columns = result.loss_per_position
    assert columns.shape == (14,)
    assert columns[:4].isnan().all()
    assert columns[4:].mean().item() == pytest.approx(result.true_history_loss, abs=1e-5)


def test_a_text_has_losses_but_no_shares():
    corpus = corpus_from_text("the cat sat on the mat and the dog sat on the log " * 10, "char", 12)
    model = decoder_for(corpus)
    result = evaluate(model, corpus)
    assert result.valid_share is None
    assert result.prompted_accuracy is None
    assert result.true_history_loss == pytest.approx(math.log(corpus.tokenizer.vocab_size), rel=0.3)
    assert math.isfinite(result.own_history_loss)


def test_a_decoder_with_a_smaller_context_is_evaluated_on_windows():
    model = Decoder(DecoderConfig(22, 8, 1, 2, 16))
    result = evaluate(model, load_corpus("recall"))
    assert result.loss_per_position.shape == (8,)
    assert 0 <= result.valid_share <= 1
