"""Where a decoder calculates: on the CPU, or on an accelerator that is here and asked for."""

from __future__ import annotations

import torch


def open_device(device: torch.device | str = "cpu") -> torch.device:
    """Return the device of this name ("cpu", "cuda", "cuda:1", "mps").

    Raises:
        ValueError: if there is no such device here; the message names those that are.
    """
    here = ["cpu"]
    here += [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    here += ["mps"] * torch.backends.mps.is_available()
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"{device!r} is no device: choose one of {', '.join(here)}") from error
    if found.type not in here and f"{found.type}:{found.index or 0}" not in here:
        raise ValueError(f"there is no device {str(found)!r} here: choose one of {', '.join(here)}")
    return found
