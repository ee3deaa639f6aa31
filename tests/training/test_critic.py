import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from soar import checkpoint as checkpoints
from soar.critics.learning.labels import CriticSource
from soar.data.frame_cache import Frames
from soar.errors import CheckpointError, ConfigError
from soar.training.critic import CriticTrainConfig, debug, train_critic
from soar.types import Episode, Outcome, Provenance, Verdict


def episode(seed: int, outcome: Outcome) -> Episode:
    rng = np.random.default_rng(seed)
    actions = rng.uniform(-0.05, 0.05, (8, 7)).astype(np.float32)
    return Episode(
        instruction="open the drawer" if seed % 2 else "close the drawer",
        actions=actions,
        commanded=actions,
        images=rng.integers(0, 256, (9, 32, 32, 3), np.uint8),
        states=rng.normal(size=(9, 7)).astype(np.float32),
        times_s=np.arange(9.0),
        subgoals=(),
        verdict=Verdict(outcome),
        provenance=Provenance("one", "dev", "1", seed, 1e9 + seed),
    )


@pytest.fixture(scope="module")
def source() -> CriticSource:
    outcomes: list[Outcome] = ["success", "success", "failure", "failure"]
    frames = Frames.from_episodes([episode(i, o) for i, o in enumerate(outcomes)], 32)
    return CriticSource("own", frames)


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def with_steps(config: CriticTrainConfig, steps: int) -> CriticTrainConfig:
    return replace(config, fit=replace(config.fit, steps=steps))


class Stopped(Exception):
    pass


@pytest.mark.parametrize("algorithm", ["iql", "calql", "ptr"])
def test_a_stopped_and_resumed_run_equals_an_uninterrupted_one(algorithm, source, tmp_path):
    config, calls = debug(algorithm), 0

    def failing():
        nonlocal calls
        calls += 1
        if calls > 6:
            raise Stopped
        return {}

    train_critic(config, [source], tmp_path / "whole")
    with pytest.raises(Stopped):
        train_critic(config, [replace(source, verdicts=failing)], tmp_path / "parts")
    assert checkpoints.exists(tmp_path / "parts" / "state")
    _, result = train_critic(config, [source], tmp_path / "parts")
    assert result.step == 6
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
    whole, parts = (checkpoints.load(tmp_path / n) for n in ("whole", "parts"))
    assert whole.weights.keys() == parts.weights.keys()
    assert all(bool((whole.weights[k] == v).all()) for k, v in parts.weights.items())


def test_the_checkpoint_tells_algorithm_data_and_settings(source, tmp_path):
    train_critic(debug(), [source], tmp_path)
    saved = checkpoints.load(tmp_path, "critic")
    assert saved.config["algorithm"] == "iql"
    assert saved.provenance["data"]["own"]["episodes"] == 4
    assert saved.provenance["step"] == 6
    assert saved.provenance["fit"]["batch_size"] == 8


def test_a_second_phase_starts_from_the_weights_of_the_first(source, tmp_path):
    config = debug("ptr")
    first, _ = train_critic(config, [source], tmp_path / "first")
    start = checkpoints.load(tmp_path / "first")
    still = replace(config, fit=replace(config.fit, steps=1, learning_rate=1e-30))
    second, _ = train_critic(still, [source], None, start=start)
    assert second.config.tasks == ("close the drawer", "open the drawer")
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert bool((a == b).all())
    with pytest.raises(CheckpointError, match="has condition task, the configuration goal"):
        train_critic(debug("iql"), [source], None, start=start)


def test_the_actor_learns_at_its_own_rate(source):
    config = debug("calql")
    one_step = replace(config, fit=replace(config.fit, steps=1, warmup_steps=0, learning_rate=1e-3))
    frozen = replace(one_step, critic=replace(config.critic, actor_rate=1e-12))
    trained, _ = train_critic(one_step, [source], None)
    still, _ = train_critic(frozen, [source], None)
    none, _ = train_critic(
        replace(one_step, fit=replace(one_step.fit, learning_rate=1e-30)), [source], None
    )
    moved, kept = (
        max(
            float((a - b).detach().abs().max())
            for (name, a), b in zip(x.named_parameters(), none.parameters(), strict=True)
            if name.startswith("actor.")
        )
        for x in (trained, still)
    )
    assert kept < 1e-9
    assert moved == pytest.approx(1e-3 / 3, rel=0.05)  # Adam's first step is the learning rate


def test_an_unknown_algorithm_is_named():
    with pytest.raises(ConfigError, match="no critic 'sac'; valid: iql, calql"):
        debug("sac")
