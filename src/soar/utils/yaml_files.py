"""YAML and JSON files that people write: parsed within limits, as data that JSON can hold."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from soar.errors import ConfigError
from soar.utils.files import Json, read_text

MAX_BYTES = 1_000_000
"""Size of the largest configuration file that is read."""
MAX_VALUES = 100_000
"""Values in the largest configuration, after YAML's aliases are replaced by what they stand for."""
MAX_DEPTH = 40
"""Levels of the deepest configuration."""

_EXPONENT = (
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)
"""Numbers such as 1e-3, which PyYAML takes for text."""


def read_plain(path: str | Path) -> Json:
    """Read a YAML or JSON file in UTF-8; an empty one holds no keys.

    Raises:
        ConfigError: it is missing, no text, no YAML or JSON, or holds what a configuration can't.
    """
    path = Path(path)
    text = read_text(path, MAX_BYTES)
    try:
        data = json.loads(text) if path.suffix == ".json" else _parse_yaml(text)
    except RecursionError:
        raise ConfigError(f"{path} is nested too deeply; valid: {MAX_DEPTH} levels") from None
    except ValueError as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}") from None
    data = {} if data is None else data
    check_plain(data, path, MAX_VALUES)
    return data


def dump(plain: Json) -> str:
    """Format plain data as YAML."""
    import yaml

    class Dumper(yaml.SafeDumper):
        pass

    Dumper.add_implicit_resolver(*_EXPONENT)
    return yaml.dump(
        plain, Dumper=Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None
    )


def check_plain(data: Json, where: str | Path, most: float = math.inf) -> None:
    """Refuse what JSON can't hold, and more than `most` values. Raises ConfigError."""
    count, todo = 0, [(data, 0)]
    while todo:
        value, depth = todo.pop()
        count += 1
        if count > most or depth > MAX_DEPTH:
            raise ConfigError(
                f"{where} holds too much; valid: {MAX_VALUES} values in {MAX_DEPTH} levels"
            )
        if isinstance(value, Mapping):
            if wrong := [k for k in value if not isinstance(k, str)]:
                raise ConfigError(f"{where}: the key {wrong[0]!r} is no text; write it in quotes")
            todo += [(v, depth + 1) for v in value.values()]
        elif isinstance(value, list | tuple):
            todo += [(v, depth + 1) for v in value]
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            bits = value.bit_length()
            shown = f"{value:.3g}" if bits < 1000 else f"a number of {bits} bits"
            raise ConfigError(f"{where}: {shown} is not valid; valid: a number of 64 bits")
        elif isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{where}: {value} is not valid; valid: a finite number")
        elif not isinstance(value, str | int | float | None):
            raise ConfigError(f"{where}: {value!r:.60} is no text; write it in quotes")


def _parse_yaml(text: str) -> Json:
    """Parse YAML; 1e-3 is a number, and a key given twice an error. Raises ValueError."""
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            keys = [key.value for key, _ in node.value]
            if twice := [k for k in keys if keys.count(k) > 1 and k != "<<"]:
                raise ValueError(f"the key '{twice[0]}' stands here twice")
            return super().construct_mapping(node, deep)

    Loader.add_implicit_resolver(*_EXPONENT)
    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    except (LookupError, AttributeError) as error:  # from PyYAML, as for !!int "" and !!bool x
        raise ValueError("a value isn't what its tag says, such as !!int before text") from error
