"""Predictor of future keypoints: gripper, named object, fingertips, wrist and the table's point below the gripper.

Several futures may be likely, so it returns a mixture of hypotheses, each with all keypoints, the scale of their
errors and a probability. Proprioception (the gripper's height, orientation and opening, where the station reports
them) adds what few pixels show badly: whether the fingers hold something, and how high they are.
"""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from soar.data.proprioception import PROPRIOCEPTION, proprioception
from soar.nn.heatmaps import local_softargmax
from soar.subgoals.compact.observation_encoder import (
    COORDINATE_FEATURES,
    GRIPPER,
    NUM_SUPERVISED,
    OBJECT,
    CompactSubgoalConfig,
    ObservationEncoder,
    fourier_features,
    point_features,
)

PREDICTED_POINTS = [GRIPPER, OBJECT, 3, 4, 5, 6]
"""Indices among a corpus's keypoints: gripper, named object, both fingertips, wrist, the table below the gripper."""
NUM_PREDICTED = len(PREDICTED_POINTS)
NUM_HYPOTHESES = 12
_DISTANCE_PAIRS = (
    (0, 1), (0, NUM_PREDICTED + 1), (1, NUM_PREDICTED + 1), (5, 1), (5, NUM_PREDICTED + 1), (2, 3),
    (1, NUM_PREDICTED),
)  # fmt: skip
"""Pairs of points whose offset is a feature; the current keypoints come first, then the supervised locations."""
_OFFSET_SCALE = 0.3
"""Offset of a keypoint, of half an image, that corresponds to an output of one."""
_SIMILARITY_LENGTH = 0.1
"""Distance between two hypotheses' grippers at which their similarity is 1/e [half an image]."""
_MIN_SCALE = 0.01
"""Least error scale of a hypothesis [half an image]."""


class KeypointPredictions(NamedTuple):
    """Mixture over future keypoints, and the estimate of the current ones."""

    log_p: Float[Tensor, "b k"]
    """Log-probability of each hypothesis."""
    keypoints: Float[Tensor, "b k f 2"]
    """x and y in [-1, 1] of the predicted keypoints."""
    scale: Float[Tensor, "b k f 2"]
    """Expected absolute error of each coordinate: the scale of a Laplace distribution."""
    current: Float[Tensor, "b f 2"]
    """The same keypoints in the observation itself."""
    log_attention: Float[Tensor, "b g p"]

    def similarity(self) -> Float[Tensor, "b k k"]:
        """Return how close the grippers of each pair of hypotheses are, in (0, 1]."""
        grippers = self.keypoints[:, :, 0].float()
        return (-torch.cdist(grippers, grippers) / _SIMILARITY_LENGTH).exp()

    def cluster_p(self) -> Float[Tensor, "b k"]:
        """Return each hypothesis's probability together with those of similar ones."""
        return (self.similarity() @ self.log_p.exp().float()[..., None]).squeeze(-1)

    def cluster_mean(self, k: Int64[Tensor, " b"]) -> Float[Tensor, "b f 2"]:
        """Average one hypothesis for each sample with those similar to it."""
        samples = torch.arange(len(k), device=k.device)
        weights = self.similarity()[samples, k] * self.log_p.exp().float()
        weights = weights / weights.sum(1, keepdim=True)
        return (self.keypoints.float() * weights[..., None, None]).sum(1)

    def nll(self, target: Float[Tensor, "b f 2"]) -> Float[Tensor, " b"]:
        """Return the negative log-likelihood of the true keypoints, per coordinate; NaN targets are ignored.

        Errors are Laplace distributed and independent of each other.
        """
        known = ~target.isnan()
        error = (self.keypoints.float() - target.nan_to_num()[:, None]).abs()
        each = -error / self.scale.float() - (2 * self.scale.float()).log()
        total = (each * known[:, None]).sum((-1, -2))
        return -(self.log_p.float() + total).logsumexp(-1) / known[0].numel()


class KeypointPredictor(nn.Module):
    """Network from observation, instruction and proprioception to hypotheses of future keypoints."""

    RENAMED: ClassVar = {
        "eyes": "encoder",
        "felt": "proprioception_embedding",
        "join": "fuse",
        "read": "current_head",
        "place": "geometry_embedding",
        "think": "blocks",
        "guess": "hypothesis_head",
        "pull": "attraction_head",
    }

    def __init__(self, config: CompactSubgoalConfig) -> None:
        super().__init__()
        config = config.of_predictor()
        c, d, v = config.width, config.coarse_width, config.condition_dim
        self.encoder = ObservationEncoder(config, config.input_resolution)
        self.proprioception_embedding = nn.Linear(len(PROPRIOCEPTION) * 8 + 1, v)
        hidden = 2 * v
        self.fuse = nn.Linear(2 * v + NUM_SUPERVISED * (c + 2) + d, hidden)
        self.current_head = nn.Linear(hidden, 2 * NUM_PREDICTED)
        points = NUM_SUPERVISED + NUM_PREDICTED + len(_DISTANCE_PAIRS)
        self.geometry_embedding = nn.Linear(points * 2 * COORDINATE_FEATURES, hidden)
        self.blocks = nn.ModuleList(_ResidualMLP(hidden) for _ in range(3))
        self.hypothesis_head = nn.Linear(hidden, NUM_HYPOTHESES * (1 + 4 * NUM_PREDICTED))
        self.attraction_head = nn.Linear(
            hidden, NUM_HYPOTHESES * NUM_PREDICTED * (NUM_SUPERVISED + 1)
        )
        nn.init.zeros_(self.attraction_head.weight)
        nn.init.zeros_(self.attraction_head.bias)

    def forward(
        self,
        observation: Float[Tensor, "b 3 s s"],
        words: Float[Tensor, "b l e"],
        steps_ahead: Float[Tensor, " b"],
        object_points: Float[Tensor, "b 2 2"] | None = None,
        states: Float[Tensor, "b 7"] | None = None,
    ) -> KeypointPredictions:
        """Predict keypoints.

        Args:
            observation, words, steps_ahead, object_points: see `ObservationEncoder.forward`.
            states: robot states as in `types.State`; NaN, or None for all, where unknown.
        """
        encoded = self.encoder(observation, words, steps_ahead, object_points)
        n, silu = len(observation), nn.functional.silu
        log_attention = encoded.log_attention[:, :NUM_SUPERVISED]
        maps = log_attention.exp()
        peaks = local_softargmax(log_attention.argmax(-1), log_attention.float())
        located = torch.cat([encoded.located[:, :GRIPPER].float(), peaks[:, GRIPPER:]], 1)
        if states is None:
            states = observation.new_full((n, 7), math.nan)
        features = self.proprioception_embedding(
            _proprioception_features(states).to(encoded.condition)
        )
        attended = maps @ encoded.fine.flatten(2).transpose(1, 2).to(maps)
        parts = (
            encoded.condition,
            features,
            attended.flatten(1),
            located.flatten(1),
            encoded.coarse.mean((2, 3)),
        )
        x = self.fuse(torch.cat([p.to(encoded.condition) for p in parts], 1))
        base = located[:, [GRIPPER, OBJECT, *[GRIPPER] * (NUM_PREDICTED - 2)]]
        offsets = self.current_head(silu(x)).float().reshape(n, NUM_PREDICTED, 2)
        current = base + _OFFSET_SCALE * offsets
        x = x + self.geometry_embedding(_geometry(current.detach(), located).to(x))
        for block in self.blocks:
            x = block(x)
        log_p, keypoints, scale = self._hypotheses(x, current.detach(), located)
        return KeypointPredictions(log_p, keypoints, scale, current, encoded.log_attention)

    def _hypotheses(
        self,
        x: Float[Tensor, "b w"],
        current: Float[Tensor, "b f 2"],
        located: Float[Tensor, "b s 2"],
    ) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b k f 2"], Float[Tensor, "b k f 2"]]:
        """Return log-probability, keypoints and error scale of each hypothesis.

        A keypoint moves by an offset, and towards the located object, container and gripper and the estimated
        gripper by learned shares of the distance.
        """
        shape, silu = (len(x), NUM_HYPOTHESES, NUM_PREDICTED), nn.functional.silu
        sizes = [NUM_HYPOTHESES, *[2 * NUM_HYPOTHESES * NUM_PREDICTED] * 2]
        logits, offsets, scale = self.hypothesis_head(silu(x)).float().split(sizes, 1)
        attractors = torch.cat([located, current[:, :1]], 1).detach()
        shares = self.attraction_head(silu(x)).float().reshape(*shape, NUM_SUPERVISED + 1)
        distances = attractors[:, None] - current[:, :, None]
        attracted = torch.einsum("nkfa,nfac->nkfc", shares, distances)
        return (
            logits.log_softmax(-1),
            current[:, None] + attracted + _OFFSET_SCALE * offsets.reshape(*shape, 2),
            _MIN_SCALE + 0.1 * nn.functional.softplus(scale.reshape(*shape, 2)),
        )


class _ResidualMLP(nn.Module):
    """A residual layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, width)
        nn.init.zeros_(self.outer.weight)

    def forward(self, x: Float[Tensor, "b w"]) -> Float[Tensor, "b w"]:
        """Transform the vector; the identity at initialization."""
        out: Tensor = x + self.outer(nn.functional.silu(self.inner(self.norm(x))))
        return out


def _geometry(
    current: Float[Tensor, "b f 2"], located: Float[Tensor, "b p 2"]
) -> Float[Tensor, "b n"]:
    """Return Fourier features of all points, and of the offsets between some of them."""
    points = torch.cat([current, located], 1)
    one, other = zip(*_DISTANCE_PAIRS, strict=True)
    return point_features(torch.cat([points, points[:, one] - points[:, other]], 1))


def _proprioception_features(states: Float[Tensor, "b 7"]) -> Float[Tensor, "b k"]:
    """Return Fourier features of the proprioception, zero where unknown, and whether it is known."""
    values = proprioception(states)
    known = ~values.isnan().any(1, keepdim=True)
    features = fourier_features(values.nan_to_num().flatten() / 4 + 0.5, 8)
    features = features.reshape(len(values), -1) * known
    return torch.cat([features, known.to(features)], 1)
