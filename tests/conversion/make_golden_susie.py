"""Write golden/susie.tar.xz: small random weights in SuSIE's released layout, and what its own code makes of them.

    python make_golden_susie.py PATH

PATH is a checkout of kvablack/susie (8177f63). Runs in the environment "flax" of scripts/test_foreign.py, which runs it
too. SOAR_GOLDEN names another folder to write to.
"""

import json
import os
import string
import sys
import tarfile
import tempfile
import types
from pathlib import Path

import jax
import numpy as np
from coarse_weights import coarse
from diffusers import FlaxAutoencoderKL, FlaxUNet2DConditionModel

sys.path.insert(0, sys.argv[1])
sys.modules["wandb"] = types.ModuleType("wandb")  # imported there, not used here
from susie import model, sampling, scheduling  # noqa: E402
from transformers import CLIPTextConfig, CLIPTokenizer, FlaxCLIPTextModel  # noqa: E402

LENGTH, SIZE, STEPS = 40, 64, 50
PROMPT = "put the green block in the bowl"
rng = np.random.default_rng(0)


def save_parts(folder):
    base = folder / "stable-diffusion"
    unet = FlaxUNet2DConditionModel(
        sample_size=8, in_channels=8, block_out_channels=(32, 32), layers_per_block=1, attention_head_dim=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
    )  # fmt: skip
    unet.save_pretrained(
        folder / "susie/unet", params=coarse(unet.init_weights(jax.random.PRNGKey(0)), rng)
    )
    vae = FlaxAutoencoderKL(
        block_out_channels=(32,) * 4, down_block_types=("DownEncoderBlock2D",) * 4, latent_channels=4, sample_size=SIZE,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    vae.save_pretrained(base / "vae", params=coarse(vae.init_weights(jax.random.PRNGKey(0)), rng))
    text = FlaxCLIPTextModel(
        CLIPTextConfig(
            hidden_size=32, intermediate_size=64, num_attention_heads=2, num_hidden_layers=2, vocab_size=54,
            max_position_embeddings=LENGTH, bos_token_id=0, eos_token_id=1, pad_token_id=1,
        )
    )  # fmt: skip
    text.params = coarse(text.params, rng)
    text.save_pretrained(base / "text_encoder")
    tokens = [letter + end for end in ("", "</w>") for letter in string.ascii_lowercase]
    vocab = {t: i for i, t in enumerate(["<|startoftext|>", "<|endoftext|>", *tokens])}
    (folder / "vocab.json").write_text(json.dumps(vocab))
    (folder / "merges.txt").write_text("#version: 0.2")
    made = CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=LENGTH
    )
    made.save_pretrained(base / "tokenizer")
    index = {
        "_class_name": "FlaxStableDiffusionPipeline",
        "text_encoder": ["transformers", "FlaxCLIPTextModel"],
    }
    (base / "model_index.json").write_text(json.dumps(index))


def run(folder):
    base = str(folder / "stable-diffusion")
    unet, params = model.load_pretrained_unet(str(folder / "susie"), in_channels=8)
    encode, decode = model.load_vae(base)
    tokenize, _, embed = model.load_text_encoder(base)
    image = np.kron(rng.integers(0, 256, (8, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    context = encode(jax.random.PRNGKey(1), image[None] / 127.5 - 1.0, scale=False)
    words, no_words = embed(tokenize([PROMPT])), embed(tokenize([""]))
    state = model.EmaTrainState(
        step=0, apply_fn=unet.apply, params=None, params_ema=params, tx=None, opt_state=None
    )
    key = jax.random.PRNGKey(2)
    log_snr = scheduling.create_log_snr_fn({"noise_schedule": "scaled_linear"})
    latents = sampling.sample_loop(
        key, state, context, words, np.zeros_like(context), no_words, log_snr_fn=log_snr, num_timesteps=STEPS,
        context_w=2.0, prompt_w=7.5,
    )  # fmt: skip
    pixels = np.asarray(decode(latents))
    noise = jax.random.normal(jax.random.split(key)[1], context.shape)  # as the sampler draws it
    time = np.float32(0.5)
    output = sampling.model_predict(state, noise, context, words, np.full(1, time))
    return {
        "image": image, "context": context, "words": words, "noise": noise, "unet_output": output,
        "latents": latents, "generated": np.clip(np.round(pixels * 127.5 + 127.5), 0, 255).astype(np.uint8),
    }  # fmt: skip


with tempfile.TemporaryDirectory() as temporary:
    folder = Path(temporary)
    save_parts(folder)
    found = {k: np.asarray(v) for k, v in run(folder).items()}
    for name, array in found.items():
        print(name, array.dtype, array.shape, float(array.std()))
    np.savez(folder / "golden.npz", **found)
    out = Path(os.environ.get("SOAR_GOLDEN", Path(__file__).parent / "golden")) / "susie.tar.xz"
    with tarfile.open(out, "w:xz", preset=9) as archive:
        for part in ("susie", "stable-diffusion", "golden.npz"):
            archive.add(folder / part, part)
    print(out, out.stat().st_size)
