"""How fast the decoder trains, runs freely and generates, beside its peers; ratios within one run.

Run with: .venv/bin/pip install -e '.[bench]' && .venv/bin/python tests/benchmarks/speed.py

One thread. All models of one line have the same shape and see the same data; all train with the same fused
AdamW and the same clipping, so that only the models differ. Measurements are interleaved and medians are
compared: what slows this machine down for a moment slows all of them down.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.utils import logging
from x_transformers import Decoder as PeerLayers
from x_transformers import TransformerWrapper

from decoder import (
    Batch,
    Decoder,
    DecoderConfig,
    Sampling,
    free_running,
    generate,
    next_token_loss,
    teacher_forced,
)
from decoder.language import WordTokenizer
from decoder.training.optimizer import GRADIENT_NORM


class Shape(NamedTuple):
    """One work point."""

    layers: int
    heads: int
    d_model: int
    context: int
    batch: int
    vocabulary: int


class Targets(NamedTuple):
    """What this project promises at a work point."""

    hugging_face: float
    x_transformers: float


POINTS = {
    Shape(2, 4, 64, 32, 32, 100): Targets(1.4, 1.3),
    Shape(4, 4, 128, 64, 12, 65): Targets(1.25, 1.2),
    Shape(6, 6, 192, 128, 16, 65): Targets(1.1, 1.05),
}
FREE_RUNNING_AT_MOST = 2.3
GENERATION_AT_LEAST = 5.0


def main() -> None:
    """Measure and print one table per question."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    logging.set_verbosity_error()
    peak = matmul_peak()
    print(f"matmul peak of one thread: {peak:.0f} GFLOP/s")
    for shape, targets in POINTS.items():
        training(shape, targets, peak)
    for shape in POINTS:
        generation(shape)


def training(shape: Shape, targets: Targets, peak: float) -> None:
    """Compare training steps: ours teacher-forced and free running, and those of the peers."""
    tokens = torch.randint(shape.vocabulary, (shape.batch, shape.context + 1))
    batch = Batch.from_sequences(tokens)
    ours, gpt, peer = own_decoder(shape), hugging_face(shape), x_transformers(shape)
    seconds = interleaved(
        {
            "ours": step(ours, lambda: next_token_loss(teacher_forced(ours, batch).logits, batch)),
            "free": step(ours, lambda: next_token_loss(free_running(ours, batch).logits, batch)),
            "hf": step(gpt, lambda: cross_entropy(gpt(batch.inputs).logits, batch.targets)),
            "xt": step(peer, lambda: cross_entropy(peer(batch.inputs), batch.targets)),
        },
        rounds=40 if shape.d_model < 128 else 20 if shape.d_model < 192 else 9,
    )
    flops = training_flops(ours.config, shape.batch)
    count = shape.batch * shape.context
    print(f"\n{shape}")
    print(
        f"  ours: {count / seconds['ours']:,.0f} tokens/s, {flops / seconds['ours'] / 1e9 / peak:.0%} of the peak"
    )
    report(
        "training step against Hugging Face GPT-2 (sdpa)",
        seconds["hf"] / seconds["ours"],
        targets.hugging_face,
    )
    report("training step against x-transformers", seconds["xt"] / seconds["ours"], targets.x_transformers)
    report(
        "free running / teacher forced", seconds["free"] / seconds["ours"], FREE_RUNNING_AT_MOST, at_most=True
    )


def generation(shape: Shape) -> None:
    """Compare greedy generation of one text up to the full context, ours with every attention matrix kept."""
    ours, gpt = own_decoder(shape), hugging_face(shape)
    tokenizer = WordTokenizer([], [f"w{index}" for index in range(shape.vocabulary)])
    new = shape.context - 1
    prompt = torch.zeros(1, 1, dtype=torch.long)

    def own() -> None:
        steps = list(generate(ours, tokenizer, "w0", Sampling(greedy=True), new))
        rows = [block.attention.weights for block in steps[-1].passes[-1].blocks]
        assert len(steps) == new == rows[0].shape[-1]
        assert len(steps[-1].passes) == new  # all rows of all attention matrices are kept

    def theirs() -> None:
        ids = gpt.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=new,
            min_new_tokens=new,
            do_sample=False,
        )
        assert ids.shape[1] == shape.context

    seconds = interleaved({"ours": own, "hf": theirs}, rounds=7)
    print(f"\n{shape}\n  ours: {new / seconds['ours']:,.0f} tokens/s at batch 1")
    report(
        "generation against Hugging Face generate (cached)",
        seconds["hf"] / seconds["ours"],
        GENERATION_AT_LEAST,
    )


def own_decoder(shape: Shape) -> Decoder:
    """Build this project's decoder."""
    return Decoder(DecoderConfig(shape.vocabulary, shape.context, shape.layers, shape.heads, shape.d_model))


def hugging_face(shape: Shape) -> GPT2LMHeadModel:
    """Build GPT-2 of the same shape, without dropout."""
    config = GPT2Config(
        vocab_size=shape.vocabulary,
        n_positions=shape.context,
        n_embd=shape.d_model,
        n_layer=shape.layers,
        n_head=shape.heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=None,
        eos_token_id=None,
        attn_implementation="sdpa",
    )
    return GPT2LMHeadModel(config)


def x_transformers(shape: Shape) -> TransformerWrapper:
    """Build x-transformers' decoder of the same shape."""
    layers = PeerLayers(
        dim=shape.d_model, depth=shape.layers, heads=shape.heads, attn_dim_head=shape.d_model // shape.heads
    )
    return TransformerWrapper(num_tokens=shape.vocabulary, max_seq_len=shape.context, attn_layers=layers)


def step(model: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], None]:
    """Return one training step: the same for every model."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def update() -> None:
        optimizer.zero_grad()
        loss().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_NORM)
        optimizer.step()

    return update


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean loss, as the peers' own code computes it."""
    return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def interleaved(work: dict[str, Callable[[], None]], rounds: int, warm_up: int = 3) -> dict[str, float]:
    """Return the median seconds of each piece of work, all measured in turn in every round."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for round_ in range(warm_up + rounds):
        for name, do in work.items():
            began = time.perf_counter()
            do()
            if round_ >= warm_up:
                seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in seconds.items()}


def matmul_peak() -> float:
    """Return the GFLOP/s of a large matrix product, the best of several."""
    a, b = torch.randn(768, 768), torch.randn(768, 768)
    best = min(interleaved({str(index): lambda: a @ b for index in range(5)}, rounds=10).values())
    return 2 * 768**3 / best / 1e9


def training_flops(config: DecoderConfig, batch: int) -> float:
    """Return the multiplications and additions of one step's matrix products, forward and backward."""
    C, T = config.d_model, config.context_length
    per_token = config.n_layers * (12 * C**2 + 2 * T * C) + C * config.vocab_size
    return 3 * 2 * per_token * batch * T


def report(claim: str, ratio: float, target: float, *, at_most: bool = False) -> None:
    """Print a ratio beside what is promised."""
    met = ratio <= target if at_most else ratio >= target
    print(
        f"  {claim}: {ratio:.2f} ({'at most' if at_most else 'at least'} {target}: {'met' if met else 'MISSED'})"
    )


if __name__ == "__main__":
    main()
