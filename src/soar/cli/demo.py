"""`soar demo`: the quickest way to see what this is."""

from __future__ import annotations

from pathlib import Path


def demo(
    scene: str = "1", episodes: int = 12, out: Path = Path("runs/demo"), workers: int = 2
) -> None:
    """Watch the scripted expert do a scene's tasks: an episode store, a video, a contact sheet.

    Example: `soar demo --scene 5`.

    Args:
        scene: 1 to 10, dev1, dev2, bridge-SEED, broad-SEED, or a YAML file of your own.
        episodes: demonstrations in the store in the end; run it again with more to add.
        out: the folder for everything.
        workers: processes.
    """
    from soar.demo import show_expert

    shown = show_expert(scene, episodes, out / f"scene-{Path(scene).stem}", workers)
    print(f"{shown.episodes} demonstrations of scene {scene} in {shown.store}")
    print(f"look at      {shown.video}")
    print(f"             {shown.sheet}")
    print(f"look around  soar data ls --store {shown.store}")
