import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from soar.errors import ConfigError
from soar.types import Question
from soar.vlm.clients.transformers_model import TransformersVLM

sys.path.insert(0, str(Path(__file__).parent))
import tiny_llava

QUESTIONS = [
    Question(q)
    for q in ("Is the lemon on the plate?", "Is the drawer open?", "Is there a lemon present here?")
]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> TransformersVLM:
    return TransformersVLM(str(tiny_llava.make(tmp_path_factory.mktemp("llava"))), "cpu", least=0.0)


def image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (40, 40, 3), np.uint8)


def test_questions_together_are_answered_as_each_alone(model):
    together = model.answer([image(0)], [QUESTIONS])[0]
    alone = [model.answer([image(0)], [[q]])[0][0] for q in QUESTIONS]
    assert [a.question for a in together] == QUESTIONS
    assert [a.p_yes for a in together] == pytest.approx([a.p_yes for a in alone], abs=1e-5)


def test_probabilities_are_those_of_the_whole_prompt_at_once(model):
    before, after = model._prompt()
    text = before + QUESTIONS[1].text + " Answer yes or no only." + after
    inputs = model._processor(images=[image(1)], text=[text], return_tensors="pt")
    with torch.inference_mode():
        p = model._model(**inputs).logits[0, -1].softmax(-1)
    yes, no = float(p[model._yes].sum()), float(p[model._no].sum())
    [[answer]] = model.answer([image(1)], [[QUESTIONS[1]]])
    assert answer.p_yes == pytest.approx(yes / (yes + no), abs=1e-5)


def test_answers_depend_on_the_image_and_keep_its_order(model):
    both = model.answer([image(2), image(3)], [QUESTIONS, QUESTIONS[:1]])
    assert [len(row) for row in both] == [3, 1]
    assert both[0][0].p_yes != both[1][0].p_yes


def test_the_image_is_encoded_once_for_all_questions(model, monkeypatch):
    tower = next(m for n, m in model._model.named_modules() if n.endswith("vision_tower"))
    calls = []
    handle = tower.register_forward_hook(lambda *_: calls.append(1))
    model.answer([image(4)], [QUESTIONS])
    handle.remove()
    assert len(calls) == 1


def test_little_probability_on_yes_and_no_is_unknown(model):
    model._least = 0.9
    try:
        [[answer]] = model.answer([image(0)], [QUESTIONS[:1]])
    finally:
        model._least = 0.0
    assert answer.p_yes is None
    assert "first" in answer.raw


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="image-text-to-text"):
        TransformersVLM(str(tmp_path))
