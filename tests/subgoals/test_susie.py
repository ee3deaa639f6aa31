"""SuSIE: our sampler equals diffusers' own InstructPix2Pix pipeline."""

import json
import string
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from soar.data.frame_cache import Frames
from soar.errors import ConfigError
from soar.subgoals.pixels import to_tensor
from soar.subgoals.sampler import SCHEDULERS, SamplerConfig, SchedulerName, make_scheduler
from soar.subgoals.susie import InstructPix2Pix, Susie
from soar.training.subgoals import SusieTrainConfig, fine_tune_susie
from soar.types import Episode, Provenance, Task, Verdict, image_only

LENGTH = 40
"""Tokens of an instruction; the tiny tokenizer makes one of each letter."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random InstructPix2Pix model in the real format."""
    from diffusers import (
        AutoencoderKL,
        DDIMScheduler,
        StableDiffusionInstructPix2PixPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    path = tmp_path_factory.mktemp("susie")
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        block_out_channels=(8, 16),
        layers_per_block=1,
        sample_size=8,
        in_channels=8,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=4,
        norm_num_groups=4,
    )
    vae = AutoencoderKL(
        block_out_channels=[8] * 4,
        norm_num_groups=4,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        latent_channels=4,
    )
    text = CLIPTextModel(
        CLIPTextConfig(
            hidden_size=16,
            intermediate_size=16,
            num_attention_heads=2,
            num_hidden_layers=2,
            vocab_size=54,
            max_position_embeddings=LENGTH,
            eos_token_id=1,
            bos_token_id=0,
            pad_token_id=1,
        )
    )
    StableDiffusionInstructPix2PixPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=_tokenizer(path, CLIPTokenizer),
        unet=unet,
        scheduler=DDIMScheduler(
            beta_schedule="scaled_linear",
            beta_start=0.00085,
            beta_end=0.012,
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(path / "model")
    return path / "model"


def _tokenizer(path: Path, kind: Any) -> Any:
    """A CLIP tokenizer without merges: each letter is a token."""
    tokens = [letter + end for end in ("", "</w>") for letter in string.ascii_lowercase]
    vocab = {t: i for i, t in enumerate(["<|startoftext|>", "<|endoftext|>", *tokens])}
    (path / "vocab.json").write_text(json.dumps(vocab))
    (path / "merges.txt").write_text("#version: 0.2")
    return kind(str(path / "vocab.json"), str(path / "merges.txt"), model_max_length=LENGTH)


def _images(n: int, size: int = 64) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (n, size, size, 3), np.uint8)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_images_equal_those_of_diffusers_pipeline(folder: Path, scheduler: SchedulerName) -> None:
    config = SamplerConfig(scheduler, steps=4)
    images, words = _images(2), ["put the green block in the bowl", "open the drawer"]
    ours = Susie(folder, config, resolution=64, device="cpu", precision="fp32")
    seen = ours.generate(image_only(images), [Task(w) for w in words], np.random.default_rng(7))

    pipe = InstructPix2Pix.load(folder).pipeline
    pipe.scheduler = make_scheduler(scheduler, pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    seed = int(np.random.default_rng(7).integers(2**63))
    theirs = pipe(
        words,
        image=(to_tensor(images) + 1) / 2,
        num_inference_steps=4,
        guidance_scale=config.text_guidance,
        image_guidance_scale=config.image_guidance,
        generator=torch.Generator().manual_seed(seed),
        output_type="np",
    ).images
    assert np.abs(seen - 255 * theirs).max() <= 0.51
    assert seen.std() > 1


def test_the_seed_determines_the_image(folder: Path) -> None:
    model = Susie(folder, SamplerConfig("ddim", 2), resolution=64, device="cpu")

    def generate(seed: int) -> np.ndarray:
        return model.generate(
            image_only(_images(1)), [Task("open the drawer")], np.random.default_rng(seed)
        )

    assert np.array_equal(generate(1), generate(1))
    assert not np.array_equal(generate(1), generate(2))


def test_the_instruction_acts_only_through_text_guidance(folder: Path) -> None:
    for text_guidance, same in ((0.0, True), (100.0, False)):
        config = SamplerConfig("ddim", 2, text_guidance=text_guidance)
        model = Susie(folder, config, resolution=64, device="cpu")
        images = [
            model.generate(image_only(_images(1)), [Task(words)], np.random.default_rng(0))
            for words in ("open the drawer", "put the block in the bowl")
        ]
        assert np.array_equal(images[0], images[1]) == same


def test_camera_images_are_resized_to_the_models_resolution(folder: Path) -> None:
    model = Susie(folder, SamplerConfig("ddim", 1), resolution=64, device="cpu")
    out = model.generate(
        image_only(_images(1, 256)), [Task("open the drawer")], np.random.default_rng(0)
    )
    assert out.shape == (1, 64, 64, 3)


def test_a_missing_model_raises_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="diffusers format"):
        Susie(tmp_path / "nowhere", device="cpu")


def test_fine_tuning_changes_the_unet_alone(folder: Path, tmp_path: Path) -> None:
    """The result is a folder in diffusers format again."""
    clips = _images(8, 64).reshape(2, 4, 64, 64, 3)
    episodes = [
        Episode(
            instruction=instruction,
            actions=np.zeros((3, 7), np.float32),
            commanded=np.zeros((3, 7), np.float32),
            images=clip,
            states=np.zeros((4, 7), np.float32),
            times_s=np.arange(4.0),
            subgoals=(),
            verdict=Verdict("success"),
            provenance=Provenance("play", "broad", "", 0, 0.0),
        )
        for clip, instruction in zip(clips, ["open the drawer", "close the drawer"], strict=True)
    ]
    Frames.from_episodes(episodes, 64).save(tmp_path / "frames")
    config = SusieTrainConfig(steps_ahead=(1, 2))
    config = replace(
        config,
        fit=replace(
            config.fit, steps=2, batch_size=2, warmup_steps=1, learning_rate=0.1, ema_decay=0.5,
            device="cpu", log_every=1, save_every=1,
        ),
    )  # fmt: skip
    result = fine_tune_susie(folder, tmp_path / "frames", tmp_path / "out", config)
    assert np.isfinite(result.loss)
    before, after = (InstructPix2Pix.load(f) for f in (folder, tmp_path / "out" / "model"))
    for part, same in (("unet", False), ("vae", True), ("text_encoder", True)):
        old, new = (getattr(model, part).state_dict() for model in (before, after))
        assert all(torch.equal(old[k], new[k]) for k in old) == same
    model = Susie(tmp_path / "out" / "model", SamplerConfig("ddim", 1), 64, device="cpu")
    assert model.generate(
        image_only(clips[0][:1]), [Task("open the drawer")], np.random.default_rng(0)
    ).any()
