"""Scenes by name: those of the paper and for development, random ones by regime and seed, and scene files."""

from __future__ import annotations

from pathlib import Path

from soar.errors import ConfigError
from soar.sim.scenes.clutter import with_distractors
from soar.sim.scenes.paper_scenes import SCENES
from soar.sim.scenes.regimes import RANDOM_REGIMES, sample_scene
from soar.sim.scenes.spec import Scene

DEVELOPMENT = tuple(f"dev{i}" for i in range(1, 9))
"""Names of the scenes by which methods and constants are chosen."""
UNTOUCHED = tuple(f"dev{i}" for i in range(9, 13))
"""Names of the development scenes by which nothing is chosen; their results are only reported."""
SKILLS = ("stack1", "stack2", "door1", "door2")
"""Names of the scenes of tasks that no packaged model has learned."""
_FILES = Path(__file__).parent / "development"


def load_scene(name: str | Path) -> Scene:
    """Return the scene with a name such as "3", "dev1", "bridge-17" or "broad-4", or the one in a YAML file.

    "+N" at the end adds N distracting objects: "3+6".

    Raises:
        ConfigError: there is no such scene, or the file is invalid.
    """
    word = str(name)
    if word in SCENES:
        return SCENES[word]
    if word in DEVELOPMENT + UNTOUCHED + SKILLS:
        return load_scene(_FILES / f"{word}.yaml")
    plain, plus, count = word.rpartition("+")
    if plus and count.isdecimal():
        return with_distractors(load_scene(plain), int(count))
    regime, _, seed = word.partition("-")
    if regime in RANDOM_REGIMES and seed.isdecimal():
        return sample_scene(regime, int(seed))
    if Path(word).suffix in (".yaml", ".yml"):
        from soar.sim.scenes.scene_file import read_scene

        return read_scene(Path(word))
    raise ConfigError(
        f"no scene '{word}'; valid: 1 to 10, dev1 to dev12, {', '.join(SKILLS)}, bridge-SEED, broad-SEED, or a "
        ".yaml file; with +N for N distracting objects"
    )
