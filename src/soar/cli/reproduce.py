"""`soar reproduce`: the paper's results in simulation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, MinLen

from soar.cli.options import FLAT, OUT, Uses, saved_config
from soar.experiments.paper.appendix_d import SCENES, reproduce_appendix_d
from soar.experiments.paper.appendix_g import reproduce_appendix_g
from soar.experiments.paper.figure5 import TEN_SCENES, reproduce_figure5
from soar.experiments.paper.new_skills import SCENES as SKILL_SCENES
from soar.experiments.paper.new_skills import NewSkillConfig, reproduce_new_skills
from soar.experiments.paper.proposals import reproduce_proposals
from soar.experiments.paper.steering import reproduce_steering
from soar.experiments.paper.tables import TABLE1, TABLE2, methods_table, reproduce_table
from soar.experiments.run_config import RunConfig
from soar.improvement.methods.method import MethodName
from soar.improvement.rounds import OnMessage
from soar.utils.progress import announce, print_table

_TABLE1 = replace(TEN_SCENES, scenes=("1", "8", "9"))
_TABLE2 = replace(TEN_SCENES, scenes=("1",))
_APPENDIX_D = replace(TEN_SCENES, scenes=SCENES, episodes=91)  # 546 in all
_DEV1 = replace(TEN_SCENES, scenes=("dev1",))
_MODELS = ("policy", "subgoals", "steps_per_subgoal")
_TRIALS = ("scenes", "trials", "workers", "first_seed")
_COLLECTION = ("scenes", "episodes", "collect")
_COLLECTING = Uses((*_COLLECTION, "steps_per_subgoal"))
_PROPOSING = Uses((*_COLLECTION, *_MODELS))
_MODULES = Uses((*_COLLECTION, *_MODELS, *_TRIALS))
_STEERING = Uses((*_TRIALS, "subgoals", "steps_per_subgoal"))
_LEARNING = Uses(
    f.name
    for f in fields(RunConfig)
    if f.name not in ("rounds", "method", "teacher", "stations", "station_trials")
)
"""Options that a study uses."""
_METHODS: tuple[MethodName, ...] = ("hindsight", "corrections", "critic", "advantage", "lcbc")


def table5(store: Path) -> None:
    """Count a store's successes in each scene, beside the paper's Table 5.

    Example: `soar reproduce table5 --store S`.

    Args:
        store: the store's folder.
    """
    from rich.table import Table

    from soar.data.curation.overview import PAPER_SUCCESSES, table5_rows
    from soar.data.store.lance import open_store
    from soar.types import Query
    from soar.utils.progress import literal

    table = Table("scene", "tasks", "judged a success", "attempts", "the paper: tasks", "successes")
    for row in table5_rows(open_store(store, read_only=True), Query()):
        paper = map(str, PAPER_SUCCESSES.get(row.scene, ("", "")))
        table.add_row(literal(row.scene), *map(str, row[1:]), *paper)
    print_table(table)


def table6(store: Path) -> None:
    """Show a store beside the known robot data sets, as in the paper's Table 6.

    The same as `soar data stats --table6`.

    Example: `soar reproduce table6 --store S`.

    Args:
        store: the store's folder.
    """
    from soar.cli.data import stats
    from soar.types import Query

    stats(store, Query(), table6=True)


def figure5(
    config: Annotated[RunConfig, FLAT] = TEN_SCENES,
    jobs: Annotated[int, Ge(1)] = 1,
    out: Annotated[Path, OUT] = Path("results/figure5"),
) -> None:
    """Reproduce Figure 5: success in each scene before and after improvement with that scene's own data.

    Each scene is a run of `soar improve`. The same command resumes, and draws what is finished.

    Examples: `soar reproduce figure5 --scenes 1 2 3`, on sixteen cores: `soar reproduce figure5 --jobs 8`.

    Args:
        config: configuration of each scene's run.
        jobs: scenes at a time, each in a process of its own.
        out: folder for runs, numbers, table and figure.
    """
    from soar.cli import command_line

    _run(figure5, out, lambda say: reproduce_figure5(out, config, jobs, say, command_line()))


def table1(
    config: Annotated[RunConfig, FLAT, _LEARNING] = _TABLE1,
    store: Path | None = None,
    out: Annotated[Path, OUT] = Path("results/table1"),
) -> None:
    """Reproduce Table 1: policies that reach images or follow instructions, with more and more of the robots' episodes.

    Each is measured as pretrained, trained on a scene's own episodes, and on those of all scenes. All learn from the
    same episodes, which the pretrained system collects. The same command resumes.

    Example: `soar reproduce table1 --scenes dev1 dev2 --episodes 200 --trials 20`.

    Args:
        config: scenes, episodes, trials, and each method's options.
        store: store of episodes in these scenes to learn from; without it, the robots collect.
        out: folder for episodes, models, numbers, table and figure.
    """
    _run(table1, out, lambda say: reproduce_table(TABLE1, out, config, say, store))


def table2(
    config: Annotated[RunConfig, FLAT, _LEARNING] = _TABLE2,
    store: Path | None = None,
    out: Annotated[Path, OUT] = Path("results/table2"),
) -> None:
    """Reproduce Table 2: hindsight imitation, RoboFuME and DIAL, learned from the same episodes of a scene.

    The same command resumes.

    Example: `soar reproduce table2 --scenes dev1 --episodes 200 --trials 20`.

    Args:
        config: scenes, episodes, trials, and each method's options.
        store: store of episodes in these scenes to learn from; without it, the robots collect.
        out: folder for episodes, models, numbers, table and figure.
    """
    _run(table2, out, lambda say: reproduce_table(TABLE2, out, config, say, store))


def methods(
    names: Annotated[tuple[MethodName, ...], MinLen(1)] = _METHODS,
    config: Annotated[RunConfig, FLAT, _LEARNING] = _DEV1,
    store: Path | None = None,
    pooled: bool = False,
    out: Annotated[Path, OUT] = Path("results/methods"),
) -> None:
    """Compare methods of improvement that learn from the same episodes, on the same starts.

    The same command resumes; a further method is added to what is there.

    Examples: `soar reproduce methods --names hindsight critic --scenes dev1 --episodes 300 --trials 50`, one policy for
    two scenes: `soar reproduce methods --names hindsight --scenes dev1 dev2 --pooled`.

    Args:
        names: the methods (docs/improvement.md).
        config: scenes, episodes, trials, and each method's options.
        store: store of episodes in these scenes to learn from; without it, the robots collect.
        pooled: learn once from the episodes of all scenes, instead of in each scene from its own.
        out: folder for episodes, models, numbers, table and figure.
    """
    _run(
        methods,
        out,
        lambda say: reproduce_table(methods_table(names, pooled), out, config, say, store),
    )


def appendix_d(
    config: Annotated[RunConfig, FLAT, _COLLECTING] = _APPENDIX_D,
    out: Annotated[Path, OUT] = Path("results/appendix-d"),
) -> None:
    """Reproduce appendix D: what the success detector gets wrong, and who collects more successes.

    The whole system and the policy that follows instructions collect in scenes like those that they were pretrained on
    (bridge-SEED) and in others. The same command resumes.

    Example: `soar reproduce appendix-d --scenes bridge-1000001 dev1 --episodes 40`.

    Args:
        config: scenes, episodes in each, and how they are collected.
        out: folder for episodes, numbers, tables and figure.
    """
    _run(appendix_d, out, lambda say: reproduce_appendix_d(out, config, say))


def appendix_g(
    config: Annotated[RunConfig, FLAT, _MODULES] = _DEV1,
    out: Annotated[Path, OUT] = Path("results/appendix-g"),
) -> None:
    """Reproduce appendix G: which module fails, and what each costs, by the simulator's truth.

    An expert's frames take the place of subgoals, from the same starts; the proposer's feasible tasks are compared
    with random ones, and verdicts with the truth. The same command resumes.

    Example: `soar reproduce appendix-g --scenes dev1 --trials 20 --episodes 40`.

    Args:
        config: scenes, trials, and episodes that are collected in each.
        out: folder for episodes, numbers and table.
    """
    _run(appendix_g, out, lambda say: reproduce_appendix_g(out, config, say))


def proposals(
    config: Annotated[RunConfig, FLAT, _PROPOSING] = _DEV1,
    out: Annotated[Path, OUT] = Path("results/proposals"),
) -> None:
    """Answer the paper's third question: does the system propose meaningful tasks and collect useful data?

    Beside it, the same robot collects with random tasks, with the simulator's feasibility, and with subgoals that
    are always drawn from the same noise. The same command resumes.

    Example: `soar reproduce proposals --scenes dev1 --episodes 40`.

    Args:
        config: scenes, episodes in each, and how they are collected.
        out: folder for episodes, numbers, table and figure.
    """
    _run(proposals, out, lambda say: reproduce_proposals(out, config, say))


def new_skills(
    config: Annotated[NewSkillConfig, FLAT],
    scenes: Annotated[tuple[str, ...], MinLen(1)] = SKILL_SCENES,
    out: Annotated[Path, OUT] = Path("results/new-skills"),
) -> None:
    """Learn new skills from ten demonstrations (PTR), beside plain cloning, and go on with the robot's attempts.

    PTR, and RoboFuME where it is named, trains a critic and its actor on other tasks' demonstrations, and goes on with
    the skill's; each policy then attempts the skill by itself and learns from successes and failures. The same command
    resumes.

    Examples: `soar reproduce new-skills --scenes stack1 --demonstrations 10 --attempts 50`; RoboFuME's own setting, all
    from the same data: `soar reproduce new-skills --scenes dev2 --demonstrations 20 --algorithms robofume
    --clone.from-scratch`.

    Args:
        config: sizes.
        scenes: stack1, stack2, door1, door2, or scene files; all of a scene's tasks are learned together.
        out: folder for episodes, models, numbers, table and figure.
    """
    _run(new_skills, out, lambda say: reproduce_new_skills(out, scenes, config, say))


def steering(
    steered_by: str,
    policies: tuple[str, ...] = (),
    instructed: tuple[str, ...] = (),
    options: str = "",
    config: Annotated[RunConfig, FLAT, _STEERING] = _DEV1,
    out: Annotated[Path, OUT] = Path("results/steering"),
) -> None:
    """Test the claim of V-GPS: one critic makes several policies better, without changing their weights.

    Each policy acts alone, and with the best, a random and the worst of its samples by the critic's values, from the
    same starts. The same command resumes.

    Example: `soar reproduce steering --steered-by runs/words --policies flow --instructed lcbc openpi:ws://gpu:8000
    --scenes dev1 dev2`.

    Args:
        steered_by: the critic's folder (`soar train critic`).
        policies: policies that reach images of `--subgoals`.
        instructed: policies that follow instructions.
        options: further options of `steered:`, such as "count=16&noise=1" (docs/improvement.md).
        config: scenes and trials.
        out: folder for numbers and table.
    """
    _run(
        steering,
        out,
        lambda say: reproduce_steering(out, steered_by, instructed, policies, config, say, options),
    )


def _run(command: Callable[..., None], out: Path, study: Callable[[OnMessage], Path]) -> None:
    """Run a study, or what is left of it, and print its table, and where its figure is if it has one."""
    with saved_config(command, out):
        table = study(announce)
    print(table.read_text())
    if (figure := table.with_suffix(".png")).exists():
        print(f"figure: {figure}")
