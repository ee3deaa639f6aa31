import math

import numpy as np
import pytest

from soar.errors import ConfigError, NoFeasibleTask
from soar.tasks.grammar import task_from_instruction
from soar.tasks.proposer import (
    UncertaintyProposer,
    feasible_tasks,
    missing_objects,
    select_task,
    uncertainties,
    with_objects_present,
)
from soar.tasks.questions import present_question
from soar.types import Answer, Observation, Question, Task, TaskCount

PUT, REMOVE, OPEN = (
    task_from_instruction(text)
    for text in (
        "put the green block in the wooden bowl",
        "remove the green block from inside the wooden bowl and put it on the table",
        "open the drawer",
    )
)
OBSERVATION = Observation(np.zeros((4, 4, 3), np.uint8), np.zeros(7, np.float32), 0.0)


def answer(**p_yes: float | None) -> dict[Question, Answer]:
    """Answers by short names of the questions."""
    questions = {"inside": PUT.question, "open": OPEN.question}
    questions |= {f"present_{w}": present_question(w) for w in ("drawer",)}
    return {questions[k]: Answer(questions[k], p) for k, p in p_yes.items()}


def test_a_task_is_feasible_when_the_answer_is_the_opposite_of_done():
    assert feasible_tasks([PUT, REMOVE], answer(inside=0.1)) == (PUT,)
    assert feasible_tasks([PUT, REMOVE], answer(inside=0.9)) == (REMOVE,)


def test_an_unknown_answer_makes_nothing_feasible():
    assert feasible_tasks([PUT, REMOVE, OPEN], answer(inside=None)) == ()


def test_scores_are_equation_1():
    history = {PUT.instruction: TaskCount(attempts=3), OPEN.instruction: TaskCount(attempts=0)}
    scores = uncertainties([PUT, OPEN], history)
    # N = 3: sqrt(ln 4 / 4) and sqrt(ln 4 / 1)
    assert scores[PUT.instruction] == pytest.approx(0.58870501)
    assert scores[OPEN.instruction] == pytest.approx(1.17741002)


def test_attempts_of_infeasible_tasks_do_not_count():
    history = {PUT.instruction: TaskCount(attempts=1), REMOVE.instruction: TaskCount(attempts=50)}
    assert uncertainties([PUT], history) == {PUT.instruction: math.sqrt(math.log(2) / 2)}


def test_a_new_station_scores_zero_everywhere_and_chooses_at_random():
    assert set(uncertainties([PUT, OPEN], {}).values()) == {0.0}
    rng = np.random.default_rng(0)
    chosen = [select_task([PUT, OPEN], {}, rng) for _ in range(400)]
    assert 150 < chosen.count(PUT) < 250


def test_select_task_refuses_an_empty_set():
    with pytest.raises(NoFeasibleTask, match="feasible"):
        select_task([], {}, np.random.default_rng(0))


@pytest.mark.parametrize("rounds", [5_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_attempts_even_out(rounds):
    tasks = [Task(f"task {i}", Question(f"Is {i} done?")) for i in range(7)]
    rng, attempts = np.random.default_rng(0), np.zeros(7, int)
    for _ in range(rounds):
        history = {f"task {i}": TaskCount(int(n)) for i, n in enumerate(attempts)}
        attempts[int(select_task(tasks, history, rng).instruction[5:])] += 1
    assert attempts.max() - attempts.min() <= 1


def test_a_task_that_becomes_feasible_late_catches_up():
    tasks = [Task(f"task {i}", Question(f"Is {i} done?")) for i in range(3)]
    rng, attempts = np.random.default_rng(0), np.zeros(3, int)
    for t in range(300):
        feasible = tasks[: 2 if t < 100 else 3]
        history = {f"task {i}": TaskCount(int(n)) for i, n in enumerate(attempts)}
        attempts[int(select_task(feasible, history, rng).instruction[5:])] += 1
    assert attempts.tolist() == [100, 100, 100]


def test_tasks_of_missing_objects_are_left_out():
    answers = answer(inside=0.1, open=0.1, present_drawer=0.05)
    assert missing_objects([PUT, OPEN], answers) == {"drawer"}
    assert with_objects_present([PUT, OPEN], answers) == (PUT,)
    proposal = UncertaintyProposer([PUT, OPEN]).propose(
        OBSERVATION, answers, {}, np.random.default_rng(0)
    )
    assert proposal.task == PUT
    assert proposal.feasible == (PUT.instruction,)


def test_without_a_feasible_task_a_random_one_with_present_objects_is_chosen():
    proposer, rng = UncertaintyProposer([PUT, OPEN]), np.random.default_rng(0)
    answers = answer(inside=0.9, open=0.9)
    chosen = {proposer.propose(OBSERVATION, answers, {}, rng).task for _ in range(50)}
    assert chosen == {PUT, OPEN}
    answers |= answer(present_drawer=0.1)
    chosen = {proposer.propose(OBSERVATION, answers, {}, rng).task for _ in range(50)}
    assert chosen == {PUT}
    assert proposer.propose(OBSERVATION, answers, {}, rng).reason == "nothing feasible"


def test_without_answers_the_reason_is_no_answers():
    proposal = UncertaintyProposer([PUT]).propose(OBSERVATION, {}, {}, np.random.default_rng(0))
    assert (proposal.task, proposal.reason, proposal.scores) == (PUT, "no answers", {})


def test_a_seed_determines_the_proposals():
    proposer, answers = UncertaintyProposer([PUT, OPEN]), answer(inside=0.1, open=0.1)
    first, second = (
        [proposer.propose(OBSERVATION, answers, {}, rng).task for _ in range(20)]
        for rng in (np.random.default_rng(7), np.random.default_rng(7))
    )
    assert first == second


def test_a_proposer_without_tasks_or_with_an_impossible_threshold_is_refused():
    with pytest.raises(ConfigError, match="at least one task"):
        UncertaintyProposer([])
    with pytest.raises(ConfigError, match="between 0 and 1"):
        UncertaintyProposer([PUT], threshold=1.5)
