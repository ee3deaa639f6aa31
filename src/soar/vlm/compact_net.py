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

PHRASES = 2
"""A question names a thing and, often, a container."""


@dataclass(frozen=True)
class CompactConfig:
    """The network's size."""

    resolution: int = 128
    """Pixels a side; a multiple of 8."""
    width: int = 64
    """Channels at a quarter of the resolution; twice that at an eighth."""
    dim: int = 128
    """Channels of the feature map that is attended to, and of the judging network."""
    heads: int = 4
    depth: int = 3
    """Residual blocks at an eighth of the resolution."""
    word_dim: int = 384
    """Of the sentence encoder."""

    def __post_init__(self) -> None:
        if self.resolution % 8 or self.dim % self.heads:
            raise ConfigError(
                f"resolution must be a multiple of 8 and dim of heads, not {self.resolution}, {self.dim}, {self.heads}"
            )


class Judgement(NamedTuple):
    """What the network says about q questions on each of b images."""

    logits: Float[Tensor, "b q"]
    """Log-odds of yes."""
    gaze: Float[Tensor, "b q 2 p"]
    """Log-probability, over the p cells of the feature map, that the phrase's thing is there."""


class CompactNet(nn.Module):
    """Images and questions in, log-odds of yes and places looked at out."""

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        self.config = config
        self.side = config.resolution // 4
        self.trunk = Trunk(config)
        d = config.dim
        self.keys = nn.Conv2d(d, d, 1)
        self.values = nn.Conv2d(d, d, 1)
        self.phrase = mlp(config.word_dim, d, d)
        self.frame = mlp(config.word_dim, d, d)
        seen = 2 * PHRASES * (d + GLANCE)
        self.second_look = mlp(d + PHRASES * (d + GLANCE), d, 2 * d)
        self.relation = mlp(d + seen, 2 * d, 2 * d)
        self.verdict = nn.Linear(2 * d, 1)
        grid = torch.linspace(-1, 1, self.side)
        places = torch.stack(torch.meshgrid(grid, grid, indexing="ij"), -1).flip(-1)
        self.register_buffer("places", places.reshape(-1, 2), persistent=False)

    def forward(
        self, images: UInt8[Tensor, "b h w 3"], words: Float[Tensor, "b q 3 e"]
    ) -> Judgement:
        """`words`: sentence vectors of the frame, the thing and the container, zeros where there is none."""
        return self.ask(self.look(images), words)

    def look(self, images: UInt8[Tensor, "b h w 3"]) -> Float[Tensor, "b d s s"]:
        """The feature map of each image: all that questions need, computed once."""
        x = images.permute(0, 3, 1, 2).to(self.verdict.weight.dtype) / 127.5 - 1
        features: Tensor = self.trunk(x.contiguous(memory_format=torch.channels_last))
        return features

    def ask(self, features: Float[Tensor, "b d s s"], words: Float[Tensor, "b q 3 e"]) -> Judgement:
        """Judge questions on images already looked at."""
        keys, values = self.keys(features).flatten(2), self.values(features).flatten(2)
        frame = self.frame(words[:, :, 0])
        first, gaze = self.glimpse(self.phrase(words[:, :, 1:]), keys, values)
        given = (words[:, :, 1:].abs().sum(-1, keepdim=True) > 0).to(first.dtype)
        first = (first * given).flatten(2)
        again = self.second_look(torch.cat([frame, first], -1)).unflatten(-1, (PHRASES, -1))
        second = self.glimpse(again, keys, values)[0].flatten(2)
        hidden = self.relation(torch.cat([frame, first, second], -1))
        return Judgement(self.verdict(hidden).squeeze(-1), gaze)

    def glimpse(
        self,
        queries: Float[Tensor, "b q n d"],
        keys: Float[Tensor, "b d p"],
        values: Float[Tensor, "b d p"],
    ) -> tuple[Float[Tensor, "b q n dg"], Float[Tensor, "b q n p"]]:
        """What is seen where a query looks, with the place (GLANCE numbers), and the log-attention."""
        b, q, n, d = queries.shape
        scores = queries.flatten(1, 2) @ keys / d**0.5
        gaze = scores.log_softmax(-1)
        weights = gaze.exp()
        seen = weights @ values.transpose(1, 2)
        place = weights @ self.places
        spread = (weights @ self.places.square() - place.square()).clamp(min=0).sqrt()
        found = torch.logsumexp(scores, -1, keepdim=True) - scores.mean(-1, keepdim=True)
        glance = torch.cat([seen, place, spread, found / 4], -1)
        return glance.unflatten(1, (q, n)), gaze.unflatten(1, (q, n))


GLANCE = 5
"""Numbers beside the features of a glimpse: x, y, their spread, and how much the place stands out."""


class Trunk(nn.Module):
    """Image -> feature map at a quarter of its resolution that knows its surroundings and where it is."""

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        w, d = config.width, config.dim
        self.fold = nn.PixelUnshuffle(2)
        self.stem = nn.Conv2d(12, w // 2, 3, padding=1)
        self.fine_in = nn.Conv2d(4 * (w // 2) + 2, w, 1)
        self.fine = nn.Sequential(Residual(w), Residual(w))
        self.coarse_in = nn.Conv2d(4 * w, 2 * w, 1)
        self.coarse = nn.Sequential(*(Residual(2 * w) for _ in range(config.depth)))
        self.deep_in = nn.Conv2d(8 * w, 2 * w, 1)
        self.deep = nn.Sequential(Residual(2 * w), Residual(2 * w))
        self.from_fine = nn.Conv2d(w, d, 1)
        self.from_coarse = nn.Conv2d(2 * w, d, 1)
        self.from_deep = nn.Conv2d(2 * w, d, 1)
        self.mix = Residual(d)

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d s s"]:
        """`x` in [-1, 1]."""
        up = nn.functional.interpolate
        x = self.fold(torch.relu(self.stem(self.fold(x))))
        fine = self.fine(self.fine_in(torch.cat([x, coordinates(x)], 1)))
        coarse = self.coarse(self.coarse_in(self.fold(fine)))
        deep = self.deep(self.deep_in(self.fold(coarse)))
        context = self.from_coarse(coarse) + up(self.from_deep(deep), scale_factor=2)
        mixed: Tensor = self.mix(self.from_fine(fine) + up(context, scale_factor=2))
        return mixed


class Residual(nn.Module):
    """Two 3x3 convolutions with group norm, added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.GroupNorm(8, width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
        )
        self.second = nn.Sequential(
            nn.GroupNorm(8, width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
        )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Same shape."""
        out: Tensor = x + self.second(self.first(x))
        return out


def coordinates(like: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 2 h w"]:
    """Channels x and y in [-1, 1]."""
    b, _, h, w = like.shape
    y = torch.linspace(-1, 1, h, device=like.device, dtype=like.dtype)
    x = torch.linspace(-1, 1, w, device=like.device, dtype=like.dtype)
    return torch.stack([x.expand(h, w), y[:, None].expand(h, w)]).expand(b, 2, h, w)


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two linear layers with SiLU and a norm between."""
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.LayerNorm(hidden), nn.SiLU(), nn.Linear(hidden, outputs)
    )
