"""All that a GPU is for, in one run of at most eight minutes: models of the paper's sizes with random weights.

    python benchmarks/gpu.py                 on a GPU: Stable Diffusion 1.5's size, a VLM of 2 billion parameters
    python benchmarks/gpu.py --tiny          tiny models, to try the script on a CPU
    python benchmarks/gpu.py --stages "train paper" questions      some of it; the models are made first

Prints JSON lines: subgoals of 256 px (50 DDIM steps with the paper's guidance, and ten DPM-Solver++ steps) at batch 1
and 8; training and serving of the paper's ResNet-34 policy; questions a second; and episodes of the whole loop in the
simulated world with these models. A stage that would begin after `--minutes` is left out, and says so.
"""

from __future__ import annotations

import json
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
import tyro
from train import measure as measure_training  # type: ignore[import-not-found]  # the script beside this one

from soar.subgoals.sampler import REFERENCE, SamplerConfig
from soar.subgoals.susie import FAST, Susie
from soar.types import Question, Task, image_only
from soar.utils.hardware import choose_device
from soar.vlm.clients.transformers_model import TransformersVLM

Stage: TypeAlias = Literal["subgoals", "train paper", "questions", "loop"]
STAGES: tuple[Stage, ...] = ("subgoals", "train paper", "questions", "loop")
TASK = "put the green block in the bowl"
_TEMPLATE = (
    "{% for m in messages %}{% for p in m['content'] %}{% if p['type'] == 'image' %}<image>\n"
    "{% else %}{{ p['text'] }}{% endif %}{% endfor %}{% endfor %} ANSWER:"
)


def main(
    tiny: bool = False,
    minutes: float = 8.0,
    device: str = "auto",
    stages: tuple[Stage, ...] = STAGES,
) -> None:
    chosen, began = choose_device(device), time.monotonic()
    card = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else "cpu"
    with tempfile.TemporaryDirectory(prefix="soar-gpu-") as name:
        susie, vlm = Path(name) / "susie", Path(name) / "vlm"
        runs: dict[str, Callable[[], Any]] = {
            "make models": lambda: make_models(susie, vlm, tiny, chosen),
            "subgoals": lambda: subgoals(susie, tiny, str(chosen)),
            "train paper": lambda: [training(tiny, chosen, c) for c in (False, True)],
            "questions": lambda: questions(vlm, str(chosen)),
            "loop": lambda: loop(susie, vlm, tiny, Path(name) / "store"),
        }
        for stage in ("make models", *stages):
            if time.monotonic() - began > 60 * minutes:
                print(json.dumps({"stage": stage, "left out": f"after {minutes:g} minutes"}))
                continue
            start = time.monotonic()
            for row in runs[stage]() or [{}]:
                print(json.dumps(_rounded({"stage": stage, "card": card} | row)), flush=True)
            print(json.dumps({"stage": stage, "seconds": round(time.monotonic() - start, 1)}))


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in row.items()}


def subgoals(folder: Path, tiny: bool, device: str) -> list[dict[str, Any]]:
    """Measure latency and throughput of SuSIE's network."""
    rows = []
    samplers: dict[str, SamplerConfig] = {"50 DDIM, guided": REFERENCE, "10 DPM-Solver++": FAST}
    for name, sampler in samplers.items():
        model = Susie(folder, sampler, 64 if tiny else 256, device)
        for batch in (1, 8):
            seen = image_only(np.zeros((batch, 256, 256, 3), np.uint8))
            seconds = timed(
                lambda m=model, o=seen: m.generate(
                    o, [Task(TASK)] * len(o), np.random.default_rng(0)
                )  # type: ignore[misc]
            )
            rows.append(
                {"sampler": name, "batch": batch, "s": seconds, "images/s": batch / seconds}
            )
    return rows


def training(tiny: bool, device: torch.device, compile: bool) -> dict[str, Any]:
    """Measure training and serving of the paper's policy, or of the smallest one."""
    preset, batch = ("debug", 32) if tiny else ("paper", 256)
    return {"compile": compile} | asdict(
        measure_training(preset, "gcbc", 20, batch, device, compile)
    )


def questions(folder: Path, device: str) -> list[dict[str, Any]]:
    """Measure the answers to 12 questions about one image."""
    vlm = TransformersVLM(str(folder), device)
    asked = [
        Question(f"Is the {color} block in the bowl?") for color in string.ascii_lowercase[:12]
    ]
    image = np.zeros((256, 256, 3), np.uint8)
    seconds = timed(lambda: vlm.answer([image], [asked]))
    return [{"questions": len(asked), "s": seconds, "questions/s": len(asked) / seconds}]


def loop(susie: Path, vlm: Path, tiny: bool, store: Path) -> list[dict[str, Any]]:
    """Measure whole episodes of eight simulated arms."""
    arms = 2 if tiny else 8
    command = (
        f"collect --store {store} --scene dev1 --stations {arms} --episodes {arms} "
        f"--vlm local:{vlm} --subgoals susie:{susie}{'?size=64' if tiny else ''}"
    )
    start = time.monotonic()
    subprocess.run([sys.executable, "-m", "soar", *command.split()], check=True)
    seconds = time.monotonic() - start
    return [{"arms": arms, "episodes": arms, "s": seconds, "s an episode": seconds / arms}]


def timed(call: Callable[[], Any], repeats: int = 3) -> float:
    """Return the median time of a call after a first one [s]."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def make_models(susie: Path, vlm: Path, tiny: bool, device: torch.device) -> None:
    """Write both models; their random weights are drawn on the device."""
    with device:
        make_susie(susie, tiny)
        make_vlm(vlm, tiny)


def make_susie(folder: Path, tiny: bool) -> None:
    """Write an InstructPix2Pix model of Stable Diffusion 1.5's size with random weights."""
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    width = 16 if tiny else 768
    unet: dict[str, Any] = {"in_channels": 8, "cross_attention_dim": width}
    vae: dict[str, Any] = {
        "latent_channels": 4,
        "block_out_channels": [8] * 4,
        "norm_num_groups": 4,
    }
    text: dict[str, Any] = {"hidden_size": width, "intermediate_size": width}
    if tiny:
        unet |= {"block_out_channels": (8, 8, 8, 8), "norm_num_groups": 4, "attention_head_dim": 4}
    else:
        vae |= {
            "block_out_channels": [128, 256, 512, 512],
            "norm_num_groups": 32,
            "layers_per_block": 2,
        }
        text = {"hidden_size": width, "intermediate_size": 3072, "num_attention_heads": 12}
    tokens = [letter + end for end in ("", "</w>") for letter in string.ascii_lowercase]
    words = CLIPTokenizer(**_vocabulary(folder, ["<|startoftext|>", "<|endoftext|>", *tokens]))
    ids: dict[str, Any] = {
        "vocab_size": 54,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
    }
    diffusers.StableDiffusionInstructPix2PixPipeline(
        vae=diffusers.AutoencoderKL(
            down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4, **vae
        ),
        text_encoder=CLIPTextModel(CLIPTextConfig(**text, **ids)),
        tokenizer=words,
        unet=diffusers.UNet2DConditionModel(**unet),
        scheduler=diffusers.DDIMScheduler(
            beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False,
            set_alpha_to_one=False, steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).to(torch.float32 if tiny else torch.float16).save_pretrained(folder)  # fmt: skip


def _vocabulary(folder: Path, tokens: Sequence[str]) -> dict[str, Any]:
    """Write a vocabulary without merges, in which each letter is a token."""
    folder.mkdir()
    vocabulary, merges = folder / "letters.json", folder / "letters.txt"
    vocabulary.write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    merges.write_text("#version: 0.2")
    return {"vocab_file": str(vocabulary), "merges_file": str(merges), "model_max_length": 77}


def make_vlm(folder: Path, tiny: bool) -> None:
    """Write a LLaVA model with random weights, of about two billion parameters."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    named = ["<unk>", "<s>", "</s>", "<pad>", "<image>", "Yes", "No"]
    letters = {token: i for i, token in enumerate([*named, *pre_tokenizers.ByteLevel.alphabet()])}
    tokenizer = Tokenizer(models.BPE(letters, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    hub: Any = transformers  # whose types are too narrow
    words = hub.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>",
        pad_token="<pad>", additional_special_tokens=["<image>"],
    )  # fmt: skip
    words.add_tokens(["Yes", "No"])
    side = 28 if tiny else 336
    seen: dict[str, Any] = {"image_size": side, "patch_size": 14}
    text: dict[str, Any] = {"vocab_size": len(words), "pad_token_id": 3}
    if tiny:
        small = {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
        }
        seen, text = seen | small, text | small | {"num_key_value_heads": 2}
    else:
        seen |= {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
        }
        text |= {
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
        }
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**seen),
        text_config=transformers.LlamaConfig(**text),
        image_token_index=words.get_vocab()["<image>"],
    )
    dtype = torch.float32 if tiny else torch.bfloat16
    hub.LlavaForConditionalGeneration(config).to(dtype).save_pretrained(folder)
    size = {"height": side, "width": side}
    transformers.CLIPImageProcessor(size={"shortest_edge": side}, crop_size=size).save_pretrained(
        folder
    )
    words.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(_TEMPLATE)
    settings = {
        "processor_class": "LlavaProcessor", "patch_size": 14,
        "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1,
    }  # fmt: skip
    (folder / "processor_config.json").write_text(json.dumps(settings))


if __name__ == "__main__":
    tyro.cli(main)
