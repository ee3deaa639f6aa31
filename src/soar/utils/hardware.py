"""Devices, precision and processes, detected on call and never at import."""

from __future__ import annotations

import atexit
import os
from typing import Any, Literal

import torch

from soar.errors import ConfigError


def choose_device(name: str = "auto") -> torch.device:
    """Return the named device; "auto" is the GPU if there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"no device '{name}'; valid: auto, cpu, cuda, cuda:N") from error


def choose_precision(name: Literal["auto", "fp32", "bf16"], device: torch.device) -> torch.dtype:
    """Return float32 or bfloat16.

    "auto" is bfloat16 if the hardware multiplies it: AMX, AVX-512 BF16, and GPUs from Ampere on.
    """
    if name != "auto":
        return torch.bfloat16 if name == "bf16" else torch.float32
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        fast = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


def accelerator(device: str) -> Any:
    """Return an `accelerate.Accelerator` if a launcher started several processes, else None.

    Processes leave their group at exit, because one that doesn't may abort.
    """
    if launched_processes() == 1:
        return None
    from accelerate import Accelerator  # type: ignore[import-untyped]

    processes = Accelerator(cpu=device == "cpu")
    atexit.register(processes.end_training)
    return processes


def launched_processes() -> int:
    """Return the number of processes that a launcher such as torchrun started; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main_process() -> bool:
    """Whether this process is the one among a launcher's that prints and writes files."""
    return os.environ.get("RANK", "0") == "0"
