"""What is computed in which precision."""

from __future__ import annotations

import pytest
import torch

from soar.utils.hardware import choose_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("tiles", "dot_products", "wanted"),
    [
        (False, False, torch.float32),
        (True, False, torch.bfloat16),
        (False, True, torch.bfloat16),
    ],
)
def test_a_cpu_takes_bf16_where_it_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, tiles: bool, dot_products: bool, wanted: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: dot_products)
    assert choose_precision("auto", CPU) == wanted
    assert choose_precision("fp32", CPU) == torch.float32
