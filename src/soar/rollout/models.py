"""The models of a station, and the configuration that names them."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Annotated

from annotated_types import Gt, Lt

from soar.errors import SoarError
from soar.interfaces import AnySuccessDetector, Policy, SubgoalGenerator, VisionLanguageModel
from soar.promotion import promoted_models
from soar.registry import COMPACT, load_detector, load_policy, load_subgoals, load_vlm
from soar.types import SUCCESS_THRESHOLD
from soar.utils.config import check_ranges

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Models:
    """The models that all stations share."""

    vlm: VisionLanguageModel
    policy: Policy
    subgoals: SubgoalGenerator | None
    """None for a policy that follows instructions (LCBC)."""
    detector: AnySuccessDetector

    @property
    def checkpoint(self) -> str:
        """Id of the policy's checkpoint; its name if it has none."""
        return getattr(self.policy, "checkpoint_id", "") or self.policy.name


@dataclass(frozen=True)
class ModelsConfig:
    """Names of the models (`soar.registry`), and the success detector's threshold. A models file has these keys."""

    vlm: str = COMPACT
    """Vision-language model."""
    subgoals: str = COMPACT
    """Subgoal generator; "none" with a policy that follows instructions; a run's folder for the one it promoted last."""
    policy: str = "gcbc"
    """Policy; a run's folder for the one it promoted last, which is picked up between episodes."""
    detector: str = "vlm"
    """Success detector: "vlm" judges by the VLM's answers; "roboreward:MODEL@URL", "topreward:MODEL@URL" and
    "robometer:URL" by whole episodes; "python:package.module:function", a registered name or a component file."""
    threshold: Annotated[float, Gt(0), Lt(1)] = SUCCESS_THRESHOLD
    """P(success) from which an episode counts as a success; `soar vlm calibrate` chooses one."""
    decoder: str = ""
    """Language model, "chat:MODEL@URL", that reads the free-text replies of a VLM of kind "chat"; "" for none."""

    def __post_init__(self) -> None:
        check_ranges(self)

    @property
    def vlm_name(self) -> str:
        """Name of the VLM with its decoder."""
        joint = "&" if "?" in self.vlm else "?"
        return f"{self.vlm}{joint}decoder={self.decoder}" if self.decoder else self.vlm

    def load(self) -> Models:
        """Load the models. Raises ConfigError, CheckpointError."""
        now = self.with_promoted()
        subgoals = None if now.subgoals == "none" else load_subgoals(now.subgoals)
        vlm = load_vlm(self.vlm_name)
        return Models(vlm, load_policy(now.policy), subgoals, self.load_detector(vlm))

    def load_detector(self, vlm: VisionLanguageModel | None = None) -> AnySuccessDetector:
        """Load the success detector. `vlm`: the VLM, where it is loaded already. Raises ConfigError, CheckpointError."""
        return load_detector(self.detector, self.threshold, vlm or self.vlm_name)

    def with_promoted(self) -> ModelsConfig:
        """Return the configuration with the models that a run promoted last in place of the run's folder."""
        policy, subgoals = promoted_models(self.policy)[0], promoted_models(self.subgoals)[1]
        return replace(self, policy=policy, subgoals=subgoals)


class PromotionWatcher:
    """Reloads policy and subgoal generator when a run has promoted new ones."""

    def __init__(self, config: ModelsConfig) -> None:
        self._config = config
        self._current = config.with_promoted()

    def __call__(self, models: Models) -> Models:
        """Return the models of the next episode: the current ones if newly promoted ones can't be loaded."""
        try:
            new, old, changed = self._config.with_promoted(), self._current, models
            if new == old:
                return models
            if new.policy != old.policy:
                changed = replace(changed, policy=load_policy(new.policy))
            if new.subgoals != old.subgoals:
                changed = replace(changed, subgoals=load_subgoals(new.subgoals))
        except SoarError as error:
            log.warning("promoted models can't be used, going on with the current ones: %s", error)
            return models
        log.warning("using the promoted models: %s, %s", new.policy, new.subgoals)
        self._current = new
        return changed
