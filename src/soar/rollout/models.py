"""The models of a station, and the configuration that names them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, cast

from annotated_types import Ge, Gt, Lt

from soar.errors import ConfigError, SoarError
from soar.interfaces import (
    AnySuccessDetector,
    Policy,
    SubgoalGenerator,
    TaskProposer,
    VisionLanguageModel,
)
from soar.plugins import make_own
from soar.policies.identity import check_exists, check_goals
from soar.policies.spread import spread_policy
from soar.promotion import promoted_models
from soar.registry import (
    COMPACT,
    load_detector,
    load_policy,
    load_subgoals,
    load_vlm,
    vlm_spec,
)
from soar.rollout.checked_models import CheckedVLM
from soar.tasks.open_proposer import OpenProposer, OpenProposerConfig
from soar.tasks.proposer import UncertaintyProposer
from soar.types import SUCCESS_THRESHOLD, Task
from soar.utils.config import check_ranges

if TYPE_CHECKING:
    from soar.vlm.clients.chat import ChatVLM

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
    """Subgoal generator; "none" with a policy that follows instructions; a run's folder for the last it promoted."""
    policy: str = "gcbc"
    """Policy; a run's folder for the one it promoted last, which is picked up between episodes."""
    detector: str = "vlm"
    """Success detector: "vlm" judges by the VLM's answers; "roboreward:MODEL@URL", "topreward:MODEL@URL" and
    "robometer:URL" by whole episodes; "python:package.module:function", a registered name or a component file."""
    threshold: Annotated[float, Gt(0), Lt(1)] = SUCCESS_THRESHOLD
    """P(success) from which an episode counts as a success; `soar vlm calibrate` chooses one."""
    spread: Annotated[int, Ge(1)] = 1
    """Control steps over which each action of the policy is spread: 3 for a policy of 5 Hz on a robot of 15 Hz."""
    decoder: str = ""
    """Language model, "chat:MODEL@URL", that reads the free-text replies of a VLM of kind "chat"; "" for none."""
    proposer: str = "uncertain"
    """Chooser of the next task: "uncertain" among the station's (Eq. 1); "open" among those that the VLM, of kind
    "chat", names in its own words; "open:MODEL@URL" for another one; "python:package.module:function"."""
    open: OpenProposerConfig = field(default_factory=OpenProposerConfig)
    """Filters of "open"."""

    def __post_init__(self) -> None:
        check_ranges(self)
        kind, _, rest = self.proposer.partition(":")
        own = kind == "open" and not rest and self.vlm.startswith("chat:")
        if self.proposer != "uncertain" and not own and not (kind in ("open", "python") and rest):
            raise ConfigError(
                f"no proposer '{self.proposer}' with the VLM '{self.vlm}'; valid: uncertain, open with a VLM "
                "chat:MODEL@URL, open:MODEL@URL, python:package.module:function"
            )

    @property
    def vlm_name(self) -> str:
        """Name of the VLM with its decoder."""
        joint = "&" if "?" in self.vlm else "?"
        return f"{self.vlm}{joint}decoder={self.decoder}" if self.decoder else self.vlm

    def check(self) -> ModelsConfig:
        """Return `with_promoted` once its folders exist and fit together. Raises ConfigError, CheckpointError."""
        now = self.with_promoted()
        check_goals(now.policy, now.subgoals)
        check_exists(vlm_spec(self.vlm_name))
        return now

    def load(self) -> Models:
        """Load the models. Raises ConfigError, CheckpointError."""
        now = self.check()
        vlm = self.load_vlm()
        return Models(vlm, now.load_policy(), now.load_subgoals(), self.load_detector(vlm))

    def load_vlm(self) -> VisionLanguageModel:
        """Load the vision-language model. Raises ConfigError, CheckpointError."""
        return load_vlm(self.vlm_name)

    def load_subgoals(self) -> SubgoalGenerator | None:
        """Load the subgoal generator; None for "none". Raises ConfigError, CheckpointError."""
        return None if self.subgoals == "none" else load_subgoals(self.subgoals)

    def load_policy(self) -> Policy:
        """Load the policy. Raises ConfigError, CheckpointError."""
        return spread_policy(load_policy(self.policy), self.spread)

    def load_detector(self, vlm: VisionLanguageModel | None = None) -> AnySuccessDetector:
        """Load the success detector. `vlm`: the VLM, if it is loaded already. Raises ConfigError, CheckpointError."""
        return load_detector(self.detector, self.threshold, vlm or self.vlm_name)

    def load_proposer(self, tasks: Sequence[Task], vlm: VisionLanguageModel) -> TaskProposer:
        """Load a station's proposer.

        A function of the user's own takes the tasks and the VLM.

        Args:
            tasks: the station's tasks.
            vlm: the loaded VLM.

        Raises:
            ConfigError: the proposer can't be made from its configuration.
        """
        kind, _, rest = self.proposer.partition(":")
        if kind == "python":
            return cast(TaskProposer, make_own("proposer", rest, tasks, vlm))
        if kind != "open":
            return UncertaintyProposer(tasks)
        checked = CheckedVLM(vlm, lambda role, message: None)
        name = rest.removeprefix("chat:") or self.vlm.removeprefix("chat:")
        return OpenProposer(tasks, cast("ChatVLM", load_vlm(f"chat:{name}")), checked, self.open)

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
                changed = replace(changed, policy=new.load_policy())
            if new.subgoals != old.subgoals:
                changed = replace(changed, subgoals=new.load_subgoals())
        except SoarError as error:
            log.warning("promoted models can't be used, going on with the current ones: %s", error)
            return models
        log.warning("using the promoted models: %s, %s", new.policy, new.subgoals)
        self._current = new
        return changed
