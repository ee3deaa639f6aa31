"""What any commit's command line does with the faults found in the field: works, or fails, with the words it said.

python -m benchmarks.attack.evidence                                # this checkout
python -m benchmarks.attack.evidence --source CHECKOUT --only F2 R7  # another commit's, with this environment
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from benchmarks.attack.tools.checkout import LIMIT_S, ROOT, Lab, chat_server
from benchmarks.attack.tools.raw_server import RawServer
from PIL import Image

from soar.types import WORKSPACE_HIGH, WORKSPACE_LOW

_MADE = ROOT / "tests" / "formats" / "made_by_975160d"
_SLACK_M = 1e-5


class Finding(NamedTuple):
    """What a case showed."""

    works: bool
    seen: str


Case = Callable[[Lab], Finding]
CASES: dict[str, tuple[str, Case]] = {}
"""What is put in, and the function that tries it, by the name of the case."""


def case(name: str, given: str) -> Callable[[Case], Case]:
    """Register a case."""

    def register(function: Case) -> Case:
        CASES[name] = (given, function)
        return function

    return register


@case("F2", "two stations; the process of one is killed in its first episode")
def killed_station(lab: Lab) -> Finding:
    stations = lab.station("arm1", "killed"), lab.station("arm2")
    ended = lab.run(*lab.collect("--station", *stations, "--episodes", 4))
    count = len(lab.episodes())
    return Finding(
        ended.code == 0 and count == 4 and "4 episodes" in ended.text,
        f"{count} of 4 episodes; {ended.last}",
    )


@case("F3", "a frame of another size within an episode")
def other_size(lab: Lab) -> Finding:
    ended = lab.run(*lab.collect("--station", lab.station("arm1", "size"), "--episodes", 1))
    sizes = {e.images.shape[1:3] for e in lab.episodes()}
    return Finding(
        ended.code == 0 and sizes == {(32, 32)},
        f"{len(sizes)} sizes of stored frames; {ended.last}",
    )


@case("F5", "a roll of NaN within an episode")
def not_finite(lab: Lab) -> Finding:
    ended = lab.run(*lab.collect("--station", lab.station("arm1", "nan"), "--episodes", 1))
    found = lab.episodes()
    wrong = sum(not np.isfinite(e.states).all() for e in found)
    return Finding(
        ended.code == 0 and len(found) == 1 and not wrong,
        f"{wrong} of {len(found)} stored episodes hold NaN; {ended.last}",
    )


@case("F9", "a chat server that refuses max_tokens")
def dialect(lab: Lab) -> Finding:
    with chat_server("yes", "max_tokens") as server:
        ended = lab.ask(server.name)
    return Finding(ended.code == 0 and "1.000" in ended.text, ended.last)


@case("F11", "a reply with square brackets, '[/INST] yes'")
def brackets(lab: Lab) -> Finding:
    with chat_server("[/INST] yes") as server:
        ended = lab.ask(server.name)
    return Finding(ended.code == 0 and "[/INST]" in ended.text, ended.last)


@case("F12", "--episodes 1 with two stations")
def shares(lab: Lab) -> Finding:
    stations = lab.station("arm1"), lab.station("arm2")
    ended = lab.run(*lab.collect("--station", *stations, "--episodes", 1))
    count = len(lab.episodes())
    return Finding(ended.code == 0 and count == 1, f"{count} episodes stored")


@case("F14", "a 16-bit gray PNG of half brightness")
def deep_image(lab: Lab) -> Finding:
    image = lab.folder / "gray16.png"
    Image.fromarray(np.full((64, 64), 32768, np.uint16)).save(image)
    with chat_server("yes") as server:
        ended = lab.ask(server.name, image)
        sent = [float(np.asarray(Image.open(io.BytesIO(b))).mean()) for b in server.images]
    right = bool(sent) and abs(sent[0] - 128) < 5
    return Finding(right, f"the VLM saw brightness {sent[0]:.0f} of 255" if sent else ended.last)


@case("S4", "--policy of a run's folder whose run.json names python:theirs:load")
def foreign_code(lab: Lab) -> Finding:
    run, marker = lab.folder / "theirs_run", lab.folder / "ran"
    run.mkdir()
    record = json.loads((_MADE / "runs" / "finished" / "run.json").read_text())
    record["models"]["policy"] = "python:theirs:load"
    (run / "run.json").write_text(json.dumps(record))
    code = f"open({str(marker)!r}, 'w').close()\nraise SystemExit('their code ran')\n"
    (lab.folder / "theirs.py").write_text(code)
    words = lab.collect("--station", lab.station("arm1"), "--episodes", 1, "--policy", run)
    ended = lab.run(*words)
    return Finding(not marker.exists() and ended.code == 2, ended.last)


@case("S5", "a server that sends 100 Continue for ever")
def endless(lab: Lab) -> Finding:
    server = RawServer()
    server.reply, server.pause_s = (b"HTTP/1.1 100 Continue\r\n\r\n",) * 100_000, 0.05
    ended = lab.ask(f"chat:m@{server.url}/v1", limit_s=LIMIT_S)
    server.close()
    return Finding(ended.code == 2, ended.last)


@case("S8", "a station's status.json that holds []")
def wrong_status(lab: Lab) -> Finding:
    shutil.copytree(_MADE / "store", lab.folder / "store")
    for path in (lab.folder / "store").glob("stations/*/status.json"):
        path.write_text("[]")
    ended = lab.run("status", "--store", "store")
    return Finding(ended.one_line, ended.last)


@case("S9", "an evaluation that names a file outside of it as a video")
def foreign_video(lab: Lab) -> Finding:
    run, secret = lab.folder / "run", lab.folder / "secret.mp4"
    shutil.copytree(_MADE / "runs" / "finished", run)
    data = next(run.rglob("*.mp4")).read_bytes() + b"secret" * 20
    secret.write_bytes(data)
    for path in run.glob("evaluations/*/trials.jsonl"):
        trials = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps({**t, "video": str(secret)}) + "\n" for t in trials))
    ended = lab.run("report", run, "--out", "page.html")
    page = lab.folder / "page.html"
    held = page.exists() and base64.b64encode(data)[:-8].decode() in page.read_text()
    return Finding(not held and ended.one_line, "the file is in the page" if held else ended.last)


@case("S10", "a checkpoint whose weights are a named pipe")
def pipe(lab: Lab) -> Finding:
    folder = lab.folder / "vlm"
    shutil.copytree(_MADE / "checkpoints" / "vlm", folder)
    about = json.loads((folder / "checkpoint.json").read_text())
    (folder / about["weights"]).unlink()
    os.mkfifo(folder / about["weights"])
    ended = lab.ask(str(folder), limit_s=120.0)
    return Finding(ended.code == 2 and ended.one_line, ended.last)


@case("S13", "a station whose webhook is file:///etc/hostname")
def webhook(lab: Lab) -> Finding:
    station = lab.station("arm1", webhook="file:///etc/hostname")
    lab.collect()
    ended = lab.run("doctor", "--station", station, "--models", "models.yaml", "--store", "store")
    fine = [line for line in ended.text.splitlines() if "webhook" in line and "ok" in line.split()]
    return Finding(
        not fine and ended.one_line and ended.code != 0, (fine or [ended.last])[0].strip()
    )


@case("S14", "a reply with a terminal's control characters")
def escapes(lab: Lab) -> Finding:
    with chat_server("yes\x1b]0;title\x07") as server:
        ended = lab.ask(server.name)
    raw = "\x1b]0;" in ended.text
    return Finding(
        ended.code == 0 and not raw, "sent to the terminal" if raw else "shown, not sent"
    )


@case("R1", "a training whose last export is missing, started again")
def missing_export(lab: Lab) -> Finding:
    words = ("train", "gcbc", "--store", _MADE / "store", "--out", "out", "--preset", "debug")
    first = lab.run(*words)
    (lab.folder / "out" / "checkpoint.json").unlink(missing_ok=True)
    again = lab.run(*words)
    there = (lab.folder / "out" / "checkpoint.json").exists()
    return Finding(
        first.code == 0 and again.code == 0 and there,
        f"exit code {again.code}, {'a' if there else 'no'} checkpoint; {again.last}",
    )


@case("R2", "SIGHUP to all processes of a collection whose driver closes in 2 s")
def lost_connection(lab: Lab) -> Finding:
    process = lab.start(*lab.collect("--station", lab.station("arm1", "close", process=True), "--hours", 1))  # fmt: skip
    _until((lab.folder / "store" / "stations" / "arm1" / "status.json").exists)
    time.sleep(2)
    os.killpg(process.pid, signal.SIGHUP)
    ended = lab.end(process)
    closed = (lab.folder / "arm1.marker").exists()
    return Finding(
        closed and not ended.traceback, f"close() {'ended' if closed else 'did not end'}"
    )


@case("R3", "a policy that pushes outward, an arm that goes half of the way in each step")
def lagging(lab: Lab) -> Finding:
    words = lab.collect("--station", lab.station("arm1", "lag"), "--episodes", 3, policy="wild")
    ended = lab.run(*words)
    path = lab.folder / "arm1.marker"
    visited = np.loadtxt(path) if path.exists() else np.zeros((0, 3))
    low, high = np.array(WORKSPACE_LOW), np.array(WORKSPACE_HIGH)
    out = float(np.maximum(low - visited, visited - high).max(initial=-1.0))
    return Finding(
        len(visited) > 100 and out < _SLACK_M,
        f"up to {1000 * max(out, 0):.0f} mm outside in {len(visited)} steps; {ended.last}"[:120],
    )


@case("R6", "a training on a disk of 1 MB")
def small_disk(lab: Lab) -> Finding:
    disk = lab.folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        return Finding(False, "not tried: mounting isn't permitted")
    try:
        (disk / "ballast").write_bytes(bytes(900_000))
        words = ("train", "gcbc", "--store", _MADE / "store", "--out", disk / "out", "--preset")
        ended = lab.run(*words, "debug")
        left = [p.name for p in disk.rglob("*tmp*")]
    finally:
        subprocess.run(["umount", str(disk)], check=False)
    return Finding(ended.code == 2 and ended.one_line and not left, ended.last)


@case("R7", "the same collection started twice")
def twice(lab: Lab) -> Finding:
    words = lab.collect("--station", lab.station("arm1"), "--hours", 1)
    lab.start(*words)
    _until((lab.folder / "store" / "stations" / "arm1" / "status.json").exists)
    ended = lab.run(*words, limit_s=90.0)
    return Finding(ended.code == 2 and ended.one_line, "works beside the first" if ended.code == 999 else ended.last)  # fmt: skip


@case("R8", "a driver whose clock stands still, at the doctor's")
def still_clock(lab: Lab) -> Finding:
    lab.collect()
    station = lab.station("arm1", "time")
    ended = lab.run("doctor", "--station", station, "--models", "models.yaml", "--store", "store")
    failed = [s for s in ended.text.splitlines() if s.startswith("failed") and "time" in s]
    return Finding(bool(failed) and not ended.traceback, (failed or [ended.last])[0].strip())


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)


def tried(name: str, source: Path) -> Finding:
    """Try a case with a checkout's command line in a new folder."""
    lab = Lab(source, Path(tempfile.mkdtemp(prefix=f"soar-{name}-")))
    try:
        return CASES[name][1](lab)
    finally:
        lab.close()
        shutil.rmtree(lab.folder, ignore_errors=True)


def main() -> int:
    """Print a row for each case, and return 1 if one fails."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.attack.evidence", description=__doc__
    )
    parser.add_argument("--source", type=Path, default=ROOT, help="a checkout of any commit")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    options = parser.parse_args()
    print("| case | put in | result | what it did |\n|---|---|---|---|")
    failures = 0
    for name in options.only:
        works, seen = tried(name, options.source.resolve())
        failures += not works
        shown = re.sub(r"[^ -~]", "", seen).replace("|", "/")[:160]
        print(f"| {name} | {CASES[name][0]} | {'works' if works else 'fails'} | {shown} |", flush=True)  # fmt: skip
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
