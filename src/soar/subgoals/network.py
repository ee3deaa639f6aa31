"""The compact subgoal network: a pixel-space diffusion U-Net that looks once and denoises many times.

`look` reads observation and instruction, once for each subgoal: *what* should happen, and *where*.
`denoise` turns noise into the imagined image, once for each step of the sampler. Both work on blocks of
4 x 4 pixels as channels, wide and at low resolution, which suits CPUs.

Where hand and thing will be is decided first (`foresee`), and told to the painter (`tell`): a net that may
still choose a place while it paints needs long training not to paint a little of all of them.

Almost every pixel of a subgoal equals the observation's, so the network predicts how it differs. For a
noisy image x_t = a x_0 + s e and the observation o, the clean image is

    x_0 = o + m k (x_t / a - o) + c f,      k = d^2 / (d^2 + (s/a)^2),      c = d sqrt(1 - k)

where d is the typical difference between subgoal and observation, k weighs the best linear guess of that
difference, and c is what is then left to guess (Karras et al. 2022, with o for a mean). The network says m,
"this pixel changes", and f, "it changes to this"; c also normalises the loss. Where an arm appears or goes,
though, a pixel changes by far more than d: there it may say b, "paint over", and p, the colour itself, and
(1 - b) x_0 + b p is what comes out.
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
from soar.nn import FiLM, cells, group_norm, spots, with_coordinates

PLACES = 3
"""Gazes that are taught where to look: at the named thing, the container, and the hand."""
THING, HAND = 0, 2
"""Which of these; a corpus's points have the same order."""
AHEAD = 2
"""Places foreseen, and then told to the painter: where the hand, and where the named thing, will be."""
WAVES = 8
"""Numbers that say one coordinate of a place."""
BRUSH_UP = 6.0
"""Log-odds against painting over, at first."""
FINEST, COARSEST = 0.002, 1.55
"""First and last angle of the noise schedule: a = cos(angle), s = sin(angle)."""


@dataclass(frozen=True)
class CompactConfig:
    """The network's size."""

    resolution: int = 64
    """Pixels; a multiple of eight."""
    width: int = 64
    """Channels at a quarter of the resolution."""
    wide: int = 128
    """Channels at an eighth."""
    depth: int = 1
    """Residual blocks of each half at an eighth; at a quarter there is one before and one after."""
    gazes: int = 5
    """Places that the instruction makes it look at."""
    vector: int = 256
    """Size of what is said to every block: time, instruction, places."""
    word_dim: int = 384
    """Size of a token's embedding."""
    difference: float = 0.25
    """d: typical difference between a subgoal and its observation, where images span [-1, 1]."""
    foresee: bool = False
    """First decide where hand and thing will be, then paint them there; else both at once, in the painting."""

    def __post_init__(self) -> None:
        if self.resolution % 8 or self.gazes < PLACES:
            raise ConfigError(
                f"resolution must be a multiple of 8 and gazes at least {PLACES}, "
                f"not {self.resolution} and {self.gazes}"
            )


class Seen(NamedTuple):
    """What one look found: all that `denoise` needs besides noise. The first axis is the batch."""

    observation: Float[Tensor, "b 3 h w"]
    vector: Float[Tensor, "b v"]
    fine: Float[Tensor, "b c h4 w4"]
    coarse: Float[Tensor, "b d h8 w8"]
    gaze: Float[Tensor, "b g p"]
    """Log-probability, over the p cells of the fine map, of what each gaze looks for."""
    keys: Float[Tensor, "b v p"]
    """What foresight compares its queries with."""
    told: Float[Tensor, "b k h4 w4"]
    """Spots where hand and thing shall be, and a plane that says whether that is told; k is 0 or AHEAD + 1."""


class CompactNet(nn.Module):
    """Observation, instruction and noise in; the imagined image out."""

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        self.config = config
        self.look_once = Look(config)
        self.unet = UNet(config)
        if config.foresee:
            v = config.vector
            self.hand_ahead = nn.Sequential(nn.SiLU(), nn.Linear(v, v))
            self.thing_ahead = nn.Sequential(nn.Linear(v + 2, v), nn.SiLU(), nn.Linear(v, v))

    def look(
        self,
        observation: Float[Tensor, "b 3 h w"],
        words: Float[Tensor, "b l e"],
        ahead: Float[Tensor, " b"],
        pointed: Float[Tensor, "b 2 2"] | None = None,
    ) -> Seen:
        """Find out what should happen and where.

        Args:
            observation: in [-1, 1]; zeros for none.
            words: token embeddings, padded with zeros; all zeros for none.
            ahead: control steps from the observation to the subgoal.
            pointed: x and y in [-1, 1] of the named thing and of the container, from better eyes; NaN, or
                None for all, where it has to find them itself.
        """
        seen: Seen = self.look_once(observation, words, ahead, pointed)
        return seen

    def foresee(self, seen: Seen, hand: Float[Tensor, "b 2"] | None = None) -> Float[Tensor, "b p"]:
        """Log-probability of where the hand will be; with its place, x and y in [-1, 1], of where the thing will."""
        if hand is None:
            query = self.hand_ahead(seen.vector)
        else:
            query = self.thing_ahead(torch.cat([seen.vector, hand.to(seen.vector)], 1))
        scores: Tensor = (query[:, None] @ seen.keys).squeeze(1) / query.shape[1] ** 0.5
        return scores.float().log_softmax(-1)

    def tell(self, seen: Seen, places: Float[Tensor, "b f 2"]) -> Seen:
        """What was seen, and where hand and thing shall be; NaN where that isn't said."""
        side = seen.told.shape[-1]
        known = ~places.isnan().any(-1)
        shown = spots(places, side).exp() * known[..., None]
        plane = known[:, :1, None].expand(-1, 1, side * side)
        told = torch.cat([shown, plane.to(shown)], 1).reshape(len(places), -1, side, side)
        return seen._replace(told=told.to(seen.told))

    def denoise(
        self, noisy: Float[Tensor, "b 3 h w"], angle: Float[Tensor, " b"], seen: Seen
    ) -> tuple[Float[Tensor, "b 3 h w"], Float[Tensor, "b 1 1 1"]]:
        """The expected clean image, and c, the scale of what is uncertain about it.

        `angle`: of the noise schedule; the noisy image is cos(angle) x_0 + sin(angle) noise.
        """
        a, s = (f(angle)[:, None, None, None] for f in (torch.cos, torch.sin))
        d2 = self.config.difference**2
        total = d2 * a**2 + s**2
        scale = (d2 * s**2 / total).sqrt()
        difference = noisy - a * seen.observation
        change, mask, paint, brush = self.unet(difference, angle, seen)
        guess = mask.sigmoid() * (d2 * a / total) * difference
        clean = seen.observation + guess + scale * change
        return torch.lerp(clean, paint, brush.sigmoid()), scale


class Look(nn.Module):
    """Observation and instruction to feature maps, places, and a vector."""

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        c, d, v, g = config.width, config.wide, config.vector, config.gazes
        self.told = _told(config)
        self.reader = Reader(config.word_dim, v, g)
        self.ahead = nn.Linear(16, v)
        self.stem = nn.Conv2d(3 * 16 + 2, c, 3, padding=1)
        self.fine = Residual(c, v)
        self.down = nn.Conv2d(4 * c, d, 1)
        self.coarse = nn.ModuleList(Residual(d, v) for _ in range(config.depth))
        self.around = Attention(d)
        self.up = nn.Conv2d(d, 4 * c, 1)
        self.keys = nn.Conv2d(c, v, 1)
        self.merge = nn.Conv2d(c + g, c, 3, padding=1)
        self.found = nn.Sequential(nn.Linear(g * (v + 2), v), nn.SiLU(), nn.Linear(v, v))
        self.placed = nn.Linear(PLACES * 2 * WAVES, v)
        nn.init.zeros_(self.placed.weight)

    def forward(
        self,
        observation: Float[Tensor, "b 3 h w"],
        words: Float[Tensor, "b l e"],
        ahead: Float[Tensor, " b"],
        pointed: Float[Tensor, "b 2 2"] | None = None,
    ) -> Seen:
        """See `CompactNet.look`."""
        queries, vector = self.reader(words)
        vector = vector + self.ahead(waves(ahead / 32, 16))
        x = self.stem(with_coordinates(functional.pixel_unshuffle(observation, 4)))
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
            shown_to = spots(pointed, x.shape[-1]).softmax(-1).to(maps)
            maps = torch.cat([shown_to.where(known, maps[:, :2]), maps[:, 2:]], 1)
        where = maps @ cells(x.shape[-1]).to(maps)
        vector = vector + self.found(torch.cat([queries, where], -1).flatten(1))
        at = waves(where[:, :PLACES].flatten() / 4 + 0.5, WAVES).reshape(len(x), -1)
        vector = vector + self.placed(at)
        shown = maps.unflatten(-1, x.shape[-2:])
        told = x.new_zeros(len(x), self.told, *x.shape[-2:])
        return Seen(observation, vector, self.merge(torch.cat([x, shown], 1)), y, gaze, keys, told)


class Reader(nn.Module):
    """Tokens to one query for each gaze, by attention over the words, and a vector for all of it."""

    def __init__(self, word_dim: int, vector: int, gazes: int) -> None:
        super().__init__()
        self.silence = nn.Parameter(torch.randn(word_dim) * 0.1)
        self.ask = nn.Parameter(torch.randn(gazes, vector))
        self.keys = nn.Linear(word_dim, vector)
        self.values = nn.Linear(word_dim, vector)
        self.queries = nn.Sequential(nn.SiLU(), nn.Linear(vector, vector))
        self.vector = nn.Sequential(
            nn.SiLU(), nn.Linear(gazes * vector, vector), nn.SiLU(), nn.Linear(vector, vector)
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


class UNet(nn.Module):
    """Noisy difference from the observation to what changes, and how."""

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        c, d, v = config.width, config.wide, config.vector
        self.time = nn.Sequential(nn.Linear(64, v), nn.SiLU(), nn.Linear(v, v))
        self.stem = nn.Conv2d(2 * 3 * 16 + c + _told(config), c, 3, padding=1)
        self.before = Residual(c, v)
        self.down = nn.Conv2d(4 * c, d, 1)
        self.coarse = nn.ModuleList(Residual(d, v) for _ in range(config.depth))
        self.around = Attention(d)
        self.up = nn.Conv2d(d, 4 * c, 1)
        self.merge = nn.Conv2d(2 * c, c, 1)
        self.after = Residual(c, v)
        self.norm = group_norm(c)
        self.out = nn.Conv2d(c, 8 * 16, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        self.out.bias = nn.Parameter(torch.zeros(8 * 16))
        with torch.no_grad():
            self.out.bias[-16:] = -BRUSH_UP

    def forward(
        self, difference: Float[Tensor, "b 3 h w"], angle: Float[Tensor, " b"], seen: Seen
    ) -> tuple[
        Float[Tensor, "b 3 h w"],
        Float[Tensor, "b 1 h w"],
        Float[Tensor, "b 3 h w"],
        Float[Tensor, "b 1 h w"],
    ]:
        """f, m, p and b of this module's formula, m and b before their sigmoids."""
        vector = seen.vector + self.time(waves(angle / math.pi, 64))
        pixels = functional.pixel_unshuffle(torch.cat([difference, seen.observation], 1), 4)
        x = self.before(self.stem(torch.cat([pixels, seen.fine, seen.told], 1)), vector)
        y = self.down(functional.pixel_unshuffle(x, 2)) + seen.coarse
        for block in self.coarse:
            y = block(y, vector)
        y = self.around(y)
        x = self.merge(torch.cat([x, functional.pixel_shuffle(self.up(y), 2)], 1))
        x = self.out(functional.silu(self.norm(self.after(x, vector))))
        shown = functional.pixel_shuffle(x, 4).float()
        return shown[:, :3], shown[:, 3:4], shown[:, 4:7], shown[:, 7:]


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
        seen = functional.scaled_dot_product_attention(query, key, value)
        out: Tensor = x + self.out(seen.transpose(-1, -2).reshape(b, c, h, w))
        return out


def _told(config: CompactConfig) -> int:
    """Channels in which the painter is told where hand and thing shall be."""
    return AHEAD + 1 if config.foresee else 0


def waves(x: Float[Tensor, " b"], size: int) -> Float[Tensor, "b size"]:
    """Sines and cosines of numbers of about [0, 1], from one period in four to 16 in one."""
    periods = torch.logspace(-2, 4, size // 2, base=2, device=x.device) * 2 * math.pi
    angles = x[:, None] * periods
    return torch.cat([angles.sin(), angles.cos()], 1)
