"""What is done to images and actions: one list, used in training, stored in the checkpoint, used in serving.

A batch is a dict of tensors: "image" and, where there is one, "goal" (n, h, w, 3); "state" and "action"
(n, 7); "draws" (n, 29) uniform in [0, 1); and, where there are any, "points" (n, k, 2), places in the images, x
and y in [-1, 1] or NaN. Serving has neither actions nor draws nor points. A transform returns a new batch.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, TypeAlias

import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor, nn

from soar.errors import CheckpointError, ConfigError

Batch: TypeAlias = Mapping[str, Tensor]
IMAGES = ("image", "goal")


class Transform(ABC):
    """One step from what is stored to what a model sees, and back for actions."""

    name: ClassVar[str]

    @abstractmethod
    def train(self, batch: Batch) -> dict[str, Tensor]:
        """The batch as training sees it."""

    def serve(self, batch: Batch) -> dict[str, Tensor]:
        """The batch as a served policy sees it."""
        return dict(batch)

    def undo(self, actions: Float[Tensor, "n 7"]) -> Float[Tensor, "n 7"]:
        """A model's actions as the robot takes them."""
        return actions


@dataclass(frozen=True)
class Resize(Transform):
    """Square images of one resolution; training reads frames that were resized when they were cached."""

    name: ClassVar[str] = "resize"
    resolution: int

    def train(self, batch: Batch) -> dict[str, Tensor]:
        """The same batch. Raises ConfigError: the frame cache has another resolution."""
        found = batch["image"].shape[1]
        if found != self.resolution:
            raise ConfigError(f"frames are {found} px; this policy takes {self.resolution}")
        return dict(batch)

    def serve(self, batch: Batch) -> dict[str, Tensor]:
        """uint8 images by area averaging, as in the frame cache."""
        from soar.utils.media import resize

        small = {
            k: torch.from_numpy(resize(batch[k].numpy(), self.resolution))
            for k in IMAGES
            if k in batch
        }
        return {**batch, **small}


@dataclass(frozen=True)
class ToFloat(Transform):
    """uint8 images to float32 in [0, 1]."""

    name: ClassVar[str] = "to_float"

    def train(self, batch: Batch) -> dict[str, Tensor]:
        """Images in [0, 1]."""
        return {**batch, **{k: _floats(batch[k]) for k in IMAGES if k in batch}}

    def serve(self, batch: Batch) -> dict[str, Tensor]:
        """Images in [0, 1]."""
        return self.train(batch)


@dataclass(frozen=True)
class Crop(Transform):
    """A random part of the picture, stretched to its full size: the same part of observation and goal."""

    name: ClassVar[str] = "crop"
    area: tuple[float, float] = (0.8, 1.0)
    """Of the whole picture."""
    ratio: tuple[float, float] = (0.9, 1.1)
    """Width to height, log-uniform."""
    turn_deg: float = 0.0
    """Turned by up to so much either way, as by a camera that stands elsewhere; not in the paper."""

    def train(self, batch: Batch) -> dict[str, Tensor]:
        """Cropped float images; uses draws 0 to 3, and 8."""
        draws = batch["draws"]
        low, high = (math.log(r) / 2 for r in self.ratio)
        side = _between(*self.area, draws[:, 0]).sqrt()
        stretch = torch.exp(_between(low, high, draws[:, 1]))
        extent = torch.stack([side * stretch, side / stretch], 1).clamp(max=1)
        turn = _between(-self.turn_deg, self.turn_deg, draws[:, 8]).deg2rad()
        looks = _looks(extent, draws[:, 2:4], turn)
        size = batch["image"].shape[1]
        grid = nn.functional.affine_grid(looks, [len(looks), 1, size, size], align_corners=False)
        changed = {k: _sample(batch[k], grid) for k in IMAGES if k in batch}
        if "points" in batch:
            changed["points"] = _follow(batch["points"], looks)
        return {**batch, **changed}


@dataclass(frozen=True)
class Color(Transform):
    """Random brightness, contrast, saturation and hue: the same change of observation and goal.

    Each of the four is affine in (r, g, b), so that together they are one matrix and one offset per
    sample; hue turns the colour plane of YIQ. Contrast turns about the mean colour of both images.
    """

    name: ClassVar[str] = "color"
    brightness: float = 0.2
    """Added, from minus to plus so much."""
    contrast: tuple[float, float] = (0.8, 1.2)
    saturation: tuple[float, float] = (0.8, 1.2)
    hue: float = 0.1
    """Of a full turn, from minus to plus so much."""

    def train(self, batch: Batch) -> dict[str, Tensor]:
        """Recoloured float images in [0, 1]; uses draws 4 to 7."""
        draws = batch["draws"]
        images = {k: batch[k] for k in IMAGES if k in batch}
        mean = torch.stack([x.mean((1, 2)) for x in images.values()]).mean(0)
        brightness = _between(-self.brightness, self.brightness, draws[:, 4])[:, None]
        contrast = _between(*self.contrast, draws[:, 5])[:, None]
        saturation = _between(*self.saturation, draws[:, 6])
        turn = 2 * math.pi * _between(-self.hue, self.hue, draws[:, 7])
        matrix = _colour_matrix(saturation, turn)
        offset = brightness + (1 - contrast) * mean
        offset = torch.einsum("nij,nj->ni", matrix, offset)
        matrix = matrix * contrast[:, :, None]
        return {**batch, **{k: _recolour(x, matrix, offset) for k, x in images.items()}}


@dataclass(frozen=True)
class ToneCurve(Transform):
    """Light becomes dark and dark light in half of the samples, by a random curve for each of red, green and blue.

    The same for observation and goal: what is left is where things are and how they differ, so that a black arm
    on a dark table is not the first of its kind (docs/log.md, twelfth session). Not in the paper.
    """

    name: ClassVar[str] = "tone_curve"
    strength: float = 1.0
    """Of the widest change: 1 may leave nothing of the old tones."""
    nodes: ClassVar[int] = 6
    """Of each curve, evenly from black to white."""

    def train(self, batch: Batch) -> dict[str, Tensor]:
        """Recoloured float images in [0, 1]; uses draws 10 to 28."""
        share = self.strength * (2 * batch["draws"][:, 28] - 1)
        changed = (share > 0).nonzero()[:, 0]
        share = share[changed, None, None]
        curves = batch["draws"][changed, 10:28].view(-1, 3, self.nodes)
        curves = torch.linspace(0, 1, self.nodes, device=curves.device).lerp(curves, share)
        return _some(batch, changed, lambda planes: _curved(planes, curves))


@dataclass(frozen=True)
class AutoExposure(Transform):
    """Dark pictures brightened, as by a camera's exposure: the observation's mean becomes `mean`, the goal follows.

    By a power, so that black stays black and white white. Not in the paper.
    """

    name: ClassVar[str] = "auto_exposure"
    mean: float = 0.55

    def train(self, batch: Batch) -> dict[str, Tensor]:
        """Float images in [0, 1]."""
        power = math.log(self.mean) / batch["image"].mean((1, 2, 3)).clamp(0.02, 0.98).log()
        dark = (power < 1).nonzero()[:, 0]
        power = power[dark, None, None, None]
        return _some(batch, dark, lambda planes: planes.clamp(min=1e-4).pow(power))

    def serve(self, batch: Batch) -> dict[str, Tensor]:
        """As in training."""
        return self.train(batch)


@dataclass(frozen=True)
class GoalBlur(Transform):
    """Half of the goals a little out of focus: imagined ones are softer than photographs. Not in the paper."""

    name: ClassVar[str] = "goal_blur"
    radius: int = 2
    """Of the widest blur [px]."""

    def train(self, batch: Batch) -> dict[str, Tensor]:
        """Float goals, some blurred; uses draw 9."""
        if "goal" not in batch:
            return dict(batch)
        share = 2 * batch["draws"][:, 9] - 1
        blurred = (share > 0).nonzero()[:, 0]
        goals = _planes(batch["goal"])
        sharp = goals[blurred]
        soft = _averaged(_averaged(sharp, 2, self.radius), 3, self.radius)
        softened = sharp.lerp(soft, share[blurred, None, None, None])
        return {**batch, "goal": goals.index_copy(0, blurred, softened).permute(0, 2, 3, 1)}


@dataclass(frozen=True)
class BinarizeGripper(Transform):
    """Gripper commands to exactly 0 (closed) or 1 (open)."""

    name: ClassVar[str] = "binarize_gripper"
    threshold: float = 0.5

    def train(self, batch: Batch) -> dict[str, Tensor]:
        """Actions with a binary seventh dimension."""
        action = batch["action"]
        gripper = (action[:, 6:] > self.threshold).to(action.dtype)
        return {**batch, "action": torch.cat([action[:, :6], gripper], 1)}


@dataclass(frozen=True)
class NormalizeActions(Transform):
    """Actions to z-scores, with the statistics of the data that the policy was pretrained on."""

    name: ClassVar[str] = "normalize_actions"
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != 7 or len(self.std) != 7 or min(self.std) <= 0:
            raise ConfigError("action statistics need 7 means and 7 standard deviations above 0")

    def train(self, batch: Batch) -> dict[str, Tensor]:
        """Actions as z-scores."""
        action = batch["action"]
        return {
            **batch,
            "action": (action - self._like(self.mean, action)) / self._like(self.std, action),
        }

    def undo(self, actions: Float[Tensor, "n 7"]) -> Float[Tensor, "n 7"]:
        """Metres, radians and gripper command again."""
        return actions * self._like(self.std, actions) + self._like(self.mean, actions)

    @staticmethod
    def _like(values: Sequence[float], action: Tensor) -> Tensor:
        return torch.tensor(values, dtype=action.dtype, device=action.device)


KINDS: dict[str, type[Transform]] = {
    t.name: t
    for t in (
        Resize,
        ToFloat,
        Crop,
        Color,
        ToneCurve,
        AutoExposure,
        GoalBlur,
        BinarizeGripper,
        NormalizeActions,
    )
}

BRIDGE_STATISTICS = NormalizeActions(
    mean=(1.93e-4, 1.37e-4, -1.46e-4, -1.84e-4, -3.08e-4, 2.74e-4, 0.597),
    std=(0.00913, 0.01272, 0.01229, 0.02607, 0.02875, 0.07808, 0.487),
)
"""Of the real BridgeData V2, for its checkpoints and data."""


def describe(transforms: Sequence[Transform]) -> tuple[dict[str, Any], ...]:
    """A list of transforms as plain data, for the checkpoint."""
    return tuple({"name": t.name, **asdict(t)} for t in transforms)  # type: ignore[call-overload]


def transforms_from(descriptions: Sequence[Mapping[str, Any]]) -> tuple[Transform, ...]:
    """The inverse of `describe`. Raises CheckpointError: a transform isn't known or lacks a setting."""
    transforms = []
    for description in descriptions:
        fields = {k: tuple(v) if isinstance(v, list) else v for k, v in description.items()}
        name = fields.pop("name", None)
        if name not in KINDS:
            raise CheckpointError(f"unknown transform '{name}'; valid: {', '.join(KINDS)}")
        try:
            transforms.append(KINDS[name](**fields))
        except TypeError as error:
            raise CheckpointError(f"transform '{name}' doesn't take {fields}") from error
    return tuple(transforms)


def image_transforms(transforms: Sequence[Transform]) -> tuple[Transform, ...]:
    """Those that change what pictures show: neither their size and type nor actions."""
    return tuple(
        t for t in transforms if isinstance(t, (Crop, Color, ToneCurve, AutoExposure, GoalBlur))
    )


def _floats(images: UInt8[Tensor, "n h w 3"]) -> Float[Tensor, "n h w 3"]:
    """From 0..255 to 0..1. In memory colour by colour, in which all that follows is quicker on a CPU."""
    planes = _planes(images).to(torch.float32, memory_format=torch.contiguous_format)
    return planes.div_(255).permute(0, 2, 3, 1)


def _planes(images: Shaped[Tensor, "n h w c"]) -> Shaped[Tensor, "n c h w"]:
    return images.permute(0, 3, 1, 2)


def _some(batch: Batch, rows: Tensor, change: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """The batch with some samples' observations and goals changed; `change` gets them colour by colour."""
    images = {k: _planes(batch[k]) for k in IMAGES if k in batch}
    changed = {k: x.index_copy(0, rows, change(x[rows])) for k, x in images.items()}
    return {**batch, **{k: x.permute(0, 2, 3, 1) for k, x in changed.items()}}


def _between(low: float, high: float, draws: Tensor) -> Tensor:
    return low + (high - low) * draws


def _looks(
    extent: Float[Tensor, "n 2"],
    draw: Float[Tensor, "n 2"],
    turn: Float[Tensor, " n"],
) -> Float[Tensor, "n 2 3"]:
    """Maps each place of the new picture to where it looks in the old: at a part, `extent` wide and high.

    `draw`: where the part lies, 0 left or top, 1 right or bottom. `turn`: it is turned about its middle [rad].
    """
    centre = (1 - extent) * (2 * draw - 1)
    cos, sin = turn.cos(), turn.sin()
    rotation = torch.stack([cos, -sin, sin, cos], 1).view(-1, 2, 2)
    return torch.cat([rotation * extent[:, None], centre[:, :, None]], 2)


def _follow(
    points: Float[Tensor, "n k 2"], looks: Float[Tensor, "n 2 3"]
) -> Float[Tensor, "n k 2"]:
    """Where places of the old picture are in the new one; NaN for those outside."""
    away = points - looks[:, None, :, 2]
    moved: Tensor = torch.linalg.solve(looks[:, :, :2], away.mT).mT
    return moved.where((moved.abs() < 1).all(-1, keepdim=True), torch.nan)


def _sample(
    images: Float[Tensor, "n h w 3"], grid: Float[Tensor, "n h w 2"]
) -> Float[Tensor, "n h w 3"]:
    """Bilinear; what would lie outside is the border's colour."""
    cropped = nn.functional.grid_sample(
        _planes(images), grid, padding_mode="border", align_corners=False
    )
    return cropped.permute(0, 2, 3, 1)


def _averaged(images: Float[Tensor, "n 3 h w"], axis: int, radius: int) -> Float[Tensor, "n 3 h w"]:
    """Means over up to `radius` pixels either way along an axis; a plain sum is twice as quick as pooling."""
    size = images.shape[axis]
    total, count = images.clone(), torch.ones(size, device=images.device)
    for away in range(1, radius + 1):
        total.narrow(axis, away, size - away).add_(images.narrow(axis, 0, size - away))
        total.narrow(axis, 0, size - away).add_(images.narrow(axis, away, size - away))
        count[away:] += 1
        count[: size - away] += 1
    return total.div_(count.view([-1 if i == axis else 1 for i in range(4)]))


def _colour_matrix(
    saturation: Float[Tensor, " n"], turn: Float[Tensor, " n"]
) -> Float[Tensor, "n 3 3"]:
    """RGB to RGB: chroma scaled by `saturation` and turned by `turn` [rad]; luma stays."""
    yiq = torch.tensor(
        [[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]],
        device=turn.device,
    )
    cos, sin, zero = saturation * turn.cos(), saturation * turn.sin(), torch.zeros_like(turn)
    one = torch.ones_like(turn)
    rotation = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], 1).view(-1, 3, 3)
    matrix: Tensor = torch.linalg.inv(yiq) @ rotation @ yiq
    return matrix


def _curved(
    planes: Float[Tensor, "n 3 h w"], curves: Float[Tensor, "n 3 k"]
) -> Float[Tensor, "n 3 h w"]:
    """Each colour through its own curve, straight between its evenly spaced nodes."""
    at = planes.flatten(2) * (curves.shape[2] - 1)
    left = at.long().clamp_(max=curves.shape[2] - 2)
    low, rise = curves.gather(2, left), curves.diff(dim=2).gather(2, left)
    return torch.addcmul(low, rise, at - left).view_as(planes)


def _recolour(
    images: Float[Tensor, "n h w 3"], matrix: Float[Tensor, "n 3 3"], offset: Float[Tensor, "n 3"]
) -> Float[Tensor, "n h w 3"]:
    planes = _planes(images)
    changed = torch.baddbmm(offset[:, :, None], matrix, planes.flatten(2)).clamp_(0, 1)
    return changed.view_as(planes).permute(0, 2, 3, 1)
