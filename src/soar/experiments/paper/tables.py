"""The paper's tables of methods in simulation, as studies of arms.

FOLDER/NAME.json   every number
FOLDER/NAME.md     a table: a row for each task, a column for each arm
FOLDER/NAME.png    the bars of the scenes
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from soar.errors import ConfigError
from soar.evaluation.plots import format_change, format_rate, plot_rates
from soar.evaluation.results import Evaluation, compare, rate
from soar.experiments.paper.arms import LCBC, Arm, run_study
from soar.experiments.run_config import RunConfig
from soar.improvement.methods.method import MethodName
from soar.improvement.rounds import OnMessage
from soar.utils.files import write_json
from soar.utils.statistics import Interval


@dataclass(frozen=True)
class TableSpec:
    """A table of the paper, or one like it."""

    name: str
    arms: Mapping[str, Arm]
    """The columns. Each is compared with the one in which its policy learns nothing, or else with the first."""
    paper: Mapping[str, float] = field(default_factory=dict)
    """The paper's mean success, by arm."""

    def baseline(self, name: str) -> str:
        """Return the arm that an arm is compared with."""
        policy = self.arms[name].policy
        same = (n for n, arm in self.arms.items() if arm.method is None and arm.policy == policy)
        return next(same, next(iter(self.arms)))


TABLE1 = TableSpec(
    "table1",
    {
        "gcbc": Arm(),
        "gcbc, own scene": Arm("hindsight"),
        "gcbc, all scenes": Arm("hindsight", pooled=True),
        "lcbc": LCBC,
        "lcbc, own scene": replace(LCBC, method="lcbc"),
        "lcbc, all scenes": replace(LCBC, method="lcbc", pooled=True),
    },
    {
        "gcbc": 0.33, "gcbc, own scene": 0.58, "gcbc, all scenes": 0.65,
        "lcbc": 0.0, "lcbc, own scene": 0.32, "lcbc, all scenes": 0.28,
    },
)  # fmt: skip
"""Policies that reach images and that follow instructions: pretrained, with own episodes, with those of all scenes."""

TABLE2 = TableSpec(
    "table2",
    {
        "pretrained": Arm(),
        "soar": Arm("hindsight"),
        "robofume": Arm("robofume", subgoals="none"),
        "lcbc": LCBC,
        "dial": replace(LCBC, method="dial"),
    },
    {"soar": 0.75, "robofume": 0.0, "dial": 0.0},
)
"""Other ways to learn without people, from the same episodes of one scene."""


def methods_table(methods: Sequence[MethodName], pooled: bool = False) -> TableSpec:
    """Return the table of some methods next to the pretrained models.

    Args:
        methods: the methods.
        pooled: whether each learns once, from the episodes of all scenes, and not in each scene from its own.

    Raises:
        ConfigError: a method can't learn from another system's episodes.
    """
    instructed: Mapping[MethodName, Arm] = {
        "lcbc": replace(LCBC, method="lcbc"),
        "dial": replace(LCBC, method="dial"),
        "robofume": Arm("robofume", subgoals="none"),
    }
    if "external" in methods:
        raise ConfigError("a study compares this package's methods; external needs `soar improve`")
    suffix = ", all scenes" if pooled else ""  # as in Table 1, so that one folder holds both
    learning = {m + suffix: replace(instructed.get(m, Arm(m)), pooled=pooled) for m in methods}
    if any(arm.policy == LCBC.policy for arm in learning.values()):
        learning = {"lcbc, pretrained": LCBC, **learning}
    return TableSpec("methods", {"pretrained": Arm(), **learning})


def reproduce_table(
    spec: TableSpec,
    folder: Path,
    config: RunConfig,
    on_message: OnMessage,
    store: Path | None = None,
) -> Path:
    """Run the arms of a table, or what is left of them; write numbers, table and figure; return the table's path.

    The arguments are those of `soar.experiments.paper.arms.run_study`.
    """
    results = run_study(folder, spec.arms, config, on_message, store)
    baselines = {arm: spec.baseline(arm) for arm in results}
    return write_table(folder, spec.name, results, spec.paper, baselines)


def write_table(
    folder: Path,
    name: str,
    results: Mapping[str, Sequence[Evaluation]],
    paper: Mapping[str, float] | None = None,
    baselines: Mapping[str, str] | None = None,
) -> Path:
    """Write the evaluations of some arms as numbers, table and figure; return the table's path.

    Args:
        folder: where the files go.
        name: name of the files.
        results: each arm's evaluations, one for each scene.
        paper: the paper's mean success, by arm.
        baselines: the arm that each is compared with; by default the first.
    """
    baselines, paper = baselines or dict.fromkeys(results, next(iter(results))), paper or {}
    numbers, table = _numbers(results, paper, baselines), _markdown(results, paper, baselines)
    bars = {arm: _by_scene(found) for arm, found in results.items()}
    return write_study(folder, name, numbers, table, bars)


def write_study(
    folder: Path,
    name: str,
    numbers: Mapping[str, object],
    table: str,
    bars: Mapping[str, Mapping[str, Interval]] | None = None,
) -> Path:
    """Write NAME.json, NAME.md and, of the bars, NAME.png; return the table's path."""
    write_json(folder / f"{name}.json", numbers)
    path = folder / f"{name}.md"
    path.write_text(table)
    if bars is not None:
        plot_rates(bars).savefig(path.with_suffix(".png"), dpi=150)
    return path


def _by_scene(found: Sequence[Evaluation]) -> dict[str, Interval]:
    scenes = {f"scene {e.setting.scenes[0]}": e.overall() for e in found}
    return scenes | ({"all": overall(found)} if len(scenes) > 1 else {})


def overall(found: Sequence[Evaluation]) -> Interval:
    """Return success over the trials of several evaluations."""
    return rate([t for e in found for t in e.trials])


def paired_difference(before: Sequence[Evaluation], after: Sequence[Evaluation]) -> Interval:
    """Return success after minus before, over the starts of all scenes, of the same weight."""
    first, *others = [compare(b, a) for b, a in zip(before, after, strict=True)]
    pairs = first.pairs + tuple(pair for c in others for pair in c.pairs)
    return replace(first, pairs=pairs).difference


def _numbers(
    results: Mapping[str, Sequence[Evaluation]],
    paper: Mapping[str, float],
    baselines: Mapping[str, str],
) -> dict[str, object]:
    return {
        name: {
            "success": overall(found)._asdict(),
            "compared with": baselines[name],
            "difference": paired_difference(results[baselines[name]], found)._asdict(),
            "paper": paper.get(name),
            "trials": sum(len(e.trials) for e in found),
            "scenes": {
                e.setting.scenes[0]: {t: r._asdict() for (_, t), r in e.by_task().items()}
                for e in found
            },
            "checkpoints": [e.setting.checkpoint for e in found],
        }
        for name, found in results.items()
    }


def _markdown(
    results: Mapping[str, Sequence[Evaluation]],
    paper: Mapping[str, float],
    baselines: Mapping[str, str],
) -> str:
    """Return a row for each task, each scene and all, with paired changes from each arm's baseline in points."""
    names = list(results)
    tasks = {name: _tasks(found) for name, found in results.items()}
    lines = [f"| task (scene) | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for task in tasks[names[0]]:
        cells = (f"{tasks[name][task].value:.0%}" for name in names)
        lines.append(f"| {task} | {' | '.join(cells)} |")
    for index, scene in enumerate(_by_scene(results[names[0]])):
        found = {n: r if scene == "all" else r[index : index + 1] for n, r in results.items()}
        cells = (_rate_and_change(found, n, baselines[n]) for n in names)
        lines.append(f"| {scene} | {' | '.join(cells)} |")
    if paper:
        shares = (f"{paper[n]:.0%}" if n in paper else "" for n in names)
        lines.append(f"| the paper | {' | '.join(shares)} |")
    return "\n".join(lines) + "\n"


def _rate_and_change(found: Mapping[str, Sequence[Evaluation]], name: str, baseline: str) -> str:
    success = format_rate(overall(found[name]))
    if name == baseline:
        return success
    return f"{success}, {format_change(paired_difference(found[baseline], found[name]))}"


def _tasks(found: Sequence[Evaluation]) -> dict[str, Interval]:
    return {f"{task} ({scene})": r for e in found for (scene, task), r in e.by_task().items()}
