"""Training in several processes: torchrun's on this machine, or Ray Train's on the machines of a cluster.

What runs in them is a command of this package, the same as under `accelerate launch`: `soar.training.fit` finds the
others by the launcher's environment variables, and folders on the store's mount hold its state.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from soar.errors import ConfigError
from soar.fleet.cluster import connect
from soar.fleet.config import FleetConfig, Training
from soar.utils.terminal import log_to_terminal

RunCommand: TypeAlias = Callable[[list[str]], None]
"""Runs a command of `soar`, given as its words."""


def launch(config: FleetConfig, words: Sequence[str], run: RunCommand) -> None:
    """Run a command in the fleet's training processes, by its engine, until it has ended.

    Args:
        config: the fleet.
        words: the command's words after "soar".
        run: runs them; a function of a module, which Ray's processes import.

    Raises:
        ConfigError: there is no cluster, or the command fails.
    """
    if config.engine == "ray":
        _launch_on_ray(config, list(words), run)
        return
    here = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    command = [sys.executable, *here, str(config.training.count), "-m", "soar", *words]
    if code := subprocess.run(command, check=False).returncode:
        raise ConfigError(f"soar {words[0]} failed in {config.training.count} processes ({code})")


def _launch_on_ray(config: FleetConfig, words: list[str], run: RunCommand) -> None:
    connect(config.address, "soar-training", show_logs=True)
    try:
        from ray.train import FailureConfig, RunConfig
        from ray.train.torch import TorchTrainer
        from ray.train.v2.api.exceptions import TrainingFailedError
    except ImportError as error:
        raise ConfigError(
            f"training on Ray needs pip install 'soar-robot[ray]' ({error})"
        ) from None
    trainer = TorchTrainer(
        _work,
        train_loop_config={"run": run, "words": words},
        scaling_config=_scaling(config.training),
        run_config=RunConfig(
            storage_path=str(config.store / "fleet" / "training"),
            failure_config=FailureConfig(max_failures=config.training.retries),
        ),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        why = str(error).strip().splitlines()[-1][:300]
        raise ConfigError(f"soar {words[0]} failed on Ray: {why}") from error


def _scaling(training: Training) -> Any:
    from ray.train import ScalingConfig

    wanted = training.ray_options()
    gpus = wanted["num_gpus"]
    resources = {"CPU": wanted["num_cpus"] or float(not gpus), **wanted["resources"]}
    return ScalingConfig(
        num_workers=training.count,
        use_gpu=gpus > 0,
        resources_per_worker=resources | ({"GPU": gpus} if gpus else {}),
    )


def _work(settings: dict[str, Any]) -> None:
    """Run the command, in one of Ray Train's processes."""
    log_to_terminal()
    sys.argv[1:] = settings["words"]
    settings["run"](settings["words"])
