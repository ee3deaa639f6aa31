"""A policy of another package, co-trained by `soar improve`: `--policy nearest`.

It does what was done in the remembered state that is nearest to the present one. `soar improve` calls `fit` after each
round's collection, and makes the policy with the options that `fit` returns: a component file, `policy.yaml`, in
the round's folder says `policy: nearest` and `options: {folder: ...}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from soar import Actions, EpisodeStore, Images, Noise, Observation, Query


class Nearest:
    """The action of the nearest state; without any, no motion and an open gripper."""

    name = "nearest"

    def __init__(self, states: np.ndarray, actions: np.ndarray, neighbors: int) -> None:
        self._states, self._actions, self._neighbors = states, actions, neighbors

    def act(
        self,
        observations: Sequence[Observation],
        goals: Images | Sequence[str],
        rng: np.random.Generator,
        *,
        noise: Noise = 0.0,
    ) -> Actions:
        """Return one action for each observation."""
        actions = np.tile(np.array([0, 0, 0, 0, 0, 0, 1], np.float32), (len(observations), 1))
        for action, observation in zip(actions, observations, strict=True):
            if len(self._states):
                distance = np.linalg.norm(self._states - observation.state, axis=1)
                action[:] = self._actions[np.argsort(distance)[: self._neighbors]].mean(0)
        actions[:, :6] += np.reshape(noise, (-1, 1)) * rng.normal(0, 0.005, (len(actions), 6))
        return actions

    def instruct(self, instructions: Sequence[str]) -> None:
        """Take the words that go with subgoal images; this policy has no use for them."""

    def reset(self) -> None:
        """There is no state of an episode."""

    def fit(
        self,
        store: EpisodeStore,
        query: Query,
        out: Path,
        *,
        demonstrations: EpisodeStore | None = None,
    ) -> Mapping[str, str]:
        """Remember the episodes that match, and the demonstrations; return the options of the trained policy."""
        episodes = [store.load(e.id) for e in store.query(query)]
        if demonstrations is not None:
            episodes += [demonstrations.load(e.id) for e in demonstrations.query()]
        states = np.concatenate([e.states[:-1] for e in episodes])
        np.savez(
            out / "memory.npz", states=states, actions=np.concatenate([e.actions for e in episodes])
        )
        return {"folder": str(out)}


def make_nearest(folder: str = "", neighbors: int = 1) -> Nearest:
    """Return the policy; its options are these arguments. `folder`: of what `fit` learned; "" knows nothing yet."""
    if not folder:
        return Nearest(np.zeros((0, 7), np.float32), np.zeros((0, 7), np.float32), neighbors)
    memory = np.load(Path(folder) / "memory.npz")
    return Nearest(memory["states"], memory["actions"], neighbors)
