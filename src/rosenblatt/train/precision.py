"""Which device and which arithmetic a run uses."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from rosenblatt.errors import DeviceError


def choose_device(device: str | torch.device = "auto") -> torch.device:
    """The torch device for a name; "auto" takes a GPU where there is one.

    Raises:
        DeviceError: The name is not a device, or this machine has none of it.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        if torch.backends.mps.is_available():
            return torch.device("mps")
        return torch.device("cpu")
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise DeviceError(
            f"device={device!r} is not a device; expected 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'."
        ) from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise DeviceError(f"device={device!r}: torch sees no CUDA GPU here. Use device='auto' or 'cpu'.")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"device={device!r}: this machine has {torch.cuda.device_count()} GPU(s), counted from 0.")
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError(f"device={device!r}: torch sees no Apple GPU here. Use device='auto' or 'cpu'.")
    return chosen


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware (AVX512-BF16, AMX, or a GPU of 2020 or later)."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        # torch has no public question for this; where the private ones are gone, fp32 is the safe answer
        asks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(bool(ask()) for ask in (getattr(torch.cpu, name, None) for name in asks) if ask is not None)
    return False


def choose_precision(precision: str | None, device: torch.device) -> str:
    """Arithmetic ("bf16" or "fp32") for a wish ("auto", "bf16", "fp32") on a device."""
    if precision in (None, "auto"):
        return "bf16" if has_bf16(device) else "fp32"
    return str(precision)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Context in which matrix products and convolutions run in the chosen precision."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=True)
    return nullcontext()


def synchronize(device: torch.device) -> None:
    """Wait for the device, so that a clock read afterwards is true."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
