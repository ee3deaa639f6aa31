"""InstructPix2Pix folders as trainers, converters and hubs leave them: each works, or is refused with its own cause."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from soar.errors import ConfigError
from soar.registry import load_subgoals, subgoals_spec
from soar.subgoals.diffusers_folder import noise_schedule
from soar.subgoals.pixels import to_tensor
from soar.subgoals.sampler import SamplerConfig, make_scheduler
from soar.subgoals.susie import InstructPix2Pix, Susie
from soar.types import Images, Task, image_only

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
import own_subgoals

SEEN = np.random.default_rng(1).integers(0, 256, (1, 64, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    own_subgoals.make_tiny_model(folder)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


def generate(folder: Path, seed: int = 0, steps: int = 2) -> Images:
    model = Susie(folder, SamplerConfig("dpmsolver++", steps), 64, "cpu", "fp32")
    return model.generate(image_only(SEEN), [Task("open the drawer")], np.random.default_rng(seed))


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def rename(folder: Path, pattern: str, new: Callable[[str], str]) -> None:
    for path in folder.rglob(pattern):
        path.rename(path.with_name(new(path.name)))


def without_feature_extractor_and_with_a_safety_checker(folder: Path) -> None:
    index = {
        "feature_extractor": ["transformers", "CLIPImageProcessor"],
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    }
    edit(folder / "model_index.json", **index)
    (folder / "safety_checker").mkdir()


def without_a_length_of_the_tokenizer(folder: Path) -> None:
    path = folder / "tokenizer" / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    settings.pop("model_max_length")
    path.write_text(json.dumps(settings))


def with_fp16_weights_alone(folder: Path) -> None:
    rename(folder, "*.safetensors", lambda n: n.replace(".safetensors", ".fp16.safetensors"))


def with_a_plain_pipeline_class(folder: Path) -> None:
    edit(folder / "model_index.json", _class_name="StableDiffusionPipeline")


def with_a_stochastic_sampler(folder: Path) -> None:
    edit(
        folder / "scheduler" / "scheduler_config.json",
        _class_name="DPMSolverMultistepScheduler",
        algorithm_type="sde-dpmsolver++",
        use_flow_sigmas=True,
        use_karras_sigmas=True,
    )


def with_code_of_its_own(folder: Path) -> None:
    """A module that a folder names isn't run."""
    (folder / "unet" / "evil.py").write_text("raise SystemExit('run')")
    edit(folder / "model_index.json", unet=["evil", "Unet"])


@pytest.mark.parametrize("change", [
    without_feature_extractor_and_with_a_safety_checker, without_a_length_of_the_tokenizer,
    with_fp16_weights_alone, with_a_plain_pipeline_class, with_a_stochastic_sampler, with_code_of_its_own,
])  # fmt: skip
def test_a_folder_that_lacks_what_subgoals_don_t_need_gives_the_same_images(
    whole: Path, folder: Path, change: Callable[[Path], None]
) -> None:
    change(folder)
    image = generate(folder)
    assert np.array_equal(image, generate(whole))
    assert np.array_equal(image, generate(folder))


def inpainting(folder: Path) -> None:
    edit(folder / "unet" / "config.json", in_channels=9)


def pointer(folder: Path) -> None:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n"
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_text(text)


def damaged(folder: Path) -> None:
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def flax(folder: Path) -> None:
    rename(folder, "diffusion_pytorch_model.safetensors", lambda _: "diffusion_flax_model.msgpack")


def lora(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (folder / "pytorch_lora_weights.safetensors").write_bytes(b"")


def trainer_checkpoint(folder: Path) -> None:
    for part in ("vae", "text_encoder", "tokenizer", "scheduler"):
        shutil.rmtree(folder / part)
    (folder / "model_index.json").unlink()


def one_file(folder: Path) -> None:
    trainer_checkpoint(folder)
    shutil.rmtree(folder / "unet")
    (folder / "model.safetensors").write_bytes(b"")


def checkpoints_alone(folder: Path) -> None:
    one_file(folder)
    (folder / "model.safetensors").unlink()
    (folder / "checkpoint-500").mkdir()


def settings(part: str, **values: Any) -> Callable[[Path], None]:
    name = {"scheduler": "scheduler/scheduler_config.json", "": "model_index.json"}
    return lambda folder: edit(folder / name.get(part, f"{part}/config.json"), **values)


CAUSES: dict[str, tuple[Callable[[Path], object], str]] = {
    "text to image": (settings("unet", in_channels=4), "takes 4 channels, not 8.*text-to-image"),
    "inpainting": (inpainting, "takes 9 channels, not 8.*inpainting"),
    "another pipeline": (settings("", _class_name="FluxPipeline"), "its pipeline is FluxPipeline; valid"),
    "SDXL": (settings("", _class_name="StableDiffusionXLInstructPix2PixPipeline"), "XLInstructPix2PixPipeline; valid"),
    "a part is missing": (lambda f: shutil.rmtree(f / "vae"), "parts are missing: vae"),
    "no weights": (lambda f: (f / "vae" / "diffusion_pytorch_model.safetensors").unlink(), "vae has no weights"),
    "git-lfs": (pointer, "git-lfs pointer.*git lfs pull"),
    "damaged": (damaged, "vae can't be loaded"),
    "Flax": (flax, "unet has Flax weights only"),
    "LoRA": (lora, "LoRA weights only.*fuse_lora"),
    "a trainer's checkpoint": (trainer_checkpoint, "U-Net alone"),
    "checkpoints": (checkpoints_alone, "trainer's checkpoints \\(checkpoint-500\\)"),
    "one file": (one_file, "checkpoint in one file"),
    "flow matching": (settings("scheduler", _class_name="FlowMatchEulerDiscreteScheduler"), "flow matching"),
    "flow prediction": (settings("scheduler", prediction_type="flow_prediction"), "flow matching"),
    "an unknown schedule": (settings("scheduler", beta_schedule="laplace"), "noise schedule can't be used"),
    "another text encoder": (settings("", text_encoder=["transformers", "T5EncoderModel"]),
        "text encoder is T5EncoderModel"),
    "words of another width": (settings("unet", cross_attention_dim=768), "words of width 768"),
    "no JSON": (lambda f: (f / "unet" / "config.json").write_text("{"), "unet/config.json is no JSON"),
}  # fmt: skip


@pytest.mark.parametrize("case", CAUSES)
def test_a_folder_that_can_t_be_used_is_refused_with_its_own_cause_in_one_line(
    folder: Path, case: str
) -> None:
    change, message = CAUSES[case]
    change(folder)
    with pytest.raises(ConfigError, match=message) as error:
        load_subgoals(f"susie:{folder}")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "model.ckpt").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"it is one file.*from_single_file"):
        load_subgoals(f"susie:{tmp_path / 'model.ckpt'}")


@pytest.mark.parametrize("scheduler", ["ddim", "dpmsolver++"])
def test_velocity_prediction_equals_diffusers_pipeline(folder: Path, scheduler: Any) -> None:
    edit(folder / "scheduler" / "scheduler_config.json", prediction_type="v_prediction")
    config = SamplerConfig(scheduler, 3)
    model = Susie(folder, config, 64, "cpu", "fp32")
    ours = model.generate(image_only(SEEN), [Task("open the drawer")], np.random.default_rng(7))
    pipe = InstructPix2Pix.load(folder).pipeline
    pipe.scheduler = make_scheduler(scheduler, pipe.scheduler.config)
    assert pipe.scheduler.config.prediction_type == "v_prediction"
    pipe.set_progress_bar_config(disable=True)
    seed = int(np.random.default_rng(7).integers(2**63))
    theirs = pipe(
        ["open the drawer"], image=(to_tensor(SEEN) + 1) / 2, num_inference_steps=3,
        guidance_scale=config.text_guidance, image_guidance_scale=config.image_guidance,
        generator=torch.Generator().manual_seed(seed), output_type="np",
    ).images  # fmt: skip
    assert np.abs(ours - 255 * theirs).max() <= 0.51


def test_settings_of_a_sampler_are_not_taken_over() -> None:
    kept = noise_schedule(
        {"beta_start": 0.1, "algorithm_type": "sde-dpmsolver++", "use_flow_sigmas": True}
    )
    assert kept == {"beta_start": 0.1, "clip_sample": False}


def test_options_of_a_name_choose_size_and_sampler(folder: Path) -> None:
    name = f"susie:{folder}?size=128&scheduler=ddim&steps=1&image_guidance=1.5&text_guidance=3"
    generator = load_subgoals(name)
    image = generator.generate(
        image_only(SEEN), [Task("open the drawer")], np.random.default_rng(0)
    )
    assert image.shape == (1, 128, 128, 3)
    assert subgoals_spec(name).source == str(folder)
    assert isinstance(generator, Susie)
    assert generator.sampler == SamplerConfig("ddim", 1, 1.5, 3.0)


@pytest.mark.parametrize(("options", "message"), [
    ("size=100", "multiple of 8"), ("size=big", "size must be a whole number, not 'big'"), ("size=0", "64 and 2048"),
    ("scheduler=euler", "valid: ddim, dpmsolver"), ("steps=0", "at least one step"), ("text_guidance=nan", "finite"),
    ("width=256", "valid after '\\?': size"), ("", "valid after '\\?': size"),
])  # fmt: skip
def test_wrong_options_end_in_one_line(folder: Path, options: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_subgoals(f"susie:{folder}?{options}")
