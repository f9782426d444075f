"""The decoder: embeddings, pre-norm blocks of attention and MLP, logits. Every stage is a return value."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from decoder.config import DecoderConfig
from decoder.model.attention import AdditiveMask, Attention, attend, causal_mask
from decoder.model.positions import sinusoidal_positions
from decoder.seeds import generator_for

FEW_NUMBERS = 32_768
"""Up to so many, torch's own kernel of `gelu` is the faster one."""


class BlockTrace(NamedTuple):
    """Every stage of one block, in the order of computation.

    Attributes:
        query: what each position asks for, (B, H, T, D).
        key: what each position offers, (B, H, K, D); K counts cached positions too.
        value: what each position hands over, (B, H, K, D).
        attention: scores, masked scores, weights and context per head.
        joined: the context of all heads, one after the other, (B, T, C).
        attention_output: the joined heads, projected, (B, T, C).
        mlp_output: (B, T, C).
        output: the block's input plus the two outputs above, (B, T, C).
    """

    query: Tensor
    key: Tensor
    value: Tensor
    attention: Attention
    joined: Tensor
    attention_output: Tensor
    mlp_output: Tensor
    output: Tensor


class Trace(NamedTuple):
    """Every stage of one pass through the decoder.

    Attributes:
        token_embeddings: x, rows of the embedding table, (B, T, C).
        position_embeddings: p, added to x at the decoder's input, (T, C); zeros without positions.
        blocks: one BlockTrace per layer.
        contextual_embeddings: h, the output of the last block, (B, T, C).
        normalised: h after the final norm, what the output layer reads, (B, T, C).
        logits: z, the output layer applied to that, (B, T, V).
    """

    token_embeddings: Tensor
    position_embeddings: Tensor
    blocks: tuple[BlockTrace, ...]
    contextual_embeddings: Tensor
    normalised: Tensor
    logits: Tensor


class KeyValueCache:
    """Keys and values of the positions that a decoder has already seen, so that they are computed once.

    Sound under a causal mask only: there, earlier rows never change when a token is appended.
    """

    def __init__(
        self,
        config: DecoderConfig,
        rows: int,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        shape = (rows, config.n_heads, config.context_length, config.d_head)
        self.length = 0
        self._layers = [
            (torch.empty(shape, device=device, dtype=dtype), torch.empty(shape, device=device, dtype=dtype))
            for _ in range(config.n_layers)
        ]

    def append(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store the new (B, H, T, D) keys and values; return those of all K positions so far."""
        keys, values = self._layers[layer]
        new = key.shape[2]
        keys.narrow(2, self.length, new).copy_(key)
        values.narrow(2, self.length, new).copy_(value)
        return keys.narrow(2, 0, self.length + new), values.narrow(2, 0, self.length + new)


class Linear(nn.Linear):
    """torch's linear layer without hooks: none are used, and a single token would wait for them longer than for its numbers."""

    def reset_parameters(self) -> None:
        """Draw nothing from torch's global generator: the decoder fills all weights from its own."""

    def __call__(self, x: Tensor) -> Tensor:
        """Return x (..., in) times the weights, plus the bias, (..., out)."""
        return functional.linear(x, **self._parameters)  # type: ignore[arg-type]  # weight and bias


class LayerNorm(nn.LayerNorm):
    """torch's layer norm, likewise without hooks."""

    def __call__(self, x: Tensor) -> Tensor:
        """Return x (..., C), each vector brought to mean 0 and variance 1, scaled and shifted."""
        return torch.layer_norm(x, self.normalized_shape, **self._parameters, eps=self.eps)  # type: ignore[arg-type]


class Block(nn.Module):
    """One pre-norm block: x + attention(norm(x)), then + MLP(norm(x))."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        d_model = config.d_model
        self.n_heads = config.n_heads
        self.attention_norm = LayerNorm(d_model)
        self.query_key_value = Linear(d_model, 3 * d_model)
        self.attention_projection = Linear(d_model, d_model)
        self.mlp_norm = LayerNorm(d_model)
        self.mlp_in = Linear(d_model, 4 * d_model)
        self.mlp_out = Linear(4 * d_model, d_model)

    def forward(
        self, x: Tensor, mask: AdditiveMask | None, layer: int = 0, cache: KeyValueCache | None = None
    ) -> BlockTrace:
        """Carry x (B, T, C) through the block; with a cache, x holds the new positions only."""
        B, T, C = x.shape
        projected = self.query_key_value(self.attention_norm(x))  # (B, T, 3C)
        parts = projected.view(B, T, 3, self.n_heads, -1).unbind(dim=2)  # 3 x (B, T, H, D)
        query, key, value = [part.transpose(1, 2).contiguous() for part in parts]  # 3 x (B, H, T, D)
        if cache is not None:
            key, value = cache.append(layer, key, value)  # 2 x (B, H, K, D)
        attention = attend(query, key, value, mask)
        joined = attention.context.transpose(1, 2).reshape(B, T, C)
        attention_output = self.attention_projection(joined)
        middle = x + attention_output
        mlp_output = self.mlp_out(gelu(self.mlp_in(self.mlp_norm(middle))))
        return BlockTrace(
            query, key, value, attention, joined, attention_output, mlp_output, output=middle + mlp_output
        )


class Decoder(nn.Module):
    """A decoder-only transformer whose `trace` returns every number it computes.

    Attributes:
        config: its shape.
        token_table: the embedding table, one row per token, weight (V, C).
        position_table: one row per position, (context_length, C); trained only if positions are learned.
        default_mask: the causal mask, (context_length, context_length); None in a decoder without a mask.
    """

    position_table: Tensor
    default_mask: Tensor | None
    _default_addend: Tensor

    def __init__(self, config: DecoderConfig, seed: int = 0) -> None:
        """Build the decoder; equal seeds give bit-identical weights."""
        super().__init__()
        self.config = config
        # A table is given, so that none is drawn; `_initialise` fills it.
        empty = torch.empty(config.vocab_size, config.d_model)
        self.token_table = nn.Embedding(config.vocab_size, config.d_model, _weight=empty)
        positions = torch.zeros(config.context_length, config.d_model)
        if config.positions == "learned":
            self.position_table = nn.Parameter(positions)
        else:
            if config.positions == "sinusoidal":
                positions = sinusoidal_positions(config.context_length, config.d_model)
            self.register_buffer("position_table", positions, persistent=False)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.final_norm = LayerNorm(config.d_model)
        self.output = Linear(config.d_model, config.vocab_size, bias=False)
        mask = causal_mask(config.context_length)
        self.register_buffer("default_mask", mask if config.causal else None, persistent=False)
        self.register_buffer("_default_addend", AdditiveMask.of(mask, self.dtype).addend, persistent=False)
        self._initialise(generator_for(seed, 0, "weights"))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.token_table.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights."""
        return self.token_table.weight.dtype

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits (B, T, V) of tokens (B, T)."""
        return self.trace(tokens).logits

    def trace(self, tokens: Tensor, mask: Tensor | None = None, cache: KeyValueCache | None = None) -> Trace:
        """Carry tokens through the decoder and return every stage of every layer.

        Args:
            tokens: ids, (B, T).
            mask: bool (T, K), True = may look; None: the decoder's own.
            cache: positions already seen; `tokens` then continue them and are added to it.

        Raises:
            ValueError: if there are no tokens, or more positions than the context holds, if the mask has another
                shape or a closed row, or if a cache is given to a decoder without a causal mask.
        """
        if tokens.ndim != 2 or not tokens.numel():
            raise ValueError(f"the tokens are {tuple(tokens.shape)}: give (B, T), at least one row of one id")
        T = tokens.shape[1]
        past = 0 if cache is None else cache.length
        K = past + T
        context_length = self.config.context_length
        if context_length < K:
            raise ValueError(
                f"the sequence has {K} tokens; this decoder sees {context_length}: "
                "shorten it or choose a larger context"
            )
        if cache is not None and self.default_mask is None:
            raise ValueError("without a causal mask earlier positions change with every token: use no cache")
        additive: AdditiveMask | None = None
        if mask is None:
            # A single newest position may look at everything: no mask to apply.
            if self.default_mask is not None and T > 1:
                additive = AdditiveMask(self._default_addend[past:K, :K])
        elif mask.shape != (T, K):
            raise ValueError(f"the mask is {tuple(mask.shape)}: {T} positions over {K} keys need ({T}, {K})")
        else:
            additive = AdditiveMask.of(mask.to(self.device), self.dtype)

        token_embeddings = self.token_table(tokens.to(self.device))  # (B, T, C)
        position_embeddings = self.position_table[past:K]  # (T, C)
        x = token_embeddings + position_embeddings
        blocks = []
        for layer, block in enumerate(self.blocks):
            blocks.append(block(x, additive, layer, cache))
            x = blocks[-1].output
        if cache is not None:
            cache.length = K
        normalised = self.final_norm(x)
        logits = self.output(normalised)  # (B, T, V)
        return Trace(token_embeddings, position_embeddings, tuple(blocks), x, normalised, logits)

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        """Fill all weights from one generator: torch's own defaults for linear layers, small embeddings.

        Without learned positions the embeddings start larger, so that the fixed ones do not drown them.
        """
        learned = self.config.positions == "learned"
        self.token_table.weight.normal_(0.0, 0.02 if learned else 0.3, generator=generator)
        if learned:
            self.position_table.normal_(0.0, 0.02, generator=generator)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                bound = module.in_features**-0.5
                module.weight.uniform_(-bound, bound, generator=generator)
                if module.bias is not None:
                    module.bias.uniform_(-bound, bound, generator=generator)


def gelu(x: Tensor) -> Tensor:
    """Return x times the share of a standard normal distribution below x (Hendrycks & Gimpel 2016), exactly.

    For single precision torch calls another library, whose kernel is faster for many numbers, and takes ten times longer to
    begin than a few need. It leaves alone what is not contiguous: a few numbers are therefore read as columns.
    """
    if x.numel() > FEW_NUMBERS or x.requires_grad:
        return functional.gelu(x)
    return functional.gelu(x.reshape(2, -1).t()).t().reshape(x.shape)


@torch.no_grad()
def logits_of_prefixes(model: Decoder, tokens: Tensor) -> Tensor:
    """Return the logits (T, V) that follow each prefix of these ids (T,), with nothing standing behind it.

    Under the causal mask one pass over all ids gives what each prefix alone would; without it every prefix needs a pass
    of its own.
    """
    rows = tokens[None]  # (1, T)
    if model.config.causal:
        return model(rows)[0]  # type: ignore[no-any-return]
    return torch.cat([model(rows[:, :length])[:, -1] for length in range(1, len(tokens) + 1)])


def join_traces(traces: list[Trace]) -> Trace:
    """Put the passes of a cached generation together as the one parallel pass that they equal.

    Each pass holds the rows of its own positions. Rows are stacked as they were computed; the scores of
    later keys, which a growing sequence never needs, are computed from the same queries and keys.
    """
    blocks = tuple(_join_blocks(parts) for parts in zip(*(trace.blocks for trace in traces), strict=True))
    return Trace(
        torch.cat([trace.token_embeddings for trace in traces], dim=1),
        torch.cat([trace.position_embeddings for trace in traces], dim=0),
        blocks,
        blocks[-1].output,
        torch.cat([trace.normalised for trace in traces], dim=1),
        torch.cat([trace.logits for trace in traces], dim=1),
    )


def _join_blocks(parts: tuple[BlockTrace, ...]) -> BlockTrace:
    query = torch.cat([part.query for part in parts], dim=2)  # (B, H, T, D)
    key, value = parts[-1].key, parts[-1].value  # the last pass saw them all
    T = key.shape[2]

    def rows(stages: list[Tensor], beyond: float) -> Tensor:
        padded = [functional.pad(stage, (0, T - stage.shape[-1]), value=beyond) for stage in stages]
        return torch.cat(padded, dim=2)  # (B, H, T, T)

    masked_scores = rows([part.attention.masked_scores for part in parts], -torch.inf)
    future = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    attention = Attention(
        scores=torch.where(masked_scores.isneginf(), future, masked_scores),
        masked_scores=masked_scores,
        weights=rows([part.attention.weights for part in parts], 0.0),
        context=torch.cat([part.attention.context for part in parts], dim=2),
    )
    return BlockTrace(
        query,
        key,
        value,
        attention,
        torch.cat([part.joined for part in parts], dim=1),
        torch.cat([part.attention_output for part in parts], dim=1),
        torch.cat([part.mlp_output for part in parts], dim=1),
        torch.cat([part.output for part in parts], dim=1),
    )
