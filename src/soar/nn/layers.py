"""Network building blocks: residual stages with GroupNorm, FiLM, coordinate channels.

Tensors of images are channels first in shape. In memory, convolutions are fastest with channels last, and GroupNorm
on CPUs by far with channels first: each network chooses its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


def group_norm(channels: int) -> nn.GroupNorm:
    """Make a GroupNorm of 32 groups, or of fewer with 4 channels each."""
    return nn.GroupNorm(min(32, channels // 4), channels)


def with_coordinates(images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c+2 h w"]:
    """Append two channels: each pixel's x and y, from -1 to 1."""
    n, _, h, w = images.shape
    y = torch.linspace(-1, 1, h, device=images.device, dtype=images.dtype)
    x = torch.linspace(-1, 1, w, device=images.device, dtype=images.dtype)
    plane = torch.stack([x.expand(h, w), y[:, None].expand(h, w)])
    return torch.cat([images, plane.expand(n, -1, -1, -1)], 1)


class FiLM(nn.Module):
    """Feature-wise linear modulation by a context vector (Perez et al. 2018); initialized to the identity."""

    def __init__(self, context_dim: int, channels: int) -> None:
        super().__init__()
        self.affine = nn.Linear(context_dim, 2 * channels)
        nn.init.zeros_(self.affine.weight)
        nn.init.zeros_(self.affine.bias)

    def forward(
        self, x: Float[Tensor, "n c h w"], context: Float[Tensor, "n k"]
    ) -> Float[Tensor, "n c h w"]:
        """Return x (1 + scale) + shift."""
        affine: Tensor = self.affine(context)[:, :, None, None]
        scale, shift = affine.chunk(2, 1)
        return x * (1 + scale) + shift


class ResidualBlock(nn.Module):
    """Residual block with GroupNorm: two 3x3 convolutions, or a 1-3-1 bottleneck, then FiLM."""

    def __init__(
        self,
        channels_in: int,
        channels: int,
        stride: int = 1,
        *,
        bottleneck: bool = False,
        context_dim: int = 0,
    ) -> None:
        """Make the layers; no FiLM for a `context_dim` of 0. A bottleneck's output has four times the channels."""
        super().__init__()
        if bottleneck:
            shapes = [(channels_in, channels, 1, 1), (channels, channels, 3, stride)]
            shapes += [(channels, 4 * channels, 1, 1)]
        else:
            shapes = [(channels_in, channels, 3, stride), (channels, channels, 3, 1)]
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, k, s, k // 2, bias=False) for i, o, k, s in shapes
        )
        self.norms = nn.ModuleList(group_norm(o) for _, o, _, _ in shapes)
        self.channels_out = shapes[-1][1]
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or channels_in != self.channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, self.channels_out, 1, stride, bias=False),
                group_norm(self.channels_out),
            )
        self.film = FiLM(context_dim, self.channels_out) if context_dim else None

    def forward(
        self, x: Float[Tensor, "n c h w"], context: Float[Tensor, "n k"] | None = None
    ) -> Float[Tensor, "n c2 h2 w2"]:
        """Return FiLM(relu(branch + shortcut))."""
        y = x
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = norm(conv(y))
            if i + 1 < len(self.convs):
                y = torch.relu(y)
        y = torch.relu(y + self.shortcut(x))
        return y if self.film is None or context is None else self.film(y, context)


class ResNetStages(nn.Module):
    """Stages of residual blocks; each stage after the first halves the resolution."""

    def __init__(
        self,
        channels_in: int,
        widths: Sequence[int],
        depths: Sequence[int],
        *,
        bottleneck: bool = False,
        context_dim: int = 0,
    ) -> None:
        super().__init__()
        blocks: list[ResidualBlock] = []
        channels = channels_in
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            for i in range(depth):
                stride = 2 if stage > 0 and i == 0 else 1
                block = ResidualBlock(
                    channels, width, stride, bottleneck=bottleneck, context_dim=context_dim
                )
                blocks.append(block)
                channels = block.channels_out
        self.blocks = nn.ModuleList(blocks)
        self._ends = set(itertools.accumulate(depths))
        self.channels_out = channels

    def forward(
        self, x: Float[Tensor, "n c h w"], context: Float[Tensor, "n k"] | None = None
    ) -> list[Float[Tensor, "n _c _h _w"]]:
        """Return the feature map of each stage."""
        maps = []
        for i, block in enumerate(self.blocks, 1):
            x = block(x, context)
            if i in self._ends:
                maps.append(x)
        return maps


def mlp(widths: Sequence[int]) -> nn.Sequential:
    """Make linear layers with SiLU after each."""
    layers: list[nn.Module] = []
    for i, o in itertools.pairwise(widths):
        layers += [nn.Linear(i, o), nn.SiLU()]
    return nn.Sequential(*layers)


def channels_last(module: nn.Module) -> None:
    """Convert a module's convolution weights to channels-last memory, in place."""
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
