"""The compact subgoal network: a pixel-space diffusion U-Net with one encoder pass and many denoising steps.

Future keypoints are predicted first (`KeypointPredictor`) and then condition the renderer (`add_keypoints`): a
diffusion network that still has to choose a place while it renders needs long training before it stops rendering a
little of each. `encode` reads observation and instruction, once for each subgoal; `denoise` turns noise into the
generated image, once for each step of the sampler, on blocks of 4 x 4 pixels as channels.

Almost every pixel of a subgoal equals the observation's, so the network predicts how it differs. For a
noisy image x_t = a x_0 + s e and the observation o, the clean image is

    x_0 = o + m k (x_t / a - o) + c f,      k = d^2 / (d^2 + (s/a)^2),      c = d sqrt(1 - k)

where d is the typical difference between subgoal and observation, k weighs the best linear estimate of that
difference, and c is the scale of what remains uncertain (Karras et al. 2022, with o for a mean). The network
outputs m (whether the pixel changes) and f (what it changes to); c also normalizes the loss. Where an arm appears
or disappears, a pixel changes by far more than d: for these the network outputs b (overwrite) and p (the color
itself), and the result is (1 - b) x_0 + b p.
"""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from soar.nn.heatmaps import gaussian_heatmaps
from soar.nn.layers import group_norm
from soar.subgoals.compact.keypoint_predictor import NUM_PREDICTED, KeypointPredictor
from soar.subgoals.compact.observation_encoder import (
    COORDINATE_FEATURES,
    CompactSubgoalConfig,
    FiLMResidualBlock,
    ObservationEncoder,
    SelfAttention,
    fourier_features,
    point_features,
)

KEYPOINT_RADIUS_PX = 1.5
"""Radius of the spots that show the renderer future keypoints [pixels of the generated image]."""
OVERWRITE_BIAS = -6.0
"""Initial log-odds of overwriting a pixel."""
MIN_ANGLE, MAX_ANGLE = 0.002, 1.55
"""First and last angle of the noise schedule [rad]: a = cos(angle), s = sin(angle)."""


class Conditioning(NamedTuple):
    """All inputs of `denoise` besides the noisy image. The first axis is the batch."""

    observation: Float[Tensor, "b 3 h w"]
    condition: Float[Tensor, "b v"]
    fine: Float[Tensor, "b c h4 w4"]
    coarse: Float[Tensor, "b d h8 w8"]
    log_attention: Float[Tensor, "b g p"]
    """Logarithm of each attention map over the p cells of the fine map."""
    keypoint_maps: Float[Tensor, "b k h4 w4"]
    """Spots at the future keypoints, and a plane that is 1 where any is given; no channels without a predictor."""


class CompactSubgoalNet(nn.Module):
    """Renderer of subgoal images from observation, instruction and noise, with an optional keypoint predictor."""

    RENAMED: ClassVar = {
        "look_once": "encoder",
        "foresight": "keypoint_predictor",
        "numbers": "keypoint_embedding",
    }

    def __init__(self, config: CompactSubgoalConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = ObservationEncoder(config, config.resolution)
        self.unet = UNet(config)
        self.keypoint_predictor = KeypointPredictor(config) if config.predict_keypoints else None
        self.keypoint_embedding = (
            nn.Linear(NUM_PREDICTED * (2 * COORDINATE_FEATURES + 1), config.condition_dim)
            if config.predict_keypoints
            else None
        )
        if self.keypoint_embedding is not None:
            nn.init.zeros_(self.keypoint_embedding.weight)

    def encode(
        self,
        observation: Float[Tensor, "b 3 h w"],
        words: Float[Tensor, "b l e"],
        steps_ahead: Float[Tensor, " b"],
        object_points: Float[Tensor, "b 2 2"] | None = None,
    ) -> Conditioning:
        """Encode observations of the generated images' size; see `ObservationEncoder.forward`."""
        encoded = self.encoder(observation, words, steps_ahead, object_points)
        channels, (h, w) = keypoint_channels(self.config), encoded.fine.shape[-2:]
        maps = encoded.fine.new_zeros(len(observation), channels, h, w)
        return Conditioning(
            observation,
            encoded.condition,
            encoded.fine,
            encoded.coarse,
            encoded.log_attention,
            maps,
        )

    def downsample(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b 3 h w"]:
        """Average images over areas, as `media.resize` does, from `input_resolution` to `resolution`."""
        common = math.gcd(self.config.input_resolution, self.config.resolution)
        finer = functional.interpolate(images, scale_factor=self.config.resolution // common)
        return functional.avg_pool2d(finer, self.config.input_resolution // common)

    def add_keypoints(
        self, encoded: Conditioning, keypoints: Float[Tensor, "b f 2"]
    ) -> Conditioning:
        """Condition on future keypoints, x and y in [-1, 1]; NaN where unknown."""
        if self.keypoint_embedding is None:
            return encoded
        side, known = self.config.resolution, ~keypoints.isnan().any(-1)
        spots = gaussian_heatmaps(keypoints, side, KEYPOINT_RADIUS_PX).exp() * known[..., None]
        spots = functional.pixel_unshuffle(spots.reshape(len(keypoints), -1, side, side), 4)
        plane = known.any(-1)[:, None, None, None].expand(-1, 1, *encoded.keypoint_maps.shape[-2:])
        maps = torch.cat([spots, plane.to(spots)], 1)
        features = point_features(keypoints.nan_to_num()).reshape(len(keypoints), NUM_PREDICTED, -1)
        features = (features * known[..., None]).flatten(1)
        embedding = self.keypoint_embedding(torch.cat([features, known.to(features)], 1))
        return encoded._replace(
            keypoint_maps=maps.to(encoded.keypoint_maps), condition=encoded.condition + embedding
        )

    def denoise(
        self, noisy: Float[Tensor, "b 3 h w"], angle: Float[Tensor, " b"], encoded: Conditioning
    ) -> tuple[Float[Tensor, "b 3 h w"], Float[Tensor, "b 1 1 1"]]:
        """Return the expected clean image, and c, the scale of what remains uncertain.

        `angle`: of the noise schedule; the noisy image is cos(angle) x_0 + sin(angle) noise.
        """
        a, s = (f(angle)[:, None, None, None] for f in (torch.cos, torch.sin))
        d2 = self.config.difference**2
        total = d2 * a**2 + s**2
        scale = (d2 * s**2 / total).sqrt()
        difference = noisy - a * encoded.observation
        change, mask, color, overwrite = self.unet(difference, angle, encoded)
        linear = mask.sigmoid() * (d2 * a / total) * difference
        clean = encoded.observation + linear + scale * change
        return torch.lerp(clean, color, overwrite.sigmoid()), scale


class UNet(nn.Module):
    """U-Net from the noisy difference from the observation to which pixels change, and how."""

    RENAMED: ClassVar = {
        "time": "time_embedding",
        "before": "fine_in",
        "around": "attention",
        "after": "fine_out",
    }

    def __init__(self, config: CompactSubgoalConfig) -> None:
        super().__init__()
        c, d, v = config.width, config.coarse_width, config.condition_dim
        self.time_embedding = nn.Sequential(nn.Linear(64, v), nn.SiLU(), nn.Linear(v, v))
        self.stem = nn.Conv2d(2 * 3 * 16 + c + keypoint_channels(config), c, 3, padding=1)
        self.fine_in = FiLMResidualBlock(c, v)
        self.down = nn.Conv2d(4 * c, d, 1)
        self.coarse = nn.ModuleList(FiLMResidualBlock(d, v) for _ in range(config.depth))
        self.attention = SelfAttention(d)
        self.up = nn.Conv2d(d, 4 * c, 1)
        self.merge = nn.Conv2d(2 * c, c, 1)
        self.fine_out = FiLMResidualBlock(c, v)
        self.norm = group_norm(c)
        self.out = nn.Conv2d(c, 8 * 16, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        self.out.bias = nn.Parameter(torch.zeros(8 * 16))
        with torch.no_grad():
            self.out.bias[-16:] = OVERWRITE_BIAS

    def forward(
        self,
        difference: Float[Tensor, "b 3 h w"],
        angle: Float[Tensor, " b"],
        encoded: Conditioning,
    ) -> tuple[
        Float[Tensor, "b 3 h w"],
        Float[Tensor, "b 1 h w"],
        Float[Tensor, "b 3 h w"],
        Float[Tensor, "b 1 h w"],
    ]:
        """Return f, m, p and b of this module's formula, m and b before their sigmoids."""
        condition = encoded.condition + self.time_embedding(fourier_features(angle / math.pi, 64))
        pixels = functional.pixel_unshuffle(torch.cat([difference, encoded.observation], 1), 4)
        x = self.stem(torch.cat([pixels, encoded.fine, encoded.keypoint_maps], 1))
        x = self.fine_in(x, condition)
        y = self.down(functional.pixel_unshuffle(x, 2)) + encoded.coarse
        for block in self.coarse:
            y = block(y, condition)
        y = self.attention(y)
        x = self.merge(torch.cat([x, functional.pixel_shuffle(self.up(y), 2)], 1))
        x = self.out(functional.silu(self.norm(self.fine_out(x, condition))))
        out = functional.pixel_shuffle(x, 4).float()
        return out[:, :3], out[:, 3:4], out[:, 4:7], out[:, 7:]


def keypoint_channels(config: CompactSubgoalConfig) -> int:
    """Return the number of channels of `Conditioning.keypoint_maps`."""
    return NUM_PREDICTED * 16 + 1 if config.predict_keypoints else 0
