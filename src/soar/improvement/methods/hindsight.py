"""Imitation of own successful episodes with hindsight goals (paper, section 4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, TypeAlias

from annotated_types import Ge, Le

from soar.data.frame_cache import Frames, build_frames
from soar.data.generated_goals import GeneratedGoals, recorded_subgoals
from soar.data.idle_frames import drop_idle_frames
from soar.data.mixture import Source
from soar.data.relabel import Uniform
from soar.data.takeovers import weight_takeovers, with_takeovers
from soar.errors import ConfigError
from soar.improvement.methods.method import MethodName, OwnEpisodes
from soar.types import Outcome
from soar.utils.config import check_ranges

RegenerateGoals: TypeAlias = Callable[[Frames, float, Path], GeneratedGoals]
"""Given frames, a share and a file: renders, for that share of the samples, goals as the subgoal generator would show
what followed, and keeps them in the file."""


@dataclass(frozen=True)
class HindsightConfig:
    """Imitation of own episodes. The defaults are the paper's except where a field says otherwise."""

    outcomes: tuple[Outcome, ...] = ("success",)
    """Verdicts of the episodes that are imitated."""
    goals: Uniform = field(default_factory=lambda: Uniform(0, 12))
    """Control steps from a frame to its hindsight goal."""
    sum_steps: Annotated[int, Ge(1)] = 1
    """Consecutive actions that are added up into one (paper: 2; dropping idle frames does as much)."""
    min_motion_m: Annotated[float, Ge(0)] = 0.015
    """Motion between two frames [m] below which the later one is idle and dropped; 0 keeps all (paper)."""
    recorded_goals: Annotated[float, Ge(0), Le(1)] = 0.0
    """Share of samples whose goal is the subgoal that was pursued in the episode (paper: none)."""
    generated_goals: Annotated[float, Ge(0), Le(1)] = 0.0
    """Share of samples whose goal the compact subgoal generator renders from the frames that followed (paper: none)."""
    takeovers: Annotated[float, Ge(0)] = 1.0
    """Weight of steps that a person or an expert chose in the policy's place, relative to the policy's own: 0 leaves
    them out, 1 keeps them as they are."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if not self.outcomes:
            raise ConfigError("outcomes is empty; valid: some of success, failure, unknown")

    def prepared(self, source: Source) -> list[Source]:
        """Return own episodes as they are imitated: without idle frames, and with the weight of takeovers."""
        if self.min_motion_m:
            source = drop_idle_frames(source, self.min_motion_m)
        return weight_takeovers(source, self.takeovers)


@dataclass(frozen=True)
class Hindsight:
    """The paper's `LearningMethod`."""

    config: HindsightConfig
    resolution: int
    """Height and width of the policy's images in pixels."""
    regenerate: RegenerateGoals | None = None
    """None keeps camera images as goals."""
    name: ClassVar[MethodName] = "hindsight"

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """Verdicts of the episodes that are imitated."""
        return self.config.outcomes

    def sources(self, own: OwnEpisodes, share: float) -> list[Source]:
        """See `LearningMethod.sources`."""
        store, c = own.open_store(), self.config
        own.require(own.query)
        cache = own.run.frames
        frames = with_takeovers(store, build_frames(store, own.query, self.resolution, cache))
        goals = recorded_subgoals(store, frames, c.recorded_goals)
        if goals is None and self.regenerate and c.generated_goals:
            path = cache / f"painted-{own.round}.npz"
            goals = self.regenerate(frames, c.generated_goals, path)
        source = Source("autonomous", frames, share, c.goals, c.sum_steps, generated_goals=goals)
        return c.prepared(source)
