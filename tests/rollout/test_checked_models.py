from dataclasses import replace

import numpy as np
import pytest

from soar.errors import BadOutput, ConfigError, ModelUnavailable
from soar.robots.toy import ToyRobot
from soar.rollout.checked_models import CheckedCalls, CheckedVLM, of_one_size
from soar.types import Answer, Question
from soar.utils.media import resize


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


def test_bad_output_and_ctrl_c_pass():
    checked, changes = calls()
    for error in (BadOutput("seven numbers"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            checked.call("act", failing(error))
    assert changes == []


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
