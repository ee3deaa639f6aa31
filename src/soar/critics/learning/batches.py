"""Training batches of critics: steps of successes and failures, labeled when they are drawn.

Frames come from the cache. Rewards, masks and returns are computed from the present verdicts, so that a changed verdict
is in the next batch and no file is written again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float64, Int64

from soar.critics.config import CriticConfig
from soar.critics.learning.labels import CriticSource, Pool, make_pools, pool_shares
from soar.critics.learning.returns import windows
from soar.data.frame_cache import common_contract
from soar.data.mixture import DRAWS, LATE_DRAWS, Embed
from soar.data.prefetch import step_rng
from soar.errors import ConfigError
from soar.types import Verdict

_Array: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[Any]]
_Indices: TypeAlias = Int64[np.ndarray, " n"]


class _Steps(NamedTuple):
    """Drawn steps. Frames are numbered within their source."""

    source: _Indices
    episode: _Indices
    frame: _Indices
    first: _Indices
    last: _Indices
    """First and last frame of the episode."""
    label: Float64[np.ndarray, " n"]
    """P(success)."""
    negative: Bool[np.ndarray, " n"]
    """Whether the goal or instruction is that of the next row."""
    donor: _Indices
    """Row that the goal or instruction is taken from: the step's own, or the next one."""


class _Goals(NamedTuple):
    """Goal images: frames of a source, or its recorded subgoals where `subgoal` is not -1."""

    source: _Indices
    frame: _Indices
    subgoal: _Indices

    def at(self, rows: _Indices) -> _Goals:
        """Return the goals of some rows."""
        return _Goals(*(a[rows] for a in self))


class CriticBatches:
    """Batches for `soar.training.fit.fit`. Step i's batch is the same on every call as long as no verdict changes.

    Keys:
        "image", "next_image" (n, r, r, 3) uint8: the window's first frame, and the frame after it.
        "state", "next_state" (n, s) and "action", "next_action" (n, a) float32; actions in physical units.
        "reward", "discount", "mc_return" (n,) float32: as in `soar.critics.learning.returns.Windows`.
        "draws", "next_draws" (n, 44) float32, uniform in [0, 1), for augmentation.
        "goal", "next_goal" (n, r, r, 3) uint8, or "words" (n, d) float32, or "task" (n,) int64, by the condition.
        "share/NAME", "share/failure", "share/negative" (n,) float32: 1 where a sample is of that source or kind.
    """

    def __init__(
        self,
        sources: Sequence[CriticSource],
        config: CriticConfig,
        seed: int,
        embed: Embed | None = None,
    ) -> None:
        """Index the sources.

        Args:
            sources: episodes.
            config: labels, shares and condition.
            seed: of all random draws.
            embed: sentence encoder, for the condition "text".

        Raises:
            ConfigError: no episode has a label, an instruction has no task id, frames have another resolution, or
                the episodes are of several arms.
        """
        sizes = {s.frames.resolution for s in sources}
        if sizes != {config.resolution}:
            raise ConfigError(
                f"frames are {sorted(sizes)} px; this critic takes {config.resolution}"
            )
        self.sources, self.config, self.seed = tuple(sources), config, seed
        shared = common_contract([e for s in sources for e in s.frames.episodes])
        self.contract = replace(shared, cameras=shared.cameras[:1])
        """Meaning of actions and states, which the sources share, and of the primary camera."""
        self._context = [_context(s, config, embed) for s in sources]
        self._verdicts: list[Mapping[str, Verdict]] = []
        self._labels: list[Float64[np.ndarray, " e"]] = []
        self._pools: list[Pool] = []
        self._edges: Float64[np.ndarray, " p"] = np.zeros(0)
        self._update_labels()

    def __call__(self, step: int, size: int, rows: slice) -> dict[str, _Array]:
        """Return some rows of a step's batch of `size` samples."""
        self._update_labels()
        rng = step_rng(self.seed, step)
        early = rng.random((2, size, DRAWS - LATE_DRAWS), np.float32)
        steps = self._draw(rng, size)
        goals = self._draw_goals(rng, steps) if self.config.condition == "goal" else []
        draws = np.concatenate([early, rng.random((2, size, LATE_DRAWS), np.float32)], 2)
        chosen = np.arange(size)[rows]
        batch = self._gather(steps, goals, chosen)
        return {**batch, "draws": draws[0, rows], "next_draws": draws[1, rows]}

    def provenance(self) -> dict[str, Any]:
        """Return each source's weight, episodes and query as plain data; changed verdicts don't affect it."""
        return {
            s.name: {
                "weight": s.weight,
                "episodes": len(s.chosen),
                "episodes_hash": _ids_hash(s),
                "query": asdict(replace(s.frames.query, version=None)),
                "recorded_subgoals": s.subgoals is not None,
            }
            for s in self.sources
        }

    def _update_labels(self) -> None:
        """Sort the steps by outcome, unless no verdict has changed."""
        present = [s.present_verdicts() for s in self.sources]
        if self._pools and all(a is b for a, b in zip(present, self._verdicts, strict=True)):
            return
        labels = [s.labels(self.config, v) for s, v in zip(self.sources, present, strict=True)]
        pools = [p for i, s in enumerate(self.sources) for p in make_pools(i, s.frames, labels[i])]
        if not pools:
            raise ConfigError("no episode has a verdict, so a critic can't learn; try soar judge")
        weights = [s.weight for s in self.sources]
        self._verdicts, self._labels, self._pools = present, labels, pools
        self._edges = np.cumsum(pool_shares(pools, weights, self.config.failure_share))

    def _draw(self, rng: np.random.Generator, size: int) -> _Steps:
        chance = rng.random((3, size))
        pool = np.minimum(np.searchsorted(self._edges, chance[0], "right"), len(self._pools) - 1)
        source, episode, frame, first, last = np.zeros((5, size), np.int64)
        label = np.zeros(size)
        for i, p in enumerate(self._pools):
            mine, starts = pool == i, self.sources[p.source].frames.starts
            frame[mine] = p.frames[(chance[1, mine] * len(p.frames)).astype(np.int64)]
            episode[mine] = np.searchsorted(starts, frame[mine], "right") - 1
            first[mine], last[mine] = starts[episode[mine]], starts[episode[mine] + 1] - 1
            source[mine], label[mine] = p.source, self._labels[p.source][episode[mine]]
        following = np.roll(np.arange(size), -1)
        same = [self._same_task(source, episode, i, j) for i, j in enumerate(following.tolist())]
        negative = (chance[2] < self.config.negative_share) & ~np.array(same, bool)
        donor = np.where(negative, following, np.arange(size))
        label = np.where(negative, 0.0, label)
        return _Steps(source, episode, frame, first, last, label, negative, donor)

    def _same_task(self, source: _Indices, episode: _Indices, i: int, j: int) -> bool:
        """Whether two rows are of the same episode, or have the same instruction where the critic is given one."""
        if self.config.condition == "goal":
            return bool(source[i] == source[j] and episode[i] == episode[j])
        one, other = (self.sources[source[r]].frames.episodes[episode[r]] for r in (i, j))
        return str(one.instruction) == str(other.instruction)

    def _draw_goals(self, rng: np.random.Generator, steps: _Steps) -> list[_Goals]:
        """Return the goals at the windows' first frames, and at the frames after them."""
        config, none = self.config, np.full(len(steps.frame), -1)
        ahead = np.maximum(config.goals.draw(rng, steps.frame, steps.last), steps.frame + 1)
        if config.rewards.labels == "hindsight":
            reached = rng.random(len(steps.frame)) < config.reached_share
            frame = np.where(reached, steps.frame + 1, ahead)
            now = later = _Goals(steps.source, frame, none)
        else:
            after = np.minimum(steps.frame + config.n_step, steps.last)
            again = config.goals.draw(rng, after, steps.last)
            frame = np.where(ahead > after, ahead, again)
            now = _Goals(steps.source, ahead, self._recorded(steps.source, steps.frame))
            later = _Goals(steps.source, frame, self._recorded(steps.source, after))
        return [
            now.at(steps.donor),
            _Goals(
                *(
                    np.where(steps.negative, a, b)
                    for a, b in zip(now.at(steps.donor), later, strict=True)
                )
            ),
        ]

    def _recorded(self, source: _Indices, frames: _Indices) -> _Indices:
        """Return the number of the subgoal that the robot pursued at each frame; -1 for none."""
        found = np.full(len(frames), -1)
        for i, s in enumerate(self.sources):
            if s.subgoals is not None:
                mine = source == i
                found[mine] = s.subgoals.image_indices[frames[mine]]
        return found

    def _gather(
        self, steps: _Steps, goals: Sequence[_Goals], chosen: _Indices
    ) -> dict[str, _Array]:
        mine = _Steps(*(a[chosen] for a in steps))
        places = zip(mine.source.tolist(), mine.episode.tolist(), strict=True)
        takeovers = [self.sources[source].takeovers(episode) for source, episode in places]
        frames = goals[0].frame[chosen] if goals else None
        targets, ahead = _targets(mine, self.config, frames, takeovers)
        after = mine.frame + ahead
        # The last frame of an episode has no action: that of the last step stands for it.
        acting = np.minimum(after, mine.last - 1)
        batch = {
            "reward": targets[:, 0],
            "discount": targets[:, 1],
            "mc_return": targets[:, 2],
            "image": self._take("images", mine.source, mine.frame),
            "next_image": self._take("images", mine.source, after),
            "state": self._take("states", mine.source, mine.frame),
            "next_state": self._take("states", mine.source, after),
            "action": self._take("actions", mine.source, mine.frame),
            "next_action": self._take("actions", mine.source, acting),
            "share/failure": (mine.label < 0.5).astype(np.float32),
            "share/negative": mine.negative.astype(np.float32),
        }
        for i, source in enumerate(self.sources):
            batch[f"share/{source.name}"] = (mine.source == i).astype(np.float32)
        for name, g in zip(("goal", "next_goal"), goals, strict=False):
            batch[name] = self._goal_images(g.at(chosen))
        if not goals:
            name = "words" if self.config.condition == "text" else "task"
            givers = zip(steps.source[mine.donor], steps.episode[mine.donor], strict=True)
            batch[name] = np.stack([self._context[s][e] for s, e in givers])
        return batch

    def _goal_images(self, goals: _Goals) -> _Array:
        images = self._take("images", goals.source, goals.frame)
        for i, s in enumerate(self.sources):
            if s.subgoals is not None:
                mine = (goals.source == i) & (goals.subgoal >= 0)
                images[mine] = s.subgoals.images[goals.subgoal[mine]]
        return images

    def _take(self, name: str, source: _Indices, frames: _Indices) -> _Array:
        """Return rows of one of the frame caches' arrays."""
        first: _Array = getattr(self.sources[0].frames, name)
        out = np.empty((len(frames), *first.shape[1:]), first.dtype)
        for i, s in enumerate(self.sources):
            mine = source == i
            out[mine] = getattr(s.frames, name)[frames[mine]]
        return out


def _targets(
    steps: _Steps,
    config: CriticConfig,
    goal_frames: _Indices | None,
    takeovers: Sequence[tuple[int, ...]],
) -> tuple[_Array, _Indices]:
    """Return reward, discount and Monte-Carlo return of each step, and the steps to the frame after its window."""
    targets, ahead = (
        np.zeros((len(steps.frame), 3), np.float32),
        np.zeros(len(steps.frame), np.int64),
    )
    hindsight = config.rewards.labels == "hindsight" and goal_frames is not None
    reaching = replace(config.rewards, final_steps=1)
    for i, frame in enumerate(steps.frame):
        t, length = int(frame - steps.first[i]), int(steps.last[i] - steps.first[i])
        rewards, success = config.rewards, float(steps.label[i])
        if hindsight and not steps.negative[i]:
            assert goal_frames is not None
            t, length, rewards = 0, int(goal_frames[i] - frame), reaching
        w = windows(length, success, rewards, config.discount, config.n_step, takeovers[i])
        targets[i] = w.rewards[t], w.discounts[t], w.returns[t]
        ahead[i] = w.ahead[t]
    return targets, ahead


def _ids_hash(source: CriticSource) -> str:
    """Return a hash of the episodes' ids, in order."""
    ids = ",".join(source.frames.episodes[i].id for i in source.chosen)
    return hashlib.sha256(ids.encode()).hexdigest()[:16]


def _context(source: CriticSource, config: CriticConfig, embed: Embed | None) -> _Array:
    """Return each episode's sentence embedding or task id; nothing for a critic with goal images."""
    instructions = [e.instruction for e in source.frames.episodes]
    if config.condition == "text":
        if embed is None:
            raise ConfigError("a critic with instructions needs a sentence encoder")
        unique = sorted(set(instructions))
        row = {text: i for i, text in enumerate(unique)}
        embedded: _Array = embed(unique)[[row[text] for text in instructions]]
        return embedded
    if config.condition == "goal":
        return np.zeros(0)
    unknown = sorted(set(instructions) - set(config.tasks))
    if unknown:
        raise ConfigError(f"'{unknown[0]}' has no task id; valid: {', '.join(config.tasks)}")
    return np.array([config.tasks.index(text) for text in instructions], np.int64)
