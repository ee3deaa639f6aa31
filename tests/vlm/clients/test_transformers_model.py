import logging
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from soar.errors import ConfigError
from soar.types import Question
from soar.vlm.clients.transformers_model import TransformersVLM

sys.path.insert(0, str(Path(__file__).parent))
import tiny_models

TEXTS = ["Is the lemon on the plate?", "Is the drawer open?", "Is there a lemon present here?"]
QUESTIONS = [Question(q) for q in TEXTS]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    return {f: str(tiny_models.make(tmp_path_factory.mktemp(f), f)) for f in tiny_models.FAMILIES}


@pytest.fixture(scope="module")
def model(folders) -> TransformersVLM:
    return TransformersVLM(folders["llava"], "cpu", least_mass=0.0)


def image(seed: int, height: int = 40, width: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def whole_prompt(model: TransformersVLM, seen: np.ndarray, question: str) -> float:
    """P(yes) by the processor's own chat template and tokens, one prompt at a time."""
    processor = model._processor
    text = f"{question} Answer yes or no only."
    if processor.chat_template:
        content = [{"type": "image", "image": seen}, {"type": "text", "text": text}]
        inputs = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=True,
            return_dict=True, return_tensors="pt",
        )  # fmt: skip
    else:
        inputs = processor(
            images=[seen], text=[f"<image>answer en {question}"], return_tensors="pt"
        )
    inputs.pop("labels", None)
    with torch.inference_mode():
        p = model._model(**inputs).logits[0, -1].double().softmax(-1)
    tokens = processor.tokenizer.convert_tokens_to_ids(["Yes", "No"])
    yes, no = p[tokens].tolist()
    return yes / (yes + no)


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_probabilities_are_those_of_the_whole_prompt_in_every_family(folders, family):
    model = TransformersVLM(folders[family], "cpu", least_mass=0.0)
    model._yes, model._no = ([model._tokenizer.convert_tokens_to_ids(w)] for w in ("Yes", "No"))
    images = [image(1, 64, 96), image(2, 96, 64)]
    answers = model.answer(images, [QUESTIONS, QUESTIONS[::-1]])
    seen = [[a.p_yes for a in row] for row in answers]
    expected = [
        [whole_prompt(model, i, q.text) for q in asked]
        for i, asked in zip(images, [QUESTIONS, QUESTIONS[::-1]], strict=True)
    ]
    assert np.abs(np.array(seen) - expected).max() < 1e-3
    assert np.ptp(expected) > 0.005
    assert {a.source for row in answers for a in row} == {"probability"}
    assert model._shares_prefix == (family != "paligemma")


def test_a_shared_prefix_that_differs_is_given_up_with_one_line(folders, caplog):
    with caplog.at_level(logging.WARNING, "soar"):
        TransformersVLM(folders["paligemma"], "cpu")
    [record] = caplog.records
    assert "whole prompt" in record.message
    assert "P(yes) would differ by" in record.message


def test_a_shared_prefix_that_fails_is_given_up_with_one_line(folders, caplog, monkeypatch):
    def fail(*_: object) -> None:
        raise RuntimeError("The size of tensor a (7)\nmust match")

    monkeypatch.setattr(TransformersVLM, "_ask_shared", fail)
    with caplog.at_level(logging.WARNING, "soar"):
        model = TransformersVLM(folders["llava"], "cpu", least_mass=0.0)
    [record] = caplog.records
    assert "RuntimeError: The size of tensor a (7) must match" in record.message
    assert [a.p_yes is not None for a in model.answer([image(0)], [QUESTIONS])[0]] == [True] * 3


def test_a_missing_package_is_named_in_one_line(folders, monkeypatch):
    from transformers.models.smolvlm import processing_smolvlm

    monkeypatch.setattr(processing_smolvlm, "num2words", None)
    with pytest.raises(ConfigError, match="num2words") as error:
        TransformersVLM(folders["smolvlm"], "cpu")
    assert "\n" not in str(error.value)


def test_questions_together_are_answered_as_each_alone(model):
    together = model.answer([image(0)], [QUESTIONS])[0]
    alone = [model.answer([image(0)], [[q]])[0][0] for q in QUESTIONS]
    assert [a.question for a in together] == QUESTIONS
    assert [a.p_yes for a in together] == pytest.approx([a.p_yes for a in alone], abs=1e-5)


def test_answers_depend_on_the_image_and_keep_its_order(model):
    both = model.answer([image(2), image(3)], [QUESTIONS, QUESTIONS[:1]])
    assert [len(row) for row in both] == [3, 1]
    assert both[0][0].p_yes != both[1][0].p_yes
    assert model.answer([image(2)], [[]]) == [[]]


def test_the_image_is_encoded_once_for_all_questions(model):
    tower = next(m for n, m in model._model.named_modules() if n.endswith("vision_tower"))
    calls = []
    handle = tower.register_forward_hook(lambda *_: calls.append(1))
    model.answer([image(4)], [QUESTIONS])
    handle.remove()
    assert len(calls) == 1


def test_little_probability_on_yes_and_no_is_unknown(model):
    model._least_mass = 0.9
    try:
        [[answer]] = model.answer([image(0)], [QUESTIONS[:1]])
    finally:
        model._least_mass = 0.0
    assert answer.p_yes is None
    assert "first" in answer.raw


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="image-text-to-text"):
        TransformersVLM(str(tmp_path))
