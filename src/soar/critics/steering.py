"""Steering: a policy that proposes several actions, of which a critic chooses one (V-GPS).

No weight changes. It needs a policy whose answers vary, such as one with a flow or diffusion head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

import numpy as np
from annotated_types import Ge
from jaxtyping import Float, Float32, Int64

from soar.contract.compare import contract_of, require_match, takes_state
from soar.critics.critic import ActionCritic, load_critic
from soar.errors import ConfigError
from soar.interfaces import InstructedPolicy, Policy
from soar.types import Actions, Images, Noise, Observation
from soar.utils.config import check_ranges, from_plain
from soar.utils.media import resize


@runtime_checkable
class SamplingPolicy(Protocol):
    """A policy that can sample several actions at once."""

    name: str

    def sample(
        self,
        observations: Sequence[Observation],
        goals: Images | Sequence[str],
        rng: np.random.Generator,
        count: int,
        *,
        noise: float = 1.0,
    ) -> Float32[np.ndarray, "n count h a"]:
        """Return `count` chunks of h actions for each observation, from one batched call of the model.

        The first of them is the policy's own answer, which is executed where the critic can't tell the others apart.
        The others are drawn with a scale of the noise, 1 for the policy's own distribution. h is 1 for a policy without
        chunks.
        """

    def commit(self, actions: Actions) -> None:
        """Note the executed action of each robot, for a state such as the gripper's hysteresis."""

    def reset(self) -> None:
        """Clear the state of an episode. Called before each episode."""


@dataclass(eq=False)
class NoisySampling:
    """Samples of a policy that has one answer and a noise scale: its answer, and noisy ones.

    For third-party policies; those of this package sample by themselves. A call has one row for each robot and sample,
    so that a policy with a state for each robot, such as the gripper's hysteresis, keeps one for each sample.
    """

    policy: Policy
    noise: float = 1.0
    """Scale of the policy's standard deviation."""
    name: str = field(init=False)

    def __post_init__(self) -> None:
        self.name = self.policy.name

    def sample(
        self,
        observations: Sequence[Observation],
        goals: Images | Sequence[str],
        rng: np.random.Generator,
        count: int,
        *,
        noise: float = 1.0,
    ) -> Float32[np.ndarray, "n count 1 a"]:
        """Return the policy's answer and `count` - 1 noisy ones for each observation."""
        scale = self.noise * noise
        n = len(observations)
        repeated = [o for o in observations for _ in range(count)]
        many = (
            np.repeat(goals, count, 0)
            if isinstance(goals, np.ndarray)
            else [g for g in goals for _ in range(count)]
        )
        scales = np.tile(np.r_[0.0, np.full(count - 1, scale)], n)
        actions = self.policy.act(repeated, many, rng, noise=scales)
        return actions.reshape(n, count, 1, -1)

    def commit(self, actions: Actions) -> None:
        """Do nothing: the policy's state of each sample follows from its own answers."""

    def reset(self) -> None:
        """Clear the policy's state of an episode."""
        self.policy.reset()


@dataclass(frozen=True)
class SteeringConfig:
    """Rule by which a critic chooses among sampled actions."""

    count: Annotated[int, Ge(1)] = 10
    """Sampled actions for each robot. V-GPS gains most by 10, and loses with 100."""
    noise: Annotated[float, Ge(0)] = 0.4
    """Scale of the samples' noise: 1 is the policy's own distribution, which is far too wide for a Gaussian of fixed
    deviation (docs/log.md); a flow or diffusion head may take 1."""
    temperature: Annotated[float, Ge(0)] = 0.0
    """Temperature of the softmax over values; 0 takes the best."""
    risk: Literal["min", "mean"] = "min"
    """Value of an action: the smallest of the ensemble, or its mean less `risk_weight` standard deviations."""
    risk_weight: float = 1.0
    """Weight of the standard deviation."""
    guard: Annotated[float, Ge(0)] = 1.0
    """The policy's own answer is executed unless the best value exceeds the median by this multiple of the ensemble's
    disagreement; 0 is no guard."""
    select: Literal["best", "random", "worst"] = "best"
    """Choice; "random" and "worst" are controls: a useful critic orders worst < random < best."""

    def __post_init__(self) -> None:
        check_ranges(self)


class SteeredPolicy:
    """A policy that executes the sampled action that a critic chooses. It is a policy itself."""

    def __init__(
        self,
        base: SamplingPolicy,
        critic: ActionCritic,
        config: SteeringConfig = SteeringConfig(),
    ) -> None:
        self.base, self.critic, self.config = base, critic, config
        self.name = f"{base.name} steered by {critic.name}{_settings(config)}"
        self.checkpoint_id = getattr(base, "checkpoint_id", "")
        """Id of the base policy's checkpoint, for episodes' provenance."""
        self.contract = contract_of(base)
        """Meaning of its actions, and of what it sees; None if the base policy doesn't say."""
        self.takes_state = takes_state(base) or takes_state(critic)
        """Whether one of the two takes the state besides images."""
        self._varies = config.count == 1
        self._instructions: tuple[str, ...] = ()

    def act(
        self,
        observations: Sequence[Observation],
        goals: Images | Sequence[str],
        rng: np.random.Generator,
        *,
        noise: Noise = 0.0,
    ) -> Actions:
        """Return the chosen action of each robot, the first of its chunk.

        Args:
            observations: one for each robot.
            goals: images or instructions, one for each robot, for policy and critic.
            rng: source of the samples and of random choices.
            noise: ignored; the samples' spread explores.

        Raises:
            ConfigError: the policy's samples are all the same.
        """
        actions = self.chunk(observations, goals, rng)[:, 0]
        self.commit(actions)
        return actions

    def chunk(
        self,
        observations: Sequence[Observation],
        goals: Images | Sequence[str],
        rng: np.random.Generator,
        *,
        noise: Noise = 0.0,
    ) -> Float32[np.ndarray, "n h a"]:
        """Return the chunk whose first action is chosen; the arguments are those of `act`."""
        observations, goals = self._resized(observations, goals)
        samples = self.base.sample(
            observations, goals, rng, self.config.count, noise=self.config.noise
        )
        self._check(samples)
        if self.config.count == 1:
            return samples[:, 0]
        values = self.critic.values(observations, self._task(goals), samples[:, :, 0])
        chosen: Float32[np.ndarray, "n h a"] = samples[
            np.arange(len(samples)), choose(values, self.config, rng)
        ]
        return chosen

    def instruct(self, instructions: Sequence[str]) -> None:
        """Take over the instructions, which a critic with instructions needs where the policy's goals are images."""
        self._instructions = tuple(instructions)
        if isinstance(self.base, InstructedPolicy):
            self.base.instruct(instructions)

    def commit(self, actions: Actions) -> None:
        """Note the executed actions in the base policy."""
        self.base.commit(actions)

    def reset(self) -> None:
        """Clear the base policy's state of an episode."""
        self._instructions = ()
        self.base.reset()

    def _task(self, goals: Images | Sequence[str]) -> Images | Sequence[str]:
        """Return what the critic takes as its task: the policy's goals, or the instructions beside them."""
        if self.critic.takes_images or not isinstance(goals, np.ndarray):
            return goals
        if len(self._instructions) != len(goals):
            raise ConfigError(
                f"{self.critic.name} takes instructions, and none came with the goal images of policy "
                f"'{self.base.name}'"
            )
        return self._instructions

    def _resized(
        self, observations: Sequence[Observation], goals: Images | Sequence[str]
    ) -> tuple[Sequence[Observation], Images | Sequence[str]]:
        """Resize images once where policy and critic see the same resolution, as each of them would."""
        size = getattr(self.critic, "resolution", None)
        if size is None or size != getattr(self.base, "resolution", None):
            return observations, goals
        images = resize(np.stack([o.image for o in observations]), size)
        small = [replace(o, image=i) for o, i in zip(observations, images, strict=True)]
        return small, resize(goals, size) if isinstance(goals, np.ndarray) else goals

    def _check(self, samples: Float32[np.ndarray, "n k h a"]) -> None:
        if self._varies or not len(samples):
            return
        if np.ptp(samples, axis=1).max() == 0:
            raise ConfigError(
                f"policy '{self.base.name}' gave {samples.shape[1]} identical actions: a critic can only steer "
                "a policy "
                "whose answers vary"
            )
        self._varies = True


def _settings(config: SteeringConfig) -> str:
    """Return the settings that differ from the defaults, for a policy's name."""
    default = asdict(SteeringConfig())
    changed = [f"{k} {v}" for k, v in asdict(config).items() if v != default[k]]
    return f" ({', '.join(changed)})" if changed else ""


@runtime_checkable
class Broker(Protocol):
    """A policy that executes the chunks of another one."""

    policy: SamplingPolicy

    def with_policy(self, policy: SteeredPolicy) -> Policy:
        """Return the same for another policy."""


def steer(policy: Policy, critic: ActionCritic, config: SteeringConfig) -> Policy:
    """Return a policy steered by a critic.

    Chunks are chosen by their first action and then executed as before (V-GPS). A policy that can't sample several
    actions gives its own answer and noisy ones.

    Raises:
        ConfigError: the critic learned from other actions.
    """
    ours, learned = contract_of(policy), contract_of(critic)
    if ours is not None and learned is not None:
        names = f"policy '{policy.name}'", critic.name
        require_match(ours, learned, names, uses_state=takes_state(critic))
    if isinstance(policy, Broker):
        return policy.with_policy(SteeredPolicy(policy.policy, critic, config))
    base = policy if isinstance(policy, SamplingPolicy) else NoisySampling(policy)
    return SteeredPolicy(base, critic, config)


def load_steered(policy: Policy, critic: str, options: Mapping[str, Any]) -> Policy:
    """Steer a policy by the critic of a checkpoint's folder.

    Args:
        policy: the policy.
        critic: the critic's folder.
        options: fields of `SteeringConfig`.

    Raises:
        ConfigError: an option isn't valid.
        CheckpointError: the folder holds no critic.
    """
    config = from_plain(SteeringConfig, dict(options), "steered")
    return steer(policy, load_critic(critic), config)


def choose(
    values: Float[np.ndarray, "e n k"], config: SteeringConfig, rng: np.random.Generator
) -> Int64[np.ndarray, " n"]:
    """Return the index of the chosen action of each robot.

    Args:
        values: of k actions of n robots, by e Q functions; action 0 is the policy's own answer.
        config: the rule of choice.
        rng: source of random choices.
    """
    n, k = values.shape[1:]
    if config.select == "random":
        return rng.integers(k, size=(n,))
    risky = risk_adjusted(values, config)
    chosen: Int64[np.ndarray, " n"]
    if config.select == "worst":
        chosen = risky.argmin(1)
        return chosen
    scores = risky
    if config.temperature:
        # The largest of values / temperature plus Gumbel noise is a sample of the softmax.
        scores = risky / config.temperature + rng.gumbel(size=(n, k))
    chosen = scores.argmax(1)
    if config.guard:
        margin = risky.max(1) - np.median(risky, 1)
        disagreement = values.std(0).mean(1)
        chosen = np.where(margin < config.guard * disagreement, 0, chosen)
    return chosen


def risk_adjusted(
    values: Float[np.ndarray, "e n k"], config: SteeringConfig
) -> Float[np.ndarray, "n k"]:
    """Return one value of each action: the ensemble's smallest, or its mean less its spread."""
    if config.risk == "min":
        smallest: Float[np.ndarray, "n k"] = values.min(0)
        return smallest
    adjusted: Float[np.ndarray, "n k"] = values.mean(0) - config.risk_weight * values.std(0)
    return adjusted
