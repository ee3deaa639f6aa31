"""Modules of the current folder: imported only where a user names one of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from soar.errors import ConfigError
from soar.plugins import component

STOLEN = "import pathlib; pathlib.Path(__file__).with_suffix('.ran').touch()\n"


def hostile_folder(folder: Path) -> Path:
    """A folder with modules that note when they are imported."""
    for name in (
        "pandas",
        "pickle",
        "socket",
        "multiprocessing",
        "mujoco",
        "sitecustomize",
        "cupy",
    ):
        (folder / f"{name}.py").write_text(STOLEN)
    return folder


CHILD = """
import sys
from soar.cli import main
try:
    main(["--version"])
finally:
    import multiprocessing as mp
    child = mp.get_context("spawn").Process(target=print, args=("child",))
    child.start()
    child.join()
"""


def soar_in(folder: Path, *command: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONSAFEPATH"}
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("-P", "-c", CHILD),
        ("-m", "soar", "status", "--store", "none"),
    ],
)
def test_no_command_and_no_child_process_imports_from_the_current_folder(command, tmp_path):
    hostile_folder(tmp_path)
    shown = soar_in(tmp_path, *command)
    assert "child" in shown or "soar: " in shown
    assert not list(tmp_path.glob("*.ran"))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def test_a_function_of_a_module_in_the_current_folder_is_found_and_may_import_its_neighbors(here):
    (here / "my_arm_24.py").write_text("def make():\n    import my_driver_24\n    return 5\n")
    (here / "my_driver_24.py").write_text("")
    assert component("my_arm_24:make")() == 5
    assert sys.path[-1] == str(here)


def test_an_installed_module_is_not_replaced_by_one_in_the_current_folder(here):
    hostile_folder(here)
    assert component("json:loads")("1") == 1
    assert str(here) not in sys.path
    assert not list(here.glob("*.ran"))


@pytest.mark.parametrize("target", ["", ":", "os", "os:none", "os:sep", ".os:sep", "none_24:make"])
def test_a_name_without_a_callable_is_an_error_in_one_line(target):
    with pytest.raises(ConfigError, match="valid: package"):
        component(target)


def test_a_module_with_an_error_is_told_with_its_line(here):
    (here / "broken_24.py").write_text("1 / 0\n")
    with pytest.raises(ConfigError, match=r"ZeroDivisionError at .*broken_24\.py:1"):
        component("broken_24:make")
