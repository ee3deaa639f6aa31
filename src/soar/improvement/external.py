"""Training of a policy by a command of its own, in another interpreter: how pi0 or a LeRobot policy is improved."""

from __future__ import annotations

import shlex
import subprocess
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from soar.errors import ConfigError, SoarError
from soar.exchange.export import RldsOptions, export_episodes
from soar.exchange.lerobot.writer import LeRobotOptions
from soar.improvement.methods.method import OwnEpisodes
from soar.promotion import POLICY_FILE
from soar.registry import load_policy, policy_spec
from soar.types import Outcome
from soar.utils.files import write_bytes
from soar.utils.yaml_files import dump

_TAIL = 15
"""Last lines of a failed command's output that are searched for its message."""
_FIELDS = ("data", "out", "round")


@dataclass(frozen=True)
class ExternalConfig:
    """Training by a command. In `command` and `policy`, {data}, {out} and {round} stand for the data set's folder, the
    folder for what is trained, and the number of the round."""

    command: str = ""
    """Command line, without a shell, such as "/lerobot/bin/lerobot-train --dataset.root {data} --output_dir {out}".
    Started again after an interruption, with the same folders."""
    policy: str = ""
    """Trained policy, as `soar.registry` names it, such as "act:{out}", or "openpi:ws://gpu:80{round}" for one that the
    command has started to serve."""
    format: Literal["lerobot", "rlds"] = "lerobot"
    """Format of the data set."""
    outcomes: tuple[Outcome, ...] = ("success",)
    """Verdicts of the exported episodes."""

    def __post_init__(self) -> None:
        for text in (*self.words, self.policy):
            _fill(text, dict.fromkeys(_FIELDS, ""))

    @property
    def words(self) -> list[str]:
        """The words of the command. Raises ConfigError: a quotation mark has no other."""
        try:
            return shlex.split(self.command)
        except ValueError as error:
            raise ConfigError(
                f"the command '{self.command:.80}' isn't valid: {error}; valid: words, quoted as in a shell"
            ) from error

    def check(self) -> None:
        """Raise ConfigError where the command or the policy is missing."""
        missing = [k for k in ("command", "policy") if not getattr(self, k).strip()]
        if missing:
            raise ConfigError(
                f"--method external needs --external.{missing[0]}; valid: text with {{data}}, {{out}} or {{round}}"
            )


@dataclass(frozen=True)
class ExternalTraining:
    """The stage that exports own episodes, runs the command, and writes the component file of what it trained."""

    config: ExternalConfig

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """Verdicts of the exported episodes."""
        return self.config.outcomes

    def __call__(self, own: OwnEpisodes, incumbent: str, out: Path) -> Mapping[str, float]:
        """Train into `out`.

        Args:
            own: own episodes, of which the command gets those of all rounds so far.
            incumbent: the policy in force; the command knows by itself what it starts from.
            out: the trained policy's folder.

        Raises:
            NothingToLearnError: no episode has such a verdict.
            SoarError: the command failed; its last line is in the message, all of its output in OUT/command.log.
            ConfigError, ModelUnavailable: the trained policy can't be loaded.
        """
        query = replace(own.query, outcomes=self.outcomes)
        own.require(query)
        data = own.run.folder / "exported" / self.config.format
        options = LeRobotOptions() if self.config.format == "lerobot" else RldsOptions()
        export_episodes(own.open_store(), query, data, options)
        out.mkdir(parents=True, exist_ok=True)
        fields = {"data": str(data), "out": str(out), "round": str(own.round)}
        run_command([_fill(w, fields) for w in self.config.words], out)
        name = _fill(self.config.policy, fields)
        policy_spec(name)
        load_policy(name)
        write_bytes(out / POLICY_FILE, dump({"policy": name}).encode())
        return {"autonomous": 1.0}


def run_command(words: list[str], out: Path) -> None:
    """Run a command and keep its output in `out`/command.log. Raises SoarError: it failed or doesn't exist."""
    log = out / "command.log"
    try:
        with log.open("wb") as file:
            code = subprocess.run(
                words, stdout=file, stderr=subprocess.STDOUT, check=False
            ).returncode
    except OSError as error:
        raise SoarError(f"'{words[0]}' can't be started: {error.strerror}") from error
    if code:
        with log.open(errors="replace") as file:
            said = [line.strip() for line in deque(file, _TAIL) if line.strip()]
        last = f": {said[-1]:.200}" if said else ""
        raise SoarError(f"'{words[0]}' ended with {code}{last} (all of its output: {log})")


def _fill(text: str, fields: Mapping[str, str]) -> str:
    """Fill in the fields. Raises ConfigError: another field, or a single brace."""
    try:
        return text.format_map(fields)
    except (KeyError, ValueError, IndexError, AttributeError, TypeError) as error:
        valid = ", ".join("{" + f + "}" for f in _FIELDS)
        raise ConfigError(f"'{text:.80}' has something else in braces; valid: {valid}") from error
