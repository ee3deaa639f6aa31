"""Components by name: one parser of model names such as "compact@16", "susie:FOLDER?size=512" or "chat:MODEL@URL".

A name is parsed once into a `ModelSpec`; the `load_*` functions turn it into a component, whose module is imported only
then. Options follow a "?", as in addresses: "chat:MODEL@URL?least_mass=0.3&decoder=chat:MODEL@URL".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast
from urllib.parse import urlsplit

from soar.checkpoint import MANIFEST
from soar.errors import ConfigError, SoarError
from soar.interfaces import AnySuccessDetector, Policy, SubgoalGenerator, VisionLanguageModel
from soar.plugins import (
    Role,
    call,
    check_options,
    component,
    folder,
    is_component_file,
    is_plugin,
    make_own,
    make_plugin,
    read_component_file,
)
from soar.types import SUCCESS_THRESHOLD
from soar.utils.files import local_path, read_json
from soar.utils.hub import HUB
from soar.utils.terminal import check_no_password

Kind: TypeAlias = Literal[
    "packaged", "folder", "susie", "python", "plugin", "transformers", "chat", "systemone", "decisions",
    "openpi", "openvla", "steered", "chosen", "expert", "none",
]  # fmt: skip
"""Origin of a model. "python" calls a user's function, "plugin" one of an installed package, "packaged" is a
checkpoint in the package, "expert" is what a scripted expert does next, "none" is no subgoals. A critic chooses one
of a "steered" policy's samples, or of a "chosen" generator's images."""
Packaged: TypeAlias = Literal["vlm", "subgoals", "gcbc", "lcbc"]

PIPELINE = "model_index.json"
"""File of a folder in diffusers format, in place of a checkpoint's manifest."""
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
SERVED: dict[str, str] = {
    "openpi": "soar.policies.remote.openpi:connect_openpi",
    "openvla": "soar.policies.remote.openvla:connect_openvla",
}
"""Kinds of served policy and the functions that connect to one."""
JUDGES = ("roboreward", "topreward", "robometer")
"""Served models that judge a whole episode: two by chat, one by its own server."""
OPTIONS: Mapping[Kind, Mapping[str, type]] = {
    "chat": {"decoder": str, "least_mass": float},
    "transformers": {"least_mass": float, "device": str},
    "susie": {"size": int, "scheduler": str, "steps": int, "image_guidance": float, "text_guidance": float},
    "steered": {
        "count": int, "noise": float, "temperature": float, "risk": str, "risk_weight": float,
        "guard": float, "select": str,
    },
    "chosen": {"count": int, "temperature": float, "select": str},
}  # fmt: skip
"""Options of a name by kind of model, and their types."""
COMPACT_STEPS_AHEAD = 10
"""Horizon of the compact subgoal generator's subgoals, in control steps; SuSIE's is the paper's 20. The simulator's
scripted expert needs about 29 steps for a task, and a subgoal 20 ahead skips the grasp (docs/log.md)."""
PAPER_STEPS_PER_SUBGOAL = 20
"""Control steps per subgoal in the paper (4.1)."""


@dataclass(frozen=True)
class ModelSpec:
    """A parsed model name."""

    kind: Kind
    source: str = ""
    """Packaged role, folder, hub id, "module:function", "MODEL@URL", or the critic's folder, by kind."""
    steps_ahead: int = COMPACT_STEPS_AHEAD
    """Horizon of the subgoals in control steps, for the compact generator and the expert."""
    key_variable: str = ""
    """Environment variable with an endpoint's API key."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options by name, in their types."""
    base: str = ""
    """Policy or generator among whose samples a critic chooses, or the generator that renders an expert's keypoints."""

    @property
    def is_compact(self) -> bool:
        """Whether the model is a checkpoint, packaged or in a folder."""
        return self.kind in ("packaged", "folder")

    @property
    def steps_per_subgoal(self) -> int:
        """Control steps per subgoal of this generator."""
        if self.kind == "chosen":
            return subgoals_spec(self.base).steps_per_subgoal
        near = self.is_compact or self.kind == "expert"
        return COMPACT_STEPS_AHEAD if near else PAPER_STEPS_PER_SUBGOAL

    @property
    def folder(self) -> Path:
        """Folder of the checkpoint. Raises ConfigError: the model isn't a checkpoint."""
        if self.kind == "packaged":
            return packaged(cast(Packaged, self.source))
        if self.kind != "folder":
            raise ConfigError(f"'{self.kind}:{self.source}' is not a checkpoint's folder")
        return local_path(self.source)


def vlm_spec(name: str = COMPACT) -> ModelSpec:
    """Parse a VLM's name.

    Args:
        name: "compact"; a compact checkpoint's folder; "local:FOLDER_OR_HUB_ID" for transformers;
            "chat:MODEL@URL", "systemone:MODEL@URL" or "decisions:MODEL@URL" for an endpoint, with "#VARIABLE"
            at the end if that environment variable holds its key; "python:module:function". Options: `OPTIONS`.

    Raises:
        ConfigError: an endpoint without a model or a URL, or an unknown option.
    """
    if code := _code_spec("vlm", name):
        return code
    kind, _, rest = name.partition(":")
    if kind in ENDPOINTS and rest:
        endpoint, options = _with_options(cast(Kind, kind), rest)
        model, at, url = endpoint.rpartition("@")
        if not at or not _is_url(url):
            raise ConfigError(f"'{name}' names no endpoint; valid: {kind}:MODEL@http://HOST/v1")
        url, _, variable = url.partition("#")
        return ModelSpec(cast(Kind, kind), f"{model}@{url}", key_variable=variable, options=options)
    if kind == "local" and rest:
        source, options = _with_options("transformers", rest)
        return ModelSpec("transformers", source, options=options)
    if "?decoder=" in name:
        raise ConfigError(f"'{name}': only a VLM of kind chat has a decoder")
    ours = name == COMPACT
    return ModelSpec("packaged", "vlm") if ours else ModelSpec("folder", folder("vlm", name))


def _with_options(kind: Kind, text: str) -> tuple[str, dict[str, Any]]:
    """Split "SOURCE?KEY=VALUE&KEY=VALUE", with values in their types.

    Raises:
        ConfigError: another option, or no number; the message shows no other text, which may be a secret.
    """
    source, mark, rest = text.partition("?")
    valid = OPTIONS.get(kind, {})
    options: dict[str, Any] = {}
    for part in rest.split("&") if mark else ():
        key, equals, value = part.partition("=")
        if key not in valid or not equals:
            names = ", ".join(f"{k}=..." for k in valid) or "nothing"
            raise ConfigError(f"unknown option of kind {kind}; valid after '?': {names}")
        try:
            options[key] = valid[key](value)
        except ValueError:
            number = "a whole number" if valid[key] is int else "a number"
            raise ConfigError(f"option {key} must be {number}, not '{value:.20}'") from None
    return source, options


def _is_url(text: str) -> bool:
    try:
        return bool(urlsplit(text).scheme)
    except ValueError:  # such as "http://[::1/"
        return False


def subgoals_spec(name: str | None = COMPACT) -> ModelSpec:
    """Parse a subgoal generator's name.

    Args:
        name: "compact", a compact checkpoint's folder (also hub:org/name@revision), "expert" (the scripted expert's
            frames), or "expert:GENERATOR" (its keypoints, rendered by that compact generator), each with "@STEPS" for
            another horizon; "susie:FOLDER_OR_HUB_ID" or the folder, with options; "python:module:function"; "none";
            "chosen:GENERATOR,CRITIC" with options for the one of several images that a critic values most.

    Raises:
        ConfigError: no number of control steps follows "@", or an unknown option.
    """
    kind, _, rest = (name or "none").partition(":")
    if kind == "none":
        return ModelSpec("none")
    if kind == "chosen":
        return _choosing_spec("chosen", "GENERATOR", rest)
    if code := _code_spec("subgoals", name or ""):
        return code
    if kind == "susie" and rest:
        source, options = _with_options("susie", rest)
        return ModelSpec("susie", source, options=options)
    source, at, steps = (name or "").rpartition("@")
    if at and steps.isdecimal() and int(steps):
        ahead = int(steps)
    elif not at or "/" in steps or HUB in source:  # part of a folder's name, or a revision
        source, ahead = name or "", COMPACT_STEPS_AHEAD
    else:
        raise ConfigError(
            f"'{name}': after '@' comes a number of control steps, such as {source}@16"
        )
    if source.partition(":")[0] == "expert":
        return ModelSpec("expert", steps_ahead=ahead, base=source.partition(":")[2])
    if source == COMPACT:
        return ModelSpec("packaged", "subgoals", ahead)
    if Path(name or "", PIPELINE).is_file():
        return ModelSpec("susie", name or "")
    return ModelSpec("folder", folder("subgoals", source), ahead)


def policy_spec(name: str = "gcbc") -> ModelSpec:
    """Parse a policy's name.

    Args:
        name: "gcbc" or "lcbc"; a checkpoint's folder; "openpi:URL" or "openvla:URL" for a served policy;
            "python:module:function"; a registered name; a component file (`soar.plugins`); "steered:POLICY,CRITIC" for
            one of these whose samples a critic chooses among, with the options of `OPTIONS`.

    Raises:
        ConfigError: a component file can't be read.
    """
    kind, _, rest = name.partition(":")
    if kind == "steered":
        return _choosing_spec("steered", "POLICY", rest)
    if code := _code_spec("policy", name):
        return code
    ours = name in ("gcbc", "lcbc")
    return ModelSpec("packaged", name) if ours else ModelSpec("folder", folder("policy", name))


def _choosing_spec(kind: Literal["steered", "chosen"], what: str, text: str) -> ModelSpec:
    """Parse "BASE,CRITIC?OPTIONS". Raises ConfigError."""
    base, _, critic = text.rpartition(",")
    critic, options = _with_options(kind, critic)
    if not base or not critic:
        raise ConfigError(f"'{kind}:{text}' is not complete; valid: {kind}:{what},CRITIC_FOLDER")
    return ModelSpec(kind, critic, options=options, base=base)


_PARSERS: dict[Role, Callable[[str], ModelSpec]] = {
    "vlm": vlm_spec,
    "subgoals": subgoals_spec,
    "policy": policy_spec,
}


def _code_spec(role: Role, name: str) -> ModelSpec | None:
    """The specification of a user's function, a registered name, a served policy or a component file; else None."""
    check_no_password(name)
    if is_component_file(name):
        inner, options = read_component_file(role, name)
        spec = _PARSERS[role](inner)
        if spec.kind in ("packaged", "folder", "susie", "transformers", "expert", "none"):
            check_options(name, inner, OPTIONS.get(spec.kind, {}), options)
        return replace(spec, options={**spec.options, **options})
    kind, _, rest = name.partition(":")
    if kind == "python":
        return ModelSpec("python", rest)
    if role == "policy" and kind in SERVED and rest:
        return ModelSpec(cast(Kind, kind), rest)
    known = ("gcbc", "lcbc", "vlm", "local", "susie", "expert", COMPACT, *ENDPOINTS, *JUDGES)
    return ModelSpec("plugin", name) if kind not in known and is_plugin(role, name) else None


def _from_code(role: Role, spec: ModelSpec) -> Any:
    """The component of a user's function, a registered name or a served policy; None for another specification."""
    if spec.kind == "python":
        return make_own(role, spec.source, **spec.options)
    if spec.kind == "plugin":
        return make_plugin(role, spec.source, **spec.options)
    if spec.kind in SERVED:
        return component(SERVED[spec.kind])(spec.source, **spec.options)
    return None


def load_vlm(name: str = COMPACT) -> VisionLanguageModel:
    """Load a vision-language model by its name (`vlm_spec`). Raises ConfigError, CheckpointError."""
    spec = vlm_spec(name)
    if (made := _from_code("vlm", spec)) is not None:
        return cast(VisionLanguageModel, made)
    if spec.kind in ENDPOINTS:
        model, _, url = spec.source.rpartition("@")
        limits = {"key_variable": spec.key_variable, **spec.options}
        own = {"decoder": limits.pop("decoder")} if "decoder" in limits else {}
        configure = component("soar.vlm.clients.endpoint:endpoint_config")
        config = configure(spec.kind, model, url, limits)
        return cast(VisionLanguageModel, call(component(ENDPOINTS[spec.kind]), name, config, **own))
    if spec.kind == "transformers":
        made = component("soar.vlm.clients.transformers_model:TransformersVLM")
        checked = component("soar.rollout.checked_models:CheckedVLM")
        return cast(VisionLanguageModel, checked(made(spec.source, **spec.options)))
    load = component("soar.vlm.compact.model:CompactVLM").load
    return cast(VisionLanguageModel, load(spec.folder))


def load_subgoals(name: str = COMPACT) -> SubgoalGenerator:
    """Load a subgoal generator by its name (`subgoals_spec`). Raises ConfigError, CheckpointError.

    The packaged VLM locates the objects of an instruction for the compact generator, and says when it is done.
    """
    spec = subgoals_spec(name)
    if spec.kind == "chosen":
        choose = component("soar.critics.subgoal_choice:load_chosen")
        made = choose(load_subgoals(spec.base), str(local_path(spec.source)), spec.options)
        return cast(SubgoalGenerator, made)
    if (made := _from_code("subgoals", spec)) is not None:
        return cast(SubgoalGenerator, made)
    if spec.kind == "susie":
        make = component("soar.subgoals.susie:make_susie")
        return cast(SubgoalGenerator, make(spec.source, **spec.options))
    load = component("soar.subgoals.compact.generator:CompactSubgoalGenerator").load
    vlm = load_vlm()
    return cast(SubgoalGenerator, load(spec.folder, spec.steps_ahead, locator=vlm, judge=vlm))


def load_policy(name: str = "gcbc") -> Policy:
    """Load a policy by its name (`policy_spec`). Raises ConfigError, CheckpointError."""
    spec = policy_spec(name)
    if spec.kind == "steered":
        steer = component("soar.critics.steering:load_steered")
        made = steer(load_policy(spec.base), str(local_path(spec.source)), spec.options)
        return cast(Policy, made)
    if (made := _from_code("policy", spec)) is not None:
        return cast(Policy, made)
    actor, usual = "soar.critics.actor_policy:load_actor", "soar.policies.loading:serve_policy"
    serve = component(actor if _checkpoint_kind(spec.folder) == "critic" else usual)
    return cast(Policy, serve(spec.folder, device="auto"))


def _checkpoint_kind(folder: Path) -> str:
    """Kind of a checkpoint; "" where there is no readable one, which the loader then says."""
    try:
        return str(read_json(folder / MANIFEST)["kind"])
    except (OSError, SoarError, LookupError, TypeError):
        return ""


def load_detector(
    name: str = "vlm",
    threshold: float = SUCCESS_THRESHOLD,
    vlm: str | VisionLanguageModel = COMPACT,
) -> AnySuccessDetector:
    """Load a success detector. Raises ConfigError, CheckpointError.

    Args:
        name: "vlm"; with a second vote "vlm+wording", "vlm+frame" or "vlm+" and another VLM's name; for videos
            "roboreward:MODEL@URL", "topreward:MODEL@URL" or "robometer:URL"; "python:module:function" or a registered
            name, whose function takes the threshold; a component file.
        threshold: P(success) from which an episode counts as a success.
        vlm: the vision-language model, or its name, which is loaded for "vlm" only.
    """
    check_no_password(name)
    path, given = name, is_component_file(name)
    name, options = read_component_file("detector", path) if given else (name, {})
    kind, _, rest = name.partition(":")
    if kind == "python":
        return cast(AnySuccessDetector, make_own("detector", rest, threshold, **options))
    if kind == "robometer" and rest:
        check_options(path, name, {"frames": int, "timeout_s": float}, options)
        judge = component("soar.vlm.judges.robometer:Robometer")
        return cast(AnySuccessDetector, call(judge, name, rest, threshold, **options))
    if kind in JUDGES and rest:
        spec = vlm_spec(f"chat:{rest}")
        options = {"key_variable": spec.key_variable, **options}
        judge = component("soar.vlm.judges.chat:video_judge")
        return cast(AnySuccessDetector, call(judge, name, kind, spec.source, threshold, **options))
    if name == "vlm" or name.startswith("vlm+"):
        check_options(path, name, {}, options)
        make = component("soar.tasks.success_detector:VLMSuccessDetector")
        first = make(load_vlm(vlm) if isinstance(vlm, str) else vlm, threshold)
        if name != "vlm":
            add = component("soar.tasks.second_vote:with_second_vote")
            first = add(first, name[4:], lambda other: make(load_vlm(other), threshold))
        return cast(AnySuccessDetector, first)
    if is_plugin("detector", name):
        return cast(AnySuccessDetector, make_plugin("detector", name, threshold, **options))
    raise ConfigError(
        f"no success detector '{name}'; valid: vlm, vlm+wording, vlm+frame, vlm+VLM, roboreward:MODEL@URL, "
        "topreward:MODEL@URL, robometer:URL, "
        "python:module:function, a registered name (`soar plugins`), a component file"
    )


def packaged(role: Packaged) -> Path:
    """Return the folder of a packaged checkpoint. Raises ConfigError: this build has none."""
    folder = WEIGHTS / role
    if not (folder / MANIFEST).exists():
        raise ConfigError(
            f"this build has no packaged weights for {role}; make them with `soar pretrain {role}`"
        )
    return folder
