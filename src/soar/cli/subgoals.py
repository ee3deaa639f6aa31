"""`soar subgoals`: train imaginations, look at what they imagine, measure it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from soar.errors import ConfigError
from soar.registry import COMPACT_STEPS_AHEAD

if TYPE_CHECKING:
    from soar.evaluation.subgoals.chains import Future
    from soar.evaluation.subgoals.scores import Score
    from soar.training.fit import FitConfig

TEN = tuple(str(n) for n in range(1, 11))


def train(
    frames: Path,
    out: Path,
    base: str = "",
    steps: int = 8000,
    batch_size: int = 32,
    learning_rate: float = 6e-4,
    seed: int = 0,
) -> None:
    """Train a subgoal generator on image sequences with instructions; goes on where a run stopped.

    Without a base, a compact network is trained from nothing, in pixels, at the frames' resolution. With
    one, an InstructPix2Pix model in diffusers format (SuSIE's, for one) is fine-tuned, and written to
    OUT/model. The weights for "compact" are made with `soar pretrain subgoals`, corpus and all.

    Example: `soar subgoals train --frames frames --out imagination --steps 20000`.

    Args:
        frames: a folder of frames, as `soar pretrain` and the frame cache keep them.
        out: where the checkpoint goes.
        base: folder or hub id of a model to fine-tune.
        steps: gradient steps.
        batch_size: pairs of images a step.
        learning_rate: at its peak; 1e-4 is usual for fine-tuning.
        seed: of batches, noise, and first weights.
    """
    from dataclasses import replace

    from soar.data.frame_cache import Frames
    from soar.subgoals.compact.observation_encoder import CompactSubgoalConfig
    from soar.training import subgoals as training

    def chosen(fit: FitConfig) -> FitConfig:
        return replace(
            fit, steps=steps, batch_size=batch_size, learning_rate=learning_rate, seed=seed
        )

    if base:
        tuned = training.SusieConfig()
        result = training.fine_tune_susie(base, frames, out, replace(tuned, fit=chosen(tuned.fit)))
    else:
        pixels = Frames.load(frames).resolution
        config = training.SubgoalTrainConfig(
            net=CompactSubgoalConfig(resolution=pixels, sight=pixels)
        )
        result = training.train_compact_subgoals(
            frames, out, replace(config, fit=chosen(config.fit))
        )
    print(
        f"{out}: {result.step} steps, loss {result.loss:.4f}, {result.samples_per_s:.0f} samples/s"
    )


def sheet(
    subgoals: str = "compact",
    out: Path = Path("subgoals.png"),
    scenes: tuple[str, ...] = TEN,
    tasks: int = 2,
    links: int = 5,
    ahead: int = COMPACT_STEPS_AHEAD,
    seed: int = 0,
) -> None:
    """Draw imagined chains and, below each, what a scripted expert did from the same start.

    Every image of a chain is imagined from the one before, so errors add up; in the loop each one is
    imagined from what the camera really sees.

    Args:
        subgoals: "compact", a checkpoint's folder, or "susie:FOLDER_OR_HUB_ID".
        out: the PNG to write.
        scenes: names or YAML files.
        tasks: how many of each scene's.
        links: images in a chain.
        ahead: control steps between two frames of the expert.
        seed: of placements and of the imagination.
    """
    from soar.evaluation.subgoals.chains import chain_sheet, generate_chains
    from soar.registry import load_subgoals
    from soar.utils.media import write_png

    futures = _futures(scenes, tasks, 1, seed, ahead, links)
    write_png(out, chain_sheet(generate_chains(load_subgoals(subgoals), futures, seed)))
    print(out)


def evaluate(
    subgoals: str = "compact",
    judge: Path = Path("subgoal-judge"),
    vlm: str = "compact",
    out: Path = Path("subgoals.json"),
    scenes: tuple[str, ...] = TEN,
    trials: int = 5,
    links: int = 5,
    ahead: int = COMPACT_STEPS_AHEAD,
    seed: int = 0,
) -> None:
    """Measure imagined chains against a scripted expert's futures: is the instruction fulfilled at the end?

    Asked are the loop's vision-language model, and a judge trained for this alone on the scenes it judges,
    with the simulator's answers. The judge also reads positions, which gives the errors.

    Args:
        subgoals: "compact", a checkpoint's folder, or "susie:FOLDER_OR_HUB_ID".
        judge: its folder; it is trained first if there is none.
        vlm: as for `soar vlm`; "none" asks only the judge.
        out: where the numbers go, as JSON.
        scenes: names or YAML files.
        trials: starts for each task.
        links: images in a chain.
        ahead: control steps between two frames of the expert.
        seed: of the first start, and of the imagination.
    """
    from dataclasses import asdict

    from soar.evaluation.subgoals.chains import generate_chains
    from soar.evaluation.subgoals.image_judge import train_judge
    from soar.evaluation.subgoals.scores import read_chains, score
    from soar.registry import load_subgoals, load_vlm
    from soar.sim.scenes.catalog import load_scene
    from soar.tasks.grammar import task_from_instruction
    from soar.utils.files import write_json

    eyes = None if vlm == "none" else load_vlm(vlm)
    generator = load_subgoals(subgoals)
    trained = train_judge([load_scene(s) for s in scenes], judge)
    chains = generate_chains(generator, _futures(scenes, 0, trials, seed, ahead, links), seed)
    asked = {c.future.instruction: task_from_instruction(c.future.instruction) for c in chains}
    scores = score(chains, read_chains(chains, trained, eyes, asked))
    _show(scores, trained.accuracy)
    write_json(out, {"subgoals": generator.name, "scores": [_json(asdict(s)) for s in scores]})


def _futures(
    scenes: Sequence[str], tasks: int, trials: int, seed: int, ahead: int, links: int
) -> list[Future]:
    """Futures of the scenes' first tasks, or of all of them when `tasks` is 0."""
    from dataclasses import replace

    from soar.evaluation.subgoals.chains import expert_futures
    from soar.sim.scenes.catalog import load_scene
    from soar.utils.progress import progress_bar

    loaded = [load_scene(name) for name in scenes]
    chosen = [replace(s, tasks=s.tasks[: tasks or None]) for s in loaded]
    with progress_bar() as bar:
        line = bar.add_task("expert", total=trials * sum(len(s.tasks) for s in chosen), note="")
        futures = []
        for future in expert_futures(chosen, trials, seed, ahead, links):
            futures.append(future)
            bar.advance(line)
    if not futures:
        raise ConfigError(
            "the expert fulfilled none of these tasks; choose other scenes or more trials"
        )
    return futures


def _show(scores: Sequence[Score], accuracy: float) -> None:
    import rich
    from rich.table import Table

    table = Table(box=None)
    for name in ("scene", "instruction", "n", "judge", "expert", "VLM", "expert", "hand", "thing"):
        table.add_column(name, justify="left" if name in ("scene", "instruction") else "right")
    for s in [*scores, _mean(scores)]:
        shares = (s.imagined, s.expert, s.vlm_imagined, s.vlm_expert)
        table.add_row(
            s.scene, s.instruction, str(s.chains), *(f"{x:.2f}" for x in shares),
            f"{s.first_hand_error:.3f}", f"{s.last_thing_error:.3f}",
        )  # fmt: skip
    rich.print(table)
    print(f"The judge is right on {accuracy:.1%} of looks that it was not trained on.")


def _mean(scores: Sequence[Score]) -> Score:
    import numpy as np

    from soar.evaluation.subgoals.scores import Score

    weights = [s.chains for s in scores]
    names = (
        "imagined", "expert", "vlm_imagined", "vlm_expert", "first_hand_error", "last_thing_error",
    )  # fmt: skip
    means = {n: float(np.average([getattr(s, n) for s in scores], weights=weights)) for n in names}
    return Score("all", "", sum(weights), **means)


def _json(row: dict[str, object]) -> dict[str, object]:
    """JSON has no NaN."""
    return {k: None if v != v else v for k, v in row.items()}
