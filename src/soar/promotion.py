"""Models that runs of improvement have trained and promoted, by the names of `soar.registry`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from soar.checkpoint import MANIFEST
from soar.errors import ConfigError
from soar.plugins import is_component_file
from soar.registry import ModelSpec, policy_spec, subgoals_spec
from soar.utils.files import Json, read_json
from soar.utils.objects import AnyPath, ObjectPath, is_object_url

P = TypeVar("P", Path, ObjectPath, AnyPath)

CRITIC = "critic"
"""Subfolder of a trained policy with the critic that steers it."""
POLICY_FILE = "policy.yaml"
"""Component file of a policy that a run trained by the policy's own code."""


def promoted_models(source: str) -> tuple[str, str]:
    """Return the names of the policy and subgoal generator that a run last promoted.

    A `source` that isn't a run's folder, or its URL in object storage, is returned as both; in "steered:RUN,CRITIC" and
    "chosen:RUN,CRITIC" the run is replaced by its models.

    Raises:
        ConfigError: the run's record is damaged, or names Python code, which someone else's record must not start.
    """
    kind, _, rest = source.partition(":")
    if kind in ("steered", "chosen") and "," in rest:
        base, _, critic = rest.rpartition(",")
        policy, subgoals = promoted_models(base)
        return f"{kind}:{policy},{critic}", f"{kind}:{subgoals},{critic}"
    folder: AnyPath = ObjectPath(source.rstrip("/")) if is_object_url(source) else Path(source)
    if not (folder / "run.json").is_file():
        return source, source
    record = _read_record(folder / "run.json")
    try:
        rounds = [int(r["index"]) for r in record["rounds"] if r["promoted"]]
        models = latest_models(folder, rounds, record["models"])
    except (LookupError, TypeError, ValueError) as error:
        raise ConfigError(f"{folder / 'run.json'} is damaged: {error!r:.100}") from error
    if code := _code_in(models[0], policy_spec) or _code_in(models[1], subgoals_spec):
        raise ConfigError(
            f"{folder / 'run.json'} names code, '{code:.60}', which isn't run from a record; "
            "name the model itself: a checkpoint's folder, or python:module:function if you trust it"
        )
    return models


def _read_record(path: AnyPath) -> Json:
    if isinstance(path, Path):
        return read_json(path)
    try:
        return json.loads(path.read_bytes())
    except (ValueError, FileNotFoundError) as error:
        raise ConfigError(f"{path} is damaged: {error}") from error


def _code_in(name: str, parse: Callable[[str], ModelSpec]) -> str:
    """Return the part of a model's name that runs code of others; "" if there is none. Raises ConfigError."""
    if is_component_file(name):
        return name
    spec = parse(name)
    if spec.kind == "python":
        return name
    return _code_in(spec.base, parse) if spec.base else ""


def latest_models(
    folder: AnyPath, rounds: Sequence[int], first: Mapping[str, Json]
) -> tuple[str, str]:
    """Return the names of the newest policy and subgoal generator of some rounds of a run.

    Args:
        folder: the run's folder, or its URL.
        rounds: indices of the rounds, oldest first.
        first: initial names, by role "policy" and "subgoals".
    """
    policy, subgoals = str(first["policy"]), str(first["subgoals"])
    ahead = subgoals_spec(subgoals).steps_ahead
    for index in rounds:
        trained = folder / "train" / f"round-{index}"
        tuned = subgoals_folder(folder) / f"round-{index}"
        policy = trained_policy(trained) or policy
        subgoals = f"{tuned}@{ahead}" if (tuned / MANIFEST).is_file() else subgoals
    return policy, subgoals


def trained_policy(folder: AnyPath) -> str:
    """Return the name of the policy that a round has trained into a folder; "" if there is none.

    It is a component file, a checkpoint, or a checkpoint steered by the critic in its subfolder.
    """
    if (folder / POLICY_FILE).is_file():
        return str(folder / POLICY_FILE)
    if not (folder / MANIFEST).is_file():
        return ""
    critic = folder / CRITIC
    return f"steered:{folder},{critic}" if (critic / MANIFEST).is_file() else str(folder)


def base_policy(name: str) -> str:
    """Return the name of the policy that critics steer; any other name as it is."""
    spec = policy_spec(name)
    return base_policy(spec.base) if spec.kind == "steered" else name


def subgoals_folder(run: P) -> P:
    """Return the folder of a run's fine-tuned subgoal generators, which version 0.1 called "imagination"."""
    old = run / "imagination"
    return old if old.exists() else run / "subgoals"
