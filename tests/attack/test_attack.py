"""The attacks' own machinery, and a few tries of each kind that needs no command to be started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.attack.__main__ import ATTACKS, attack_class, main, table
from benchmarks.attack.actions import WildActions
from benchmarks.attack.attack import Attack, Outcome, run
from benchmarks.attack.day import LongRun
from benchmarks.attack.replies import HostileReplies, Reply, good_body, http
from benchmarks.attack.tools.commands import Ended, problem_of

from soar.errors import SoarError

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


class Counting(Attack):
    """An attack that finds harm in its third step, and is broken off in its fifth the first time."""

    title = "counting"
    tries = 8
    broken: ClassVar[bool] = True
    made: ClassVar[list[int]] = []

    def step(self, index: int) -> Outcome:
        if index == 4 and Counting.broken:
            Counting.broken = False
            raise KeyboardInterrupt
        Counting.made.append(index)
        return Outcome(("harm",) if index == 2 else (), leftovers=index == 3)


def test_a_broken_off_attack_goes_on_and_repeats_no_step(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(Counting, 1.0, tmp_path)
    found = run(Counting, 1.0, tmp_path)
    assert Counting.made == list(range(8))
    assert (found.tries, found.full, found.harm, found.leftovers) == (8, 8, 1, 1)
    assert run(Counting, 1.0, tmp_path) == found


@pytest.mark.parametrize(("kind", "scale"), [(WildActions, 0.001), (HostileReplies, 0.002)])
def test_a_few_tries_find_nothing(kind: type[Attack], scale: float, tmp_path: Path) -> None:
    found = run(kind, scale, tmp_path)
    assert found.tries >= 2
    assert (found.harm, found.leftovers) == (0, 0), found.examples


def test_a_few_killed_writers_lose_nothing(tmp_path: Path) -> None:
    """In a process of its own: it forks, which Lance, used by other tests, doesn't survive."""
    words = ("-m", "benchmarks.attack", "--only", "writers", "--out", str(tmp_path))
    ended = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env={**os.environ, "SCALE": "0.002"},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "| 2 (1,000) | 0 | 0 |" in ended.stdout


def test_an_hour_with_faults_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.attack.day._HOUR_S", 20.0)
    found = run(LongRun, 0.01, tmp_path)
    assert (found.harm, found.leftovers) == (0, 0), found.examples


def test_an_arm_that_leaves_its_box_is_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.attack.actions.SafeRobot", _Unsafe)
    outcome = WildActions(tmp_path).step(0)
    assert outcome.harm


def test_a_client_that_makes_up_answers_is_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(self: object, reply: object, questions: list[object]) -> list[object]:
        raise ValueError("two\nlines")

    def honest(rng: object, client: str, elsewhere: str) -> Reply:
        return Reply((http(good_body(client)),), answerable=True)

    monkeypatch.setattr("soar.vlm.clients.chat.ChatVLM.read", read)
    monkeypatch.setattr("benchmarks.attack.replies.hostile_reply", honest)
    monkeypatch.setattr("benchmarks.attack.replies._TIMEOUT_S", 60.0)  # a busy machine is no harm
    monkeypatch.setattr("benchmarks.attack.replies._LIMIT_S", 60.0)
    attack = HostileReplies(tmp_path)
    harm = attack.step(0).harm
    attack.close()
    assert harm
    assert all(h.startswith("chat") and "ValueError: two" in h for h in harm)


@pytest.mark.parametrize(
    ("ended", "word"),
    [
        (Ended(0, "fine\n", 0, True, 1.0), ""),
        (Ended(1, "Traceback (most recent call last):\nValueError", 0, True, 1.0), "Traceback"),
        (Ended(130, "soar: interrupted", 2, True, 1.0), "outlive"),
        (Ended(3, "soar: x", 0, True, 1.0), "exit code 3"),
    ],
)
def test_the_end_of_a_command_is_judged(ended: Ended, word: str) -> None:
    problem = problem_of(ended, (0, 130))
    assert word in problem if word else not problem


def test_every_attack_can_be_imported_and_has_a_row() -> None:
    kinds = [attack_class(name) for name in ATTACKS]
    assert len({kind.title for kind in kinds}) == len(kinds)


def test_the_documented_table_is_the_recorded_one() -> None:
    rows = json.loads((DOCS / "reliability.json").read_text())
    shown = (DOCS / "reliability.md").read_text()
    for line in table([rows[name] for name in ATTACKS if name in rows]).splitlines():
        assert line in shown


def test_a_scale_out_of_range_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SCALE", "7")
    with pytest.raises(SystemExit, match="SCALE is '7'; valid: above 0"):
        main(["--out", str(tmp_path)])


class _Unsafe:
    """No safety at all."""

    def __init__(self, robot: object) -> None:
        from soar.robots.limits import Limits

        self.robot, self.limits = robot, Limits()

    def __getattr__(self, name: str) -> object:
        return getattr(self.robot, name)

    def execute(self, action: object) -> object:
        import numpy as np

        try:
            return self.robot.execute(np.asarray(action, np.float32))  # type: ignore[attr-defined]
        except Exception as error:
            raise SoarError("no") from error
