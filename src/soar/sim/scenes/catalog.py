"""Scenes by name: those of the paper and for development, random ones by regime and seed, and scene files."""

from __future__ import annotations

from pathlib import Path

from soar.errors import ConfigError
from soar.sim.scenes.paper_scenes import SCENES
from soar.sim.scenes.regimes import RANDOM_REGIMES, sample_scene
from soar.sim.scenes.spec import Scene


def load_scene(name: str | Path) -> Scene:
    """Return the scene with a name such as "3", "dev1", "bridge-17" or "broad-4", or the one in a YAML file.

    Raises:
        ConfigError: there is no such scene, or the file is invalid.
    """
    word = str(name)
    if word in SCENES:
        return SCENES[word]
    regime, _, seed = word.partition("-")
    if regime in RANDOM_REGIMES and seed.isdigit():
        return sample_scene(regime, int(seed))
    if Path(word).suffix in (".yaml", ".yml"):
        from soar.sim.scenes.scene_file import read_scene

        return read_scene(Path(word))
    raise ConfigError(
        f"no scene '{word}'; valid: {', '.join(SCENES)}, bridge-SEED, broad-SEED, or a .yaml file"
    )
