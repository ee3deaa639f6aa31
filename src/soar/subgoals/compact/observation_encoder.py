"""Encoder of an observation and an instruction: what should happen, and where in the image.

The keypoint predictor, the renderer (`network.CompactSubgoalNet`) and the classifier of the evaluation each have
their own. It works on a map of 16 x 16 cells, the predictor's of as many as `PredictorSize` says: wide and at low
resolution, which suits CPUs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, NamedTuple

import torch
from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from soar.errors import ConfigError
from soar.nn.heatmaps import gaussian_heatmaps, grid_cells
from soar.nn.layers import FiLM, group_norm, with_coordinates

NUM_SUPERVISED = 3
"""Attention maps with a supervised location: of the named object, the container and the gripper."""
OBJECT, CONTAINER, GRIPPER = 0, 1, 2
"""Index of each among these maps and among a corpus's keypoints."""
COORDINATE_FEATURES = 8
"""Fourier features of one image coordinate."""


@dataclass(frozen=True)
class PredictorSize:
    """Size of the keypoint predictor's encoder; None is the renderer's."""

    cells: Annotated[int, Ge(2)] | None = None
    """Side of the fine map [cells]; even, and a divisor of `input_resolution`."""
    width: Annotated[int, Ge(1)] | None = None
    """Channels of the fine map."""
    coarse_width: Annotated[int, Ge(1)] | None = None
    """Channels of the coarse map, of half as many cells a side."""
    depth: Annotated[int, Ge(0)] | None = None
    """Residual blocks on the coarse map."""


@dataclass(frozen=True)
class CompactSubgoalConfig:
    """Size of the compact subgoal network."""

    resolution: Annotated[int, Ge(1)] = 64
    """Side of the generated images [pixels]; a multiple of eight."""
    input_resolution: Annotated[int, Ge(1)] = 96
    """Side of the images that the keypoint predictor sees [pixels]; larger, so that it resolves fingers."""
    width: Annotated[int, Ge(1)] = 64
    """Channels at a quarter of the resolution."""
    coarse_width: Annotated[int, Ge(0)] = 128
    """Channels at an eighth of the resolution."""
    depth: Annotated[int, Ge(0)] = 1
    """Residual blocks at an eighth of the resolution, in each encoder and in the U-Net."""
    attention_points: Annotated[int, Ge(0)] = 5
    """Attention maps over the image, one for each query that is read from the instruction."""
    condition_dim: Annotated[int, Ge(0)] = 256
    """Size of the vector that conditions every block."""
    word_dim: Annotated[int, Ge(0)] = 384
    """Size of a token's embedding."""
    difference: float = 0.25
    """d: typical difference between a subgoal and its observation, where images span [-1, 1]."""
    predict_keypoints: bool = False
    """Whether future keypoints are predicted first and then rendered, instead of both in the diffusion."""
    predictor: PredictorSize = PredictorSize()
    """Size of the keypoint predictor's encoder, where it isn't the renderer's."""

    def __post_init__(self) -> None:
        if (
            self.resolution % 8
            or 4 * self.input_resolution % self.resolution
            or self.attention_points < NUM_SUPERVISED
        ):
            raise ConfigError(
                "resolution must be a multiple of 8, input_resolution one of a quarter of it, and attention_points "
                f"at least {NUM_SUPERVISED}, not {self.resolution}, {self.input_resolution} and "
                f"{self.attention_points}"
            )
        cells = self.predictor.cells or self.resolution // 4
        if cells % 2 or self.input_resolution % cells:
            raise ConfigError(
                f"the predictor's cells must be even and divide input_resolution, {self.input_resolution}, not {cells}"
            )

    def of_predictor(self) -> CompactSubgoalConfig:
        """Return the configuration with the size of the keypoint predictor's encoder in place of the renderer's."""
        size = self.predictor
        return replace(
            self,
            resolution=4 * size.cells if size.cells else self.resolution,
            width=size.width or self.width,
            coarse_width=size.coarse_width or self.coarse_width,
            depth=self.depth if size.depth is None else size.depth,
            predictor=PredictorSize(),
        )


class EncodedObservation(NamedTuple):
    """Output of `ObservationEncoder`. The first axis is the batch."""

    condition: Float[Tensor, "b v"]
    fine: Float[Tensor, "b c h4 w4"]
    coarse: Float[Tensor, "b d h8 w8"]
    log_attention: Float[Tensor, "b g p"]
    """Logarithm of each attention map over the p cells of the fine map."""
    located: Float[Tensor, "b g 2"]
    """Mean x and y in [-1, 1] of each attention map."""


class ObservationEncoder(nn.Module):
    """Encoder of an observation and an instruction to feature maps, attention maps and a condition vector."""

    RENAMED: ClassVar = {
        "reader": "instruction_encoder",
        "ahead": "horizon_embedding",
        "around": "attention",
        "found": "attended_embedding",
        "placed": "point_embedding",
    }

    def __init__(self, config: CompactSubgoalConfig, pixels: int) -> None:
        """Build the encoder. `pixels`: side of its input images."""
        super().__init__()
        c, d, v, g = (
            config.width,
            config.coarse_width,
            config.condition_dim,
            config.attention_points,
        )
        self.patch = 4 * pixels // config.resolution
        self.instruction_encoder = InstructionEncoder(config.word_dim, v, g)
        self.horizon_embedding = nn.Linear(16, v)
        self.stem = nn.Conv2d(3 * self.patch**2 + 2, c, 3, padding=1)
        self.fine = FiLMResidualBlock(c, v)
        self.down = nn.Conv2d(4 * c, d, 1)
        self.coarse = nn.ModuleList(FiLMResidualBlock(d, v) for _ in range(config.depth))
        self.attention = SelfAttention(d)
        self.up = nn.Conv2d(d, 4 * c, 1)
        self.keys = nn.Conv2d(c, v, 1)
        self.merge = nn.Conv2d(c + g, c, 3, padding=1)
        self.attended_embedding = nn.Sequential(
            nn.Linear(g * (v + 2), v), nn.SiLU(), nn.Linear(v, v)
        )
        self.point_embedding = nn.Linear(NUM_SUPERVISED * 2 * COORDINATE_FEATURES, v)
        nn.init.zeros_(self.point_embedding.weight)

    def forward(
        self,
        observation: Float[Tensor, "b 3 h w"],
        words: Float[Tensor, "b l e"],
        steps_ahead: Float[Tensor, " b"],
        object_points: Float[Tensor, "b 2 2"] | None = None,
    ) -> EncodedObservation:
        """Encode a batch.

        Args:
            observation: images in [-1, 1]; zeros for none.
            words: token embeddings, padded with zeros; all zeros for none.
            steps_ahead: control steps from the observation to the subgoal.
            object_points: x and y in [-1, 1] of the named object and of the container, from another model; NaN, or
                None for all, where the encoder has to find them itself.
        """
        queries, condition = self.instruction_encoder(words)
        condition = condition + self.horizon_embedding(fourier_features(steps_ahead / 32, 16))
        x = self.stem(with_coordinates(functional.pixel_unshuffle(observation, self.patch)))
        x = self.fine(x, condition)
        y = self.down(functional.pixel_unshuffle(x, 2))
        for block in self.coarse:
            y = block(y, condition)
        y = self.attention(y)
        x = x + functional.pixel_shuffle(self.up(y), 2)
        keys = self.keys(x).flatten(2)
        log_attention = (queries @ keys / queries.shape[-1] ** 0.5).log_softmax(-1)
        maps = log_attention.exp()
        if object_points is not None:
            known = ~object_points.isnan().any(-1, keepdim=True)
            given = gaussian_heatmaps(object_points, x.shape[-1]).softmax(-1).to(maps)
            maps = torch.cat([given.where(known, maps[:, :2]), maps[:, 2:]], 1)
        located = maps @ grid_cells(x.shape[-1]).to(maps)
        attended = torch.cat([queries, located], -1).flatten(1)
        condition = condition + self.attended_embedding(attended)
        condition = condition + self.point_embedding(point_features(located[:, :NUM_SUPERVISED]))
        fine = self.merge(torch.cat([x, maps.unflatten(-1, x.shape[-2:])], 1))
        return EncodedObservation(condition, fine, y, log_attention, located)


class InstructionEncoder(nn.Module):
    """Cross-attention from learned slots to the tokens: one image query for each slot, and a vector for all."""

    RENAMED: ClassVar = {"silence": "null_token", "ask": "slots", "vector": "summary"}

    def __init__(self, word_dim: int, condition_dim: int, attention_points: int) -> None:
        super().__init__()
        self.null_token = nn.Parameter(torch.randn(word_dim) * 0.1)
        self.slots = nn.Parameter(torch.randn(attention_points, condition_dim))
        self.keys = nn.Linear(word_dim, condition_dim)
        self.values = nn.Linear(word_dim, condition_dim)
        self.queries = nn.Sequential(nn.SiLU(), nn.Linear(condition_dim, condition_dim))
        self.summary = nn.Sequential(
            nn.SiLU(),
            nn.Linear(attention_points * condition_dim, condition_dim),
            nn.SiLU(),
            nn.Linear(condition_dim, condition_dim),
        )

    def forward(
        self, words: Float[Tensor, "b l e"]
    ) -> tuple[Float[Tensor, "b g v"], Float[Tensor, "b v"]]:
        """Return one query for each attention map, and the vector."""
        # The null token is always there, so that there is something to attend to without an instruction.
        null_token = self.null_token.to(words).expand(len(words), 1, -1)
        padding = nn.functional.pad((words == 0).all(-1), (1, 0))
        words = torch.cat([null_token, words], 1)
        scores = self.slots @ self.keys(words).transpose(1, 2) / self.slots.shape[-1] ** 0.5
        weights = scores.masked_fill(padding[:, None], -torch.inf).softmax(-1)
        read = weights @ self.values(words)
        return self.queries(read), self.summary(read.flatten(1))


class FiLMResidualBlock(nn.Module):
    """Two 3 x 3 convolutions, each after group normalization, FiLM and SiLU, with a residual connection."""

    def __init__(self, channels: int, condition_dim: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(group_norm(channels) for _ in range(2))
        self.films = nn.ModuleList(FiLM(condition_dim, channels) for _ in range(2))
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        nn.init.zeros_(self.convs[1].weight)  # type: ignore[arg-type]

    def forward(
        self, x: Float[Tensor, "b c h w"], condition: Float[Tensor, "b v"]
    ) -> Float[Tensor, "b c h w"]:
        """Transform the map; the identity at initialization."""
        y, activated = x, functional.silu(condition)
        for norm, film, conv in zip(self.norms, self.films, self.convs, strict=True):
            y = conv(functional.silu(film(norm(y), activated)))
        return x + y


class SelfAttention(nn.Module):
    """Self-attention over the cells of a small map, in heads of 32 channels, with a residual connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = group_norm(channels)
        self.project = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Transform the map; the identity at initialization."""
        b, c, h, w = x.shape
        heads: Tensor = self.project(self.norm(x)).reshape(b, 3, c // 32, 32, h * w)
        query, key, value = heads.transpose(-1, -2).unbind(1)
        # Written out: torch's fused attention is slower for so few cells, above all in training on CPUs.
        attended = (query @ key.transpose(-1, -2) / 32**0.5).softmax(-1) @ value
        out: Tensor = x + self.out(attended.transpose(-1, -2).reshape(b, c, h, w))
        return out


def fourier_features(x: Float[Tensor, " b"], size: int) -> Float[Tensor, "b size"]:
    """Return sines and cosines of numbers of about [0, 1], with 1/4 to 16 periods per unit."""
    periods = torch.logspace(-2, 4, size // 2, base=2, device=x.device) * 2 * math.pi
    angles = x[:, None] * periods
    return torch.cat([angles.sin(), angles.cos()], 1)


def point_features(points: Float[Tensor, "b k 2"]) -> Float[Tensor, "b n"]:
    """Return `COORDINATE_FEATURES` Fourier features for each coordinate of some points in [-1, 1]."""
    features = fourier_features(points.flatten() / 4 + 0.5, COORDINATE_FEATURES)
    return features.reshape(len(points), -1)
