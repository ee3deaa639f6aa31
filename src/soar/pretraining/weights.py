"""Pretraining of the packaged weights: demonstrations, training, checkpoint and card; every step resumes.

The policies learn from demonstrations of the *bridge* regime, the VLM and the subgoal generator from images and text of
the *broad* one. None of the ten scenes is used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge
from jaxtyping import Float32

from soar import checkpoint as checkpoints
from soar.data.frame_cache import Frames, build_frames
from soar.data.generated_goals import GoalGenerator, regenerated_goals
from soar.data.mixture import Source
from soar.data.store.lance import open_store
from soar.registry import Packaged
from soar.training.policy import PolicyTrainConfig, train_policy
from soar.types import Query, Regime
from soar.utils.config import check_ranges
from soar.utils.files import cache_folder, write_bytes

REGIME: Regime = "bridge"
DEMOS = "demonstrations"
CARD = "README.md"
HELD_OUT = 0.03
"""Share of the demonstrations, the last ones, for validation."""


def demonstrations_folder(first_seed: int) -> Path:
    """Return the cache folder of demonstrations and of everything derived from them."""
    return cache_folder() / DEMOS / f"seed-{first_seed}"


@dataclass(frozen=True)
class DemonstrationSet:
    """A set of demonstrations of the *bridge* regime."""

    episodes: Annotated[int, Ge(1)] = 6000
    first_seed: int = 0
    """Seed of the first session."""
    resolution: Annotated[int, Ge(1)] = 96
    """Image side in pixels; by default that of the compact policies."""
    workers: Annotated[int, Ge(1)] = 2
    """Number of processes."""

    def __post_init__(self) -> None:
        check_ranges(self)


def demonstrations(requested: DemonstrationSet, folder: Path | None = None) -> Frames:
    """Return demonstrations of the *bridge* regime as frames, collected unless they exist.

    Their labels are the expert's commanded actions, without its noise.

    Args:
        requested: the demonstrations.
        folder: folder that keeps them; None is the cache folder, which all runs on a machine share.
    """
    from soar.pretraining.demonstrations import collect_demonstrations

    folder = folder or demonstrations_folder(requested.first_seed)
    collect_demonstrations(
        folder / "store",
        REGIME,
        requested.episodes,
        workers=requested.workers,
        first_seed=requested.first_seed,
    )
    query = Query(regimes=(REGIME,), outcomes=("success",), limit=requested.episodes)
    store = open_store(folder / "store", read_only=True)
    cache = folder / "frames"
    frames = build_frames(store, query, requested.resolution, cache, requested.workers, "commanded")
    return replace(frames, fingertips=_fingertips(frames))


def pretrain_policy(
    recipe: PolicyTrainConfig,
    requested: DemonstrationSet,
    work: Path,
    *,
    start: Path | None = None,
    generator: GoalGenerator | None = None,
    generated_goals: float = 0.0,
) -> Path:
    """Train a policy by behavior cloning on demonstrations, or resume the training.

    Args:
        recipe: configuration of the policy and its training.
        requested: the demonstrations; `recipe` sets their resolution.
        work: folder for intermediate files.
        start: folder of a policy's checkpoint to start from.
        generator: generator of goal images as the loop would show them.
        generated_goals: share of the samples with such a goal.

    Returns:
        The checkpoint's folder.
    """
    frames = demonstrations(replace(requested, resolution=recipe.policy.resolution))
    train, held_out = _split(frames)
    if generator is not None:
        path = work / "goals.npz"
        goals = regenerated_goals(frames, generator, generated_goals, recipe.fit.seed, path)
        train = replace(train, generated_goals=goals)
    before = checkpoints.load(start) if start else None
    train_policy(recipe, [train], work / "fit", start=before, validation=[held_out])
    return work / "fit"


def install(
    made: Path, folder: Path, role: Packaged, command: str, regimes: Sequence[Regime] = ("broad",)
) -> str:
    """Install a checkpoint in the package, in half precision, without its training state, and with a card.

    A checkpoint that is there stays whole until the new one is; other files of the folder stay. The
    card tells what the checkpoint is and how it was made; measurements are added to it by hand.

    Args:
        made: folder of the checkpoint.
        folder: folder of the installed checkpoint.
        role: role of the model.
        command: command that made it.
        regimes: regimes that it learned from.

    Returns:
        The installed checkpoint's id.
    """
    source = checkpoints.to_half_precision(checkpoints.load(made))
    id = checkpoints.save(folder, source)
    size = (folder / f"weights-{id}.safetensors").stat().st_size
    parameters = sum(w.numel() for w in source.weights.values())
    card = _card(
        role, id, command, regimes, parameters, size / 1e6, source.config, source.provenance
    )
    write_bytes(folder / CARD, card.encode())
    return id


def _fingertips(frames: Frames) -> Float32[np.ndarray, "n 2"]:
    """Project the fingertips to the image of each demonstration's camera, without the jitter of its reset."""
    from soar.sim.projection import project_fingertips
    from soar.sim.scenes.catalog import load_scene

    points = [
        project_fingertips(load_scene(episode.provenance.scene).camera, frames.states[start:end])
        for episode, (start, end) in zip(frames.episodes, pairwise(frames.starts), strict=True)
    ]
    return np.concatenate(points)


def _split(frames: Frames) -> tuple[Source, Source]:
    """Split demonstrations into those for training and the last few, of scenes of their own, for validation."""
    count = len(frames.episodes)
    cut = max(1, round(count * (1 - HELD_OUT)))
    last_scene = frames.episodes[cut - 1].provenance.seed
    held_out = [i for i in range(cut, count) if frames.episodes[i].provenance.seed != last_scene]
    training = np.arange(cut)
    return (
        Source("bridge", frames, 1.0, episodes=training),
        Source("held out", frames, 1.0, episodes=np.array(held_out or [count - 1])),
    )


_ROLES: dict[Packaged, str] = {
    "vlm": "The compact VLM: P(yes) for a yes/no question about an image",
    "subgoals": "The compact subgoal generator: what the scene should look like a little later",
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
                "MIT license, like the package.",
                f"**Made by** `{command}`, from scenes of the simulator's {' and '.join(regimes)} regime alone, "
                "none of which is one of the ten. The command resumes, and the same seed gives the same data.",
                "**Use** only in the simulator: it was trained on no real image.",
                "## Configuration",
                block(config),
                "## Provenance",
                block(provenance),
            ]
        )
        + "\n"
    )
