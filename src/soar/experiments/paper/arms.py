"""Arms of a study: ways to learn from the same collected episodes, evaluated from the same starts.

    FOLDER/store/                      episodes that the system in force collected in all scenes, or a link to others
    FOLDER/arms/NAME/scene-1/          success of an arm in a scene, as `soar evaluate` writes it
    FOLDER/arms/NAME/learned-1/        what the arm learned from that scene's episodes, or from those of all scenes

Every step resumes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from soar.data.store.lance import open_store
from soar.errors import ConfigError
from soar.evaluation.results import Evaluation, open_evaluation
from soar.experiments.run_config import RunConfig
from soar.experiments.simulated_run import (
    collect_in_simulation,
    evaluate_in_simulation,
    learning_of,
)
from soar.improvement.cotraining import no_minutes
from soar.improvement.methods.method import MethodName, NothingToLearnError, OwnEpisodes
from soar.improvement.rounds import Candidate, OnMessage
from soar.improvement.run import Run
from soar.promotion import latest_models
from soar.sim.scenes.catalog import load_scene
from soar.types import Query


@dataclass(frozen=True)
class Arm:
    """A way to learn from episodes that are there already."""

    method: MethodName | None = None
    """None evaluates the models as they are."""
    policy: str = ""
    """Policy to begin with; by default the study's, which collects the episodes."""
    subgoals: str = ""
    """Subgoal generator of the learned policy, by default the study's; "none" for one that follows instructions."""
    pooled: bool = False
    """Whether it learns once, from the episodes of all scenes, and not in each scene from its own."""


LCBC = Arm(policy="lcbc", subgoals="none")
"""The packaged language-conditioned policy."""


def run_study(
    folder: Path,
    arms: Mapping[str, Arm],
    config: RunConfig,
    on_message: OnMessage,
    store: Path | None = None,
) -> dict[str, list[Evaluation]]:
    """Collect episodes in all scenes, and run every arm, or what is left of it.

    Args:
        folder: the study's folder.
        arms: the arms, by name.
        config: scenes, number of episodes and trials, and what each method's own options say. Its policy and subgoal
            generator collect, and arms that name no other begin with them.
        on_message: called with a few words before each stage.
        store: episodes that are there already, in place of a collection.

    Returns:
        Each arm's evaluations, one for each scene. An arm that finds nothing to learn is left out.

    Raises:
        ConfigError: there is no such scene, or a method doesn't apply; or the folder has episodes of its own.
    """
    no_minutes(config.fit)
    names = [load_scene(s).name for s in config.scenes]
    config = replace(config, rounds=1, steps_per_subgoal=config.episode_config.steps_per_subgoal)
    if store is not None:
        _link(folder / "store", store)
    elif any(arm.method for arm in arms.values()):
        on_message("the robots propose tasks, try them, and judge themselves")
        collect_in_simulation(config, Run(folder), 1, config.policy, config.subgoals)
    found: dict[str, list[Evaluation]] = {}
    for name, given in arms.items():
        arm = replace(
            given,
            policy=given.policy or config.policy,
            subgoals=given.subgoals or config.subgoals,
        )
        here = folder / "arms" / name.replace(" ", "-").replace(",", "")
        try:
            found[name] = _run_arm(here, arm, config, names, partial(_prefixed, on_message, name))
        except NothingToLearnError as error:
            on_message(f"{name}: nothing to learn: {error}")
    return found


def _link(link: Path, store: Path) -> None:
    """Let a study use a store. Raises ConfigError: there is none, or the study has another."""
    open_store(store, read_only=True)
    if not link.is_symlink() and not link.exists():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(store.resolve())
    if link.resolve() != store.resolve():
        raise ConfigError(
            f"{link.parent} has other episodes, in {link.resolve()}; choose another folder"
        )


def _prefixed(on_message: OnMessage, name: str, text: str) -> None:
    on_message(f"{name}: {text}")


def _run_arm(
    folder: Path, arm: Arm, config: RunConfig, scenes: Sequence[str], on_message: OnMessage
) -> list[Evaluation]:
    """Learn, and evaluate in every scene."""
    store = folder.parent.parent
    found = []
    for scene in scenes:
        out = folder / f"scene-{scene}"
        policy, subgoals = arm.policy, arm.subgoals
        if arm.method:
            group = tuple(scenes) if arm.pooled else (scene,)
            run = Run(folder / f"learned-{'all' if arm.pooled else scene}", store)
            policy, subgoals = _learned(run, arm, replace(config, scenes=group), on_message)
        on_message(f"success in scene {scene}, {config.trials} trials of each task")
        here = replace(config, scenes=(scene,))
        evaluate_in_simulation(here, [Candidate(policy, subgoals, out)])
        found.append(open_evaluation(out))
    return found


def _learned(run: Run, arm: Arm, config: RunConfig, on_message: OnMessage) -> tuple[str, str]:
    """Learn by the arm's method, and return the names of policy and subgoal generator.

    Raises:
        NothingToLearnError: nothing can be learned from the episodes.
    """
    config = replace(config, method=arm.method, policy=arm.policy, subgoals=arm.subgoals)
    finetunes, trains = learning_of(config, run, on_message)
    names = tuple(load_scene(s).name for s in config.scenes)
    query = Query(scenes=names, version=open_store(run.store, read_only=True).version)
    first = {"policy": arm.policy, "subgoals": arm.subgoals}
    if finetunes is not None:
        own = OwnEpisodes(run, 1, replace(query, version=None), arm.subgoals)
        finetunes(own, run.subgoals_folder(1))
    subgoals = latest_models(run.folder, [1], first)[1]
    if trains is not None:
        own = OwnEpisodes(run, 1, replace(query, outcomes=trains.outcomes), subgoals, arm.policy)
        trains(own, arm.policy, run.train_folder(1))
    return latest_models(run.folder, [1], first)
