"""Our scenes in vla-eval's own runner, over its own connection, against a policy that we serve."""

from __future__ import annotations

import asyncio
import os
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from soar.evaluation.envs import SimEvalEnv
from soar.sim.scenes.catalog import load_scene

from .conftest import Running, SharedToy, policy_routes

FOLDER = Path(os.environ.get("SOAR_CLIENTS", Path.home() / ".cache" / "soar" / "envs" / "clients"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (FOLDER / "vla_eval").exists(), reason="needs `make test-clients` once"),
    pytest.mark.filterwarnings("ignore:connect:DeprecationWarning"),
]


@pytest.fixture
def benchmark() -> Iterator[Any]:
    sys.path.append(str(FOLDER))
    from soar.serving.vla_eval_benchmark import SoarScenes

    made = SoarScenes(scenes=["dev1"], seed=3)
    yield made
    made.cleanup()
    sys.path.remove(str(FOLDER))


def test_vla_evals_runner_drives_an_episode_with_a_served_policy(
    benchmark: Any, serve: Callable[..., Running]
) -> None:
    from vla_eval.connection import Connection
    from vla_eval.runners.sync_runner import SyncEpisodeRunner

    toy = SharedToy()
    server = serve(policy_routes(toy))
    task = {**benchmark.get_tasks()[0], "episode_idx": 2}

    async def main() -> Any:
        async with Connection(f"{server.ws}/vla-eval") as connection:
            return await SyncEpisodeRunner().run_episode(benchmark, task, connection, max_steps=3)

    result = asyncio.run(main())
    assert result["steps"] == 3
    assert result["metrics"] == {"success": False, "lost": 0}
    assert toy.batches == [1, 1, 1]


def test_the_documented_configuration_drives_an_episode_with_a_served_policy(
    benchmark: Any, serve: Callable[..., Running]
) -> None:
    from vla_eval.connection import Connection
    from vla_eval.runners.sync_runner import SyncEpisodeRunner

    page = Path(__file__).parents[2] / "docs" / "serve-and-plug-in.md"
    found = re.search(r"```yaml\n(# soar\.yaml:.*?)```", page.read_text(), re.DOTALL)
    assert found
    config = yaml.safe_load(found[1])
    server = serve(policy_routes(SharedToy()))
    url = config["server"]["url"].replace("gpu1:8000", f"127.0.0.1:{server.port}")
    [entry] = config["benchmarks"]
    made = pkgutil.resolve_name(entry["benchmark"])(**entry["params"])
    task = {**made.get_tasks()[0], "episode_idx": entry["episodes_per_task"] - 1}

    async def main() -> Any:
        async with Connection(url) as connection:
            return await SyncEpisodeRunner().run_episode(made, task, connection, max_steps=1)

    assert asyncio.run(main())["steps"] == 1
    made.cleanup()


def test_starts_and_steps_are_those_of_soar_evaluate(benchmark: Any) -> None:
    task = benchmark.get_tasks()[1]
    asyncio.run(benchmark.start_episode({**task, "episode_idx": 4}))
    ours = SimEvalEnv(load_scene("dev1"))
    ours.reset(task["name"], 7)
    actions = np.array(
        [[0.04, -0.5, -0.02, 0, 0, 0.2, 0], [0, 0.02, -0.02, 0, 0, 0, 1]], np.float32
    )
    for action in actions:
        seen = benchmark.make_obs(benchmark.step({"actions": action}).obs, task)
        ours.robot.execute(action)
        theirs = ours.robot.observe()
        assert np.array_equal(seen["images"]["primary"], theirs.image)
        assert np.array_equal(seen["states"], theirs.state)
    assert asyncio.run(benchmark.get_result())["success"] == ours.fulfilled()
    ours.close()


def test_the_ten_scenes_are_the_default_and_specs_match_what_we_serve(benchmark: Any) -> None:
    from vla_eval.specs import DimSpec, check_specs

    from soar.errors import ConfigError
    from soar.serving.follower import Follower
    from soar.serving.policy_service import PolicyService
    from soar.serving.vla_eval_benchmark import SoarScenes
    from soar.serving.vla_eval_routes import hello

    assert len({t["scene"] for t in SoarScenes().get_tasks()}) == 10
    said = hello(PolicyService(Follower(SharedToy(), None, 10), 0.0))
    specs = [
        {k: DimSpec.from_dict(v) for k, v in said[f"{part}_spec"].items()}
        for part in ("action", "observation")
    ]
    found = check_specs(
        specs[0], benchmark.get_action_spec(), specs[1], benchmark.get_observation_spec()
    )
    assert not [w for w in found if "action" in w], found
    with pytest.raises(ConfigError, match="shape"):
        benchmark.step({"actions": np.zeros(6)})
