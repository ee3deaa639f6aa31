"""How the packaged weights are made: corpus, training, checkpoint and card, each from one call that resumes.

The policies learn from demonstrations of the *bridge* regime, the VLM and the subgoal generator from images
and words of the *broad* one. Nothing here ever sees the ten scenes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from soar import checkpoint as checkpoints
from soar.data.frame_cache import Frames, build_frames
from soar.data.generated_goals import GoalGenerator, regenerated_goals
from soar.data.mixture import Source
from soar.data.store.lance import open_store
from soar.errors import ConfigError
from soar.registry import Packaged
from soar.training.policy import PolicyTrainConfig, train_policy
from soar.types import Query, Regime
from soar.utils.files import cache_folder

REGIME: Regime = "bridge"
DEMOS = "demonstrations"
CARD = "README.md"
HELD_OUT = 0.03
"""Share of the demonstrations, the last ones, kept for validation."""


def demonstrations_folder(first_seed: int) -> Path:
    """Where in the cache demonstrations lie, with everything made of them."""
    return cache_folder() / DEMOS / f"seed-{first_seed}"


@dataclass(frozen=True)
class DemonstrationSet:
    """Which demonstrations, and at which resolution."""

    episodes: int = 6000
    first_seed: int = 0
    resolution: int = 96
    """Of the compact policies."""
    workers: int = 2

    def __post_init__(self) -> None:
        if min(self.episodes, self.workers, self.resolution) < 1:
            raise ConfigError("episodes, workers and resolution must be at least 1")


def demonstrations(wanted: DemonstrationSet, folder: Path | None = None) -> Frames:
    """Scripted demonstrations of the *bridge* regime as frames; made when missing, and then kept.

    Their labels are what the expert meant, not what its wavering hand did.

    `folder`: where; None is the cache folder, so that every run on a machine shares them.
    """
    from soar.pretraining.demonstrations import collect_demonstrations

    folder = folder or demonstrations_folder(wanted.first_seed)
    collect_demonstrations(
        folder / "store",
        REGIME,
        wanted.episodes,
        workers=wanted.workers,
        first_seed=wanted.first_seed,
    )
    query = Query(regimes=(REGIME,), outcomes=("success",), limit=wanted.episodes)
    store = open_store(folder / "store", read_only=True)
    cache = folder / "frames"
    frames = build_frames(store, query, wanted.resolution, cache, wanted.workers, "commanded")
    return replace(frames, fingertips=_fingertips(frames))


def pretrain_policy(
    recipe: PolicyTrainConfig,
    wanted: DemonstrationSet,
    work: Path,
    *,
    start: Path | None = None,
    painter: GoalGenerator | None = None,
    imagined: float = 0.0,
) -> Path:
    """Demonstrations, then behaviour cloning; returns the folder of the checkpoint. Resumes.

    Args:
        start: the checkpoint's folder of a policy to go on from.
        painter: paints goals of the demonstrations as the loop would show them.
        imagined: share of the samples that get one of these for their goal.
    """
    frames = demonstrations(replace(wanted, resolution=recipe.policy.resolution))
    train, held_out = _split(frames)
    if painter is not None:
        goals = regenerated_goals(frames, painter, imagined, recipe.fit.seed, work / "goals.npz")
        train = replace(train, generated_goals=goals)
    before = checkpoints.load(start) if start else None
    train_policy(recipe, [train], work / "fit", start=before, validation=[held_out])
    return work / "fit"


def install(
    made: Path, folder: Path, role: Packaged, command: str, regimes: Sequence[Regime] = ("broad",)
) -> str:
    """Copy a checkpoint, without its training state, into the package, in half precision; returns its id.

    The card beside it says what it is, how it was made, and from what. Measurements are added to it by
    whoever measures.
    """
    source = checkpoints.to_half_precision(checkpoints.load(made))
    shutil.rmtree(folder, ignore_errors=True)
    id = checkpoints.save(folder, source)
    size = sum(f.stat().st_size for f in folder.iterdir())
    parameters = sum(w.numel() for w in source.weights.values())
    (folder / CARD).write_text(
        _card(role, id, command, regimes, parameters, size / 1e6, source.config, source.provenance)
    )
    return id


def _fingertips(frames: Frames) -> Float32[np.ndarray, "n 2"]:
    """Where the camera of each demonstration's scene, but for a reset's jitter, sees the fingertips."""
    from soar.sim.projection import project_fingertips
    from soar.sim.scenes.catalog import load_scene

    seen = [
        project_fingertips(load_scene(episode.provenance.scene).camera, frames.states[start:end])
        for episode, (start, end) in zip(frames.episodes, pairwise(frames.starts), strict=True)
    ]
    return np.concatenate(seen)


def _split(frames: Frames) -> tuple[Source, Source]:
    """Demonstrations to learn from, and the last few, from scenes of their own, to validate on."""
    count = len(frames.episodes)
    cut = max(1, round(count * (1 - HELD_OUT)))
    last_scene = frames.episodes[cut - 1].provenance.seed
    held_out = [i for i in range(cut, count) if frames.episodes[i].provenance.seed != last_scene]
    own = np.arange(cut)
    return (
        Source("bridge", frames, 1.0, episodes=own),
        Source("held out", frames, 1.0, episodes=np.array(held_out or [count - 1])),
    )


_ROLES: dict[Packaged, str] = {
    "vlm": "The compact eyes: P(yes) for a yes/no question about an image",
    "subgoals": "The compact imagination: what the scene should look like a little later",
    "gcbc": "The compact goal-conditioned policy: actions that reach an image",
    "lcbc": "The compact language-conditioned policy: actions that follow an instruction",
}


def _card(
    role: Packaged,
    id: str,
    command: str,
    regimes: Sequence[Regime],
    parameters: int,
    megabytes: float,
    config: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> str:
    def block(value: object) -> str:
        return f"```json\n{json.dumps(value, indent=2)}\n```"

    return (
        "\n\n".join(
            [
                f"# {role} `{id}`",
                f"{_ROLES[role]}. {parameters / 1e6:.2f} M parameters, {megabytes:.1f} MB in half precision, "
                "MIT licence, like the package.",
                f"**Made by** `{command}`, from scenes of the simulated world's {' and '.join(regimes)} regime alone, "
                "none of which is one of the ten. The command resumes, and makes the same data from the same seed.",
                "**Use** only with the simulated world: it has seen no real image.",
                "## Configuration",
                block(config),
                "## Provenance",
                block(provenance),
            ]
        )
        + "\n"
    )
