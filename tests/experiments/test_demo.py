"""Sizes of the demonstration by the clock."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from soar.errors import ConfigError
from soar.experiments import demo, pace
from soar.experiments.demo import LEAST_EPISODES, LEAST_STARTS, demo_config, fitted, run_demo
from soar.experiments.pace import Pace, measure_pace
from soar.experiments.run_config import CollectOptions, RunConfig
from soar.improvement.cotraining import CoTrainConfig
from soar.improvement.methods.corrections.finetune_subgoals import FinetuneSubgoalsConfig

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


@pytest.mark.parametrize("minutes", [0.5, float("inf"), float("nan")])
def test_a_demonstration_takes_a_minute_or_more(minutes: float) -> None:
    with pytest.raises(ConfigError, match=f"minutes is {minutes}; valid"):
        demo_config(minutes=minutes)


def test_what_is_given_is_kept() -> None:
    given = demo_config()
    given = replace(
        given,
        demonstrations="none",
        collect=replace(given.collect, minutes=2.0, least_episodes=7),
        fit=replace(given.fit, steps=0, minutes=9.0),
    )
    config, schedule = fitted(given, 15, SLOW._replace(policy_step_s=0.0), TASKS)
    assert (config.demonstrations, config.collect, config.fit) == ("none", given.collect, given.fit)
    assert schedule.policy == 0


def test_what_does_not_learn_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "_episode_s", lambda config: 1.0)
    config = RunConfig(fit=CoTrainConfig(steps=0), finetune=FinetuneSubgoalsConfig(steps=0))
    assert measure_pace(config)[2:] == (0.0, 0.0)


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
