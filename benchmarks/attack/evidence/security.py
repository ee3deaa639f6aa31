"""S: what strangers send, store and name."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import ssl
import subprocess
import time
from pathlib import Path

import lance
import numpy as np
from benchmarks.attack.evidence.case import MADE, Finding, case
from benchmarks.attack.tools.checkout import LIMIT_S, Lab, chat_server
from benchmarks.attack.tools.raw_server import RawServer

from soar.utils.media import read_video, write_video

_ODD = (255, 0, 255)
"""Color of a video that isn't part of a run."""


@case("S1", "chat:m@HTTPS://localhost with a certificate that nobody vouches for")
def unverified(lab: Lab) -> Finding:
    names = ("-keyout", lab.folder / "key", "-out", lab.folder / "certificate")
    made = (
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        *map(str, names), "-subj", "/CN=localhost",
    )  # fmt: skip
    subprocess.run(made, check=True, capture_output=True)
    with chat_server("yes") as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(lab.folder / "certificate", lab.folder / "key")
        server.secure(context)
        ended = lab.ask(server.name.replace("http://127.0.0.1", "HTTPS://localhost"))
    sent = bool(server.images)
    return Finding(not sent and ended.code == 2, "the request was sent" if sent else ended.last)


@case("S2", "replies with an integer of 5,000 digits, and a number of 400 digits as a probability")
def digits(lab: Lab) -> Finding:
    seen = []
    for text in ('{"choices": %s}' % ("1" * 5000), _with_probability("9" * 400)):
        with chat_server("yes", body=text) as server:
            ended = lab.ask(server.name)
        if not ended.one_line:
            seen.append(ended.last)
    return Finding(not seen, "; ".join(seen) or ended.last)


@case("S3", "a module cupy.py in the current folder, at data ls")
def current_folder(lab: Lab) -> Finding:
    marker = lab.folder / "ran"
    (lab.folder / "cupy.py").write_text(f"open({str(marker)!r}, 'w').close()")
    ended = lab.run("data", "ls", "--store", MADE / "store")
    return Finding(
        ended.code == 0 and not marker.exists(), "it was run" if marker.exists() else ended.last
    )


@case("S4", "--policy of a run's folder whose run.json names python:theirs:load")
def foreign_code(lab: Lab) -> Finding:
    run, marker = lab.folder / "theirs_run", lab.folder / "ran"
    run.mkdir()
    record = json.loads((MADE / "runs" / "finished" / "run.json").read_text())
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


@case("S10", "a checkpoint whose weights are a named pipe")
def pipe(lab: Lab) -> Finding:
    folder = lab.folder / "vlm"
    shutil.copytree(MADE / "checkpoints" / "vlm", folder)
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


@case("S6", "replies of 4,000 and 16,000 newlines")
def newlines(lab: Lab) -> Finding:
    took = []
    for count in (4000, 16000):
        with chat_server(count * "\n" + "x") as server:
            began = time.monotonic()
            ended = lab.ask(server.name, limit_s=120.0)
            took.append(time.monotonic() - began)
    return Finding(
        ended.code == 0 and took[1] < took[0] + 4,
        f"{took[0]:.0f} s and {took[1]:.0f} s; {ended.last}",
    )


@case("S7", "a log-probability of 99 for yes, NaN for no")
def impossible(lab: Lab) -> Finding:
    with chat_server("yes", body=_with_probability("99")) as server:
        ended = lab.ask(server.name)
    label = re.search(r"\b(0\.\d{3}|1\.000)\b", ended.text)
    return Finding(
        ended.code == 0 and label is None, f"P(yes) = {label[0]}" if label else "no label"
    )


def _with_probability(yes: str) -> str:
    """A reply of a chat server whose token "yes" has a log-probability."""
    tokens = f'[{{"token": "yes", "logprob": {yes}}}, {{"token": "no", "logprob": NaN}}]'
    content = f'[{{"token": "yes", "logprob": {yes}, "top_logprobs": {tokens}}}]'
    message = '{"role": "assistant", "content": "yes"}'
    return f'{{"choices": [{{"message": {message}, "logprobs": {{"content": {content}}}}}]}}'


@case(
    "S8", "a store whose row has the id of a file elsewhere, at data video; events of a wrong form"
)
def foreign_id(lab: Lab) -> Finding:
    store, outside = lab.folder / "store", lab.folder / "outside"
    shutil.copytree(MADE / "store", store)
    outside.mkdir()
    rows = lance.dataset(store / "episodes.lance")
    id = rows.to_table(columns=["id"])["id"][0].as_py()
    shutil.copy(store / "steps" / id[:8] / f"{id}.lance", outside / "evil.lance")
    rows.update({"id": f"'{outside / 'evil'}'"}, where=f"id = '{id}'")
    video = lab.run("data", "video", "evil", "--store", store)
    for path in store.glob("stations/*"):
        (path / "events.jsonl").write_text('[]\n{"kind": 3}\n')
    status = lab.run("status", "--store", store)
    wrote = (outside / "evil.mp4").exists()
    seen = "a file elsewhere was written" if wrote else video.last
    works = not wrote and video.one_line and status.one_line
    return Finding(works, f"{seen}; status: {status.last if not status.one_line else 'ok'}")


@case("S9", "an evaluation that names ../ files, and then a named pipe, as its videos")
def foreign_video(lab: Lab) -> Finding:
    run, page = lab.folder / "run", lab.folder / "page.html"
    shutil.copytree(MADE / "runs" / "finished", run)
    write_video(lab.folder / "secret.mp4", [np.full((64, 64, 3), _ODD, np.uint8)] * 20)
    _name_videos(run, "../../../secret.mp4")
    ended = lab.run("report", run, "--out", page)
    held = page.exists() and any(_is_odd(v) for v in _videos(page.read_text(), lab.folder))
    for folder in run.glob("evaluations/*"):
        os.mkfifo(folder / "pipe.mp4")
    _name_videos(run, "pipe.mp4")
    pipe = lab.run("report", run, "--out", page, limit_s=120.0)
    seen = "the foreign video is in the page" if held else ended.last
    return Finding(not held and ended.one_line and pipe.one_line, f"{seen}; a pipe: {pipe.last}")


def _name_videos(run: Path, name: str) -> None:
    for path in run.glob("evaluations/*/trials.jsonl"):
        trials = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps({**t, "video": name}) + "\n" for t in trials))


def _videos(page: str, folder: Path) -> list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    found = []
    for data in re.findall(r"data:video/mp4;base64,([\w+/=]+)", page):
        path = folder / "found.mp4"
        path.write_bytes(base64.b64decode(data))
        found.append(read_video(path))
    return found


def _is_odd(video: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bool:
    """Whether a good part of the first frame has the odd color."""
    near = np.abs(video[0].astype(int) - _ODD).max(-1) < 60
    return bool(near.mean() > 0.1)


@case("S11", "a password in an endpoint's address")
def password(lab: Lab) -> Finding:
    ended = lab.ask("chat:m@http://me:TOPSECRET@127.0.0.1:9/v1")
    shown = "TOPSECRET" in ended.text
    return Finding(not shown and ended.one_line, "it is shown" if shown else ended.last)


@case("S12", "a station's file that is nested 3,000 deep")
def deep(lab: Lab) -> Finding:
    station = lab.folder / "arm1.yaml"
    station.write_text("tasks: " + 3000 * "[" + 3000 * "]")
    ended = lab.run(*lab.collect("--station", station, "--episodes", 1))
    return Finding(ended.code == 2 and ended.one_line, ended.last)


@case("S15", "--version of 30 digits, http://[::1/, --limit=-1, a station named ..")
def wrong_words(lab: Lab) -> Finding:
    store = ("--store", MADE / "store")
    tries = (
        ("data", "ls", *store, "--limit=-1"),
        ("data", "ls", *store, f"--version={30 * '9'}"),
        ("vlm", "ask", MADE, "Is it?", "--vlm", "chat:m@http://[::1/"),
        lab.collect("--station", lab.station("arm1", name=".."), "--episodes", 1),
    )
    taken = []
    for words in tries:
        ended = lab.run(*words)
        if ended.code != 2 or not ended.one_line:
            taken.append(ended.last[:60])
    return Finding(not taken, "; ".join(taken) or "refused")


@case(
    "S16", "a run with a title of one word of 5,000 letters, its report in Chromium 1,200 px wide"
)
def long_word(lab: Lab) -> Finding:
    from playwright.sync_api import sync_playwright

    run, page = lab.folder / "run", lab.folder / "page.html"
    shutil.copytree(MADE / "runs" / "finished", run)
    record = json.loads((run / "run.json").read_text())
    record["title"] = record["command"] = 5000 * "x"
    (run / "run.json").write_text(json.dumps(record))
    ended = lab.run("report", run, "--out", page)
    if not page.exists():
        return Finding(False, ended.last)
    with sync_playwright() as driver:
        path = shutil.which("chromium") or shutil.which("google-chrome")
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1200, "height": 900})
        tab.goto(page.as_uri())
        width = tab.evaluate("document.documentElement.scrollWidth")
        browser.close()
    return Finding(width <= 1200, f"{width} px wide")
