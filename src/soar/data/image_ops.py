"""Batched image operations on tensors, the arithmetic behind `soar.data.transforms`.

Images are float in [0, 1]: "images" channels last (n, h, w, 3), "planes" channels first (n, 3, h, w). Operations
on planes are faster on CPUs where memory is channels first, too, which `to_float` provides.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor, nn


def to_planes(images: Shaped[Tensor, "n h w c"]) -> Shaped[Tensor, "n c h w"]:
    """Return a view with channels first."""
    return images.permute(0, 3, 1, 2)


def to_images(planes: Shaped[Tensor, "n c h w"]) -> Shaped[Tensor, "n h w c"]:
    """Return a view with channels last."""
    return planes.permute(0, 2, 3, 1)


def to_float(images: UInt8[Tensor, "n h w 3"]) -> Float[Tensor, "n h w 3"]:
    """Convert 0..255 to 0..1, channels first in memory."""
    planes = to_planes(images).to(torch.float32, memory_format=torch.contiguous_format)
    return to_images(planes.div_(255))


def crop_matrices(
    size: Float[Tensor, "n 2"], position: Float[Tensor, "n 2"], angle: Float[Tensor, " n"]
) -> Float[Tensor, "n 2 3"]:
    """Return affine maps from crops to the images they are cut from, both in [-1, 1], x right, y down.

    Args:
        size: width and height of the crop as shares of the image.
        position: 0 at the left or top, 1 at the right or bottom.
        angle: rotation of the crop about its center [rad].
    """
    center = (1 - size) * (2 * position - 1)
    cos, sin = angle.cos(), angle.sin()
    rotation = torch.stack([cos, -sin, sin, cos], 1).view(-1, 2, 2)
    return torch.cat([rotation * size[:, None], center[:, :, None]], 2)


def crop_points(
    points: Float[Tensor, "n k 2"], matrices: Float[Tensor, "n 2 3"]
) -> Float[Tensor, "n k 2"]:
    """Return points of the images in their crops' coordinates; NaN outside. `matrices`: of `crop_matrices`."""
    offset = points - matrices[:, None, :, 2]
    moved: Tensor = torch.linalg.solve(matrices[:, :, :2], offset.mT).mT
    return moved.where((moved.abs() < 1).all(-1, keepdim=True), torch.nan)


def resample(
    images: Float[Tensor, "n h w 3"], grid: Float[Tensor, "n h w 2"]
) -> Float[Tensor, "n h w 3"]:
    """Sample images bilinearly at grid points in [-1, 1]; points outside take the border's color."""
    planes = nn.functional.grid_sample(
        to_planes(images), grid, padding_mode="border", align_corners=False
    )
    return to_images(planes)


def box_blur(planes: Float[Tensor, "n 3 h w"], axis: int, radius: int) -> Float[Tensor, "n 3 h w"]:
    """Return means over up to `radius` pixels either way along an axis; twice as fast as pooling on CPUs."""
    size = planes.shape[axis]
    total, count = planes.clone(), torch.ones(size, device=planes.device)
    for shift in range(1, radius + 1):
        total.narrow(axis, shift, size - shift).add_(planes.narrow(axis, 0, size - shift))
        total.narrow(axis, 0, size - shift).add_(planes.narrow(axis, shift, size - shift))
        count[shift:] += 1
        count[: size - shift] += 1
    return total.div_(count.view([-1 if i == axis else 1 for i in range(4)]))


def color_matrices(
    saturation: Float[Tensor, " n"], hue: Float[Tensor, " n"]
) -> Float[Tensor, "n 3 3"]:
    """Return RGB-to-RGB maps that scale chroma by `saturation` and rotate it by `hue` [rad] in YIQ; luma stays."""
    yiq = torch.tensor(
        [[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]],
        device=hue.device,
    )
    cos, sin, zero = saturation * hue.cos(), saturation * hue.sin(), torch.zeros_like(hue)
    one = torch.ones_like(hue)
    rotation = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], 1).view(-1, 3, 3)
    matrix: Tensor = torch.linalg.inv(yiq) @ rotation @ yiq
    return matrix


def apply_color(
    images: Float[Tensor, "n h w 3"], matrices: Float[Tensor, "n 3 3"], offset: Float[Tensor, "n 3"]
) -> Float[Tensor, "n h w 3"]:
    """Map each pixel's color by a matrix and an offset per image, clipped to [0, 1]."""
    planes = to_planes(images)
    mapped = torch.baddbmm(offset[:, :, None], matrices, planes.flatten(2)).clamp_(0, 1)
    return to_images(mapped.view_as(planes))


def apply_curves(
    planes: Float[Tensor, "n 3 h w"], curves: Float[Tensor, "n 3 k"]
) -> Float[Tensor, "n 3 h w"]:
    """Map each channel by its own piecewise linear curve, given at k evenly spaced inputs from 0 to 1."""
    position = planes.flatten(2) * (curves.shape[2] - 1)
    left = position.long().clamp_(max=curves.shape[2] - 2)
    low, rise = curves.gather(2, left), curves.diff(dim=2).gather(2, left)
    return torch.addcmul(low, rise, position - left).view_as(planes)


def median_color(planes: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 1 1"]:
    """Return each image's median color, channel by channel, of every third pixel either way."""
    return planes[:, :, ::3, ::3].flatten(2).median(2).values[:, :, None, None]


def waves(draws: Float[Tensor, "n k 3"], px: int) -> Float[Tensor, "n 1 px px"]:
    """Return sums of k plane waves in [-1, 1], of up to 4 periods across the image.

    Args:
        draws: of each wave, uniform in [0, 1): periods across the image's width and height, and phase.
        px: height and width [px].
    """
    line = torch.linspace(-1, 1, px, device=draws.device)
    x, y, phase = (math.pi * (2 * draws - 1)).unbind(2)
    x, y, phase = (v[:, :, None, None] for v in (x, y, phase))
    angle = 4 * (x * line + y * line[:, None]) + phase
    return angle.sin().mean(1, keepdim=True)
