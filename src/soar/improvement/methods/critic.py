"""Improvement by a critic: collect with steering, refit the critic on everything, distil its choices (IDQL, PA-RL).

Each round trains a critic on successes and failures of all rounds, and on demonstrations as successes. The policy then
learns in three parts: demonstrations, own successes with hindsight goals, and, in all own states, the action that the
critic values most among the policy's samples, where the critic is sure. The critic goes on steering the new policy.

The critic is told the instruction (V-GPS, Cal-QL), so that it sees what a wrong subgoal doesn't show. The method works
with every subgoal generator, because it only reads the recorded images.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Le
from jaxtyping import Bool, Float32, Int64

from soar.checkpoint import MANIFEST
from soar.checkpoint import load as load_checkpoint
from soar.checkpoint import save as save_checkpoint
from soar.critics.critic import ActionCritic, Critic
from soar.critics.learning.labels import CriticSource
from soar.critics.learning.learner import KIND
from soar.critics.steering import SamplingPolicy, SteeringConfig, choose
from soar.data.frame_cache import Frames, build_frames
from soar.data.generated_goals import GeneratedGoals, recorded_subgoals
from soar.data.mixture import Source
from soar.errors import ConfigError
from soar.improvement.methods.hindsight import Hindsight
from soar.improvement.methods.method import MethodName, OwnEpisodes
from soar.improvement.run import Run
from soar.policies.loading import load_policy
from soar.promotion import CRITIC, base_policy
from soar.registry import policy_spec
from soar.training.critic import CriticTrainConfig, critic_source, train_critic
from soar.training.critic import compact as compact_critic
from soar.types import Images, Outcome
from soar.utils.config import check_ranges
from soar.utils.progress import progress_bar

_BATCH = 32
"""States whose actions are sampled and valued together."""


def _recipe() -> CriticTrainConfig:
    config = compact_critic("vgps")
    return replace(config, fit=replace(config.fit, steps=3000, warmup_steps=200, save_every=100))


@dataclass(frozen=True)
class CriticConfig:
    """Improvement by a critic."""

    train: CriticTrainConfig = field(default_factory=_recipe)
    """Critic and its training in each round."""
    demonstrations_share: Annotated[float, Ge(0), Le(1)] = 0.25
    """Share of demonstrations among the critic's samples of successes; 0 trains it on own episodes alone."""
    steering: SteeringConfig = field(default_factory=lambda: SteeringConfig(count=16))
    """Choice among the samples that are distilled."""
    distilled_share: Annotated[float, Ge(0), Le(1)] = 0.5
    """Share of chosen actions among the samples of own episodes; the others are imitated successes."""
    stride: Annotated[int, Ge(1)] = 2
    """Distance of the states whose action is chosen [control steps]."""
    steered: bool = True
    """Whether the critic steers the policy that is evaluated, promoted and collects."""
    seed: Annotated[int, Ge(0)] = 0
    """Seed of the samples."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class CriticMethod:
    """Critic-guided `LearningMethod` for policies with goal images."""

    config: CriticConfig
    imitation: Hindsight
    """Imitation of successes, for the other part of the samples."""
    demonstrations: Source | None = None
    """Demonstrations, which count as successes."""
    name: ClassVar[MethodName] = "critic"
    outcomes: ClassVar[tuple[Outcome, ...]] = ()

    def sources(self, own: OwnEpisodes, share: float) -> list[Source]:
        """See `LearningMethod.sources`. Trains the round's critic first."""
        folder = policy_spec(base_policy(own.policy)).folder
        policy = load_policy(folder)
        frames, goals = own_frames(own, policy.resolution)
        critic = train_round_critic(own, self.config, frames.resolution, self.demonstrations)
        distilled = Source("distilled", frames, share, generated_goals=goals)
        actions, usable = chosen_actions(policy, critic, frames, goals, self.config)
        distilled = replace(distilled, frames=replace(frames, actions=actions), usable=usable)
        try:
            imitated = self.imitation.sources(
                own._replace(query=replace(own.query, outcomes=self.imitation.outcomes)), share
            )
        except ConfigError:  # no success yet
            imitated = []
        if not usable.any():
            if not imitated:
                raise ConfigError("no success to imitate, and no state in which the critic is sure")
            return imitated
        part = self.config.distilled_share if imitated else 1.0
        others = [replace(s, weight=s.weight * (1 - part)) for s in imitated if part < 1]
        return [*others, replace(distilled, weight=share * part)] if part else others

    def finish(self, own: OwnEpisodes, out: Path) -> None:
        """Put the round's critic beside the trained policy, which it steers from then on."""
        if self.config.steered:
            save_checkpoint(out / CRITIC, load_checkpoint(critic_folder(own), KIND))

    def collecting(self, run: Run, policy: str) -> str:
        """Return the name of the policy that collects: steered by the newest round's critic."""
        critics = [f for f in (run.folder / "critics").glob("round-*") if (f / MANIFEST).exists()]
        if not critics or policy_spec(policy).kind == "steered":
            return policy
        newest = max(critics, key=lambda f: int(f.name.removeprefix("round-")))
        return f"steered:{policy},{newest}"


def train_round_critic(
    own: OwnEpisodes, config: CriticConfig, resolution: int, demonstrations: Source | None
) -> Critic:
    """Train the round's critic on all own episodes, and on demonstrations as successes; resumes."""
    recipe = replace(config.train, critic=replace(config.train.critic, resolution=resolution))
    share = config.demonstrations_share if demonstrations else 0.0
    mine = critic_source(
        own.open_store(), "own", own.query, recipe.critic, own.run.frames, 1 - share
    )
    sources = [mine]
    if demonstrations and share:
        given = demonstrations
        sources.append(CriticSource("demonstrations", given.frames, share, episodes=given.episodes))
    critic, _ = train_critic(recipe, sources, critic_folder(own))
    return critic


def critic_folder(own: OwnEpisodes) -> Path:
    """Return the folder of a round's critic."""
    return own.run.folder / "critics" / f"round-{own.round}"


def own_frames(own: OwnEpisodes, resolution: int) -> tuple[Frames, GeneratedGoals]:
    """Return all judged own episodes with their recorded subgoals.

    Raises:
        ConfigError: there is no judged episode, or none has a recorded subgoal.
    """
    store = own.open_store()
    query = replace(own.query, outcomes=("success", "failure"))
    own.require(query)
    frames = build_frames(store, query, resolution, own.run.frames)
    goals = recorded_subgoals(store, frames, 1.0)
    if goals is None or not len(goals.images):
        raise ConfigError(
            "no episode has subgoal images; the critic chooses actions that reach them"
        )
    return frames, goals


def critic_tasks(
    critic: ActionCritic, frames: Frames, chosen: Int64[np.ndarray, " n"], goals: Images
) -> Images | list[str]:
    """Return what a critic takes as the task of some frames: their goal images, or their episodes' instructions."""
    if critic.takes_images:
        return goals
    return [frames.episodes[e].instruction for e in frames.episode_of(chosen)]


def goal_steps(frames: Frames, goals: GeneratedGoals) -> Int64[np.ndarray, " n"]:
    """Return the frames that have an action and a recorded subgoal."""
    inside = np.ones(len(frames), bool)
    inside[frames.starts[1:] - 1] = False
    return np.flatnonzero(inside & (goals.image_indices >= 0))


def chosen_actions(
    policy: SamplingPolicy,
    critic: ActionCritic,
    frames: Frames,
    goals: GeneratedGoals,
    config: CriticConfig,
) -> tuple[Float32[np.ndarray, "n 7"], Bool[np.ndarray, " n"]]:
    """Choose an action in every `stride`-th own state with a subgoal.

    Where the critic isn't sure (the guard of `SteeringConfig`), a success keeps its executed action, and a failure has
    none.

    Returns:
        Actions of all frames, and the frames that have one to imitate.
    """
    rng = np.random.default_rng(config.seed)
    actions, usable = np.array(frames.actions), np.zeros(len(frames), bool)
    states = goal_steps(frames, goals)[:: config.stride]
    outcomes = [frames.episodes[e].verdict.outcome for e in frames.episode_of(states)]
    won = np.array([outcome == "success" for outcome in outcomes], bool)
    sampling = replace(config.steering, select="best", temperature=0.0)
    with progress_bar() as bar:
        row = bar.add_task("choosing actions", total=len(states), note="")
        for first in range(0, len(states), _BATCH):
            here = states[first : first + _BATCH]
            seen = frames.observations(here)
            wanted = goals.images[goals.image_indices[here]]
            policy.reset()
            samples = policy.sample(seen, wanted, rng, sampling.count, noise=sampling.noise)[
                :, :, 0
            ]
            values = critic.values(seen, critic_tasks(critic, frames, here, wanted), samples)
            chosen = choose(values, sampling, rng)
            sure = chosen > 0
            actions[here[sure]] = samples[sure, chosen[sure]]
            usable[here] = sure | won[first : first + _BATCH]
            bar.update(row, advance=len(here))
    return actions, usable
