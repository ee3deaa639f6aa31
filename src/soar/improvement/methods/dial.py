"""Relabeling with words (DIAL, Xiao et al. 2023): each own episode gets the instruction that it fulfilled.

DIAL asks a CLIP that was fine-tuned with a contrastive loss on demonstrations. Here it is the success detector, whose
VLM already knows images and words of the robot's world: of all instructions tried in a scene, which one is done at the
end of an episode and wasn't at its beginning? It finds the right one more often than contrastive heads did
(`benchmarks/dial.py`, docs/log.md). A language-conditioned policy then imitates the episodes, failures included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Le

from soar.collection.judging import judge_stored
from soar.data.frame_cache import build_frames
from soar.data.mixture import Source
from soar.data.store.lance import LanceStore
from soar.data.takeovers import with_takeovers
from soar.improvement.methods.hindsight import HindsightConfig
from soar.improvement.methods.method import MethodName, NothingToLearnError, OwnEpisodes
from soar.interfaces import AnySuccessDetector
from soar.tasks.grammar import task_from_instruction
from soar.tasks.question_file import task_of_episode
from soar.types import EpisodeSummary, Outcome, Task
from soar.utils.config import check_ranges


@dataclass(frozen=True)
class DialConfig:
    """Relabeling of own episodes with words."""

    REMOVED: ClassVar = ("encoder", "dim", "steps", "learning_rate", "seed")
    pool: tuple[str, ...] = ()
    """Candidate instructions; empty takes those that were tried in an episode's scene."""
    top: Annotated[int, Ge(1)] = 1
    """Most instructions that an episode gets."""
    least_probability: Annotated[float, Ge(0), Le(1)] = 0.5
    """Least P(success) of an instruction that is given."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class Dial:
    """DIAL's `LearningMethod` for language-conditioned policies."""

    config: DialConfig
    imitation: HindsightConfig
    """How the labeled episodes are imitated; its outcomes don't count."""
    resolution: int
    """Height and width of the policy's images in pixels."""
    load_detector: Callable[[], AnySuccessDetector]
    """Loads the success detector."""
    name: ClassVar[MethodName] = "dial"
    outcomes: ClassVar[tuple[Outcome, ...]] = ()

    def sources(self, own: OwnEpisodes, share: float) -> list[Source]:
        """See `LearningMethod.sources`. Raises NothingToLearnError: no episode fulfilled any instruction."""
        store = own.open_store()
        summaries = list(store.query(own.query))
        labels = label_episodes(store, summaries, self.load_detector(), self.config)
        total = sum(map(len, labels.values()))
        if not total:
            raise NothingToLearnError(
                f"none of {len(summaries)} episodes fulfilled an instruction with P(success) of "
                f"{self.config.least_probability} or more"
            )
        c = self.imitation
        frames = build_frames(store, own.query, self.resolution, own.run.frames)
        frames = with_takeovers(store, frames)
        sources = []
        for rank in range(self.config.top):
            given = {id: found[rank] for id, found in labels.items() if len(found) > rank}
            episodes = tuple(
                replace(e, instruction=given.get(e.id, e.instruction)) for e in frames.episodes
            )
            chosen = [i for i, e in enumerate(episodes) if e.id in given]
            if chosen:
                weight = share * len(chosen) / total
                relabeled, name = replace(frames, episodes=episodes), f"relabeled-{rank + 1}"
                found = Source(name, relabeled, weight, c.goals, c.sum_steps, np.array(chosen))
                sources += c.prepared(found)
        return sources


def label_episodes(
    store: LanceStore,
    summaries: Sequence[EpisodeSummary],
    detector: AnySuccessDetector,
    config: DialConfig,
) -> Mapping[str, Sequence[str]]:
    """Return the likeliest instructions of each episode, up to `top`, by its id; none where nothing is done.

    Raises:
        ConfigError: an instruction of the pool has none of the usual forms.
        ModelUnavailable: no reply within the time limit.
    """
    scored: dict[str, list[tuple[float, str]]] = {s.id: [] for s in summaries}
    for scene in sorted({s.provenance.scene for s in summaries}):
        here = [s for s in summaries if s.provenance.scene == scene]
        for task in _candidates(here, config.pool):
            for summary, verdict in judge_stored(store, here, detector, task):
                if (verdict.p_success or 0.0) >= config.least_probability:
                    scored[summary.id].append((verdict.p_success or 0.0, task.instruction))
    return {
        id: [instruction for _, instruction in sorted(found, reverse=True)[: config.top]]
        for id, found in scored.items()
    }


def _candidates(episodes: Sequence[EpisodeSummary], pool: Sequence[str]) -> list[Task]:
    """The tasks of a pool; of an empty one, those of the episodes."""
    if pool:
        return [task_from_instruction(instruction) for instruction in pool]
    return list({e.instruction: task_of_episode(e) for e in episodes}.values())
