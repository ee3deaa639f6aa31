"""`soar convert gcbc|lcbc|dgcbc` against the authors' own agents (make_golden_agents.py)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from soar import checkpoint as checkpoints
from soar.cli import main
from soar.conversion.settings import read_settings
from soar.data.frame_cache import build_frames
from soar.data.mixture import Source
from soar.data.store.lance import open_store
from soar.errors import ConfigError
from soar.improvement.cotraining import CoTrainConfig
from soar.nn.sentences import read_sentences
from soar.policies.chunks import ChunkBroker
from soar.policies.lcbc import LCBCConfig
from soar.policies.loading import load_policy
from soar.registry import load_policy as load_by_name
from soar.training.policy import train_policy, with_fit
from soar.types import Episode, Provenance, Query, Verdict, image_only

SENTENCES = ("put the green block in the bowl", "open the drawer")
Golden = Callable[[str], Path]


def convert(kind: str, folder: Path, *options: str) -> Path:
    out = folder / "converted"
    if not out.exists():
        settings = str(folder / "settings.json")
        source = str(folder / "checkpoint_500")
        main(["convert", kind, source, "--settings", settings, "--out", str(out), *options])
    return out


def theirs(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "golden.npz") as file:
        return dict(file)


def z_scored(policy, images: np.ndarray, goals: dict[str, torch.Tensor]) -> torch.Tensor:
    """Features of our policy for a batch, before the head."""
    batch = {"image": torch.from_numpy(images), **goals}
    for transform in policy.transforms:
        batch = transform.serve(batch)
    with torch.inference_mode():
        return policy._encode(batch).features


def physical(policy, actions: np.ndarray) -> np.ndarray:
    """Actions of theirs in physical units, as their evaluation makes them."""
    return policy.transforms[-1].undo(torch.from_numpy(actions)).numpy()


def with_small_images(folder: Path) -> Path:
    """Write the images' size to the settings: the golden images are smaller than the released agents'."""
    path = folder / "settings.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "image_size": 64}))
    return folder


@pytest.mark.parametrize("name", ["gcbc", "gcbc50"])
def test_gcbc_acts_as_theirs(golden: Golden, name: str) -> None:
    folder = with_small_images(golden(name))
    policy, found = load_policy(convert("gcbc", folder)), theirs(folder)
    actions = policy.act(image_only(found["image"]), found["goal_image"], np.random.default_rng(0))
    expected = physical(policy, found["actions"])
    assert np.ptp(found["actions"], axis=0).max() > 0.05
    assert np.abs(actions - expected)[:, :6].max() < 1e-4
    assert (actions[:, 6] == (expected[:, 6] > 0.5)).all()
    assert load_by_name(str(folder / "converted")).name == "gcbc"


def test_lcbc_follows_its_own_sentences_as_theirs_and_no_others(golden: Golden) -> None:
    folder = with_small_images(golden("lcbc"))
    found = theirs(folder)
    vectors = {s: v.tolist() for s, v in zip(SENTENCES, found["goal_language"], strict=True)}
    (folder / "muse.json").write_text(json.dumps(vectors))
    policy = load_policy(convert("lcbc", folder, "--vectors", str(folder / "muse.json")))
    actions = policy.act(image_only(found["image"]), SENTENCES, np.random.default_rng(0))
    assert np.abs(actions - physical(policy, found["actions"]))[:, :6].max() < 1e-4
    with pytest.raises(ConfigError, match="open the drawer"):
        policy.act(image_only(found["image"][:1]), ["open a drawer"], np.random.default_rng(0))


def episode(instruction: str, seed: int) -> Episode:
    rng = np.random.default_rng(seed)
    actions = rng.uniform(-0.02, 0.02, (6, 7)).astype(np.float32)
    return Episode(
        instruction, actions, actions, rng.integers(0, 256, (7, 64, 64, 3), np.uint8),
        rng.normal(size=(7, 7)).astype(np.float32), np.arange(7.0), (), Verdict("success", 0.9),
        Provenance("one", "dev", "1", seed, 1e9 + seed),
    )  # fmt: skip


def test_a_converted_lcbc_is_trained_further_with_embeddings_of_a_file(
    golden: Golden, tmp_path: Path
) -> None:
    folder = with_small_images(golden("lcbc"))
    vectors = dict(zip(SENTENCES, theirs(folder)["goal_language"].tolist(), strict=True))
    (folder / "muse.json").write_text(json.dumps(vectors))
    start = checkpoints.load(convert("lcbc", folder, "--vectors", str(folder / "muse.json")))
    store = open_store(tmp_path / "store", create=True)
    for seed, text in enumerate((SENTENCES[0], "fold the cloth")):
        store.append(episode(text, seed))
    source = Source("own", build_frames(store, Query(), 64, tmp_path / "frames"), 1.0)
    recipe = CoTrainConfig(steps=2, batch_size=2, save_every=1).recipe(start)
    recipe = with_fit(recipe, device="cpu", precision="fp32")
    with pytest.raises(ConfigError, match="'fold the cloth' isn't among the 2 instructions"):
        train_policy(recipe, [source], None, start=start)

    (tmp_path / "more.json").write_text(json.dumps({"fold the cloth": [0.1] * 512}))
    assert isinstance(recipe.policy, LCBCConfig)
    more = replace(recipe.policy, words=str(tmp_path / "more.json"))
    train_policy(replace(recipe, policy=more), [source], tmp_path / "out", start=start)
    policy = load_policy(tmp_path / "out", "cpu")
    assert isinstance(policy.config, LCBCConfig)
    assert policy.config.sentences == (*SENTENCES, "fold the cloth")
    given = torch.tensor([vectors[SENTENCES[0]], [0.1] * 512])
    torch.testing.assert_close(
        policy.condition.goals([SENTENCES[0], "fold the cloth"])["words"], given
    )
    assert policy.transforms[-1] == load_policy(folder / "converted").transforms[-1]


class Recorded(np.random.Generator):
    """The noise that their sampler drew."""

    def __init__(self, noise: np.ndarray) -> None:
        super().__init__(np.random.PCG64(0))
        self.noise = list(noise)

    def standard_normal(self, size):  # type: ignore[override]
        return self.noise.pop(0).reshape(size)


def test_dgcbc_denoises_as_theirs(golden: Golden) -> None:
    folder = with_small_images(golden("dgcbc"))
    policy, found = load_policy(convert("dgcbc", folder)), theirs(folder)
    features = z_scored(policy, found["image"], policy.condition.goals(found["goal_image"]))
    scale = np.ones((2, 1))
    with torch.inference_mode():
        chunks = policy.head.sample(features, scale, Recorded(found["noise"]))[:, 0]
    assert chunks.shape == (2, 4, 7)
    expected = found["actions"].reshape(-1, 7)
    assert (np.abs(expected) < 2).mean() > 0.3  # the sampler's clipping doesn't hide the rest
    error = physical(policy, chunks.reshape(-1, 7).numpy()) - physical(policy, expected)
    assert np.abs(error).max() < 1e-4
    assert isinstance(load_by_name(str(folder / "converted")), ChunkBroker)


def test_settings_of_the_papers_robots_are_read(tmp_path: Path) -> None:
    path = tmp_path / "gc_bc.yaml"
    path.write_text(
        yaml.safe_dump({
            "policy_class": "gc_bc", "image_size": 256, "ACT_MEAN": [0.0] * 7, "ACT_STD": [1.0] * 7,
            "encoder": {
                "type": "resnetv1-34-bridge",
                "config": {"act": "swish", "add_spatial_coordinates": False, "pooling_method": "avg"},
            },
        })
    )  # fmt: skip
    settings = read_settings(path)
    assert (settings.agent, settings.resolution, settings.is_robots_yaml) == ("gc_bc", 256, True)
    assert settings.encoder.depths == (3, 4, 6, 3)
    assert settings.encoder.widths == (64, 128, 256, 512)
    assert not settings.encoder.coordinates


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"agent": "gc_iql"}, "of agent 'gc_iql'; gcbc is 'gc_bc'"),
        ({"encoder": "impala"}, "encoder 'impala' can't be converted"),
        ({"bridgedata_config": {}}, "no action statistics"),
        ({"agent_kwargs": {"use_proprio": True}}, "use_proprio is True; convertible: False"),
        ({"agent_kwargs": [1]}, "s.json aren't laid out as the authors' release"),
        ({"encoder_kwargs": {"num_filters": "many"}}, "aren't laid out as the authors' release"),
        ({"dataset_kwargs": {"gripper_action_mean": 0}}, "aren't laid out as the authors' release"),
    ],
)
def test_what_cannot_be_converted_is_refused_by_name(
    golden: Golden, tmp_path: Path, change: dict, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = golden("gcbc")
    settings = json.loads((folder / "settings.json").read_text())
    (tmp_path / "s.json").write_text(json.dumps(settings | change))
    words = [
        "convert",
        "gcbc",
        str(folder / "checkpoint_500"),
        "--settings",
        str(tmp_path / "s.json"),
    ]
    with pytest.raises(SystemExit):
        main([*words, "--out", str(tmp_path / "out")])
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_another_sentence_encoder_is_refused_by_name(
    golden: Golden, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = golden("lcbc")
    settings = json.loads((folder / "settings.json").read_text()) | {
        "text_processor": "clip_processor"
    }
    (tmp_path / "s.json").write_text(json.dumps(settings))
    (tmp_path / "v.json").write_text(json.dumps({"open": [0.0] * 512}))
    words = [
        "convert",
        "lcbc",
        str(folder / "checkpoint_500"),
        "--settings",
        str(tmp_path / "s.json"),
    ]
    with pytest.raises(SystemExit):
        main([*words, "--vectors", str(tmp_path / "v.json"), "--out", str(tmp_path / "out")])
    assert "sentence encoder 'clip_processor'" in capsys.readouterr().err


def test_files_of_vectors_are_checked(tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", sentences=["a", "b"], vectors=np.ones((2, 512)))
    assert read_sentences(tmp_path / "v.npz").sentences == ("a", "b")
    (tmp_path / "v.json").write_text('{"a": [1, 2], "b": [1]}')
    with pytest.raises(ConfigError, match="as many numbers each"):
        read_sentences(tmp_path / "v.json")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04")
    np.savez(tmp_path / "words.npz", sentences=["a"], vectors=[["x"]])
    for name in ("cut", "words"):
        with pytest.raises(ConfigError, match=r"isn't an \.npz of sentences and vectors"):
            read_sentences(tmp_path / f"{name}.npz")
