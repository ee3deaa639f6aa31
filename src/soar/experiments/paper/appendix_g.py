"""Which module fails, as the paper asks in appendix G: each replaced by the simulator's in turn.

    FOLDER/arms/system, expert-subgoals    success with the generator's subgoals, and with an expert's frames
    FOLDER/collected/                      episodes of the whole system; observed.jsonl: what the simulator knew
    FOLDER/appendix-g.json, .md            every number, and a table

The proposer's part is the share of its proposals that are feasible, beside that of a random proposer (the paper's third
question); the detector's is how many of the judged successes are none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from soar.evaluation.plots import format_change, format_rate
from soar.evaluation.results import Evaluation
from soar.experiments.paper.arms import Arm, run_study
from soar.experiments.paper.observed import (
    Attempt,
    Observer,
    feasible,
    precision,
    read_attempts,
    success,
)
from soar.experiments.paper.tables import overall, paired_difference
from soar.experiments.run_config import RunConfig
from soar.experiments.simulated_run import collect_in_simulation
from soar.improvement.rounds import OnMessage
from soar.improvement.run import Run
from soar.utils.files import write_json

SYSTEM, EXPERT = "system", "expert subgoals"


def reproduce_appendix_g(folder: Path, config: RunConfig, on_message: OnMessage) -> Path:
    """Evaluate and collect, or what is left of it; write numbers and table; return the table's path.

    Args:
        folder: folder for all of it.
        config: scenes, trials, and episodes that are collected in each.
        on_message: called with a few words before each stage.

    Raises:
        ConfigError: there is no such scene.
    """
    arms = {
        SYSTEM: Arm(None, config.policy, config.subgoals),
        EXPERT: Arm(None, config.policy, "expert"),
    }
    found = run_study(folder, arms, config, on_message)
    on_message(f"collection, {config.episodes} episodes in each scene")
    observed = folder / "collected" / "observed.jsonl"
    alone = replace(config, collect=replace(config.collect, stations=1))
    collect_in_simulation(
        alone, Run(observed.parent), 1, config.policy, config.subgoals, [Observer(observed)]
    )
    attempts = read_attempts(observed)
    write_json(folder / "appendix-g.json", _numbers(found[SYSTEM], found[EXPERT], attempts))
    table = folder / "appendix-g.md"
    table.write_text(_markdown(found[SYSTEM], found[EXPERT], attempts))
    return table


def random_proposals(attempts: Sequence[Attempt]) -> float:
    """Return the share of feasible proposals that a random proposer would have had in the same scenes."""
    return float(np.mean([a.feasible_share for a in attempts])) if attempts else float("nan")


def _numbers(
    system: Sequence[Evaluation], expert: Sequence[Evaluation], attempts: Sequence[Attempt]
) -> dict[str, object]:
    return {
        "system": overall(system)._asdict(),
        "expert_subgoals": overall(expert)._asdict(),
        "subgoals_cost": paired_difference(system, expert)._asdict(),
        "collection": {
            "episodes": len(attempts),
            "feasible": feasible(attempts)._asdict(),
            "feasible_at_random": random_proposals(attempts),
            "success": success(attempts)._asdict(),
            "precision": precision(attempts)._asdict(),
        },
    }


def _markdown(
    system: Sequence[Evaluation], expert: Sequence[Evaluation], attempts: Sequence[Attempt]
) -> str:
    trials, episodes = sum(len(e.trials) for e in system), len(attempts)
    random = random_proposals(attempts)
    rows = [
        ("whole system, feasible tasks", format_rate(overall(system)), f"{trials} starts"),
        ("subgoals by an expert", format_rate(overall(expert)), f"{trials} starts"),
        ("what the generator's subgoals cost", format_change(paired_difference(system, expert)), "points"),
        ("proposals that are feasible", format_rate(feasible(attempts)), f"{episodes} episodes; at random {random:.0%}"),
        ("success of feasible proposals", format_rate(success(attempts)), f"{episodes} episodes, some exploring"),
        ("judged successes that are true", format_rate(precision(attempts)), f"{episodes} episodes"),
    ]  # fmt: skip
    lines = ["| module | measured | |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"
