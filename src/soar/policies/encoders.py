"""Image encoders of the policies: an image, or several stacked on channels, to one feature vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, NamedTuple, TypeAlias

import torch
from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor, nn

from soar.errors import ConfigError
from soar.nn.bridge_resnet import BridgeResNet
from soar.nn.heatmaps import grid_cells
from soar.nn.layers import ResNetStages, channels_last, group_norm, with_coordinates

_OFFSET_SCALE = 5.0
"""Scale of the distances between attended positions, relative to the positions."""

RESNETS: dict[str, tuple[tuple[int, ...], bool]] = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
}
"""Blocks of each stage, and whether they are bottlenecks."""


@dataclass(frozen=True)
class EncoderConfig:
    """Kind and size of an encoder. All else is for the compact encoder and "bridge"; the ResNets have no settings."""

    kind: Literal["resnet18", "resnet34", "resnet50", "compact", "bridge"] = "resnet34"
    """"bridge" is the ResNet of the papers' released weights (`soar.nn.bridge_resnet`)."""
    widths: tuple[int, ...] = (48, 96, 192)
    """Channels of the stages."""
    depths: tuple[int, ...] = (1, 1, 1)
    """Residual blocks of the stages."""
    dim: Annotated[int, Ge(0)] = 256
    """Features of the whole image."""
    patch: Annotated[int, Ge(1)] = 4
    """Height and width of a cell of the first stage [px]."""
    fine: Annotated[int, Ge(0)] = 0
    """Channels of the stem's intermediate map, whose cells are half as wide; 0 is none."""
    attention_points: Annotated[int, Ge(0)] = 0
    """Positions that spatial attention reads."""
    detail: Annotated[int, Ge(0)] = 32
    """Features of each of these positions."""
    bottleneck: bool = False
    """Whether the blocks of "bridge" are bottlenecks."""
    coordinates: bool = True
    """Whether the pixels' coordinates are further channels of "bridge"."""
    activation: Literal["relu", "swish"] = "swish"
    """Activation function of "bridge"."""

    def __post_init__(self) -> None:
        if self.kind not in (*RESNETS, "compact", "bridge"):
            raise ConfigError(
                f"no encoder '{self.kind}'; valid: {', '.join(RESNETS)}, compact, bridge"
            )
        if len(self.widths) != len(self.depths) or any(w % 4 for w in self.widths):
            raise ConfigError("widths and depths need the same length, and widths multiples of 4")
        if self.fine and self.patch % 2:
            raise ConfigError(f"patch is {self.patch}; valid with a fine map: an even number")


class Encoding(NamedTuple):
    """Encoding of n images."""

    features: Float[Tensor, "n d"]
    attention: Float[Tensor, "n g p"] | None = None
    """Log-probability of each attended position over the p square cells of a map."""


def build_encoder(
    config: EncoderConfig, channels: int, resolution: int, context_dim: int = 0
) -> Encoder:
    """Build an encoder of square images; with FiLM unless `context_dim` is 0."""
    if config.kind == "bridge":
        return BridgeEncoder(config, channels, context_dim)
    if config.kind == "compact":
        return CompactEncoder(config, channels, resolution, context_dim)
    return ResNet(config.kind, channels, context_dim)


class ResNet(nn.Module):
    """ResNet with GroupNorm in place of BatchNorm, without its classifier (paper, B.2.1)."""

    def __init__(self, kind: str, channels: int, context_dim: int = 0) -> None:
        super().__init__()
        depths, bottleneck = RESNETS[kind]
        self.stem = nn.Sequential(
            nn.Conv2d(channels, 64, 7, 2, 3, bias=False),
            group_norm(64),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        )
        self.stages = ResNetStages(
            64, (64, 128, 256, 512), depths, bottleneck=bottleneck, context_dim=context_dim
        )
        self.dim = self.stages.channels_out
        channels_last(self)

    def forward(
        self, images: Float[Tensor, "n c h w"], context: Float[Tensor, "n k"] | None = None
    ) -> Encoding:
        """Return the mean of the last feature map of images in [0, 1]."""
        features: Tensor = self.stages(self.stem(2 * images - 1), context)[-1]
        return Encoding(features.mean((2, 3)))


class BridgeEncoder(BridgeResNet):
    """The ResNet of the papers' released policies."""

    def __init__(self, config: EncoderConfig, channels: int, context_dim: int = 0) -> None:
        super().__init__(
            channels, config.widths, config.depths, bottleneck=config.bottleneck, coordinates=config.coordinates,
            activation=config.activation, context_dim=context_dim,
        )  # fmt: skip

    def forward(
        self, images: Float[Tensor, "n c h w"], context: Float[Tensor, "n k"] | None = None
    ) -> Encoding:
        """Return the mean of the last feature map of images in [0, 1]."""
        return Encoding(self.features(images, context))


class CompactEncoder(nn.Module):
    """Encoder for small images on CPUs: a stem over patches of pixels and coordinates, then residual stages.

    The last map is flattened and projected, not averaged, because a policy needs to know positions. For precise ones,
    spatial attention adds the features of a few positions.
    """

    RENAMED: ClassVar = {"look": "attention"}

    def __init__(
        self, config: EncoderConfig, channels: int, resolution: int, context_dim: int = 0
    ) -> None:
        super().__init__()
        cell = config.patch * 2 ** (len(config.widths) - 1)
        if resolution % cell:
            raise ConfigError(
                f"resolution is {resolution}; valid with {len(config.widths)} stages and patches of "
                f"{config.patch}: a multiple of {cell}"
            )
        width, side = config.widths[0], resolution // cell
        self.stem = _stem(config, channels + 2)
        self.stages = ResNetStages(width, config.widths, config.depths, context_dim=context_dim)
        self.project = nn.Linear(self.stages.channels_out * side * side, config.dim)
        self.norm = nn.LayerNorm(config.dim)
        self.attention = (
            SpatialAttention(config, resolution // config.patch)
            if config.attention_points
            else None
        )
        self.dim = config.dim + (self.attention.dim if self.attention else 0)
        # Not the stages: their GroupNorm is ten times faster with channels first on CPUs.
        channels_last(self.stem)

    def forward(
        self, images: Float[Tensor, "n c h w"], context: Float[Tensor, "n k"] | None = None
    ) -> Encoding:
        """Return the features of images in [0, 1]."""
        patches = self.stem(with_coordinates(2 * images - 1)).contiguous()
        maps = self.stages(patches, context)
        whole = nn.functional.silu(self.norm(self.project(maps[-1].flatten(1))))
        if self.attention is None:
            return Encoding(whole)
        attended = self.attention(maps)
        return Encoding(torch.cat([whole, attended.features], 1), attended.attention)


def _stem(config: EncoderConfig, channels: int) -> nn.Sequential:
    width, size, fine = config.widths[0], config.patch, config.fine
    if not fine:
        return nn.Sequential(nn.Conv2d(channels, width, size, size), nn.ReLU())
    return nn.Sequential(
        nn.Conv2d(channels, fine, size // 2, size // 2), nn.ReLU(),
        nn.Conv2d(fine, width, 3, 2, 1), nn.ReLU(),
    )  # fmt: skip


class SpatialAttention(nn.Module):
    """Attention over a pyramid of feature maps: the features and positions of a few attended points."""

    cells: Float[Tensor, "p 2"]
    """x and y of the cells' centers, in [-1, 1]."""

    def __init__(self, config: EncoderConfig, side: int) -> None:
        super().__init__()
        d = 2 * config.detail
        self.gather = nn.ModuleList(nn.Conv2d(w, d, 1) for w in config.widths)
        self.scores = nn.Conv2d(d, config.attention_points, 3, padding=1)
        self.values = nn.Conv2d(d, config.detail, 1)
        self.dim = config.attention_points * (config.detail + 4)
        self.register_buffer("cells", grid_cells(side), persistent=False)

    def forward(self, maps: Sequence[Float[Tensor, "n _c _h _w"]]) -> Encoding:
        """Attend to points of feature maps, each half as wide and high as the one before it."""
        gathered = [conv(x) for conv, x in zip(self.gather, maps, strict=True)]
        x = gathered.pop()
        for finer in reversed(gathered):
            x = finer + nn.functional.interpolate(x, scale_factor=2)
        x = torch.relu(x)
        attention = self.scores(x).flatten(2).float().log_softmax(-1)
        weights = attention.exp()
        values = weights @ self.values(x).flatten(2).float().mT
        position = weights @ self.cells
        offset = _OFFSET_SCALE * (position - position[:, :1])
        return Encoding(torch.cat([values, position, offset], -1).flatten(1), attention)


Encoder: TypeAlias = ResNet | CompactEncoder | BridgeEncoder
"""A torch module that encodes images in [0, 1]; `dim` is the number of its features."""
