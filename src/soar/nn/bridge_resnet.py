"""The image encoder of the papers' released policies and critics (bridge_data_v2, SOAR, V-GPS), as their code has it.

It differs from `soar.policies.encoders.ResNet` in padding, groups, activation and coordinates, and FiLM layers take the
instruction's embedding as it is. Weights of one don't fit the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from soar.nn.layers import FiLM

_GROUPS = 4
_ACTIVATIONS = {"relu": torch.relu, "swish": nn.functional.silu}


class BridgeResNet(nn.Module):
    """A ResNet whose convolutions pad as TensorFlow's "SAME": at the right and the bottom first."""

    def __init__(
        self,
        channels: int,
        widths: Sequence[int],
        depths: Sequence[int],
        *,
        bottleneck: bool = False,
        coordinates: bool = True,
        activation: Literal["relu", "swish"] = "swish",
        context_dim: int = 0,
    ) -> None:
        """Make the layers.

        Args:
            channels: of the images.
            widths, depths: channels and blocks of each stage.
            bottleneck: whether a block is a 1-3-1 bottleneck.
            coordinates: whether each pixel's y and x, from -1 to 1, are further channels.
            activation: after each norm.
            context_dim: length of the context; 0 is none, and no FiLM.
        """
        super().__init__()
        self._coordinates, self._activation = coordinates, activation
        self.stem = nn.Conv2d(channels + 2 * coordinates, widths[0], 7, 2, 3, bias=False)
        self.norm = nn.GroupNorm(_GROUPS, widths[0])
        blocks: list[BridgeBlock] = []
        last = widths[0]
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            for i in range(depth):
                stride = 2 if stage > 0 and i == 0 else 1
                blocks.append(BridgeBlock(last, width, stride, bottleneck, activation))
                last = blocks[-1].channels_out
        self.blocks = nn.ModuleList(blocks)
        self.films = nn.ModuleList(FiLM(context_dim, b.channels_out) for b in blocks if context_dim)
        self.dim = last

    def features(
        self, images: Float[Tensor, "n c h w"], context: Float[Tensor, "n k"] | None = None
    ) -> Float[Tensor, "n d"]:
        """Return the mean of the last feature map of images in [0, 1]."""
        x = 2 * images - 1
        if self._coordinates:
            x = _with_rows_and_columns(x)
        x = _ACTIVATIONS[self._activation](self.norm(self.stem(x)))
        x = nn.functional.max_pool2d(_same(x, 3, 2, -torch.inf), 3, 2)
        for i, block in enumerate(self.blocks):
            x = block(x)
            if context is not None and len(self.films):
                x = self.films[i](x, context)
        return x.mean((2, 3))


class BridgeBlock(nn.Module):
    """Residual block: two 3x3 convolutions, or a 1-3-1 bottleneck, each with a norm."""

    def __init__(
        self,
        channels_in: int,
        width: int,
        stride: int,
        bottleneck: bool,
        activation: Literal["relu", "swish"],
    ) -> None:
        super().__init__()
        shapes = [(channels_in, width, 3, stride), (width, width, 3, 1)]
        if bottleneck:
            shapes = [(channels_in, width, 1, 1), (width, width, 3, stride)]
            shapes += [(width, 4 * width, 1, 1)]
        self.convs = nn.ModuleList(nn.Conv2d(i, o, k, s, bias=False) for i, o, k, s in shapes)
        self.norms = nn.ModuleList(nn.GroupNorm(_GROUPS, o) for _, o, _, _ in shapes)
        self._kernels = [(k, s) for _, _, k, s in shapes]
        self._activation = activation
        self.channels_out = shapes[-1][1]
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or channels_in != self.channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, self.channels_out, 1, stride, bias=False),
                nn.GroupNorm(_GROUPS, self.channels_out),
            )

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c2 h2 w2"]:
        """Return act(branch + shortcut)."""
        act = _ACTIVATIONS[self._activation]
        y = x
        layers = zip(self.convs, self.norms, self._kernels, strict=True)
        for i, (conv, norm, (kernel, stride)) in enumerate(layers, 1):
            y = norm(conv(_same(y, kernel, stride, 0.0)))
            if i < len(self.convs):
                y = act(y)
        summed: Tensor = act(self.shortcut(x) + y)
        return summed


def _with_rows_and_columns(images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c+2 h w"]:
    n, _, h, w = images.shape
    rows = torch.linspace(-1, 1, h, device=images.device, dtype=images.dtype)
    columns = torch.linspace(-1, 1, w, device=images.device, dtype=images.dtype)
    plane = torch.stack([rows[:, None].expand(h, w), columns.expand(h, w)])
    return torch.cat([images, plane.expand(n, -1, -1, -1)], 1)


def _same(
    x: Float[Tensor, "n c h w"], kernel: int, stride: int, value: float
) -> Float[Tensor, "n c h2 w2"]:
    """Pad as "SAME" does, the odd pixel at the right and the bottom."""
    pads = []
    for size in (x.shape[3], x.shape[2]):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    return nn.functional.pad(x, pads, value=value) if any(pads) else x
