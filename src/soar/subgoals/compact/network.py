"""The compact subgoal network: a pixel-space diffusion U-Net that looks once and denoises many times.

Where arm and thing will be is decided first (`foresight`), and told to the painter (`tell`): a net that may
still choose a place while it paints needs long training not to paint a little of all of them. `look` reads
observation and instruction, once for each subgoal; `denoise` turns noise into the imagined image, once for
each step of the sampler, on blocks of 4 x 4 pixels as channels.

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
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from soar.nn.layers import gaussian_heatmaps, group_norm
from soar.subgoals.compact.keypoint_predictor import AHEAD, KeypointPredictor
from soar.subgoals.compact.observation_encoder import (
    FOURIER_FREQUENCIES,
    Attention,
    CompactSubgoalConfig,
    ObservationEncoder,
    Residual,
    fourier_features,
    place_features,
)

DOT = 1.5
"""Radius of the dots that tell the painter where arm and thing shall be [pixels]."""
BRUSH_UP = 6.0
"""Log-odds against painting over, at first."""
FINEST, COARSEST = 0.002, 1.55
"""First and last angle of the noise schedule: a = cos(angle), s = sin(angle)."""


class Conditioning(NamedTuple):
    """What one look found: all that `denoise` needs besides noise. The first axis is the batch."""

    observation: Float[Tensor, "b 3 h w"]
    vector: Float[Tensor, "b v"]
    fine: Float[Tensor, "b c h4 w4"]
    coarse: Float[Tensor, "b d h8 w8"]
    gaze: Float[Tensor, "b g p"]
    """Log-probability, over the p cells of the fine map, of what each gaze looks for."""
    told: Float[Tensor, "b k h4 w4"]
    """Dots where arm and thing shall be, and a plane that says whether that is told; no channels without foresight."""


class CompactSubgoalNet(nn.Module):
    """Observation, instruction and noise in; the imagined image out."""

    def __init__(self, config: CompactSubgoalConfig) -> None:
        super().__init__()
        self.config = config
        self.look_once = ObservationEncoder(config, config.resolution)
        self.unet = UNet(config)
        self.foresight = KeypointPredictor(config) if config.foresee else None
        self.numbers = (
            nn.Linear(AHEAD * (2 * FOURIER_FREQUENCIES + 1), config.vector)
            if config.foresee
            else None
        )
        if self.numbers is not None:
            nn.init.zeros_(self.numbers.weight)

    def look(
        self,
        observation: Float[Tensor, "b 3 h w"],
        words: Float[Tensor, "b l e"],
        ahead: Float[Tensor, " b"],
        pointed: Float[Tensor, "b 2 2"] | None = None,
    ) -> Conditioning:
        """The painter's look; see `ObservationEncoder.forward`. The observation is of the size that it paints."""
        sight = self.look_once(observation, words, ahead, pointed)
        channels, (h, w) = condition_channels(self.config), sight.fine.shape[-2:]
        told = sight.fine.new_zeros(len(observation), channels, h, w)
        return Conditioning(observation, sight.vector, sight.fine, sight.coarse, sight.gaze, told)

    def shrink(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b 3 h w"]:
        """From the size that it sees to the size that it paints: averages of areas, as `media.resize` has them."""
        common = math.gcd(self.config.sight, self.config.resolution)
        finer = functional.interpolate(images, scale_factor=self.config.resolution // common)
        return functional.avg_pool2d(finer, self.config.sight // common)

    def tell(self, seen: Conditioning, places: Float[Tensor, "b f 2"]) -> Conditioning:
        """What was seen, and where arm and thing shall be; NaN where that isn't said."""
        if self.numbers is None:
            return seen
        side, known = self.config.resolution, ~places.isnan().any(-1)
        dots = (gaussian_heatmaps(places, side, DOT).exp() * known[..., None]).reshape(
            len(places), -1, side, side
        )
        plane = known.any(-1)[:, None, None, None].expand(-1, 1, *seen.told.shape[-2:])
        told = torch.cat([functional.pixel_unshuffle(dots, 4), plane.to(dots)], 1)
        numbers = place_features(places.nan_to_num()).reshape(len(places), AHEAD, -1)
        numbers = numbers * known[..., None]
        said = self.numbers(torch.cat([numbers.flatten(1), known.to(numbers)], 1))
        return seen._replace(told=told.to(seen.told), vector=seen.vector + said)

    def denoise(
        self, noisy: Float[Tensor, "b 3 h w"], angle: Float[Tensor, " b"], seen: Conditioning
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


class UNet(nn.Module):
    """Noisy difference from the observation to what changes, and how."""

    def __init__(self, config: CompactSubgoalConfig) -> None:
        super().__init__()
        c, d, v = config.width, config.wide, config.vector
        self.time = nn.Sequential(nn.Linear(64, v), nn.SiLU(), nn.Linear(v, v))
        self.stem = nn.Conv2d(2 * 3 * 16 + c + condition_channels(config), c, 3, padding=1)
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
        self, difference: Float[Tensor, "b 3 h w"], angle: Float[Tensor, " b"], seen: Conditioning
    ) -> tuple[
        Float[Tensor, "b 3 h w"],
        Float[Tensor, "b 1 h w"],
        Float[Tensor, "b 3 h w"],
        Float[Tensor, "b 1 h w"],
    ]:
        """f, m, p and b of this module's formula, m and b before their sigmoids."""
        vector = seen.vector + self.time(fourier_features(angle / math.pi, 64))
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


def condition_channels(config: CompactSubgoalConfig) -> int:
    """Channels in which the painter is told where arm and thing shall be."""
    return AHEAD * 16 + 1 if config.foresee else 0
