"""Numbers of other people's code."""

from __future__ import annotations

from typing import Any


def plain_number(value: Any) -> float | None:
    """Return a number, or the only one of an array or tensor, as a float; None for anything else."""
    try:
        number = value.item() if hasattr(value, "item") else value
    except Exception:  # noqa: BLE001  tensors of other libraries may raise anything
        return None
    return float(number) if isinstance(number, int | float) else None
