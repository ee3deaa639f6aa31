"""Golden files of the authors' own code, unpacked."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

GOLDEN = Path(os.environ.get("SOAR_GOLDEN", Path(__file__).parent / "golden"))
"""Those of this repository, or fresh ones (`make test-foreign`)."""


@pytest.fixture(scope="session")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Unpack one of the golden files, once."""
    folders: dict[str, Path] = {}

    def unpack(name: str) -> Path:
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp(name)
            with tarfile.open(GOLDEN / f"{name}.tar.xz") as archive:
                # Pythons before 3.11.4 have no filters (PEP 706).
                archive.extraction_filter = getattr(
                    tarfile, "data_filter", lambda member, _: member
                )
                archive.extractall(folders[name])
        return folders[name]

    return unpack
