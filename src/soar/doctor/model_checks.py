"""Checks of what the models returned in their trials."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np

from soar.contract.compare import contract_of, differences, summary, takes_state
from soar.doctor.results import CheckResult, Failure, Health, Timed, ms
from soar.doctor.station import TriedStation
from soar.errors import ModelUnavailable
from soar.interfaces import Policy
from soar.policies.behavior_cloning import BehaviorCloning
from soar.rollout.station import EpisodeConfig
from soar.tasks.grammar import questions_of
from soar.tasks.proposer import feasible_tasks, missing_objects
from soar.types import Actions, Answer, Image, Task, Verdict

_FULL = 0.7
"""Share of the control period from which there is little time to spare."""


def check_vlm(title: str, tasks: Sequence[Task], answered: Timed[list[Answer]]) -> CheckResult:
    """Check that all answers are readable, all objects are seen, and a task is feasible."""
    questions, answers = questions_of(tasks), {a.question: a for a in answered.value}
    read = {q: a for q, a in answers.items() if a.p_yes is not None and 0 <= a.p_yes <= 1}
    unread = [q for q in questions if q not in read]
    what = (
        f"{len(questions) - len(unread)} of {len(questions)} questions answered "
        f"in {ms(answered.seconds[0])}"
    )
    if unread:
        raw = answers[unread[0]].raw if unread[0] in answers else "nothing"
        health: Health = "failed" if len(unread) == len(questions) else "warning"
        advice = f"'{unread[0]}' got {raw!r:.60}: is this a model that sees, and says yes or no?"
        return CheckResult(title, health, what, advice)
    feasible = [t.instruction for t in feasible_tasks(tasks, read)]
    if missing := sorted(missing_objects(tasks, read)):
        advice = (
            "put it on the table, name it as it looks, or try another model (`soar vlm evaluate`)"
        )
        return CheckResult(title, "warning", f"{what}; not seen: {', '.join(missing)}", advice)
    if not feasible:
        advice = "every task seems done already: check `soar tasks questions`"
        return CheckResult(title, "warning", f"{what}; nothing feasible", advice)
    return CheckResult(title, "ok", f"{what}; feasible now: {', '.join(feasible)}")


def check_detector(what: str, judged: Timed[list[Verdict]]) -> CheckResult:
    """Check the verdicts on episodes without motion."""
    what += f"; judges in {ms(judged.seconds[0])}"
    for verdict in judged.value:
        if (verdict.p_success is None) != (verdict.outcome == "unknown"):
            advice = "p_success is a probability, and None for an unknown outcome"
            return CheckResult("detector", "failed", f"{what}: {verdict}", advice)
    if all(v.outcome == "success" for v in judged.value):
        advice = "an episode without motion is a success: check it with `soar vlm calibrate`"
        return CheckResult("detector", "warning", what, advice)
    return CheckResult("detector", "ok", what)


def check_subgoals(
    name: str, generated: Timed[list[Image]], episode: EpisodeConfig, station: TriedStation
) -> CheckResult:
    """Check that the images have content, and whether the arm waits for them."""
    height, width = generated.value[0].shape[:2]
    seconds, period = generated.seconds[-1], station.period_s
    count = len(generated.value)
    what = f"{name}: {width} x {height} in {ms(seconds)}"
    what += f" for {count} stations" if count > 1 else ""
    if min(image.std() for image in generated.value) < 2:
        advice = "its images have a single color: are these trained weights?"
        return CheckResult("subgoals", "warning", what, advice)
    waits_s = seconds - episode.prefetch_steps * period
    if station.config.keeps_period and waits_s > period / 2:
        what += f"; the arm waits {ms(waits_s)} at each of {episode.num_subgoals} subgoals"
        advice = "use fewer sampling steps, a smaller model, or a GPU"
        return CheckResult("subgoals", "warning", what, advice)
    return CheckResult("subgoals", "ok", what)


def check_policy(
    policy: Policy, acted: Timed[Actions], batch: Sequence[TriedStation]
) -> CheckResult:
    """Check shape, values and length of the actions, and the policy's resolution."""
    actions, meaning = np.asarray(acted.value), batch[0].contract.action
    what = f"{describe(policy)}: acts in {ms(median(acted.seconds))}"
    if actions.shape != (len(batch), meaning.dim) or not np.isfinite(actions).all():
        what = f"{describe(policy)} gave {actions.dtype} {actions.shape} for {len(batch)} robots"
        advice = f"act() must give finite float32, (robots, {meaning.dim})"
        return CheckResult("policy", "failed", what, advice)
    longest, allowed = float(np.abs(actions[:, :3]).max()), batch[0].config.box.max_step_m
    if longest > allowed and not meaning.joints:
        what += (
            f"; commands a step of {100 * longest:.0f} cm, of which {100 * allowed:.0f} are allowed"
        )
        advice = "was it trained on a robot with the same action units?"
        return CheckResult("policy", "warning", what, advice)
    resolution, camera = resolution_of(policy), min(batch[0].rest.image.shape[:2])
    if resolution and resolution > camera:
        what += f"; takes {resolution} px, the camera gives {camera}"
        advice = "use a camera with more pixels, or a policy for fewer"
        return CheckResult("policy", "warning", what, advice)
    what += f" on {resolution} of {camera} px" if resolution else ""
    return CheckResult("policy", "ok", what)


def check_contracts(policy: Policy, station: TriedStation) -> list[CheckResult]:
    """Name each difference between what a station means and what the policy learned from."""
    learned, title = contract_of(policy), f"{station.config.name}: contract of the policy"
    if learned is None:
        what = f"{describe(policy)} declares none: its actions are taken as they come"
        return [CheckResult(title, "warning", what, "give it an attribute `contract`")]
    found = differences(station.contract, learned, uses_state=takes_state(policy))
    return [
        CheckResult(title, "warning" if d.is_warning else "failed", str(d), d.remedy) for d in found
    ] or [CheckResult(title, "ok", summary(learned))]


def check_rate(station: TriedStation, act_s: float) -> CheckResult:
    """Check that robot and policy fit into the control period. `act_s`: duration of an action in seconds."""
    steps = station.trial.steps_s if station.trial else ()
    robot_s, period = median(steps), station.period_s
    title, share = f"{station.config.name}: rate", (robot_s + act_s) / period
    what = f"robot {ms(robot_s)} + policy {ms(act_s)}"
    if not station.config.keeps_period:
        return CheckResult(title, "ok", f"{what} a step; in simulation nothing waits")
    what += f" of the {ms(period)} period, at worst {ms(max(steps) + act_s)}"
    if share > 1:
        advice = "execute() must return at once; use a faster policy, a GPU, or a longer period_s"
        return CheckResult(title, "failed", what, advice)
    if share > _FULL or max(steps) + act_s > period:
        advice = "little time to spare: what else runs on this machine?"
        return CheckResult(title, "warning", what, advice)
    return CheckResult(title, "ok", what)


def describe(policy: Policy) -> str:
    """Return a policy's name and the id of its checkpoint."""
    return f"{policy.name} {getattr(policy, 'checkpoint_id', '')}".strip()


def resolution_of(policy: Policy) -> int | None:
    """Return the input resolution of a policy of this package in pixels; None for another."""
    return int(policy.config.resolution) if isinstance(policy, BehaviorCloning) else None


def model_failed(title: str, failure: Failure) -> CheckResult:
    """Return the result for a model that can't be loaded or raised an exception."""
    if isinstance(failure.error, ModelUnavailable):
        advice = "is the server up, and its URL right? Try `soar vlm ask IMAGE QUESTION --vlm ...`"
    elif title == "policy":
        advice = "use another --policy; with one that follows instructions, --subgoals none"
    else:
        advice = "name another one on the command line or in the models file; docs/add-a-vlm.md"
    return CheckResult(title, "failed", str(failure), advice)
