"""Checks of the models, each tried on what the robots see now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

import numpy as np

from soar.doctor.findings import CheckResult, Health, Problem, Timed, attempt, ms, timed
from soar.doctor.station import Exam
from soar.errors import ModelUnavailable
from soar.interfaces import Policy, VisionLanguageModel
from soar.policies.behavior_cloning import BehaviorCloning
from soar.registry import load_policy, load_subgoals, load_vlm
from soar.robots.safety import Limits
from soar.rollout.loop import generate_subgoals
from soar.rollout.models import ModelsConfig
from soar.rollout.station import EpisodeConfig
from soar.tasks.grammar import questions_of
from soar.tasks.proposer import feasible_tasks, missing_objects
from soar.types import ACTION_DIM, Actions, Answer, Image, Task

_ACTS = 10
_FULL = 0.7
"""Share of the control period from which a loop has little to spare."""
_SLOW_S = 10.0
"""A generator slower than this isn't asked a second time, to see it warm."""


def examine_models(
    names: ModelsConfig, exams: Sequence[Exam], episode_config: EpisodeConfig
) -> Iterator[CheckResult]:
    """Findings about eyes, imagination and policy, and about the rate of the loop."""
    yield from examine_eyes(names.vlm, exams)
    group = working_together(exams)
    goals: Sequence[Image] | Sequence[str] = [e.rest.image for e in group]
    chosen = attempt(lambda: names.with_promoted())
    if isinstance(chosen, Problem):
        yield _unusable("policy", chosen)
        return
    names = chosen
    if names.subgoals == "none":
        goals = [e.tasks[0].instruction for e in group]
    else:
        finding, imagined = examine_imagination(names.subgoals, group, episode_config)
        yield finding
        goals = imagined or goals
    finding, act_s = examine_policy(names.policy, group, goals)
    yield finding
    for exam in exams:
        yield check_rate(exam, act_s)


def working_together(exams: Sequence[Exam]) -> Sequence[Exam]:
    """Stations whose pictures make one batch: all simulated ones in lockstep, or one real arm."""
    if any(e.config.keeps_period for e in exams):
        return exams[:1]
    return [e for e in exams if e.rest.image.shape == exams[0].rest.image.shape]


def examine_eyes(name: str, exams: Sequence[Exam]) -> Iterator[CheckResult]:
    """Load the vision-language model, and ask it about each station."""
    vlm = attempt(lambda: load_vlm(name))
    if isinstance(vlm, Problem):
        yield _unusable("eyes", vlm)
        return
    yield CheckResult("eyes", "ok", vlm.name)
    for exam in exams:
        title = f"{exam.config.name}: eyes"
        replies = attempt(lambda exam=exam: timed(lambda: _ask(vlm, exam)))  # type: ignore[misc]
        if isinstance(replies, Problem):
            yield _unusable(title, replies)
        else:
            yield check_eyes(title, exam.tasks, replies)


def examine_imagination(
    name: str, group: Sequence[Exam], episode_config: EpisodeConfig
) -> tuple[CheckResult, list[Image]]:
    """Load the subgoal generator, and let it imagine the first task; the images, if it could."""
    generator = attempt(lambda: load_subgoals(name))
    if isinstance(generator, Problem):
        return _unusable("imagination", generator), []
    if not group:
        return CheckResult("imagination", "ok", generator.name), []
    seen = [e.rest for e in group]
    tasks = [e.tasks[0] for e in group]

    def once() -> list[Image]:
        return generate_subgoals(generator, seen, tasks, np.random.default_rng(0))

    made = attempt(lambda: timed(once))
    if not isinstance(made, Problem) and made.seconds[0] < _SLOW_S:
        made = attempt(lambda: timed(once))
    if isinstance(made, Problem):
        return _unusable("imagination", made), []
    return check_imagination(generator.name, made, episode_config, group[0]), made.value


def examine_policy(
    name: str, group: Sequence[Exam], goals: Sequence[Image] | Sequence[str]
) -> tuple[CheckResult, float]:
    """Load the policy and let it act; and how long that takes [s]."""
    policy = attempt(lambda: load_policy(name))
    if isinstance(policy, Problem):
        return _unusable("policy", policy), 0.0
    if not group:
        return CheckResult("policy", "ok", describe(policy)), 0.0
    seen, rng = [e.rest for e in group], np.random.default_rng(0)
    words = [g for g in goals if isinstance(g, str)]
    wanted = words or np.stack([g for g in goals if not isinstance(g, str)])

    def once() -> Actions:
        return policy.act(seen, wanted, rng)

    policy.reset()
    acted = attempt(lambda: (once(), timed(once, _ACTS))[1])
    if isinstance(acted, Problem):
        return _unusable("policy", acted), 0.0
    camera = min(group[0].rest.image.shape[:2])
    return check_policy(policy, acted, len(group), camera, group[0].config.box), median(
        acted.seconds
    )


def check_eyes(title: str, tasks: Sequence[Task], replies: Timed[list[Answer]]) -> CheckResult:
    """Whether every question got a readable answer, and what follows for the scene as it is."""
    questions, answers = questions_of(tasks), {a.question: a for a in replies.value}
    read = {q: a for q, a in answers.items() if a.p_yes is not None and 0 <= a.p_yes <= 1}
    unread = [q for q in questions if q not in read]
    what = f"{len(questions) - len(unread)} of {len(questions)} questions answered in {ms(replies.seconds[0])}"
    if unread:
        raw = answers[unread[0]].raw if unread[0] in answers else "nothing"
        health: Health = "failed" if len(unread) == len(questions) else "warning"
        advice = f"'{unread[0]}' got {raw!r:.60}: is this a model that sees, and says yes or no?"
        return CheckResult(title, health, what, advice)
    feasible = [t.instruction for t in feasible_tasks(tasks, read)]
    if gone := sorted(missing_objects(tasks, read)):
        advice = (
            "put it on the table, name it as it looks, or try another model (`soar vlm evaluate`)"
        )
        return CheckResult(title, "warning", f"{what}; not seen: {', '.join(gone)}", advice)
    if not feasible:
        advice = "every task seems done already: look at `soar tasks questions`"
        return CheckResult(title, "warning", f"{what}; nothing feasible", advice)
    return CheckResult(title, "ok", f"{what}; feasible now: {', '.join(feasible)}")


def check_imagination(
    name: str, made: Timed[list[Image]], episode_config: EpisodeConfig, exam: Exam
) -> CheckResult:
    """Whether there are pictures on what was imagined, and whether the arm waits for them."""
    height, width = made.value[0].shape[:2]
    seconds, period = made.seconds[-1], exam.period_s
    many = f" for {len(made.value)} stations" if len(made.value) > 1 else ""
    what = f"{name}: {width} x {height} in {ms(seconds)}{many}"
    if min(image.std() for image in made.value) < 2:
        advice = "what it imagines has one colour: are these trained weights?"
        return CheckResult("imagination", "warning", what, advice)
    waits = seconds - episode_config.prefetch_steps * period
    if exam.config.keeps_period and waits > period / 2:
        what += f"; the arm waits {ms(waits)} at each of {episode_config.num_subgoals} subgoals"
        advice = "a faster one: fewer sampling steps, a smaller model, or a GPU"
        return CheckResult("imagination", "warning", what, advice)
    return CheckResult("imagination", "ok", what)


def check_policy(
    policy: Policy, acted: Timed[Actions], robots: int, camera_px: int, box: Limits
) -> CheckResult:
    """Whether actions are such, of a reasonable length, from pictures of the resolution it was trained on."""
    actions = np.asarray(acted.value)
    what = f"{describe(policy)}: acts in {ms(median(acted.seconds))}"
    if actions.shape != (robots, ACTION_DIM) or not np.isfinite(actions).all():
        what = f"{describe(policy)} gave {actions.dtype} {actions.shape} for {robots} robots"
        return CheckResult("policy", "failed", what, "act() returns finite float32, (robots, 7)")
    longest = float(np.abs(actions[:, :3]).max())
    if longest > box.max_step_m:
        what += f"; wants a step of {100 * longest:.0f} cm, of which {100 * box.max_step_m:.0f} are allowed"
        advice = "does it come from a robot with the same action units?"
        return CheckResult("policy", "warning", what, advice)
    takes = resolution_of(policy)
    if takes and takes > camera_px:
        what += f"; takes {takes} px, the camera gives {camera_px}"
        advice = "a camera with more pixels, or a policy for fewer"
        return CheckResult("policy", "warning", what, advice)
    return CheckResult("policy", "ok", what + (f" on {takes} of {camera_px} px" if takes else ""))


def check_rate(exam: Exam, act_s: float) -> CheckResult:
    """Whether a control step's work fits into the robot's period."""
    steps = exam.exercise.steps_s if exam.exercise else ()
    robot_s, period = median(steps), exam.period_s
    title, share = f"{exam.config.name}: rate", (robot_s + act_s) / period
    what = f"robot {ms(robot_s)} + policy {ms(act_s)}"
    if not exam.config.keeps_period:
        return CheckResult(title, "ok", f"{what} a step; in simulation nothing waits")
    what += f" of the {ms(period)} period, at worst {ms(max(steps) + act_s)}"
    if share > 1:
        advice = "execute() must return at once; a faster policy, a GPU, or a longer period_s"
        return CheckResult(title, "failed", what, advice)
    if share > _FULL or max(steps) + act_s > period:
        return CheckResult(
            title, "warning", what, "little to spare: what else runs on this machine?"
        )
    return CheckResult(title, "ok", what)


def describe(policy: Policy) -> str:
    """Its name, and its checkpoint's."""
    return f"{policy.name} {getattr(policy, 'checkpoint_id', '')}".strip()


def resolution_of(policy: Policy) -> int | None:
    """Pixels that one of our policies takes; unknown of others."""
    return int(policy.config.resolution) if isinstance(policy, BehaviorCloning) else None


def _ask(vlm: VisionLanguageModel, exam: Exam) -> list[Answer]:
    [answers] = vlm.answer([exam.rest.image], [questions_of(exam.tasks)])
    return answers


def _unusable(title: str, problem: Problem) -> CheckResult:
    if isinstance(problem.error, ModelUnavailable):
        advice = "is the server up, and its URL right? Try `soar vlm ask IMAGE QUESTION --vlm ...`"
    elif title == "policy":
        advice = "another --policy; and --subgoals none if it follows words, not pictures"
    else:
        advice = "another one, on the command line or in the models file; docs/add-a-vlm.md"
    return CheckResult(title, "failed", str(problem), advice)
