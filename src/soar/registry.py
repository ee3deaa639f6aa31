"""Components by name: one parser of model names such as "compact@16", "susie:FOLDER" or "chat:MODEL@URL".

A name is parsed once into a `ModelSpec`; the three `load_*` functions turn it into a component. Components are
imported where they are loaded, so that a name costs nothing until its model is used.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast
from urllib.parse import urlsplit

from soar.checkpoint import MANIFEST
from soar.errors import ConfigError
from soar.interfaces import Policy, SubgoalGenerator, VisionLanguageModel
from soar.utils.files import Json, read_json

Kind: TypeAlias = Literal[
    "packaged", "folder", "susie", "python", "transformers", "chat", "systemone", "decisions",
    "expert", "none",
]  # fmt: skip
"""Where a model comes from. "python" calls a function of the user's own, "packaged" is a checkpoint in the
package, "expert" the scripted expert's frames, "none" no subgoals at all."""
Packaged: TypeAlias = Literal["vlm", "subgoals", "gcbc", "lcbc"]

COMPACT = "compact"
"""Name of the packaged VLM and of the packaged subgoal generator."""
WEIGHTS = Path(__file__).parent / "weights"
"""Folder of the packaged checkpoints, one subfolder each."""
ENDPOINTS: dict[str, str] = {
    "chat": "soar.vlm.clients.chat:ChatVLM",
    "systemone": "soar.vlm.clients.systemone:SystemOneVLM",
    "decisions": "soar.vlm.clients.decisions:DecisionsVLM",
}
"""Kinds of VLM endpoint and their client classes."""
COMPACT_STEPS_AHEAD = 10
"""Horizon of the compact subgoal generator's subgoals, in control steps; SuSIE's is the paper's 20.

The simulated world's scripted expert needs about 29 steps for a task: 20 of them leap over the grasp, and a
policy that matches the hand leaves the object behind (development scenes: 9 of 40 trials at 20 steps, 19 at 10).
"""
PAPER_STEPS_PER_SUBGOAL = 20
"""Control steps that the policy has for each subgoal in the paper (4.1)."""


@dataclass(frozen=True)
class ModelSpec:
    """A parsed model name."""

    kind: Kind
    source: str = ""
    """Packaged role, folder, hub id, "module:function", or "MODEL@URL", by kind."""
    steps_ahead: int = COMPACT_STEPS_AHEAD
    """Horizon of the subgoals, in control steps; only for the compact generator and the expert."""
    key_variable: str = ""
    """Environment variable that holds an endpoint's key."""

    @property
    def is_compact(self) -> bool:
        """Whether this is a compact checkpoint, packaged or in a folder."""
        return self.kind in ("packaged", "folder")

    @property
    def steps_per_subgoal(self) -> int:
        """Control steps that the policy gets for each subgoal of this generator."""
        near = self.is_compact or self.kind == "expert"
        return COMPACT_STEPS_AHEAD if near else PAPER_STEPS_PER_SUBGOAL

    @property
    def folder(self) -> Path:
        """Folder of the checkpoint. Raises ConfigError for a model that has none."""
        if self.kind == "packaged":
            return packaged(cast(Packaged, self.source))
        if self.kind != "folder":
            raise ConfigError(f"'{self.kind}:{self.source}' is not a checkpoint's folder")
        return Path(self.source)


def vlm_spec(name: str = COMPACT) -> ModelSpec:
    """Parse a VLM's name.

    Args:
        name: "compact"; a compact checkpoint's folder; "local:FOLDER_OR_HUB_ID" for transformers;
            "chat:MODEL@URL", "systemone:MODEL@URL" or "decisions:MODEL@URL" for an endpoint, with "#VARIABLE"
            at the end where that environment variable holds the key; "python:module:function".

    Raises:
        ConfigError: an endpoint without a model or a URL.
    """
    kind, _, rest = name.partition(":")
    if kind == "python":
        return ModelSpec("python", rest)
    if kind in ENDPOINTS and rest:
        model, at, url = rest.rpartition("@")
        if not at or not urlsplit(url).scheme:
            raise ConfigError(f"'{name}' names no endpoint; valid: {kind}:MODEL@http://HOST/v1")
        url, _, variable = url.partition("#")
        return ModelSpec(cast(Kind, kind), f"{model}@{url}", key_variable=variable)
    if kind == "local" and rest:
        return ModelSpec("transformers", rest)
    return ModelSpec("packaged", "vlm") if name == COMPACT else ModelSpec("folder", name)


def subgoals_spec(name: str | None = COMPACT) -> ModelSpec:
    """Parse a subgoal generator's name.

    Args:
        name: "compact", a compact checkpoint's folder, or "expert" (the scripted expert's frames), each with
            "@STEPS" for another horizon; "susie:FOLDER_OR_HUB_ID"; "python:module:function"; "none".

    Raises:
        ConfigError: what follows "@" is not a positive number of control steps.
    """
    kind, _, rest = (name or "none").partition(":")
    if kind == "none":
        return ModelSpec("none")
    if kind == "python":
        return ModelSpec("python", rest)
    if kind == "susie" and rest:
        return ModelSpec("susie", rest)
    source, at, steps = (name or "").rpartition("@")
    if not at or "/" in steps:  # the "@" belongs to a folder's name
        source, ahead = name or "", COMPACT_STEPS_AHEAD
    elif steps.isdigit() and int(steps):
        ahead = int(steps)
    else:
        raise ConfigError(
            f"'{name}': after '@' comes a number of control steps, such as {source}@16"
        )
    if source == "expert":
        return ModelSpec("expert", steps_ahead=ahead)
    if source == COMPACT:
        return ModelSpec("packaged", "subgoals", ahead)
    return ModelSpec("folder", source, ahead)


def policy_spec(name: str = "gcbc") -> ModelSpec:
    """Parse a policy's name: "gcbc" or "lcbc", a checkpoint's folder, or "python:module:function"."""
    kind, _, rest = name.partition(":")
    if kind == "python":
        return ModelSpec("python", rest)
    return ModelSpec("packaged", name) if name in ("gcbc", "lcbc") else ModelSpec("folder", name)


def load_vlm(name: str = COMPACT) -> VisionLanguageModel:
    """The vision-language model of a name (`vlm_spec`). Raises ConfigError, CheckpointError."""
    spec = vlm_spec(name)
    if spec.kind == "python":
        return cast(VisionLanguageModel, _call_user_function(spec.source))
    if spec.kind in ENDPOINTS:
        model, _, url = spec.source.rpartition("@")
        config = component("soar.vlm.clients.endpoint:EndpointConfig")
        client = component(ENDPOINTS[spec.kind])
        return cast(
            VisionLanguageModel,
            client(config(url=url, model=model, key_variable=spec.key_variable)),
        )
    if spec.kind == "transformers":
        made = component("soar.vlm.clients.transformers_model:TransformersVLM")(spec.source)
        return cast(VisionLanguageModel, made)
    return cast(
        VisionLanguageModel, component("soar.vlm.compact.model:CompactVLM").load(spec.folder)
    )


def load_subgoals(name: str = COMPACT) -> SubgoalGenerator:
    """The subgoal generator of a name (`subgoals_spec`). Raises ConfigError, CheckpointError.

    The packaged VLM tells the compact generator where the objects are that an instruction names.
    """
    spec = subgoals_spec(name)
    if spec.kind == "python":
        return cast(SubgoalGenerator, _call_user_function(spec.source))
    if spec.kind == "susie":
        return cast(SubgoalGenerator, component("soar.subgoals.susie:Susie")(spec.source))
    load = component("soar.subgoals.compact.generator:CompactSubgoalGenerator").load
    return cast(SubgoalGenerator, load(spec.folder, spec.steps_ahead, locator=load_vlm()))


def load_policy(name: str = "gcbc") -> Policy:
    """The policy of a name (`policy_spec`). Raises ConfigError, CheckpointError."""
    spec = policy_spec(name)
    if spec.kind == "python":
        return cast(Policy, _call_user_function(spec.source))
    return cast(Policy, component("soar.policies.loading:load_policy")(spec.folder, device="auto"))


def packaged(role: Packaged) -> Path:
    """Folder of a packaged checkpoint. Raises ConfigError when this build carries none."""
    folder = WEIGHTS / role
    if not (folder / MANIFEST).exists():
        raise ConfigError(
            f"this build has no packaged weights for {role}; make them with `soar pretrain {role}`"
        )
    return folder


def promoted_models(source: str) -> tuple[str, str]:
    """Names of the policy and subgoal generator that a run's folder last promoted.

    Any other source stands for itself, in both roles.
    """
    folder = Path(source)
    if not (folder / "run.json").exists():
        return source, source
    record = read_json(folder / "run.json")
    rounds = [r["index"] for r in record["rounds"] if r["promoted"]]
    return latest_models(folder, rounds, record["models"])


def latest_models(
    folder: Path, rounds: Sequence[int], first: Mapping[str, Json]
) -> tuple[str, str]:
    """Names of the newest policy and subgoal generator among some rounds of a run.

    Args:
        folder: the run's folder.
        rounds: indices of the rounds that count, oldest first.
        first: names that the run began with, by role "policy" and "subgoals".
    """
    policy, subgoals = str(first["policy"]), str(first["subgoals"])
    ahead = subgoals_spec(subgoals).steps_ahead
    for index in rounds:
        trained = folder / "train" / f"round-{index}"
        tuned = subgoals_folder(folder) / f"round-{index}"
        policy = str(trained) if (trained / MANIFEST).exists() else policy
        subgoals = f"{tuned}@{ahead}" if (tuned / MANIFEST).exists() else subgoals
    return policy, subgoals


def subgoals_folder(run: Path) -> Path:
    """Folder of a run's fine-tuned subgoal generators, which version 0.1 called "imagination"."""
    old = run / "imagination"
    return old if old.exists() else run / "subgoals"


def component(target: str) -> Any:
    """The object that "package.module:name" refers to. Raises ConfigError: there is no such object."""
    module, _, name = target.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"'{target}': {error}; valid: package.module:function") from error


def _call_user_function(target: str) -> object:
    return component(target)()
