"""Prompts of transformers' image-text-to-text models, as their processors make them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from soar.types import Image

_SLOT = "THE-QUESTION-GOES-HERE"
_SUFFIX = " Answer yes or no only."
_TRAINED_FORMATS = {"paligemma": ("answer en ", "")}
"""Text before and after the question by model type, where a model was trained with one."""
_PLAIN_FORMAT = "Question: ", f"{_SUFFIX} Answer:"


class _NoVideos(dict[str, object]):
    """Stand-in for a processor's part for videos, which needs torchvision; it can be printed as JSON."""

    num_frames = 1
    fps = 1


class Prompt(NamedTuple):
    """Text before and after a question; the image's placeholder is in the first part."""

    before: str
    after: str

    def whole(self, question: str) -> str:
        """Return the text with a question."""
        return self.before + question + self.after


def load_processor(source: str) -> Any:
    """Load a model's processor, without its part for videos where torchvision is missing.

    Raises:
        ImportError: another package is missing.
        OSError, ValueError: there is no processor.
    """
    from transformers import AutoConfig, AutoImageProcessor, AutoProcessor, AutoTokenizer
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

    try:
        return AutoProcessor.from_pretrained(source)  # type: ignore[no-untyped-call]
    except ImportError:
        kind: Any = PROCESSOR_MAPPING.get(type(AutoConfig.from_pretrained(source)), None)
        loaders: dict[str, Callable[[str], Any]] = {
            "image_processor": AutoImageProcessor.from_pretrained,
            "tokenizer": AutoTokenizer.from_pretrained,
            "video_processor": lambda _: _NoVideos(),
        }
        names = kind.get_attributes() if kind else []
        if "video_processor" not in names or not set(names) <= set(loaders):
            raise
    settings, _ = kind.get_processor_dict(source)
    parts = [loaders[name](source) for name in names]
    left = {k: v for k, v in settings.items() if k not in names}
    return _without_videos(kind).from_args_and_dict(parts, left)


def _without_videos(kind: Any) -> Any:
    """A processor's class that needs no part for videos."""

    class Stills(kind):  # type: ignore[misc]
        def check_argument_for_proper_class(self, argument_name: str, argument: object) -> object:
            if argument_name == "video_processor":
                return None
            return super().check_argument_for_proper_class(argument_name, argument)

    return Stills


def make_prompt(processor: Any, model_type: str) -> Prompt:
    """Make the prompt: by the chat template, else in the format of the model's training, else a plain one."""
    if getattr(processor, "chat_template", None):
        content = [{"type": "image"}, {"type": "text", "text": _SLOT}]
        text = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        before, _, after = text.partition(_SLOT)
        return Prompt(before, _SUFFIX + after)
    before, after = _TRAINED_FORMATS.get(model_type, _PLAIN_FORMAT)
    image = getattr(processor, "boi_token", None) or processor.image_token
    return Prompt(f"{image}{before}", after)


def encode(processor: Any, image: Image, text: str) -> dict[str, Tensor]:
    """Return the model's inputs of one image and text; the tokenizer adds no second beginning token."""
    bos = processor.tokenizer.bos_token
    inputs = processor(
        images=[[image]],
        text=[text],
        return_tensors="pt",
        add_special_tokens=not (bos and text.startswith(bos)),
    )
    return {k: v for k, v in inputs.items() if isinstance(v, Tensor) and k != "labels"}
