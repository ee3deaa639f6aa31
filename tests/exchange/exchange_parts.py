"""Small seeded episodes with smooth images, comparisons, and the other side's environments."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from soar import checkpoint
from soar.contract.contract import WIDOWX, Camera
from soar.data.store.images import decode, encode
from soar.data.store.lance import open_store
from soar.exchange.recording import Recording
from soar.types import Episode, Image, Images, Outcome, Provenance, Subgoal, Verdict
from soar.utils.files import cache_folder

TASKS = ("put the lemon in the bowl", "move the spoon to the left", "")


def smooth(rng: np.random.Generator, count: int, size: int) -> Images:
    """Images with soft gradients that drift, as a camera's: video codecs are made for them."""
    y, x = np.mgrid[0:size, 0:size] / size
    phase = rng.uniform(0, 6, (3, 2))
    frames = [
        np.stack(
            [128 + 90 * np.sin(3 * x + a + t / 9) * np.cos(2 * y + b) for a, b in phase], axis=-1
        )
        for t in range(count)
    ]
    return np.stack(frames).astype(np.uint8)


def make_episode(
    seed: int = 0,
    steps: int = 7,
    size: int = 32,
    outcome: Outcome = "success",
    cameras: Sequence[str] = (),
    actors: Sequence[str] = (),
) -> Episode:
    rng = np.random.default_rng(seed)
    images = smooth(rng, steps + 1, size)
    started = 1.7e9 + 100 * seed
    return Episode(
        instruction=TASKS[seed % 2],
        actions=rng.normal(size=(steps, 7)).astype(np.float32),
        commanded=rng.normal(size=(steps, 7)).astype(np.float32),
        images=images,
        states=rng.normal(size=(steps + 1, 7)).astype(np.float32),
        times_s=np.cumsum(0.1 + rng.random(steps + 1)),
        subgoals=(Subgoal(images[-1], 0), Subgoal(images[3], 4)),
        verdict=Verdict(
            outcome, None if outcome == "unknown" else 0.75, "Done?", "yes", "compact@16"
        ),
        provenance=Provenance("kitchen", "soar", "1", seed, started, "gcbc-1", round=2),
        contract=replace(WIDOWX, cameras=(Camera(), *(Camera(name) for name in cameras))),
        other_images={name: smooth(rng, steps + 1, 2 * size) for name in cameras},
        actors=tuple(actors),  # type: ignore[arg-type]
        end="terminated" if seed % 2 else "truncated",
    )


def make_bridge(folder: Path, date: str, cameras: int = 2, steps: int = 6) -> Path:
    """One trajectory of raw BridgeData."""
    rng = np.random.default_rng(0)
    path = folder / f"kitchen/wipe/00/{date}/raw/traj_group0/traj3"
    for camera in range(cameras):
        (path / f"images{camera}").mkdir(parents=True)
        for step, image in enumerate(jpegs(smooth(rng, steps + 1, 32))):
            (path / f"images{camera}/im_{step}.jpg").write_bytes(image)
    (path / "depth_images0").mkdir()
    states = rng.normal(size=(steps + 1, 7))
    observations = {"full_state": states, "time_stamp": list(1.65e9 + 0.2 * np.arange(steps + 1))}
    (path / "obs_dict.pkl").write_bytes(pickle.dumps(observations))
    actions = [
        {"actions": rng.normal(size=7), "new_robot_transform": np.eye(4)} for _ in range(steps)
    ]
    (path / "policy_out.pkl").write_bytes(pickle.dumps(actions))
    (path / "lang.txt").write_text("wipe the table\nconfidence: 0.40\n")
    return path


def same(a: Recording, b: Recording, but: Sequence[str] = ()) -> bool:
    """Whether two episodes are equal, image files byte for byte, but for some fields."""
    arrays = {"actions", "commanded", "states", "times_s"} - set(but)
    rest = {"id", "instruction", "verdict", "provenance", "contract", "actors", "end"} - set(but)
    return (
        all(np.array_equal(getattr(a, name), getattr(b, name)) for name in arrays)
        and all(getattr(a, name) == getattr(b, name) for name in rest)
        and ("cameras" in but or _lists(a.cameras) == _lists(b.cameras))
        and ("subgoals" in but or list(a.subgoals) == list(b.subgoals))
    )


def difference(one: Sequence[bytes], other: Sequence[bytes]) -> float:
    """Mean absolute difference of image files' pixels, of 255."""
    pairs = zip(one, other, strict=True)
    return float(np.mean([np.abs(decode(a).astype(int) - decode(b)).mean() for a, b in pairs]))


def jpegs(images: Images | Sequence[Image]) -> list[bytes]:
    return [encode(image) for image in images]


def check_statistics(store: Path, out: Path) -> None:
    """The checkpoint means what the store's episodes mean, and has their statistics, the gripper's binarized."""
    episodes = [open_store(store).load(s.id) for s in open_store(store).query()]
    actions = np.concatenate([e.actions for e in episodes])
    made = checkpoint.load(out)
    for contract in (made.contract, episodes[0].contract):
        assert (contract.action, contract.state) == (WIDOWX.action, WIDOWX.state)
    (normalization,) = [t for t in made.transforms if t["name"] == "normalize_actions"]
    assert np.allclose(normalization["mean"][:6], actions.mean(0)[:6], atol=1e-6)
    assert np.allclose(normalization["std"][:6], actions.std(0)[:6], rtol=1e-4)
    assert "binarize_gripper" in [t["name"] for t in made.transforms]


def foreign_python(name: str) -> Path:
    """Interpreter of another project's environment; skips the test where there is none."""
    path = cache_folder() / "envs" / name / "bin" / "python"
    if not path.exists():
        pytest.skip(
            f"there is no environment {name} ({path.parent.parent}); see docs/data-exchange.md"
        )
    return path


def _lists(cameras: object) -> dict[str, list[bytes]]:
    return {name: list(images) for name, images in dict(cameras).items()}  # type: ignore[call-overload]


def recording(episode: Episode) -> Recording:
    """An episode as a store would give it."""
    goals = jpegs([subgoal.image for subgoal in episode.subgoals])
    return Recording(
        key="k",
        id=f"20240101-{round(episode.provenance.started_s)}",
        instruction=episode.instruction,
        cameras={
            "primary": jpegs(episode.images),
            **{name: jpegs(images) for name, images in episode.other_images.items()},
        },
        actions=episode.actions,
        commanded=episode.commanded,
        states=episode.states,
        times_s=episode.times_s,
        verdict=episode.verdict,
        provenance=episode.provenance,
        contract=episode.contract,
        subgoals=[(s.step, goal) for s, goal in zip(episode.subgoals, goals, strict=True)],
        actors=episode.actors,
        end=episode.end,
    )
