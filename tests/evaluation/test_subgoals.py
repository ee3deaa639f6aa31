"""Corpora of scripted clips, sequences of generated images, and their scores, in the real simulator."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from soar.errors import ConfigError
from soar.evaluation.subgoals.classifier import (
    Prediction,
    collect_labeled_images,
    train_classifier,
)
from soar.evaluation.subgoals.scores import Predictions, predict, score
from soar.evaluation.subgoals.sequences import (
    GeneratedSequence,
    expert_sequences,
    generate_sequences,
    sequence_sheet,
)
from soar.pretraining.clips import ClipConfig, make_clip_corpus, record_clips
from soar.sim.scenes.paper_scenes import SCENES
from soar.sim.scenes.regimes import sample_scene
from soar.subgoals.clips import ClipCorpus
from soar.types import Answer, Question, Task
from soar.utils.media import resize

pytestmark = pytest.mark.usefixtures("warm_workers")

SCENE = SCENES["5"]
SHORT = ClipConfig(max_tasks=1)


@pytest.fixture(scope="module")
def clips():
    return [c for seed in range(3) for c in record_clips(sample_scene("broad", seed), seed, SHORT)]


@pytest.fixture(scope="module")
def experts():
    return list(expert_sequences([SCENE], trials=1, seed=3, steps_ahead=20, length=3))


class Copies:
    """A generator that returns its observations."""

    name = "copies"

    def generate(self, observations, tasks, rng):
        return resize(np.stack([o.image for o in observations]), 64)


class Constant:
    """A VLM that gives every question the same answer."""

    name = "constant"

    def __init__(self, p_yes: float) -> None:
        self.p_yes = p_yes

    def answer(self, images, questions):
        return [[Answer(q, self.p_yes) for q in asked] for asked in questions]


def test_clips_end_completed_and_their_points_lie_in_the_image(clips):
    assert clips
    for clip in clips:
        assert clip.done[-1]
        assert not clip.done[0]
        known = clip.points[~np.isnan(clip.points)]
        assert (np.abs(known) < 1).all()
        assert len(clip.images) == len(clip.points) == len(clip.done)
        assert clip.images.shape[1:] == (96, 96, 3)
        assert clip.states.shape == (len(clip.images), 7)


def test_the_gripper_approaches_the_named_object(clips):
    for clip in clips:
        distance = np.linalg.norm(clip.points[:, 0] - clip.points[:, 2], axis=1)
        assert np.nanmin(distance) < 0.35


def test_making_a_corpus_resumes_and_keeps_finished_scenes(tmp_path: Path, clips):
    make_clip_corpus(tmp_path, 1, workers=1, config=SHORT)
    first = (tmp_path / "scenes" / "0000000.npz").stat().st_mtime_ns
    corpus = make_clip_corpus(tmp_path, 2, workers=1, config=SHORT)
    assert (tmp_path / "scenes" / "0000000.npz").stat().st_mtime_ns == first
    assert np.array_equal(corpus.frames.images, np.concatenate([c.images for c in clips[:2]]))
    assert [e.instruction for e in corpus.frames.episodes] == [c.instruction for c in clips[:2]]
    assert not corpus.frames.actions.any()
    loaded = ClipCorpus.load(tmp_path)
    assert np.array_equal(loaded.points, corpus.points, equal_nan=True)
    assert np.array_equal(loaded.words, corpus.words)


def test_expert_sequences_begin_incomplete_and_stay_where_they_end(experts):
    assert {e.instruction for e in experts} <= {t.instruction for t in SCENE.tasks}
    for expert in experts:
        assert expert.frames.shape == (3, 256, 256, 3)
        assert not np.array_equal(expert.start.image, expert.frames[0])
        assert np.abs(expert.frames[1].astype(int) - expert.frames[2]).mean() < 12


def test_each_image_is_generated_from_the_one_before(experts):
    class Darker:
        name = "darker"

        def generate(self, observations, tasks, rng):
            return resize(np.stack([o.image for o in observations]), 64) // 2

    for sequence in generate_sequences(Darker(), experts):
        assert np.array_equal(sequence.images[1], sequence.images[0] // 2)
        assert np.array_equal(sequence.images[2], sequence.images[0] // 4)


def test_a_sheet_shows_two_rows_for_each_sequence(experts):
    sequences = generate_sequences(Copies(), experts)
    sheet = sequence_sheet(sequences, 64)
    assert sheet.shape[0] >= 2 * 64 * len(sequences)
    assert sheet.shape[1] >= 4 * 64


def prediction(done: list[float], x: float = 0.0) -> Prediction:
    points = np.zeros((len(done), 3, 2), np.float32)
    points[..., 0] = x
    return Prediction(np.array(done, np.float32), points)


def test_scores_are_shares_and_distances_by_instruction(experts):
    sequences = [GeneratedSequence(experts[0], experts[0].frames)] * 4
    p = np.array([0.9, 0.2, np.nan, 0.8], np.float32)
    predictions = Predictions(
        generated=prediction([0.9, 0.1, 0.2, 0.3], 0.5),
        expert=prediction([0.9, 0.9, 0.9, 0.4]),
        vlm_generated=p,
        vlm_expert=p,
        first_generated=prediction([0.0] * 4, 0.2),
        first_expert=prediction([0.0] * 4),
    )
    [row] = score(sequences, predictions)
    assert (row.sequences, row.generated, row.expert) == (4, 0.25, 0.75)
    assert row.vlm_generated == pytest.approx(2 / 3)
    assert row.first_gripper_error == pytest.approx(0.1)
    assert row.last_object_error == pytest.approx(0.25)


def test_a_classifier_is_trained_once_and_the_vlm_is_asked_the_tasks_question(tmp_path, experts):
    classifier = train_classifier([SCENE], tmp_path, images=200, steps=2)
    again = train_classifier([SCENE], tmp_path, images=200, steps=2)
    assert classifier.accuracy == again.accuracy
    with pytest.raises(ConfigError, match="of other scenes; valid: another folder"):
        train_classifier([replace(SCENE, light=0.5)], tmp_path, images=200, steps=2)
    assert 0.4 < classifier.accuracy <= 1.0
    sequences = generate_sequences(Copies(), experts)
    texts = {e.instruction for e in experts}
    tasks = {t: Task(t, Question(f"{t}?"), success_answer="open" in t) for t in texts}
    predictions = predict(sequences, classifier, Constant(0.9), tasks)
    expected = [0.9 if "open" in e.instruction else 0.1 for e in experts]
    assert predictions.vlm_generated.tolist() == pytest.approx(expected)
    assert np.isnan(predict(sequences, classifier, None, tasks).vlm_expert).all()
    assert {row.scene for row in score(sequences, predictions)} == {"5"}


def test_labeled_images_show_completed_and_incomplete_tasks():
    labeled = collect_labeled_images([SCENE], 60, seed=0)
    assert labeled.images.shape == (60, 64, 64, 3)
    assert 0.1 < labeled.done.mean() < 0.9
    assert set(labeled.instructions) == {t.instruction for t in SCENE.tasks}
