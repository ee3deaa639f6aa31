import pytest

from soar import pretrain
from soar.checkpoint import load
from soar.errors import ConfigError
from soar.improve import ImproveConfig
from soar.models import policy_folder
from soar.simulation import FitSettings, SimulatedRun, improve_in_simulation


def test_an_unknown_scene_is_told_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setenv("SOAR_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ConfigError, match="99"):
        improve_in_simulation(tmp_path / "run", SimulatedRun(ImproveConfig(scenes=("1", "99"))))
    assert not pretrain.cache_folder().exists()
    assert not (tmp_path / "run").exists()


def test_improvement_augments_as_the_policy_it_goes_on_from_did():
    start = load(policy_folder("gcbc"))
    recipe = FitSettings(steps=50).recipe(start)
    described = {t["name"] for t in start.transforms}
    assert (recipe.crop is not None) == ("crop" in described)
    assert (recipe.color is not None) == ("color" in described)
    assert recipe.policy.resolution == start.config["resolution"]
    assert recipe.fit.warmup_steps == 5
