"""A critic's value along one stored episode."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32

from soar.types import Episode, Images, Observation
from soar.utils.media import resize

if TYPE_CHECKING:
    from soar.critics.critic import Critic


class EpisodeValuer:
    """Values of the executed actions by the critic in a folder, which is loaded when it is first asked."""

    def __init__(self, folder: str) -> None:
        self._folder, self._lock = folder, threading.Lock()

    @cached_property
    def critic(self) -> Critic:
        """The critic. Raises CheckpointError: the folder holds none."""
        from soar.critics.critic import load_critic

        return load_critic(self._folder)

    def __call__(self, episode: Episode) -> Float32[np.ndarray, " t"]:
        """Return the smallest Q of the executed action of each step. Raises CheckpointError, ConfigError."""
        with self._lock:
            critic = self.critic
            images = resize(episode.images, critic.resolution)
            observations = [
                Observation(image, state, 0.0)
                for image, state in zip(images[:-1], episode.states[:-1], strict=True)
            ]
            goals = _goals(episode, images) if critic.takes_images else None
            words = [episode.instruction] * len(episode)
            values = critic.values(
                observations, words if goals is None else goals, episode.actions[:, None]
            )
        smallest: Float32[np.ndarray, " t"] = values.min(0)[:, 0]
        return smallest


def _goals(episode: Episode, images: Images) -> Images:
    """The goal of each step: the subgoal in force; before the first one, a later frame."""
    from soar.critics.diagnostics import AHEAD

    steps = np.arange(len(episode))
    goals = images[np.minimum(steps + AHEAD, len(episode))].copy()
    for subgoal in episode.subgoals:
        goals[subgoal.step :] = resize(subgoal.image, images.shape[1])
    return goals
