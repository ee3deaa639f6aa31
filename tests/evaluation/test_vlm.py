"""Images of an evaluated VLM: as many as asked for in every scene."""

from __future__ import annotations

import pytest

from soar.errors import ConfigError, RobotFault
from soar.evaluation.vlm import judge_scenes
from soar.interfaces import VisionLanguageModel
from soar.registry import load_vlm
from soar.sim.layout import NoRoom
from soar.sim.scenes.catalog import load_scene
from soar.sim.world import World
from soar.types import Action


@pytest.fixture
def eyes() -> VisionLanguageModel:
    return load_vlm()


def test_a_scene_whose_physics_diverges_gives_as_many_images(
    eyes: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(world: World, action: Action) -> Action:
        raise RobotFault("the simulated physics diverged; reset the world")

    monkeypatch.setattr(World, "step", diverge)
    seen: list[int] = []
    judge_scenes(eyes, [load_scene("dev1")], 5, 0, lambda: seen.append(1))
    assert len(seen) == 5


def test_a_scene_without_any_state_is_refused_and_not_left_out(
    eyes: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(world: World, seed: int) -> None:
        raise NoRoom("the objects don't fit on the table")

    monkeypatch.setattr(World, "reset", no_room)
    with pytest.raises(ConfigError, match="scene 'dev1': 5 resets in a row gave no image"):
        judge_scenes(eyes, [load_scene("dev1")], 5, 0)
