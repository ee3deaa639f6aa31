"""The losses and their gradients equal those of the papers' code (golden/, made by make_golden.py)."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from soar.critics.actor import GaussianActor, Sampled
from soar.critics.config import ALGORITHMS, RewardConfig
from soar.critics.learning.learner import ActorDraws, conservative_loss, sampled_gap
from soar.critics.learning.losses import (
    actor_loss,
    advantage_weights,
    expectile_loss,
    max_backup,
    td_loss,
    td_target,
    temperature_loss,
    weighted_cloning_loss,
)
from soar.critics.learning.returns import windows
from soar.critics.network import EnsembleMLP

TOLERANCE = 1e-4
OBS, ACT, DISCOUNT = 3, 2, 0.98
CALQL = replace(ALGORITHMS["calql"](), cql_actions=4)


def tensors(value):
    if isinstance(value, dict):
        return {k: tensors(v) for k, v in value.items()}
    return torch.tensor(value)


@pytest.fixture(scope="module")
def golden():
    folder = Path(__file__).parent / "golden"
    return {p.stem: json.loads(p.read_text()) for p in folder.glob("*.json")}


def close(found, expected):
    expected = torch.as_tensor(expected, dtype=torch.float32)
    torch.testing.assert_close(found.detach().float(), expected, rtol=TOLERANCE, atol=TOLERANCE)


def networks(layers, features, activation="relu"):
    """Q or V networks of given weights: of each layer (e, in, out) and (e, out)."""
    ensemble, widths = len(layers[0][0]), [kernel.shape[2] for kernel, _ in layers[:-1]]
    actions = layers[0][0].shape[1] - features
    net: Any = EnsembleMLP(features, actions, widths, ensemble=ensemble, activation=activation)
    with torch.no_grad():
        for layer, (kernel, bias) in zip(net.layers, layers, strict=True):
            hidden = layer is not net.layers[0]
            parts = (
                [kernel, None, None]
                if hidden
                else [None, kernel[:, :features], kernel[:, features:]]
            )
            weights = (layer.of_hidden, layer.of_features, layer.of_actions)
            for weight, part in zip(weights, parts, strict=True):
                if weight is not None:
                    weight.copy_(part)
            layer.bias.copy_(bias[:, None])
    return net


def gradients(net):
    """Gradients in the layout of the weights that `networks` takes."""
    found = []
    for layer in net.layers:
        weights = (layer.of_hidden, layer.of_features, layer.of_actions)
        kernel = torch.cat([w.grad for w in weights if w is not None], 1)
        found.append((kernel, layer.bias.grad[:, 0]))
    return found


def same_gradients(net, expected):
    for (kernel, bias), (kernel_e, bias_e) in zip(gradients(net), expected, strict=True):
        close(kernel, kernel_e)
        close(bias, bias_e)


def of_calql(weights):
    """Layers of Cal-QL's two separate Q functions."""
    nets = [weights[k]["params"]["FullyConnectedNetwork_0"] for k in ("qf1", "qf2")]
    return [
        tuple(torch.stack([n[f"Dense_{i}"][p] for n in nets]) for p in ("kernel", "bias"))
        for i in range(3)
    ]


def calql_actor(weights):
    actor: Any = GaussianActor(OBS, ACT, (4, 4))
    layers = weights["policy"]["params"]["base_network"]
    with torch.no_grad():
        for i, linear in enumerate([actor.body[0], actor.body[2]]):
            linear.weight.copy_(layers[f"Dense_{i}"]["kernel"].T)
            linear.bias.copy_(layers[f"Dense_{i}"]["bias"])
        for linear, columns, offset in (
            (actor.mean, slice(0, 2), 0),
            (actor.log_std, slice(2, 4), -1),
        ):
            linear.weight.copy_(layers["Dense_2"]["kernel"].T[columns])
            linear.bias.copy_(layers["Dense_2"]["bias"][columns] + offset)
    return actor


CASES = {
    "calql": CALQL,
    "cql": replace(CALQL, calibrated=False),
    "lagrange": replace(CALQL, cql_gap=1.0),
    "no_importance": replace(CALQL, importance_sampling=False),
    "one_target_action": CALQL,
}


@pytest.mark.parametrize("case", CASES)
def test_calql_equals_its_code(golden, case):
    data, config = (
        tensors({k: v for k, v in golden["calql"].items() if k != "returns"}),
        CASES[case],
    )
    batch, values = data["batch"], data["cases"][case]["values"]
    q, target_q = (networks(of_calql(data[k]), OBS) for k in ("weights", "target_weights"))
    states, log_multiplier = batch["observations"], torch.ones(())
    next_actions = values["new_next_actions"].view(5, -1, ACT)
    target = td_target(
        batch["rewards"],
        DISCOUNT * batch["masks"],
        max_backup(target_q(batch["next_observations"], next_actions)),
    )
    data_q = q(states, batch["actions"][:, None])[..., 0]
    draws = ActorDraws(
        Sampled(values["cql_current_actions"], values["cql_current_log_pis"]),
        Sampled(values["cql_next_actions"], values["cql_next_log_pis"]),
    )
    found = sampled_gap(
        config,
        lambda a: q(states, a),
        data_q,
        values["cql_random_actions"],
        draws,
        batch["mc_returns"],
    )
    # The code without importance sampling doesn't subtract log(size), which changes no gradient.
    constant = 0 if config.importance_sampling else np.log(13)
    loss = td_loss(data_q, target) + conservative_loss(config, found.gap, log_multiplier)
    loss.backward()

    close(data_q, torch.stack([values["q1_pred"], values["q2_pred"]]))
    close(target, values["td_target"])
    close(td_loss(data_q, target), values["qf1_bellman_loss"] + values["qf2_bellman_loss"])
    close(
        found.gap.mean(1) + constant, torch.stack([values["cql_qf1_diff"], values["cql_qf2_diff"]])
    )
    expected = values["qf1_loss"] + values["qf2_loss"] + values["alpha_prime_loss"]
    close(loss + 2 * config.alpha * constant, expected)
    same_gradients(q, of_calql(data["cases"][case]["gradients"]))
    if case != "cql":
        current, following = found_bound_rates(q, states, draws, batch["mc_returns"])
        close(current, values["bound_rate_cql_q1_current_actions"])
        close(following, values["bound_rate_cql_q1_next_actions"])


def found_bound_rates(q, states, draws, mc_returns):
    below = [q(states, d.actions)[0] < mc_returns[:, None] for d in draws]
    return below[0].float().mean(), below[1].float().mean()


def test_the_lagrange_multiplier_has_the_codes_gradient(golden):
    data = tensors(golden["calql"]["cases"]["lagrange"])
    log_multiplier = torch.ones((), requires_grad=True)
    gaps = torch.stack([data["values"][f"cql_qf{i}_diff"] for i in (1, 2)])
    conservative_loss(CASES["lagrange"], gaps[:, None], log_multiplier).backward()
    close(log_multiplier.grad, data["gradients"]["log_alpha_prime"]["params"]["value"])


def test_the_actor_and_its_temperature_equal_calqls_code(golden):
    data = tensors({k: v for k, v in golden["calql"].items() if k != "returns"})
    batch, case = data["batch"], data["cases"]["calql"]
    values, actor = case["values"], calql_actor(data["weights"])
    states = batch["observations"]
    for actions, expected in (
        (values["new_actions"][:, None], values["log_pi"][:, None]),
        (values["cql_current_actions"], values["cql_current_log_pis"]),
    ):
        inside = (actions.abs() < 0.999).all(2)  # beyond, float32 can't invert tanh
        assert inside.float().mean() > 0.6
        close(actor.log_prob(states, actions)[inside], expected[inside])
    log_prob = values["log_pi"]
    q = networks(of_calql(data["weights"]), OBS)(states, values["new_actions"][:, None])[
        ..., 0
    ].amin(0)
    close(actor_loss(log_prob, q, 1.0), values["policy_loss"])
    log_temperature = torch.zeros((), requires_grad=True)
    temperature_loss(log_temperature, log_prob, 0.0).backward()
    close(log_temperature.grad, case["gradients"]["log_alpha"]["params"]["value"])


def test_returns_equal_calqls_code(golden):
    config = RewardConfig(final_steps=3)
    long, failure, short = golden["calql"]["returns"]
    for case, success in ((long, 1.0), (failure, 0.0), (short, 1.0)):
        found = windows(len(case["rewards"]), success, config, DISCOUNT, 1)
        np.testing.assert_allclose(found.rewards, case["rewards"])
        np.testing.assert_allclose(found.returns, case["returns"], rtol=1e-6)


def of_vgps(weights):
    """Layers of V-GPS's critic, whose Q functions share the last layer."""
    hidden = [
        tuple(weights["network"][f"Dense_{i}"][p] for p in ("kernel", "bias")) for i in range(2)
    ]
    last = tuple(
        weights["Dense_0"][p].expand(2, *weights["Dense_0"][p].shape) for p in ("kernel", "bias")
    )
    return [*hidden, last]


@pytest.mark.parametrize("case", ["calql", "cql", "no_importance"])
def test_cql_and_calql_equal_vgps_code(golden, case):
    data, drawn = golden["vgps"], golden["vgps"]["cases"][case]["values"]["drawn"]
    batch, weights = tensors(data["batch"]), tensors(data["weights"])
    values = {k: v for k, v in data["cases"][case]["values"].items() if k != "drawn"}
    config = replace(
        ALGORITHMS["vgps"](), calibrated=case != "cql", importance_sampling=case != "no_importance"
    )
    q = networks(of_vgps(weights["critic"]), OBS, "silu")
    target_q = networks(of_vgps(tensors(data["target_weights"])), OBS, "silu")
    backup, following, current = (
        Sampled(torch.tensor(d["actions"]), torch.tensor(d["log_pi"]))
        for d in (*drawn["next"][:2], drawn["current"][0])
    )
    states = batch["observations"]
    next_q = max_backup(target_q(batch["next_observations"], backup.actions))
    target = td_target(batch["rewards"], DISCOUNT * batch["masks"], next_q)
    data_q = q(states, batch["actions"][:, None])[..., 0]
    uniform = torch.tensor(drawn["candidates"])[:, :4]
    found = sampled_gap(
        config,
        lambda a: q(states, a),
        data_q,
        uniform,
        ActorDraws(current, following),
        batch["mc_returns"],
    )
    # V-GPS averages over its two Q functions.
    loss = (td_loss(data_q, target) + conservative_loss(config, found.gap, torch.ones(()))) / 2
    loss.backward()

    close(target.mean(), values["target_q"])
    close(td_loss(data_q, target) / 2, values["td_err"])
    close(found.gap.mean(), values["cql_loss"])
    close(found.bound_rate, values["bound_rate"])
    close(loss, values["critic_loss"])
    *hidden, (kernel, bias) = gradients(q)
    *expected, (last_kernel, last_bias) = of_vgps(tensors(data["cases"][case]["gradients"]))
    for (k, b), (k_e, b_e) in zip(hidden, expected, strict=True):
        close(k, k_e)
        close(b, b_e)
    close(kernel.sum(0), last_kernel[0])
    close(bias.sum(0), last_bias[0])


def of_ptr(weights):
    return [
        tuple(torch.stack([weights[f"q{j}_{i}"][p] for j in (1, 2)]) for p in ("kernel", "bias"))
        for i in range(3)
    ]


def test_ptr_equals_its_code(golden):
    data = tensors(golden["ptr"])
    config, batch = replace(ALGORITHMS["ptr"]()), data["batch"]
    q, target_q = (networks(of_ptr(data[k]), OBS) for k in ("weights", "target_weights"))
    sampled = {
        k: Sampled(v["actions"].view(5, 4, ACT), v["log_pi"].view(5, 4))
        for k, v in data["policy"].items()
    }
    states = batch["observations"]
    next_q = max_backup(target_q(batch["next_observations"], sampled["next"].actions))
    target = td_target(batch["rewards"], 0.96 * batch["masks"], next_q)
    data_q = q(states, batch["actions"][:, None])[..., 0]
    draws = ActorDraws(sampled["current"], sampled["next"])
    found = sampled_gap(
        config,
        lambda a: q(states, a),
        data_q,
        data["uniform"].view(5, 4, ACT),
        draws,
        batch["mc_returns"],
    )
    loss = (td_loss(data_q, target) + conservative_loss(config, found.gap, torch.ones(()))) / 2
    loss.backward()
    values = data["cases"]["ptr"]["values"]
    close(td_loss(data_q, target) / 2, values["bellman_loss"])
    close(found.gap.mean(), values["cql_loss_mean"])
    close((found.gap + data_q).mean(), values["lse_q"])
    close(loss, values["critic_loss"])
    same_gradients(q, of_ptr(data["cases"]["ptr"]["gradients"]))


@pytest.mark.parametrize("reference", ["vgps", "bridge"])
def test_iql_losses_equal_their_code(golden, reference):
    data = tensors(golden[reference]["iql"])
    for expectile, expected in zip((0.5, 0.7, 0.9), data["value_loss"], strict=True):
        close(expectile_loss(data["q"], data["v"], expectile), expected)
    close(td_loss(data["q"][None], data["target"]), data["critic_loss"])
    weights = advantage_weights(data["q"] - data["v"])
    close(weighted_cloning_loss(weights, data["log_prob"]), data["actor_loss"])


def of_bridge(weights):
    layers = [weights["network"]["Dense_0"], weights["network"]["Dense_1"], weights["Dense_0"]]
    return [(layer["kernel"][None], layer["bias"][None]) for layer in layers]


def test_an_update_of_goal_conditioned_iql_equals_bridge_datas_code(golden):
    data = tensors(golden["bridge"])
    batch, losses, grads = data["batch"], data["losses"], data["gradients"]
    q, v = (
        networks(of_bridge(data["weights"][f"modules_{k}"]), 6, "silu") for k in ("critic", "value")
    )
    target_v = networks(of_bridge(data["target_weights"]["modules_value"]), 6, "silu")
    states, next_states = (
        torch.cat([batch[k], batch["goals"]], 1) for k in ("observations", "next_observations")
    )
    none = torch.zeros(5, 1, 0)
    target = td_target(
        batch["rewards"], DISCOUNT * batch["masks"], target_v(next_states, none)[0, :, 0]
    )
    data_q, values = q(states, batch["actions"][:, None])[..., 0], v(states, none)[0, :, 0]
    critic_loss = td_loss(data_q, target.detach())
    value_loss = expectile_loss(data_q[0].detach(), values, 0.7)
    (critic_loss + value_loss).backward()
    close(critic_loss, losses["critic/td_loss"])
    close(value_loss, losses["value/value_loss"])
    close((target - values).mean(), losses["actor/adv_mean"])
    same_gradients(q, of_bridge(grads["modules_critic"]))
    same_gradients(v, of_bridge(grads["modules_value"]))
