"""Options of a command: parsed from the command line and `--config FILE`, and printed by `--print-config`.

A command is a typed function. Its parameters are its options, or the fields of those that are dataclasses: those of
`fit: FitConfig` are `--fit.steps` and so on, those of a `FLAT` one have no prefix. A configuration file has the same
names: `fit: {steps: 10}`.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, field, fields, make_dataclass
from enum import Enum, auto
from functools import partial
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from soar.cli import docstrings
from soar.errors import ConfigError
from soar.utils.config import (
    bare_type,
    check_value,
    closest,
    field_names,
    from_plain,
    to_plain,
)
from soar.utils.files import local_path, write_bytes
from soar.utils.mirrors import begin, out_folder, publish
from soar.utils.objects import is_object_url
from soar.utils.yaml_files import dump, read_plain

Command = Callable[..., None]
Defaults = Callable[[Mapping[str, Any]], Mapping[str, Any]]
T = TypeVar("T", bound=Command)

_DEFAULTS: dict[Command, Defaults] = {}
_resolved: dict[str, Any] = {}
"""Configuration of the running command, as plain data."""


class Role(Enum):
    """Annotation of an option that configuration files treat differently."""

    PRESET = auto()
    """It only chooses defaults of other options, so that a printed configuration holds those instead."""
    OUT = auto()
    """It names the folder that the run writes to, so that the configuration saved there leaves it out."""


PRESET, OUT = Role.PRESET, Role.OUT
FLAT = tyro.conf.arg(name="")
"""Annotation of a dataclass whose fields are options without a prefix."""


class Uses(tuple[str, ...]):
    """Annotation of a dataclass, naming the only fields that a command uses: the others are neither shown nor taken."""


CONFIG, PRINT_CONFIG = "config_file_", "print_config_"
"""Names of the parameters for `--config` and `--print-config`, which no command's own parameters have."""


class Option(NamedTuple):
    """A parameter of a command."""

    kind: Any
    default: Any

    @property
    def used(self) -> Uses | None:
        """The fields of its dataclass that the command uses; None for all."""
        return next((a for a in get_args(self.kind)[1:] if isinstance(a, Uses)), None)

    def has(self, role: object) -> bool:
        """Whether it is annotated with `FLAT`, `PRESET` or `OUT`."""
        return get_origin(self.kind) is Annotated and role in get_args(self.kind)[1:]


def changed(options: Any, but: str = "") -> list[str]:
    """Return the names of a group's options that aren't at their defaults, all but one."""
    usual = {
        f.name: f.default if f.default_factory is MISSING else f.default_factory()
        for f in fields(options)
        if f.name != but
    }
    return [name for name, value in usual.items() if getattr(options, name) != value]


def default_of(make: Defaults) -> Callable[[T], T]:
    """Decorate a command whose options' defaults depend on other options.

    Args:
        make: takes all options as parsed so far and returns the defaults of some of them.
    """

    def decorate(command: T) -> T:
        _DEFAULTS[command] = make
        return command

    return decorate


def parse(
    command: Command, prog: str, args: Sequence[str], configurable: bool
) -> dict[str, Any] | None:
    """Parse a command's options.

    Args:
        command: the function that runs it.
        prog: name of the command, for help and messages.
        args: words of the command line after that.
        configurable: whether it takes `--config` and `--print-config`.

    Returns:
        The function's arguments, or None where the configuration was printed instead.

    Raises:
        ConfigError: an option or the configuration file isn't valid.
    """
    options = _options(command)
    where, data = _read_file(args) if configurable else ("", {})
    defaults = _from_file(options, data, where, {})
    if command in _DEFAULTS:
        quiet = [a for a in args if a not in ("-h", "--help")]
        for _ in range(2):  # defaults may depend on options that have such defaults themselves
            known = {**_placeholders(options), **defaults}
            try:
                given = _parse(command, prog, quiet, configurable, known)
            except ConfigError:
                break  # the parse below raises it again
            defaults = _from_file(options, data, where, _DEFAULTS[command](given))
    values = _parse(command, prog, args, configurable, defaults)
    for name, option in options.items():
        check_value(f"--{name.replace('_', '-')}", option.kind, values[name])
        _refuse_unused(option, values[name])
    if not configurable:
        return values
    values.pop(CONFIG)
    printed = values.pop(PRINT_CONFIG)
    _resolved.clear()
    _resolved.update(_to_file(options, values))
    if printed:
        print(dump(_resolved), end="")
        return None
    return values


def _refuse_unused(option: Option, value: Any) -> None:
    """Raise ConfigError: a field is set that the command doesn't use, so that none is silently ignored."""
    if (used := option.used) is None:
        return
    for name in set(field_names(option.kind)) - set(used):
        if getattr(value, name) != getattr(option.default, name):
            flag, *valid = (f"--{n.replace('_', '-')}" for n in (name, *sorted(set(used))))
            raise ConfigError(f"{flag} has no effect here; valid: {', '.join(valid)}")


def run_config(command: Command) -> dict[str, Any]:
    """The running command's configuration as plain data, without the folder that it writes to."""
    out = [name for name, option in _options(command).items() if option.has(OUT)]
    return {k: v for k, v in _resolved.items() if k not in out}


def save_in_store(command: Command, store: Path) -> str:
    """Save the running command's configuration as `store/configs/HASH.yaml`, and return the hash."""
    from soar.data.store.lance import open_store

    return open_store(store).save_config(run_config(command))


@contextlib.contextmanager
def saved_config(command: Command, folder: Path) -> Iterator[None]:
    """Save the running command's configuration as `folder/config.yaml`, for `--config`.

    A file that is there already, as in a resumed run, is only replaced when the command has succeeded. A folder for
    object storage is then published.
    """
    begin(folder)
    path = folder / "config.yaml"
    text = dump(run_config(command)).encode()
    if not path.exists():
        write_bytes(path, text)
    yield
    write_bytes(path, text)
    publish(folder)


def _options(command: Command) -> dict[str, Option]:
    hints = get_type_hints(command, include_extras=True)
    parameters = inspect.signature(command).parameters.values()
    return {p.name: Option(hints[p.name], p.default) for p in parameters}


def _read_file(args: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Name and content of the file that `--config` names. Raises ConfigError."""
    words = [w for a in args for w in (a.split("=", 1) if a.startswith("--config=") else [a])]
    if "--config" not in words[:-1]:
        return "", {}
    path = words[words.index("--config") + 1]
    data = read_plain(path)
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: {data!r:.80} is not valid; valid: options of the command")
    return path, data


def _from_file(
    options: Mapping[str, Option],
    data: Mapping[str, Any],
    where: str,
    defaults: Mapping[str, Any],
) -> dict[str, Any]:
    """Defaults of the options: the file's over `defaults`, and these over the function's. Raises ConfigError."""
    left, found = dict(data), dict(defaults)
    for name, option in options.items():
        base = found.get(name, option.default)
        base = None if base is inspect.Parameter.empty else base
        if option.has(FLAT):
            part = {k: left.pop(k) for k in field_names(option.kind) if k in left}
            if part:
                found[name] = from_plain(option.kind, part, where, base)
        elif name in left:
            found[name] = from_plain(option.kind, left.pop(name), f"{where}: {name}", base)
    if left:
        flat = [k for o in options.values() if o.has(FLAT) for k in field_names(o.kind)]
        valid = [*(n for n, o in options.items() if not o.has(FLAT)), *flat]
        raise ConfigError(f"{where}: unknown key {closest(next(iter(left)), valid)}")
    return found


def _placeholders(options: Mapping[str, Option]) -> dict[str, Any]:
    """Placeholders for options without a default, so that presets are known before those are given."""
    found: dict[str, Any] = {}
    for name, (kind, default) in options.items():
        bare = bare_type(kind)
        if default is not inspect.Parameter.empty:
            continue
        if bare in (Path, str):
            found[name] = bare()
        elif get_origin(bare) is Literal:
            found[name] = get_args(bare)[0]
    return found


def _to_file(options: Mapping[str, Option], values: Mapping[str, Any]) -> dict[str, Any]:
    """The options as plain data: what `_from_file` reads."""
    plain: dict[str, Any] = {}
    for name, option in options.items():
        if not option.has(PRESET):
            part = to_plain(values[name], option.kind)
            if option.used is not None:
                part = {k: v for k, v in part.items() if k in option.used}
            plain |= part if option.has(FLAT) else {name: part}
    return plain


def _parse(
    command: Command,
    prog: str,
    args: Sequence[str],
    configurable: bool,
    defaults: Mapping[str, Any],
) -> dict[str, Any]:
    """Parse the command line with some defaults. Raises ConfigError; exits after `--help`."""
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors), docstrings.running_text():
            values: object = tyro.cli(
                _described(command, configurable, defaults),
                prog=prog,
                description=docstrings.description(inspect.getdoc(command) or ""),
                args=list(args),
                config=(tyro.conf.AvoidSubcommands,),
                registry=_registry(),
            )
            return dict(vars(values))
    except SystemExit as stop:
        if stop.code:
            raise ConfigError(_one_line(errors.getvalue(), prog)) from None
        raise


def _registry() -> ConstructorRegistry:
    """tyro's rules, and ours: a configuration that has a method `read` is given as a file; "~" is the home folder."""
    registry = ConstructorRegistry()

    @registry.primitive_rule
    def path_rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
        return _path_constructor(local_path) if info.type is Path else None

    @registry.primitive_rule
    def file_rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
        kind = bare_type(info.type)
        if not hasattr(kind, "read"):
            return None
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar="FILE",
            instance_from_str=lambda words: kind.read(local_path(words[0])),
            is_instance=lambda value: value is None or isinstance(value, kind),
            str_from_instance=lambda value: [getattr(value, "name", "None")],
        )

    return registry


def _path_constructor(to_path: Callable[[str], Path]) -> PrimitiveConstructorSpec[Any]:
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=lambda words: to_path(words[0]),
        is_instance=lambda value: value is None or isinstance(value, Path),
        str_from_instance=lambda value: [str(value)],
    )


def _out_path(text: str) -> Path:
    """Return the folder that a command writes to: for a URL its local copy, with what is there so far."""
    return out_folder(text) if is_object_url(text) else local_path(text)


_OUT_PATH = _path_constructor(_out_path)
QUICK_PATH = _path_constructor(partial(local_path, quick=True))
"""Annotation of a path for which nobody waits long: `soar stop` takes seconds also while object storage is away."""


def _described(command: Command, configurable: bool, defaults: Mapping[str, Any]) -> type:
    """A dataclass with the command's options."""
    doc = inspect.getdoc(command) or ""
    described: list[tuple[str, Any, Any]] = []
    for name, option in _options(command).items():
        default = defaults.get(name, option.default)
        has_default = default is not inspect.Parameter.empty
        kind = Annotated[option.kind, _OUT_PATH] if option.has(OUT) else option.kind
        if option.used is not None:
            narrow = _narrowed(bare_type(kind), option.used)
            kind = Annotated[narrow, *get_args(kind)[1:]]
            default = narrow(**{f.name: getattr(default, f.name) for f in fields(narrow)})
        described.append((name, kind, field(default=default) if has_default else field()))
    if configurable:
        doc += "" if "\nArgs:\n" in doc else "\n\nArgs:"
        doc += (
            f"\n    {CONFIG}: YAML or JSON file with these options; those on the command line take precedence."
            f"\n    {PRINT_CONFIG}: print all options as YAML for `--config`, and run nothing.\n"
        )
        described += [
            (CONFIG, _FILE, field(default=None)),
            (PRINT_CONFIG, _SWITCH, field(default=False)),
        ]
    return make_dataclass("Options", described, kw_only=True, namespace={"__doc__": doc})


def _narrowed(kind: type, used: Uses) -> Any:
    """Return a subclass of a dataclass with only the used fields in the help."""
    hints = get_type_hints(kind, include_extras=True)
    hidden = [
        (
            f.name,
            Annotated[hints[f.name], tyro.conf.Suppress],
            field(default=f.default, default_factory=f.default_factory),
        )
        for f in fields(kind)
        if f.name not in used
    ]
    return make_dataclass(kind.__name__, hidden, bases=(kind,), frozen=True)


_FILE = Annotated[Path | None, tyro.conf.arg(metavar="FILE", name="config")]
_SWITCH = Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(name="print-config")]


def _one_line(text: str, prog: str) -> str:
    """tyro's box of text as one line."""
    lines = [re.sub(r"[│╭╮╰╯]|^[|+]|[|+]$", "", line).strip() for line in text.splitlines()]
    parts = " ".join(line if line.strip("─-") else "\n" for line in lines[1:]).split("\n")
    kept = [" ".join(p.split()) for p in parts if not re.match(r"\s*(For full|Argument help)", p)]
    kept = [p if len(p) < 600 else f"{p[:200]} ... {p[-200:]}" for p in kept]  # a huge value
    kept = [p.removesuffix(".") for p in kept]
    return "; ".join([*filter(None, kept), f"see {prog} --help"])
