"""One physical state in several styles: other colors, names, table, camera and light."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from soar.sim.scenes import randomization
from soar.sim.scenes.regimes import RANDOM_REGIMES, sample_style
from soar.sim.scenes.spec import Scene
from soar.sim.world import World


def styled_views(world: World, count: int, rng: np.random.Generator) -> Iterator[Scene]:
    """Show a world's present state in `count` styles, one after another; scenes of a fixed style have one.

    Yields:
        the scene that the world looks like meanwhile, the world's own first; objects correspond by their order. The
        world has its own style again at the end.
    """
    scene = world.scene
    yield scene
    if count == 1 or scene.regime not in RANDOM_REGIMES:
        return
    plain = randomization.Appearance.of(world.model)
    for _ in range(count - 1):
        style = sample_style(scene, rng)
        world.restyle(style)
        randomization.randomize(world.model, style, rng)
        world.update_view()
        yield style
    world.restyle(scene)
    plain.apply(world.model)
    world.update_view()
