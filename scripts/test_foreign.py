"""Collect episodes with robots whose packages exclude soar's, each in an environment of its own (`make test-foreign`).

Builds the environments under SOAR_ENVS (~/.cache/soar/envs; a few GB), where they stay, collects by the station
files of examples/robots, and prints what docs/add-a-robot.md shows: the time, and the lines one has to write. "flax"
is no robot: there the papers' own code (JAX) makes fresh golden files, against which the converted weights are tested.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import yaml

from soar.data.store.lance import open_store

ROOT = Path(__file__).parents[1]
STATIONS = ROOT / "examples" / "robots"
ENVS = Path(os.environ.get("SOAR_ENVS", "~/.cache/soar/envs")).expanduser()
WIRE = ("msgpack", "websockets")


class Foreign(NamedTuple):
    """A robot of others."""

    station: str
    """Name of its station file, which is that of its environment."""
    packages: tuple[str, ...]
    """What pip installs."""
    files: tuple[str, ...]
    """Files that a newcomer writes."""
    options: tuple[str, ...] = ()
    """Options of pip."""
    policy: str = "python:wander:make"
    customize: str = ""
    """`sitecustomize.py` of its environment."""


LEROBOT = (
    "lerobot==0.4.4 lerobot_robot_dummy==1.0.1 torch==2.13.0 torchvision==0.22.1 numpy==2.4.6 draccus==0.10.0 "
    "mergedeep "
    "pyyaml toml pyyaml-include typing_inspect mypy_extensions typing_extensions opencv-python-headless<4.13 cachebox "
    "pyserial deepdiff orderly-set safetensors huggingface_hub==1.5.0 packaging filelock fsspec tqdm httpx "
    "httpcore h11 "
    "anyio idna certifi typer click einops pillow sympy mpmath jinja2 markupsafe networkx setuptools termcolor hf-xet "
    "shellingham rich pygments markdown-it-py mdurl requests urllib3 charset-normalizer accelerate psutil "
    "datasets==4.8.5 "
    "multiprocess==0.70.19 dill==0.4.1 pandas==3.1.1 python-dateutil pytz six xxhash pyarrow==26.0.1 jsonlines "
    "attrs av "
    "aiohttp aiosignal aiohappyeyeballs frozenlist multidict yarl propcache"
)
"""LeRobot 0.4.4 without what only training needs: its newest versions need Python 3.12 and several GB of CUDA."""
TORCHVISION = """
import sys

class BeforeTorchvision:  # its wheel on PyPI is for CUDA: beside a CPU torch two operators' schemas are missing
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch
            self.library = torch.library.Library("torchvision", "DEF")
            for operator in ("nms", "qnms"):
                schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                self.library.define(operator + schema)
            sys.kept = self

sys.meta_path.insert(0, BeforeTorchvision())
"""
"""`sitecustomize.py` of LeRobot's environment."""
FOREIGN = (
    Foreign("metaworld", ("metaworld==3.1.1", "packaging"), ("metaworld.yaml",)),
    Foreign("fetch", ("gymnasium-robotics==1.4.2", "mujoco<3.4"), ("fetch.yaml",)),
    Foreign(
        "lerobot",
        tuple(LEROBOT.split()),
        ("lerobot.yaml", "lerobot_dummy.py"),
        ("--no-deps",),
        "python:wander:make_joints",
        TORCHVISION,
    ),
)


JAX = (
    "jax==0.4.30 jaxlib==0.4.30 flax==0.8.5 diffusers==0.29.2 transformers==4.44.2 huggingface_hub==0.24.7 "
    "orbax-checkpoint==0.6.4 optax==0.2.3 distrax==0.1.5 tensorflow-probability==0.24.0 numpy<2 scipy<1.14 "
    "ml_collections einops overrides matplotlib"
)
FLAX = Foreign("flax", tuple(JAX.split()), ())
"""Environment of the papers' own code."""
REFERENCES: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("kvablack/susie", "8177f63", "make_golden_susie.py", ()),
    (
        "rail-berkeley/bridge_data_v2",
        "830fc9e",
        "make_golden_agents.py",
        ("gcbc", "gcbc50", "lcbc", "dgcbc"),
    ),
    ("nakamotoo/V-GPS", "912a290", "make_golden_agents.py", ("vgps", "vgps_iql")),
)
"""Repositories on GitHub, their commits, the script of tests/conversion that runs each, and what that makes."""


class Figures(NamedTuple):
    """Measured with one robot."""

    name: str
    install_s: float | None
    """Duration of the installation in seconds; None if it was there."""
    episodes: int
    """Episodes; of "flax" golden files."""
    wall_s: float
    cpu_s: float
    lines: int
    """Lines of the newcomer's files that aren't empty or comments."""


def build(robot: Foreign) -> float | None:
    """Build a robot's environment; return the duration in seconds, or None if it is there already."""
    folder = ENVS / robot.station
    if (folder / ".ready").exists():
        return None
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run(
        [folder / "bin" / "pip", "install", "--quiet", *robot.options, *robot.packages, *WIRE],
        check=True,
    )
    if robot.customize:
        (next(folder.glob("lib/python*/site-packages")) / "sitecustomize.py").write_text(
            robot.customize
        )
    (folder / ".ready").touch()
    return time.monotonic() - began


def collect(robot: Foreign, episodes: int) -> Figures:
    """Collect episodes with one robot into a temporary store, and check what is in it."""
    installed = build(robot)
    with tempfile.TemporaryDirectory() as folder:
        data = yaml.safe_load((STATIONS / f"{robot.station}.yaml").read_text())
        data["host"][0] = str(ENVS / robot.station / "bin" / "python")
        data["name"], data["timeout_s"] = (
            robot.station,
            60.0,
        )  # a software renderer on a busy machine is slow
        if "questions" in data:
            data["questions"] = str(STATIONS / data["questions"])
        station = Path(folder) / f"{robot.station}.yaml"
        station.write_text(yaml.safe_dump(data))
        store, before, began = Path(folder) / "store", _cpu_s(), time.monotonic()
        options = ["--episodes", str(episodes), "--subgoals", "none", "--policy", robot.policy]
        subprocess.run(
            [
                sys.executable,
                "-m",
                "soar",
                "collect",
                "--store",
                store,
                "--station",
                station,
                *options,
            ],
            check=True,
            cwd=STATIONS,  # where their modules are
        )
        wall_s, cpu_s = time.monotonic() - began, _cpu_s() - before
        found = list(open_store(store, read_only=True).query())
        assert len(found) == episodes, f"{robot.station}: {len(found)} episodes"
        if data.get("simulator"):
            assert all(e.provenance.truth is not None for e in found), "no truth"
    lines = sum(_lines(STATIONS / name) for name in robot.files)
    return Figures(robot.station, installed, episodes, wall_s, cpu_s, lines)


def convert() -> Figures:
    """Make fresh golden files with the papers' own code, and test `soar convert` against them."""
    installed = build(FLAX)
    tests = ROOT / "tests" / "conversion"
    before, began = _cpu_s(), time.monotonic()
    with tempfile.TemporaryDirectory() as golden:
        environment = {**os.environ, "SOAR_GOLDEN": golden, "JAX_PLATFORMS": "cpu"}
        for name, commit, script, made in REFERENCES:
            source = ENVS / FLAX.station / "src" / name
            if not source.exists():
                url = f"https://github.com/{name}"
                subprocess.run(["git", "clone", "--quiet", url, source], check=True)
            subprocess.run(["git", "checkout", "--quiet", commit], cwd=source, check=True)
            python = ENVS / FLAX.station / "bin" / "python"
            subprocess.run(
                [python, script, source, *made],
                check=True,
                cwd=tests,
                env=environment,
                stdout=subprocess.DEVNULL,
            )
        files = len(list(Path(golden).iterdir()))
        pytest = [sys.executable, "-m", "pytest", "-q", "-n0", str(tests)]
        subprocess.run(pytest, check=True, cwd=ROOT, env=environment)
    wall_s, cpu_s = time.monotonic() - began, _cpu_s() - before
    return Figures(FLAX.station, installed, files, wall_s, cpu_s, 0)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _lines(path: Path) -> int:
    return sum(
        bool(x.strip()) and not x.strip().startswith("#") for x in path.read_text().split("\n")
    )


def main() -> None:
    """Print a row for each robot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("robots", nargs="*", help="names of some robots, or flax; all by default")
    parser.add_argument("--episodes", type=int, default=20)
    args = parser.parse_args()
    known = {r.station: r for r in (*FOREIGN, FLAX)}
    if unknown := [n for n in args.robots if n not in known]:
        parser.error(f"no robot '{unknown[0]}'; valid: {', '.join(known)}")
    rows = []
    for name in args.robots or known:
        rows.append(convert() if name == FLAX.station else collect(known[name], args.episodes))
        print(rows[-1], flush=True)
    print(
        "\n| robot | lines to write | install | episodes | wall | CPU |\n|---|---|---|---|---|---|"
    )
    for row in rows:
        install = "was there" if row.install_s is None else f"{row.install_s:.0f} s"
        print(
            f"| {row.name} | {row.lines} | {install} | {row.episodes} | {row.wall_s:.0f} s | {row.cpu_s:.0f} s |"
        )


if __name__ == "__main__":
    main()
