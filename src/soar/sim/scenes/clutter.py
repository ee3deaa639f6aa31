"""Clutter: scenes with distracting objects that no task names (paper, appendix A, Fig. 6)."""

from __future__ import annotations

from dataclasses import replace
from zlib import crc32

import numpy as np

from soar.errors import ConfigError
from soar.sim.objects.kinds import kind_of
from soar.sim.scenes.paper_scenes import SCENES
from soar.sim.scenes.spec import Scene

MOST = 6
"""Most distracting objects of a scene."""
_ANY_KIND = ("object", "fruit", "veggie")
"""Last words of names that could mean another kind of object in the same color."""


def with_distractors(scene: Scene, count: int) -> Scene:
    """Return a scene with distracting objects among its own, placed at random like those; its tasks stay.

    The objects are the paper's items. Each is of a kind and a name that nothing else in the scene has, and none has the
    color of an object whose name says little more ("red object"), so that no instruction becomes ambiguous. They
    follow from the scene's name; those of a smaller count are among those of a larger one.

    Args:
        scene: the scene.
        count: number of distracting objects.

    Raises:
        ConfigError: `count` isn't from 1 to `MOST`, or fewer objects differ from the scene's.
    """
    if not 1 <= count <= MOST:
        raise ConfigError(
            f"scene {scene.name}+{count}: valid: 1 to {MOST} distracting objects, such as {scene.name}+{MOST}"
        )
    candidates = list(
        {o.name: o for s in SCENES.values() if s.regime == "soar" for o in s.objects}.values()
    )
    order = np.random.default_rng(crc32(scene.name.encode())).permutation(len(candidates))
    objects = list(scene.objects)
    names = {o.name for o in scene.objects}
    vague = {o.color for o in scene.objects if o.name.split()[-1] in _ANY_KIND}
    for index in order:
        item, kinds = candidates[index], {o.kind for o in objects}
        differs = (
            kind_of(item).role == "item"
            and item.kind not in kinds
            and item.color not in vague
            and item.name not in names
        )
        if differs and len(objects) < len(scene.objects) + count:
            objects.append(replace(item, distractor=True))
    found = len(objects) - len(scene.objects)
    if found < count:
        raise ConfigError(
            f"scene {scene.name}+{count}: only {found} objects differ from those of the scene"
        )
    return replace(scene, name=f"{scene.name}+{count}", objects=tuple(objects))
