"""Free running's one parallel pass has exactly the gradients of T growing passes, in float64."""

import pytest
import torch

from decoder import Decoder, DecoderConfig, free_running, load_corpus, next_token_loss
from decoder.inference.sampling import draw


def double_decoder(corpus, **changes):
    config = DecoderConfig(corpus.tokenizer.vocab_size, corpus.context_length, 2, 2, 16, **changes)
    model = Decoder(config, seed=5).double()
    with torch.no_grad():
        model.token_table.weight.mul_(20)
    return model


def gradients(model, loss):
    return dict(
        zip(
            [name for name, _ in model.named_parameters()],
            torch.autograd.grad(loss, list(model.parameters())),
            strict=True,
        )
    )


def naive_loss(model, batch, start, pick):
    """T growing passes with gradient; each keeps the logits of its last position only."""
    columns, last_logits = [], []
    for t in range(batch.inputs.shape[1]):
        columns.append(batch.inputs[:, t] if t < start else pick(last_logits[-1].detach()))
        last_logits.append(model(torch.stack(columns, dim=1))[:, -1])
    log_p = torch.stack(last_logits, dim=1).log_softmax(dim=-1)
    chosen = log_p.gather(-1, batch.targets[..., None]).squeeze(-1)
    return -chosen[batch.keep].mean()


@pytest.mark.parametrize("name", ["ibm", "count"])
@pytest.mark.parametrize("start", [1, 4])
@pytest.mark.parametrize("kind", ["greedy", "sample"])
@pytest.mark.parametrize("positions", ["learned", "none"])
def test_free_runnings_gradients_equal_those_of_the_naive_loop(name, start, kind, positions):
    corpus = load_corpus(name)
    model = double_decoder(corpus, positions=positions)
    batch = corpus.batch(5, torch.Generator().manual_seed(3))
    rollout = free_running(model, batch, start, kind, torch.Generator().manual_seed(8))
    assert not torch.equal(rollout.inputs, batch.inputs)

    generator = torch.Generator().manual_seed(8)
    picks = {
        "greedy": lambda logits: logits.argmax(dim=-1),
        "sample": lambda logits: draw(logits.softmax(dim=-1), generator),
    }
    expected_loss = naive_loss(model, batch, start, picks[kind])
    loss = next_token_loss(rollout.logits, batch)
    assert loss.item() == pytest.approx(expected_loss.item(), abs=1e-12)
    expected = gradients(model, expected_loss)
    for parameter, gradient in gradients(model, loss).items():
        torch.testing.assert_close(gradient, expected[parameter], atol=1e-12, rtol=0, msg=parameter)
        assert gradient.abs().max() > 1e-6


def test_a_decoder_without_a_mask_agrees_with_growing_passes_on_its_inputs_but_not_on_its_gradients():
    """Without a mask the parallel pass sees what comes later: the counter-example of the rule above."""
    corpus = load_corpus("ibm")
    model = double_decoder(corpus, causal=False)
    batch = corpus.batch(5, torch.Generator().manual_seed(3))
    parallel = gradients(model, next_token_loss(free_running(model, batch).logits, batch))
    growing = gradients(model, naive_loss(model, batch, 1, lambda logits: logits.argmax(dim=-1)))
    assert not torch.allclose(parallel["output.weight"], growing["output.weight"], atol=1e-6)
