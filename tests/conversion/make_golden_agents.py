"""Write golden/NAME.tar.xz: small random agents in the layout of the released ones, and what their own code answers.

    python make_golden_agents.py PATH NAME...

NAME is "gcbc", "gcbc50" (with a ResNet-50), "lcbc" or "dgcbc", PATH a checkout of rail-berkeley/bridge_data_v2
(830fc9e); or "vgps" or "vgps_iql", PATH one of nakamotoo/V-GPS (912a290). Runs in the environment "flax" of
scripts/test_foreign.py, which runs this too. SOAR_GOLDEN names another folder to write to.

The files differ in layout as the released ones do: msgpack of flax.training.checkpoints, or Orbax with (OCDBT) and
without one store for all arrays.
"""

import json
import os
import sys
import tarfile
import tempfile
import types
from pathlib import Path

import distrax  # noqa: F401  (before the empty tensorflow, which it would miss)
import flax
import flax.training.checkpoints
import jax
import numpy as np
import orbax.checkpoint
from coarse_weights import coarse

PATH, *NAMES = sys.argv[1:]
sys.path.insert(0, PATH)
for unused in ("tensorflow", "wandb"):
    sys.modules[unused] = types.ModuleType(unused)
sys.modules["tensorflow"].Tensor = np.ndarray
from jaxrl_m.agents import agents  # noqa: E402
from jaxrl_m.vision import encoders  # noqa: E402

del sys.modules["tensorflow"], sys.modules["wandb"]

SIZE, ROWS, WORDS, ACTIONS = 64, 2, 512, 5
rng = np.random.default_rng(1)
MEAN = [1.93e-4, 1.37e-4, -1.46e-4, -1.84e-4, -3.08e-4, 2.74e-4, 0.597]
STD = [0.00913, 0.01272, 0.01229, 0.02607, 0.02875, 0.07808, 0.487]
FIXED_STD = [1, 1, 1, 1, 1, 1, 0.1]
BC = {
    "network_kwargs": {"hidden_dims": [16, 16, 16], "dropout_rate": 0.1},
    "early_goal_concat": True, "shared_goal_encoder": True, "use_proprio": False,
}  # fmt: skip
FIXED = {"tanh_squash_distribution": False, "state_dependent_std": False, "fixed_std": FIXED_STD}
DDPM = {
    "score_network_kwargs": {
        "time_dim": 32, "num_blocks": 1, "dropout_rate": 0.1, "hidden_dim": 256, "use_layer_norm": True,
    },
    "early_goal_concat": True, "shared_goal_encoder": True, "use_proprio": False, "beta_schedule": "cosine",
    "diffusion_steps": 20, "repeat_last_step": 0,
}  # fmt: skip
STATISTICS = {
    "bridgedata_config": {"action_proprio_metadata": {"action": {"mean": MEAN, "std": STD}}}
}
MUSE = {"text_processor": "muse_embedding", "text_processor_kwargs": {}}
HIDDEN = {"hidden_dims": [16, 16], "activate_final": True, "use_layer_norm": False}
LANGUAGE = {
    "language_conditioned": True, "early_goal_concat": None, "shared_goal_encoder": None, "shared_encoder": False,
    "discount": 0.98,
}  # fmt: skip
CALQL = {
    **LANGUAGE, "goal_conditioned": True, "use_proprio": False, "use_calql": True, "cql_alpha": 5.0,
    "gc_kwargs": {"negative_proportion": 0.0}, "critic_network_kwargs": HIDDEN, "policy_network_kwargs": HIDDEN,
    "policy_kwargs": {"tanh_squash_distribution": True, "std_parameterization": "exp"},
}  # fmt: skip
IQL = {
    **LANGUAGE, "network_kwargs": {"hidden_dims": [16, 16], "dropout_rate": 0.0},
    "policy_kwargs": {"tanh_squash_distribution": False, "std_parameterization": "exp"},
}  # fmt: skip
SETTINGS = {
    "vgps": {"agent": "cql", "agent_kwargs": CALQL, **MUSE},
    "vgps_iql": {"agent": "gc_iql", "agent_kwargs": IQL, **MUSE},
    "gcbc": {"agent": "gc_bc", "agent_kwargs": {**BC, "policy_kwargs": FIXED}, **STATISTICS},
    "gcbc50": {"agent": "gc_bc", "agent_kwargs": {**BC, "policy_kwargs": FIXED}, **STATISTICS},
    "lcbc": {"agent": "lc_bc", "agent_kwargs": {**BC, "policy_kwargs": FIXED}, **STATISTICS, **MUSE},
    "dgcbc": {"agent": "gc_ddpm_bc", "agent_kwargs": DDPM, **STATISTICS},
}  # fmt: skip


def main(name, folder):
    settings = SETTINGS[name]
    critic = name.startswith("vgps")
    text = name == "lcbc" or critic
    kind = "resnetv1-34-bridge-film" if text else "resnetv1-18-bridge"
    kind = "resnetv1-50-bridge" if name == "gcbc50" else kind
    sizes = {
        "pooling_method": "avg",
        "add_spatial_coordinates": name != "lcbc",
        "act": "swish",
        "num_filters": 4,
    }
    chunk = (4,) if name == "dgcbc" else ()
    if chunk:
        settings["dataset_kwargs"] = {"obs_horizon": 1, "act_pred_horizon": 4}
    settings |= {"encoder": kind, "encoder_kwargs": sizes}
    (folder / "settings.json").write_text(json.dumps(settings, indent=1))
    images = blocks(ROWS)
    observations = {"image": images[:, None] if chunk else images}
    words = np.float32(rng.standard_normal((ROWS, WORDS)) / np.sqrt(WORDS))
    goals = {"language": words} if text else {"image": blocks(ROWS)}
    actions = np.float32(rng.uniform(-0.5, 0.5, (ROWS, *chunk, 7)))
    agent = agents[settings["agent"]].create(
        rng=jax.random.PRNGKey(0), observations=observations, goals=goals, actions=actions,
        encoder_def=encoders[kind](**sizes), **json.loads(json.dumps(settings["agent_kwargs"])),
    )  # fmt: skip
    used = coarse(agent.state.params, rng, spread=0.6)
    unused = jax.tree_util.tree_map(np.zeros_like, used)
    params, target = (unused, used) if name == "dgcbc" else (used, unused)
    if critic:  # values are those of the target network, and only Cal-QL's actor is asked
        actor = {"modules_actor": used["modules_actor"]} if name == "vgps" else {}
        params, target = {**unused, **actor}, {**unused, "modules_critic": used["modules_critic"]}
    state = agent.state.replace(params=params, target_params=target, opt_states=None)
    agent = agent.replace(state=state)
    save(name, agent, folder / "checkpoint_500")
    given = {f"goal_{k}": v for k, v in goals.items()}
    found = {"image": images, **given, **answers(name, agent, observations, goals)}
    np.savez_compressed(folder / "golden.npz", **{k: np.asarray(v) for k, v in found.items()})
    for key, array in found.items():
        print(key, np.shape(array), float(np.std(array)))


def blocks(n):
    """Return images of random blocks of 8 px."""
    return np.kron(
        rng.integers(0, 256, (n, SIZE // 8, SIZE // 8, 3)), np.ones((1, 8, 8, 1))
    ).astype(np.uint8)


def save(name, agent, path):
    """Write a checkpoint, each agent in another layout."""
    plain = flax.serialization.to_state_dict(agent)
    if name == "lcbc":
        handler = orbax.checkpoint.PyTreeCheckpointHandler(use_ocdbt=False)
        orbax.checkpoint.Checkpointer(handler).save(path, plain)
    elif name == "dgcbc":
        orbax.checkpoint.PyTreeCheckpointer().save(path, plain)
    else:
        flax.training.checkpoints.save_checkpoint(path.parent, agent, step=500)


def answers(name, agent, observations, goals):
    """Return the actions of the agent's own code, and the noise that it drew."""
    if name.startswith("vgps"):
        return values(agent, observations, goals)
    if name != "dgcbc":
        return {"actions": agent.sample_actions(observations, goals, seed=None, argmax=True)}
    seed = jax.random.PRNGKey(3)
    key, left = jax.random.split(seed)
    shape = (ROWS, 4, 7)
    noise = [jax.random.normal(key, shape)]
    for _ in range(20):
        left, key = jax.random.split(left)
        noise.append(jax.random.normal(key, shape))
    found = agent.sample_actions(observations, goals, seed=seed)
    return {"actions": found, "noise": np.stack(noise)}


def values(agent, observations, goals):
    """Return the critic's values of some actions of each image, in its units, and the mode of its actor."""
    actions = np.float32(rng.uniform(-1, 1, (ROWS, ACTIONS, 7)))
    many = [
        {k: np.repeat(v, ACTIONS, 0) for k, v in part.items()} for part in (observations, goals)
    ]
    q = agent.get_q_values(*many, actions.reshape(-1, 7)).reshape(ROWS, ACTIONS)
    if "modules_temperature" not in agent.state.params:
        return {"candidates": actions, "q": q}
    mode = agent.sample_actions(observations, goals, argmax=True)
    return {"candidates": actions, "q": q, "mode": mode}


for name in NAMES:
    with tempfile.TemporaryDirectory() as temporary:
        main(name, Path(temporary))
        out = (
            Path(os.environ.get("SOAR_GOLDEN", Path(__file__).parent / "golden")) / f"{name}.tar.xz"
        )
        with tarfile.open(out, "w:xz", preset=9) as archive:
            for part in ("settings.json", "checkpoint_500", "golden.npz"):
                archive.add(Path(temporary) / part, part)
        print(out, out.stat().st_size, flush=True)
