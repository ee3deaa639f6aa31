"""Sequences of tasks in a scene that is never reset, as in CALVIN: how many tasks in a row a policy does.

FOLDER/sequences.json    the setting, and the rates
FOLDER/sequences.jsonl   one line for each sequence
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from soar.errors import ConfigError
from soar.evaluation.envs import SimEvalEnv
from soar.evaluation.results import EvalSetting
from soar.evaluation.runner import LOCKSTEP, EvalSpec, EvalWorker
from soar.rollout.contracts import require_contracts
from soar.rollout.fixed_task import fixed_station, run_fixed_tasks
from soar.rollout.station import EpisodeConfig
from soar.sim.layout import is_feasible
from soar.utils.config import from_plain
from soar.utils.files import append_lines, read_json, read_lines, write_json
from soar.utils.progress import progress_bar
from soar.utils.statistics import Interval, wilson

SETTING, SEQUENCES = "sequences.json", "sequences.jsonl"


@dataclass(frozen=True)
class TaskSequence:
    """Tasks that were tried one after another from one start, the last of which failed unless all succeeded."""

    scene: str
    seed: int
    instructions: tuple[str, ...]
    done: int
    """Number of tasks that were done at the end of their attempt."""


class SequenceRates(NamedTuple):
    """Success of many sequences."""

    at_least: tuple[Interval, ...]
    """Share of the sequences with at least 1, 2, ... tasks done."""
    mean: float
    """Mean number of tasks done (CALVIN's average length)."""
    sequences: int


def evaluate_sequences(
    spec: EvalSpec, setting: EvalSetting, folder: Path, length: int
) -> list[TaskSequence]:
    """Run the sequences that `folder` lacks, and return all of them.

    A sequence begins at a start of an evaluation, with a task that is possible there. Each further task is drawn among
    those that are possible in the scene as the arm left it, untried ones first; the arm goes home in between.
    Draws depend on the start and the tasks done, not on the policy.

    Args:
        spec: models and simulated environments.
        setting: scenes, number of sequences in each (`trials`), seeds and length of a task's attempt.
        folder: folder of the result.
        length: most tasks in a row.

    Raises:
        ConfigError: the folder holds sequences of another setting, or the environments aren't simulated.
    """
    stated = {"setting": {**asdict(setting), "trials": None, "details": None}, "length": length}
    _claim(folder, stated)
    done = read_sequences(folder)
    known = {(s.scene, s.seed) for s in done}
    config = EpisodeConfig(
        setting.subgoals_per_trial, setting.steps_per_subgoal, home_at_end=False
    )  # fmt: skip
    worker = EvalWorker(spec, folder, config, video_size=0)
    seeds = range(setting.first_seed, setting.first_seed + setting.trials)
    with progress_bar() as bar:
        row = bar.add_task("sequences", total=len(seeds) * len(setting.scenes), note="")
        bar.update(row, completed=len(known))
        try:
            for scene in setting.scenes:
                missing = [s for s in seeds if (scene, s) not in known]
                for first in range(0, len(missing), LOCKSTEP):
                    batch = missing[first : first + LOCKSTEP]
                    made = _run(worker, scene, batch, length, lambda n: bar.update(row, note=n))
                    append_lines(folder / SEQUENCES, [asdict(s) for s in made])
                    bar.update(row, advance=len(made))
        finally:
            worker.close()
    done = read_sequences(folder)
    write_json(folder / SETTING, {**stated, "rates": rates(done, length)._asdict()})
    return done


def read_sequences(folder: Path) -> list[TaskSequence]:
    """Return the finished sequences of a folder."""
    path = folder / SEQUENCES
    return list(from_plain(tuple[TaskSequence, ...], read_lines(path), path))


def rates(sequences: Sequence[TaskSequence], length: int) -> SequenceRates:
    """Return the shares of sequences with at least k tasks done, and the mean number."""
    done = [s.done for s in sequences]
    shares = tuple(wilson(sum(d >= k for d in done), len(done)) for k in range(1, length + 1))
    return SequenceRates(shares, float(np.mean(done)) if done else 0.0, len(done))


def _claim(folder: Path, stated: dict[str, object]) -> None:
    """Begin, continue or extend a folder. Raises ConfigError: it holds sequences of another setting."""
    path = folder / SETTING
    if not path.exists():
        write_json(path, stated)
    elif not _extends(json.loads(json.dumps({**stated, "rates": None})), read_json(path)):
        raise ConfigError(f"{folder} holds sequences of another setting; choose another folder")


def _extends(stated: Any, known: Any) -> bool:
    """Return whether a setting is the known one, perhaps with further tasks, such as those of more random scenes."""
    try:
        same = {**known["setting"], "tasks": None} == {**stated["setting"], "tasks": None}
        more = all(task in stated["setting"]["tasks"] for task in known["setting"]["tasks"])
    except (TypeError, KeyError):
        return False
    return bool(
        same and more and {**known, "setting": None, "rates": None} == {**stated, "setting": None}
    )


def _run(
    worker: EvalWorker,
    scene: str,
    seeds: Sequence[int],
    length: int,
    on_note: Callable[[str], None],
) -> list[TaskSequence]:
    """Run sequences in lockstep; those that failed a task, or in which no further one is possible, drop out."""
    worker.open_envs(scene, len(seeds))
    chains = [_Chain(env, seed) for env, seed in zip(worker.envs, seeds, strict=False)]
    require_contracts([(scene, c.env.robot) for c in chains], worker.policy)
    rng = np.random.default_rng((seeds[0], crc32(scene.encode())))
    for index in range(length):
        live = [c for c in chains if c.done == index and c.begin()]
        if not live:
            break
        on_note(f"scene {scene}, task {index + 1}, {len(live)} of {len(chains)} go on")
        run_fixed_tasks(
            [
                fixed_station(str(c.seed), c.env.robot, c.tried[-1], scene, c.seed)
                for c in live
            ],
            worker.policy,
            worker.subgoals_for([c.env for c in live]),
            worker.episode_config.at(live[0].env.robot.period_s),
            rng,
        )  # fmt: skip
        for chain in live:
            chain.done += chain.env.fulfilled()
    return [TaskSequence(scene, c.seed, tuple(c.tried), c.done) for c in chains]


class _Chain:
    """A running sequence."""

    def __init__(self, env: object, seed: int) -> None:
        if not isinstance(env, SimEvalEnv):
            raise ConfigError("sequences are evaluated in the simulated world only")
        self.env, self.seed = env, seed
        self.tried: list[str] = []
        self.done = 0
        self._rng = np.random.default_rng(seed)

    def begin(self) -> bool:
        """Set the next task; False if none is possible."""
        tasks = self.env.scene.tasks
        if not self.tried:
            first = tasks[int(self._rng.integers(len(tasks)))]
            self.env.reset(first.instruction, self.seed)
            self.tried.append(first.instruction)
            return True
        self.env.robot.home()
        possible = [t.instruction for t in tasks if is_feasible(self.env.world, t.goal)]
        fresh = [t for t in possible if t not in self.tried] or possible
        if not fresh or self.env.world.objects_lost():
            return False
        self.tried.append(fresh[int(self._rng.integers(len(fresh)))])
        self.env.set_task(self.tried[-1])
        return True
