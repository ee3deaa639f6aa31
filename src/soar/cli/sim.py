"""`soar sim`: images of the simulated world, videos of its expert, demonstrations, and true verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from annotated_types import Ge

from soar.cli.options import FLAT, OUT, save_in_store
from soar.errors import ConfigError
from soar.pretraining.demonstrations import DemonstrationConfig
from soar.sim.world import CAMERA_PIXELS
from soar.types import Image, Outcome, Verdict

if TYPE_CHECKING:
    from soar.sim.scenes.spec import Scene, SceneTask

_SCENE_HELP = "1 to 10, dev1 to dev12, bridge-SEED, broad-SEED, or a YAML file; 3+6 adds six distracting objects."
TRUTH = "the simulator's truth"
"""Judge of the verdicts of `soar sim judge`."""
SceneName = Annotated[str, tyro.conf.arg(help=_SCENE_HELP)]


def sheet(
    out: Path = Path("sheet.png"),
    scenes: tuple[str, ...] = (),
    samples: Annotated[int, Ge(1)] = 6,
    size: Annotated[int, Ge(1)] = CAMERA_PIXELS,
    seed: Annotated[int, Ge(0)] = 0,
) -> None:
    """Draw scenes as one contact sheet: the ten, those for development, and some random ones.

    Examples: `soar sim sheet --out sheet.png`, your own scene: `soar sim sheet --scenes kitchen.yaml 3`.

    Args:
        out: PNG to write.
        scenes: names or YAML files; by default all regimes.
        samples: number of random scenes of each of *bridge* and *broad*.
        size: height and width of each image in pixels.
        seed: seed of the placement, and of the first random scene.
    """
    from soar.sim.scenes.catalog import load_scene
    from soar.sim.scenes.paper_scenes import SCENES
    from soar.sim.scenes.regimes import RANDOM_REGIMES
    from soar.utils.media import contact_sheet

    drawn = [f"{regime}-{seed + i}" for regime in RANDOM_REGIMES for i in range(samples)]
    chosen = [load_scene(name) for name in scenes or (*SCENES, *drawn)]
    captions = [f"{scene.name}: {_summary(scene)}" for scene in chosen]
    contact_sheet(list(_images(chosen, size, seed)), captions, 6, out)
    print(out)


def video(
    scene: SceneName,
    task: str = "",
    out: Path = Path("expert.mp4"),
    seed: Annotated[int, Ge(0)] = 0,
    size: Annotated[int, Ge(1)] = CAMERA_PIXELS,
    max_steps: Annotated[int, Ge(1)] = 100,
) -> None:
    """Film the scripted expert at a task, and print whether it succeeded.

    Example: `soar sim video --scene 3 --task "put the lemon in the wooden bowl"`.

    Args:
        scene: the scene.
        task: instruction, or a part of it that no other task has; by default the first task's.
        out: mp4 to write.
        seed: seed of the placement and of the expert's noise.
        size: height and width of the video in pixels.
        max_steps: control steps after which the expert gives up.
    """
    import numpy as np

    from soar.pretraining.demonstrations import demonstrate
    from soar.sim.scenes.catalog import load_scene
    from soar.sim.world import World
    from soar.utils.media import write_video
    from soar.utils.progress import printable

    place = load_scene(scene)
    chosen = _find_task(place, task)
    world = World(place, size)
    try:
        world.reset(seed, chosen.goal)
        episode = demonstrate(world, chosen, np.random.default_rng(seed), max_steps, seed=seed)
    finally:
        world.close()
    write_video(out, episode.images)
    print(
        printable(
            f"{episode.instruction}: {episode.verdict.outcome} after {len(episode)} steps, {out}"
        )
    )


def demos(
    store: Annotated[Path, OUT],
    config: Annotated[DemonstrationConfig, FLAT],
    regime: Literal["bridge", "broad", "dev", "soar"] = "bridge",
    episodes: Annotated[int, Ge(1)] = 1000,
    workers: Annotated[int, Ge(1)] = 2,
    first_seed: Annotated[int, Ge(0)] = 0,
    scenes: tuple[str, ...] = (),
) -> None:
    """Fill an episode store with the scripted expert's successful demonstrations.

    The same command resumes after an interruption; a larger `--episodes` adds demonstrations. The store's folder
    `configs` keeps the configuration.

    Example: `soar sim demos --regime bridge --episodes 2000 --workers 2 --store data/bridge`.

    Args:
        store: the store's folder, created if there is none.
        config: what the expert does.
        regime: regime of the scenes; *dev* and *soar* need `--scenes`.
        episodes: least number of demonstrations in the store at the end, as sessions of several tasks are completed.
        workers: number of processes; one for each core is best.
        first_seed: seed of the first session.
        scenes: names or YAML files of scenes to take in turn, instead of random ones.
    """
    from soar.pretraining.demonstrations import DemonstrationCounts, collect_demonstrations
    from soar.sim.scenes.regimes import RANDOM_REGIMES

    if regime not in RANDOM_REGIMES and not scenes:
        raise ConfigError(f"regime '{regime}' has no random scenes: name some with --scenes")
    counts = collect_demonstrations(
        store,
        regime,
        episodes,
        workers=workers,
        first_seed=first_seed,
        scenes=scenes,
        config=config,
    )
    save_in_store(demos, store)
    if counts == DemonstrationCounts():
        print(f"{store} has {episodes} demonstrations or more already")
    else:
        kept, failed = counts
        print(f"{kept} demonstrations kept, {failed} failed ({counts.rate:.1%} succeeded)")


def judge(store: Path, out: Path) -> None:
    """Copy a simulated store, with the simulator's truth in place of the verdicts.

    What is learned from the copy shows what wrong verdicts cost. Nothing in the loop may read it. The same command
    continues after an interruption, and copies what was added since. Other episodes of that store keep their verdicts.

    Example: `soar sim judge --store S --out TRUE`, then `soar reproduce methods --names hindsight --store TRUE`.

    Args:
        store: the store, which stays as it is.
        out: the store to copy to; it is created if there is none.
    """
    from soar.cli.curate import merge
    from soar.data.store.lance import open_store
    from soar.utils.progress import progress_bar

    truths = {e.id: e.provenance.truth for e in open_store(store, read_only=True).query()}
    missing = [id for id, truth in truths.items() if truth is None]
    if missing:
        raise ConfigError(
            f"nobody knows the truth of {len(missing)} episodes of {store}, such as {missing[0]}; "
            "valid: a store that was collected in simulation"
        )
    merge((store,), out)
    target = open_store(out)
    ids = [e.id for e in target.query() if e.id in truths and e.verdict.judge != TRUTH]
    with progress_bar() as bar:
        row = bar.add_task("judging", total=len(ids), note="")
        for id in ids:
            true = bool(truths[id])
            outcome: Outcome = "success" if true else "failure"
            target.set_verdict(id, Verdict(outcome, float(true), judge=TRUTH))
            bar.advance(row)
    print(f"{len(ids)} episodes judged by {TRUTH}")


def _images(scenes: Sequence[Scene], size: int, seed: int) -> Iterator[Image]:
    """Camera image of each scene after a reset."""
    from soar.sim.world import World
    from soar.utils.progress import progress_bar

    with progress_bar() as bar:
        line = bar.add_task("scenes", total=len(scenes), note="")
        for scene in scenes:
            world = World(scene, size)
            try:
                world.reset(seed)
                yield world.render()
            finally:
                world.close()
            bar.update(line, advance=1, note=scene.name)


def _summary(scene: Scene) -> str:
    """Every second task, as the others only undo those."""
    return "; ".join(t.instruction for t in scene.tasks[::2][:3])


def _find_task(scene: Scene, words: str) -> SceneTask:
    found = [t for t in scene.tasks if words == t.instruction] or [
        t for t in scene.tasks if words in t.instruction
    ]
    if not found or (words and len(found) > 1):
        raise ConfigError(
            f"{'no' if not found else 'more than one'} task of scene '{scene.name}' has '{words}'; "
            f"valid: {'; '.join(t.instruction for t in scene.tasks)}"
        )
    return found[0]
