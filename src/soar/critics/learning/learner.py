"""The learner of a critic: one loss for every algorithm of `soar.critics.config`.

The losses of Q, V, actor, temperature and multiplier are summed. Each only has gradients of its own parameters, so that
one optimizer updates all of them at once.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from soar.checkpoint import Checkpoint
from soar.contract.contract import WIDOWX, Contract
from soar.critics.actor import GaussianActor, Sampled
from soar.critics.config import CriticConfig
from soar.critics.learning.losses import (
    Candidates,
    Gap,
    actor_loss,
    advantage_weights,
    conservative_gap,
    expectile_loss,
    lagrange_loss,
    lagrange_multiplier,
    max_backup,
    regularized_actor_loss,
    td_loss,
    td_target,
    temperature_loss,
    uniform_log_density,
    weighted_cloning_loss,
)
from soar.critics.network import CriticNetwork, StateEncoder
from soar.data.transforms import Batch, Transform, describe
from soar.nn.draws import rand
from soar.utils.config import to_plain

KIND = "critic"
"""Kind of a critic's checkpoints."""
QFunction: TypeAlias = Callable[[Float[Tensor, "n k a"]], Float[Tensor, "e n k"]]
"""Values of k actions at each of n fixed states."""


class ActorDraws(NamedTuple):
    """The actor's actions at a batch's states and next states."""

    current: Sampled
    next: Sampled


class CriticLearner(nn.Module):
    """A critic in training, with its target network and, if the algorithm has one, its actor."""

    def __init__(
        self,
        config: CriticConfig,
        transforms: Sequence[Transform],
        contract: Contract = WIDOWX,
    ) -> None:
        """Make random weights from torch's global generator.

        Args:
            config: network, losses and labels.
            transforms: of images and states; actions are scaled by bounds.
            contract: meaning of what it learns from.
        """
        super().__init__()
        self.config, self.contract = config, contract
        self.transforms = tuple(transforms)
        self.network = CriticNetwork(config, contract)
        self.target = copy.deepcopy(self.network).requires_grad_(False)
        self.actor = Actor(config, contract) if config.actor != "none" else None
        self.samples = config.alpha > 0 or config.backup == "policy_max"
        """True if the losses need actions of the actor."""
        self.log_temperature = nn.Parameter(torch.zeros(()), requires_grad=self.samples)
        self.log_multiplier = nn.Parameter(torch.ones(()), requires_grad=config.cql_gap is not None)

    @property
    def learning_rate_scales(self) -> Mapping[str, float]:
        """Learning rates of parameters relative to the others', by the beginning of their name, for `fit`."""
        return {"actor.": self.config.actor_rate}

    @torch.no_grad()
    def after_step(self) -> None:
        """Move the target network's weights towards the critic's."""
        for target, own in zip(self.target.parameters(), self.network.parameters(), strict=True):
            target.lerp_(own, self.config.target_rate)

    def loss(
        self, batch: Batch, generator: torch.Generator
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return the summed losses of a batch of `soar.critics.learning.batches`, and metrics."""
        config = self.config
        with torch.autocast(next(self.parameters()).device.type, enabled=False):
            now, later = _transformed(batch, self.transforms)
        actions = config.bounds.to_box(batch["action"])
        features = self.network.encode(now)
        data_q = self.network.q(features, actions[:, None])[..., 0].float()
        draws = self._sample(features, now, later, generator) if self.samples else None
        with torch.no_grad():
            next_values = self._next_values(batch, later, draws, generator)
            target = td_target(batch["reward"], batch["discount"], next_values)
        total = td_loss(data_q, target)
        metrics = {
            "td_error": (data_q - target).square().mean(),
            "q": data_q.mean(),
            "target": target.mean(),
            "clipped_actions": config.bounds.clipped_share(batch["action"]),
        }
        if config.backup == "expectile":
            value_loss, v, target_q = self._value_loss(features, now, actions)
            metrics |= {"value_loss": value_loss, "v": v.mean()}
            total = total + value_loss
            if self.actor is not None and not self.samples:
                total = total + self._cloning_loss(features, now, actions, target_q - v, metrics)
        if draws is not None:
            if config.alpha:
                total = total + self._conservative_loss(
                    features, data_q, draws, batch["mc_return"], generator, metrics
                )
            total = total + self._actor_loss(features, now, actions, generator, metrics)
        return total, {k: v.detach() for k, v in metrics.items()}

    def checkpoint(self, provenance: Mapping[str, Any]) -> Checkpoint:
        """Return everything that is needed to use the critic elsewhere: the target network, and the actor."""
        weights = {f"network.{k}": v.detach() for k, v in self.target.state_dict().items()}
        if self.actor is not None:
            weights |= {f"actor.{k}": v.detach() for k, v in self.actor.state_dict().items()}
        config, transforms = to_plain(self.config), describe(self.transforms)
        return Checkpoint(
            KIND, weights, config, transforms, dict(provenance), contract=self.contract
        )

    def _sample(
        self,
        features: Float[Tensor, "n d"],
        now: Batch,
        later: Batch,
        generator: torch.Generator,
    ) -> ActorDraws:
        assert self.actor is not None
        count = self.config.cql_actions
        with torch.no_grad():
            current = self.actor.features(features, now)
            shared = self.network.encode(later) if self.actor.encoder is None else features
            following = self.actor.features(shared, later)
            head = self.actor.head
            return ActorDraws(
                head.sample(current, count, generator), head.sample(following, count, generator)
            )

    def _next_values(
        self, batch: Batch, later: Batch, draws: ActorDraws | None, generator: torch.Generator
    ) -> Float[Tensor, " n"]:
        """Return the value of the state after a window, by the target network."""
        features = self.target.encode(later)
        if self.config.backup == "expectile":
            return self.target.v(features).float()
        if self.config.backup == "sarsa":
            actions = self.config.bounds.to_box(batch["next_action"])[:, None]
        else:
            assert draws is not None
            actions = draws.next.actions
        q = self.target.q(features, actions).float()
        if self.config.target_subsample:
            order = torch.randperm(len(q), generator=generator, device=q.device)
            q = q[order[: self.config.target_subsample]]
        return max_backup(q)

    def _value_loss(
        self, features: Float[Tensor, "n d"], now: Batch, actions: Float[Tensor, "n a"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, " n"], Float[Tensor, " n"]]:
        """Return V's loss, V, and the data actions' smallest target Q."""
        v = self.network.v(features).float()
        with torch.no_grad():
            target_features = self.target.encode(now)
            q = self.target.q(target_features, actions[:, None])[..., 0].float().amin(0)
        return expectile_loss(q, v, self.config.expectile), v, q

    def _conservative_loss(
        self,
        features: Float[Tensor, "n d"],
        data_q: Float[Tensor, "e n"],
        draws: ActorDraws,
        mc_return: Float[Tensor, " n"],
        generator: torch.Generator,
        metrics: dict[str, Tensor],
    ) -> Float[Tensor, ""]:
        shape = draws.current.actions.shape
        uniform = 2 * rand(shape, generator) - 1
        gap = sampled_gap(
            self.config,
            lambda actions: self.network.q(features, actions).float(),
            data_q,
            uniform,
            draws,
            mc_return,
        )
        metrics |= {"cql_gap": gap.gap.mean(), "bound_rate": gap.bound_rate}
        return conservative_loss(self.config, gap.gap, self.log_multiplier)

    def _actor_loss(
        self,
        features: Float[Tensor, "n d"],
        now: Batch,
        actions: Float[Tensor, "n a"],
        generator: torch.Generator,
        metrics: dict[str, Tensor],
    ) -> Float[Tensor, ""]:
        """Return the losses of the actor and its temperature; Q is held fixed."""
        assert self.actor is not None
        own = self.actor.features(features, now)
        sampled = self.actor.head.sample(own, 1, generator)
        fixed = {k: p.detach() for k, p in self.network.q_head.named_parameters()}
        values = functional_call(
            self.network.q_head, fixed, (features.detach(), sampled.actions.to(features.dtype))
        )
        q = values.float()[..., 0].amin(0)
        log_prob, temperature = sampled.log_prob[:, 0], self.log_temperature.exp()
        if self.config.bc_weight:
            data_log_prob = self.actor.head.log_prob(own, actions[:, None])[:, 0]
            loss = regularized_actor_loss(
                log_prob, q, temperature.detach(), data_log_prob, self.config.bc_weight
            )
        else:
            loss = actor_loss(log_prob, q, temperature.detach())
        metrics |= {
            "actor_loss": loss,
            "actor_q": q.mean(),
            "entropy": -log_prob.mean(),
            "temperature": temperature,
        }
        return loss + temperature_loss(self.log_temperature, log_prob, -float(actions.shape[1]))

    def _cloning_loss(
        self,
        features: Float[Tensor, "n d"],
        now: Batch,
        actions: Float[Tensor, "n a"],
        advantages: Float[Tensor, " n"],
        metrics: dict[str, Tensor],
    ) -> Float[Tensor, ""]:
        """Return IQL's loss of the actor: cloning weighted by advantages."""
        assert self.actor is not None
        own = self.actor.features(features, now)
        log_prob = self.actor.head.log_prob(own, actions[:, None])[:, 0]
        loss = weighted_cloning_loss(advantage_weights(advantages), log_prob)
        metrics |= {"actor_loss": loss}
        return loss


class Actor(nn.Module):
    """A Gaussian actor with its own encoder, or on the features of the critic's, which it doesn't train."""

    def __init__(self, config: CriticConfig, contract: Contract) -> None:
        super().__init__()
        own = StateEncoder(config, contract)
        self.encoder = own if config.actor_encoder == "separate" else None
        self.head = GaussianActor(own.dim, contract.action.dim, config.hidden, config.activation)

    def features(self, critic_features: Float[Tensor, "n d"], batch: Batch) -> Float[Tensor, "n d"]:
        """Return the actor's features of a transformed batch."""
        if self.encoder is None:
            return critic_features.detach()
        features: Tensor = self.encoder(batch)
        return features


def sampled_gap(
    config: CriticConfig,
    q: QFunction,
    data_q: Float[Tensor, "e n"],
    uniform: Float[Tensor, "n k a"],
    draws: ActorDraws,
    mc_return: Float[Tensor, " n"],
) -> Gap:
    """Return CQL's or Cal-QL's regularizer for uniform actions and those of the actor."""
    groups = [draws.current, draws.next] if config.cql_next_actions else [draws.current]
    policy = Sampled(
        torch.cat([g.actions for g in groups], 1), torch.cat([g.log_prob for g in groups], 1)
    )
    values = q(torch.cat([uniform, policy.actions.to(uniform.dtype)], 1))
    density = values.new_full(uniform.shape[:2], uniform_log_density(uniform.shape[2]))
    count = uniform.shape[1]
    return conservative_gap(
        data_q,
        Candidates(values[:, :, :count], density),
        Candidates(values[:, :, count:], policy.log_prob),
        lower_bound=mc_return if config.calibrated else None,
        importance_sampling=config.importance_sampling,
    )


def conservative_loss(
    config: CriticConfig, gap: Float[Tensor, "e n"], log_multiplier: Float[Tensor, ""]
) -> Float[Tensor, ""]:
    """Return the weighted regularizer, summed over Q functions, and the Lagrange multiplier's loss if there is one."""
    gaps = gap.mean(1)
    if config.cql_gap is None:
        return config.alpha * gaps.sum()
    weight = config.alpha * lagrange_multiplier(log_multiplier).detach()
    own = lagrange_loss(log_multiplier, gaps, config.cql_gap, config.alpha)
    return weight * (gaps - config.cql_gap).sum() + own


def _transformed(
    batch: Batch, transforms: Sequence[Transform]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Apply the transforms to the states and to the next states, with random draws of their own."""
    names = ("image", "goal", "state", "draws")
    shared = {k: batch[k] for k in ("words", "task") if k in batch}
    now = {k: batch[k] for k in names if k in batch} | shared
    later = {k: batch[f"next_{k}"] for k in names if f"next_{k}" in batch} | shared
    for transform in transforms:
        now, later = transform.train(now), transform.train(later)
    return now, later
