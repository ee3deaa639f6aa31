"""The compact subgoal network and its generator, with random weights."""

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
from soar.subgoals.compact.network import MAX_ANGLE, MIN_ANGLE, CompactSubgoalNet
from soar.subgoals.compact.observation_encoder import CompactSubgoalConfig, PredictorSize
from soar.subgoals.pixels import to_images, to_tensor
from soar.tasks.grammar import parse_instruction
from soar.types import Answer, Observation, Task, image_only
from soar.utils.media import resize

TINY = CompactSubgoalConfig(width=8, coarse_width=32, depth=1, condition_dim=16)
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


def tasks(*instructions: str) -> list[Task]:
    return [parse_instruction(i) for i in instructions]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_generated_images_have_the_networks_resolution(generator):
    assert isinstance(generator, SubgoalGenerator)
    out = generator.generate(seen(3, 256), tasks(OPEN, PUT, OPEN), rng())
    assert out.shape == (3, 64, 64, 3)
    assert out.dtype == np.uint8


def test_the_seed_determines_the_image(generator):
    out = [generator.generate(seen(1), tasks(OPEN), rng(seed)) for seed in (1, 1, 2)]
    assert np.array_equal(out[0], out[1])
    assert not np.array_equal(out[0], out[2])


def test_the_instruction_changes_the_image(generator):
    out = [generator.generate(seen(1), tasks(words), rng()) for words in (OPEN, PUT)]
    assert not np.array_equal(*out)


class FixedLocator:
    """A locator that finds everything at one place."""

    def __init__(self, x: float, y: float) -> None:
        self.point_xy = (x, y)

    def point(self, images, tasks):
        return np.full((len(images), 2, 2), self.point_xy, np.float32)


def test_the_locators_points_change_the_image_and_nan_leaves_it(generator):
    def generated(locator: FixedLocator | None) -> np.ndarray:
        located = CompactSubgoalGenerator(
            to_checkpoint(generator.net, {}), device="cpu", precision="fp32", locator=locator
        )
        return located.generate(seen(1), tasks(PUT), rng())

    assert not np.array_equal(generated(FixedLocator(0.5, 0.5)), generated(FixedLocator(-0.5, 0.5)))
    assert np.array_equal(generated(FixedLocator(np.nan, 0.5)), generated(None))


class FixedJudge:
    """A VLM that answers every "Is it open?" with one probability, and its opposite with another."""

    name = "fixed"

    def __init__(self, p_open: float | None, p_closed: float | None) -> None:
        self.p = {"open": p_open, "closed": p_closed}

    def answer(self, images, questions):
        return [[Answer(q, self.p[q.kind]) for q in asked] for asked in questions]

    def propose(self, images, instructions):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("p_open", "p_closed", "opening", "rests"),
    [
        (0.95, 0.05, 1.0, True),
        (0.95, 0.05, 0.2, False),  # it may still hold the knob
        (0.95, 0.05, np.nan, False),
        (0.95, 0.5, 1.0, False),  # one vote
        (0.5, 0.05, 1.0, False),
        (None, 0.05, 1.0, False),
    ],
)
def test_an_open_hand_rests_where_two_votes_say_that_the_task_is_done(
    generator, p_open, p_closed, opening, rests
):
    judged = CompactSubgoalGenerator(
        to_checkpoint(generator.net, {}),
        device="cpu",
        precision="fp32",
        judge=FixedJudge(p_open, p_closed),
    )
    state = np.array([0.3, 0, 0.1, 0, 0, 0, opening], np.float32)
    observation = replace(seen(1)[0], state=state)
    unknown = parse_instruction("fetch the moon")  # has no opposite question
    done, other = judged.generate([observation] * 2, [*tasks(OPEN), unknown], rng())
    assert np.array_equal(done, resize(observation.image, 64)) is rests
    assert not np.array_equal(other, resize(observation.image, 64))


@pytest.fixture(scope="module")
def predicting() -> CompactSubgoalGenerator:
    """A generator with a keypoint predictor."""
    torch.manual_seed(0)
    net = CompactSubgoalNet(replace(TINY, predict_keypoints=True))
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.2)
    return CompactSubgoalGenerator(to_checkpoint(net, {}), device="cpu", precision="fp32")


def test_the_future_determines_an_image_generated_from_it(predicting):
    futures = seen(3)[1:]
    images = [
        predicting.generate_from_futures(seen(1), [PUT], [f], rng()) for f in (*futures, futures[0])
    ]
    assert np.array_equal(images[0], images[2])
    assert not np.array_equal(images[0], images[1])


def test_the_robots_state_changes_predicted_keypoints_and_may_be_unknown(predicting):
    [unknown] = seen(1)
    low, high = (replace(unknown, state=np.full(7, z, np.float32)) for z in (0.03, 0.1))
    keypoints = [predicting.predict_keypoints([o], [PUT]).keypoints for o in (unknown, low, high)]
    assert all(torch.isfinite(k).all() for k in keypoints)
    assert not torch.allclose(keypoints[0], keypoints[1])
    assert not torch.allclose(keypoints[1], keypoints[2])


def test_samples_of_a_batch_do_not_mix(generator):
    both = generator.generate(seen(2), tasks(OPEN, PUT), rng())
    other = generator.generate(seen(2), tasks(OPEN, OPEN), rng())
    assert np.abs(both[0].astype(int) - other[0]).max() <= 1
    assert np.abs(both[1].astype(int) - other[1]).max() > 1


def test_an_untrained_network_predicts_no_change():
    net = CompactSubgoalNet(TINY)
    observation = to_tensor(images(2))
    encoded = net.encode(observation, torch.randn(2, 5, 384), torch.full((2,), 16.0))
    pure_noise = torch.randn_like(observation)
    clean, _ = net.denoise(pure_noise, torch.full((2,), MAX_ANGLE), encoded)
    assert (clean - observation).abs().max() < 0.05


def test_uncertainty_grows_with_noise_from_zero_to_the_typical_difference():
    net = CompactSubgoalNet(TINY)
    encoded = net.encode(to_tensor(images(1)), torch.zeros(1, 5, 384), torch.full((1,), 16.0))
    scales = [
        float(net.denoise(encoded.observation, torch.tensor([angle]), encoded)[1])
        for angle in (MIN_ANGLE, 0.5, MAX_ANGLE)
    ]
    assert scales == sorted(scales)
    assert scales[0] < 0.03
    assert scales[2] == pytest.approx(TINY.difference, rel=0.01)


def test_padding_of_an_instruction_changes_nothing():
    net = CompactSubgoalNet(TINY)
    words = torch.randn(1, 4, 384)
    padded = torch.cat([words, torch.zeros(1, 6, 384)], 1)
    observation, steps = to_tensor(images(1)), torch.ones(1)
    for short, long in zip(
        net.encode(observation, words, steps), net.encode(observation, padded, steps), strict=True
    ):
        assert torch.allclose(short, long, atol=1e-5)


def test_network_and_diffusers_share_one_noise_schedule():
    from diffusers import DDIMScheduler

    kept = DDIMScheduler.from_config(noise_schedule()).alphas_cumprod
    angles = torch.linspace(MIN_ANGLE, MAX_ANGLE, len(kept))
    assert torch.allclose(kept.sqrt(), angles.cos(), atol=1e-4)


def test_checkpoint_round_trip_gives_the_same_images(generator, tmp_path):
    checkpoints.save(tmp_path, to_checkpoint(generator.net, {}))
    loaded = CompactSubgoalGenerator.load(tmp_path, device="cpu")
    saved = CompactSubgoalGenerator(to_checkpoint(generator.net, {}), device="cpu")
    args = seen(2), tasks(OPEN, PUT)
    assert np.array_equal(loaded.generate(*args, rng()), saved.generate(*args, rng()))


def test_a_checkpoint_of_another_kind_is_refused(tmp_path):
    checkpoints.save(tmp_path, checkpoints.Checkpoint("gcbc", {}, {}))
    with pytest.raises(CheckpointError, match=f"not '{KIND}'"):
        CompactSubgoalGenerator.load(tmp_path)


def test_default_network_ships_within_25_megabytes_and_default_sampler_within_10_steps():
    parameters = sum(p.numel() for p in CompactSubgoalNet(CompactSubgoalConfig()).parameters())
    assert 2 * parameters < 25e6
    assert FAST.steps <= 10


def test_a_resolution_that_is_no_multiple_of_eight_is_refused():
    with pytest.raises(ConfigError, match="multiple of 8"):
        CompactSubgoalConfig(resolution=60)


@pytest.mark.parametrize("cells", [7, 20])
def test_a_predictor_whose_cells_do_not_divide_the_image_is_refused(cells):
    with pytest.raises(ConfigError, match="even and divide input_resolution, 96, not"):
        CompactSubgoalConfig(predictor=PredictorSize(cells=cells))


def test_images_converted_to_tensors_and_back_are_unchanged():
    some = images(2, 16)
    assert np.array_equal(to_images(to_tensor(some)), some)
