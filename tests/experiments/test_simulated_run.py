import pytest

from soar.checkpoint import load
from soar.data.transforms import image_transforms, transforms_from
from soar.errors import ConfigError
from soar.experiments.simulated_run import (
    FitOptions,
    SimulatedRunConfig,
    improve_in_simulation,
    pretraining,
)
from soar.improvement.methods.corrections.finetune_subgoals import FinetuneSubgoalsConfig
from soar.improvement.rounds import ImproveConfig
from soar.pretraining.weights import DemonstrationSet, demonstrations_folder
from soar.registry import policy_spec
from soar.utils.files import cache_folder


def test_an_unknown_scene_is_told_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setenv("SOAR_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ConfigError, match="99"):
        improve_in_simulation(
            tmp_path / "run", SimulatedRunConfig(ImproveConfig(scenes=("1", "99")))
        )
    assert not cache_folder().exists()
    assert not (tmp_path / "run").exists()


def test_a_share_of_painted_goals_beyond_all_is_told_at_once():
    with pytest.raises(ConfigError, match="from 0 to 1"):
        SimulatedRunConfig(painted=1.5)


def test_a_run_in_which_nothing_learns_is_refused(tmp_path):
    still = SimulatedRunConfig(fit=FitOptions(steps=0), teach=FinetuneSubgoalsConfig(steps=0))
    with pytest.raises(ConfigError, match="neither policy nor imagination"):
        improve_in_simulation(tmp_path / "run", still)


def test_improvement_augments_as_the_policy_it_goes_on_from_did():
    start = load(policy_spec("gcbc").folder)
    recipe = FitOptions(steps=50).recipe(start)
    assert recipe.image_transforms == image_transforms(transforms_from(start.transforms))
    assert {t.name for t in recipe.image_transforms} >= {"crop", "color"}
    assert recipe.policy.resolution == start.config["resolution"]
    assert recipe.fit.warmup_steps == 5


@pytest.mark.slow
def test_demonstrations_goals_are_painted_once_and_only_for_policies_that_see_them(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("SOAR_CACHE", str(tmp_path / "cache"))
    wanted = DemonstrationSet(2, resolution=32, workers=1)
    follows, reaches = (
        FitOptions(steps=50).recipe(load(policy_spec(kind).folder)) for kind in ("lcbc", "gcbc")
    )
    assert pretraining(wanted, follows, 0.5).generated_goals is None
    assert pretraining(wanted, reaches, 0.0).generated_goals is None
    assert not (demonstrations_folder(0) / "painted").exists()
    source = pretraining(wanted, reaches, 0.5)
    assert source.generated_goals is not None
    assert source.generated_goals.share == 0.5
    assert len(source.generated_goals.image_indices) == len(source.frames)
    assert source.generated_goals.images.shape[1:] == (32, 32, 3)
    [painted] = (demonstrations_folder(0) / "painted").iterdir()
    before = painted.stat().st_mtime_ns
    pretraining(wanted, reaches, 0.2)
    assert painted.stat().st_mtime_ns == before
