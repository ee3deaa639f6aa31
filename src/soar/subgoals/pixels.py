"""Images as diffusion models want them, and back: uint8 in rows to [-1, 1] in channels."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from soar.types import Images


def to_tensor(images: Images) -> Float[Tensor, "n 3 h w"]:
    """[0, 255] to [-1, 1], float32, in memory with channels last."""
    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
    return pixels.float().div_(127.5).sub_(1)


def to_images(pixels: Float[Tensor, "n 3 h w"]) -> Images:
    """[-1, 1] to [0, 255], clipped and rounded."""
    levels = ((pixels.float() + 1) * 127.5).round_().clamp_(0, 255)
    return levels.permute(0, 2, 3, 1).to(torch.uint8).cpu().numpy()
