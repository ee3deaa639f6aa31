from dataclasses import replace

import pytest

from soar.errors import ConfigError
from soar.improvement.run import RoundRecord, Run, RunRecord
from soar.interfaces import EpisodeSuccessDetector
from soar.rollout.models import ModelsConfig, PromotionWatcher
from soar.tasks.success_detector import VLMSuccessDetector
from soar.utils.config import load

TOYS = ModelsConfig(
    "python:soar.robots.toy_models:ToyVLM",
    "python:soar.robots.toy_models:ToySubgoals",
    "python:soar.robots.toy_models:ToyPolicy",
)


def test_promoted_models_are_picked_up(tmp_path, monkeypatch):
    run, config = Run(tmp_path), replace(TOYS, policy=str(tmp_path), subgoals=str(tmp_path))
    record = RunRecord("t", ("1",), 2, 0.0, models={"policy": "gcbc", "subgoals": "compact@12"})
    run.write(record)
    assert config.with_promoted() == replace(TOYS, policy="gcbc", subgoals="compact@12")
    toys, loaded = TOYS.load(), list[str]()
    for role in ("policy", "subgoals"):

        def load(name: str, toy: object = getattr(toys, role)) -> object:
            loaded.append(name)
            return toy

        monkeypatch.setattr(f"soar.rollout.models.load_{role}", load)
    refresh, models = PromotionWatcher(config), toys
    assert refresh(models) is models
    for made in (run.train_folder(1), run.subgoals_folder(1)):
        made.mkdir(parents=True)
        (made / "checkpoint.json").touch()
    assert refresh(models) is models, "a candidate isn't in force"
    run.write(record.with_round(RoundRecord(1, "done", promoted=True)))
    assert refresh(models) is not models
    assert loaded == [str(run.train_folder(1)), f"{run.subgoals_folder(1)}@12"]
    assert refresh(models) is not None
    assert len(loaded) == 2


def test_a_models_file_names_the_models(tmp_path):
    path = tmp_path / "models.yaml"
    path.write_text("vlm: chat:qwen@http://localhost:8000/v1\nthreshold: 0.6\n")
    assert load(ModelsConfig, path) == ModelsConfig(
        "chat:qwen@http://localhost:8000/v1", threshold=0.6
    )
    path.write_text("brain: big\n")
    with pytest.raises(
        ConfigError,
        match=r"unknown key .brain.; valid keys are vlm, subgoals, policy, detector, threshold",
    ):
        load(ModelsConfig, path)


def test_the_threshold_reaches_the_success_detector():
    detector = replace(TOYS, threshold=0.7).load().detector
    assert isinstance(detector, VLMSuccessDetector)
    assert (detector.name, detector.threshold) == ("toy-vlm", 0.7)
    with pytest.raises(ConfigError, match=r"threshold is 1.0; valid: a number above 0 below 1"):
        ModelsConfig(threshold=1.0)


def test_a_success_detector_of_your_own_gets_the_threshold(tmp_path, monkeypatch):
    (tmp_path / "reward.py").write_text(
        "class Reward:\n"
        "    name = 'reward'\n"
        "    def __init__(self, threshold):\n"
        "        self.threshold = threshold\n"
        "    def judge_episode(self, frames, task):\n"
        "        raise NotImplementedError\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    detector = replace(TOYS, detector="python:reward:Reward", threshold=0.7).load_detector()
    assert isinstance(detector, EpisodeSuccessDetector)
    assert (detector.name, detector.threshold) == ("reward", 0.7)
    with pytest.raises(ConfigError, match=r"no success detector 'reward'; valid: vlm, vlm.wording"):
        replace(TOYS, detector="reward").load_detector()


@pytest.mark.parametrize(
    ("role", "name"),
    [
        ("policy", "python:theirs:load"),
        ("subgoals", "python:theirs:load"),
        ("policy", "steered:python:theirs:load,critic"),
        ("subgoals", "chosen:python:theirs:load,critic"),
        ("subgoals", "python:theirs:load@16"),
        ("subgoals", "expert:python:theirs:load"),
        ("subgoals", "expert:chosen:python:theirs:load,critic@16"),
        ("subgoals", "expert:theirs.yaml@16"),
    ],
)
def test_code_that_a_run_of_others_names_is_never_run(tmp_path, role, name):
    models = {"policy": "gcbc", "subgoals": "compact", role: name}
    Run(tmp_path).write(RunRecord("t", ("1",), 1, 0.0, models=models))
    (tmp_path / "theirs.py").write_text("raise SystemExit('their code ran')")
    config = replace(TOYS, policy=str(tmp_path), subgoals=str(tmp_path))
    for use in (config.with_promoted, config.load):
        with pytest.raises(ConfigError, match=r"names code, '(python:)?theirs.*', which isn't run"):
            use()


@pytest.mark.parametrize("text", ["[]", "{}", '{"rounds": 3, "models": {}}', '{"rounds": [{}]}'])
def test_a_malformed_record_of_a_run_is_one_line(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ConfigError, match=r"run\.json is damaged"):
        replace(TOYS, policy=str(tmp_path)).with_promoted()
