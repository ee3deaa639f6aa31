"""What models of others return: what is converted, and which line names what is valid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from soar.errors import BadOutput, ConfigError, ModelUnavailable, SoarError
from soar.rollout.checked_models import CheckedPolicy, CheckedProposer, CheckedSubgoals
from soar.rollout.model_outputs import to_actions, to_answers, to_images, to_proposal
from soar.tasks.success_detector import to_verdict, to_verdicts
from soar.types import Answer, Observation, Proposal, Question, Task

IMAGES = np.zeros((1, 8, 8, 3), np.uint8)
LEFT = Question("Is the block on the left side?")
TASK = Task("move the block to the left side")
SEEN = Observation(IMAGES[0], np.zeros(7, np.float32), 0.0)


@pytest.mark.parametrize(
    "images",
    [[Image.fromarray(IMAGES[0])], torch.zeros(1, 8, 8, 3, dtype=torch.uint8), [IMAGES[0]]],
)
def test_images_of_other_libraries_are_converted(images: Any) -> None:
    assert np.array_equal(to_images(images, 1, "own"), IMAGES)


@pytest.mark.parametrize(
    ("images", "found"),
    [
        (IMAGES / 255, "float64 of shape"),
        ([Image.new("RGBA", (8, 8))], "uint8 of shape"),
        (torch.zeros(1, 8, 8, 3, requires_grad=True), "torch.float32 of shape"),
        ([IMAGES[0], IMAGES[0, :4]], "a list"),
        ({"images": IMAGES}, "a dict"),
        (None, "None"),
    ],
)
def test_what_is_no_image_is_one_line_that_says_what_is_valid(images: Any, found: str) -> None:
    with pytest.raises(BadOutput, match=rf"^own gave {found}.* valid: RGB, uint8 of 0 to 255"):
        to_images(images, 1, "own")


@pytest.mark.parametrize(
    "actions",
    [np.zeros(7), np.zeros((1, 6)), np.zeros((1, 4, 7)), torch.zeros(1, 7, requires_grad=True), [["x"] * 7], None],
)  # fmt: skip
def test_what_are_no_actions_is_one_line(actions: Any) -> None:
    with pytest.raises(BadOutput, match=r"^own gave .*; valid: float32 of shape \(1, 7\)$"):
        to_actions(actions, 1, "own", 7)


def test_actions_are_converted() -> None:
    for actions in (torch.zeros(1, 7), [[0.0] * 7], np.zeros((1, 7))):
        assert to_actions(actions, 1, "own", 7).shape == (1, 7)


def test_an_output_of_the_wrong_shape_ends_the_run_at_its_first_call_and_later_an_episode() -> None:
    class Own:
        name, calls = "own", 0

        def act(self, *_: Any, **__: Any) -> Any:
            Own.calls += 1
            return np.zeros((1, 7 if Own.calls == 2 else 6))

        def generate(self, *_: Any) -> Any:
            return IMAGES / 255

        def reset(self) -> None: ...

    policy: Any = CheckedPolicy(Own(), action_dim=7)
    rng = np.random.default_rng(0)
    with pytest.raises(ConfigError, match=r"^policy own gave float64 of shape \(1, 6\)"):
        policy.act([SEEN], IMAGES, rng)
    policy.act([SEEN], IMAGES, rng)
    with pytest.raises(BadOutput):
        policy.act([SEEN], IMAGES, rng)
    with pytest.raises(ConfigError, match="subgoal generator own gave float64"):
        CheckedSubgoals(Own()).generate([SEEN], [TASK], rng)


def test_numbers_of_other_libraries_are_probabilities() -> None:
    learned = torch.tensor([0.5], requires_grad=True)
    for p in (np.float32(0.5), torch.tensor(0.5), learned, np.array([0.5])):
        [[answer]] = to_answers([[Answer(LEFT, p)]], [[LEFT]], "own")  # type: ignore[arg-type]
        assert answer.p_yes == 0.5
        assert type(answer.p_yes) is float
        assert to_verdict(TASK, p, "own", 0.5).p_success == 0.5


def test_a_question_may_be_answered_by_its_text() -> None:
    [[answer]] = to_answers([[Answer(LEFT.text, 0.5)]], [[LEFT]], "own")  # type: ignore[arg-type]
    assert answer.question is LEFT


@pytest.mark.parametrize(
    ("replies", "message"),
    [
        (None, "gave None; valid: for each image a list of Answer"),
        ([Answer(LEFT, 0.5)] * 2, "gave 2 replies for 1 images"),
        ([0.5], "gave a float for an image"),
        ([["yes"]], "gave 'yes' for an answer"),
        ([[Answer(LEFT, "yes")]], "p_yes is 'yes'; valid: a number from 0 to 1, or None"),  # type: ignore[arg-type]
        ([[Answer(Question("Hm?"), 0.5)]], "answered 'Hm[?]', which wasn't asked"),
    ],
)
def test_what_are_no_answers_is_named(replies: Any, message: str) -> None:
    with pytest.raises(SoarError, match=message):
        to_answers(replies, [[LEFT]], "own")


def test_percentages_are_unknown_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        assert to_answers([[Answer(LEFT, 95)]], [[LEFT]], "percent")[0][0].p_yes is None
    assert caplog.text.count("percent gave a P(yes) outside of 0 to 1") == 1


@pytest.mark.parametrize("verdicts", [None, True, [True], [0.9], "success"])
def test_what_are_no_verdicts_is_named(verdicts: Any) -> None:
    with pytest.raises(BadOutput, match=r"own gave .* for 1 episodes; valid: one Verdict for each"):
        to_verdicts(verdicts, 1, "own")
    with pytest.raises(
        BadOutput, match=r"own gave P\(success\) tensor.*; valid: a number from 0 to 1"
    ):
        to_verdict(TASK, torch.zeros(2), "own", 0.5)


def wrong(name: str, value: object) -> Proposal:
    """A proposal as code without checks of types makes it."""
    proposal = Proposal(TASK, "asked")
    object.__setattr__(proposal, name, value)
    return proposal


@pytest.mark.parametrize(
    ("proposal", "message"),
    [
        (None, "gave None; valid: a Proposal"),
        (TASK, "gave a Task; valid: a Proposal"),
        (wrong("task", "left"), "gave a proposal of a str; valid: a Proposal, whose task is a Task"),
        (wrong("scores", {TASK: 1.0}), "with a Task in place of text"),
        (Proposal(TASK, "asked", scores={"x": float("nan")}), "gave the score nan"),
    ],
)  # fmt: skip
def test_what_the_store_can_not_keep_of_a_proposal_is_named(proposal: Any, message: str) -> None:
    with pytest.raises(SoarError, match=message):
        to_proposal(proposal)


def test_a_proposal_is_converted() -> None:
    made = to_proposal(wrong("scores", {TASK.instruction: np.float32(0.5)}))
    assert made.scores == {TASK.instruction: 0.5}
    assert to_proposal(wrong("feasible", ["a"])).feasible == ("a",)


def test_a_proposer_that_raises_is_an_outage_and_one_that_never_worked_ends_the_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Own:
        def __init__(self, *results: Any) -> None:
            self.results = list(results)

        def propose(self, *_: Any) -> Any:
            if isinstance(result := self.results.pop(0), Exception):
                raise result
            return result

    arguments: Any = (SEEN, {}, {}, np.random.default_rng(0))
    with pytest.raises(ConfigError, match=r"proposer Own: propose\(\): gave None"):
        CheckedProposer(Own(None)).propose(*arguments)
    proposer = CheckedProposer(Own(Proposal(TASK, "asked"), ValueError("hm"), None))
    assert proposer.propose(*arguments).task is TASK
    for message in (r"propose\(\) raised ValueError at .*: hm", "gave None"):
        with pytest.raises(ModelUnavailable, match=message):
            proposer.propose(*arguments)
    assert "hm" in caplog.text
