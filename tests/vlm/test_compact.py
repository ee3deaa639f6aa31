"""The compact VLM: its inputs, its training, and that serving gives what was trained."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from soar import checkpoint as checkpoints
from soar.errors import CheckpointError, ConfigError
from soar.nn.text import SentenceEncoder
from soar.tasks.questions import make_question, parse_question
from soar.training.fit import FitConfig
from soar.training.vlm import VLMTrainConfig, best_temperature, train_compact_vlm
from soar.training.vlm_corpus import VLMCorpus
from soar.types import Question
from soar.vlm.compact.model import CompactVLM, embed, texts_of, to_checkpoint
from soar.vlm.compact.network import CompactVLMConfig, CompactVLMNet

TINY = CompactVLMConfig(resolution=32, width=16, dim=32)
FIT = FitConfig(
    steps=60, batch_size=32, learning_rate=3e-3, warmup_steps=5, ema_decay=0.9,
    log_every=20, save_every=20, device="cpu",
)  # fmt: skip
SIDES = ("Is the red block on the left side of the table?", "Is the red block on the right side?")
QUESTIONS = tuple(map(parse_question, SIDES))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Red squares on gray, left or right of the middle."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    n = 200
    images = np.full((n, 32, 32, 3), 120, np.uint8)
    points = np.full((n, 2, 2, 2), np.nan, np.float32)
    x, y = rng.integers(3, 29, (2, n))
    x = np.where(abs(x - 16) < 3, x + 6, x).clip(3, 28)
    for i in range(n):
        images[i, y[i] - 3 : y[i] + 3, x[i] - 3 : x[i] + 3] = (220, 20, 20)
        points[i, :, 0] = x[i] / 16 - 1, y[i] / 16 - 1
    arrays: dict[str, np.ndarray] = {
        "images": images,
        "points": points,
        "questions": np.tile(np.array([0, 1], np.int32), (n, 1)),
        "kinds": np.tile(np.array([2, 3], np.int32), (n, 1)),
        "answers": np.stack([x < 16, x >= 16], 1),
        "scenes": np.arange(n, dtype=np.int32),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    (folder / "corpus.json").write_text(json.dumps({"words": SIDES, "seed": 0}))
    return folder


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained")
    return out, train_compact_vlm(corpus, out, VLMTrainConfig(net=TINY, fit=FIT, held_out=0.2))


def test_it_learns_left_and_right_and_serving_agrees_with_training(corpus, trained):
    out, measured = trained
    assert measured["accuracy"] > 0.9
    data = VLMCorpus.load(corpus)
    _, held_out = data.split(0.2)
    answers = CompactVLM.load(out).answer(
        [data.images[i] for i in held_out], [QUESTIONS] * len(held_out)
    )
    right = [((a.p_yes or 0.0) > 0.5) == t for row, i in zip(answers, held_out, strict=True)
             for a, t in zip(row, data.answers[i], strict=True)]  # fmt: skip
    assert np.mean(right) == pytest.approx(measured["accuracy"])


def test_a_finished_training_is_not_repeated_and_is_deterministic(corpus, trained, tmp_path):
    out, _ = trained
    config = VLMTrainConfig(net=TINY, fit=FIT, held_out=0.2)
    state = tmp_path / "fit" / "state"
    train_compact_vlm(corpus, tmp_path, config)
    assert checkpoints.load(tmp_path).id == checkpoints.load(out).id
    assert state.exists()
    train_compact_vlm(corpus, tmp_path, config)  # nothing is left to do
    assert checkpoints.load(tmp_path).id == checkpoints.load(out).id


def test_training_can_start_from_a_checkpoint(corpus, trained, tmp_path):
    config = VLMTrainConfig(net=TINY, fit=replace(FIT, steps=2), held_out=0.2)
    assert train_compact_vlm(corpus, tmp_path / "fresh", config)["accuracy"] < 0.8
    start = checkpoints.load(trained[0])
    assert train_compact_vlm(corpus, tmp_path / "on", config, start)["accuracy"] > 0.85
    assert checkpoints.load(tmp_path / "on").provenance["started_from"] == start.id


def test_a_corpus_of_another_resolution_is_refused(corpus, tmp_path):
    with pytest.raises(ConfigError, match="32 pixels"):
        train_compact_vlm(
            corpus, tmp_path, VLMTrainConfig(net=replace(TINY, resolution=64), fit=FIT)
        )


def test_answers_in_a_batch_are_those_of_each_alone(trained):
    model = CompactVLM.load(trained[0])
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(3)]
    questions = [QUESTIONS, QUESTIONS[:1], (Question("Does it rain?"), *QUESTIONS)]
    together = model.answer(images, questions)
    alone = [model.answer([i], [q])[0] for i, q in zip(images, questions, strict=True)]
    for a, b in zip(together, alone, strict=True):
        assert [x.question for x in a] == [x.question for x in b]
        assert [x.p_yes for x in a] == pytest.approx([x.p_yes for x in b], abs=1e-4)
    assert model.answer([], []) == []
    assert model.answer(images[:1], [[]]) == [[]]


def test_a_question_is_embedded_as_frame_object_and_container_or_whole():
    lemon, drawer = make_question("in", "lemon", "bowl"), make_question("open", "drawer")
    assert texts_of(lemon) == ("is it in that?", "lemon", "bowl")
    assert texts_of(drawer) == ("is it open?", "drawer", "")
    odd = "Does it rain?"
    assert texts_of(Question(odd)) == (odd, odd, odd)
    assert texts_of(drawer, whole=True) == ("Is the drawer open?",) * 3
    vectors = embed(SentenceEncoder(), [drawer])[0]
    assert vectors.shape == (3, 384)
    assert vectors[2].abs().sum() == 0


def test_the_image_is_encoded_once_for_all_questions():
    net = CompactVLMNet(TINY).eval()
    calls = []
    net.trunk.register_forward_hook(lambda *_: calls.append(1))
    judged = net(torch.zeros(2, 32, 32, 3, dtype=torch.uint8), torch.randn(2, 7, 3, 384))
    assert len(calls) == 1
    assert judged.logits.shape == (2, 7)
    assert judged.attention.shape == (2, 7, 2, 64)
    assert torch.allclose(judged.attention.exp().sum(-1), torch.ones(2, 7, 2), atol=1e-4)


def test_the_best_temperature_calibrates_overconfident_answers():
    rng = torch.Generator().manual_seed(0)
    honest = torch.randn(4000, 1, generator=rng) * 2
    answers = torch.rand(4000, 1, generator=rng) < torch.sigmoid(honest)
    assert best_temperature(honest * 3, answers) == pytest.approx(3, rel=0.15)


def test_half_precision_weights_are_served_in_full_precision(trained, tmp_path):
    made = checkpoints.load(trained[0])
    checkpoints.save(tmp_path, checkpoints.to_half_precision(made))
    full, half = CompactVLM.load(trained[0]), CompactVLM.load(tmp_path)
    image = np.full((32, 32, 3), 100, np.uint8)
    [a], [b] = (m.answer([image], [QUESTIONS]) for m in (full, half))
    assert [x.p_yes for x in a] == pytest.approx([x.p_yes for x in b], abs=0.02)


def test_another_kind_of_checkpoint_is_refused(tmp_path):
    net = CompactVLMNet(TINY)
    made = replace(to_checkpoint(net, 1.0, {}), kind="gcbc")
    checkpoints.save(tmp_path, made)
    with pytest.raises(CheckpointError, match="gcbc"):
        CompactVLM.load(tmp_path)
