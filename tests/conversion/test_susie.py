"""`soar convert susie` against SuSIE's own code (make_golden_susie.py)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from soar.cli import main
from soar.registry import load_subgoals, subgoals_spec
from soar.subgoals.pixels import to_images, to_tensor
from soar.subgoals.sampler import SUSIE, make_scheduler, sample
from soar.subgoals.susie import InstructPix2Pix, make_susie
from soar.types import Task, image_only

PROMPT = "put the green block in the bowl"


@pytest.fixture(scope="module")
def converted(golden: Callable[[str], Path]) -> Path:
    folder = golden("susie")
    out = folder / "converted"
    main(
        [
            "convert",
            "susie",
            str(folder / "susie"),
            "--base",
            str(folder / "stable-diffusion"),
            "--out",
            str(out),
        ]
    )
    return out


@pytest.fixture(scope="module")
def theirs(golden: Callable[[str], Path]) -> dict[str, np.ndarray]:
    with np.load(golden("susie") / "golden.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def model(converted: Path) -> InstructPix2Pix:
    return InstructPix2Pix.load(converted)


def planes(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array).permute(0, 3, 1, 2)


def test_text_encoder_and_unet_answer_as_theirs(
    model: InstructPix2Pix, theirs: dict[str, np.ndarray]
) -> None:
    words = model.words([PROMPT])
    assert np.abs(words.numpy() - theirs["words"]).max() < 1e-4
    condition = planes(theirs["context"]), torch.from_numpy(theirs["words"])
    found = model.denoise(planes(theirs["noise"]), torch.tensor(500), condition)
    error = (found - planes(theirs["unet_output"])).abs().max()
    assert error < theirs["unet_output"].std() / 255


def test_sampled_image_is_theirs_within_one_level(
    model: InstructPix2Pix, theirs: dict[str, np.ndarray]
) -> None:
    conditions = model.conditions(to_tensor(theirs["image"][None]), [PROMPT])
    context = planes(
        theirs["context"]
    )  # theirs is a sample of the autoencoder's latents, ours their mode
    conditions = conditions._replace(
        image=(context, conditions.image[1]), image_and_text=(context, conditions.image_and_text[1])
    )
    scheduler = make_scheduler("susie", model.noise_schedule)
    latents = sample(model.denoise, planes(theirs["noise"]), conditions, scheduler, SUSIE)
    images = to_images(model.decode(latents))
    assert theirs["generated"].std() > 20
    assert np.abs(images.astype(int) - theirs["generated"]).max() <= 1


def test_the_folder_is_a_subgoal_generator_with_its_sampler(converted: Path) -> None:
    assert subgoals_spec(str(converted)).kind == "susie"
    assert make_susie(converted, size=64).sampler == SUSIE
    assert make_susie(converted, size=64, steps=4).sampler.steps == 4
    generator = load_subgoals(f"susie:{converted}?size=64&steps=2")
    image = np.zeros((1, 48, 48, 3), np.uint8)
    assert generator.generate(
        image_only(image), [Task(PROMPT)], np.random.default_rng(0)
    ).shape == (1, 64, 64, 3)
