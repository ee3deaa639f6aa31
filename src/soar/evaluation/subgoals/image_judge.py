"""The evaluation's own eyes: is the instruction fulfilled in this image, and where are thing, container, hand?

Trained on the very scenes it judges, with the simulator's answers, so that it errs less than any model
of the loop. It only measures subgoal generators: it never ships, and nothing in the loop may use it.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from torch import Tensor, nn

from soar import checkpoint as checkpoints
from soar.checkpoint import Checkpoint
from soar.data.prefetch import step_rng
from soar.errors import RobotFault
from soar.nn.layers import attention_loss, channels_last, grid_cells
from soar.nn.text import SentenceEncoder
from soar.pretraining.clips import LabeledWorld
from soar.sim.expert.expert import Expert
from soar.sim.scenes.spec import Scene
from soar.subgoals.clips import WORDS
from soar.subgoals.compact.observation_encoder import (
    PLACES,
    CompactSubgoalConfig,
    ObservationEncoder,
)
from soar.subgoals.pixels import to_tensor
from soar.training.fit import FitConfig, fit
from soar.training.subgoal_losses import pixels
from soar.types import Image, Images
from soar.utils.media import resize
from soar.utils.progress import progress_bar

KIND = "subgoal judge"


@dataclass(frozen=True, eq=False)
class LabeledImages:
    """Images with an instruction each, and the simulator's answers."""

    images: UInt8[np.ndarray, "n r r 3"]
    rows: Int64[np.ndarray, " n"]
    """Which of `instructions`."""
    instructions: tuple[str, ...]
    points: Float32[np.ndarray, "n 3 2"]
    done: Bool[np.ndarray, " n"]

    def save(self, path: Path) -> None:
        """Into one file that appears whole."""
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".draft")
        with draft.open("wb") as file:
            np.savez(file, allow_pickle=False, **dataclasses.asdict(self))
        draft.rename(path)

    @classmethod
    def load(cls, path: Path) -> LabeledImages:
        """What `save` wrote."""
        with np.load(path) as file:
            arrays = dict(file)
        return cls(**{**arrays, "instructions": tuple(map(str, arrays["instructions"]))})


class LabeledImage(NamedTuple):
    """One look."""

    image: Image
    instruction: str
    points: Float32[np.ndarray, "3 2"]
    done: bool


class Reading(NamedTuple):
    """What the judge reads in n images."""

    done: Float32[np.ndarray, " n"]
    """P(fulfilled)."""
    places: Float32[np.ndarray, "n 3 2"]
    """x and y in [-1, 1] of thing, container, hand."""


class JudgeNet(nn.Module):
    """Image and instruction to log-odds of "fulfilled", and to where thing, container and hand are."""

    def __init__(self, config: CompactSubgoalConfig) -> None:
        super().__init__()
        self.config = config
        self.eyes = ObservationEncoder(config, config.resolution)
        c, d, v = config.width, config.wide, config.vector
        self.verdict = nn.Sequential(
            nn.Linear(v + d + PLACES * (c + 2), v),
            nn.SiLU(),
            nn.Linear(v, v),
            nn.SiLU(),
            nn.Linear(v, 1),
        )

    def forward(
        self, images: Float[Tensor, "n 3 h w"], words: Float[Tensor, "n l e"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n g p"]]:
        """Log-odds of fulfilled, and the log-probability of each cell for each gaze."""
        seen = self.eyes(images, words, torch.zeros(len(images), device=images.device))
        maps = seen.gaze[:, :PLACES].exp()
        glimpses = maps @ seen.fine.flatten(2).transpose(1, 2)
        where = maps @ grid_cells(seen.fine.shape[-1]).to(maps)
        parts = (seen.vector, seen.coarse.mean((2, 3)), glimpses.flatten(1), where.flatten(1))
        logits: Tensor = self.verdict(torch.cat(parts, 1))
        return logits.squeeze(1), seen.gaze[:, :PLACES]


class JudgeLearner(nn.Module):
    """The judge under training."""

    def __init__(self, config: CompactSubgoalConfig) -> None:
        super().__init__()
        self.net = JudgeNet(config)
        channels_last(self.net)

    def loss(
        self, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy of the verdict, and of the places."""
        logits, gaze = self.net(pixels(batch["images"]), batch["words"])
        said = nn.functional.binary_cross_entropy_with_logits(logits, batch["done"])
        looked = attention_loss(gaze, batch["points"])
        right = ((logits > 0) == (batch["done"] > 0.5)).float().mean()
        return said + 0.2 * looked, {"said": said, "gaze": looked, "accuracy": right}


class LookBatches:
    """Batches of looks, half of them fulfilled. Pure: a step's batch depends on the step alone."""

    def __init__(self, looks: LabeledImages, chosen: slice, seed: int) -> None:
        self.looks, self.seed = looks, seed
        numbers = np.arange(len(looks.images))[chosen]
        self.halves = [numbers[looks.done[numbers] == done] for done in (False, True)]
        self.words = SentenceEncoder().tokens(looks.instructions, WORDS).numpy()

    def __call__(self, step: int, size: int, part: slice) -> Mapping[str, np.ndarray]:
        """`images`, `words`, `done`, `points`."""
        rng = step_rng(self.seed, step)
        counts = (size - size // 2, size // 2)
        drawn = [rng.choice(half, n) for half, n in zip(self.halves, counts, strict=True)]
        i = rng.permutation(np.concatenate(drawn))[part]
        return {
            "images": self.looks.images[i],
            "words": self.words[self.looks.rows[i]],
            "done": self.looks.done[i].astype(np.float32),
            "points": self.looks.points[i],
        }


class Judge:
    """Reads images of any size at its own resolution."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.accuracy = float(checkpoint.provenance["accuracy"])
        """On looks it was not trained on."""
        self.net = JudgeNet(
            checkpoint.model_config(CompactSubgoalConfig, checkpoint.config["net"])
        ).eval()
        checkpoints.load_weights(self.net, checkpoint)
        self._read = SentenceEncoder()

    @classmethod
    def load(cls, folder: str | Path) -> Judge:
        """From a checkpoint's folder. Raises CheckpointError."""
        return cls(checkpoints.load(folder, KIND))

    @torch.inference_mode()
    def read(self, images: Images, instructions: Sequence[str], batch: int = 64) -> Reading:
        """What it sees in each image, told each image's instruction."""
        small = to_tensor(resize(images, self.net.config.resolution))
        words = self._read.tokens(instructions, WORDS)
        said, places = [], []
        for first in range(0, len(small), batch):
            some = slice(first, first + batch)
            logits, gaze = self.net(small[some], words[some])
            said.append(logits.sigmoid())
            places.append(gaze.exp() @ grid_cells(self.net.config.resolution // 4))
        return Reading(torch.cat(said).numpy(), torch.cat(places).numpy())


def train_judge(
    scenes: Sequence[Scene],
    out: str | Path,
    looks: int = 20_000,
    steps: int = 2000,
    seed: int = 1_000_000,
) -> Judge:
    """Watch the scenes, learn, and keep the judge in `out`; goes on where a call was cut short.

    A judge that is already there is loaded.
    """
    out = Path(out)
    if checkpoints.exists(out):
        return Judge.load(out)
    kept = out / "looks.npz"
    if not kept.exists():
        watch(scenes, looks, seed).save(kept)
    seen = LabeledImages.load(kept)
    torch.manual_seed(seed)
    learner = JudgeLearner(CompactSubgoalConfig(width=48, wide=96, depth=1))
    cut = round(0.9 * len(seen.images))
    ours, held_out = (
        LookBatches(seen, slice(0, cut), seed),
        LookBatches(seen, slice(cut, None), seed),
    )
    config = FitConfig(
        steps=steps, batch_size=64, learning_rate=1e-3, warmup_steps=100, weight_decay=1e-2,
        log_every=50, save_every=500,
    )  # fmt: skip
    fit(learner, ours, config, out / "fit", export=lambda: _to_checkpoint(learner.net, 0.0))
    right = (
        learner.cpu()
        .eval()
        .loss(
            {k: torch.from_numpy(v) for k, v in held_out(0, 500, slice(None)).items()},
            torch.Generator(),
        )[1]["accuracy"]
    )
    checkpoints.save(out, _to_checkpoint(learner.net, float(right)))
    kept.unlink()
    return Judge.load(out)


def watch(scenes: Sequence[Scene], count: int, seed: int, resolution: int = 64) -> LabeledImages:
    """Looks at scenes in which an expert does tasks, some of them only halfway; scene after scene in turn."""
    instructions = sorted({t.instruction for s in scenes for t in s.tasks})
    row = {text: i for i, text in enumerate(instructions)}
    found: list[LabeledImage] = []
    with progress_bar() as bar:
        line = bar.add_task("watching", total=count, note="")
        for visit in itertools.count():
            scene = scenes[visit % len(scenes)]
            found += _glances(scene, seed + visit, resolution)
            bar.update(line, completed=min(len(found), count), note=f"scene {scene.name}")
            if len(found) >= count:
                break
    images, words, points, done = zip(*found[:count], strict=True)
    rows = np.array([row[text] for text in words])
    return LabeledImages(
        np.stack(images), rows, tuple(instructions), np.stack(points), np.array(done)
    )


def _glances(scene: Scene, seed: int, resolution: int) -> Iterator[LabeledImage]:
    """Every third image of a few tasks done in a row, each with the words of some task of the scene."""
    rng = np.random.default_rng(seed)
    world = LabeledWorld(scene)

    def glance() -> LabeledImage:
        task = scene.tasks[int(rng.integers(len(scene.tasks)))]
        world.watch(task.goal)
        image = resize(world.render(), resolution)
        return LabeledImage(image, task.instruction, world.points[0][:PLACES], world.done[0])

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
                    yield glance()
            yield glance()
            if rng.random() < 0.5:
                world.home()
    except RobotFault:
        return
    finally:
        world.close()


def _to_checkpoint(net: JudgeNet, accuracy: float) -> Checkpoint:
    config = {"net": dataclasses.asdict(net.config)}
    return Checkpoint(KIND, dict(net.state_dict()), config, provenance={"accuracy": accuracy})
