"""Commands and options of earlier versions, and their names now."""

from __future__ import annotations

from collections.abc import Sequence

from soar.errors import ConfigError

COMMANDS = {"subgoals practise": "subgoals finetune"}
"""Renamed commands."""
_IMPROVE = {
    "--fit.labels": "--method",
    "--painted": "--generated-goals",
    "--teach.": "--finetune.",
}
_FIT = {"--steps": "--fit.steps"}
_SEQUENCES = {"--links": "--length", "--ahead": "--steps-ahead"}
OPTIONS = {
    "collect": {"--exploration.": "--"},
    "demo": {"--stations": "--collect.stations"},
    "improve": _IMPROVE
    | {
        "--autonomous-share": "--fit.autonomous-share",
        "--from-scratch": "--fit.from-scratch",
        "--no-from-scratch": "--fit.no-from-scratch",
        "--imagined-goals": "--hindsight.recorded-goals",
        "--low": "--hindsight.goals.low",
        "--high": "--hindsight.goals.high",
        "--outcomes": "--hindsight.outcomes",
        "--pace-m": "--hindsight.min-motion-m",
        "--sum-steps": "--hindsight.sum-steps",
    },
    "reproduce figure5": _IMPROVE,
    "pretrain gcbc": _FIT | {"--imagined": "--generated-goals"},
    "pretrain lcbc": _FIT,
    "pretrain vlm": _FIT,
    "pretrain subgoals": _FIT
    | {
        "--moments": "--keypoint-scenes",
        "--trouble": "--dagger-clips",
        "--bridge": "--bridge-demonstrations",
    },
    "subgoals evaluate": _SEQUENCES | {"--judge": "--classifier"},
    "subgoals sheet": _SEQUENCES,
    "subgoals train": _FIT
    | {
        "--batch-size": "--fit.batch-size",
        "--learning-rate": "--fit.learning-rate",
        "--seed": "--fit.seed",
    },
    "tasks questions": {"--book": "--questions", "--model": "--language-model"},
}
"""Renamed options of each command; one that ends with a dot stands for all options that begin with it."""


def check_renamed(command: str, args: Sequence[str]) -> None:
    """Raise ConfigError for an old name, with the new one.

    Args:
        command: the command; empty to look for renamed commands.
        args: words of the command line after it.
    """
    if not command:
        if new := COMMANDS.get(" ".join(args[:2])):
            raise ConfigError(f"'soar {' '.join(args[:2])}' is now 'soar {new}'")
        return
    renamed = OPTIONS.get(command, {})
    for arg in args:
        option = arg.split("=", 1)[0].replace("_", "-")
        for old, new in renamed.items():
            if option == old or (old.endswith(".") and option.startswith(old)):
                rest = option.removeprefix(old) if old.endswith(".") else ""
                raise ConfigError(
                    f"'{arg.split('=', 1)[0]}' of 'soar {command}' is now {new}{rest}"
                )
