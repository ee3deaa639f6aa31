"""Components of other packages: those that an installed package registers, and those that a component file describes.

A package registers a function by an entry point, and the name of the entry point is then the component's name:

    [project.entry-points."soar.policies"]
    act = "lab_policies:make_act"

`soar collect --policy act` calls `make_act()`, and `--policy act:FOLDER` calls `make_act("FOLDER")`. A component file
adds options, as keyword arguments, to any name:

    policy: act:FOLDER
    options: {temperature: 0.1}
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

from soar.errors import ConfigError, SoarError, described
from soar.interfaces import (
    EpisodeSuccessDetector,
    Policy,
    Robot,
    SubgoalGenerator,
    SuccessDetector,
    TaskProposer,
    VisionLanguageModel,
)
from soar.utils.config import from_plain
from soar.utils.hub import HUB
from soar.utils.objects import is_object_url
from soar.utils.yaml_files import read_plain

Role: TypeAlias = Literal["robot", "vlm", "subgoals", "policy", "detector", "proposer"]
GROUPS: Mapping[Role, str] = {
    "robot": "soar.robots",
    "vlm": "soar.vlms",
    "subgoals": "soar.subgoals",
    "policy": "soar.policies",
    "detector": "soar.detectors",
}
"""Groups of entry points by role; a proposer is only named by its function."""
_PROTOCOLS: Mapping[Role, tuple[type, ...]] = {
    "robot": (Robot,),
    "vlm": (VisionLanguageModel,),
    "subgoals": (SubgoalGenerator,),
    "policy": (Policy,),
    "detector": (SuccessDetector, EpisodeSuccessDetector),
    "proposer": (TaskProposer,),
}
"""What a component is, by role: one of these."""
_VALID: Mapping[Role, str] = {
    "robot": "a robot (docs/add-a-robot.md)",
    "vlm": "a VLM (docs/add-a-vlm.md)",
    "subgoals": "a subgoal generator (examples/plugins/subgoals)",
    "policy": "a policy (docs/serve-and-plug-in.md)",
    "detector": "a success detector (examples/plugins/detector)",
    "proposer": "a proposer (docs/add-a-vlm.md)",
}
_BOUNDARIES: Mapping[Role, str] = {
    "vlm": "soar.rollout.checked_models:CheckedVLM",
    "detector": "soar.rollout.checked_models:checked_detector",
    "proposer": "soar.rollout.checked_models:CheckedProposer",
}
"""Checks of what a component returns and raises, by role; the other roles' are where they are called."""
_KINDS: Mapping[Role, str] = {
    "vlm": "compact, local:, chat:, systemone:, decisions:",
    "subgoals": "compact, susie:, expert, chosen:",
    "policy": "gcbc, lcbc, openpi:, openvla:, steered:",
}
"""Kinds of model in `soar.registry`, by role, for messages."""
T = TypeVar("T")


class Plugin(NamedTuple):
    """A registered component."""

    role: Role
    name: str
    target: str
    """Function, as module:name."""
    package: str
    """Package that registers it, and its version."""


@dataclass(frozen=True)
class ComponentFile:
    """Contents of a component file, besides the component's name."""

    options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the function that makes it."""


def plugins() -> list[Plugin]:
    """Return all registered components, by role and name."""
    found = []
    for role, group in GROUPS.items():
        for point in sorted(entry_points(group=group), key=lambda p: p.name):
            about = point.dist
            package = f"{about.name} {about.version}" if about else ""
            found.append(Plugin(role, point.name, point.value, package))
    return found


def is_plugin(role: Role, name: str) -> bool:
    """Whether a package registers this name; what follows a colon is the component's source, never a module."""
    short, _, source = name.partition(":")
    return short in _entry_points(role) and not (role == "robot" and source)


def make_plugin(role: Role, name: str, /, *arguments: Any, **options: Any) -> Any:
    """Return a registered component.

    Args:
        role: its role.
        name: NAME, or NAME:SOURCE for a function whose last positional argument is a source.
        arguments: positional arguments before that.
        options: keyword arguments.

    Raises:
        ConfigError: its package can't be imported, or the arguments don't fit.
    """
    short, _, source = name.partition(":")
    made = call(
        load_plugin(role, short), name, *arguments, *([source] if source else []), **options
    )
    return _behind_boundary(role, checked(role, made, name))


def make_own(role: Role, target: str, /, *arguments: Any, **options: Any) -> Any:
    """Return what a user's function "package.module:name" makes. Raises ConfigError: it is no such component."""
    name = f"python:{target}"
    made = checked(role, call(component(target), name, *arguments, **options), name)
    return _behind_boundary(role, made)


def _behind_boundary(role: Role, made: Any) -> Any:
    return component(_BOUNDARIES[role])(made) if role in _BOUNDARIES else made


def load_plugin(role: Role, name: str) -> Callable[..., Any]:
    """Import the function of a registered name. Raises ConfigError: that fails, or it is no function."""
    point = _entry_points(role)[name]
    try:
        found = point.load()
    except Exception as error:
        kind = type(error).__name__
        raise ConfigError(f"plug-in '{name}' ({point.value}): {kind}: {error}") from error
    if not callable(found):
        raise ConfigError(f"plug-in '{name}': {point.value} is no function or class")
    made: Callable[..., Any] = found
    return made


def call(make: Callable[..., Any], name: str, /, *arguments: Any, **options: Any) -> Any:
    """Return `make(*arguments, **options)`.

    Raises:
        ConfigError: the arguments don't fit the function, or it raised an exception.
        SoarError: it raised that.
    """
    check_arguments(make, name, *arguments, **options)
    try:
        return make(*arguments, **options)
    except (SoarError, KeyboardInterrupt):
        raise
    except BaseException as error:  # also an exit, or a panic of Rust
        raise ConfigError(f"'{name}' raised {described(error)}") from error


def check_arguments(
    make: Callable[..., Any], name: str, /, *arguments: Any, **options: Any
) -> None:
    """Raise ConfigError if arguments don't fit a function."""
    try:
        inspect.signature(make).bind(*arguments, **options)
    except TypeError as error:
        given = f"{len(arguments)} positional arguments and " if arguments else ""
        raise ConfigError(f"'{name}': {given}options {options} don't fit: {error}") from error
    except ValueError:
        pass  # a function without a signature


def checked(role: Role, made: T, name: str) -> T:
    """Return what a function made. Raises ConfigError: it isn't a component of this role."""
    if missing := min((_missing(made, p) for p in _PROTOCOLS[role]), key=len):
        problem = f"a {type(made).__name__}, which lacks {', '.join(missing)}"
    elif isinstance(made, type):
        problem = f"the class {made.__name__}, not an object of it"
    elif not isinstance(called := getattr(made, "name", ""), str):
        problem = f"a {type(made).__name__}, whose `name` is {called!r:.60}, not text"
    else:
        return made
    raise ConfigError(f"'{name}' makes {problem}; valid: {_VALID[role]}")


def _missing(made: object, protocol: type) -> list[str]:
    """Return the public members of a protocol that an object lacks."""
    members = (*protocol.__annotations__, *vars(protocol))
    return [m for m in members if not m.startswith("_") and not hasattr(made, m)]


def folder(role: Role, name: str) -> str:
    """Return the name of a checkpoint's folder. Raises ConfigError: it begins with a kind of model that there isn't."""
    kind, colon, _ = name.partition(":")
    if colon and not (name.startswith(HUB) or is_object_url(name) or Path(name).exists()):
        own = name if re.fullmatch(r"[\w.]+:\w+", name) else "package.module:function"
        raise ConfigError(
            f"no {role} of kind '{kind}'; valid: {_KINDS[role]}, python:{own}, a folder"
        )
    return name


def is_component_file(name: str) -> bool:
    """Whether a name is that of a component file."""
    return Path(name).suffix in (".yaml", ".yml")


def read_component_file(role: Role, path: str) -> tuple[str, Mapping[str, Any]]:
    """Return the name and the options of a component file. Raises ConfigError."""
    data = read_plain(path)
    if not isinstance(data, dict) or not isinstance(data.get(role), str):
        raise ConfigError(f"{path}: '{role}' is missing; valid: {role}: NAME and options: {{...}}")
    name = data.pop(role)
    if is_component_file(name):
        raise ConfigError(f"{path}: '{name}' is another file; valid: a component's name")
    return name, from_plain(ComponentFile, data, path).options


def check_options(
    path: str, name: str, valid: Mapping[str, type], options: Mapping[str, Any]
) -> None:
    """Check the options of a component file.

    Args:
        path: the file.
        name: the component's name in it.
        valid: types of the options that the component takes, by name.
        options: the given ones.

    Raises:
        ConfigError: the component doesn't take an option, or it has another type.
    """
    for key, value in options.items():
        if key not in valid:
            raise ConfigError(
                f"{path}: '{name}' takes no option '{key}'; valid: {', '.join(valid) or 'no options'}"
            )
        from_plain(valid[key], value, f"{path}: {key}")


def component(target: str) -> Any:
    """Import the callable "package.module:name".

    A module that isn't installed may lie in the current folder, which is then the last one of the import path.

    Raises:
        ConfigError: there is no such callable, or its module raises an error.
    """
    module, _, name = target.partition(":")
    package, here = module.partition(".")[0], os.getcwd()
    try:
        # A script's own module, `__main__`, has no spec.
        known = package in sys.modules or importlib.util.find_spec(package)
        if not known and PathFinder.find_spec(package, [here]):
            sys.path.append(here)
        loaded = importlib.import_module(module)
        found = getattr(loaded, name, None)
    except Exception as error:
        raise ConfigError(f"'{target}': {_why(error, module)}") from error
    if not callable(found):
        functions = [n for n, f in vars(loaded).items() if callable(f) and n[0] != "_"]
        near = get_close_matches(name, functions, n=1, cutoff=0.7)
        advice = f"{module}:{near[0]}" if near else "package.module:function"
        raise ConfigError(f"'{target}' is no function or class; valid: {advice}")
    return found


def _why(error: Exception, module: str) -> str:
    """Say why a module can't be imported: there is none, or it raised an exception, and where."""
    if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
        return f"{error}; valid: package.module:function"
    if not module.partition(".")[0]:
        return "it names no module; valid: package.module:function"
    return f"importing {module} raised {described(error)}"


@cache
def _entry_points(role: Role) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUPS[role])}
