"""A new skill from a few demonstrations: offline reinforcement learning next to plain cloning, then own attempts.

    FOLDER/demonstrations/         the few demonstrations of the skill
    FOLDER/prior-ptr/              PTR's first phase, on demonstrations of other tasks; shared by all skills
    FOLDER/ARM/                    what an arm learned: a policy's or a critic's checkpoint
    FOLDER/ARM-attempts/           own attempts of that policy
    FOLDER/evaluations/ARM/        its success, as `soar evaluate` writes it

Arms: "cloning" and each algorithm from the demonstrations, RoboFuME with some failures of the cloned policy; each
"+ own" goes on with its own attempts, successes and failures as they were judged; and "ptr own alone" has no
demonstration of the skill. Policies follow instructions: no subgoal generator has seen the skill. Every step resumes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from annotated_types import Ge, Gt, Lt

from soar.checkpoint import load as load_checkpoint
from soar.critics.config import ALGORITHMS
from soar.critics.learning.labels import CriticSource
from soar.data.frame_cache import Frames, build_frames
from soar.data.mixture import Source
from soar.data.store.lance import open_store
from soar.errors import ConfigError, StoreError
from soar.evaluation.results import Evaluation, open_evaluation
from soar.experiments.paper.tables import write_table
from soar.experiments.run_config import CollectOptions, RunConfig
from soar.experiments.simulated_run import collect_in_simulation, evaluate_in_simulation
from soar.improvement.cotraining import CoTrainConfig, no_minutes, train_from
from soar.improvement.rounds import Candidate, OnMessage
from soar.improvement.run import Run
from soar.pretraining.demonstrations import collect_demonstrations
from soar.pretraining.weights import DemonstrationSet, demonstrations
from soar.registry import policy_spec
from soar.sim.scenes.catalog import load_scene
from soar.training.critic import CriticTrainConfig, critic_source, train_critic
from soar.training.fit import FitConfig
from soar.types import Query
from soar.utils.config import check_ranges

SCENES = ("stack1", "door1")
"""A skill of each of two families that no packaged model has learned."""
Algorithm: TypeAlias = Literal["ptr", "robofume"]


def _training(algorithm: Algorithm) -> CriticTrainConfig:
    """Return an algorithm's preset, with instructions in place of task ids."""
    fit = FitConfig(
        batch_size=128, warmup_steps=200, betas=(0.9, 0.999), weight_decay=0.0, clip_norm=10.0, save_every=100
    )  # fmt: skip
    critic = replace(ALGORITHMS[algorithm](), condition="text")
    return CriticTrainConfig(critic, fit=fit)


@dataclass(frozen=True)
class NewSkillConfig:
    """Sizes of the study. A skill is a scene, all of whose tasks are learned together."""

    demonstrations: Annotated[int, Ge(1)] = 10
    """Demonstrations of the skill."""
    prior: Annotated[int, Ge(1)] = 1000
    """Demonstrations of other tasks, of the *bridge* regime."""
    attempts: Annotated[int, Ge(1)] = 50
    """Own attempts of a policy."""
    trials: Annotated[int, Ge(1)] = 25
    """Trials of each task in an evaluation."""
    workers: Annotated[int, Ge(1)] = 2
    """Processes of an evaluation."""
    algorithms: tuple[Algorithm, ...] = ("ptr",)
    """Algorithms of offline reinforcement learning; "robofume" besides or in place of "ptr"."""
    failures: Annotated[int, Ge(0)] = 30
    """Attempts of the cloned policy, judged a failure, that RoboFuME learns from besides the demonstrations."""
    clone: CoTrainConfig = field(default_factory=lambda: CoTrainConfig(autonomous_share=0.5))
    """Cloning, from the packaged policy; `autonomous_share` is that of the skill's episodes."""
    prior_steps: Annotated[int, Ge(1)] = 10_000
    """Gradient steps of an algorithm's first phase, on demonstrations of other tasks."""
    steps: Annotated[int, Ge(1)] = 2000
    """Gradient steps of each further phase."""
    ptr: CriticTrainConfig = field(default_factory=lambda: _training("ptr"))
    """PTR; the steps are those above."""
    robofume: CriticTrainConfig = field(default_factory=lambda: _training("robofume"))
    """RoboFuME; the steps are those above."""
    ptr_share: Annotated[float, Gt(0), Lt(1)] = 0.1
    """Share of the skill's episodes, own attempts included, among PTR's samples (PTR: 0.1)."""
    robofume_share: Annotated[float, Gt(0), Lt(1)] = 0.5
    """The same for RoboFuME, whose paper doesn't say it."""
    collect: CollectOptions = field(default_factory=CollectOptions)
    """Collection of own attempts."""

    def __post_init__(self) -> None:
        check_ranges(self)
        no_minutes(self.clone)


def reproduce_new_skills(
    folder: Path, scenes: Sequence[str], config: NewSkillConfig, on_message: OnMessage
) -> Path:
    """Run every arm in every scene, or what is left of it; write numbers, table and figure; return the table's path.

    Args:
        folder: folder for all of it.
        scenes: names of the scenes, or scene files.
        config: sizes.
        on_message: called with a few words before each stage.

    Raises:
        ConfigError: there is no such scene.
    """
    names = [load_scene(s).name for s in scenes]
    found = [
        learn_new_skill(folder / name, scene, config, on_message)
        for name, scene in zip(names, scenes, strict=True)
    ]
    return write_table(folder, "new-skills", {arm: [of[arm] for of in found] for arm in found[0]})


def learn_new_skill(
    folder: Path, scene: str, config: NewSkillConfig, on_message: OnMessage
) -> dict[str, Evaluation]:
    """Run every arm for the tasks of a scene, or what is left of it, and return its evaluation.

    Args:
        folder: folder of the skill; its parent has the prior.
        scene: name of the scene, or a scene file.
        config: sizes.
        on_message: called with a few words before each stage.
    """
    return _Skill(folder, scene, config, on_message).run()


class _Skill:
    """The study of one scene."""

    def __init__(
        self, folder: Path, scene: str, config: NewSkillConfig, on_message: OnMessage
    ) -> None:
        self._folder, self._scene, self._config = folder, scene, config
        self._say = on_message
        self._resolution = config.ptr.critic.resolution
        self._prior_frames = demonstrations(
            DemonstrationSet(config.prior, resolution=self._resolution)
        )

    def run(self) -> dict[str, Evaluation]:
        """Run every arm, or what is left of it."""
        c, store = self._config, self._folder / "demonstrations"
        self._say(f"{self._scene}: {c.demonstrations} demonstrations")
        collect_demonstrations(store, "dev", c.demonstrations, workers=1, scenes=(self._scene,))
        given = build_frames(
            open_store(store, read_only=True), Query(limit=c.demonstrations),
            self._resolution, self._folder / "frames", labels="commanded",
        )  # fmt: skip
        found = {"pretrained": self._evaluate("pretrained", "lcbc")}
        cloned = self._clone("cloning", "lcbc", [given])
        found["cloning"] = self._evaluate("cloning", cloned)
        own = self._attempts("cloning", cloned)
        again = self._clone("cloning + own", cloned, [given, *self._successes(own)])
        found["cloning + own"] = self._evaluate("cloning + own", again)
        for algorithm in c.algorithms:
            failures = self._failures(own) if algorithm == "robofume" else []
            found |= self._learn_offline(
                algorithm, [CriticSource("demonstrations", given), *failures]
            )
        return found

    def _learn_offline(
        self, algorithm: Algorithm, skill: Sequence[CriticSource]
    ) -> dict[str, Evaluation]:
        """Run an algorithm's arms, from a skill's demonstrations."""
        prior = self._prior(algorithm)
        taught = self._train(algorithm, algorithm, prior, skill)
        found: dict[str, Evaluation] = {algorithm: self._evaluate(algorithm, taught)}
        tried = self._critic_source(algorithm, self._attempts(algorithm, taught), "own")
        half = [replace(s, weight=0.5 / len(skill)) for s in skill]
        both, alone = f"{algorithm} + own", f"{algorithm} own alone"
        again = self._train(algorithm, both, taught, [*half, replace(tried, weight=0.5)])
        found[both] = self._evaluate(both, again)
        tried = self._critic_source(algorithm, self._attempts(f"prior {algorithm}", prior), "own")
        found[alone] = self._evaluate(alone, self._train(algorithm, alone, prior, [tried]))
        return found

    def _clone(self, arm: str, start: str, skill: Sequence[Frames]) -> str:
        """Clone the skill's episodes together with demonstrations of other tasks."""
        self._say(f"{self._scene}: {arm}")
        c, out = self._config.clone, self._folder / _name(arm)
        checkpoint = load_checkpoint(policy_spec(start).folder)
        parts = [
            Source(f"skill-{i}", frames, c.autonomous_share / len(skill))
            for i, frames in enumerate(skill)
        ]
        prior = Source("pretraining", self._prior_frames, 1 - c.autonomous_share)
        train_from(checkpoint, c, c.recipe(checkpoint), [prior, *parts], out)
        return str(out)

    def _prior(self, algorithm: Algorithm) -> str:
        """Train an algorithm's first phase."""
        self._say(f"{algorithm} on {self._config.prior} demonstrations of other tasks")
        out = self._folder.parent / f"prior-{algorithm}"
        source = CriticSource("pretraining", self._prior_frames)
        train_critic(self._recipe(algorithm, self._config.prior_steps), [source], out)
        return str(out)

    def _train(
        self, algorithm: Algorithm, arm: str, start: str, skill: Sequence[CriticSource]
    ) -> str:
        """Go on with a share of the skill's episodes."""
        self._say(f"{self._scene}: {arm}")
        share, out = self._training(algorithm)[1], self._folder / _name(arm)
        prior = CriticSource("pretraining", self._prior_frames, 1 - share)
        total = sum(s.weight for s in skill)
        parts = [replace(s, weight=share * s.weight / total) for s in skill]
        recipe = self._recipe(algorithm, self._config.steps)
        train_critic(recipe, [prior, *parts], out, start=load_checkpoint(start))
        return str(out)

    def _training(self, algorithm: Algorithm) -> tuple[CriticTrainConfig, float]:
        """Return an algorithm's training and the share of the skill's episodes."""
        c = self._config
        return (c.ptr, c.ptr_share) if algorithm == "ptr" else (c.robofume, c.robofume_share)

    def _recipe(self, algorithm: Algorithm, steps: int) -> CriticTrainConfig:
        config = self._training(algorithm)[0]
        return replace(config, fit=replace(config.fit, steps=steps))

    def _attempts(self, arm: str, policy: str) -> Run:
        """Let a policy attempt the skill's tasks, which the VLM proposes and judges."""
        c = self._config
        self._say(f"{self._scene}: {c.attempts} own attempts of {arm}")
        run = Run(self._folder / f"{_name(arm)}-attempts")
        config = RunConfig(
            scenes=(self._scene,), episodes=c.attempts, policy=policy, subgoals="none", collect=c.collect
        )  # fmt: skip
        collect_in_simulation(config, run, 1, policy, "none")
        return run

    def _successes(self, run: Run) -> list[Frames]:
        """Return the attempts that were judged a success; none where there is none."""
        try:
            return [
                build_frames(
                    open_store(run.store, read_only=True), Query(outcomes=("success",)),
                    self._resolution, run.frames,
                )
            ]  # fmt: skip
        except (ConfigError, StoreError):
            self._say(f"{self._scene}: no attempt was judged a success")
            return []

    def _failures(self, run: Run) -> list[CriticSource]:
        """Return some attempts that were judged a failure; none where there is none."""
        query = Query(outcomes=("failure",), limit=self._config.failures)
        try:
            return [self._critic_source("robofume", run, "failures", query)]
        except (ConfigError, StoreError):
            self._say(f"{self._scene}: no attempt was judged a failure")
            return []

    def _critic_source(
        self, algorithm: Algorithm, run: Run, name: str, query: Query | None = None
    ) -> CriticSource:
        store, critic = open_store(run.store, read_only=True), self._training(algorithm)[0].critic
        return critic_source(store, name, query or Query(), critic, run.frames)

    def _evaluate(self, arm: str, policy: str) -> Evaluation:
        self._say(f"{self._scene}: success of {arm}")
        config = RunConfig(
            scenes=(self._scene,), trials=self._config.trials, workers=self._config.workers,
            subgoals="none",
        )  # fmt: skip
        out = self._folder / "evaluations" / _name(arm)
        evaluate_in_simulation(config, [Candidate(policy, "none", out)])
        return open_evaluation(out)


def _name(arm: str) -> str:
    """Return the folder's name of an arm."""
    return arm.replace(" + ", "-and-").replace(" ", "-")
