"""What both golden drivers share: exact plain data, hashes, questions, and the command line. Knows nothing of soar."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from safetensors.torch import load_file

Json: TypeAlias = Any
Part: TypeAlias = Callable[[Path, Path], Json]
"""From the folder of the weights and an empty folder to work in, to numbers as plain data."""

PARTS = ("losses", "practice", "evaluation", "collection", "verdicts")
LIBRARIES = ("torch", "numpy", "mujoco", "transformers", "diffusers", "simplejpeg", "mink", "daqp")
"""Whose versions decide about the last bit, too."""

RENAMED = {
    f"{part}{now}": f"{part}{then}"
    for part in ("", "validation_")
    for now, then in (("attention", "gaze"), ("image", "imagined"))
}
"""Metrics of a training log, and their names at commit 975160d."""
UNTIMED = ("samples_per_s", "wait_share")
"""Of a training log, what depends on the clock."""

QUESTIONS = (
    "Is the orange pepper in the gray bowl?",
    "Is the pink block in the gray bowl?",
    "Is the gray bowl in the orange pepper?",
    "is the orange pepper currently inside of the gray bowl",
    "Is the orange pepper lying on top of the gray bowl?",
    "Has the orange pepper been put into the gray bowl?",
    "Does the gray bowl contain the orange pepper?",
    "Does the gray bowl hold the pink block in it?",
    "Is there an orange pepper in the gray bowl?",
    "Looking at the gray bowl, is the pink block in it?",
    "Would you say that the pink block is in the gray bowl?",
    "Is the pink block on the table?",
    "Is the pink block on the table, not in the gray bowl?",
    "Is the orange pepper lying on the bare table?",
    "Is the orange pepper on the left side of the table?",
    "Is the orange pepper on the right side of the table?",
    "Is the gray bowl at the left side of the image?",
    "Does the pink block lie on the right half of the table?",
    "Would you find the gray bowl on the left of this picture?",
    "Is the drawer open?",
    "Is the drawer completely shut?",
    "Has the drawer been opened?",
    "Is somebody done closing the drawer?",
    "Is the cloth folded?",
    "Is the light blue cloth spread out flat on the table?",
    "Has the cloth been unfolded?",
    "Do both halves of the cloth cover one another?",
    "Is there an orange pepper present?",
    "Is there any scissors present?",
    "Is there a purple eggplant on the table?",
    "Can you see a gray bowl?",
    "Does the image show a pink block?",
    "Is the metal pot visible?",
    "Could a robot find a green marker here?",
    "Are the chopsticks on the blue plate?",
    "ARE THE ORANGE PEPPER AND THE PINK BLOCK IN THE GRAY BOWL??",
    "Is the robot arm holding something?",
    "Is the gripper closed?",
    "Is the kettle on its base?",
    "How many things are on the table?",
    "put the orange pepper in the gray bowl",
    "  Is   the  orange pepper in a   gray bowl ?  ",
    "",
)
INSTRUCTIONS = (
    "put the orange pepper in the gray bowl",
    "remove the pink block from inside the gray bowl and put it on the table",
    "move the pink block to the left side",
    "open the drawer",
    "stand the bottle upright",
)


def exact(value: Json) -> Json:
    """Plain data with every float in hexadecimal."""
    if isinstance(value, Mapping):
        return {str(k): exact(v) for k, v in value.items()}
    if isinstance(value, float):
        return float(value).hex()
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [exact(v) for v in value]
    return value


def digest(*arrays: np.ndarray | torch.Tensor) -> str:
    """Hash of the types, shapes and bytes of some arrays."""
    total = hashlib.sha256()
    for array in map(np.ascontiguousarray, arrays):
        total.update(f"{array.dtype} {array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()[:16]


def run_in(folder: Path) -> Json:
    """The training run in a folder: losses and all else that was logged of each step, and the weights made.

    Weights are hashed in no order, whatever they are called.
    """
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    [weights] = folder.glob("*.safetensors")
    return {
        "losses": exact([row["loss"] for row in rows]),
        "logged": [
            exact({RENAMED.get(k, k): v for k, v in row.items() if k not in UNTIMED})
            for row in rows
        ],
        "weights": digest(np.array(sorted(map(digest, load_file(weights).values())))),
    }


def measure(parts: Mapping[str, Part], weights: Path, only: Sequence[str], source: Path) -> Json:
    """The numbers of some parts, and where and how long they were measured."""
    found: dict[str, Json] = {}
    seconds: dict[str, float] = {}
    for name in only:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as work:
            found[name] = parts[name](weights, Path(work))
        seconds[name] = round(time.monotonic() - began, 1)
        print(f"{name}: {seconds[name]} s", file=sys.stderr, flush=True)
    about = {"source": str(source), "machine": machine(), "seconds": seconds}
    return {"about": about, **found}


def machine() -> Json:
    """What must be the same for the same numbers, beside the code."""
    return {
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "bf16": bool(torch.cpu._is_avx512_bf16_supported()),
        "python": platform.python_version(),
        "renderer": os.environ.get("MUJOCO_GL", ""),
        **{name: version(name) for name in LIBRARIES},
    }


def run(parts: Mapping[str, Part], package: str | None) -> None:
    """The command line of a driver: measure, and write JSON. `package`: the file of the package measured."""
    parser = argparse.ArgumentParser(description="Measure what a refactoring mustn't change.")
    parser.add_argument("--weights", type=Path, required=True, help="folder of the four models")
    parser.add_argument("--out", type=Path, help="file for the JSON; left out, standard output")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts")
    told = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        parser.error("OMP_NUM_THREADS must be 1, so that nothing depends on the number of cores")
    torch.set_num_threads(1)
    source = Path(package or "").resolve().parent
    text = json.dumps(measure(parts, told.weights.resolve(), told.only, source), indent=1) + "\n"
    if told.out:
        told.out.write_text(text)
    else:
        print(text, end="")
