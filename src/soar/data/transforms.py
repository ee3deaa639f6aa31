"""Transforms of images and actions: one list for training, stored in the checkpoint, and for serving.

A batch is a dict of tensors: "image" and, where there is one, "goal" (n, h, w, 3), and "image_NAME" of further
cameras; "state" (n, s); "action" (n, a), or chunks of several (n, c, a); "draws" (n, 44) uniform in [0, 1); and
optionally "points" (n, k, 2), image positions with x right and y down in [-1, 1], or NaN. Serving has no actions, draws
or points. A transform returns a new batch.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from soar.data.image_ops import (
    apply_color,
    apply_curves,
    box_blur,
    color_matrices,
    crop_matrices,
    crop_points,
    median_color,
    resample,
    to_float,
    to_images,
    to_planes,
    waves,
)
from soar.errors import CheckpointError, ConfigError
from soar.utils.config import OneOf, from_plain, to_plain
from soar.utils.files import Json

Batch: TypeAlias = Mapping[str, Tensor]
IMAGES = ("image", "goal")


def images_of(batch: Batch) -> list[str]:
    """Return the keys of a batch's images: observation, goal, and "image_NAME" of further cameras."""
    return [k for k in batch if k in IMAGES or k.startswith("image_")]


class Transform(ABC):
    """A map from stored samples to model input, and back for actions."""

    name: ClassVar[str]

    @abstractmethod
    def train(self, batch: Batch) -> dict[str, Tensor]:
        """Transform a training batch."""

    def serve(self, batch: Batch) -> dict[str, Tensor]:
        """Transform the input of a served policy; the identity unless overridden."""
        return dict(batch)

    def undo(self, actions: Float[Tensor, "n a"]) -> Float[Tensor, "n a"]:
        """Map a model's actions to robot actions; the identity unless overridden."""
        return actions


@dataclass(frozen=True)
class Resize(Transform):
    """Square images of one resolution; training reads frames that were resized when they were cached."""

    name: ClassVar[str] = "resize"
    resolution: int
    """Height and width [px]."""

    def train(self, batch: Batch) -> dict[str, Tensor]:
        """Check the resolution. Raises ConfigError: the frame cache has another one."""
        found = batch["image"].shape[1]
        if found != self.resolution:
            raise ConfigError(f"frames are {found} px; this policy takes {self.resolution}")
        return dict(batch)

    def serve(self, batch: Batch) -> dict[str, Tensor]:
        """Resize uint8 images by area averaging, as the frame cache does."""
        from soar.utils.media import resize

        small = {
            k: torch.from_numpy(resize(batch[k].numpy(), self.resolution)) for k in images_of(batch)
        }
        return {**batch, **small}


@dataclass(frozen=True)
class ToFloat(Transform):
    """uint8 images to float32 in [0, 1]."""

    name: ClassVar[str] = "to_float"

    def train(self, batch: Batch) -> dict[str, Tensor]:
        """Convert the images."""
        return {**batch, **{k: to_float(batch[k]) for k in images_of(batch)}}

    def serve(self, batch: Batch) -> dict[str, Tensor]:
        """Convert the images."""
        return self.train(batch)


@dataclass(frozen=True)
class Crop(Transform):
    """Random resized crop, optionally rotated; the same for observation and goal."""

    name: ClassVar[str] = "crop"
    area: tuple[float, float] = (0.8, 1.0)
    """Range of the crop's area as a share of the image."""
    ratio: tuple[float, float] = (0.9, 1.1)
    """Range of width to height, sampled log-uniformly."""
    turn_deg: float = 0.0
    """Largest rotation either way, which stands for other camera poses; not in the paper."""

    def train(self, batch: Batch) -> dict[str, Tensor]:
        """Crop float images; uses draws 0 to 3, and 8."""
        draws = batch["draws"]
        low, high = (math.log(r) / 2 for r in self.ratio)
        side = _between(*self.area, draws[:, 0]).sqrt()
        stretch = torch.exp(_between(low, high, draws[:, 1]))
        size = torch.stack([side * stretch, side / stretch], 1).clamp(max=1)
        angle = _between(-self.turn_deg, self.turn_deg, draws[:, 8]).deg2rad()
        matrices = crop_matrices(size, draws[:, 2:4], angle)
        px = batch["image"].shape[1]
        grid = nn.functional.affine_grid(matrices, [len(matrices), 1, px, px], align_corners=False)
        changed = {k: resample(batch[k], grid) for k in images_of(batch)}
        if "points" in batch:
            changed["points"] = crop_points(batch["points"], matrices)
        return {**batch, **changed}


@dataclass(frozen=True)
class Color(Transform):
    """Random brightness, contrast, saturation and hue; the same change for observation and goal.

    Each of the four is affine in (r, g, b), so that together they are one matrix and one offset per sample; hue
    rotates the chroma plane of YIQ. Contrast scales about the mean color of both images.
    """

    name: ClassVar[str] = "color"
    brightness: float = 0.2
    """Largest offset either way."""
    contrast: tuple[float, float] = (0.8, 1.2)
    saturation: tuple[float, float] = (0.8, 1.2)
    hue: float = 0.1
    """Largest rotation either way [turns]."""

    def train(self, batch: Batch) -> dict[str, Tensor]:
        """Recolor float images in [0, 1]; uses draws 4 to 7."""
        draws = batch["draws"]
        images = {k: batch[k] for k in images_of(batch)}
        mean = torch.stack([x.mean((1, 2)) for x in images.values()]).mean(0)
        brightness = _between(-self.brightness, self.brightness, draws[:, 4])[:, None]
        contrast = _between(*self.contrast, draws[:, 5])[:, None]
        saturation = _between(*self.saturation, draws[:, 6])
        hue = 2 * math.pi * _between(-self.hue, self.hue, draws[:, 7])
        matrices = color_matrices(saturation, hue)
        offset = brightness + (1 - contrast) * mean
        offset = torch.einsum("nij,nj->ni", matrices, offset)
        matrices = matrices * contrast[:, :, None]
        return {**batch, **{k: apply_color(x, matrices, offset) for k, x in images.items()}}


@dataclass(frozen=True)
class ToneCurve(Transform):
    """Random tone curves: half of the samples get one for each of red, green and blue, not necessarily monotonic.

    The same for observation and goal. Light may become dark and dark light: what is left is position and contrast,
    so that a black arm on a dark table is nothing new (docs/log.md, twelfth session). Not in the paper.
    """

    name: ClassVar[str] = "tone_curve"
    strength: float = 1.0
    """Largest weight of the random curve against the identity; 1 may leave nothing of the original tones."""
    nodes: ClassVar[int] = 6
    """Nodes of a curve, evenly spaced from black to white."""

    def train(self, batch: Batch) -> dict[str, Tensor]:
        """Recolor float images in [0, 1]; uses draws 10 to 28."""
        weight = self.strength * (2 * batch["draws"][:, 28] - 1)
        rows = (weight > 0).nonzero()[:, 0]
        weight = weight[rows, None, None]
        curves = batch["draws"][rows, 10:28].view(-1, 3, self.nodes)
        curves = torch.linspace(0, 1, self.nodes, device=curves.device).lerp(curves, weight)
        return _change_rows(batch, rows, lambda planes: apply_curves(planes, curves))


@dataclass(frozen=True)
class TableColor(Transform):
    """A random color and texture for the table in half of the samples, the same for observation and goal.

    The table is what has nearly the observation's median color. Tone curves change the arm along with it; here the arm
    stays, so that a black arm on a dark table becomes common (docs/log.md, twenty-seventh session). Not in the paper.
    """

    name: ClassVar[str] = "table_color"
    darkness: float = 1.5
    """Exponent of the random color's brightness; 1 is uniform, more is darker."""
    texture: float = 0.15
    """Largest amplitude of the random texture, a sum of waves."""
    waves: ClassVar[int] = 3
    range: ClassVar[float] = 0.85
    """Distance at which a color isn't the table's any more, as a share of the table's."""

    def train(self, batch: Batch) -> dict[str, Tensor]:
        """Recolor float images in [0, 1]; uses draws 29 to 43."""
        rows = (batch["draws"][:, 29] > 0.5).nonzero()[:, 0]
        draws = batch["draws"][rows, 30:, None, None]
        table = median_color(to_planes(batch["image"])[rows])
        color = 0.05 + 0.95 * draws[:, :1] ** self.darkness * (0.4 + 0.6 * draws[:, 1:4])
        px = batch["image"].shape[1]
        texture = (
            self.texture * draws[:, 4:5] * waves(draws[:, 5:].view(len(rows), self.waves, 3), px)
        )
        wanted = color + texture - table

        def recolor(planes: Tensor) -> Tensor:
            distance = ((planes - table).abs() / table.clamp(min=0.05)).amax(1, keepdim=True)
            share = (1 - distance / self.range).clamp_(min=0)
            return planes.addcmul(share, wanted).clamp_(0, 1)

        return _change_rows(batch, rows, recolor)


@dataclass(frozen=True)
class AutoExposure(Transform):
    """Gamma correction of dark images: the observation's mean becomes `mean`, and the goal gets the same gamma.

    Not in the paper.
    """

    name: ClassVar[str] = "auto_exposure"
    mean: float = 0.55

    def train(self, batch: Batch) -> dict[str, Tensor]:
        """Brighten float images in [0, 1]."""
        gamma = math.log(self.mean) / batch["image"].mean((1, 2, 3)).clamp(0.02, 0.98).log()
        rows = (gamma < 1).nonzero()[:, 0]
        gamma = gamma[rows, None, None, None]
        return _change_rows(batch, rows, lambda planes: planes.clamp(min=1e-4).pow(gamma))

    def serve(self, batch: Batch) -> dict[str, Tensor]:
        """Brighten float images in [0, 1]."""
        return self.train(batch)


@dataclass(frozen=True)
class GoalBlur(Transform):
    """Blur of half of the goals, because generated goals are softer than camera frames. Not in the paper."""

    name: ClassVar[str] = "goal_blur"
    radius: int = 2
    """Radius of the widest blur [px]."""

    def train(self, batch: Batch) -> dict[str, Tensor]:
        """Blur float goals; uses draw 9."""
        if "goal" not in batch:
            return dict(batch)
        weight = 2 * batch["draws"][:, 9] - 1
        rows = (weight > 0).nonzero()[:, 0]
        goals = to_planes(batch["goal"])
        sharp = goals[rows]
        blurred = box_blur(box_blur(sharp, 2, self.radius), 3, self.radius)
        mixed = sharp.lerp(blurred, weight[rows, None, None, None])
        return {**batch, "goal": to_images(goals.index_copy(0, rows, mixed))}


@dataclass(frozen=True)
class BinarizeGripper(Transform):
    """Gripper commands to exactly 0 (closed) or 1 (open)."""

    name: ClassVar[str] = "binarize_gripper"
    threshold: float = 0.5

    def train(self, batch: Batch) -> dict[str, Tensor]:
        """Binarize the actions' last dimension."""
        action = batch["action"]
        gripper = (action[..., -1:] > self.threshold).to(action.dtype)
        return {**batch, "action": torch.cat([action[..., :-1], gripper], -1)}


@dataclass(frozen=True)
class NormalizeActions(Transform):
    """Actions to z-scores, with the statistics of the data that the policy was pretrained on."""

    name: ClassVar[str] = "normalize_actions"
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        _check_statistics("action", self.mean, self.std)

    def train(self, batch: Batch) -> dict[str, Tensor]:
        """Convert actions to z-scores."""
        action = batch["action"]
        mean, std = action.new_tensor(self.mean), action.new_tensor(self.std)
        return {**batch, "action": (action - mean) / std}

    def undo(self, actions: Float[Tensor, "n a"]) -> Float[Tensor, "n a"]:
        """Convert z-scores to the robot's units."""
        return actions * actions.new_tensor(self.std) + actions.new_tensor(self.mean)


@dataclass(frozen=True)
class NormalizeStates(Transform):
    """States, and the auxiliary poses, to z-scores; for arms other than the WidowX, whose scales are fixed."""

    name: ClassVar[str] = "normalize_states"
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        _check_statistics("state", self.mean, self.std)

    def train(self, batch: Batch) -> dict[str, Tensor]:
        """Convert states and poses to z-scores."""
        state = batch["state"]
        mean, std = state.new_tensor(self.mean), state.new_tensor(self.std)
        changed = {"state": (state - mean) / std}
        if "pose" in batch:
            changed["pose"] = (batch["pose"] - mean.repeat(3)) / std.repeat(3)
        return {**batch, **changed}

    def serve(self, batch: Batch) -> dict[str, Tensor]:
        """Convert states to z-scores."""
        return self.train(batch)


def _check_statistics(what: str, mean: Sequence[float], std: Sequence[float]) -> None:
    if not mean or len(mean) != len(std) or min(std) <= 0:
        raise ConfigError(
            f"{what} statistics need as many standard deviations above 0 as means; got {len(mean)} and {len(std)}"
        )


KINDS: dict[str, type[Transform]] = {
    t.name: t
    for t in (
        Resize,
        ToFloat,
        Crop,
        Color,
        ToneCurve,
        TableColor,
        AutoExposure,
        GoalBlur,
        BinarizeGripper,
        NormalizeActions,
        NormalizeStates,
    )
}
AnyTransform: TypeAlias = Annotated[Transform, OneOf(KINDS)]


def describe(transforms: Sequence[Transform]) -> tuple[dict[str, Json], ...]:
    """Convert a list of transforms to plain data for a checkpoint."""
    return tuple(to_plain(t, AnyTransform) for t in transforms)


def transforms_from(descriptions: Sequence[Mapping[str, Json]]) -> tuple[Transform, ...]:
    """Invert `describe`. Raises CheckpointError: a transform isn't known or its settings aren't valid."""
    try:
        found: tuple[Transform, ...] = from_plain(
            tuple[AnyTransform, ...], list(descriptions), "transforms"
        )
    except ConfigError as error:
        raise CheckpointError(str(error)) from error
    return found


def image_transforms(transforms: Sequence[Transform]) -> tuple[Transform, ...]:
    """Select the transforms that change image content, not those that change size, type or actions."""
    kinds = (Crop, Color, ToneCurve, TableColor, AutoExposure, GoalBlur)
    return tuple(t for t in transforms if isinstance(t, kinds))


def _change_rows(
    batch: Batch, rows: Tensor, change: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """Return the batch with `change` applied to some samples' observations and goals, channels first."""
    images = {k: to_planes(batch[k]) for k in images_of(batch)}
    changed = {k: x.index_copy(0, rows, change(x[rows])) for k, x in images.items()}
    return {**batch, **{k: to_images(x) for k, x in changed.items()}}


def _between(low: float, high: float, draws: Tensor) -> Tensor:
    return low + (high - low) * draws
