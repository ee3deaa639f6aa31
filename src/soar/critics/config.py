"""Configuration of a critic, and the published algorithms as presets of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from soar.critics.actions import BRIDGE_BOUNDS, ActionBounds
from soar.data.relabel import Goals, Uniform
from soar.errors import ConfigError
from soar.nn.text import MINILM
from soar.utils.config import check_ranges

Share = Annotated[float, Ge(0), Le(1)]


@dataclass(frozen=True)
class RewardConfig:
    """Rewards of an episode's steps, derived from its verdict."""

    step: float = -1.0
    """Reward of every step but a success's last ones."""
    success: float = 0.0
    """Reward of a success's last steps."""
    final_steps: Annotated[int, Ge(1)] = 3
    """Number of these last steps. The episode terminates in each of them."""
    failure: Literal["timeout", "terminal"] = "timeout"
    """End of a failure: "timeout" bootstraps from the last frame; "terminal" ends with the cost step / (1 - discount),
    as in RECAP."""
    labels: Literal["verdict", "probability", "hindsight", "takeover"] = "verdict"
    """Source of success: the verdict's outcome; its P(success), as expected rewards and masks; for goal images,
    whether the goal is reached, which needs no verdict; or when a person took over (RLIF, Luo et al. 2024): `step` for
    the policy's last step before each takeover, 0 for all others, and no end."""


@dataclass(frozen=True)
class CriticConfig:
    """Network, losses and labels of a critic. The defaults are this package's own recipe for small robots (IQL)."""

    algorithm: str = "iql"
    """Name of the preset, for cards and messages."""

    condition: Literal["goal", "text", "task"] = "goal"
    """Task input: a goal image on the image's channels; a sentence embedding through FiLM; or a one-hot task id."""
    tasks: tuple[str, ...] = ()
    """Instructions that have a task id, in order; training fills in those of its data."""
    words: str = MINILM
    """Frozen sentence encoder: "minilm", a folder, or a hub id."""
    word_dim: Annotated[int, Ge(0)] = 384
    """Length of its embeddings."""
    context_dim: Annotated[int, Ge(1)] = 64
    """Width of the projected sentence embedding."""

    sentences: tuple[str, ...] = ()
    """The only instructions that it values, if their embeddings are part of its weights."""

    encoder: Literal["convolutions", "bridge"] = "convolutions"
    """Encoder of the image: convolutions with spatial embeddings, or "bridge", the ResNet of V-GPS's released weights
    (`soar.nn.bridge_resnet`), whose mean features and FiLM layers need no `patch`, `embeddings`, `feature_dim` or
    `context_dim`."""
    resolution: Annotated[int, Ge(1)] = 96
    """Height and width of the images [px]; a multiple of the last feature map's cells."""
    widths: tuple[int, ...] = (32, 64, 64, 64)
    """Channels of the convolutions with GroupNorm, each of stride 2 after the first; "bridge": of the stages."""
    depths: tuple[int, ...] = (2, 2, 2, 2)
    """Residual blocks of the stages of "bridge"."""
    bottleneck: bool = False
    """Whether the blocks of "bridge" are bottlenecks."""
    coordinates: bool = True
    """Whether the pixels' coordinates are further channels of "bridge"."""
    patch: Literal[2, 4] = 2
    """Stride of the first convolution [px]: 2 with a kernel of 3, or 4 with a kernel of 4, which costs a third."""
    embeddings: Annotated[int, Ge(1)] = 8
    """Learned spatial embeddings for each channel of the last feature map (PTR)."""
    feature_dim: Annotated[int, Ge(1)] = 128
    """Features of the image, after a linear layer, LayerNorm and tanh."""
    state_dim: Annotated[int, Ge(0)] = 64
    """Features of the end effector's state; 0 is none."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers of Q, V and the actor."""
    layer_norm: bool = True
    """LayerNorm before every activation of Q and V."""
    activation: Literal["relu", "silu"] = "relu"
    """Activation function of Q, V and the actor, and of "bridge"."""
    inject: Literal["first", "action", "both"] = "action"
    """Input repeated at every hidden layer of Q: nothing, the action, or action and features (PTR)."""
    ensemble: Annotated[int, Ge(1)] = 2
    """Number of Q functions."""
    final_scale: Annotated[float, Ge(0)] = 1e-2
    """Range of the initial weights of Q's last layer."""
    bounds: ActionBounds = field(default_factory=ActionBounds)
    """Units of actions. For an arm other than the WidowX, the defaults stand for the smallest and largest action of the
    data."""

    rewards: RewardConfig = field(default_factory=RewardConfig)
    discount: Annotated[float, Gt(0), Lt(1)] = 0.98
    """Discount factor of one control step."""
    n_step: Annotated[int, Ge(1)] = 3
    """Rewards summed before the bootstrap."""
    backup: Literal["expectile", "policy_max", "sarsa"] = "expectile"
    """Value of the next state: V of IQL; the largest Q of several sampled actions; or Q of the next action."""
    expectile: Annotated[float, Gt(0), Lt(1)] = 0.7
    """Expectile of Q that V learns."""
    target_rate: Annotated[float, Gt(0), Le(1)] = 0.005
    """Share of the new weights in each update of the target network."""
    target_subsample: Annotated[int, Ge(0)] = 0
    """Randomly chosen target Q functions whose minimum is the target (REDQ); 0 is all."""

    alpha: Annotated[float, Ge(0)] = 0.0
    """Weight of CQL's regularizer; 0 is none."""
    calibrated: bool = False
    """Whether the values of the policy's actions are bounded below by the Monte-Carlo return (Cal-QL)."""
    importance_sampling: bool = True
    """Whether the regularizer divides by the sampling densities."""
    cql_actions: Annotated[int, Ge(1)] = 4
    """Sampled actions: of each kind in the regularizer, and in the backup "policy_max"."""
    cql_next_actions: bool = True
    """Whether the regularizer also has actions that the policy samples at the next state."""
    cql_gap: Annotated[float, Ge(0)] | None = None
    """Gap between sampled and data actions at which a Lagrange multiplier scales the regularizer; None is no
    multiplier."""

    actor: Literal["none", "gaussian"] = "none"
    """Policy that is trained along, a tanh-squashed Gaussian."""
    actor_encoder: Literal["shared", "separate"] = "separate"
    """Encoder of the actor: the critic's, which only the critic trains, or its own."""
    actor_rate: Annotated[float, Ge(0)] = 1 / 3
    """Learning rate of the actor, relative to the critic's."""
    bc_weight: Annotated[float, Ge(0)] = 0.0
    """Weight of the data actions' negative log-likelihood in the actor's loss, relative to the mean of |Q|."""

    goals: Goals = field(default_factory=lambda: Uniform(1, 24))
    """Later frames of the episode as goal images, for hindsight labels and where no subgoal was recorded."""
    reached_share: Share = 0.1
    """Share of steps whose goal is the next frame, for hindsight labels."""
    failure_share: Share | None = 0.5
    """Share of failures in a batch; None is that of the data. Without a success or without a failure in the data, the
    others fill the batch."""
    negative_share: Share = 0.0
    """Share of a batch whose goal or instruction is replaced by that of another episode, which counts as a failure."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.actor == "none" and (self.backup == "policy_max" or self.alpha):
            raise ConfigError(
                "the backup 'policy_max' and the CQL regularizer sample a policy's actions; valid with actor 'none': "
                "backup 'expectile' or 'sarsa', alpha 0"
            )
        if self.rewards.labels == "hindsight" and self.condition != "goal":
            raise ConfigError(
                f"hindsight labels need goal images; the critic's condition is '{self.condition}'"
            )
        if self.encoder == "bridge":
            if len(self.widths) != len(self.depths) or any(w % 4 for w in self.widths):
                raise ConfigError(
                    "widths and depths need the same length, and widths multiples of 4"
                )
        elif self.resolution % self.cell:
            raise ConfigError(
                f"resolution is {self.resolution}; valid with {len(self.widths)} convolutions: a multiple of "
                f"{self.cell}"
            )

    @property
    def cell(self) -> int:
        """Height and width of a cell of the last feature map [px]."""
        return self.patch << (len(self.widths) - 1)


def iql() -> CriticConfig:
    """Return the default: IQL with three-step returns, half of each batch from failures.

    Source: Kostrikov et al. 2021; n-step returns and LayerNorm as in ResFiT; sizes for CPUs.
    """
    return CriticConfig()


def calql() -> CriticConfig:
    """Return Cal-QL (Nakamoto et al. 2023) with the defaults of its code."""
    return CriticConfig(
        algorithm="calql", layer_norm=False, inject="first", rewards=RewardConfig(final_steps=1),
        discount=0.99, n_step=1, backup="policy_max", alpha=5.0, calibrated=True, cql_actions=10, actor="gaussian",
        failure_share=None,
    )  # fmt: skip


def ptr() -> CriticConfig:
    """Return PTR (Kumar et al. 2022): CQL with task ids, and with action and features in every layer.

    Its second phase is a run that starts from the first one's checkpoint, with 90 % of the samples from the pretraining
    data and 10 % from the target task's demonstrations.
    """
    return CriticConfig(
        algorithm="ptr", condition="task", hidden=(256, 256, 256), layer_norm=False, inject="both",
        bounds=BRIDGE_BOUNDS, rewards=RewardConfig(success=10.0), discount=0.96, n_step=1, backup="policy_max",
        alpha=10.0, cql_next_actions=False, actor="gaussian", failure_share=None,
    )  # fmt: skip


def vgps() -> CriticConfig:
    """Return V-GPS (Nakamoto et al. 2024): Cal-QL with instructions and without proprioception."""
    return CriticConfig(
        algorithm="vgps", condition="text", state_dim=0, layer_norm=False, activation="silu", inject="first",
        bounds=BRIDGE_BOUNDS, n_step=1, backup="policy_max", alpha=5.0, calibrated=True, actor="gaussian",
        failure_share=None,
    )  # fmt: skip


def vgps_iql() -> CriticConfig:
    """Return V-GPS's variant with IQL and negative instructions."""
    return CriticConfig(
        algorithm="vgps_iql", condition="text", state_dim=0, layer_norm=False, activation="silu", inject="first",
        bounds=BRIDGE_BOUNDS, n_step=1, target_rate=0.002, failure_share=None, negative_share=0.1,
    )  # fmt: skip


def robofume() -> CriticConfig:
    """Return RoboFuME (Yang et al. 2023): Cal-QL with instructions and behavior cloning in the actor's loss.

    Discount, sampled actions and last steps are our choice: its code was not released.
    """
    return CriticConfig(
        algorithm="robofume", condition="text", inject="first", rewards=RewardConfig(success=10.0), n_step=1,
        backup="policy_max", alpha=1.0, calibrated=True, actor="gaussian", actor_encoder="shared", bc_weight=1.0,
        failure_share=None,
    )  # fmt: skip


ALGORITHMS: dict[str, Callable[[], CriticConfig]] = {
    "iql": iql,
    "calql": calql,
    "ptr": ptr,
    "vgps": vgps,
    "vgps_iql": vgps_iql,
    "robofume": robofume,
}
"""Presets by name."""
