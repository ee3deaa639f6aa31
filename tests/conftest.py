"""Array shapes and types in annotations are checked at run time in every test."""

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from jaxtyping import install_import_hook

if TYPE_CHECKING:
    from object_storage import Gate

os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Tests run side by side: threads would wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# An int is a float, as PEP 484 and mypy have it.
install_import_hook("soar", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")


@pytest.fixture(scope="session")
def help_of() -> Callable[[str], str]:
    """A function that returns a command's help, which takes up to a second, made once."""
    from soar.cli import main

    @cache
    def shown(command: str) -> str:
        text, patch = io.StringIO(), pytest.MonkeyPatch()
        patch.setenv("COLUMNS", "200")
        with contextlib.redirect_stdout(text), pytest.raises(SystemExit) as stop:
            main([*command.split(), "--help"])
        patch.undo()
        assert not stop.value.code
        return text.getvalue()

    return shown


@pytest.fixture(scope="module")
def warm_workers() -> Iterator[None]:
    """Worker processes are forks of one that has imported torch, which else each of them would for seconds."""
    from multiprocessing import get_context

    from soar.utils import processes

    context = get_context("forkserver")
    context.set_forkserver_preload(["torch", "transformers", "soar.nn.text"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "get_context", lambda _: context)
        yield


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """Address of an S3 on loopback."""
    from object_storage import s3_server

    with s3_server() as address:
        yield address


@pytest.fixture
def bucket(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of an empty bucket, which the environment gives access to."""
    from object_storage import new_bucket, s3_environment
    from soar.utils import objects

    for name, value in s3_environment(s3).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SOAR_CACHE", str(tmp_path / "cache"))
    objects._opened.cache_clear()
    return new_bucket(s3)


@pytest.fixture
def gate(s3: str, bucket: str, monkeypatch: pytest.MonkeyPatch) -> "Iterator[Gate]":
    """The way to the S3 of `bucket`, which a test may shut."""
    from object_storage import Gate
    from soar.utils import objects

    made = Gate(s3)
    monkeypatch.setenv("AWS_ENDPOINT_URL", made.address)
    objects._opened.cache_clear()
    yield made
    made.close()
