"""Sizes of the demonstration by the clock."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from soar.errors import ConfigError
from soar.experiments import demo
from soar.experiments.demo import LEAST_EPISODES, LEAST_STARTS, demo_config, fitted, run_demo
from soar.experiments.pace import Pace, measure_pace
from soar.experiments.run_config import CollectOptions, RunConfig

SLOW = Pace(episode_s=1.35, trial_s=0.9, policy_step_s=0.9, keypoint_step_s=0.0)
FAST = Pace(episode_s=0.3, trial_s=0.2, policy_step_s=0.12, keypoint_step_s=0.0)
TASKS = 4


def sizes(config: RunConfig) -> tuple[object, ...]:
    amounts = config.trials, config.episodes, config.fit.steps, config.demonstrations
    return (*amounts, config.finetune)


def test_a_fast_machine_does_everything_in_time() -> None:
    config, schedule = fitted(demo_config(), 15, FAST, TASKS)
    assert sizes(config) == sizes(demo_config())
    assert schedule.total < 15 * 60
    assert schedule.collection < 60 * config.collect.minutes
    assert schedule.policy < 60 * config.fit.minutes - schedule.evaluations - schedule.collection


@pytest.mark.parametrize("keypoint_step_s", [0.0, 0.5], ids=["policy", "generator too"])
@pytest.mark.parametrize("factor", [1.0, 1.3, 0.7])
def test_a_slow_machine_does_less_but_keeps_starts_and_episodes(
    factor: float, keypoint_step_s: float
) -> None:
    pace = Pace(*(factor * s for s in SLOW._replace(keypoint_step_s=keypoint_step_s)))
    config, schedule = fitted(demo_config(), 15, pace, TASKS)
    assert config.trials * TASKS >= LEAST_STARTS
    assert LEAST_EPISODES <= schedule.collection / pace.episode_s <= 300
    assert config.collect.least_episodes == LEAST_EPISODES
    assert schedule.policy / pace.policy_step_s >= 50
    assert config.fit.minutes < 15
    assert ("fine-tuning" in str(schedule)) == (keypoint_step_s > 0)
    assert schedule.total <= 15 * 60 + 1
    assert "minutes" in str(schedule)


def test_the_least_is_done_on_any_machine() -> None:
    crawling = Pace(60, 60, 60, 60)
    config, schedule = fitted(demo_config(), 15, crawling, TASKS)
    assert schedule.collection == LEAST_EPISODES * 60
    assert config.collect.minutes > 0, "0 would be no limit"
    assert schedule.total > 15 * 60


def test_less_than_a_minute_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"minutes is 0\.5"):
        demo_config(minutes=0.5)


def test_a_started_demonstration_keeps_its_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine isn't measured again, so that the same command resumes the same run."""
    runs = []
    monkeypatch.setattr(demo, "measure_pace", lambda config: SLOW)
    monkeypatch.setattr(demo, "write_report", lambda folder: folder / "report.html")

    def improve(folder: Path, config: object, **_: object) -> None:
        from soar.utils.config import to_plain
        from soar.utils.yaml_files import dump

        folder.mkdir(exist_ok=True)
        (folder / "config.yaml").write_text(dump(to_plain(config)))
        runs.append(config)

    monkeypatch.setattr(demo, "improve_in_simulation", improve)
    said: list[str] = []
    run_demo(tmp_path / "run", demo_config(), 15, said.append)
    monkeypatch.setattr(demo, "measure_pace", lambda config: FAST)
    run_demo(tmp_path / "run", demo_config(), 15, said.append)
    assert runs[0] == runs[1] != demo_config()
    assert any(text.startswith("about 15 minutes: evaluations") for text in said)


@pytest.mark.slow
def test_the_pace_of_this_machine_is_measured() -> None:
    config = replace(demo_config(), collect=CollectOptions(stations=2))
    pace = measure_pace(config)
    assert pace.keypoint_step_s == 0
    assert 0 < pace.policy_step_s < 60
    assert 0 < pace.trial_s < 60
    assert 0 < pace.episode_s < 120
