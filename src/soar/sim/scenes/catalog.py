"""All scenes: the paper's ten and the two for development by name, random ones by regime, a user's from a file."""

from __future__ import annotations

from pathlib import Path

from soar.errors import ConfigError
from soar.sim.scenes.paper_scenes import SCENES
from soar.sim.scenes.regimes import RANDOM_REGIMES, sample_scene
from soar.sim.scenes.spec import Scene


def load_scene(name: str | Path) -> Scene:
    """The scene of this name ("3", "dev1", "bridge-17", "broad-4") or in this YAML file.

    Raises:
        ConfigError: there is no such scene, or the file doesn't describe one.
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
