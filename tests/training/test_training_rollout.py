"""What each mode feeds the decoder (G4, G6), checked by loops that grow the sequence token by token."""

import pytest
import torch

from decoder import (
    Batch,
    Decoder,
    DecoderConfig,
    free_running,
    load_corpus,
    next_token_loss,
    parallel_scheduled_sampling,
    scheduled_sampling,
    teacher_forced,
    train,
)
from decoder.config import TrainConfig
from decoder.inference.sampling import draw
from decoder.training.rollout import continue_rows

IBM, STORY, COUNT, REVERSE = (load_corpus(name) for name in ("ibm", "story", "count", "reverse"))


def fresh(seed=0):
    return torch.Generator().manual_seed(seed)


def decoder_for(corpus, **changes):
    """A small decoder whose predictions depend visibly on what it read."""
    config = DecoderConfig(corpus.tokenizer.vocab_size, corpus.context_length, 2, 2, 16, **changes)
    model = Decoder(config, seed=5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
        model.token_table.weight.mul_(10)
    return model


@torch.no_grad()
def naive_inputs(model, batch, starts, pick=lambda logits: logits.argmax(dim=-1)):
    """Inputs column by column; each own prediction comes from a full pass over everything before it."""
    columns = [batch.inputs[:, 0]]
    for t in range(1, batch.inputs.shape[1]):
        own = pick(model(torch.stack(columns, dim=1))[:, -1])
        columns.append(torch.where(t < starts, batch.inputs[:, t], own))
    return torch.stack(columns, dim=1)


@pytest.fixture(scope="module")
def trained():
    """A decoder after 40 teacher-forced steps on ibm."""
    *_, last = train(TrainConfig("ibm", DecoderConfig(35, 9, 2, 2, 32), steps=40))
    return last.model


def test_teacher_forced_inputs_are_the_tokens_and_targets_the_tokens_one_later():
    sequence = torch.tensor([[1, 7, 8, 9, 2], [1, 5, 4, 2, 0]])
    batch = Batch.from_sequences(sequence, pad=0)
    model = Decoder(DecoderConfig(10, 4, d_model=8))
    rollout = teacher_forced(model, batch)
    assert rollout.inputs.tolist() == [[1, 7, 8, 9], [1, 5, 4, 2]]
    assert batch.targets.tolist() == [[7, 8, 9, 2], [5, 4, 2, 0]]
    assert torch.equal(rollout.logits, model(sequence[:, :-1]))


@pytest.mark.parametrize("start", [1, 2, 5, 8, 24, 99])
@pytest.mark.parametrize("causal", [True, False])
def test_own_history_is_the_truth_before_k_and_ones_own_argmax_after(start, causal):
    model, batch = decoder_for(STORY, causal=causal), STORY.batch(6, fresh())
    rollout = free_running(model, batch, start)
    assert torch.equal(rollout.inputs, naive_inputs(model, batch, torch.tensor(start)))
    assert torch.equal(rollout.inputs[:, :start], batch.inputs[:, :start])
    if start < 5:
        assert not torch.equal(rollout.inputs, batch.inputs)
    assert torch.equal(rollout.logits, model(rollout.inputs))


@pytest.mark.parametrize(
    "start",
    [0, -3, 1.5, float("nan"), torch.tensor([1, 2, 3]), torch.tensor([1.5]), torch.tensor([1, 2, 0, 3, 4])],
)
def test_a_start_that_is_no_number_of_inputs_is_refused(start):
    batch = load_corpus("story").batch(5, torch.Generator().manual_seed(1))
    with pytest.raises(ValueError, match=r"start is .*whole number"):
        free_running(Decoder(DecoderConfig(59, 24, 1, 1, 4)), batch, start)


def test_a_start_beyond_all_inputs_is_teacher_forcing():
    batch = load_corpus("story").batch(5, torch.Generator().manual_seed(1))
    assert torch.equal(
        free_running(Decoder(DecoderConfig(59, 24, 1, 1, 4)), batch, 10**30).inputs, batch.inputs
    )


def test_each_row_can_have_its_own_start():
    model, batch = decoder_for(STORY), STORY.batch(5, fresh())
    starts = torch.tensor([1, 3, 24, 7, 12])
    rollout = free_running(model, batch, starts)
    assert torch.equal(rollout.inputs, naive_inputs(model, batch, starts[:, None].squeeze(1)))
    for row, start in enumerate(starts.tolist()):
        alone = free_running(model, batch[row : row + 1], start)
        assert torch.equal(alone.inputs[0], rollout.inputs[row])


def test_the_prompt_of_count_stays_true_when_the_start_is_the_prompt():
    model, batch = decoder_for(COUNT), COUNT.batch(8, fresh())
    rollout = free_running(model, batch, batch.prompt_lengths)
    assert batch.prompt_lengths.tolist() == [5] * 8
    assert torch.equal(rollout.inputs, naive_inputs(model, batch, torch.tensor(5)))


def test_a_trained_decoder_follows_its_own_argmax_too(trained):
    batch = IBM.validation[:64]
    rollout = free_running(trained, batch, 3)
    assert torch.equal(rollout.inputs, naive_inputs(trained, batch, torch.tensor(3)))


def test_sampled_picks_are_those_that_the_generator_draws_column_by_column():
    model, batch = decoder_for(STORY), STORY.batch(6, fresh())
    generator = fresh(9)

    @torch.no_grad()
    def naive():
        columns = list(batch.inputs[:, :4].unbind(dim=1))
        while len(columns) < batch.inputs.shape[1]:
            logits = model(torch.stack(columns, dim=1))[:, -1]
            columns.append(draw(logits.softmax(dim=-1), generator))
        return torch.stack(columns, dim=1)

    rollout = free_running(model, batch, 4, "sample", fresh(9))
    assert torch.equal(rollout.inputs, naive())
    assert torch.equal(rollout.inputs, free_running(model, batch, 4, "sample", fresh(9)).inputs)
    assert not torch.equal(rollout.inputs, free_running(model, batch, 4, "sample", fresh(10)).inputs)
    assert not torch.equal(rollout.inputs, free_running(model, batch, 4).inputs)


@pytest.mark.parametrize("mix", [scheduled_sampling, parallel_scheduled_sampling])
@pytest.mark.parametrize("seed", range(3))
def test_mixing_with_truth_one_is_bit_identical_to_teacher_forcing(mix, seed):
    model, batch = decoder_for(STORY), STORY.batch(6, fresh(seed))
    mixed, forced = mix(model, batch, 1.0, fresh(seed)), teacher_forced(model, batch)
    assert torch.equal(mixed.inputs, forced.inputs)
    assert torch.equal(mixed.logits, forced.logits)


@pytest.mark.parametrize("corpus", [STORY, COUNT, REVERSE], ids=lambda corpus: corpus.name)
@pytest.mark.parametrize("seed", range(3))
def test_scheduled_sampling_with_truth_zero_is_bit_identical_to_free_running_after_the_prompt(corpus, seed):
    model, batch = decoder_for(corpus), corpus.batch(6, fresh(seed))
    mixed = scheduled_sampling(model, batch, 0.0, fresh(seed))
    free = free_running(model, batch, batch.prompt_lengths)
    assert not torch.equal(free.inputs, batch.inputs)
    assert torch.equal(mixed.inputs, free.inputs)
    assert torch.equal(mixed.logits, free.logits)


@pytest.mark.parametrize("truth", [0.2, 0.5, 0.9])
def test_scheduled_sampling_feeds_the_truth_or_what_the_decoder_says_after_its_own_mixture(truth):
    model, batch = decoder_for(STORY), STORY.batch(16, fresh())
    inputs = scheduled_sampling(model, batch, truth, fresh(1)).inputs
    with torch.no_grad():
        own = torch.stack([model(inputs[:, :t])[:, -1].argmax(-1) for t in range(1, inputs.shape[1])], dim=1)
    true, taken = batch.inputs[:, 1:], inputs[:, 1:]
    assert ((taken == true) | (taken == own)).all()
    undecided = true != own
    share = (taken == true)[undecided].double().mean().item()
    assert share == pytest.approx(truth, abs=0.12)  # 3 standard errors of about 300 coins


def test_parallel_mixing_replaces_tokens_by_the_argmax_of_the_teacher_forced_pass():
    model, batch = decoder_for(STORY), STORY.batch(16, fresh())
    with torch.no_grad():
        predicted = model(batch.inputs).argmax(dim=-1)[:, :-1]
    true = batch.inputs[:, 1:]
    nothing_true = parallel_scheduled_sampling(model, batch, 0.0, fresh(1)).inputs
    assert torch.equal(nothing_true[:, 1:], predicted)
    half = parallel_scheduled_sampling(model, batch, 0.5, fresh(1)).inputs[:, 1:]
    assert ((half == true) | (half == predicted)).all()
    assert (half != true).any()
    assert (half != predicted).any()


def test_both_forms_of_mixing_throw_the_same_coins():
    """Where one keeps a token that the decoder would not have said, so does the other."""
    model, batch = decoder_for(STORY), STORY.batch(64, fresh())
    with torch.no_grad():
        model.output.weight.zero_()  # every prediction is token 0, which never stands in a story's inputs
    serial, parallel = (
        mix(model, batch, 0.3, fresh(1)).inputs for mix in (scheduled_sampling, parallel_scheduled_sampling)
    )
    assert torch.equal(serial, parallel)
    assert (serial[:, 1:] == 0).double().mean().item() == pytest.approx(0.7, abs=0.04)


def test_no_mode_changes_the_batch_it_was_given():
    model, batch = decoder_for(STORY), STORY.batch(4, fresh())
    kept = [part.clone() for part in (batch.inputs, batch.targets, batch.keep)]
    free_running(model, batch)
    free_running(model, batch, 2, "sample", fresh())
    scheduled_sampling(model, batch, 0.5, fresh())
    parallel_scheduled_sampling(model, batch, 0.5, fresh())
    assert all(map(torch.equal, (batch.inputs, batch.targets, batch.keep), kept))


def every_rollout(model, batch):
    return [
        teacher_forced(model, batch),
        free_running(model, batch),
        free_running(model, batch, pick="sample", generator=fresh()),
        scheduled_sampling(model, batch, 0.3, fresh()),
        parallel_scheduled_sampling(model, batch, 0.3, fresh()),
    ]


@pytest.mark.parametrize("seed", range(3))
def test_the_first_position_is_identical_in_all_modes(seed):
    model, batch = decoder_for(STORY), STORY.batch(8, fresh(seed))
    first, *others = every_rollout(model, batch)
    only_first = Batch(batch.inputs, batch.targets, batch.keep & (torch.arange(24) == 0))
    for other in others:
        assert torch.equal(other.inputs[:, 0], first.inputs[:, 0])
        assert torch.equal(other.logits[:, 0], first.logits[:, 0])
        losses = [next_token_loss(rollout.logits, only_first).item() for rollout in (first, other)]
        assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def count_passes(monkeypatch, model):
    """Record (gradient enabled, new tokens) of every pass."""
    passes, trace = [], model.trace

    def counted(tokens, *arguments, **options):
        passes.append((torch.is_grad_enabled(), tokens.shape[1]))
        return trace(tokens, *arguments, **options)

    monkeypatch.setattr(model, "trace", counted)
    return passes


def test_free_running_costs_a_generation_without_gradient_and_one_pass_with_it(monkeypatch):
    model, batch = decoder_for(STORY), STORY.batch(4, fresh())
    passes = count_passes(monkeypatch, model)
    free_running(model, batch, 6)
    assert [tokens for gradient, tokens in passes if gradient] == [24]
    generation = [tokens for gradient, tokens in passes if not gradient]
    assert generation == [6, *[1] * 17]  # the prompt once, then only what is new


def test_every_other_mode_has_one_pass_with_gradient_too(monkeypatch):
    model, batch = decoder_for(STORY), STORY.batch(4, fresh())
    passes = count_passes(monkeypatch, model)
    teacher_forced(model, batch)
    assert passes == [(True, 24)]
    passes.clear()
    parallel_scheduled_sampling(model, batch, 0.5, fresh())
    assert passes == [(False, 24), (True, 24)]
    passes.clear()
    scheduled_sampling(model, batch, 0.0, fresh())
    assert [tokens for gradient, tokens in passes if gradient] == [24]
    passes.clear()
    scheduled_sampling(model, batch, 1.0, fresh())
    assert passes == [(True, 24)]


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("given", [1, 4, 8, 11])
@torch.no_grad()
def test_rows_longer_than_the_context_see_a_sliding_window(causal, given):
    config = DecoderConfig(20, 6, 2, 2, 16, causal=causal)
    model = Decoder(config, seed=1)
    model.token_table.weight.mul_(30)
    rows = torch.randint(20, (4, 15), generator=fresh())
    forced = torch.arange(15).expand_as(rows) < given
    forced[1, 9] = True  # one true token amid the decoder's own
    expected = rows.clone()
    for column in range(1, 15):
        own = model(expected[:, max(0, column - 6) : column])[:, -1].argmax(dim=-1)
        expected[:, column] = torch.where(forced[:, column], rows[:, column], own)
    assert torch.equal(continue_rows(model, rows, forced), expected)


def test_only_forced_tokens_are_read():
    model = decoder_for(STORY)
    rows = STORY.validation.inputs[:4]
    forced = torch.arange(24).expand_as(rows) < 7
    garbage = torch.where(forced, rows, torch.full_like(rows, 58))
    assert torch.equal(continue_rows(model, rows, forced), continue_rows(model, garbage, forced))


def test_rows_that_are_forced_entirely_come_back_without_a_pass(monkeypatch):
    model, rows = decoder_for(STORY), STORY.validation.inputs[:4]
    passes = count_passes(monkeypatch, model)
    assert torch.equal(continue_rows(model, rows, torch.ones_like(rows, dtype=torch.bool)), rows)
    assert passes == []
