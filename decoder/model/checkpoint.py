"""Decoders as safetensors bytes: weights and configuration, refused unless they fit each other exactly."""

from __future__ import annotations

import dataclasses
import json
import struct
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from decoder.config import MAX_CONTEXT, DecoderConfig
from decoder.model.decoder import Decoder

MAX_FILE_BYTES = 16 * 2**20
MAX_HEADER_BYTES = 64 * 2**10
MAX_FILE_LAYERS = 64


def save(model: Decoder) -> bytes:
    """Return the decoder as one safetensors file; `load` gives back bit-identical weights.

    Raises:
        ValueError: if the weights are not in single precision, which is what files hold.
    """
    if model.dtype != torch.float32:
        raise ValueError(f"the weights are {model.dtype} and a file holds torch.float32: use model.float()")
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    config = json.dumps(dataclasses.asdict(model.config))
    return safetensors.torch.save(weights, metadata={"config": config})


def load(file: bytes) -> Decoder:
    """Build the decoder that `save` wrote.

    Raises:
        ValueError: if the file is too large, is no safetensors file, or if its names, shapes, types or
            values are not exactly those of the decoder that its configuration describes.
    """
    config = DecoderConfig(**_read_config(file))
    _require_room(config, file)
    model = Decoder(config)
    try:
        weights = safetensors.torch.load(file)
    except (SafetensorError, KeyError) as error:  # KeyError: a type that torch has no name for
        raise ValueError(f"this is no whole safetensors file: {error}") from error
    load_weights(model, weights)
    return model


def load_weights(model: Decoder, weights: dict[str, Tensor]) -> None:
    """Put weights into the decoder, after checking names, shapes, types and that all are finite."""
    expected = model.state_dict()
    if weights.keys() != expected.keys():
        odd = ", ".join(sorted(weights.keys() ^ expected.keys())[:4])
        raise ValueError(f"the weights belong to another decoder: {odd} are missing or unknown")
    for name, tensor in weights.items():
        wanted = expected[name]
        if tensor.shape != wanted.shape or tensor.dtype != wanted.dtype:
            raise ValueError(
                f"{name} is {tuple(tensor.shape)} {tensor.dtype}; "
                f"this decoder needs {tuple(wanted.shape)} {wanted.dtype}"
            )
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{name} holds numbers that are not finite: the file is damaged")
    model.load_state_dict(weights)


def _read_config(file: bytes) -> dict[str, Any]:
    """Read the configuration from the header alone, before anything is allocated for the weights."""
    if len(file) > MAX_FILE_BYTES:
        raise ValueError(f"the file has {len(file):,} bytes; at most {MAX_FILE_BYTES:,} are taken")
    if len(file) < 8:
        raise ValueError(f"the file has {len(file)} bytes: this is no safetensors file")
    (header_bytes,) = struct.unpack("<Q", file[:8])
    if header_bytes > MAX_HEADER_BYTES:
        raise ValueError(f"the header claims {header_bytes:,} bytes; at most {MAX_HEADER_BYTES:,} are taken")
    try:
        metadata = json.loads(file[8 : 8 + header_bytes])["__metadata__"]
        config = json.loads(metadata["config"])
        as_saved = metadata == {"config": json.dumps(config)}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("this is no safetensors file that a decoder was saved to") from error
    fields = {field.name for field in dataclasses.fields(DecoderConfig)}
    if not isinstance(config, dict) or config.keys() != fields:
        raise ValueError(f"the file's configuration must have exactly the fields {', '.join(sorted(fields))}")
    if not as_saved:
        raise ValueError(
            "the file says more than its configuration, or says it twice: save the decoder again"
        )
    return config


def _require_room(config: DecoderConfig, file: bytes) -> None:
    """Refuse a configuration whose decoder cannot be in the file, before anything is allocated for it."""
    if config.context_length > MAX_CONTEXT:  # the mask is not in the file and grows with the square
        raise ValueError(
            f"the decoder sees {config.context_length:,} positions; at most {MAX_CONTEXT} are taken"
        )
    if config.n_layers > MAX_FILE_LAYERS or 4 * config.n_parameters > len(file):
        raise ValueError("the file describes a decoder that is larger than the file itself")
