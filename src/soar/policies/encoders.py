"""From an image, or several stacked on channels, to one feature vector: the policies' eyes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from soar.errors import ConfigError
from soar.nn import Stages, channels_last, group_norm, with_coordinates

RESNETS: dict[str, tuple[tuple[int, ...], bool]] = {
    # blocks in each stage, whether they are bottlenecks
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
}


@dataclass(frozen=True)
class EncoderConfig:
    """Which encoder, and its size."""

    kind: Literal["resnet18", "resnet34", "resnet50", "compact"] = "resnet34"
    widths: tuple[int, ...] = (48, 96, 192)
    """Channels of the compact encoder's stages; the ResNets' are fixed."""
    depths: tuple[int, ...] = (1, 1, 1)
    """Blocks of the compact encoder's stages."""
    dim: int = 256
    """Length of the compact encoder's feature vector."""

    def __post_init__(self) -> None:
        if self.kind not in (*RESNETS, "compact"):
            raise ConfigError(f"no encoder '{self.kind}'; valid: {', '.join(RESNETS)}, compact")
        if len(self.widths) != len(self.depths) or any(w % 4 for w in self.widths):
            raise ConfigError("widths and depths need the same length, and widths multiples of 4")


def build_encoder(
    config: EncoderConfig, channels: int, resolution: int, context_dim: int = 0
) -> ResNet | Compact:
    """The encoder for images of so many channels and pixels; FiLM where `context_dim` isn't 0."""
    if config.kind == "compact":
        return Compact(config, channels, resolution, context_dim)
    return ResNet(config.kind, channels, context_dim)


class ResNet(nn.Module):
    """A ResNet with GroupNorm in BatchNorm's place, without its classifier (paper, B.2.1)."""

    def __init__(self, kind: str, channels: int, context_dim: int = 0) -> None:
        super().__init__()
        depths, bottleneck = RESNETS[kind]
        self.stem = nn.Sequential(
            nn.Conv2d(channels, 64, 7, 2, 3, bias=False),
            group_norm(64),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        )
        self.stages = Stages(
            64, (64, 128, 256, 512), depths, bottleneck=bottleneck, context_dim=context_dim
        )
        self.dim = self.stages.channels_out
        channels_last(self)

    def forward(
        self, images: Float[Tensor, "n c h w"], context: Float[Tensor, "n k"] | None = None
    ) -> Float[Tensor, "n d"]:
        """Features of images in [0, 1], averaged over the last map."""
        features: Tensor = self.stages(self.stem(2 * images - 1), context)
        return features.mean((2, 3))


class Compact(nn.Module):
    """For small images on CPUs: a stem with stride 4 over pixels and their coordinates, then residual stages.

    The last map is flattened and projected, not averaged, because where things are is what the policy
    needs to know most precisely.
    """

    def __init__(
        self, config: EncoderConfig, channels: int, resolution: int, context_dim: int = 0
    ) -> None:
        super().__init__()
        if resolution % 2 ** (1 + len(config.widths)):
            raise ConfigError(
                f"resolution is {resolution}; valid with {len(config.widths)} stages: "
                f"a multiple of {2 ** (1 + len(config.widths))}"
            )
        width, side = config.widths[0], resolution // 2 ** (1 + len(config.widths))
        self.stem = nn.Sequential(nn.Conv2d(channels + 2, width, 4, 4), nn.ReLU())
        self.stages = Stages(width, config.widths, config.depths, context_dim=context_dim)
        self.project = nn.Linear(self.stages.channels_out * side * side, config.dim)
        self.norm = nn.LayerNorm(config.dim)
        self.dim = config.dim
        channels_last(self)

    def forward(
        self, images: Float[Tensor, "n c h w"], context: Float[Tensor, "n k"] | None = None
    ) -> Float[Tensor, "n d"]:
        """Features of images in [0, 1]."""
        x = self.stages(self.stem(with_coordinates(2 * images - 1)), context)
        return nn.functional.silu(self.norm(self.project(x.flatten(1))))
