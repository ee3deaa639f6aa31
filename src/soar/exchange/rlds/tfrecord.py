"""TFRecord files: a sequence of byte strings, each framed by its length and checksums.

    uint64 length | uint32 masked CRC-32C of the length | bytes | uint32 masked CRC-32C of the bytes

All numbers are little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from soar.errors import ConfigError

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")


def write_record(file: BinaryIO, data: bytes) -> int:
    """Write one record and return its size in the file [bytes]."""
    length = struct.pack("<Q", len(data))
    file.write(length + _FOOTER.pack(masked_crc32c(length)))
    file.write(data)
    file.write(_FOOTER.pack(masked_crc32c(data)))
    return record_size(data)


def record_size(data: bytes) -> int:
    """Return the size of a record in the file [bytes]."""
    return _HEADER.size + len(data) + _FOOTER.size


def read_records(path: Path) -> Iterator[bytes]:
    """Yield the records of a file in order, checking both checksums; one is in memory at a time.

    Raises:
        ConfigError: the file is missing, cut short or damaged; the message names the record.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            index = 0
            while file.tell() < size:
                data = _read_record(file, size)
                if data is None:
                    raise ConfigError(f"{path} is damaged at record {index}; fetch it again")
                yield data
                index += 1
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}") from error


def masked_crc32c(data: bytes) -> int:
    """Return the CRC-32C of bytes, rotated and shifted by a constant as TFRecord files store it."""
    from google_crc32c import value

    crc = int(value(data))
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _read_record(file: BinaryIO, size: int) -> bytes | None:
    """Read a record; None for a damaged one."""
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    length, crc = _HEADER.unpack(header)
    if masked_crc32c(header[:8]) != crc or file.tell() + length + _FOOTER.size > size:
        return None
    data = file.read(length)
    (crc,) = _FOOTER.unpack(file.read(_FOOTER.size))
    return data if masked_crc32c(data) == crc else None
