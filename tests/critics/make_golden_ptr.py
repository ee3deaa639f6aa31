"""Golden numbers of PTR, for `make_golden.py`."""

from __future__ import annotations

import sys
import types
from functools import partial
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from make_golden import ACT, ROWS, make_batch, random_params


def ptr() -> dict:
    """PTR: one update of the critic by gradient descent, with a policy of fixed answers."""
    from flax.training.train_state import TrainState

    for package in (
        "jaxrl2.agents",
        "jaxrl2.data",
        "jaxrl2.data.dataset",
    ):  # their imports need a robot's software
        sys.modules[package] = types.ModuleType(package)
    sys.modules["jaxrl2.data.dataset"].DatasetDict = dict
    folder = Path(sys.path[0]) / "jaxrl2" / "agents"
    sys.modules["jaxrl2.agents"].__path__ = [str(folder)]
    from jaxrl2.agents.cql_encodersep_parallel import critic_updater as module

    class Decoder(nn.Module):
        """Two Q functions of a state and an action."""

        @nn.compact
        def __call__(self, state, action):
            def one(name):
                x = jnp.concatenate([state, action], -1)
                x = nn.relu(nn.Dense(4, name=f"{name}_0")(x))
                x = nn.relu(nn.Dense(4, name=f"{name}_1")(x))
                return nn.Dense(1, name=f"{name}_2")(x)[:, 0]

            return jnp.stack([one("q1"), one("q2")])

    batch = make_batch()
    batch["rewards"] = np.array([-1, -1, 10, -1, -1], np.float32)
    rng, repeats = np.random.default_rng(7), module.NUM_CQL_REPEAT
    fixed = {}
    for name, rows in (("current", "observations"), ("next", "next_observations")):
        shape = (ROWS * repeats, ACT)
        fixed[name] = {
            "key": batch[rows],
            "actions": rng.uniform(-0.9, 0.9, shape).astype(np.float32),
            "log_pi": rng.normal(size=shape[0]).astype(np.float32),
        }

    class FixedPolicy:
        def __init__(self, observations):
            tiled = len(observations) == ROWS * repeats
            self.answers = fixed["next"]
            if tiled and bool(np.allclose(observations[0], batch["observations"][0])):
                self.answers = fixed["current"]
            self.rows = len(observations)

        def sample_and_log_prob(self, seed):
            return self.answers["actions"][: self.rows], self.answers["log_pi"][: self.rows]

    decoder = Decoder()
    params = random_params(
        decoder.init(jax.random.PRNGKey(0), batch["observations"], batch["actions"])["params"], 1
    )
    target = random_params(params, 11)
    identity = lambda variables, x, **_: x  # noqa: E731
    apply = lambda variables, state, action, **_: decoder.apply(variables, state, action)  # noqa: E731
    make = partial(TrainState.create, tx=optax.sgd(1.0))
    cases, key = {}, jax.random.PRNGKey(4)
    jax.lax.pmean = lambda x, axis_name: x
    for name, version in (("ptr", 3), ("no_importance", 2)):
        states = {
            "actor": make(apply_fn=lambda variables, x: FixedPolicy(x), params={}),
            "critic_encoder": make(apply_fn=identity, params={}),
            "critic_decoder": make(apply_fn=apply, params=params),
            "target_critic_encoder": make(apply_fn=identity, params={}),
            "target_critic_decoder": make(apply_fn=apply, params=target),
            "temp": make(apply_fn=identity, params={}),
        }
        (_, new), info = module.update_critic(
            key, **states, batch=batch, discount=0.96, backup_entropy=False, critic_reduction="min", cql_alpha=10.0,
            max_q_backup=True, dr3_coefficient=-1.0, min_q_version=version,
        )  # fmt: skip
        cases[name] = {
            "values": {
                k: info[k] for k in ("critic_loss", "bellman_loss", "cql_loss_mean", "lse_q")
            },
            "gradients": jax.tree_util.tree_map(lambda old, fresh: old - fresh, params, new.params),
        }
    random_key = jax.random.split(key, num=5)[2]
    uniform = jax.random.uniform(random_key, shape=(ROWS * repeats, ACT), minval=-1.0, maxval=1.0)
    return {
        "batch": batch,
        "weights": params,
        "target_weights": target,
        "policy": {k: {"actions": v["actions"], "log_pi": v["log_pi"]} for k, v in fixed.items()},
        "uniform": uniform,
        "cases": cases,
    }
