"""Action heads of a policy: from features of observation and goal to a distribution over actions.

A Gaussian with a fixed standard deviation is the paper's. The others can give several different answers to one state,
which is what steering chooses among: a mixture of Gaussians, flow matching (Lipman et al. 2023; pi0), and a diffusion
model (SuSIE's low-level policy). All predict chunks of h consecutive z-scored actions; h is 1 unless configured.

A head samples k chunks of each state at once: the features, and what is computed from them alone, are shared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from annotated_types import Ge, Gt, Lt
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from soar.contract.contract import ActionNumbers
from soar.errors import ConfigError
from soar.utils.config import check_ranges

Scale: TypeAlias = Float64[np.ndarray, "n k"]
"""Scale of the noise of each sample; 0 gives the head's own answer, 1 samples its distribution."""


@dataclass(frozen=True)
class HeadConfig:
    """Distribution over actions. The default is the paper's Gaussian."""

    kind: Literal["gaussian", "mixture", "flow", "diffusion"] = "gaussian"
    """Kind of the distribution."""
    chunk: Annotated[int, Ge(1)] = 1
    """Consecutive actions that are predicted together."""
    executed: Annotated[int, Ge(1)] = 1
    """Actions of a chunk that are executed before the next chunk is predicted."""
    ensemble: bool = False
    """Predict a chunk in every step, and execute the mean of all for the step (ACT's temporal ensembling)."""
    components: Annotated[int, Ge(1)] = 5
    """Gaussians of a mixture."""
    steps: Annotated[int, Ge(1)] = 6
    """Integration steps of a flow, or denoising steps of a diffusion model."""
    width: Annotated[int, Ge(1)] = 128
    """Width of the residual blocks of a flow or diffusion model."""
    blocks: Annotated[int, Ge(1)] = 3
    """Number of these blocks."""
    expansion: Annotated[int, Ge(1)] = 1
    """Width of a block's hidden layer, in multiples of its width."""
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Dropout in these blocks."""
    time_dim: Annotated[int, Ge(2)] = 32
    """Fourier features of the time."""
    time_activation: bool = True
    """Whether an activation follows the time's second layer; in the released policies none does."""
    draws: Annotated[int, Ge(1)] = 4
    """Times and noises in the loss of one sample: they cost little compared with its image features."""
    clip: Annotated[float, Gt(0)] = 5.0
    """Largest z-scored action while a diffusion model denoises."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.executed > self.chunk:
            raise ConfigError(
                f"executed is {self.executed}; valid with chunks of {self.chunk}: 1 to {self.chunk}"
            )


@runtime_checkable
class ActionHead(Protocol):
    """A torch module that models the distribution of chunks of h actions."""

    def loss(
        self,
        features: Float[Tensor, "n d"],
        actions: Float[Tensor, "n h a"],
        inside: Bool[Tensor, "n h"] | None,
        generator: torch.Generator,
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return the loss of a batch and metrics.

        Args:
            features: features of observation and goal.
            actions: z-scored actions.
            inside: whether a step lies before the episode's end; None for all.
            generator: source of times and noises.
        """

    def sample(
        self, features: Float[Tensor, "n d"], scale: Scale, rng: np.random.Generator
    ) -> Float[Tensor, "n k h a"]:
        """Return k chunks of z-scored actions for each state.

        Args:
            features: features of observation and goal.
            scale: scale of the noise of each sample. Without noise a Gaussian gives its mean, a mixture the mean of its
                likeliest component, flow and diffusion what they make of a start at 0.
            rng: source of the noise, read only if there is some.
        """


def to_tensor(values: Float64[np.ndarray, "*n"], like: Tensor) -> Float[Tensor, "*n"]:
    """Convert to float32 on the device of another tensor."""
    return torch.from_numpy(values.astype(np.float32)).to(like.device)


def squared_errors(
    answer: Float[Tensor, "n h a"],
    actions: Float[Tensor, "n h a"],
    inside: Bool[Tensor, "n h"] | None,
) -> Float[Tensor, "m a"]:
    """Return the squared errors of the steps before an episode's end."""
    error = (answer - actions).square().flatten(0, 1)
    return error if inside is None else error[inside.flatten()]


def error_metrics(error: Float[Tensor, "m a"], action: ActionNumbers) -> dict[str, Tensor]:
    """Return the mean errors of motion and, where there is one, gripper."""
    metrics = {"motion_error": error[:, : action.motion_dim].mean()}
    if action.gripper is not None:
        metrics["gripper_error"] = error[:, -1].mean()
    return metrics
