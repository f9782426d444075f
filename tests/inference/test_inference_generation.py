"""Generation step by step, against full recomputation: cached, sliding, without a mask, greedy and drawn."""

import math

import pytest
import torch

from decoder import (
    Decoder,
    DecoderConfig,
    Sampling,
    TrainConfig,
    corpus_from_text,
    generate,
    load_corpus,
    train,
)
from decoder.inference.generation import count_work, encode_prompt, room
from decoder.inference.sampling import distribution, draw
from decoder.language import WordTokenizer
from decoder.seeds import generator_for

IBM = load_corpus("ibm").tokenizer
TEXT = corpus_from_text("the cat sat on the mat and the dog sat on the log. " * 6, "char", 8).tokenizer
GREEDY = Sampling(greedy=True)


@pytest.fixture(scope="module")
def trained():
    """A decoder after 60 steps on ibm: its sentences end."""
    *_, last = train(TrainConfig("ibm", DecoderConfig(35, 9, 2, 2, 32), steps=60))
    return last.model


def test_a_rare_word_of_the_training_text_is_named_and_never_silently_unknown():
    text = " ".join(f"word{index}" for index in range(2_500))
    tokenizer = WordTokenizer.from_text(text)
    assert tokenizer.unknown is not None
    assert tokenizer.encode("zorgle") == [tokenizer.unknown]
    with pytest.raises(ValueError, match="'zorgle' is not among"):
        encode_prompt(tokenizer, "word1 zorgle")


def untrained(tokenizer, context=8, **changes):
    """A decoder with lively predictions that never ends a sentence."""
    model = Decoder(DecoderConfig(tokenizer.vocab_size, context, 2, 2, 16, **changes), seed=2)
    with torch.no_grad():
        model.token_table.weight.mul_(20)
        model.output.weight.mul_(8)
    return model


def endless(model):
    """Make the end token of ibm impossible, but keep all else."""
    with torch.no_grad():
        model.final_norm.bias[0] = 4.0
        model.final_norm.weight[0] = 0.0
        model.output.weight[IBM.eos] = 0.0
        model.output.weight[IBM.eos, 0] = -50.0
    return model


@torch.no_grad()
def recomputed(model, tokens):
    """Last logits of one full parallel pass over what fits into the context."""
    return model(torch.tensor([list(tokens)[-model.config.context_length :]]))[0, -1]


def every_field(trace):
    fields = {name: getattr(trace, name) for name in trace._fields if name != "blocks"}
    for layer, block in enumerate(trace.blocks):
        for name in block._fields:
            part = getattr(block, name)
            if name == "attention":
                fields |= {f"{layer}.{stage}": getattr(part, stage) for stage in part._fields}
            else:
                fields[f"{layer}.{name}"] = part
    return fields


WAYS = [
    ("the cat", GREEDY),
    ("the cat", Sampling(seed=4)),
    ("the", Sampling(0.7, top_k=5, seed=1)),
    ("t", Sampling(1.5, top_p=0.9, seed=2)),
    ("the cat sat on", Sampling(seed=3)),
]


@pytest.mark.parametrize(("prompt", "sampling"), WAYS, ids=str)
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "none"])
def test_every_step_equals_full_recomputation(prompt, sampling, causal, positions):
    model = untrained(TEXT, causal=causal, positions=positions)
    tokens, generator = TEXT.encode(prompt), generator_for(sampling.seed, 0, "generation")
    typed = len(tokens)
    steps = list(generate(model, TEXT, prompt, sampling, 9))
    assert len(steps) == 9
    for step in steps:
        logits = recomputed(model, tokens)
        assert step.tokens == tuple(tokens)
        assert step.forced == (True,) * typed + (False,) * (len(tokens) - typed)
        assert step.window_start == max(0, len(tokens) - 8)
        torch.testing.assert_close(step.model_probabilities, logits.softmax(-1), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(step.probabilities, distribution(logits, sampling), atol=1e-5, rtol=1e-4)
        assert step.log_probability == pytest.approx(logits.log_softmax(-1)[step.picked].item(), abs=1e-4)
        if sampling.greedy:
            assert step.picked == int(logits.argmax())
        else:
            assert step.picked == int(draw(step.probabilities[None], generator))
        assert step.probabilities[step.picked] > 0
        tokens.append(step.picked)


@pytest.mark.parametrize("prompt", ["t", "the c", "the cat sat on the"])
@pytest.mark.parametrize("causal", [True, False])
def test_a_steps_trace_is_the_trace_of_its_window_in_every_field(prompt, causal):
    model = untrained(TEXT, causal=causal)
    for step in generate(model, TEXT, prompt, Sampling(seed=1), 7):
        window = torch.tensor([step.tokens[step.window_start :]])
        with torch.no_grad():
            expected = every_field(model.trace(window))
        fields = every_field(step.trace)
        assert fields.keys() == expected.keys()
        for name, field in fields.items():
            torch.testing.assert_close(field, expected[name], atol=1e-4, rtol=1e-4, msg=name)
        assert step.trace.logits[0, -1].log_softmax(-1)[step.picked].item() == pytest.approx(
            step.log_probability, abs=1e-5
        )


def test_steps_that_are_kept_stay_what_they_were():
    model = untrained(TEXT)
    steps, seen = [], []
    for step in generate(model, TEXT, "the", Sampling(seed=1), 9):
        steps.append(step)
        seen.append({name: field.clone() for name, field in every_field(step.trace).items()})
    for step, before in zip(steps, seen, strict=True):
        for name, field in every_field(step.trace).items():
            assert torch.equal(field, before[name]), name


def test_the_cache_computes_each_position_once_while_all_tokens_fit(monkeypatch):
    model, fed, trace = untrained(TEXT), [], None
    trace = model.trace
    monkeypatch.setattr(
        model, "trace", lambda new, **options: fed.append(new.shape[1]) or trace(new, **options)
    )
    list(generate(model, TEXT, "the", GREEDY, 8))
    assert fed == [3, 1, 1, 1, 1, 1, 8, 8]  # then the window slides and every position moves


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(seed=7), Sampling(0.5, 4, 0.9, seed=7)], ids=str)
def test_equal_seeds_write_equal_text_whatever_the_global_seed(sampling):
    model = untrained(TEXT)
    torch.manual_seed(1)
    first = [step.picked for step in generate(model, TEXT, "the", sampling, 12)]
    torch.manual_seed(2)
    second = []
    for step in generate(model, TEXT, "the", sampling, 12):
        torch.rand(3)
        second.append(step.picked)
    assert first == second


def test_other_seeds_write_other_text_unless_the_choice_is_greedy():
    model = untrained(TEXT)

    def written(**options):
        return {
            tuple(step.picked for step in generate(model, TEXT, "the", Sampling(seed=seed, **options), 12))
            for seed in range(5)
        }

    assert len(written()) == 5
    assert len(written(greedy=True)) == 1


@pytest.mark.parametrize("n", [1, 5, 6, 11])
def test_asking_for_one_more_token_only_adds_one(n):
    model = untrained(TEXT)
    fewer, more = ([s.picked for s in generate(model, TEXT, "the", Sampling(seed=1), m)] for m in (n, n + 1))
    assert len(fewer) == n
    assert more[:n] == fewer
    assert len(more) == n + 1


def test_stopping_early_costs_nothing_more():
    model = untrained(TEXT)
    steps = generate(model, TEXT, "the", Sampling(seed=1), 10**9)
    assert [next(steps).picked for _ in range(4)] == [
        step.picked for step in generate(model, TEXT, "the", Sampling(seed=1), 4)
    ]
    steps.close()


def test_generation_stops_with_the_end_token_as_the_last_pick(trained):
    steps = list(generate(trained, IBM, "", GREEDY, 50))
    assert len(steps) < 50
    assert steps[-1].picked == IBM.eos
    assert all(step.picked != IBM.eos for step in steps[:-1])
    assert load_corpus("ibm").valid([*steps[-1].tokens, steps[-1].picked])


@pytest.mark.parametrize("typed", [0, 1, 4, 7])
def test_without_a_number_the_context_is_filled(typed):
    model = endless(untrained(IBM, 9))
    words = " ".join(["IBM"] * typed)
    steps = list(generate(model, IBM, words, Sampling(seed=1)))
    assert len(steps[-1].tokens) == 9
    assert len(steps) == 9 - typed  # the start token stands in front
    assert all(step.window_start == 0 for step in steps)


def test_a_prompt_that_fills_the_context_still_gets_one_token():
    steps = list(generate(endless(untrained(IBM, 9)), IBM, " ".join(["IBM"] * 12), GREEDY))
    assert [step.window_start for step in steps] == [13 - 9]


def test_an_empty_prompt_is_the_start_token():
    step = next(generate(untrained(IBM, 9), IBM, ""))
    assert step.tokens == (IBM.bos,)
    assert step.forced == (True,)


@pytest.mark.parametrize("prompt", ["IBM taught", "<s> IBM taught"])
def test_a_start_token_is_put_in_front_once(prompt):
    assert IBM.decode(encode_prompt(IBM, prompt)) == "<s> IBM taught"


def test_an_empty_prompt_without_a_start_token_is_refused():
    with pytest.raises(ValueError, match="prompt is empty"):
        generate(untrained(TEXT), TEXT, "")


@pytest.mark.parametrize("word", ["zebra", "ibm2", "<b>"])
def test_an_unknown_word_is_named_before_anything_is_computed(word):
    with pytest.raises(ValueError, match=word.strip("<>")):
        generate(untrained(IBM), IBM, f"IBM taught {word}")


def test_nobody_inherits_the_generators_gradient_mode():
    model = untrained(TEXT)
    assert torch.is_grad_enabled()
    for step in generate(model, TEXT, "the cat", Sampling(seed=1), 4):
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
        assert not step.trace.logits.requires_grad
        loss = model(torch.tensor([[1, 2]])).sum()
        assert loss.requires_grad
        loss.backward()
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_two_generations_side_by_side_do_not_disturb_each_other():
    model = untrained(TEXT)
    alone = [
        [s.picked for s in generate(model, TEXT, prompt, Sampling(seed=5), 9)] for prompt in ("the", "cat")
    ]
    pairs = zip(
        *(generate(model, TEXT, prompt, Sampling(seed=5), 9) for prompt in ("the", "cat")), strict=True
    )
    both = [list(picked) for picked in zip(*((one.picked, two.picked) for one, two in pairs), strict=True)]
    assert both == alone


def test_greedy_writing_reports_the_distribution_it_did_not_use():
    model = untrained(TEXT)
    step = next(generate(model, TEXT, "the", Sampling(temperature=2.0, greedy=True)))
    assert step.picked == int(step.model_probabilities.argmax())
    assert not torch.allclose(step.probabilities, step.model_probabilities)


def test_the_log_probability_is_that_of_the_model_not_of_the_truncated_distribution():
    step = next(generate(untrained(TEXT), TEXT, "the", Sampling(0.3, top_k=1)))
    assert step.probabilities[step.picked] == 1
    assert step.log_probability < -1e-3
    assert step.log_probability == pytest.approx(
        math.log(step.model_probabilities[step.picked].item()), abs=1e-5
    )


@pytest.mark.parametrize("causal", [True, False])
def test_work_is_counted_by_what_every_step_computed(causal):
    model = untrained(TEXT, causal=causal)
    steps = list(generate(model, TEXT, "the", GREEDY, 8))  # 3 tokens, then 4, ... 8, and 8 twice, slid
    work = count_work(steps)
    assert work.recomputed == 3 + 4 + 5 + 6 + 7 + 8 + 8 + 8
    assert work.computed == (3 + 1 + 1 + 1 + 1 + 1 + 8 + 8 if causal else work.recomputed)


def test_room_is_how_many_steps_see_everything():
    model = untrained(TEXT)
    steps = list(generate(model, TEXT, "the", GREEDY, 12))
    assert room(8, 3) == sum(step.window_start == 0 for step in steps) == 6
