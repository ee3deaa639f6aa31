"""Protocol of the ways to learn a policy from own episodes, and the choice between them.

`hindsight` is the paper's: it imitates successful episodes. `corrections` labels all episodes with what a scripted plan
would have done in them; it applies to the compact subgoal generator and tasks of one grasp and one release.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple, Protocol, TypeAlias, get_args, runtime_checkable

from soar.data.mixture import Source
from soar.data.store.lance import LanceStore, open_store
from soar.errors import ConfigError
from soar.improvement.run import Run
from soar.types import Outcome, Query

MethodName: TypeAlias = Literal[
    "corrections", "hindsight", "critic", "advantage", "lcbc", "dial", "robofume", "calql", "external",
]  # fmt: skip

AUTONOMOUS_SHARE = 0.3
"""Share of own episodes in a co-training mixture, as measured in docs/log.md; the rest are demonstrations."""


class NothingToLearnError(ConfigError):
    """Nothing can be learned from own episodes; the message gives the reason."""


class OwnEpisodes(NamedTuple):
    """Episodes that a run has collected up to a round."""

    run: Run
    round: int
    query: Query
    """The episodes of this round and those before."""
    subgoals: str
    """Subgoal generator in force, as `soar.registry` names it."""
    policy: str = ""
    """Policy in force, as `soar.registry` names it."""

    def open_store(self) -> LanceStore:
        """Open the run's store for reading."""
        return open_store(self.run.store, read_only=True)

    def require(self, query: Query) -> None:
        """Raise NothingToLearnError if no episode matches a query."""
        if next(iter(self.open_store().query(query)), None) is None:
            judged = f"was judged a {' or '.join(query.outcomes)}"
            raise NothingToLearnError(f"no episode {judged if query.outcomes else 'is stored'}")


@runtime_checkable
class LearningMethod(Protocol):
    """A way to learn a policy from own episodes."""

    @property
    def name(self) -> MethodName:
        """Name of the method."""

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """Verdicts of the episodes that it learns from; empty for all."""

    def sources(self, own: OwnEpisodes, share: float) -> list[Source]:
        """Return the training sources of own episodes, whose weights add up to `share`.

        Raises:
            ConfigError: nothing can be learned from the episodes.
        """


@runtime_checkable
class FinishingMethod(LearningMethod, Protocol):
    """A method that adds something to the trained policy's folder, such as a critic."""

    def finish(self, own: OwnEpisodes, out: Path) -> None:
        """Complete the trained policy's folder. Called again after an interruption."""


@runtime_checkable
class CollectingMethod(Protocol):
    """A method that changes how the policy in force collects."""

    def collecting(self, run: Run, policy: str) -> str:
        """Return the name of the policy that collects in place of `policy`."""


def choose_method(requested: MethodName | None, obstacle: str) -> MethodName:
    """Return the requested method; without one, corrections where they apply.

    Args:
        requested: name of a method, or None.
        obstacle: why corrections don't apply; empty where they do.

    Raises:
        ConfigError: corrections are requested and don't apply.
    """
    if requested == "corrections" and obstacle:
        raise ConfigError(
            f"--method corrections doesn't apply: {obstacle}; valid: "
            f"{', '.join(m for m in get_args(MethodName) if m != 'corrections')}"
        )
    return requested or ("hindsight" if obstacle else "corrections")
