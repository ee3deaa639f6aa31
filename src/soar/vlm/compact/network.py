"""Network of the compact VLM: find what a question names, then judge how the objects relate to each other.

A convolutional trunk encodes the image once. Each question comes as three sentence vectors: its frame ("is it in
that?") and its two noun phrases. Each noun phrase attends to its object in the trunk's fine feature map; the frame
then attends a second time, given what was found; a small network gives the answer from both features and positions.
Where an object is, to a pixel, is read from a finer map: the attention, refined with the features of the first layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from annotated_types import Ge
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from soar.errors import ConfigError
from soar.nn.heatmaps import grid_cells
from soar.nn.layers import channels_last, with_coordinates

PHRASES = 2
"""Noun phrases of a question: an object and a container."""
POSITION = 5
"""Numbers added to attended features: x, y, the standard deviations of both, and the peak's contrast."""


@dataclass(frozen=True)
class CompactVLMConfig:
    """Size of the network."""

    resolution: Annotated[int, Ge(1)] = 96
    """Image side in pixels; a multiple of 16."""
    width: Annotated[int, Ge(1)] = 32
    """Channels at 1/4 of the resolution; twice as many at 1/8, four times at 1/16; a multiple of 8."""
    dim: Annotated[int, Ge(1)] = 96
    """Channels of the attended feature map and of the network that answers."""
    word_dim: Annotated[int, Ge(1)] = 384
    """Dimension of the sentence vectors."""
    pointing_dim: Annotated[int, Ge(0)] = 0
    """Channels of the map, at 1/2 of the resolution, that refines an object's place; 0 for none (old checkpoints)."""

    def __post_init__(self) -> None:
        if self.resolution % 16 or self.width % 8:
            raise ConfigError(
                f"resolution must be a multiple of 16 and width of 8, not {self.resolution}, {self.width}"
            )


class Prediction(NamedTuple):
    """Answers to q questions about each of b images."""

    logits: Float[Tensor, "b q"]
    """Log-odds of yes."""
    attention: Float[Tensor, "b q 2 p"]
    """Log-probability, over the p cells of the feature map, of the position of each noun phrase's object."""
    locations: Float[Tensor, "b q 2 f"]
    """The same over the f cells of the finer map; without one, the attention itself."""


class Features(NamedTuple):
    """An encoded image."""

    map: Float[Tensor, "b d s s"]
    """Features at 1/4 of the resolution."""
    pointing_keys: Float[Tensor, "b k s2 s2"] | None
    """Keys of the finer map, at 1/2 of the resolution."""


class CompactVLMNet(nn.Module):
    """Maps images and sentence vectors of questions to log-odds of yes and attention maps."""

    cells: Float[Tensor, "p 2"]
    """x and y of the centers of the feature map's cells, in [-1, 1]."""

    def __init__(self, config: CompactVLMConfig) -> None:
        super().__init__()
        self.config = config
        d = config.dim
        self.trunk = Trunk(config.width, d)
        self.keys = nn.Conv2d(d, d, 1)
        self.values = nn.Conv2d(d, d, 1)
        self.phrase = _mlp(config.word_dim, d, d)
        self.frame = _mlp(config.word_dim, d, d)
        found = PHRASES * (d + POSITION)
        self.second_look = _mlp(d + found, d, PHRASES * d)
        self.relation = _mlp(d + 2 * found, 2 * d, 2 * d)
        self.verdict = nn.Sequential(nn.SiLU(), nn.Linear(2 * d, 1))
        if config.pointing_dim:
            self.pointing = PointingKeys(config.width // 2, d, config.pointing_dim)
            self.pointing_query = nn.Linear(d, config.pointing_dim)
        self.register_buffer("cells", grid_cells(config.resolution // 4), persistent=False)
        channels_last(self)

    def forward(
        self, images: UInt8[Tensor, "b h w 3"], words: Float[Tensor, "b q 3 e"]
    ) -> Prediction:
        """Answer questions about images.

        Args:
            images: as large as the configured resolution.
            words: sentence vectors of frame, object and container; zeros for a missing one.
        """
        return self.judge(self.encode(images), words)

    def encode(self, images: UInt8[Tensor, "b h w 3"]) -> Features:
        """Return the feature maps of each image."""
        x = images.permute(0, 3, 1, 2).to(self.cells.dtype) / 127.5 - 1
        map, edges = self.trunk(x.contiguous(memory_format=torch.channels_last))
        return Features(map, self.pointing(map, edges) if self.config.pointing_dim else None)

    def judge(self, features: Features, words: Float[Tensor, "b q 3 e"]) -> Prediction:
        """Answer questions about encoded images."""
        keys, values = self.keys(features.map).flatten(2), self.values(features.map).flatten(2)
        frame, phrases = self.frame(words[:, :, 0]), words[:, :, 1:]
        queries = self.phrase(phrases)
        found, attention = self.attend(queries, keys, values)
        named = phrases.abs().sum(-1, keepdim=True) > 0
        found = (found * named).flatten(2)
        again = self.second_look(torch.cat([frame, found], -1)).reshape(*phrases.shape[:3], -1)
        beside, _ = self.attend(again, keys, values)
        hidden = self.relation(torch.cat([frame, found, beside.flatten(2)], -1))
        locations = self.locate(features, queries, attention)
        return Prediction(self.verdict(hidden).squeeze(-1), attention, locations)

    def locate(
        self,
        features: Features,
        queries: Float[Tensor, "b q n d"],
        attention: Float[Tensor, "b q n p"],
    ) -> Float[Tensor, "b q n f"]:
        """Refine attention maps to log-probabilities over the finer map's cells."""
        if features.pointing_keys is None:
            return attention
        keys = features.pointing_keys
        scores = self.pointing_query(queries).flatten(1, 2) @ keys.flatten(2) / keys.shape[1] ** 0.5
        map = attention.flatten(1, 2).reshape(len(keys), -1, *features.map.shape[-2:])
        located: Tensor = (scores + _upsample(map).flatten(2)).log_softmax(-1)
        return located.reshape(*queries.shape[:3], -1)

    def attend(
        self,
        queries: Float[Tensor, "b q n d"],
        keys: Float[Tensor, "b d p"],
        values: Float[Tensor, "b d p"],
    ) -> tuple[Float[Tensor, "b q n g"], Float[Tensor, "b q n p"]]:
        """Return the attended features with POSITION numbers about their position, and the log-attention."""
        scores = queries.flatten(1, 2) @ keys / keys.shape[1] ** 0.5
        attention = scores.log_softmax(-1)
        weights = attention.exp()
        features = weights @ values.transpose(1, 2)
        mean = weights @ self.cells
        spread = (weights @ self.cells.square() - mean.square()).clamp(min=1e-6).sqrt()
        contrast = torch.logsumexp(scores, -1, keepdim=True) - scores.mean(-1, keepdim=True)
        found = torch.cat([features, mean, spread, contrast / 4], -1)
        b, q, n, _ = queries.shape
        return found.reshape(b, q, n, -1), attention.reshape(b, q, n, -1)


class Trunk(nn.Module):
    """Encoder of an image into a feature map at 1/4 of its resolution, with context and coordinates."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        w = width
        self.unshuffle = nn.PixelUnshuffle(2)
        self.stem = nn.Conv2d(12, w // 2, 3, padding=1)
        self.to_fine = nn.Conv2d(2 * w + 2, w, 1)
        self.fine = nn.Sequential(Residual(w), Residual(w))
        self.to_coarse = nn.Conv2d(4 * w, 2 * w, 1)
        self.coarse = nn.Sequential(Residual(2 * w), Residual(2 * w), Residual(2 * w))
        self.to_deep = nn.Conv2d(8 * w, 4 * w, 1)
        self.deep = nn.Sequential(Residual(4 * w), Residual(4 * w))
        self.fine_out = nn.Conv2d(w, dim, 1)
        self.coarse_out = nn.Conv2d(2 * w, dim, 1)
        self.deep_out = nn.Conv2d(4 * w, dim, 1)

    def forward(
        self, x: Float[Tensor, "b 3 h w"]
    ) -> tuple[Float[Tensor, "b d s s"], Float[Tensor, "b e s2 s2"]]:
        """Encode images `x` in [-1, 1]; also returns the first layer's features, at 1/2 of the resolution."""
        edges = torch.relu(self.stem(self.unshuffle(x)))
        fine = self.fine(self.to_fine(with_coordinates(self.unshuffle(edges))))
        coarse = self.coarse(self.to_coarse(self.unshuffle(fine)))
        deep = self.deep(self.to_deep(self.unshuffle(coarse)))
        context = self.coarse_out(coarse) + _upsample(self.deep_out(deep))
        return torch.relu(self.fine_out(fine) + _upsample(context)), edges


class PointingKeys(nn.Module):
    """Keys at 1/2 of the resolution: the feature map, spread over 2 x 2 cells, with the first layer's features."""

    def __init__(self, edges: int, features: int, dim: int) -> None:
        super().__init__()
        self.spread = nn.Sequential(nn.Conv2d(features, 4 * dim, 1), nn.PixelShuffle(2))
        self.detail = nn.Conv2d(edges, dim, 3, padding=1)
        self.out = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(
        self, map: Float[Tensor, "b d s s"], edges: Float[Tensor, "b e s2 s2"]
    ) -> Float[Tensor, "b k s2 s2"]:
        """Combine both maps."""
        out: Tensor = self.out(torch.relu(self.spread(map) + self.detail(edges)))
        return out


class Residual(nn.Module):
    """Pre-activation residual block: two 3 x 3 convolutions, each after GroupNorm and ReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(8, width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(8, width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1),
        )  # fmt: skip

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return x plus the branch; same shape."""
        out: Tensor = x + self.layers(x)
        return out


def _upsample(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
    return nn.functional.interpolate(x, scale_factor=2)


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.LayerNorm(hidden), nn.SiLU(), nn.Linear(hidden, outputs)
    )
