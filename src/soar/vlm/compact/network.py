"""The compact eyes' network: find what the question names, then judge how the two stand to each other.

A convolutional trunk reads the image once. Each question comes as three sentence vectors: its frame
("is it in that?") and its two noun phrases. Each phrase looks for its thing by attention over the
trunk's fine feature map; the frame then looks a second time, knowing what was found; and a small
network says yes or no from what was seen and where.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from soar.errors import ConfigError
from soar.nn.layers import channels_last, grid_cells, with_coordinates

PHRASES = 2
"""A question names a thing and, often, a container."""
PLACE = 5
"""Numbers beside the features of a glimpse: x, y, their spread, and how much the place stands out."""


@dataclass(frozen=True)
class CompactVLMConfig:
    """The network's size."""

    resolution: int = 96
    """Pixels a side; a multiple of 16."""
    width: int = 32
    """Channels at a quarter of the resolution; twice and four times that at an eighth and a sixteenth."""
    dim: int = 96
    """Channels of the feature map that is attended to, and of the judging network."""
    word_dim: int = 384
    """Of the sentence encoder."""

    def __post_init__(self) -> None:
        if self.resolution % 16 or self.width % 8:
            raise ConfigError(
                f"resolution must be a multiple of 16 and width of 8, not {self.resolution}, {self.width}"
            )


class Prediction(NamedTuple):
    """What the network says about q questions on each of b images."""

    logits: Float[Tensor, "b q"]
    """Log-odds of yes."""
    gaze: Float[Tensor, "b q 2 p"]
    """Log-probability, over the p cells of the feature map, that the phrase's thing is there."""


class CompactVLMNet(nn.Module):
    """Images and questions in; log-odds of yes, and the places looked at, out."""

    places: Float[Tensor, "p 2"]
    """x and y of the feature map's cells, in [-1, 1]."""

    def __init__(self, config: CompactVLMConfig) -> None:
        super().__init__()
        self.config = config
        d = config.dim
        self.trunk = Trunk(config.width, d)
        self.keys = nn.Conv2d(d, d, 1)
        self.values = nn.Conv2d(d, d, 1)
        self.phrase = mlp(config.word_dim, d, d)
        self.frame = mlp(config.word_dim, d, d)
        glimpses = PHRASES * (d + PLACE)
        self.second_look = mlp(d + glimpses, d, PHRASES * d)
        self.relation = mlp(d + 2 * glimpses, 2 * d, 2 * d)
        self.verdict = nn.Sequential(nn.SiLU(), nn.Linear(2 * d, 1))
        self.register_buffer("places", grid_cells(config.resolution // 4), persistent=False)
        channels_last(self)

    def forward(
        self, images: UInt8[Tensor, "b h w 3"], words: Float[Tensor, "b q 3 e"]
    ) -> Prediction:
        """`words`: sentence vectors of the frame, the thing and the container, zeros where there is none."""
        return self.ask(self.look(images), words)

    def look(self, images: UInt8[Tensor, "b h w 3"]) -> Float[Tensor, "b d s s"]:
        """The feature map of each image: all that questions need, computed once."""
        x = images.permute(0, 3, 1, 2).to(self.places.dtype) / 127.5 - 1
        features: Tensor = self.trunk(x.contiguous(memory_format=torch.channels_last))
        return features

    def ask(
        self, features: Float[Tensor, "b d s s"], words: Float[Tensor, "b q 3 e"]
    ) -> Prediction:
        """Judge questions on images already looked at."""
        keys, values = self.keys(features).flatten(2), self.values(features).flatten(2)
        frame, phrases = self.frame(words[:, :, 0]), words[:, :, 1:]
        found, gaze = self.glimpse(self.phrase(phrases), keys, values)
        named = phrases.abs().sum(-1, keepdim=True) > 0
        found = (found * named).flatten(2)
        again = self.second_look(torch.cat([frame, found], -1)).reshape(*phrases.shape[:3], -1)
        beside, _ = self.glimpse(again, keys, values)
        hidden = self.relation(torch.cat([frame, found, beside.flatten(2)], -1))
        return Prediction(self.verdict(hidden).squeeze(-1), gaze)

    def glimpse(
        self,
        queries: Float[Tensor, "b q n d"],
        keys: Float[Tensor, "b d p"],
        values: Float[Tensor, "b d p"],
    ) -> tuple[Float[Tensor, "b q n g"], Float[Tensor, "b q n p"]]:
        """What is seen where each query looks, PLACE numbers about the place, and the log-attention."""
        scores = queries.flatten(1, 2) @ keys / keys.shape[1] ** 0.5
        gaze = scores.log_softmax(-1)
        weights = gaze.exp()
        seen = weights @ values.transpose(1, 2)
        place = weights @ self.places
        spread = (weights @ self.places.square() - place.square()).clamp(min=1e-6).sqrt()
        distinct = torch.logsumexp(scores, -1, keepdim=True) - scores.mean(-1, keepdim=True)
        glance = torch.cat([seen, place, spread, distinct / 4], -1)
        b, q, n, _ = queries.shape
        return glance.reshape(b, q, n, -1), gaze.reshape(b, q, n, -1)


class Trunk(nn.Module):
    """Image -> feature map at a quarter of its resolution that knows its surroundings and where it is."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        w = width
        self.fold = nn.PixelUnshuffle(2)
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

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d s s"]:
        """`x` in [-1, 1]."""
        x = self.fold(torch.relu(self.stem(self.fold(x))))
        fine = self.fine(self.to_fine(with_coordinates(x)))
        coarse = self.coarse(self.to_coarse(self.fold(fine)))
        deep = self.deep(self.to_deep(self.fold(coarse)))
        around = self.coarse_out(coarse) + twice(self.deep_out(deep))
        out: Tensor = torch.relu(self.fine_out(fine) + twice(around))
        return out


class Residual(nn.Module):
    """Two 3x3 convolutions, each after group norm and ReLU, added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(8, width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(8, width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1),
        )  # fmt: skip

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Same shape."""
        out: Tensor = x + self.layers(x)
        return out


def twice(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
    """Twice the size, by repetition."""
    return nn.functional.interpolate(x, scale_factor=2)


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two linear layers with norm and SiLU between."""
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.LayerNorm(hidden), nn.SiLU(), nn.Linear(hidden, outputs)
    )
