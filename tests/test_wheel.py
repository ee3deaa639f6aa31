"""The wheel holds everything that the package needs, weights included, and works without the sources."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ACT = """
import numpy as np, soar, sys
from soar.registry import load_policy, load_vlm
from soar.types import Observation
assert sys.argv[1] in soar.__file__, soar.__file__
image = np.zeros((256, 256, 3), np.uint8)
seen = Observation(image, np.zeros(7, np.float32), 0.0)
for name, goals in (("gcbc", image[None]), ("lcbc", ["put the lemon on the plate"])):
    assert load_policy(name).act([seen], goals, np.random.default_rng(0)).shape == (1, 7)
print(load_vlm().name)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the sources, so that no build folder lies beside them."""
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "src", "pyproject.toml", "README.md", "LICENSE"],
        cwd=ROOT, check=True, capture_output=True,
    ).stdout.decode()  # fmt: skip
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--no-index", "--wheel-dir", str(out), str(copy)], check=True)
    return next(out.glob("*.whl"))


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    listed = subprocess.run(
        ["git", "ls-files", "-z", "src/soar"], cwd=ROOT, check=True, capture_output=True
    ).stdout.decode()
    names = {n.removeprefix("src/") for n in listed.split("\0") if n and (ROOT / n).exists()}
    assert not sorted(names - held)
    assert any(n.startswith("soar/weights/vlm/") for n in held)


def test_the_wheel_works_without_the_sources(wheel: Path, tmp_path: Path) -> None:
    """In an environment of its own, which finds only the dependencies of this one."""
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    site = next((tmp_path / "env" / "lib").glob("python*/site-packages"))
    zipfile.ZipFile(wheel).extractall(site)
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    for words, shown in (
        (["-c", ACT, str(site)], "compact"),
        (["-m", "soar", "--help"], "soar serve policy"),
    ):
        done = subprocess.run(
            [str(python), "-I", *words], capture_output=True, text=True, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        assert shown in done.stdout
