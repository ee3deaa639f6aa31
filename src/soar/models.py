"""Which model plays which role, by name: the packaged compact ones, a folder, a hub id, an endpoint.

A profile is a choice of names, never an `if` in the code that uses the models.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, cast
from urllib.parse import urlsplit

from soar.errors import ConfigError
from soar.interfaces import Policy, SubgoalGenerator, VisionLanguageModel
from soar.types import STEPS_AHEAD, STEPS_PER_SUBGOAL

if TYPE_CHECKING:
    from soar.subgoals.compact import CompactSubgoals

COMPACT = "compact"
"""The profile that ships with the package and runs on two CPU cores."""
WEIGHTS = Path(__file__).parent / "weights"
"""Where the packaged checkpoints lie, one folder for each role."""

Role: TypeAlias = Literal["vlm", "subgoals", "gcbc", "lcbc"]
ENDPOINTS = ("chat", "systemone", "decisions")
OWN = "python"
"""In every role, "python:package.module:function" is a model of your own: what the function returns."""


def packaged(role: Role) -> Path:
    """The folder of a packaged checkpoint. Raises ConfigError when this build carries none."""
    folder = WEIGHTS / role
    if not (folder / "checkpoint.json").exists():
        raise ConfigError(
            f"this build has no packaged weights for {role}; make them with `soar pretrain {role}`"
        )
    return folder


def load_vlm(source: str = COMPACT) -> VisionLanguageModel:
    """A vision-language model.

    Args:
        source: "compact"; a folder with a compact checkpoint; "local:FOLDER_OR_HUB_ID" for transformers;
            "chat:MODEL@URL", "systemone:MODEL@URL" or "decisions:MODEL@URL" for an endpoint, with
            "#VARIABLE" at the end where the environment variable VARIABLE holds the key.

    Raises:
        ConfigError, CheckpointError: nothing of that name can be used.
    """
    kind, _, rest = source.partition(":")
    if kind == OWN:
        return cast(VisionLanguageModel, _own(rest))
    if kind in ENDPOINTS and rest:
        return _endpoint(kind, rest)
    if kind == "local" and rest:
        from soar.vlm.local import LocalVLM

        return LocalVLM(rest)
    from soar.vlm.compact import CompactVLM

    return CompactVLM.load(packaged("vlm") if source == COMPACT else source)


def load_subgoals(source: str = COMPACT) -> SubgoalGenerator:
    """A subgoal generator: "compact", a folder with a compact checkpoint, or "susie:FOLDER_OR_HUB_ID".

    "@STEPS" behind the first two says how many control steps ahead they shall imagine. The packaged eyes
    point these at what an instruction names.
    """
    kind, _, rest = source.partition(":")
    if kind == OWN:
        return cast(SubgoalGenerator, _own(rest))
    if kind == "susie" and rest:
        from soar.subgoals.susie import Susie

        return Susie(rest)
    return compact_subgoals(source)


def compact_subgoals(source: str = COMPACT) -> CompactSubgoals:
    """The compact imagination, packaged or from a folder, with "@STEPS" or without. See `load_subgoals`."""
    from soar.subgoals.compact import CompactSubgoals
    from soar.vlm.compact import CompactVLM

    name, ahead = with_steps_ahead(source)
    folder = packaged("subgoals") if name == COMPACT else name
    return CompactSubgoals.load(folder, ahead, eyes=CompactVLM.load(packaged("vlm")))


def is_compact(source: str) -> bool:
    """Whether a subgoal generator of this name is a compact one, packaged or a folder's."""
    return source.partition(":")[0] not in ("susie", OWN, "none") and not source.startswith(
        "expert"
    )


def with_steps_ahead(source: str) -> tuple[str, int]:
    """A source, and how many control steps ahead it shall look: "compact@16". Raises ConfigError."""
    name, at, steps = source.rpartition("@")
    if not at or "/" in steps:  # of a folder
        return source, STEPS_AHEAD
    if not (steps.isdigit() and int(steps)):
        raise ConfigError(
            f"'{source}': after '@' comes a number of control steps, such as {name}@16"
        )
    return name, int(steps)


def steps_per_subgoal(source: str | None, told: int | None = None) -> int:
    """Control steps after which the next subgoal is imagined: as `told`, or ten where subgoals lie ten ahead.

    So it is with compact imaginations and with an expert's frames, their measure; else it is the paper's 20.
    """
    if told is not None:
        return told
    kind = (source or "none").partition(":")[0]
    return STEPS_PER_SUBGOAL if kind in ("none", "susie", OWN) else STEPS_AHEAD


def load_policy(source: str = "gcbc") -> Policy:
    """A policy: "gcbc" or "lcbc" as packaged, or a checkpoint's folder."""
    kind, _, rest = source.partition(":")
    if kind == OWN:
        return cast(Policy, _own(rest))
    from soar.policies.load import load_policy as load

    return load(policy_folder(source), device="auto")


def policy_folder(source: str) -> Path:
    """Where a policy's checkpoint lies: a packaged one by its name, or the folder itself."""
    roles: dict[str, Role] = {"gcbc": "gcbc", "lcbc": "lcbc"}
    return packaged(roles[source]) if source in roles else Path(source)


def _own(target: str) -> object:
    """What a function somewhere returns. Raises ConfigError: there is no such function."""
    module, _, name = target.partition(":")
    try:
        return getattr(importlib.import_module(module), name)()
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"'{OWN}:{target}': {error}; valid: {OWN}:package.module:function"
        ) from error


def _endpoint(kind: str, rest: str) -> VisionLanguageModel:
    """The client for "MODEL@URL" or "MODEL@URL#VARIABLE"."""
    from soar.vlm.chat import ChatVLM
    from soar.vlm.decisions import DecisionsVLM
    from soar.vlm.endpoint import EndpointConfig
    from soar.vlm.systemone import SystemOneVLM

    model, at, url = rest.rpartition("@")
    if not at or not urlsplit(url).scheme:
        raise ConfigError(f"'{kind}:{rest}' names no endpoint; valid: {kind}:MODEL@http://HOST/v1")
    url, _, variable = url.partition("#")
    clients: dict[str, Callable[[EndpointConfig], VisionLanguageModel]] = {
        "chat": ChatVLM,
        "systemone": SystemOneVLM,
        "decisions": DecisionsVLM,
    }
    return clients[kind](EndpointConfig(url=url, model=model, key_variable=variable))
