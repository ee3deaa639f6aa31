"""Co-training of a third-party policy, by its own code (`soar.interfaces.TrainablePolicy`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soar.data.store.lance import open_store
from soar.errors import ConfigError
from soar.improvement.methods.method import NothingToLearnError, OwnEpisodes
from soar.interfaces import TrainablePolicy
from soar.plugins import is_component_file, read_component_file
from soar.promotion import POLICY_FILE
from soar.registry import load_policy
from soar.types import Outcome
from soar.utils.files import write_bytes
from soar.utils.yaml_files import dump


@dataclass(frozen=True)
class OwnTraining:
    """The stage in which a policy trains itself."""

    outcomes: tuple[Outcome, ...]
    """Verdicts of the episodes that it learns from; empty for all."""
    demonstrations: Path | None = None
    """Store of demonstrations to co-train on."""

    def __call__(self, own: OwnEpisodes, incumbent: str, out: Path) -> Mapping[str, float]:
        """Let a policy train into `out`, and write the component file of what it learned there.

        Args:
            own: own episodes.
            incumbent: the policy in force, as `soar.registry` names it.
            out: the trained policy's folder.

        Raises:
            NothingToLearnError: nothing can be learned from the episodes.
        """
        policy = load_policy(incumbent)
        if not isinstance(policy, TrainablePolicy):
            raise NothingToLearnError(f"policy {policy.name} has no method fit")
        own.require(own.query)
        path = self.demonstrations
        given = None if path is None else open_store(path, read_only=True)
        out.mkdir(parents=True, exist_ok=True)
        try:
            learned = policy.fit(own.open_store(), own.query, out, demonstrations=given)
        except ConfigError as error:
            raise NothingToLearnError(str(error)) from error
        name, options = incumbent, dict[str, Any]()
        if is_component_file(incumbent):
            name, given_options = read_component_file("policy", incumbent)
            options |= given_options
        described = {"policy": name, "options": {**options, **learned}}
        write_bytes(out / POLICY_FILE, dump(described).encode())
        return {"autonomous": 1.0}
