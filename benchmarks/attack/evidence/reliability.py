"""R: kills, signals and full disks."""

from __future__ import annotations

import os
import shutil
import signal
import time

import numpy as np
from benchmarks.attack.evidence.case import MADE, Finding, case, fill, small_disk, until
from benchmarks.attack.tools.checkout import Lab

from soar.types import WORKSPACE_HIGH, WORKSPACE_LOW

_SLACK_M = 1e-5
_ENDS_S = 45.0
"""Time in which an interrupted command must end on a busy machine [s]."""


@case("R1", "a training whose last export is missing, started again")
def missing_export(lab: Lab) -> Finding:
    words = ("train", "gcbc", "--store", MADE / "store", "--out", "out", "--preset", "debug")
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
    process = lab.start(
        *lab.collect("--station", lab.station("arm1", "close", process=True), "--hours", 1)
    )
    until((lab.folder / "store" / "stations" / "arm1" / "status.json").exists)
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


@case("R7", "the same collection started twice")
def twice(lab: Lab) -> Finding:
    words = lab.collect("--station", lab.station("arm1"), "--hours", 1)
    lab.start(*words)
    until((lab.folder / "store" / "stations" / "arm1" / "status.json").exists)
    ended = lab.run(*words, limit_s=90.0)
    return Finding(
        ended.code == 2 and ended.one_line,
        "works beside the first" if ended.code == 999 else ended.last,
    )


@case("R8", "a driver whose clock stands still, at the doctor's")
def still_clock(lab: Lab) -> Finding:
    lab.collect()
    station = lab.station("arm1", "time")
    ended = lab.run("doctor", "--station", station, "--models", "models.yaml", "--store", "store")
    failed = [s for s in ended.text.splitlines() if s.startswith("failed") and "time" in s]
    return Finding(bool(failed) and not ended.traceback, (failed or [ended.last])[0].strip())


@case("R4", "Ctrl-C of an evaluation of 8 trials in two processes")
def interrupted(lab: Lab) -> Finding:
    words = (
        "evaluate",
        "--scene",
        1,
        "--trials",
        8,
        "--workers",
        2,
        "--video-size",
        0,
        "--out",
        "out",
    )
    process = lab.start(*words)
    until((lab.folder / "out" / "evaluation.json").exists)
    time.sleep(45)  # its workers are at their first trials
    os.killpg(process.pid, signal.SIGINT)
    began = time.monotonic()
    ended = lab.end(process)
    took = time.monotonic() - began
    path = lab.folder / "out" / "trials.jsonl"
    kept = len(path.read_text().splitlines()) if path.exists() else 0
    return Finding(
        took < _ENDS_S and ended.code == 130 and not ended.traceback,
        f"exit code {ended.code} after {took:.0f} s{', a traceback' * ended.traceback}, {kept} trials kept; "
        f"{ended.last}",
    )


@case("R5", "a disk that is full for longer than two minutes while a station collects")
def full_store(lab: Lab) -> Finding:
    with small_disk(lab.folder / "disk", 8) as disk:
        store = disk / "store"
        process = lab.start(
            *lab.collect("--station", lab.station("arm1"), "--hours", 1, store=store)
        )
        until(lambda: len(lab.episodes("disk/store")) > 0)
        ballast = fill(disk, 0)
        went_on = not until(lambda: process.poll() is not None, 200.0)
        before = len(lab.episodes("disk/store"))
        ballast.unlink()
        again = went_on and until(lambda: len(lab.episodes("disk/store")) > before)
        if went_on:
            os.kill(process.pid, signal.SIGINT)
        ended = lab.end(process)
    return Finding(
        again and not ended.traceback,
        ("waits, and goes on" if again else "waits for ever" if went_on else "ended")
        + f"; {ended.last}",
    )


@case("R6", "a report on a full disk, where an older one lies")
def cut_off(lab: Lab) -> Finding:
    with small_disk(lab.folder / "disk", 8) as disk:
        run, page, old = lab.folder / "run", disk / "page.html", "<p>old</p>" * 2000
        shutil.copytree(MADE / "runs" / "finished", run)
        page.write_text(old)
        fill(disk, 10_000)
        ended = lab.run("report", run, "--out", page)
        whole = page.exists() and page.read_text() == old
        left = sorted(p.name for p in disk.iterdir() if p.name not in ("ballast", "page.html"))
    return Finding(
        ended.code == 2 and ended.one_line and whole and not left,
        f"the old page is {'whole' if whole else 'lost'}{', left: ' * bool(left)}{', '.join(left)}; {ended.last}",
    )
