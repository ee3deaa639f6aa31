from collections.abc import Callable

import numpy as np
import pytest

from soar.data.store.lance import open_store
from soar.errors import ConfigError
from soar.pretraining import demonstrations
from soar.pretraining.clips import ClipConfig, record_clips
from soar.pretraining.dagger_clips import dagger_clips
from soar.pretraining.demonstrations import (
    DemonstrationConfig,
    DemonstrationCounts,
    collect_demonstrations,
    demonstrate,
    disturb,
    record_session,
)
from soar.pretraining.keypoint_samples import KeypointSampleConfig, samples_in
from soar.robots.toy_models import ToyPolicy, ToySubgoals
from soar.sim import rendering
from soar.sim.layout import NoRoom
from soar.sim.scenes.paper_scenes import SCENES
from soar.sim.scenes.spec import Scene
from soar.sim.world import World

SMALL = DemonstrationConfig(image_size=32)


def test_demonstration_is_a_complete_episode():
    world = World(SCENES["2"], image_size=32)
    task = world.scene.tasks[0]
    world.reset(1, task.goal)
    episode = demonstrate(world, task, np.random.default_rng(0), seed=1)
    assert episode.provenance.truth
    assert episode.verdict.outcome == "success"
    assert episode.images.shape == (len(episode) + 1, 32, 32, 3)
    assert (episode.provenance.checkpoint, episode.provenance.scene) == ("expert", "2")
    assert np.allclose(np.diff(episode.times_s), 0.2)
    noise = (episode.actions - episode.commanded)[:, :3]
    assert 0.001 < noise.std() < 0.01
    assert np.abs(noise.mean(0)).max() < 0.005
    moved = episode.states[-1, :3] - episode.states[0, :3]
    assert np.allclose(episode.actions[:, :3].sum(0), moved, atol=0.01)


def test_disturbed_demonstration_shows_the_recovery():
    """Recovery from the states of failed attempts, also with fingers that closed on nothing."""
    world, rng = World(SCENES["2"], image_size=32), np.random.default_rng(0)
    task, openings, recovered = world.scene.tasks[0], [], []
    for seed in range(8):
        world.reset(seed, task.goal)
        if disturb(world, task, rng):
            openings.append(world.gripper_opening())
            recovered.append(bool(demonstrate(world, task, rng).provenance.truth))
    assert len(recovered) >= 4
    assert sum(recovered) >= len(recovered) - 1
    assert min(openings) < 0.5 < max(openings)


def test_session_continues_without_resets():
    config = DemonstrationConfig(image_size=32, tasks=(3, 3), disturb_probability=0.0)
    episodes = list(record_session(SCENES["2"], 4, config))
    assert len(episodes) == 3
    assert len({e.instruction for e in episodes}) == 2


def test_collection_resumes_and_keeps_only_successes(tmp_path):
    first = collect_demonstrations(tmp_path, "soar", 3, workers=1, scenes=["2"], config=SMALL)
    assert first.kept >= 3
    store = open_store(tmp_path)
    seeds = {s.provenance.seed for s in store.query()}
    again = collect_demonstrations(tmp_path, "soar", 3, workers=1, scenes=["2"], config=SMALL)
    assert again == DemonstrationCounts()
    collect_demonstrations(tmp_path, "soar", first.kept + 1, workers=1, scenes=["2"], config=SMALL)
    summaries = list(store.query())
    assert all(s.provenance.truth and s.verdict.outcome == "success" for s in summaries)
    new = [s.provenance.seed for s in summaries[first.kept :]]
    assert new
    assert not seeds & set(new)


def test_named_scenes_resume_whatever_the_regime_that_is_named_beside_them(tmp_path):
    collect_demonstrations(tmp_path, "bridge", 1, workers=1, scenes=["dev1"], config=SMALL)
    ids = [s.id for s in open_store(tmp_path).query()]
    again = collect_demonstrations(tmp_path, "bridge", 1, workers=1, scenes=["dev1"], config=SMALL)
    assert again == DemonstrationCounts()
    assert [s.id for s in open_store(tmp_path).query()] == ids


def test_a_named_scene_whose_objects_do_not_fit_is_refused(tmp_path):
    pans = "".join(f"  - {{name: pan {i}, kind: pan, color: red, scale: 1.5}}\n" for i in range(3))
    file = tmp_path / "crowd.yaml"
    file.write_text(
        f"name: crowd\ntable: oak\nobjects:\n{pans}  - {{name: lemon, kind: lemon, color: yellow}}\n"
        "tasks:\n  - {instruction: put the lemon in the pan 0, inside: [lemon, pan 0]}\n"
    )
    with pytest.raises(ConfigError, match="scene 'crowd' don't fit on the table"):
        collect_demonstrations(tmp_path / "store", "dev", 1, workers=1, scenes=[str(file)])


def test_collection_gives_up_where_no_demonstration_succeeds(tmp_path, monkeypatch):
    monkeypatch.setattr(demonstrations, "_FRUITLESS_SESSIONS", 3)
    config = DemonstrationConfig(image_size=32, max_steps=1, disturb_probability=0.0)
    with pytest.raises(ConfigError, match="no demonstration succeeded in 3 sessions in a row"):
        collect_demonstrations(tmp_path, "bridge", 1, workers=1, scenes=["2"], config=config)


def test_invalid_ranges_raise_an_error():
    with pytest.raises(ConfigError, match="speed"):
        DemonstrationConfig(speed=(1.2, 0.8))
    with pytest.raises(
        ConfigError, match=r"disturb_probability is 1\.5; valid: a number from 0 to 1"
    ):
        DemonstrationConfig(disturb_probability=1.5)


def test_a_session_whose_objects_do_not_fit_has_no_episodes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object, **__: object) -> None:
        raise NoRoom("the objects don't fit on the table")

    monkeypatch.setattr(World, "reset", full)
    assert list(record_session(SCENES["2"], 4)) == []


@pytest.mark.parametrize(
    "work",
    [
        lambda scene: list(record_session(scene, 4, SMALL)),
        lambda scene: list(record_clips(scene, 4, ClipConfig(disturb_probability=0.0))),
        lambda scene: samples_in(scene, 4, KeypointSampleConfig()),
        lambda scene: dagger_clips(scene, 4, ToyPolicy(), ToySubgoals(), ClipConfig()),
    ],
    ids=["demonstrations", "clips", "samples", "dagger"],
)
def test_a_machine_without_opengl_is_said_and_no_scene_without_data(
    work: Callable[[Scene], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise ImportError("no EGL")

    monkeypatch.setattr(rendering, "_shared_context", missing)
    with pytest.raises(ConfigError, match="MuJoCo can't render"):
        work(SCENES["2"])
