"""V-GPS's claim: one critic steers several policies, without any change of their weights.

    FOLDER/arms/POLICY, POLICY-best, -random, -worst    success in each scene, as `soar evaluate` writes it
    FOLDER/steering.json, .md                           every number, and a table: a row for each policy

A useful critic orders worst < random < best. Every step resumes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from soar.critics.critic import load_critic
from soar.errors import ConfigError
from soar.evaluation.plots import format_change, format_rate
from soar.evaluation.results import Evaluation
from soar.experiments.paper.arms import Arm, run_study
from soar.experiments.paper.tables import overall, paired_difference, write_study
from soar.experiments.run_config import RunConfig
from soar.improvement.rounds import OnMessage
from soar.registry import policy_spec

CHOICES = ("best", "random", "worst")
"""What a critic chooses among a policy's samples; the last two are controls."""


def reproduce_steering(
    folder: Path,
    critic: str,
    instructed: Sequence[str],
    policies: Sequence[str],
    config: RunConfig,
    on_message: OnMessage,
    options: str = "",
) -> Path:
    """Evaluate each policy alone and steered, or what is left of it; write numbers and table; return the table's path.

    Args:
        folder: folder for all of it.
        critic: the critic's folder.
        instructed: policies that follow instructions.
        policies: policies that reach images of the configuration's subgoal generator.
        config: scenes, trials, and the subgoal generator.
        on_message: called with a few words before each stage.
        options: further options of `steered:`, such as "count=16&noise=1".

    Raises:
        ConfigError: no policy, one twice or steered already, or there is no such scene.
        CheckpointError: the folder holds no critic.
    """
    load_critic(critic)
    subgoals = dict.fromkeys(policies, config.subgoals) | dict.fromkeys(instructed, "none")
    if not subgoals or len(subgoals) < len(policies) + len(instructed):
        raise ConfigError("name at least one policy, and each once")
    for name in subgoals:
        if policy_spec(name).kind == "steered":
            raise ConfigError(f"'{name}' is steered already; name its policy")
    numbered = {f"policy-{i}": name for i, name in enumerate(subgoals, 1)}
    arms = {}
    for label, name in numbered.items():
        arms[label] = Arm(None, name, subgoals[name])
        for choice in CHOICES:
            chosen = "&".join(filter(None, (f"select={choice}", options)))
            arms[f"{label} {choice}"] = Arm(
                None, f"steered:{name},{critic}?{chosen}", subgoals[name]
            )
    found = run_study(folder, arms, config, on_message)
    rows = {
        name: {c: found[f"{label} {c}".strip()] for c in ("", *CHOICES)}
        for label, name in numbered.items()
    }
    numbers = {name: _numbers(row) for name, row in rows.items()}
    return write_study(folder, "steering", numbers, _markdown(rows))


def _numbers(row: Mapping[str, Sequence[Evaluation]]) -> dict[str, object]:
    return {
        choice or "alone": {
            "success": overall(found)._asdict(),
            "difference": paired_difference(row[""], found)._asdict(),
            "trials": sum(len(e.trials) for e in found),
        }
        for choice, found in row.items()
    }


def _markdown(rows: Mapping[str, Mapping[str, Sequence[Evaluation]]]) -> str:
    """Return a row for each policy: alone, and steered with the paired change in points."""
    lines = [f"| policy | alone | {' | '.join(CHOICES)} |", "|---" * (2 + len(CHOICES)) + "|"]
    for name, row in rows.items():
        steered = (
            f"{format_rate(overall(row[c]))}, {format_change(paired_difference(row[''], row[c]))}"
            for c in CHOICES
        )
        lines.append(f"| {name} | {format_rate(overall(row['']))} | {' | '.join(steered)} |")
    return "\n".join(lines) + "\n"
