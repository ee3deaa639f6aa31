"""`soar convert vgps` against V-GPS's own agents (make_golden_agents.py)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from soar.cli import main
from soar.critics.critic import Critic, load_critic
from soar.critics.steering import SteeringConfig, choose
from soar.errors import ConfigError
from soar.registry import load_policy
from soar.types import image_only

SENTENCES = ("put the green block in the bowl", "open the drawer")
Golden = Callable[[str], Path]


def convert(golden: Golden, name: str, **settings: object) -> tuple[Path, dict[str, np.ndarray]]:
    folder = golden(name)
    with np.load(folder / "golden.npz") as file:
        found = dict(file)
    vectors = {s: v.tolist() for s, v in zip(SENTENCES, found["goal_language"], strict=True)}
    (folder / "muse.json").write_text(json.dumps(vectors))
    data = json.loads((folder / "settings.json").read_text())
    used = folder / "used.json"
    used.write_text(json.dumps({**data, "image_size": 64, **settings}))
    out = folder / "converted"
    if not out.exists() or settings:
        line = f"convert vgps {folder}/checkpoint_500 --settings {used} --vectors {folder}/muse.json --out {out}"
        main([*line.split()[:-1], str(out) + ("-other" if settings else "")])
    return out, found


def physical(critic: Critic, actions: np.ndarray) -> np.ndarray:
    return critic.config.bounds.to_physical(torch.from_numpy(actions)).numpy()


@pytest.mark.parametrize("name", ["vgps", "vgps_iql"])
def test_values_are_theirs(golden: Golden, name: str) -> None:
    out, found = convert(golden, name)
    critic = load_critic(out, "cpu")
    values = critic.values(
        image_only(found["image"]), SENTENCES, physical(critic, found["candidates"])
    )
    assert values.shape == (2, 2, 5)
    assert np.ptp(found["q"], axis=1).min() > 0.05
    assert np.abs(values.min(0) - found["q"]).max() < 1e-4


def test_the_actor_of_calql_acts_as_theirs(golden: Golden) -> None:
    out, found = convert(golden, "vgps")
    policy = load_policy(str(out))
    actions = policy.act(image_only(found["image"]), SENTENCES, np.random.default_rng(0))
    assert np.ptp(found["mode"], axis=0).max() > 0.1
    expected = physical(load_critic(out, "cpu"), found["mode"])
    assert np.abs(actions - expected)[:, :6].max() < 1e-4
    assert (actions[:, 6] == (expected[:, 6] > 0.5)).all()


def test_a_converted_critic_steers(golden: Golden) -> None:
    out, found = convert(golden, "vgps")
    critic = load_critic(out, "cpu")
    steered = load_policy(f"steered:gcbc,{out}?guard=0&count=4&noise=1")
    steered.instruct(SENTENCES)  # type: ignore[attr-defined]
    seen = [replace(o, state=np.zeros(7, np.float32)) for o in image_only(found["image"])]
    action = steered.act(seen, found["image"], np.random.default_rng(3))
    base = load_policy("gcbc")
    samples = base.sample(seen, found["image"], np.random.default_rng(3), 4)[:, :, 0]  # type: ignore[attr-defined]
    values = critic.values(seen, SENTENCES, samples)
    best = choose(values, SteeringConfig(guard=0), np.random.default_rng(0))
    np.testing.assert_array_equal(action, samples[[0, 1], best])


def test_other_instructions_are_refused(golden: Golden) -> None:
    out, found = convert(golden, "vgps")
    with pytest.raises(ConfigError, match="isn't among the 2 instructions"):
        load_critic(out, "cpu").encode(image_only(found["image"][:1]), ["open a drawer"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"agent": "sac"}, "of agent 'sac'; valid: cql, calql, gc_iql"),
        ({"encoder_kwargs": {"act": "relu", "num_filters": 4}}, "act is relu; convertible: swish"),
        ({"agent_kwargs": {"use_proprio": True}}, "use_proprio is True; convertible: False"),
        ({"text_processor": "clip"}, "sentence encoder 'clip'"),
        ({"encoder": "resnetv1-18-bridge-film"}, "critic"),
    ],
)
def test_what_cannot_be_converted_is_refused_by_name(
    golden: Golden, change: dict, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        convert(golden, "vgps", **change)
    assert message in capsys.readouterr().err
