import asyncio
from dataclasses import replace

import numpy as np
import pytest

from soar.data.store.lance import open_store
from soar.errors import BadOutput, ConfigError, ContentError, ModelUnavailable
from soar.robots.toy import ToyRobot
from soar.rollout.checked_models import CheckedCalls, CheckedVLM, checked_detector, of_one_size
from soar.tasks.grammar import task_from_instruction
from soar.tasks.success_detector import judge_episodes
from soar.types import Answer, EpisodeFrames, Question, Verdict
from soar.utils.media import resize

IMAGE = np.zeros((8, 8, 3), np.uint8)
EPISODE = EpisodeFrames(
    task_from_instruction("put the lemon on the plate"), np.stack([IMAGE, IMAGE])
)


class Panic(BaseException):
    """As Rust's extensions raise."""


class Model:
    name = "m"
    recovered = 0

    def recover(self):
        self.recovered += 1


def failing(error: BaseException):
    def call():
        raise error

    return call


def calls(model: object = None) -> tuple[CheckedCalls, list[tuple[str, str]]]:
    changes: list[tuple[str, str]] = []
    return CheckedCalls("policy", model or Model(), lambda *change: changes.append(change)), changes


def test_an_outage_is_reported_once_when_it_begins_and_when_it_ends():
    checked, changes = calls()
    for _ in range(3):
        with pytest.raises(ModelUnavailable, match="policy m: act\\(\\) raised OSError"):
            checked.call("act", failing(OSError("gone")))
    assert checked.call("act", lambda: 7) == 7
    assert [bool(message) for _, message in changes] == [True, False]


def test_a_model_is_recovered_before_the_next_attempt():
    model = Model()
    checked, _ = calls(model)
    with pytest.raises(ModelUnavailable):
        checked.call("act", failing(RuntimeError("CUDA out of memory")))
    assert model.recovered == 0
    checked.call("act", lambda: 0)
    checked.call("act", lambda: 0)
    assert model.recovered == 1


@pytest.mark.parametrize("error", [SystemExit(1), TypeError(), ConfigError("401"), MemoryError()])
def test_after_a_call_that_worked_every_exception_is_an_outage(error):
    checked, _ = calls()
    checked.call("act", lambda: 0)
    with pytest.raises(ModelUnavailable):
        checked.call("act", failing(error))


@pytest.mark.parametrize("error", [asyncio.CancelledError(), Panic("thread panicked")])
def test_what_is_no_exception_of_python_s_own_is_an_outage_too(error):
    checked, _ = calls()
    with pytest.raises(ModelUnavailable, match=type(error).__name__):
        checked.call("act", failing(error))


def test_a_text_that_can_t_be_made_ends_nothing():
    class Mute(RuntimeError):
        def __str__(self):
            raise ValueError("no text")

    with pytest.raises(ModelUnavailable, match="its text raised ValueError"):
        calls()[0].call("act", failing(Mute()))


@pytest.mark.parametrize("p", [float("nan"), float("inf"), 7, -0.1, np.float32(1.5)])
def test_a_probability_that_is_none_is_unknown(p):
    class VLM:
        name = "own"

        def answer(self, images, questions):
            return [[Answer(q, p, b"raw", "guess") for q in asked] for asked in questions]  # type: ignore[arg-type]

    [[answer]] = CheckedVLM(VLM()).answer([IMAGE], [[Question("Is it?")]])
    assert (answer.p_yes, answer.raw, answer.source) == (None, "b'raw'", None)


def test_a_checked_model_is_checked_anew_and_not_twice():
    class VLM:
        name = "own"

        def answer(self, images, questions):
            raise RuntimeError("down")

    changes: list[tuple[str, str]] = []
    outer = CheckedVLM(CheckedVLM(VLM()), lambda *change: changes.append(change))
    with pytest.raises(ModelUnavailable, match=r"^VLM own: answer\(\) raised RuntimeError"):
        outer.answer([IMAGE], [[]])
    assert len(changes) == 1


def test_a_detector_that_somebody_hears_of_stays():
    class Detector:
        name, threshold = "own", 0.5

        def judge(self, episodes):
            raise RuntimeError("down")

    changes: list[tuple[str, str]] = []
    heard = checked_detector(checked_detector(Detector()), lambda *change: changes.append(change))
    assert checked_detector(heard, lambda *change: None) is heard
    with pytest.raises(ModelUnavailable):
        judge_episodes(heard, [])
    assert [role for role, _ in changes] == ["success detector"]


WRONG_VERDICTS = [
    ({"outcome": "maybe"}, "the outcome is 'maybe'"),
    ({"p_success": float("nan")}, "p_success is nan"),
    ({"p_success": 7.0}, "p_success is 7.0"),
    ({"p_success": "0.9"}, "p_success is '0.9'"),
    ({"raw": 3}, "text is 3"),
]


def wrong_verdict(fields: dict[str, object]) -> Verdict:
    """A verdict as code without checks of types makes it."""
    verdict = Verdict("success", 0.9)
    for name, value in fields.items():
        object.__setattr__(verdict, name, value)
    return verdict


@pytest.mark.parametrize(("fields", "message"), WRONG_VERDICTS)
def test_a_verdict_that_is_none_is_named(fields, message):
    class Detector:
        name, threshold = "own", 0.5

        def judge(self, episodes):
            return [wrong_verdict(fields) for _ in episodes]

    with pytest.raises(BadOutput, match=f"own gave a verdict that is none: .*{message}"):
        judge_episodes(Detector(), [EPISODE])


@pytest.mark.parametrize(("fields", "message"), WRONG_VERDICTS)
def test_no_store_takes_such_a_verdict(fields, message, tmp_path):
    store = open_store(tmp_path / "store", create=True)
    with pytest.raises(ContentError, match=message):
        store.set_verdict("20261127-000000-0000000000", wrong_verdict(fields))


def test_bad_output_and_ctrl_c_pass():
    checked, changes = calls()
    checked.call("act", lambda: 0)
    for error in (BadOutput("seven numbers"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            checked.call("act", failing(error))
    assert changes == []


def test_bad_output_of_the_first_call_ends_at_once():
    with pytest.raises(ConfigError, match=r"^policy seven numbers$"):
        calls()[0].call("act", failing(BadOutput("seven numbers")))


@pytest.mark.parametrize(
    "replies",
    [None, [None], [[None]], [[0.5]], [[Answer(Question("what?"), "yes")]]],  # type: ignore[arg-type]
)
def test_answers_of_another_type_are_a_fault_of_the_vlm(replies):
    class VLM:
        name = "own"

        def answer(self, images, questions):
            return replies

    with pytest.raises((ConfigError, ModelUnavailable), match="VLM own: answer"):
        CheckedVLM(VLM(), lambda role, message: None).answer([], [])


def test_images_of_two_sizes_in_a_batch_are_resized_each_by_itself():
    observation = ToyRobot(0).observe()
    small = replace(observation, image=resize(observation.image, 32))
    wide = replace(observation, image=np.zeros((48, 96, 3), np.uint8))
    images = [o.image for o in of_one_size([small, wide])]
    assert [i.shape for i in images] == [(96, 96, 3)] * 2
    assert np.array_equal(images[0], resize(small.image, 96))
    same = [observation, observation]
    assert of_one_size(same) is same
    wrist = replace(wide, other_images={"wrist": wide.image})
    larger = replace(small, other_images={"wrist": images[0]})
    found = of_one_size([small, wrist, larger])
    assert [sorted(o.other_images) for o in found] == [[], ["wrist"], ["wrist"]]
    assert [o.other_images["wrist"].shape for o in found[1:]] == [(96, 96, 3)] * 2
