"""The compact subgoal network and its generator, at random weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from soar import checkpoint as checkpoints
from soar.errors import CheckpointError, ConfigError
from soar.interfaces import SubgoalGenerator
from soar.subgoals.compact.generator import (
    FAST,
    KIND,
    CompactSubgoalGenerator,
    noise_schedule,
    to_checkpoint,
)
from soar.subgoals.compact.network import COARSEST, FINEST, CompactSubgoalNet
from soar.subgoals.compact.observation_encoder import CompactSubgoalConfig
from soar.subgoals.pixels import to_images, to_tensor
from soar.types import Observation, image_only

TINY = CompactSubgoalConfig(width=8, wide=32, depth=1, vector=16)
OPEN, PUT = "open the drawer", "put the green block in the bowl"


@pytest.fixture(scope="module")
def generator() -> CompactSubgoalGenerator:
    torch.manual_seed(0)
    net = CompactSubgoalNet(TINY)
    for p in net.parameters():  # what starts at zero would hide mistakes
        torch.nn.init.normal_(p, std=0.2)
    return CompactSubgoalGenerator(to_checkpoint(net, {}), device="cpu", precision="fp32")


def images(n: int, size: int = 64) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (n, size, size, 3), np.uint8)


def seen(n: int, size: int = 96) -> list[Observation]:
    return image_only(images(n, size))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_it_is_a_subgoal_generator_of_its_own_resolution(generator):
    assert isinstance(generator, SubgoalGenerator)
    out = generator.generate(seen(3, 256), [OPEN, PUT, OPEN], rng())
    assert out.shape == (3, 64, 64, 3)
    assert out.dtype == np.uint8


def test_same_seed_same_image_and_another_seed_another(generator):
    out = [generator.generate(seen(1), [OPEN], rng(seed)) for seed in (1, 1, 2)]
    assert np.array_equal(out[0], out[1])
    assert not np.array_equal(out[0], out[2])


def test_another_instruction_another_image(generator):
    out = [generator.generate(seen(1), [words], rng()) for words in (OPEN, PUT)]
    assert not np.array_equal(*out)


class Pointing:
    """Eyes that see everything in one place."""

    def __init__(self, x: float, y: float) -> None:
        self.at = (x, y)

    def point(self, images, instructions):
        return np.full((len(images), 2, 2), self.at, np.float32)


def test_it_looks_where_better_eyes_point(generator):
    def imagined(eyes: Pointing | None) -> np.ndarray:
        pointed = CompactSubgoalGenerator(
            to_checkpoint(generator.net, {}), device="cpu", precision="fp32", eyes=eyes
        )
        return pointed.generate(seen(1), [PUT], rng())

    assert not np.array_equal(imagined(Pointing(0.5, 0.5)), imagined(Pointing(-0.5, 0.5)))
    assert np.array_equal(imagined(Pointing(np.nan, 0.5)), imagined(None))


def test_what_really_came_decides_where_a_repainted_future_shows_hand_and_thing():
    torch.manual_seed(0)
    net = CompactSubgoalNet(replace(TINY, foresee=True))
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.2)
    painter = CompactSubgoalGenerator(to_checkpoint(net, {}), device="cpu", precision="fp32")
    futures = seen(3)[1:]
    told = [painter.repaint(seen(1), [PUT], [f], rng()) for f in (*futures, futures[0])]
    assert np.array_equal(told[0], told[2])
    assert not np.array_equal(told[0], told[1])


def test_what_the_arm_feels_changes_what_it_foresees_and_needs_not_be_known():
    torch.manual_seed(0)
    net = CompactSubgoalNet(replace(TINY, foresee=True))
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.2)
    painter = CompactSubgoalGenerator(to_checkpoint(net, {}), device="cpu", precision="fp32")
    [unknown] = seen(1)
    low, high = (replace(unknown, state=np.full(7, z, np.float32)) for z in (0.03, 0.1))
    foreseen = [painter.foresee([o], [PUT]).places for o in (unknown, low, high)]
    assert all(torch.isfinite(f).all() for f in foreseen)
    assert not torch.allclose(foreseen[0], foreseen[1])
    assert not torch.allclose(foreseen[1], foreseen[2])


def test_a_batch_doesnt_mix_its_stations(generator):
    both = generator.generate(seen(2), [OPEN, PUT], rng())
    other = generator.generate(seen(2), [OPEN, OPEN], rng())
    assert np.abs(both[0].astype(int) - other[0]).max() <= 1
    assert np.abs(both[1].astype(int) - other[1]).max() > 1


def test_an_untrained_network_expects_nothing_to_change():
    net = CompactSubgoalNet(TINY)
    observation = to_tensor(images(2))
    found = net.look(observation, torch.randn(2, 5, 384), torch.full((2,), 16.0))
    pure_noise = torch.randn_like(observation)
    clean, _ = net.denoise(pure_noise, torch.full((2,), COARSEST), found)
    assert (clean - observation).abs().max() < 0.05


def test_uncertainty_grows_with_noise_from_nothing_to_the_typical_difference():
    net = CompactSubgoalNet(TINY)
    found = net.look(to_tensor(images(1)), torch.zeros(1, 5, 384), torch.full((1,), 16.0))
    scales = [
        float(net.denoise(found.observation, torch.tensor([angle]), found)[1])
        for angle in (FINEST, 0.5, COARSEST)
    ]
    assert scales == sorted(scales)
    assert scales[0] < 0.03
    assert scales[2] == pytest.approx(TINY.difference, rel=0.01)


def test_padding_of_an_instruction_doesnt_matter():
    net = CompactSubgoalNet(TINY)
    words = torch.randn(1, 4, 384)
    padded = torch.cat([words, torch.zeros(1, 6, 384)], 1)
    observation, ahead = to_tensor(images(1)), torch.ones(1)
    for short, long in zip(
        net.look(observation, words, ahead), net.look(observation, padded, ahead), strict=True
    ):
        assert torch.allclose(short, long, atol=1e-5)


def test_noise_schedule_means_the_same_to_the_network_and_to_diffusers():
    from diffusers import DDIMScheduler

    kept = DDIMScheduler.from_config(noise_schedule()).alphas_cumprod
    angles = torch.linspace(FINEST, COARSEST, len(kept))
    assert torch.allclose(kept.sqrt(), angles.cos(), atol=1e-4)


def test_checkpoint_round_trip_gives_the_same_images(generator, tmp_path):
    checkpoints.save(tmp_path, to_checkpoint(generator.net, {}))
    loaded = CompactSubgoalGenerator.load(tmp_path, device="cpu")
    saved = CompactSubgoalGenerator(to_checkpoint(generator.net, {}), device="cpu")
    args = seen(2), [OPEN, PUT]
    assert np.array_equal(loaded.generate(*args, rng()), saved.generate(*args, rng()))


def test_a_checkpoint_of_another_kind_is_refused(tmp_path):
    checkpoints.save(tmp_path, checkpoints.Checkpoint("gcbc", {}, {}))
    with pytest.raises(CheckpointError, match=f"not '{KIND}'"):
        CompactSubgoalGenerator.load(tmp_path)


def test_default_network_ships_within_25_megabytes_and_default_sampler_within_10_steps():
    parameters = sum(p.numel() for p in CompactSubgoalNet(CompactSubgoalConfig()).parameters())
    assert 2 * parameters < 25e6
    assert FAST.steps <= 10


def test_odd_resolution_is_refused():
    with pytest.raises(ConfigError, match="multiple of 8"):
        CompactSubgoalConfig(resolution=60)


def test_pixels_survive_the_way_to_the_network_and_back():
    some = images(2, 16)
    assert np.array_equal(to_images(to_tensor(some)), some)
