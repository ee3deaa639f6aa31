"""Golden numbers of the critics' losses, made by the reference code of their papers.

    python tests/critics/make_golden.py NAME PATH

NAME is "calql" (nakamotoo/Cal-QL, commit ac6eafe), "vgps" (nakamotoo/V-GPS, 912a290), "ptr" (Asap7772/PTR, a389d83)
or "bridge" (rail-berkeley/bridge_data_v2, 830fc9e), PATH a checkout of that repository. Writes golden/NAME.json beside
this script: inputs, every random draw of the reference, its losses, its gradients, and the weights of its small
networks. The reference runs in an environment of its own, Python 3.11 with

    pip install jax==0.4.20 jaxlib==0.4.20 flax==0.7.5 distrax==0.1.5 tensorflow_probability==0.23.0 optax==0.1.5 \
        chex==0.1.85 numpy==1.24.3 scipy==1.12.0 ml_dtypes==0.2.0 ml_collections overrides einops matplotlib==3.7.0

Packages that the references import and these functions don't call (tensorflow, gym, d4rl) are empty modules.
"""

from __future__ import annotations

import json
import sys
import types
from functools import partial
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

OBS, ACT, ROWS, DISCOUNT = 3, 2, 5, 0.98


def main() -> None:
    """Write the golden numbers of one reference."""
    name, path = sys.argv[1:]
    from make_golden_ptr import ptr

    sys.path.insert(0, path)
    for unused in ("tensorflow", "gym", "gym.utils", "d4rl"):
        sys.modules[unused] = types.ModuleType(unused)
    sys.modules["tensorflow"].Tensor = np.ndarray
    sys.modules["gym.utils"].seeding = None
    makers = {"calql": calql, "vgps": vgps, "ptr": ptr, "bridge": bridge}
    golden = plain(makers[name]())
    out = Path(__file__).parent / "golden" / f"{name}.json"
    out.write_text(json.dumps(golden) + "\n")
    print(f"{out}: {', '.join(golden)}")


def plain(value):
    """Convert arrays and their containers to lists and numbers of six significant digits or more."""
    if hasattr(value, "items"):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if hasattr(value, "shape"):
        return plain(np.asarray(value).tolist())
    return float(f"{value:.9g}") if isinstance(value, float) else value


def make_batch() -> dict[str, np.ndarray]:
    """Make five transitions with rewards -1 and 0, one of them terminal."""
    rng = np.random.default_rng(0)
    return {
        "observations": rng.normal(size=(ROWS, OBS)).astype(np.float32),
        "next_observations": rng.normal(size=(ROWS, OBS)).astype(np.float32),
        "actions": rng.uniform(-0.9, 0.9, (ROWS, ACT)).astype(np.float32),
        "rewards": np.array([-1, -1, 0, -1, -1], np.float32),
        "masks": np.array([1, 1, 0, 1, 1], np.float32),
        "mc_returns": np.array([-0.5, 0.3, 0.0, -50, -1.98], np.float32),
    }


def random_params(params, seed):
    """Replace initial parameters, zeros among them, by normal numbers."""
    rng = np.random.default_rng(seed)
    leaves, tree = jax.tree_util.tree_flatten(params)
    new = [jnp.asarray(rng.normal(scale=0.5, size=np.shape(leaf)), jnp.float32) for leaf in leaves]
    return jax.tree_util.tree_unflatten(tree, new)


def calql() -> dict:
    """Cal-QL: one update by gradient descent, for several settings; and returns of whole episodes."""
    from JaxCQL import conservative_sac as module
    from JaxCQL import jax_utils, model, replay_buffer

    batch = make_batch()
    batch["dones"] = 1 - batch["masks"]
    settings = {
        "calql": {},
        "cql": {"enable_calql": False},
        "lagrange": {"cql_lagrange": True},
        "no_importance": {"cql_importance_sample": False},
        "one_target_action": {"cql_max_target_backup": False},
    }
    cases = {}
    for name, changes in settings.items():
        jax_utils.init_rng(0)
        enable = changes.pop("enable_calql", True)
        config = {
            "cql_n_actions": 4,
            "discount": DISCOUNT,
            "optimizer_type": "sgd",
            "policy_lr": 1.0,
            "qf_lr": 1.0,
        }
        policy = model.TanhGaussianPolicy(OBS, ACT, "4-4")
        sac = module.ConservativeSAC(
            {**config, **changes}, policy, model.FullyConnectedQFunction(OBS, ACT, "4-4")
        )
        before = {}
        for seed, key in enumerate(sac.model_keys):
            state = sac._train_states[key]
            if key in ("policy", "qf1", "qf2"):
                state = state.replace(params=random_params(state.params, seed))
            if key == "policy":  # the modules' constants of the distribution
                own = dict(state.params["params"])
                own["log_std_multiplier_module"] = {"value": 1.0}
                own["log_std_offset_module"] = {"value": -1.0}
                state = state.replace(params={"params": own})
            sac._train_states[key] = state
            before[key] = state.params
        sac._target_qf_params = {
            k: random_params(before[k], 10 + i) for i, k in enumerate(("qf1", "qf2"))
        }
        seen = {}
        module.value_and_multi_grad = partial(_restarted, jax_utils)
        module.collect_jax_metrics = lambda values, names, prefix=None, seen=seen: (
            seen.update(values) or {}
        )
        with jax.disable_jit():
            states, _, _ = module.ConservativeSAC._train_step.__wrapped__(
                sac,
                sac._train_states,
                sac._target_qf_params,
                jax.random.PRNGKey(1),
                batch,
                True,
                5.0,
                enable,
            )
        gradients = jax.tree_util.tree_map(
            lambda old, new: old - new, before, {k: s.params for k, s in states.items()}
        )
        kept = (
            "new_actions", "log_pi", "new_next_actions", "next_log_pi", "cql_random_actions", "cql_current_actions",
            "cql_current_log_pis", "cql_next_actions", "cql_next_log_pis", "q1_pred", "q2_pred", "td_target",
            "qf1_bellman_loss", "qf2_bellman_loss", "cql_qf1_diff", "cql_qf2_diff", "qf1_loss", "qf2_loss",
            "policy_loss", "alpha_loss", "alpha_prime", "alpha_prime_loss", "bound_rate_cql_q1_current_actions",
            "bound_rate_cql_q1_next_actions",
        )  # fmt: skip
        cases[name] = {
            "values": {k: jax.lax.stop_gradient(_value(seen[k])) for k in kept},
            "gradients": gradients,
        }
    returns = []
    for rewards in ([-1, -1, -1, 0, 0, 0], [-1, -1, -1, -1], [0]):
        dones = np.array([r == 0 for r in rewards], np.float32)
        found = replay_buffer.calc_return_to_go(
            "pen-binary-v0",
            np.array(rewards, np.float32),
            dones,
            DISCOUNT,
            1.0,
            0.0,
            is_sparse_reward=True,
        )
        returns.append({"rewards": rewards, "returns": found})
    return {
        "batch": batch,
        "weights": before,
        "target_weights": sac._target_qf_params,
        "cases": cases,
        "returns": returns,
    }


def _restarted(jax_utils, loss, outputs, has_aux):
    """Compute every gradient with the same random draws; the original continues its stream from one to the next."""
    cells = [cell.cell_contents for cell in loss.__closure__]
    generator = next(c for c in cells if isinstance(c, jax_utils.JaxRNG))
    start = generator.rng

    def same(params):
        generator.rng = start
        return loss(params)

    return jax_utils.value_and_multi_grad(same, outputs, has_aux=has_aux)


def _value(x):
    """Return the number behind a tracer of jax.grad without jit."""
    while hasattr(x, "primal"):
        x = x.primal
    return x


def vgps() -> dict:
    """V-GPS: CQL and Cal-QL critic losses, IQL losses, negative goals."""
    import distrax
    from jaxrl_m.agents.continuous import cql as module
    from jaxrl_m.agents.continuous import iql
    from jaxrl_m.common.common import JaxRLTrainState, ModuleDict
    from jaxrl_m.networks.actor_critic_nets import Critic, Policy, ensemblize
    from jaxrl_m.networks.lagrange import GeqLagrangeMultiplier
    from jaxrl_m.networks.mlp import MLP

    batch = make_batch()
    drawn: dict = {}

    class Recorded(module.ContinuousCQLAgent):
        """The agent, which records the actions that its policy samples."""

        def forward_policy_and_sample(self, obs, rng, **kwargs):
            kwargs["repeat"] = kwargs["repeat"] and (kwargs["repeat"],)
            actions, log_pi = super().forward_policy_and_sample(obs, rng, **kwargs)
            key = "current" if obs is batch["observations"] else "next"
            drawn.setdefault(key, []).append({"actions": actions, "log_pi": log_pi})
            return actions, log_pi

        def forward_critic(self, obs, actions, rng, **kwargs):
            if actions.ndim == 3 and kwargs.get("train", True):
                drawn["candidates"] = actions
            return super().forward_critic(obs, actions, rng, **kwargs)

    hidden = partial(MLP, hidden_dims=(4, 4), activate_final=True)
    networks = ModuleDict(
        {
            "actor": Policy(None, hidden(), ACT, tanh_squash_distribution=True),
            "critic": Critic(None, ensemblize(hidden, 2)(name="critic_ensemble")),
            "temperature": GeqLagrangeMultiplier(
                init_value=1.0, constraint_shape=(), name="temperature"
            ),
        }
    )
    first = (batch["observations"], batch["actions"])
    params = networks.init(jax.random.PRNGKey(0), actor=first[:1], critic=first, temperature=[])[
        "params"
    ]
    actor, critic = "modules_actor", "modules_critic"
    params = dict(params) | {k: random_params(params[k], i) for i, k in enumerate((actor, critic))}
    target = {**params, critic: random_params(params[critic], 10)}
    txs = {k: optax.sgd(1.0) for k in ("actor", "critic", "temperature")}
    state = JaxRLTrainState.create(
        apply_fn=networks.apply,
        params=params,
        txs=txs,
        target_params=target,
        rng=jax.random.PRNGKey(2),
    )
    settings = {
        "calql": {"use_calql": True},
        "cql": {},
        "no_importance": {"cql_importance_sample": False, "use_calql": True},
    }
    cases = {}
    for name, changes in settings.items():
        drawn.clear()
        agent = Recorded(state, {**module.get_default_config({"discount": DISCOUNT}), **changes})
        loss, info = agent.critic_loss_fn(batch, params, jax.random.PRNGKey(3))
        kept = {
            k: info[k] for k in ("td_err", "critic_loss", "cql_loss", "cql_ood_values", "target_q")
        }
        kept["bound_rate"] = info.get("calql_bound_rate", 0.0)
        values = {"critic_loss": loss, **kept, "drawn": dict(drawn)}
        gradient = jax.grad(
            lambda p, a=agent: a.critic_loss_fn(batch, p, jax.random.PRNGKey(3))[0]
        )(params)
        cases[name] = {
            "values": jax.tree_util.tree_map(_value, values),
            "gradients": gradient[critic],
        }
    config = {**module.get_default_config({"discount": DISCOUNT}), "use_calql": True}
    config["gc_kwargs"] = {"negative_proportion": 0.4}
    goals = {**batch, "goals": np.arange(ROWS, dtype=np.float32)}
    negatives, _ = module.ContinuousCQLAgent(state, config)._sample_negative_goals(goals, None)
    return {
        "batch": batch,
        "weights": {"actor": params[actor], "critic": params[critic]},
        "target_weights": target[critic],
        "cases": cases,
        "negatives": negatives,
        "iql": iql_losses(iql, distrax),
    }


def bridge() -> dict:
    """bridge_data_v2: the losses of goal-conditioned IQL, and one update of the whole agent."""
    import distrax
    from jaxrl_m.agents.continuous import gc_iql, iql
    from jaxrl_m.common.common import JaxRLTrainState, ModuleDict
    from jaxrl_m.networks.actor_critic_nets import Critic, Policy, ValueCritic
    from jaxrl_m.networks.mlp import MLP

    batch = make_batch()
    batch |= {"terminals": 1 - batch["masks"], "goals": batch["observations"][::-1].copy()}
    hidden = partial(MLP, hidden_dims=(4, 4), activate_final=True)

    class Joined(nn.Module):
        """An encoder that concatenates observation and goal."""

        def __call__(self, pair):
            return jnp.concatenate(pair, -1)

    networks = ModuleDict(
        {
            "actor": Policy(Joined(), hidden(), ACT),
            "value": ValueCritic(Joined(), hidden()),
            "critic": Critic(Joined(), hidden()),
        }
    )
    pair = (batch["observations"], batch["goals"])
    params = networks.init(
        jax.random.PRNGKey(0), actor=[pair], value=[pair], critic=[pair, batch["actions"]]
    )["params"]
    names = ("actor", "value", "critic")
    params = {f"modules_{k}": random_params(params[f"modules_{k}"], i) for i, k in enumerate(names)}
    target = {
        f"modules_{k}": random_params(params[f"modules_{k}"], 10 + i) for i, k in enumerate(names)
    }
    txs = {k: optax.sgd(1.0) for k in names}
    state = JaxRLTrainState.create(
        apply_fn=networks.apply,
        params=params,
        txs=txs,
        target_params=target,
        rng=jax.random.PRNGKey(2),
    )
    config = {
        "discount": DISCOUNT, "expectile": 0.7, "temperature": 1.0, "target_update_rate": 0.1,
        "dropout_target_networks": True, "negative_proportion": 0.0,
    }  # fmt: skip
    agent = gc_iql.GCIQLAgent(state, config, {"actor": lambda step: 0.0})
    with jax.disable_jit():
        new, info = gc_iql.GCIQLAgent.update.__wrapped__(agent, batch)
    return {
        "batch": batch,
        "weights": params,
        "target_weights": target,
        "losses": _scalars(info),
        "gradients": jax.tree_util.tree_map(
            lambda old, fresh: old - fresh, params, dict(new.state.params)
        ),
        "new_target": new.state.target_params,
        "iql": iql_losses(iql, distrax),
    }


def _scalars(info) -> dict:
    flat, found = dict(info), {}
    for name, value in flat.items():
        if hasattr(value, "items"):
            found |= {f"{name}/{k}": v for k, v in _scalars(value).items()}
        elif np.ndim(value) == 0:
            found[name] = value
    return found


def iql_losses(iql, distrax) -> dict:
    """IQL's three losses on fixed values of Q, V and the policy."""
    rng = np.random.default_rng(5)
    q, v, target = (rng.normal(size=ROWS).astype(np.float32) * 3 for _ in range(3))
    actions, means = (rng.normal(size=(ROWS, ACT)).astype(np.float32) for _ in range(2))
    dist = distrax.MultivariateNormalDiag(means, np.full((ROWS, ACT), 0.7, np.float32))
    return {
        "q": q, "v": v, "target": target, "log_prob": dist.log_prob(actions),
        "value_loss": [iql.iql_value_loss(q, v, e)[0] for e in (0.5, 0.7, 0.9)],
        "critic_loss": iql.iql_critic_loss(q, target)[0],
        "actor_loss": iql.iql_actor_loss(q, v, dist, actions, temperature=1.0)[0],
    }  # fmt: skip


if __name__ == "__main__":
    main()
