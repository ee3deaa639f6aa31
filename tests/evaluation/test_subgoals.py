"""Playing, chains of imagined images, and what measures them, in the real simulator."""

from pathlib import Path

import numpy as np
import pytest
from soar.evaluation.subgoals.chains import Chain, chain_sheet, expert_futures, generate_chains
from soar.evaluation.subgoals.image_judge import Reading, train_judge, watch

from soar.evaluation.subgoals.scores import Readings, read_chains, score
from soar.pretraining.clips import ClipConfig, make_clip_corpus, record_clips
from soar.sim.scenes.paper_scenes import SCENES
from soar.sim.scenes.regimes import sample_scene
from soar.subgoals.clips import ClipCorpus
from soar.types import Answer, Question, Task
from soar.utils.media import resize

SCENE = SCENES["5"]
SHORT = ClipConfig(tasks=1)


@pytest.fixture(scope="module")
def clips():
    return [c for seed in range(3) for c in record_clips(sample_scene("broad", seed), seed, SHORT)]


@pytest.fixture(scope="module")
def futures():
    return list(expert_futures([SCENE], trials=1, seed=3, ahead=20, links=3))


class Copies:
    """Imagines that nothing happens."""

    name = "copies"

    def generate(self, observations, instructions, rng):
        return resize(np.stack([o.image for o in observations]), 64)


class Says:
    """Answers every question alike."""

    name = "says"

    def __init__(self, p_yes: float) -> None:
        self.p_yes = p_yes

    def answer(self, images, questions):
        return [[Answer(q, self.p_yes) for q in asked] for asked in questions]


def test_clips_end_fulfilled_and_point_into_the_image(clips):
    assert clips
    for clip in clips:
        assert clip.done[-1]
        assert not clip.done[0]
        known = clip.points[~np.isnan(clip.points)]
        assert (np.abs(known) < 1).all()
        assert len(clip.images) == len(clip.points) == len(clip.done)
        assert clip.images.shape[1:] == (96, 96, 3)
        assert clip.states.shape == (len(clip.images), 7)


def test_the_hand_comes_to_the_thing_it_takes(clips):
    """At some time the hand is seen near the named thing."""
    for clip in clips:
        away = np.linalg.norm(clip.points[:, 0] - clip.points[:, 2], axis=1)
        assert np.nanmin(away) < 0.35


def test_a_corpus_goes_on_where_it_stopped_and_keeps_what_was_played(tmp_path: Path, clips):
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


def test_futures_begin_unfulfilled_and_stay_as_they_end(futures):
    assert {f.instruction for f in futures} <= {t.instruction for t in SCENE.tasks}
    for future in futures:
        assert future.frames.shape == (3, 256, 256, 3)
        assert not np.array_equal(future.start.image, future.frames[0])
        assert np.abs(future.frames[1].astype(int) - future.frames[2]).mean() < 12


def test_each_image_is_imagined_from_the_one_before(futures):
    class Brighter:
        name = "brighter"

        def generate(self, observations, instructions, rng):
            return resize(np.stack([o.image for o in observations]), 64) // 2

    chains = generate_chains(Brighter(), futures)
    for chain in chains:
        assert np.array_equal(chain.imagined[1], chain.imagined[0] // 2)
        assert np.array_equal(chain.imagined[2], chain.imagined[0] // 4)


def test_a_sheet_shows_two_rows_for_each_chain(futures):
    chains = generate_chains(Copies(), futures)
    sheet = chain_sheet(chains, 64)
    assert sheet.shape[0] >= 2 * 64 * len(chains)
    assert sheet.shape[1] >= 4 * 64


def reading(done: list[float], x: float = 0.0) -> Reading:
    places = np.zeros((len(done), 3, 2), np.float32)
    places[..., 0] = x
    return Reading(np.array(done, np.float32), places)


def test_scores_are_shares_and_distances_by_instruction(futures):
    one = futures[0]
    chains = [Chain(one, one.frames)] * 4
    p = np.array([0.9, 0.2, np.nan, 0.8], np.float32)
    readings = Readings(
        imagined=reading([0.9, 0.1, 0.2, 0.3], 0.5),
        expert=reading([0.9, 0.9, 0.9, 0.4]),
        vlm_imagined=p,
        vlm_expert=p,
        first_imagined=reading([0.0] * 4, 0.2),
        first_expert=reading([0.0] * 4),
    )
    [row] = score(chains, readings)
    assert (row.chains, row.imagined, row.expert) == (4, 0.25, 0.75)
    assert row.vlm_imagined == pytest.approx(2 / 3)
    assert row.first_hand_error == pytest.approx(0.1)
    assert row.last_thing_error == pytest.approx(0.25)


def test_a_judge_is_trained_once_and_models_are_asked_the_tasks_question(tmp_path, futures):
    """A second call loads the judge that the first one kept."""
    judge = train_judge([SCENE], tmp_path, looks=200, steps=2)
    again = train_judge([SCENE], tmp_path, looks=200, steps=2)
    assert judge.accuracy == again.accuracy
    assert 0.4 < judge.accuracy <= 1.0
    chains = generate_chains(Copies(), futures)
    words = {f.instruction for f in futures}
    tasks = {w: Task(w, Question(f"{w}?"), success_answer="open" in w) for w in words}
    readings = read_chains(chains, judge, Says(0.9), tasks)
    expected = [0.9 if "open" in f.instruction else 0.1 for f in futures]
    assert readings.vlm_imagined.tolist() == pytest.approx(expected)
    assert np.isnan(read_chains(chains, judge, None, tasks).vlm_expert).all()
    assert {row.scene for row in score(chains, readings)} == {"5"}


def test_looks_are_of_done_and_undone_tasks():
    looks = watch([SCENE], 60, seed=0)
    assert looks.images.shape == (60, 64, 64, 3)
    assert 0.1 < looks.done.mean() < 0.9
    assert set(looks.instructions) == {t.instruction for t in SCENE.tasks}
