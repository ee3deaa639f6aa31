"""A success classifier for measuring subgoal generators: is the instruction completed in this image?

It also locates the object, the container and the gripper. It is trained on the very scenes it measures, with the
simulator's truth, so that it errs less than any model of the loop. Nothing in the loop may use it.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from torch import Tensor, nn

from soar import checkpoint as checkpoints
from soar.checkpoint import Checkpoint
from soar.data.prefetch import step_rng
from soar.errors import ConfigError, RobotFault
from soar.nn.heatmaps import attention_loss, grid_cells
from soar.nn.layers import channels_last
from soar.nn.text import SentenceEncoder
from soar.pretraining.clips import LabeledWorld
from soar.sim.expert.expert import Expert
from soar.sim.scenes.spec import Scene
from soar.subgoals.clips import MAX_TOKENS
from soar.subgoals.compact.observation_encoder import (
    NUM_SUPERVISED,
    CompactSubgoalConfig,
    ObservationEncoder,
)
from soar.subgoals.pixels import to_tensor
from soar.training.fit import FitConfig, fit
from soar.training.subgoal_losses import pixels
from soar.types import Image, Images
from soar.utils.arrays import check_indices, read_arrays
from soar.utils.config import content_hash, to_plain
from soar.utils.files import read_json, replace_file, write_json
from soar.utils.media import resize
from soar.utils.progress import progress_bar

KIND = "subgoal judge"
"""Kind of the checkpoints."""
ABOUT = "about.json"
"""File beside a classifier that names its scenes and settings."""
_LAYOUT = {
    "images": "u1 n r r 3", "rows": "i8 n", "instructions": "U u", "points": "f4 n 3 2", "done": "b1 n"
}  # fmt: skip


class LabeledImage(NamedTuple):
    """An image with an instruction and the simulator's truth."""

    image: Image
    instruction: str
    points: Float32[np.ndarray, "3 2"]
    done: bool


@dataclass(frozen=True, eq=False)
class LabeledImages:
    """Images with an instruction each, and the simulator's truth."""

    images: UInt8[np.ndarray, "n r r 3"]
    rows: Int64[np.ndarray, " n"]
    """Index into `instructions` for each image."""
    instructions: tuple[str, ...]
    points: Float32[np.ndarray, "n 3 2"]
    """x and y in [-1, 1] of object, container and gripper."""
    done: Bool[np.ndarray, " n"]

    def save(self, path: Path) -> None:
        """Write one file, atomically."""
        with replace_file(path) as file:
            np.savez(file, allow_pickle=False, **dataclasses.asdict(self))

    @classmethod
    def load(cls, path: Path) -> LabeledImages:
        """Load a file that `save` wrote. Raises ConfigError: it is missing or damaged."""
        arrays = read_arrays(path, _LAYOUT)
        check_indices(path, arrays["rows"], len(arrays["instructions"]))
        texts = tuple(map(str, arrays.pop("instructions")))
        return cls(instructions=texts, **arrays)


class Prediction(NamedTuple):
    """The classifier's output for n images."""

    done: Float32[np.ndarray, " n"]
    """P(completed)."""
    points: Float32[np.ndarray, "n 3 2"]
    """x and y in [-1, 1] of object, container and gripper."""


class ClassifierNet(nn.Module):
    """Network from image and instruction to log-odds of completion, and attention to object, container, gripper."""

    RENAMED: ClassVar = {"eyes": "encoder", "verdict": "head"}

    def __init__(self, config: CompactSubgoalConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = ObservationEncoder(config, config.resolution)
        c, d, v = config.width, config.coarse_width, config.condition_dim
        self.head = nn.Sequential(
            nn.Linear(v + d + NUM_SUPERVISED * (c + 2), v),
            nn.SiLU(),
            nn.Linear(v, v),
            nn.SiLU(),
            nn.Linear(v, 1),
        )

    def forward(
        self, images: Float[Tensor, "n 3 h w"], words: Float[Tensor, "n l e"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n g p"]]:
        """Return log-odds of completion, and the logarithm of each attention map."""
        encoded = self.encoder(images, words, torch.zeros(len(images), device=images.device))
        log_attention = encoded.log_attention[:, :NUM_SUPERVISED]
        maps = log_attention.exp()
        attended = maps @ encoded.fine.flatten(2).transpose(1, 2)
        points = maps @ grid_cells(encoded.fine.shape[-1]).to(maps)
        parts = (
            encoded.condition, encoded.coarse.mean((2, 3)), attended.flatten(1), points.flatten(1)
        )  # fmt: skip
        logits: Tensor = self.head(torch.cat(parts, 1))
        return logits.squeeze(1), log_attention


class ClassifierLearner(nn.Module):
    """The classifier under training."""

    def __init__(self, config: CompactSubgoalConfig) -> None:
        super().__init__()
        self.net = ClassifierNet(config)
        channels_last(self.net)

    def loss(
        self, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the cross-entropy of completion and of the attention maps."""
        logits, log_attention = self.net(pixels(batch["images"]), batch["words"])
        done = nn.functional.binary_cross_entropy_with_logits(logits, batch["done"])
        attention = attention_loss(log_attention, batch["points"])
        accuracy = ((logits > 0) == (batch["done"] > 0.5)).float().mean()
        metrics = {"done": done, "attention": attention, "accuracy": accuracy}
        return done + 0.2 * attention, metrics


class LabeledImageBatches:
    """Batches of labeled images, half of them completed; a pure function of the step."""

    def __init__(self, labeled: LabeledImages, chosen: slice, seed: int) -> None:
        self.labeled, self.seed = labeled, seed
        numbers = np.arange(len(labeled.images))[chosen]
        self.halves = [numbers[labeled.done[numbers] == done] for done in (False, True)]
        self.words = SentenceEncoder().tokens(labeled.instructions, MAX_TOKENS).numpy()

    def __call__(self, step: int, size: int, part: slice) -> Mapping[str, np.ndarray]:
        """Return `images`, `words`, `done`, `points`."""
        rng = step_rng(self.seed, step)
        counts = (size - size // 2, size // 2)
        drawn = [rng.choice(half, n) for half, n in zip(self.halves, counts, strict=True)]
        i = rng.permutation(np.concatenate(drawn))[part]
        return {
            "images": self.labeled.images[i],
            "words": self.words[self.labeled.rows[i]],
            "done": self.labeled.done[i].astype(np.float32),
            "points": self.labeled.points[i],
        }


class SuccessClassifier:
    """A trained classifier for images of any size."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        with checkpoints.building(checkpoint):
            self.accuracy = float(checkpoint.provenance["accuracy"])
            """Share of held-out images that it classified correctly."""
            net = checkpoint.config["net"]
            self.net = ClassifierNet(checkpoint.model_config(CompactSubgoalConfig, net)).eval()
        checkpoints.load_weights(self.net, checkpoint)
        self._encoder = SentenceEncoder()

    @classmethod
    def load(cls, folder: str | Path) -> SuccessClassifier:
        """Load a checkpoint's folder. Raises CheckpointError."""
        return cls(checkpoints.load(folder, KIND))

    @torch.inference_mode()
    def predict(
        self, images: Images, instructions: Sequence[str], batch_size: int = 64
    ) -> Prediction:
        """Classify each image with its instruction."""
        small = to_tensor(resize(images, self.net.config.resolution))
        words = self._encoder.tokens(instructions, MAX_TOKENS)
        done, points = [], []
        for first in range(0, len(small), batch_size):
            batch = slice(first, first + batch_size)
            logits, log_attention = self.net(small[batch], words[batch])
            done.append(logits.sigmoid())
            points.append(log_attention.exp() @ grid_cells(self.net.config.resolution // 4))
        return Prediction(torch.cat(done).numpy(), torch.cat(points).numpy())


def train_classifier(
    scenes: Sequence[Scene],
    out: str | Path,
    images: int = 20_000,
    steps: int = 2000,
    seed: int = 1_000_000,
) -> SuccessClassifier:
    """Collect images of the scenes, train, and save the classifier in `out`; resumes a call that stopped.

    A classifier that is already there is loaded.

    Raises:
        ConfigError: `out` has a classifier of other scenes, or with other settings.
    """
    out = Path(out)
    made_for = {
        "scenes": [f"{scene.name} {content_hash(to_plain(scene))}" for scene in scenes],
        "images": images, "steps": steps, "seed": seed,
    }  # fmt: skip
    if checkpoints.exists(out) and not (out / ABOUT).exists():  # of an earlier version
        return SuccessClassifier.load(out)
    if not (out / ABOUT).exists():
        write_json(out / ABOUT, made_for)
    elif read_json(out / ABOUT) != made_for:
        raise ConfigError(f"{out} has a classifier of other scenes; valid: another folder")
    if checkpoints.exists(out):
        return SuccessClassifier.load(out)
    path = out / "looks.npz"
    if not path.exists():
        collect_labeled_images(scenes, images, seed).save(path)
    labeled = LabeledImages.load(path)
    torch.manual_seed(seed)
    learner = ClassifierLearner(CompactSubgoalConfig(width=48, coarse_width=96, depth=1))
    cut = round(0.9 * len(labeled.images))
    training, held_out = (
        LabeledImageBatches(labeled, slice(0, cut), seed),
        LabeledImageBatches(labeled, slice(cut, None), seed),
    )
    config = FitConfig(
        steps=steps, batch_size=64, learning_rate=1e-3, warmup_steps=100, weight_decay=1e-2,
        log_every=50, save_every=500,
    )  # fmt: skip
    fit(learner, training, config, out / "fit", export=lambda: _to_checkpoint(learner.net, 0.0))
    batch = {k: torch.from_numpy(v) for k, v in held_out(0, 500, slice(None)).items()}
    _, metrics = learner.cpu().eval().loss(batch, torch.Generator())
    checkpoints.save(out, _to_checkpoint(learner.net, float(metrics["accuracy"])))
    path.unlink()
    return SuccessClassifier.load(out)


def collect_labeled_images(
    scenes: Sequence[Scene], count: int, seed: int, resolution: int = 64
) -> LabeledImages:
    """Render scenes in turn, while an expert does tasks, some of them only halfway."""
    instructions = sorted({t.instruction for s in scenes for t in s.tasks})
    row = {text: i for i, text in enumerate(instructions)}
    found: list[LabeledImage] = []
    with progress_bar() as bar:
        line = bar.add_task("labeled images", total=count, note="")
        for visit in itertools.count():
            scene = scenes[visit % len(scenes)]
            found += _labeled_images(scene, seed + visit, resolution)
            bar.update(line, completed=min(len(found), count), note=f"scene {scene.name}")
            if len(found) >= count:
                break
    images, texts, points, done = zip(*found[:count], strict=True)
    rows = np.array([row[text] for text in texts])
    return LabeledImages(
        np.stack(images), rows, tuple(instructions), np.stack(points), np.array(done)
    )


def _labeled_images(scene: Scene, seed: int, resolution: int) -> Iterator[LabeledImage]:
    """Yield every third image of a few tasks in a row, each with the instruction of some task of the scene."""
    rng = np.random.default_rng(seed)
    world = LabeledWorld(scene)

    def labeled_image() -> LabeledImage:
        task = scene.tasks[int(rng.integers(len(scene.tasks)))]
        world.start_labels(task.goal)
        image = resize(world.render(), resolution)
        points = world.points[0][:NUM_SUPERVISED]
        return LabeledImage(image, task.instruction, points, world.done[0])

    try:
        world.reset(seed)
        for _ in range(5):
            doing = scene.tasks[int(rng.integers(len(scene.tasks)))]
            expert = Expert(world, doing.goal, rng, noise=float(rng.uniform(0.5, 2.0)))
            for step in range(int(rng.integers(8, 60))):
                if expert.done:
                    break
                world.step(expert.act())
                if step % 3 == 0:
                    yield labeled_image()
            yield labeled_image()
            if rng.random() < 0.5:
                world.home()
    except RobotFault:
        return
    finally:
        world.close()


def _to_checkpoint(net: ClassifierNet, accuracy: float) -> Checkpoint:
    config = {"net": dataclasses.asdict(net.config)}
    return Checkpoint(KIND, dict(net.state_dict()), config, provenance={"accuracy": accuracy})
