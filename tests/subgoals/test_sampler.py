"""Guided sampling, on denoisers whose answer is known in closed form."""

import pytest
import torch
from torch import Tensor

from soar.errors import ConfigError
from soar.subgoals.compact.generator import noise_schedule
from soar.subgoals.sampler import (
    SCHEDULERS,
    Condition,
    Conditions,
    Denoiser,
    SamplerConfig,
    make_scheduler,
    sample,
)

NONE, IMAGE, TEXT = 0.1, 0.2, 0.25
CONDITIONS = Conditions(*((torch.full((2, 1), value),) for value in (NONE, IMAGE, TEXT)))


def flat(noisy: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
    """A denoiser that returns a flat image at the level given by its condition."""
    return condition[0][:, :, None, None].expand_as(noisy).clone()


def run(config: SamplerConfig, denoise: Denoiser = flat) -> Tensor:
    noise = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    scheduler = make_scheduler(config.scheduler, noise_schedule())
    return sample(denoise, noise, CONDITIONS, scheduler, config)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_guidance_follows_the_papers_formula(scheduler):
    config = SamplerConfig(scheduler, 6, image_guidance=1.5, text_guidance=3.0)
    expected = NONE + 1.5 * (IMAGE - NONE) + 3.0 * (TEXT - IMAGE)
    assert torch.allclose(run(config), torch.tensor(expected), atol=0.02)


@pytest.mark.parametrize(
    ("image", "text", "branches"),
    [(2.0, 7.5, 3), (1.0, 7.5, 2), (2.0, 2.0, 2), (1.0, 1.0, 1)],
)
def test_branches_of_zero_weight_are_not_run_and_the_others_form_one_batch(image, text, branches):
    sizes = []

    def counting(noisy, timestep, condition):
        sizes.append(len(noisy))
        return flat(noisy, timestep, condition)

    config = SamplerConfig("ddim", 5, image_guidance=image, text_guidance=text)
    result = run(config, counting)
    assert sizes == [2 * branches] * 5
    expected = NONE + image * (IMAGE - NONE) + text * (TEXT - IMAGE)
    assert torch.allclose(result, torch.tensor(expected).clamp(-1, 1), atol=0.02)


def test_strong_guidance_stays_in_the_range_of_images():
    assert run(SamplerConfig("ddim", 5, text_guidance=100.0)).abs().max() <= 1.01


def test_sampling_reproduces_a_gaussians_mean_and_standard_deviation():
    """For Gaussian images the ideal denoiser is linear, and samples must follow that Gaussian."""
    mean, spread = 0.3, 0.1
    kept = (1 - torch.tensor(noise_schedule()["trained_betas"])).cumprod(0)

    def ideal(noisy, timestep, condition):
        a, s = kept[timestep].sqrt(), (1 - kept[timestep]).sqrt()
        gain = spread**2 * a / ((spread * a) ** 2 + s**2)
        return mean + gain * (noisy - a * mean)

    config = SamplerConfig("ddim", 250, image_guidance=1.0, text_guidance=1.0)
    noise = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    scheduler = make_scheduler("ddim", noise_schedule())
    samples = sample(ideal, noise, CONDITIONS, scheduler, config)
    assert samples.mean() == pytest.approx(mean, abs=0.01)
    assert samples.std() == pytest.approx(spread, rel=0.05)


def test_a_sampler_without_steps_is_refused():
    with pytest.raises(ConfigError, match="at least one step"):
        SamplerConfig("ddim", 0)
