"""The loop: replayable to the bit, the same batches in every mode, and the update recomputed by hand."""

import math
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decoder import DecoderConfig, TextSource, Trainer, TrainingDivergedError, load_corpus, train
from decoder.config import Mode, Schedule, TrainConfig
from decoder.language import GrammarCorpus
from decoder.model.decoder import Decoder
from decoder.seeds import generator_for
from decoder.training.optimizer import learning_rate_at
from decoder.training.trainer import ROLLOUTS, TRUTH_SCHEDULES, truth_at

SMALL = DecoderConfig(35, 9, n_layers=2, n_heads=2, d_model=16)
BASE = TrainConfig("ibm", SMALL, steps=5, batch_size=4, learning_rate=1e-2, seed=3)
WAYS = {
    "teacher_forcing": BASE,
    "free_running greedy": replace(BASE, mode="free_running"),
    "free_running sampled": replace(BASE, mode="free_running", pick="sample"),
    "free_running from 3": replace(BASE, mode="free_running", start=3),
    "scheduled linear": replace(BASE, mode="scheduled_sampling"),
    "scheduled exponential": replace(BASE, mode="scheduled_sampling", schedule="exponential"),
    "parallel": replace(BASE, mode="parallel_scheduled_sampling", schedule="inverse_sigmoid"),
    "no mask": replace(BASE, decoder=replace(SMALL, causal=False)),
    "window": replace(BASE, decoder=replace(SMALL, context_length=5)),
}


def final_weights(config):
    *_, last = train(config)
    return {name: value.clone() for name, value in last.model.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("way", WAYS)
def test_a_run_replays_bit_identically_from_its_seed(way):
    steps = [
        [(s.step, s.loss, s.tokens_seen, *s.loss_per_position.tolist()) for s in train(WAYS[way])]
        for _ in "ab"
    ]
    assert repr(steps[0]) == repr(steps[1])  # as text, where nan equals nan
    assert same(final_weights(WAYS[way]), final_weights(WAYS[way]))
    assert not same(final_weights(WAYS[way]), final_weights(replace(WAYS[way], seed=4)))


def test_the_ways_of_training_differ():
    results = [final_weights(WAYS[way]) for way in WAYS if way not in ("window", "no mask")]
    for index, first in enumerate(results):
        assert not any(same(first, second) for second in results[index + 1 :])


@pytest.mark.parametrize("way", WAYS)
def test_a_training_ignores_the_global_seed_and_every_other_draw(way):
    expected = final_weights(WAYS[way])
    torch.manual_seed(12345)
    np.random.seed(1)  # noqa: NPY002  the global state is the point
    for step in train(WAYS[way]):
        torch.rand(7)
        torch.manual_seed(step.step)
        last = step
    assert same(expected, dict(last.model.state_dict()))


def test_two_trainings_side_by_side_do_not_disturb_each_other():
    first, second = WAYS["free_running sampled"], WAYS["scheduled linear"]
    for _pair in zip(runs := [train(first), train(second)], strict=False):
        pass
    pairs = zip(train(first), train(second), strict=True)
    *_, (one, other) = pairs
    assert same(dict(one.model.state_dict()), final_weights(first))
    assert same(dict(other.model.state_dict()), final_weights(second))
    assert runs


def test_all_modes_share_initial_weights_and_see_identical_batches(monkeypatch):
    seen, original = [], GrammarCorpus.batch

    def recorded(self, *arguments, **options):
        batch = original(self, *arguments, **options)
        seen.append(batch)
        return batch

    monkeypatch.setattr(GrammarCorpus, "batch", recorded)
    corpus = load_corpus("ibm")
    expected = [original(corpus, 4, generator_for(3, step, "batch")) for step in range(1, 4)]
    initial, firsts = Decoder(SMALL, seed=3).state_dict(), []
    for mode in get_args(Mode):
        seen.clear()
        trainer = Trainer(replace(BASE, mode=mode))
        assert same(dict(trainer.model.state_dict()), dict(initial))
        steps = [trainer.advance() for _ in range(3)]
        for batch, wanted in zip(seen, expected, strict=True):
            assert torch.equal(batch.inputs, wanted.inputs)
            assert torch.equal(batch.targets, wanted.targets)
            assert torch.equal(batch.keep, wanted.keep)
        firsts.append(steps[0].loss_per_position[0].item())
    assert firsts == pytest.approx([firsts[0]] * len(firsts), abs=1e-6)


def test_every_mode_has_a_rollout_and_every_schedule_a_formula():
    assert set(ROLLOUTS) == set(get_args(Mode))
    assert set(TRUTH_SCHEDULES) == set(get_args(Schedule))


def test_steps_count_from_one_and_tokens_are_the_targets_that_counted():
    corpus, tokens = load_corpus("ibm"), 0
    steps = list(train(BASE))
    assert [step.step for step in steps] == [1, 2, 3, 4, 5]
    for step in steps:
        tokens += int((corpus.batch(4, generator_for(3, step.step, "batch")).targets != 0).sum())
        assert step.tokens_seen == tokens
    seconds = [step.seconds for step in steps]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0


def test_the_reported_loss_is_that_of_the_batch_before_the_update():
    trainer = Trainer(BASE)
    batch = load_corpus("ibm").batch(4, generator_for(3, 1, "batch"))
    with torch.no_grad():
        log_p = trainer.model(batch.inputs).log_softmax(-1).gather(-1, batch.targets[..., None])[..., 0]
    assert trainer.advance().loss == pytest.approx(-log_p[batch.keep].mean().item(), abs=1e-6)


def test_one_update_is_adamw_with_a_clipped_gradient_written_out():
    config = replace(BASE, steps=1)  # the rate of the only step is the peak
    trainer = Trainer(config)
    before = {name: p.detach().double().clone() for name, p in trainer.model.named_parameters()}
    batch = load_corpus("ibm").batch(4, generator_for(3, 1, "batch"))
    log_p = trainer.model(batch.inputs).log_softmax(-1).gather(-1, batch.targets[..., None])[..., 0]
    loss = -log_p[batch.keep].mean()
    gradients = torch.autograd.grad(loss, list(trainer.model.parameters()))
    norm = math.sqrt(sum((gradient.double() ** 2).sum().item() for gradient in gradients))
    trainer.advance()
    after = dict(trainer.model.named_parameters())
    for (name, weight), gradient in zip(before.items(), gradients, strict=True):
        clipped = gradient.double() / max(1.0, norm)
        # First step: both running means, corrected for their bias, are the gradient and its square.
        expected = weight * (1 - 1e-2 * 0.01) - 1e-2 * clipped / (clipped.abs() + 1e-8)
        clear = clipped.abs() > 1e-6  # elsewhere the sign is a matter of rounding
        torch.testing.assert_close(after[name].detach().double()[clear], expected[clear], atol=1e-4, rtol=0)
    assert norm > 0


def test_the_optimisers_constants_are_those_of_every_published_number():
    group = Trainer(BASE).optimizer.param_groups[0]
    assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.9, 0.98), 1e-8, 0.01)


@pytest.mark.parametrize(("scale", "clipped"), [(0.1, False), (30, True)])
def test_a_gradient_longer_than_one_is_shortened_to_one_and_a_shorter_one_is_left_alone(scale, clipped):
    trainer = Trainer(BASE)
    with torch.no_grad():
        trainer.model.output.weight.mul_(scale)
        trainer.model.token_table.weight.mul_(10)
    batch = load_corpus("ibm").batch(4, generator_for(3, 1, "batch"))
    log_p = trainer.model(batch.inputs).log_softmax(-1).gather(-1, batch.targets[..., None])[..., 0]
    gradients = torch.autograd.grad(-log_p[batch.keep].mean(), list(trainer.model.parameters()))
    norm = math.sqrt(sum((gradient.double() ** 2).sum().item() for gradient in gradients))
    assert (norm > 1) is clipped
    trainer.advance()
    for parameter, gradient in zip(trainer.model.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient / max(1, norm), atol=1e-6, rtol=1e-3)


def test_the_optimiser_uses_the_scheduled_rate():
    trainer = Trainer(replace(BASE, steps=40))
    for step in range(1, 41):
        trainer.advance()
        assert trainer.optimizer.param_groups[0]["lr"] == learning_rate_at(step, trainer.config)


def test_the_rate_rises_over_the_warm_up_and_falls_to_a_tenth_at_the_last_planned_step():
    config = TrainConfig("ibm", SMALL, steps=200, learning_rate=6e-3)
    rates = [learning_rate_at(step, config) for step in range(1, 201)]
    assert rates[0] == pytest.approx(6e-3 / 20)
    assert rates[:20] == sorted(rates[:20])
    assert rates[19] == max(rates) == 6e-3
    assert rates[19:] == sorted(rates[19:], reverse=True)
    assert rates[109] == pytest.approx(6e-3 * 0.55)  # half way between the peak and its tenth
    assert rates[199] == pytest.approx(6e-4)


@settings(deadline=None)
@given(steps=st.integers(1, 3000), peak=st.floats(1e-6, 10))
def test_the_rate_is_positive_at_every_planned_step_and_never_above_its_peak(steps, peak):
    config = TrainConfig("ibm", SMALL, steps=steps, learning_rate=peak)
    for step in {1, 2, 19, 20, 21, steps // 2 + 1, steps}:
        if step <= steps:
            assert 0 < learning_rate_at(step, config) <= peak * (1 + 1e-12)
    if steps > 20:
        assert learning_rate_at(steps, config) == pytest.approx(peak / 10)


@pytest.mark.parametrize(
    ("schedule", "half", "end"),
    [
        ("linear", 0.5, 0.0),
        ("exponential", math.sqrt(0.02), 0.02),
        ("inverse_sigmoid", 12 / (12 + math.exp(100 / 24)), 12 / (12 + math.exp(100 / 12))),
    ],
)
def test_truth_schedules_begin_with_the_truth_and_fall_without_a_rise(schedule, half, end):
    values = [truth_at(progress / 100, schedule) for progress in range(101)]
    assert values[0] == pytest.approx(12 / 13 if schedule == "inverse_sigmoid" else 1)
    assert values[50] == pytest.approx(half)
    assert values[100] == pytest.approx(end)
    assert values == sorted(values, reverse=True)
    assert all(0 <= value <= 1 for value in values)


def test_scheduled_sampling_is_teacher_forcing_at_its_first_linear_step():
    first = [next(iter(train(WAYS[way]))).loss for way in ("teacher_forcing", "scheduled linear")]
    assert first[0] == first[1]


@pytest.mark.parametrize("way", WAYS)
def test_an_absurd_learning_rate_ends_in_one_sentence_and_leaves_the_weights_alone(way):
    trainer = Trainer(replace(WAYS[way], learning_rate=1e20, steps=60))
    with pytest.raises(TrainingDivergedError, match=r"the loss became (nan|inf) at step \d+.*below 1e\+20"):
        while trainer.step < 60:
            before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
            trainer.advance()
    made = trainer.step
    after = trainer.model.state_dict()
    assert all(torch.equal(before[name].isnan(), after[name].isnan()) for name in before)
    assert all(torch.equal(before[name].nan_to_num(), after[name].nan_to_num()) for name in before)
    with pytest.raises(TrainingDivergedError):
        trainer.advance()
    assert trainer.step == made


def test_weights_that_the_last_update_spoils_are_no_result():
    spoiled = replace(BASE, learning_rate=1e308, steps=1)
    with pytest.raises(
        TrainingDivergedError, match=r"weights are no longer finite after step 1.*below 1e\+308"
    ):
        list(train(spoiled))


@pytest.mark.parametrize("rate", [0, -1e-3, math.nan, math.inf, -math.inf])
def test_a_learning_rate_that_is_no_positive_number_is_refused(rate):
    with pytest.raises(ValueError, match="learning rate"):
        replace(BASE, learning_rate=rate)


@pytest.mark.parametrize("vocab_size", [34, 36, 59])
def test_a_decoder_with_another_vocabulary_is_refused_with_both_numbers(vocab_size):
    with pytest.raises(ValueError, match=rf"{vocab_size} tokens.*35.*vocab_size=35"):
        Trainer(replace(BASE, decoder=replace(SMALL, vocab_size=vocab_size)))


def test_an_unknown_corpus_is_refused_by_name():
    with pytest.raises(ValueError, match="nowhere"):
        next(iter(train(replace(BASE, corpus="nowhere"))))


def test_a_context_larger_than_the_corpus_needs_is_no_error():
    config = replace(BASE, decoder=replace(SMALL, context_length=20), steps=1)
    assert math.isfinite(next(iter(train(config))).loss)


@pytest.mark.parametrize("mode", get_args(Mode))
def test_a_pasted_text_can_be_trained_on_in_every_mode(mode):
    source = TextSource("the cat sat on the mat and the dog sat on the log " * 8, level="char")
    characters = len(set(source.text))
    config = TrainConfig(source, DecoderConfig(characters, 10, 1, 2, 8), mode=mode, steps=2, batch_size=2)
    assert all(math.isfinite(step.loss) for step in train(config))


def test_nothing_is_computed_before_the_first_step_is_asked_for():
    training = train(replace(BASE, corpus="nowhere"))  # would be refused if it began
    training.close()


@pytest.mark.parametrize("purpose", ["batch", "weights", "picks"])
def test_streams_of_randomness_depend_on_seed_step_and_purpose_and_on_nothing_else(purpose):
    def numbers(*arguments):
        return torch.rand(8, generator=generator_for(*arguments)).tolist()

    expected = numbers(1, 2, purpose)
    torch.manual_seed(0)
    assert numbers(1, 2, purpose) == expected
    assert expected not in (numbers(1, 3, purpose), numbers(2, 2, purpose), numbers(12, 2, purpose))
    assert expected != numbers(1, 2, purpose + "2")
