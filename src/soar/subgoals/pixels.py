"""Conversion between uint8 images and the tensors of diffusion models."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from soar.types import Images


def to_tensor(images: Images) -> Float[Tensor, "n 3 h w"]:
    """Map [0, 255] to float32 in [-1, 1], in channels-last memory format."""
    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
    return pixels.float().div_(127.5).sub_(1)


def to_images(pixels: Float[Tensor, "n 3 h w"]) -> Images:
    """Map [-1, 1] to uint8 in [0, 255], rounded and clipped."""
    levels = ((pixels.float() + 1) * 127.5).round_().clamp_(0, 255)
    return levels.permute(0, 2, 3, 1).to(torch.uint8).cpu().numpy()
