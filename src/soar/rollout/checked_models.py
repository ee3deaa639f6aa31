"""Models behind one boundary: inputs of one size, converted outputs, and any exception turned into an outage."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from soar.contract.compare import contract_of, takes_state
from soar.errors import BadOutput, ConfigError, ModelUnavailable, SoarError, described
from soar.interfaces import (
    AnySuccessDetector,
    EpisodeSuccessDetector,
    InstructedPolicy,
    Policy,
    SubgoalGenerator,
    SuccessDetector,
    TaskProposer,
    VisionLanguageModel,
)
from soar.rollout.model_outputs import to_actions, to_answers, to_images, to_proposal
from soar.tasks.success_detector import to_verdicts
from soar.types import (
    Answer,
    EpisodeFrames,
    History,
    Image,
    Images,
    Noise,
    Observation,
    Proposal,
    Question,
    Task,
    Verdict,
)
from soar.utils.media import resize

log = logging.getLogger(__name__)
T = TypeVar("T")
OnChange = Callable[[str, str], None]
"""Called with a model's role and the message of an outage that begins, or "" when the model works again."""


def tell_nobody(role: str, message: str) -> None:
    """Tell nobody of an outage, which then ends whatever runs."""


def tell_log(role: str, message: str) -> None:
    """Log an outage that begins or ends."""
    log.warning("%s", message or f"the {role} works again")


_MISTAKES = (TypeError, AttributeError, NameError, ImportError, NotImplementedError)
"""Exceptions that another attempt doesn't cure if the very first call raises them."""


class CheckedCalls:
    """Calls of one model. An exception is an outage, after which its `recover()`, if it has one, is called."""

    def __init__(self, role: str, model: object, on_change: OnChange = tell_nobody) -> None:
        self._role, self._model, self._on_change = role, model, on_change
        self.is_heard = on_change is not tell_nobody
        """Whether somebody is told of its outages."""
        self._worked: set[str] = set()
        """Methods that returned once."""
        self._down: set[str] = set()
        """Methods whose last call failed."""

    def call(self, method: str, function: Callable[[], T]) -> T:
        """Return the result of `function`, which calls a method of the model and converts what it returns.

        Raises:
            ModelUnavailable: it raised an exception.
            BadOutput: what it returned violates its interface.
            ConfigError: it failed at the first call in a way that another attempt doesn't cure.
        """
        try:
            if self._down:
                getattr(self._model, "recover", lambda: None)()
            result = function()
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BadOutput as error:
            if method in self._worked:
                raise
            raise ConfigError(f"{self._role} {error}") from error
        except BaseException as error:  # cancelled tasks and Rust's panics aren't an Exception
            known = isinstance(error, ModelUnavailable)
            message = str(error) if known else self._describe(method, error)
            lasting = isinstance(error, _MISTAKES) or (isinstance(error, SoarError) and not known)
            if method not in self._worked and lasting:
                raise ConfigError(message) from error
            if not self._down:
                self._on_change(self._role, message)
            self._down.add(method)
            raise ModelUnavailable(message) from error
        self._worked.add(method)
        if method in self._down:
            self._down.remove(method)
            if not self._down:
                self._on_change(self._role, "")
        return result

    def _describe(self, method: str, error: BaseException) -> str:
        name = getattr(self._model, "name", type(self._model).__name__)
        if isinstance(error, SoarError):
            return f"{self._role} {name}: {method}(): {' '.join(str(error).split())[:300]}"
        return f"{self._role} {name}: {method}() raised {described(error)}"


class CheckedVLM:
    """A vision-language model whose exceptions are outages. One that is already checked is unwrapped first."""

    def __init__(self, vlm: VisionLanguageModel, on_change: OnChange = tell_nobody) -> None:
        self.name = vlm.name
        self._vlm: VisionLanguageModel = vlm._vlm if isinstance(vlm, CheckedVLM) else vlm
        self._calls = CheckedCalls("VLM", self._vlm, on_change)

    def answer(
        self, images: Sequence[Image], questions: Sequence[Sequence[Question]]
    ) -> list[list[Answer]]:
        """Return the model's answers. Raises ModelUnavailable, ConfigError."""
        return self._calls.call(
            "answer", lambda: to_answers(self._vlm.answer(images, questions), questions, self.name)
        )


class CheckedSubgoals:
    """A subgoal generator whose exceptions are outages."""

    def __init__(self, generator: SubgoalGenerator, on_change: OnChange = tell_nobody) -> None:
        self.name = generator.name
        self._generator = generator
        self._calls = CheckedCalls("subgoal generator", generator, on_change)

    def generate(
        self,
        observations: Sequence[Observation],
        tasks: Sequence[Task],
        rng: np.random.Generator,
    ) -> Images:
        """Return the generator's images. Raises ModelUnavailable, BadOutput, ConfigError."""
        seen = of_one_size(observations)

        def generate() -> Images:
            return to_images(self._generator.generate(seen, tasks, rng), len(seen), self.name)

        return self._calls.call("generate", generate)


class CheckedPolicy:
    """A policy whose exceptions are outages."""

    def __init__(
        self, policy: Policy, on_change: OnChange = tell_nobody, action_dim: int | None = None
    ) -> None:
        """`action_dim`: numbers of an action of the robots; None for any."""
        self.name, self._action_dim = policy.name, action_dim
        self.checkpoint_id = str(getattr(policy, "checkpoint_id", ""))
        self.contract = contract_of(policy)
        self.takes_state = takes_state(policy)
        self._policy, self._calls = policy, CheckedCalls("policy", policy, on_change)

    def act(
        self,
        observations: Sequence[Observation],
        goals: Images | Sequence[str],
        rng: np.random.Generator,
        *,
        noise: Noise = 0.0,
    ) -> np.ndarray:
        """Return the policy's actions. Raises ModelUnavailable, BadOutput, ConfigError."""
        seen = of_one_size(observations)

        def act() -> np.ndarray:
            actions = self._policy.act(seen, goals, rng, noise=noise)
            return to_actions(actions, len(seen), self.name, self._action_dim)

        return self._calls.call("act", act)

    def reset(self) -> None:
        """Clear the policy's state. Raises ModelUnavailable, ConfigError."""
        self._calls.call("reset", self._policy.reset)

    def instruct(self, instructions: Sequence[str]) -> None:
        """Tell the instructions to a policy that takes them. Raises ModelUnavailable, ConfigError."""
        if isinstance(policy := self._policy, InstructedPolicy):
            self._calls.call("instruct", lambda: policy.instruct(instructions))


class CheckedDetector:
    """A success detector whose exceptions are outages."""

    def __init__(self, detector: SuccessDetector, on_change: OnChange) -> None:
        self.name, self.threshold = detector.name, detector.threshold
        self.detector = detector
        self.calls = CheckedCalls("success detector", detector, on_change)

    def judge(self, episodes: Sequence[EpisodeFrames]) -> list[Verdict]:
        """Return the detector's verdicts. Raises ModelUnavailable, BadOutput, ConfigError."""
        return self.calls.call(
            "judge", lambda: to_verdicts(self.detector.judge(episodes), len(episodes), self.name)
        )


class CheckedEpisodeDetector:
    """A success detector that judges all frames of an episode, whose exceptions are outages."""

    def __init__(self, detector: EpisodeSuccessDetector, on_change: OnChange) -> None:
        self.name, self.threshold = detector.name, detector.threshold
        self.detector = detector
        self.calls = CheckedCalls("success detector", detector, on_change)

    def judge_episode(self, frames: Images, task: Task) -> Verdict:
        """Return the detector's verdict. Raises ModelUnavailable, BadOutput, ConfigError."""

        def judge() -> Verdict:
            return to_verdicts([self.detector.judge_episode(frames, task)], 1, self.name)[0]

        return self.calls.call("judge_episode", judge)


class CheckedProposer:
    """A proposer of the user's own, whose exceptions are outages: no episode begins without a proposal."""

    def __init__(self, proposer: TaskProposer) -> None:
        self._proposer, self._calls = proposer, CheckedCalls("proposer", proposer, tell_log)

    def propose(
        self,
        observation: Observation,
        answers: Mapping[Question, Answer],
        history: History,
        rng: np.random.Generator,
    ) -> Proposal:
        """Return the proposer's proposal. Raises ModelUnavailable, ConfigError."""
        return self._calls.call(
            "propose",
            lambda: to_proposal(self._proposer.propose(observation, answers, history, rng)),
        )


def checked_detector(
    detector: AnySuccessDetector, on_change: OnChange = tell_nobody
) -> AnySuccessDetector:
    """Return a success detector of the same kind with checked calls; one whose outages are already reported is kept."""
    if isinstance(detector, CheckedDetector | CheckedEpisodeDetector):
        return (
            detector if detector.calls.is_heard else checked_detector(detector.detector, on_change)
        )
    if isinstance(detector, EpisodeSuccessDetector):
        return CheckedEpisodeDetector(detector, on_change)
    return CheckedDetector(detector, on_change)


def of_one_size(observations: Sequence[Observation]) -> Sequence[Observation]:
    """Return the observations; where a camera's image sizes differ, each is resized to the longest side of all.

    A camera that only some robots have counts for those alone.
    """
    shapes = defaultdict[str, set[tuple[int, ...]]](set)
    for observation in observations:
        for camera, image in _images(observation).items():
            shapes[camera].add(image.shape)
    sides = {c: max(max(s[:2]) for s in found) for c, found in shapes.items() if len(found) > 1}
    return [_resized(o, sides) for o in observations] if sides else observations


def _images(observation: Observation) -> dict[str, Image]:
    """Return the images of all cameras by name; the primary camera's name is empty."""
    return {"": observation.image, **observation.other_images}


def _resized(observation: Observation, sides: Mapping[str, int]) -> Observation:
    """Return an observation whose images are squares where a camera has a side length [px]."""
    images = {c: resize(i, sides[c]) if c in sides else i for c, i in _images(observation).items()}
    return replace(observation, image=images.pop(""), other_images=images)
