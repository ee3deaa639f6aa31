"""One look at observation and instruction: what should happen, and where in the image.

Both halves of the compact imagination begin with one, each with its own: foresight, which decides where arm
and thing will be, and the painter, which shows them there. The evaluation's judge has one, too. They work on
a map of 16 x 16 cells, wide and at low resolution, which suits CPUs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from soar.errors import ConfigError
from soar.nn.layers import FiLM, gaussian_heatmaps, grid_cells, group_norm, with_coordinates

PLACES = 3
"""Gazes that are taught where to look: at the named thing, the container, and the hand."""
THING, CONTAINER, HAND = 0, 1, 2
"""Which of these; a corpus's points have the same order."""
FOURIER_FREQUENCIES = 8
"""Numbers that say one coordinate of a place."""


@dataclass(frozen=True)
class CompactSubgoalConfig:
    """The network's size."""

    resolution: int = 64
    """Pixels of what it paints; a multiple of eight."""
    sight: int = 96
    """Pixels of what it looks at; half as many again, so that fingers and small things can be seen."""
    width: int = 64
    """Channels at a quarter of the resolution."""
    wide: int = 128
    """Channels at an eighth."""
    depth: int = 1
    """Residual blocks of each half at an eighth; at a quarter there is one before and one after."""
    attention_points: int = 5
    """Places that the instruction makes it look at."""
    vector: int = 256
    """Size of what is said to every block: time, instruction, places."""
    word_dim: int = 384
    """Size of a token's embedding."""
    difference: float = 0.25
    """d: typical difference between a subgoal and its observation, where images span [-1, 1]."""
    foresee: bool = False
    """First decide where arm and thing will be, then paint them there; else both at once, in the painting."""

    def __post_init__(self) -> None:
        if (
            self.resolution % 8
            or 4 * self.sight % self.resolution
            or self.attention_points < PLACES
        ):
            raise ConfigError(
                "resolution must be a multiple of 8, sight one of a quarter of it, and attention_points at least "
                f"{PLACES}, not {self.resolution}, {self.sight} and {self.attention_points}"
            )


class EncodedObservation(NamedTuple):
    """What one look found. The first axis is the batch."""

    vector: Float[Tensor, "b v"]
    fine: Float[Tensor, "b c h4 w4"]
    coarse: Float[Tensor, "b d h8 w8"]
    gaze: Float[Tensor, "b g p"]
    """Log-probability, over the p cells of the fine map, of what each gaze looks for."""
    where: Float[Tensor, "b g 2"]
    """x and y in [-1, 1] of what each gaze found."""


class ObservationEncoder(nn.Module):
    """Observation and instruction to feature maps, places, and a vector."""

    def __init__(self, config: CompactSubgoalConfig, pixels: int) -> None:
        """`pixels`: of the images it gets."""
        super().__init__()
        c, d, v, g = config.width, config.wide, config.vector, config.attention_points
        self.patch = 4 * pixels // config.resolution
        self.reader = InstructionEncoder(config.word_dim, v, g)
        self.ahead = nn.Linear(16, v)
        self.stem = nn.Conv2d(3 * self.patch**2 + 2, c, 3, padding=1)
        self.fine = Residual(c, v)
        self.down = nn.Conv2d(4 * c, d, 1)
        self.coarse = nn.ModuleList(Residual(d, v) for _ in range(config.depth))
        self.around = Attention(d)
        self.up = nn.Conv2d(d, 4 * c, 1)
        self.keys = nn.Conv2d(c, v, 1)
        self.merge = nn.Conv2d(c + g, c, 3, padding=1)
        self.found = nn.Sequential(nn.Linear(g * (v + 2), v), nn.SiLU(), nn.Linear(v, v))
        self.placed = nn.Linear(PLACES * 2 * FOURIER_FREQUENCIES, v)
        nn.init.zeros_(self.placed.weight)

    def forward(
        self,
        observation: Float[Tensor, "b 3 h w"],
        words: Float[Tensor, "b l e"],
        ahead: Float[Tensor, " b"],
        pointed: Float[Tensor, "b 2 2"] | None = None,
    ) -> EncodedObservation:
        """Find out what should happen and where.

        Args:
            observation: in [-1, 1]; zeros for none.
            words: token embeddings, padded with zeros; all zeros for none.
            ahead: control steps from the observation to the subgoal.
            pointed: x and y in [-1, 1] of the named thing and of the container, from better eyes; NaN, or
                None for all, where it has to find them itself.
        """
        queries, vector = self.reader(words)
        vector = vector + self.ahead(fourier_features(ahead / 32, 16))
        x = self.stem(with_coordinates(functional.pixel_unshuffle(observation, self.patch)))
        x = self.fine(x, vector)
        y = self.down(functional.pixel_unshuffle(x, 2))
        for block in self.coarse:
            y = block(y, vector)
        y = self.around(y)
        x = x + functional.pixel_shuffle(self.up(y), 2)
        keys = self.keys(x).flatten(2)
        gaze = (queries @ keys / queries.shape[-1] ** 0.5).log_softmax(-1)
        maps = gaze.exp()
        if pointed is not None:
            known = ~pointed.isnan().any(-1, keepdim=True)
            shown_to = gaussian_heatmaps(pointed, x.shape[-1]).softmax(-1).to(maps)
            maps = torch.cat([shown_to.where(known, maps[:, :2]), maps[:, 2:]], 1)
        where = maps @ grid_cells(x.shape[-1]).to(maps)
        vector = vector + self.found(torch.cat([queries, where], -1).flatten(1))
        vector = vector + self.placed(place_features(where[:, :PLACES]))
        shown = maps.unflatten(-1, x.shape[-2:])
        return EncodedObservation(vector, self.merge(torch.cat([x, shown], 1)), y, gaze, where)


class InstructionEncoder(nn.Module):
    """Tokens to one query for each gaze, by attention over the words, and a vector for all of it."""

    def __init__(self, word_dim: int, vector: int, attention_points: int) -> None:
        super().__init__()
        self.silence = nn.Parameter(torch.randn(word_dim) * 0.1)
        self.ask = nn.Parameter(torch.randn(attention_points, vector))
        self.keys = nn.Linear(word_dim, vector)
        self.values = nn.Linear(word_dim, vector)
        self.queries = nn.Sequential(nn.SiLU(), nn.Linear(vector, vector))
        self.vector = nn.Sequential(
            nn.SiLU(),
            nn.Linear(attention_points * vector, vector),
            nn.SiLU(),
            nn.Linear(vector, vector),
        )

    def forward(
        self, words: Float[Tensor, "b l e"]
    ) -> tuple[Float[Tensor, "b g v"], Float[Tensor, "b v"]]:
        """Queries for the gazes, and the vector."""
        # A word that means "nothing is said" is always there, so that silence is a sentence too.
        silence = self.silence.to(words).expand(len(words), 1, -1)
        padding = nn.functional.pad((words == 0).all(-1), (1, 0))
        words = torch.cat([silence, words], 1)
        scores = self.ask @ self.keys(words).transpose(1, 2) / self.ask.shape[-1] ** 0.5
        weights = scores.masked_fill(padding[:, None], -torch.inf).softmax(-1)
        read = weights @ self.values(words)
        return self.queries(read), self.vector(read.flatten(1))


class Residual(nn.Module):
    """Two 3 x 3 convolutions, each after normalisation, FiLM and SiLU, added to what came in."""

    def __init__(self, channels: int, vector: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(group_norm(channels) for _ in range(2))
        self.films = nn.ModuleList(FiLM(vector, channels) for _ in range(2))
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        nn.init.zeros_(self.convs[1].weight)  # type: ignore[arg-type]

    def forward(
        self, x: Float[Tensor, "b c h w"], vector: Float[Tensor, "b v"]
    ) -> Float[Tensor, "b c h w"]:
        """Same shape; at first the same values."""
        y, told = x, functional.silu(vector)
        for norm, film, conv in zip(self.norms, self.films, self.convs, strict=True):
            y = conv(functional.silu(film(norm(y), told)))
        return x + y


class Attention(nn.Module):
    """Every cell of a small map looks at every other, in heads of 32 channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = group_norm(channels)
        self.project = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Same shape; at first the same values."""
        b, c, h, w = x.shape
        heads: Tensor = self.project(self.norm(x)).reshape(b, 3, c // 32, 32, h * w)
        query, key, value = heads.transpose(-1, -2).unbind(1)
        # Spelled out: the fused one is slower for so few cells, above all in training on CPUs.
        seen = (query @ key.transpose(-1, -2) / 32**0.5).softmax(-1) @ value
        out: Tensor = x + self.out(seen.transpose(-1, -2).reshape(b, c, h, w))
        return out


def fourier_features(x: Float[Tensor, " b"], size: int) -> Float[Tensor, "b size"]:
    """Sines and cosines of numbers of about [0, 1], from one period in four to 16 in one."""
    periods = torch.logspace(-2, 4, size // 2, base=2, device=x.device) * 2 * math.pi
    angles = x[:, None] * periods
    return torch.cat([angles.sin(), angles.cos()], 1)


def place_features(places: Float[Tensor, "b k 2"]) -> Float[Tensor, "b n"]:
    """Each coordinate of the places as WAVES numbers."""
    return fourier_features(places.flatten() / 4 + 0.5, FOURIER_FREQUENCIES).reshape(
        len(places), -1
    )
