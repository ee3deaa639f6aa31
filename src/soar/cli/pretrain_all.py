"""`soar pretrain all`: every packaged model in the order in which they build on each other, within some hours."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from annotated_types import Ge, Gt

from soar.cli.options import OUT
from soar.cli.pretrain import (
    gcbc,
    keypoints,
    keypoints_preset,
    lcbc,
    policy_preset,
    subgoals,
    subgoals_preset,
    vlm,
    vlm_preset,
)
from soar.pretraining.weights import CARD
from soar.training.fit import FitConfig
from soar.training.keypoint_samples import KeypointSampleSet
from soar.utils.files import write_bytes, write_json
from soar.utils.progress import announce

RENDERER = "renderer"
"""Folder of the subgoal generator before its keypoint predictor has learned from the system's own states."""
SHARES = {"vlm": 0.3, RENDERER: 0.25, "gcbc": 0.2, "subgoals": 0.15, "lcbc": 0.1}
"""Share of the hours that each stage gets, its data included, in the order of the stages."""
_DATA_SHARE = 0.35
"""Share of a model's time in which its episodes are generated; the VLM's images are generated while it trains."""
_MEASURED = "## Measured"
"""Heading of a card's measurements, without which a stage isn't done."""
_ALL_STEPS = 10**9
"""Steps of a training that only its hours limit."""
_PROBE_EPISODES = 8
_CALIBRATION_IMAGES = 3000
_CLIP, _KEYPOINT_SCENE, _VIEWED_SCENE, _SYSTEM_SCENE = 0.5, 2.0, 2.7, 9.0
"""Time of a clip and of a scene of keypoint samples (plain, in four styles, of the system's own attempt), relative to a
demonstration's .17 s; measured in one process of an EPYC, on twenty of each."""


@dataclass(frozen=True)
class Amounts:
    """Data of a pretraining."""

    demonstrations: int
    clips: int
    keypoint_scenes: int
    viewed_scenes: int = 1000
    system_scenes: int = 300
    """This and the one before have defaults, as an earlier version's plan lacks them."""


def pretrain_all(
    out: Annotated[Path, OUT],
    hours: Annotated[float, Gt(0)] = 24.0,
    workers: Annotated[int, Ge(1)] = 2,
    seed: Annotated[int, Ge(0)] = 0,
) -> None:
    """Make all packaged models from scratch: VLM, subgoal generator, goal- and language-conditioned policy.

    The generator comes in two stages: once there is a policy, the keypoint predictor learns from the system's states.

    Each stage gets its share of the hours: the machine is measured, and data and steps are sized accordingly. A card
    beside each model says what was measured in the development scenes. Kill it at any time; the same command resumes,
    and finished models are kept.

    Example: `soar pretrain all --hours 48 --out weights`.

    Args:
        out: folder of the models, one in each of `vlm`, `subgoals`, `gcbc` and `lcbc`; `renderer` is the generator's
            first stage.
        hours: duration on this machine.
        workers: number of processes that generate data.
        seed: seed of the VLM's scenes.
    """
    amounts = _planned(out, hours, workers)
    announce(
        f"{amounts.demonstrations} demonstrations, {amounts.clips} clips, "
        f"{amounts.keypoint_scenes} scenes of keypoint samples; at most {hours:g} hours in all"
    )
    for stage, make in _stages(out, hours, workers, seed, amounts).items():
        is_made = (out / stage / "checkpoint.json").exists() and (out / stage / CARD).exists()
        if is_made and _MEASURED in (out / stage / CARD).read_text():
            announce(f"{stage}: there already")
            continue
        announce(f"{stage}: about {_duration(hours * SHARES[stage])}")
        began = time.monotonic()
        if not is_made:
            make()
        _measure(stage, out)
        announce(f"{stage}: made in {_duration((time.monotonic() - began) / 3600)}")


def _stages(
    out: Path, hours: float, workers: int, seed: int, amounts: Amounts
) -> dict[str, Callable[[], None]]:
    """Return the command of each stage, in order."""

    def timed(stage: str, fit: FitConfig, data: float) -> FitConfig:
        return replace(fit, steps=_ALL_STEPS, hours=hours * SHARES[stage] * (1 - data))

    def whole(stage: str, config: Any, data: float) -> Any:
        return replace(config, fit=timed(stage, config.fit, data))

    episodes = amounts.demonstrations
    return {
        "vlm": partial(
            vlm, whole("vlm", vlm_preset(None), 0.05), _CALIBRATION_IMAGES, seed,
            stream=True, workers=workers, out=out / "vlm",
        ),
        RENDERER: partial(
            subgoals, whole(RENDERER, subgoals_preset(), _DATA_SHARE), amounts.clips,
            amounts.keypoint_scenes, workers=workers, out=out / RENDERER,
        ),
        "gcbc": partial(
            gcbc, whole("gcbc", policy_preset("gcbc", None), _DATA_SHARE), episodes,
            workers=workers, out=out / "gcbc",
        ),
        "subgoals": partial(
            keypoints, timed("subgoals", keypoints_preset(), _DATA_SHARE),
            KeypointSampleSet(amounts.viewed_scenes, amounts.system_scenes, workers=workers),
            start=out / RENDERER, policy=out / "gcbc", out=out / "subgoals",
        ),
        "lcbc": partial(
            lcbc, whole("lcbc", policy_preset("lcbc", out / "gcbc"), 0.0), episodes,
            start=out / "gcbc", workers=workers, out=out / "lcbc",
        ),
    }  # fmt: skip


def _planned(out: Path, hours: float, workers: int) -> Amounts:
    """Return the amounts of data that fit into the hours, as the first call with this folder decided them."""
    path = out / "plan.json"
    if path.exists():
        return Amounts(**json.loads(path.read_text()))
    announce("measuring this machine")
    amounts = amounts_within(hours, _demonstration_s(workers))
    out.mkdir(parents=True, exist_ok=True)
    write_json(path, vars(amounts))
    return amounts


def amounts_within(hours: float, demonstration_s: float) -> Amounts:
    """Return the amounts of data that can be generated in the hours' share for data.

    Args:
        hours: duration of the whole pretraining [h].
        demonstration_s: time of a demonstration, all processes together [s].
    """
    data_s = 3600 * hours * _DATA_SHARE / demonstration_s
    first, second = data_s * SHARES[RENDERER] / 2, data_s * SHARES["subgoals"] / 2
    amounts = Amounts(
        demonstrations=math.floor(data_s * SHARES["gcbc"]),
        clips=math.floor(first / _CLIP),
        keypoint_scenes=math.floor(first / _KEYPOINT_SCENE),
        viewed_scenes=math.floor(second / _VIEWED_SCENE),
        system_scenes=math.floor(second / _SYSTEM_SCENE),
    )
    return Amounts(**{name: max(20, amount) for name, amount in vars(amounts).items()})


def _demonstration_s(workers: int) -> float:
    """Measure the time of a demonstration [s], not counting the start of the processes."""
    from soar.pretraining.demonstrations import collect_demonstrations

    def seconds(episodes: int, folder: Path) -> float:
        began = time.monotonic()
        collect_demonstrations(folder, "bridge", episodes, workers=workers)
        return time.monotonic() - began

    with TemporaryDirectory(prefix="soar-pace-") as folder:
        first = seconds(workers, Path(folder) / "first")
        more = seconds(workers + _PROBE_EPISODES, Path(folder) / "more")
    return max(0.05, (more - first) / _PROBE_EPISODES)


def _duration(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.0f} minutes"


def _measure(stage: str, out: Path) -> None:
    """Measure a new model in the development scenes and add the result to its card."""
    lines = _vlm_results(out) if stage == "vlm" else _system_results(stage, out)
    card = out / stage / CARD
    text = card.read_text()
    section = f"{_MEASURED}\n\n" + "\n".join(f"- {line}" for line in lines) + "\n\n"
    measured = text.replace("## Configuration", section + "## Configuration", 1)
    write_bytes(card, measured.encode())


def _vlm_results(out: Path) -> list[str]:
    """Return the VLM's results on all development scenes, as lines of its card."""
    import numpy as np

    from soar.evaluation.vlm import confusion_by, judge_scenes
    from soar.registry import load_vlm
    from soar.sim.scenes.catalog import DEVELOPMENT, UNTOUCHED, load_scene
    from soar.types import SUCCESS_THRESHOLD

    lines = []
    for names in (DEVELOPMENT, UNTOUCHED):
        scenes = [load_scene(name) for name in names]
        found, errors = judge_scenes(load_vlm(str(out / "vlm")), scenes, images=40, seed=0)
        tasks = [x for x in found if x.group == "task"]
        c = confusion_by(lambda _: "all", tasks, SUCCESS_THRESHOLD)["all"]
        lines.append(
            f"{names[0]} to {names[-1]}, {len(tasks)} questions about tasks: accuracy {c.accuracy.value:.3f}, "
            f"precision {c.precision.value:.3f}, recall {c.recall.value:.3f}; named objects off by "
            f"{np.median(errors):.3f} of half an image in the median, {np.mean(errors > 0.1):.1%} by more than 0.1"
        )
    return lines


def _system_results(stage: str, out: Path) -> list[str]:
    """Return success rates in four development scenes, as lines of a model's card."""
    from soar.evaluation.protocol import EvalConfig, sim_protocol
    from soar.evaluation.runner import evaluate
    from soar.sim.scenes.catalog import DEVELOPMENT, load_scene

    scenes = [load_scene(name) for name in DEVELOPMENT[:4]]
    made = str(out / stage)
    if stage == RENDERER:
        config, what = EvalConfig("gcbc", made, 6), "with the packaged policy"
    elif stage == "subgoals":
        config, what = EvalConfig(str(out / "gcbc"), made, 6), "with the policy beside it"
    elif stage == "gcbc":
        config, what = EvalConfig(made, "expert", 6), "with an expert's subgoals"
    else:
        config, what = EvalConfig(made, "none", 6), "with instructions"
    spec, setting = sim_protocol(config, scenes)
    with TemporaryDirectory(prefix="soar-measure-") as folder:
        rate = evaluate(spec, setting, Path(folder)).overall()
    return [f"dev1 to dev4, {what}: {rate.value:.0%} [{rate.low:.0%}, {rate.high:.0%}] succeed"]
