"""F: what drivers, environments, models and files of the field give."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from benchmarks.attack.evidence.case import Finding, case
from benchmarks.attack.tools.checkout import ROOT, Lab, chat_server
from PIL import Image


@case("F1", "a reply with 'no' in it that says that one can't tell")
def no_answer(lab: Lab) -> Finding:
    with chat_server("The image is dark; there is no way for me to tell.") as server:
        ended = lab.ask(server.name)
    made_up = [word for word in ("0.000", "1.000") if word in ended.text]
    return Finding(
        ended.code == 0 and not made_up, f"P(yes) = {made_up[0]}" if made_up else ended.last
    )


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


@case("F5", "once a state of None, of 8 numbers, of text, without an image")
def wrong_returns(lab: Lab) -> Finding:
    seen = []
    for fault in ("none_state", "wide", "text", "no_image"):
        station = lab.station(fault, fault)
        ended = lab.run(*lab.collect("--station", station, "--episodes", 1, store=fault))
        count = len(lab.episodes(fault))
        if ended.code or count != 1:
            seen.append(f"{fault}: {count} of 1 episodes; {ended.last}"[:70])
    return Finding(not seen, "; ".join(seen) or "1 of 1 episodes each time")


@case("F6", "a Gymnasium environment with a time limit of 30 steps")
def time_limit(lab: Lab) -> Finding:
    ended = lab.run(*lab.collect("--station", _environment(lab, limit=30), "--episodes", 1))
    lengths = [len(e.actions) for e in lab.episodes()]
    steps = len(_executed(lab))
    return Finding(
        ended.code == 0 and len(lengths) == 1 and sum(lengths) <= steps,
        f"{len(lengths)} of 1 episodes, {sum(lengths)} stored steps, {steps} of the environment; {ended.last}",
    )


@case("F7", "homing of a Gymnasium environment whose actions have no limits")
def homing(lab: Lab) -> Finding:
    ended = lab.run(*lab.collect("--station", _environment(lab, limit=0), "--episodes", 3))
    actions = np.abs(_executed(lab))
    step, turn = (float(actions[:, part].max(initial=0)) for part in (slice(3), slice(3, 6)))
    return Finding(
        ended.code == 0 and len(actions) > 100 and step < 0.0501 and turn < 0.3501,
        f"steps of up to {100 * step:.0f} cm and {turn:.2f} rad; {ended.last}",
    )


def _environment(lab: Lab, limit: int) -> Path:
    options = {"marker": str(lab.folder / "actions"), "limit": limit}
    return lab.station("arm1", robot="benchmarks.attack.tools.lab:environment", options=options)


def _executed(lab: Lab) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    path = lab.folder / "actions"
    return np.loadtxt(path, ndmin=2) if path.exists() else np.zeros((0, 7))


@case("F8", "realtime: 'no' and a step limit of -1 in a station's file")
def settings(lab: Lab) -> Finding:
    wrong: tuple[dict[str, object], ...] = ({"realtime": "no"}, {"box": {"max_step_m": -1}})
    taken = []
    for keys in wrong:
        station = lab.station("arm1", **keys)
        ended = lab.run(*lab.collect("--station", station, "--episodes", 1))
        if ended.code != 2 or ended.traceback:
            taken.append(f"{json.dumps(keys)}: {ended.last}")
    return Finding(not taken, "; ".join(taken) or "refused")


@case(
    "F10", "InstructPix2Pix folders: a tokenizer without a length; fp16 weights alone; Flax weights"
)
def diffusers_folders(lab: Lab) -> Finding:
    sys.path.insert(0, str(ROOT / "examples"))
    from own_subgoals import make_tiny_model

    changes: tuple[tuple[str, Callable[[Path], None], int], ...] = (
        ("no length", _no_length, 0), ("fp16", _fp16, 0), ("Flax", _flax, 2),
    )  # fmt: skip
    seen = []
    for name, change, code in changes:
        folder = lab.folder / name.replace(" ", "-")
        folder.mkdir()
        make_tiny_model(folder)
        change(folder)
        words = lab.collect(
            "--station", lab.station("arm1"), "--episodes", 1, "--subgoals", f"susie:{folder}"
        )
        ended = lab.run(*words)
        right = ended.code == code and not ended.traceback and (not code or name in ended.text)
        if not right:
            seen.append(f"{name}: {ended.last[:60]}")
    return Finding(not seen, "; ".join(seen) or "the first two generate; Flax is named")


def _no_length(folder: Path) -> None:
    path = folder / "tokenizer" / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    del settings["model_max_length"]
    path.write_text(json.dumps(settings))


def _fp16(folder: Path) -> None:
    for path in folder.rglob("*.safetensors"):
        path.rename(path.with_name(path.name.replace(".safetensors", ".fp16.safetensors")))


def _flax(folder: Path) -> None:
    for path in folder.rglob("diffusion_pytorch_model.safetensors"):
        path.rename(path.with_name("diffusion_flax_model.msgpack"))


@case("F13", "a station's file in UTF-16, and a store below ~")
def encodings(lab: Lab) -> Finding:
    station = lab.station("arm1")
    ended = lab.run(*lab.collect("--station", station, "--episodes", 1, store="~/store"))
    below = (lab.folder / "~").exists()
    station.write_text(station.read_text(), encoding="utf-16")
    wide = lab.run(*lab.collect("--station", station, "--episodes", 1))
    seen = f"{'a folder ~; ' if below else ''}{wide.last}"
    return Finding(not below and ended.code == 0 and wide.one_line and wide.code == 2, seen)


@case("models", "a policy whose tenth call raises RuntimeError, 'CUDA out of memory'")
def foreign_exception(lab: Lab) -> Finding:
    words = lab.collect("--station", lab.station("arm1"), "--episodes", 1, policy="failing")
    ended = lab.run(*words)
    count = len(lab.episodes())
    return Finding(
        ended.code == 0 and ended.one_line and count == 1, f"{count} of 1 episodes; {ended.last}"
    )


@case("local", "a tiny random Qwen2-VL as local:FOLDER")
def local_model(lab: Lab) -> Finding:
    sys.path.insert(0, str(ROOT / "tests" / "vlm" / "clients"))
    import tiny_models

    folder = lab.folder / "qwen"
    folder.mkdir()
    tiny_models.make(folder, "qwen2_vl")
    ended = lab.ask(f"local:{folder}")
    return Finding(ended.code == 0 and ended.one_line, ended.last)
