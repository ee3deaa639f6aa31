"""Subgoals of your own: SuSIE's weights, or any InstructPix2Pix folder or hub id of diffusers.

    python examples/own_subgoals.py       makes a tiny random model in the real format, and imagines

In earnest, on the command line or in a models file: `--subgoals susie:FOLDER_OR_HUB_ID`. Such a folder
is fine-tuned on your own episodes by `soar subgoals train`.
"""

from __future__ import annotations

import json
import string
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from soar import Images, load_subgoals, task_from_instruction
from soar.robots.toy import ToyRobot
from soar.utils.media import write_png

WORDS = 40
"""Tokens of an instruction."""


def main(out: str = "subgoal.png") -> Images:
    """Make the folder, load it as a generator, and imagine; the picture is noise, its weights random."""
    with tempfile.TemporaryDirectory() as folder:
        make_tiny_model(Path(folder))
        generator = load_subgoals(f"susie:{folder}")
    seen = [ToyRobot().observe()]
    began = time.perf_counter()
    task = task_from_instruction("move the green block to the left side")
    imagined = generator.generate(seen, [task], np.random.default_rng(0))
    write_png(Path(out), imagined[0])
    print(f"{imagined.shape[1]} px in {time.perf_counter() - began:.1f} s: {out}")
    return imagined


def make_tiny_model(folder: Path) -> None:
    """An InstructPix2Pix pipeline with random weights, as `save_pretrained` writes the real ones."""
    from diffusers import (
        AutoencoderKL,
        DDIMScheduler,
        StableDiffusionInstructPix2PixPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        block_out_channels=(8, 16), layers_per_block=1, in_channels=8, out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16, attention_head_dim=4, norm_num_groups=4,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=[8] * 4, norm_num_groups=4, latent_channels=4,
        down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
    )  # fmt: skip
    words = CLIPTextConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        vocab_size=54, max_position_embeddings=WORDS, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    StableDiffusionInstructPix2PixPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(words),
        tokenizer=_letters(folder),
        unet=unet,
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def _letters(folder: Path) -> Any:
    """CLIP's tokenizer without merges: every letter is a token."""
    from transformers import CLIPTokenizer

    tokens = [letter + end for end in ("", "</w>") for letter in string.ascii_lowercase]
    vocabulary = {t: i for i, t in enumerate(["<|startoftext|>", "<|endoftext|>", *tokens])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2")
    paths = (str(folder / name) for name in ("vocab.json", "merges.txt"))
    return CLIPTokenizer(*paths, model_max_length=WORDS)


if __name__ == "__main__":
    main()
