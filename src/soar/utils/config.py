"""Conversion of configuration dataclasses to and from plain data, YAML and JSON.

Every configuration of the package is a plain dataclass; this is the only module that reads one from a file.
Types are checked strictly ("80" is no number, "no" is no bool), unknown keys are refused with the valid ones,
and ranges stand beside the field, as in `threshold: Annotated[float, Ge(0), Le(1)] = 0.5`. A dataclass that
renamed or removed fields still reads files of earlier versions:

    RENAMED: ClassVar = {"old_name": "new_name"}
    REMOVED: ClassVar = ("name_without_a_meaning_today",)

A file's name may stand for a dataclass with a class method `read`, which takes a path.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from math import isfinite
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)

from annotated_types import Ge, Gt, Le, Lt

from soar.errors import ConfigError
from soar.utils.files import Json, local_path, public_name
from soar.utils.yaml_files import check_plain, read_plain

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, TypeAdapter
    from pydantic_core import CoreSchema, ErrorDetails

T = TypeVar("T")

_VALID = {
    "bool_type": "true or false",
    "dataclass_type": "keys with values",
    "dict_type": "keys with values",
    "finite_number": "a finite number",
    "float_type": "a number",
    "int_type": "a whole number",
    "str_type": "text",
    "string_type": "text",
    "tuple_type": "a list",
}
"""Valid values by the type of pydantic's error."""


@dataclass(frozen=True, eq=False)
class OneOf:
    """Annotation of a union of dataclasses that plain data tells apart by the key "name"."""

    choices: Mapping[str, type]

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Validate `{name: fields}`, which `_translated` makes of `{"name": name, **fields}`."""
        from pydantic_core import core_schema

        parts = {
            name: core_schema.typed_dict_field(handler.generate_schema(choice), required=False)
            for name, choice in self.choices.items()
        }
        return core_schema.no_info_after_validator_function(
            self._only,
            core_schema.typed_dict_schema(parts, extra_behavior="forbid"),
            serialization=core_schema.plain_serializer_function_ser_schema(self._named),
        )

    def _only(self, parts: Mapping[str, object]) -> object:
        if len(parts) != 1:
            raise ConfigError(f"needs a 'name'; valid: {', '.join(self.choices)}")
        return next(iter(parts.values()))

    def _named(self, value: object) -> dict[str, Json]:
        name = next(name for name, choice in self.choices.items() if type(value) is choice)
        return {"name": name, **to_plain(value)}


@overload
def from_plain(kind: type[T], data: Json, where: str | Path, base: T | None = None) -> T: ...
@overload
def from_plain(kind: Any, data: Json, where: str | Path, base: Any = None) -> Any: ...
def from_plain(kind: Any, data: Json, where: str | Path, base: Any = None) -> Any:
    """Build a configuration from plain data.

    Args:
        kind: dataclass, or another type whose parts are dataclasses and JSON's types.
        data: what JSON can hold.
        where: name of the data's source, for messages.
        base: configuration that provides what `data` leaves out; None takes the dataclass's defaults.

    Raises:
        ConfigError: a key is unknown or missing, or a value isn't valid; the message names the valid ones.
    """
    from pydantic import ValidationError

    check_plain(data, where)
    data = _translated(kind, data, str(where))
    if base is not None:
        data = _merged(kind, _translated(kind, to_plain(base, kind), str(where)), data)
    try:
        [made] = _adapter(kind).validate_json(json.dumps([data]))
    except ValidationError as error:
        raise ConfigError(
            f"{where}: {_message(kind, error.errors(include_url=False)[0])}"
        ) from None
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    return made


def to_plain(value: object, kind: Any = None) -> Json:
    """Convert a configuration to what JSON can hold; `kind` is its declared type, by default its class.

    Local copies of what is on the Hub or in object storage become its names there.
    """
    [plain] = _adapter(kind or cast(Any, type(value))).dump_python((value,), mode="json")
    return _pinned(plain)


def _pinned(plain: Json) -> Json:
    if isinstance(plain, dict):
        return {k: _pinned(v) for k, v in plain.items()}
    if isinstance(plain, list):
        return [_pinned(v) for v in plain]
    return public_name(plain) if isinstance(plain, str) else plain


def load(kind: type[T], path: str | Path, base: T | None = None) -> T:
    """Read a configuration from a YAML or JSON file; see `from_plain`. Raises ConfigError."""
    return from_plain(kind, read_plain(path), path, base)


def flat(settings: Mapping[str, Json], prefix: str = "") -> dict[str, Json]:
    """Return nested settings by dotted name; `prefix` goes before each."""
    found: dict[str, Json] = {}
    for name, value in settings.items():
        inside = isinstance(value, Mapping)
        found |= flat(value, f"{prefix}{name}.") if inside else {prefix + name: value}
    return found


def content_hash(plain: Json) -> str:
    """Return the hash of a configuration: twelve hexadecimal digits, the same for the same content."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:12]


def field_names(kind: Any) -> list[str]:
    """Keys of a dataclass in plain data, old names included."""
    choices = _one_of(kind)
    parts = choices.choices.values() if choices else [bare_type(kind)]
    known = [name for p in parts for name in (*_fields(p), *getattr(p, "RENAMED", {}))]
    return ["name", *known] if choices else known


def closest(word: str, valid: Sequence[str]) -> str:
    """Quote a word that isn't valid, for a message, with the one that may be meant and all valid ones."""
    near = difflib.get_close_matches(word, valid, 1)
    hint = f", did you mean '{near[0]}'?" if near else ""
    return f"'{word}'{hint}; valid keys are {', '.join(valid)}"


def check_ranges(config: object) -> None:
    """Check a dataclass's numbers against the ranges beside its fields. Raises ConfigError."""
    for name, kind in _fields(cast(Any, type(config))).items():
        check_value(name, kind, getattr(config, name))


def check_value(name: str, kind: Any, value: object) -> None:
    """Check the numbers of a value against its declared type: finite, of 64 bits, in range. Raises ConfigError."""
    if is_dataclass(value):
        check_ranges(value)
    elif isinstance(value, tuple):
        for i, item in enumerate(value):
            check_value(name, _part(kind, i), item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if (not -(2**63) <= value < 2**63 and isinstance(value, int)) or not isfinite(value):
            raise ConfigError(f"{name} is not valid; valid: a finite number of 64 bits")
        if not all(_holds(c, value) for c in _constraints(kind)):
            raise ConfigError(f"{name} is {value}; valid: {_range(kind)}")


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """pydantic's converter of a tuple of one: a dataclass itself would need its own settings."""
    from pydantic import ConfigDict, TypeAdapter

    settings = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    return TypeAdapter(tuple[kind], config=settings)


def _merged(kind: Any, base: Json, data: Json) -> Json:
    """Put `data` over `base`, field by field; mappings and tuples are replaced whole."""
    if not (isinstance(base, dict) and isinstance(data, dict)):
        return data
    if not _fields(kind) and not (_one_of(kind) and base.keys() == data.keys()):
        return data
    known = {k: _merged(_part(kind, k), base[k], v) if k in base else v for k, v in data.items()}
    return {**base, **known}


def _translated(kind: Any, data: Json, where: str) -> Json:
    """Plain data with today's keys, and each choice of a `OneOf` under its name."""
    if isinstance(data, str) and is_dataclass(bare := bare_type(kind)) and hasattr(bare, "read"):
        data = to_plain(bare.read(data))
    if isinstance(data, str) and bare_type(kind) is Path:
        return str(local_path(data))
    if isinstance(data, list | tuple):
        return [_translated(_part(kind, i), v, where) for i, v in enumerate(data)]
    if not isinstance(data, Mapping):
        return data
    if _one_of(kind) and isinstance(data.get("name"), str):
        data = {data["name"]: {k: v for k, v in data.items() if k != "name"}}
    renamed: Mapping[str, str] = getattr(bare_type(kind), "RENAMED", {})
    data = {k: v for k, v in data.items() if k not in getattr(bare_type(kind), "REMOVED", ())}
    if twice := [k for k in data if k in renamed and renamed[k] in data]:
        raise ConfigError(
            f"{where}: '{twice[0]}' is the old name of '{renamed[twice[0]]}'; give one"
        )
    data = {renamed.get(k, k): v for k, v in data.items()}
    return {k: _translated(_part(kind, k), v, where) for k, v in data.items()}


def bare_type(kind: Any) -> Any:
    """A type without `Annotated` and without `| None`."""
    if get_origin(kind) is Annotated:
        return bare_type(get_args(kind)[0])
    if _is_union(kind):
        some = [k for k in get_args(kind) if k is not type(None)]
        return bare_type(some[0]) if len(some) == 1 else kind
    return kind


def _metadata(kind: Any) -> Iterator[object]:
    """Everything that `Annotated` says of a type, also beneath `| None`."""
    if get_origin(kind) is Annotated:
        yield from get_args(kind)[1:]
        yield from _metadata(get_args(kind)[0])
    elif _is_union(kind):
        for part in get_args(kind):
            yield from _metadata(part)


def _one_of(kind: Any) -> OneOf | None:
    return next((m for m in _metadata(kind) if isinstance(m, OneOf)), None)


def _part(kind: Any, key: str | int) -> Any:
    """Declared type of a field, or of an item of a tuple or mapping; `Any` where there is none."""
    if choices := _one_of(kind):
        return choices.choices.get(str(key), Any)
    if found := _fields(kind):
        return found.get(str(key), Any)
    bare = bare_type(kind)
    parts = get_args(bare)
    if get_origin(bare) is tuple and isinstance(key, int):
        several = parts[-1:] == (...,)
        return parts[0] if several else parts[key] if key < len(parts) else Any
    return parts[-1] if parts and not _is_union(bare) else Any


@cache
def _fields(kind: Any) -> Mapping[str, Any]:
    """Declared types of a dataclass's fields; empty for another type."""
    bare = bare_type(kind)
    if not is_dataclass(bare):
        return {}
    hints = get_type_hints(bare, include_extras=True)
    return {f.name: hints[f.name] for f in fields(bare)}


def _message(kind: Any, error: ErrorDetails) -> str:
    """One line with the place, the value, and the valid values."""
    path, declared = list[str](), [kind]
    for part in error["loc"][1:]:
        if _is_union(bare_type(declared[-1])) and not _one_of(declared[-1]):
            break  # the rest names members of the union
        path.append(str(part))
        declared.append(_part(declared[-1], part))
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return _unknown(declared[-2], path)
    if error["type"] == "missing":
        return f"{'.'.join(path)} is missing"
    place = f"{'.'.join(path)}: " if path else ""
    valid = _range(declared[-1]) or _VALID.get(error["type"], error["msg"])
    if _is_union(bare := bare_type(declared[-1])):
        valid = " or ".join(_VALID.get(f"{p.__name__}_type", "null") for p in get_args(bare))
    if keys := _fields(declared[-1]):
        valid += f" ({', '.join(keys)})"
    return f"{place}{error['input']!r:.80} is not valid; valid: {valid.removeprefix('Input should be ')}"


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)


def _unknown(parent: Any, path: Sequence[str]) -> str:
    choices = _one_of(parent)
    place = f"{'.'.join(path[:-1])}: " if path[:-1] else ""
    return f"{place}unknown key {closest(path[-1], list(choices.choices if choices else _fields(parent)))}"


def _constraints(kind: Any) -> Iterator[Ge | Gt | Le | Lt]:
    return (m for m in _metadata(kind) if isinstance(m, Ge | Gt | Le | Lt))


def _holds(constraint: Ge | Gt | Le | Lt, value: Any) -> bool:
    match constraint:
        case Ge(bound):
            return bool(value >= bound)
        case Gt(bound):
            return bool(value > bound)
        case Le(bound):
            return bool(value <= bound)
        case Lt(bound):
            return bool(value < bound)


def _range(kind: Any) -> str:
    """A number's range in words; empty for a type without one."""
    words = []
    for constraint in _constraints(kind):
        match constraint:
            case Ge(bound):
                words.append(f"from {bound}")
            case Gt(bound):
                words.append(f"above {bound}")
            case Le(bound):
                words.append(f"to {bound}")
            case Lt(bound):
                words.append(f"below {bound}")
    if not words:
        return ""
    noun = "a whole number" if bare_type(kind) is int else "a number"
    if len(words) == 1:
        words = [words[0].replace("from", "of at least").replace("to ", "of at most ")]
    return f"{noun} {' '.join(words)}"
