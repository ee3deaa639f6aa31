"""The packaged policy behind openpi's wire has the successes that it has in this process, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soar.evaluation.protocol import EvalConfig, sim_protocol
from soar.evaluation.results import Trial
from soar.evaluation.runner import evaluate
from soar.registry import load_policy
from soar.sim.scenes.catalog import load_scene
from soar.types import Actions

from .conftest import Running, policy_routes

TASK = "put the green block in the wooden bowl"
TRIALS = 4


class Recorded:
    """A policy whose actions are kept."""

    def __init__(self, name: str, kept: list[Actions]) -> None:
        self._policy, self._kept = load_policy(name), kept
        self.name = self._policy.name

    def act(
        self, observations: Sequence[Any], goals: Any, rng: Any, *, noise: Any = 0.0
    ) -> Actions:
        self._kept.append(self._policy.act(observations, goals, rng, noise=noise))
        return self._kept[-1]

    def reset(self) -> None:
        self._policy.reset()


def run(name: str, folder: Path) -> tuple[tuple[Trial, ...], Any]:
    config = EvalConfig(name, trials=TRIALS, tasks=(TASK,))
    spec, setting = sim_protocol(config, [load_scene("1")])
    kept: list[Actions] = []
    spec = replace(spec, policy=partial(Recorded, name, kept))
    evaluation = evaluate(spec, setting, folder, workers=1, video_size=0)
    return evaluation.trials, np.stack(kept)


@pytest.mark.slow
def test_the_served_policy_has_the_same_successes_bit_for_bit(
    serve: Callable[..., Running], tmp_path: Path
) -> None:
    server = serve(policy_routes(load_policy("gcbc")))
    remote = tmp_path / "remote.yaml"  # a busy machine may take its time
    remote.write_text(f"policy: openpi:{server.ws}\noptions: {{timeout_s: 300}}\n")
    inside, own = run("gcbc", tmp_path / "inside")
    served, theirs = run(str(remote), tmp_path / "served")
    assert np.array_equal(own, theirs)
    assert own.shape == (100, TRIALS, 7)
    assert served == inside
    assert {t.outcome for t in inside} <= {"success", "failure"}
