import pytest

from soar import pretrain
from soar.checkpoint import load
from soar.data.transforms import pictures_of, transforms_from
from soar.errors import ConfigError
from soar.improve import ImproveConfig
from soar.models import policy_folder
from soar.practice.teach import TeachConfig
from soar.pretrain import DemonstrationSet, demonstrations_folder
from soar.simulation import FitSettings, SimulatedRun, improve_in_simulation, pretraining


def test_an_unknown_scene_is_told_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setenv("SOAR_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ConfigError, match="99"):
        improve_in_simulation(tmp_path / "run", SimulatedRun(ImproveConfig(scenes=("1", "99"))))
    assert not pretrain.cache_folder().exists()
    assert not (tmp_path / "run").exists()


def test_a_share_of_painted_goals_beyond_all_is_told_at_once():
    with pytest.raises(ConfigError, match="from 0 to 1"):
        SimulatedRun(painted=1.5)


def test_a_run_in_which_nothing_learns_is_refused(tmp_path):
    still = SimulatedRun(fit=FitSettings(steps=0), teach=TeachConfig(steps=0))
    with pytest.raises(ConfigError, match="neither policy nor imagination"):
        improve_in_simulation(tmp_path / "run", still)


def test_improvement_augments_as_the_policy_it_goes_on_from_did():
    start = load(policy_folder("gcbc"))
    recipe = FitSettings(steps=50).recipe(start)
    assert recipe.pictures == pictures_of(transforms_from(start.transforms))
    assert {t.name for t in recipe.pictures} >= {"crop", "color"}
    assert recipe.policy.resolution == start.config["resolution"]
    assert recipe.fit.warmup_steps == 5


@pytest.mark.slow
def test_demonstrations_goals_are_painted_once_and_only_for_policies_that_see_them(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("SOAR_CACHE", str(tmp_path / "cache"))
    wanted = DemonstrationSet(2, resolution=32, workers=1)
    follows, reaches = (
        FitSettings(steps=50).recipe(load(policy_folder(kind))) for kind in ("lcbc", "gcbc")
    )
    assert pretraining(wanted, follows, 0.5).imagined is None
    assert pretraining(wanted, reaches, 0.0).imagined is None
    assert not (demonstrations_folder(0) / "painted").exists()
    source = pretraining(wanted, reaches, 0.5)
    assert source.imagined is not None
    assert source.imagined.share == 0.5
    assert len(source.imagined.pursued) == len(source.frames)
    assert source.imagined.images.shape[1:] == (32, 32, 3)
    [painted] = (demonstrations_folder(0) / "painted").iterdir()
    before = painted.stat().st_mtime_ns
    pretraining(wanted, reaches, 0.2)
    assert painted.stat().st_mtime_ns == before
