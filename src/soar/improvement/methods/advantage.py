"""Imitation conditioned on the advantage (RECAP): the policy is told which actions a critic finds better than usual.

All own steps are imitated, failures included, with the recorded subgoals. An action is labeled by its advantage
Q(s, a) - V(s) under the round's critic; demonstrations count as better than usual. When served, the policy acts as
if told that the advantage is large.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Gt, Lt
from jaxtyping import Float64

from soar.critics.critic import Critic
from soar.data.frame_cache import Frames
from soar.data.generated_goals import GeneratedGoals
from soar.data.mixture import Source
from soar.improvement.methods.critic import (
    CriticConfig,
    critic_tasks,
    goal_steps,
    own_frames,
    train_round_critic,
)
from soar.improvement.methods.hindsight import HindsightConfig
from soar.improvement.methods.method import MethodName, OwnEpisodes
from soar.policies.behavior_cloning import LARGE, SMALL
from soar.types import Outcome
from soar.utils.config import check_ranges

_BATCH = 32


@dataclass(frozen=True)
class AdvantageConfig:
    """Imitation conditioned on the advantage; its critic is that of `CriticConfig`."""

    large_share: Annotated[float, Gt(0), Lt(1)] = 0.4
    """Share of own actions that count as better than usual (RECAP: 0.3 to 0.4)."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class AdvantageMethod:
    """Advantage-conditioned `LearningMethod` for policies with goal images."""

    config: AdvantageConfig
    critic: CriticConfig
    imitation: HindsightConfig
    """How own steps are imitated; its outcomes and goals don't count."""
    resolution: int
    """Height and width of the policy's images in pixels."""
    demonstrations: Source | None = None
    """Demonstrations, which count as successes."""
    name: ClassVar[MethodName] = "advantage"
    outcomes: ClassVar[tuple[Outcome, ...]] = ()

    def sources(self, own: OwnEpisodes, share: float) -> list[Source]:
        """See `LearningMethod.sources`. Trains the round's critic first."""
        frames, goals = own_frames(own, self.resolution)
        critic = train_round_critic(own, self.critic, self.resolution, self.demonstrations)
        found = advantages(critic, frames, goals)
        known = np.isfinite(found)
        least = np.quantile(found[known], 1 - self.config.large_share)
        labels = np.where(found >= least, LARGE, SMALL)
        source = Source(
            "advantage", frames, share, generated_goals=goals, usable=known, advantages=labels
        )
        return self.imitation.prepared(source)


def advantages(critic: Critic, frames: Frames, goals: GeneratedGoals) -> Float64[np.ndarray, " n"]:
    """Return Q - V of each executed action with a recorded subgoal; NaN for other frames."""
    found = np.full(len(frames), np.nan)
    steps = goal_steps(frames, goals)
    for first in range(0, len(steps), _BATCH):
        here = steps[first : first + _BATCH]
        seen = frames.observations(here)
        wanted = critic_tasks(critic, frames, here, goals.images[goals.image_indices[here]])
        q = critic.values(seen, wanted, frames.actions[here][:, None])[..., 0].min(0)
        found[here] = q - critic.v(seen, wanted)
    return found
