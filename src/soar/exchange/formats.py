"""Formats of data sets: recognized by their files, and opened."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from soar.contract.contract import Contract
from soar.errors import ConfigError
from soar.exchange.damage import CheckedReader, check_regular, damage_named
from soar.exchange.lerobot.reader import LeRobotReader
from soar.exchange.raw import bridge, soar_logs
from soar.exchange.rlds.reader import RldsReader, find_data_set
from soar.exchange.stores import Reader

Format: TypeAlias = Literal["lerobot", "rlds", "soar-logs", "bridge-raw"]


def recognize(folder: Path) -> Format:
    """Return the format of a folder. Raises ConfigError: it is none that is known."""
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder")
    if (folder / "meta" / "info.json").exists():
        return "lerobot"
    if find_data_set(folder):
        return "rlds"
    if (folder / "store.json").exists():
        raise ConfigError(f"{folder} is a store already; `soar data merge` joins stores")
    for _, _, files in os.walk(folder):
        if soar_logs.MARK in files:
            return "soar-logs"
        if bridge.MARK in files:
            return "bridge-raw"
    raise ConfigError(
        f"{folder} is no data set that is known; valid: LeRobot v3.0 (meta/info.json), RLDS (features.json), "
        f"SOAR's logs ({soar_logs.MARK}), raw BridgeData ({bridge.MARK})"
    )


def open_data_set(
    folder: Path,
    format: Format | None = None,
    *,
    contract: Contract | None = None,
    camera: str = "",
    least_confidence: float = 0.0,
) -> Reader:
    """Open a data set of another format.

    Args:
        folder: its folder.
        format: its format; None recognizes it by its files.
        contract: meaning of its numbers, where the format doesn't tell.
        camera: name of the primary camera, for LeRobot.
        least_confidence: least confidence of a labeler in an instruction, for raw BridgeData.

    Raises:
        ConfigError: the folder is no such data set, or holds a pipe or a device.
    """
    found = format or recognize(folder)
    check_regular(folder)
    with damage_named(folder):
        reader = _reader(found, folder, contract, camera, least_confidence)
        return CheckedReader(reader, folder)


def _reader(
    format: Format, folder: Path, contract: Contract | None, camera: str, least_confidence: float
) -> Reader:
    if format == "lerobot":
        return LeRobotReader(folder, contract, camera)
    if format == "rlds":
        return RldsReader(folder, contract)
    if format == "soar-logs":
        return soar_logs.SoarLogReader(folder)
    if format == "bridge-raw":
        return bridge.BridgeReader(folder, least_confidence)
    raise ConfigError(f"format {format!r}; valid: {', '.join(get_args(Format))}")
