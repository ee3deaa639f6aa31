"""A person at a real robot: sets the table before a trial, and says how it ended after."""

from __future__ import annotations

from rich.prompt import Prompt

from soar.evaluation.envs import TrialOutcome
from soar.types import Observation, Outcome
from soar.utils.progress import console

_OUTCOMES: dict[str, Outcome] = {"y": "success", "n": "failure", "u": "unknown"}


def ask_for_start(instruction: str, seed: int) -> None:
    """Returns when the person says that the table is set."""
    console.print(f"\n[bold]{instruction}[/bold] (start {seed})")
    Prompt.ask("Set the table so that this is possible and not done, then press Enter", default="")


def ask_for_outcome(observation: Observation, instruction: str) -> TrialOutcome:
    """The person's word on the trial that just ended; "u" where they can't tell."""
    reply = Prompt.ask(f"Is it done: {instruction}?", choices=list(_OUTCOMES), default="u")
    return TrialOutcome(_OUTCOMES[reply], raw="judged by a person")
