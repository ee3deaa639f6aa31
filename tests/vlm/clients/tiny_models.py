"""Tiny image-text-to-text models with random weights, one for each family, in folders as the hub would have them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

CORPUS = ["Is the lemon on the plate? Answer Yes or No only. Yes Yes Yes No No No"] * 3
ROWS = [f"<row_{i}_col_{j}>" for i in range(1, 7) for j in range(1, 7)]
SPECIAL = ["<unk>", "<s>", "</s>", "<pad>"]
QWEN = [
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
IDEFICS = ["<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", *ROWS]
GEMMA = ["<image_soft_token>", "<start_of_image>", "<end_of_image>"]

LOOP = "{% for message in messages %}{% for part in message['content'] %}"
END = "{% endfor %}{% endfor %}"
TEMPLATES = {
    "llava": "{{ 'USER: ' }}" + LOOP
        + "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }}{% endif %}" + END + " ASSISTANT:",
    "qwen": "<|im_start|>user\n" + LOOP + "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
        "{% else %}{{ part['text'] }}{% endif %}" + END + "<|im_end|>\n<|im_start|>assistant\n",
    "idefics": "<s>User:" + LOOP + "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
        + END + "<end_of_utterance>\nAssistant:",
    "gemma": "<s>user\n" + LOOP
        + "{% if part['type'] == 'image' %}<start_of_image>{% else %}{{ part['text'] | trim }}{% endif %}"
        + END + "\nmodel\n",
}  # fmt: skip
TEXT = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "max_position_embeddings": 4096, "pad_token_id": 3, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
MROPE = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}


def make(folder: Path, family: str = "llava") -> Path:
    """Save model, tokenizer and image processor of a family; Yes and No are tokens of their own."""
    torch.manual_seed(0)
    tokens = _tokenizer(family)
    ids: dict[str, int] = tokens.get_vocab()
    model, images, template = FAMILIES[family](ids, TEXT | {"vocab_size": len(tokens)})
    _spread(model)
    model.save_pretrained(folder)
    images.save_pretrained(folder)
    tokens.save_pretrained(folder)
    if template:
        (folder / "chat_template.jinja").write_text(TEMPLATES[template])
    settings = PROCESSORS.get(family)
    if settings:
        (folder / "processor_config.json").write_text(json.dumps(settings))
    return folder


def _tokenizer(family: str) -> Any:
    named = {}
    if family == "gemma3":
        named = {"image_token": GEMMA[0], "boi_token": GEMMA[1], "eoi_token": GEMMA[2]}
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    fast: Any = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        additional_special_tokens=[*QWEN, *IDEFICS, *([] if named else GEMMA)],
        **({"extra_special_tokens": named} if named else {}),
    )
    fast.add_tokens(["Yes", "No"])
    return fast


def _spread(model: Any) -> None:
    """Make the next token depend on what stands far before it: attention is sharp and answers differ."""
    for name, weight in model.named_parameters():
        if weight.dim() > 1 and "embed" not in name:
            torch.nn.init.normal_(weight, std=1.5 / weight.shape[-1] ** 0.5)
    torch.nn.init.normal_(model.get_output_embeddings().weight, std=0.5)


def _llava(ids: dict[str, int], text: dict[str, Any]) -> tuple[Any, Any, str]:
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(
            hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
            image_size=28, patch_size=14, projection_dim=16,
        ),
        text_config=transformers.LlamaConfig(**text),
        image_token_index=ids["<image>"],
        vision_feature_layer=-1,
    )  # fmt: skip
    size = {"height": 28, "width": 28}
    images = transformers.CLIPImageProcessor(size={"shortest_edge": 28}, crop_size=size)
    return transformers.LlavaForConditionalGeneration(config), images, "llava"


def _qwen(kind: str) -> Callable[[dict[str, int], dict[str, Any]], tuple[Any, Any, str]]:
    def make(ids: dict[str, int], text: dict[str, Any]) -> tuple[Any, Any, str]:
        vision: dict[str, Any] = {
            "depth": 2,
            "num_heads": 2,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        }
        if kind == "Qwen2VL":
            vision |= {"embed_dim": 16, "hidden_size": 32, "mlp_ratio": 2}
        else:
            vision |= {"hidden_size": 16, "out_hidden_size": 32, "intermediate_size": 32}
        if kind == "Qwen2_5_VL":
            vision |= {"fullatt_block_indexes": [1], "window_size": 56}
        if kind == "Qwen3VL":
            vision |= {"num_position_embeddings": 64, "deepstack_visual_indexes": [0]}
            text = text | {"head_dim": 16}
        config = getattr(transformers, f"{kind}Config")(
            vision_config=vision,
            text_config=text | {"rope_parameters": MROPE, "rope_scaling": MROPE},
            image_token_id=ids["<|image_pad|>"],
            video_token_id=ids["<|video_pad|>"],
            vision_start_token_id=ids["<|vision_start|>"],
            vision_end_token_id=ids["<|vision_end|>"],
        )
        images = transformers.Qwen2VLImageProcessor(
            size={"shortest_edge": 56 * 56, "longest_edge": 112 * 112}, patch_size=14, merge_size=2
        )
        return getattr(transformers, f"{kind}ForConditionalGeneration")(config), images, "qwen"

    return make


def _idefics(kind: str) -> Callable[[dict[str, int], dict[str, Any]], tuple[Any, Any, str]]:
    def make(ids: dict[str, int], text: dict[str, Any]) -> tuple[Any, Any, str]:
        config = getattr(transformers, f"{kind}Config")(
            vision_config={
                "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
                "image_size": 56, "patch_size": 14,
            },
            text_config=transformers.LlamaConfig(**text),
            image_token_id=ids["<image>"],
            scale_factor=2,
        )  # fmt: skip
        images = getattr(transformers, f"{kind}ImageProcessor")(
            size={"longest_edge": 112}, max_image_size={"longest_edge": 56}
        )
        return getattr(transformers, f"{kind}ForConditionalGeneration")(config), images, "idefics"

    return make


def _gemma(ids: dict[str, int], text: dict[str, Any]) -> tuple[Any, Any, str]:
    config = transformers.Gemma3Config(
        vision_config={
            "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": 56, "patch_size": 14,
        },
        text_config=text | {"head_dim": 16, "sliding_window": 16,
            "layer_types": ["sliding_attention", "full_attention"]},
        mm_tokens_per_image=4,
        image_token_index=ids[GEMMA[0]],
        boi_token_index=ids[GEMMA[1]],
        eoi_token_index=ids[GEMMA[2]],
    )  # fmt: skip
    images = transformers.Gemma3ImageProcessor(size={"height": 56, "width": 56})
    return transformers.Gemma3ForConditionalGeneration(config), images, "gemma"


def _paligemma(ids: dict[str, int], text: dict[str, Any]) -> tuple[Any, Any, str]:
    config = transformers.PaliGemmaConfig(
        vision_config={
            "model_type": "siglip_vision_model", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 2, "image_size": 28, "patch_size": 14, "vision_use_head": False,
        },
        text_config=text | {"model_type": "gemma", "head_dim": 16, "vocab_size": text["vocab_size"] + 1200},
        image_token_index=ids["<image>"],
        projection_dim=32,
    )  # fmt: skip
    images: Any = transformers.SiglipImageProcessor(
        size={"height": 28, "width": 28}, image_seq_length=4
    )
    images.image_seq_length = 4
    return transformers.PaliGemmaForConditionalGeneration(config), images, ""


FAMILIES: dict[str, Callable[[dict[str, int], dict[str, Any]], tuple[Any, Any, str]]] = {
    "llava": _llava,
    "qwen2_vl": _qwen("Qwen2VL"),
    "qwen2_5_vl": _qwen("Qwen2_5_VL"),
    "qwen3_vl": _qwen("Qwen3VL"),
    "idefics3": _idefics("Idefics3"),
    "smolvlm": _idefics("SmolVLM"),
    "gemma3": _gemma,
    "paligemma": _paligemma,
}
PROCESSORS: dict[str, dict[str, Any]] = {
    "llava": {
        "processor_class": "LlavaProcessor", "patch_size": 14, "vision_feature_select_strategy": "default",
        "num_additional_image_tokens": 1,
    },
    "idefics3": {"processor_class": "Idefics3Processor", "image_seq_len": 4},
    "smolvlm": {"processor_class": "SmolVLMProcessor", "image_seq_len": 4},
    "gemma3": {"processor_class": "Gemma3Processor", "image_seq_length": 4},
}  # fmt: skip
