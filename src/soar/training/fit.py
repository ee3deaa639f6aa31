"""`fit`: the optimization loop of every model in this package.

It knows nothing of a model but its loss, and nothing of the data but a source of batches. Batch i is always the same,
and the loss draws its random numbers from (seed, i), so that resuming needs only the parameters, their moving average
and the optimizer's state.
"""

from __future__ import annotations

import copy
import json
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, TypeAlias

from annotated_types import Ge, Gt, Lt
from torch import nn

from soar.data.prefetch import Batches, Prefetcher
from soar.errors import ConfigError, SoarError
from soar.interfaces import Learner
from soar.training.fit_run import Export, FitRun
from soar.training.tracking import Meter, Tracker, TrackerName
from soar.utils.config import check_ranges
from soar.utils.files import write_json
from soar.utils.hardware import launched_processes
from soar.utils.progress import progress_bar

AtLeastOne: TypeAlias = Annotated[int, Ge(1)]


@dataclass(frozen=True)
class FitConfig:
    """Optimization by AdamW with linear warmup and cosine decay. The defaults are the paper's (B.2.2)."""

    steps: AtLeastOne = 500_000
    """Gradient steps; the learning rate reaches zero at the last."""
    hours: Annotated[float, Ge(0)] = 0.0
    """Duration [h]: a few steps are timed, and `steps` is reduced to what fits into the rest; 0 for no limit."""
    batch_size: AtLeastOne = 256
    """Samples per step, over all processes and accumulation parts."""
    learning_rate: Annotated[float, Gt(0)] = 3e-4
    """Learning rate after warmup."""
    warmup_steps: Annotated[int, Ge(0)] = 2000
    """Gradient steps of linear warmup."""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW's decay rates of the moments."""
    weight_decay: Annotated[float, Ge(0)] = 1e-3
    """AdamW's weight decay."""
    clip_norm: Annotated[float, Gt(0)] = 1.0
    """Largest norm of the gradient."""
    accumulate: AtLeastOne = 1
    """Parts of a process's samples in a step that are computed one after another, to save memory."""
    ema_decay: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Decay of the weights' moving average, which is exported in their place; 0 is no average."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Precision of the forward pass; "auto" is bf16 autocast if the device multiplies bf16 in hardware."""
    device: str = "auto"
    """Device; "auto" is the GPU if there is one."""
    seed: Annotated[int, Ge(0)] = 0
    """Seed of initial weights, batches and losses."""
    log_every: AtLeastOne = 100
    """Gradient steps between two log entries."""
    save_every: AtLeastOne = 5000
    """Gradient steps between two checkpoints."""
    trackers: tuple[TrackerName, ...] = ()
    """Trackers besides the JSONL log, which is always written."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.save_every % self.log_every:
            raise ConfigError(
                f"save_every is {self.save_every}; valid: a multiple of log_every, {self.log_every}, "
                "so that a resumed log has no gap"
            )

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0: linear warmup, then cosine decay to zero."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


class FitResult(NamedTuple):
    """Result of a call of `fit`."""

    step: int
    """Gradient steps in total, earlier calls included."""
    loss: float
    """Mean loss since the log entry before the last."""
    samples_per_s: float
    """Throughput of this call, logging and saving included."""
    wait_share: float
    """Share of this call's time that was spent waiting for data."""


def fit(
    learner: Learner,
    batches: Batches,
    config: FitConfig,
    folder: str | Path | None = None,
    *,
    export: Export | None = None,
    validation: Batches | None = None,
) -> FitResult:
    """Minimize a learner's loss, or resume the run in `folder`.

    Started by `torchrun` or `accelerate launch`, every process takes its part of each batch, and the losses are the
    same as those of one process.

    Args:
        learner: model and loss; a torch module.
        batches: training data. A batch's "share/..." entries, 1 or 0 for each sample, are logged as their mean.
        config: optimization.
        folder: gets `log.jsonl`, the exported checkpoint, and the training state in `state/`; None keeps nothing.
        export: makes the checkpoint; None keeps the training state alone.
        validation: data whose mean loss is logged with every save.

    Raises:
        CheckpointError: `folder` holds a run with other settings.
        SoarError: the loss is no longer finite.
    """
    if not isinstance(learner, nn.Module):
        raise ConfigError("fit needs a learner that is a torch module")
    if config.hours:
        config = _within_hours(learner, batches, config, Path(folder) if folder else None)
    run = FitRun(learner, config, Path(folder) if folder else None, export)
    start = run.resume()
    run.complete_export(start)
    with run.training(start) as trackers:
        depth = 2 * config.accumulate + 1
        prefetcher = Prefetcher(batches, config.batch_size, run.parts(start), run.device, depth)
        try:
            return _loop(run, prefetcher, trackers, start, validation)
        finally:
            prefetcher.close()


_TIMED_STEPS = 20
_WARMUP_PART = 10
"""Inverse of the largest share of warmup steps where the steps are reduced."""


def _within_hours(
    learner: Learner, batches: Batches, config: FitConfig, folder: Path | None
) -> FitConfig:
    """Reduce the steps to what fits into `hours`; a resumed run keeps its number.

    Raises:
        ConfigError: there are several processes, whose paces differ.
    """
    if launched_processes() > 1:
        raise ConfigError("hours needs a single process; give steps instead")
    path = folder / "pace.json" if folder else None
    if path and path.exists():
        found = json.loads(path.read_text())
        warmup = found.get("warmup_steps", config.warmup_steps)  # missing in older ones
        return replace(config, hours=0.0, steps=int(found["steps"]), warmup_steps=int(warmup))
    timed = replace(
        config, hours=0.0, steps=_TIMED_STEPS, log_every=_TIMED_STEPS, save_every=_TIMED_STEPS
    )
    began = time.monotonic()
    pace = fit(copy.deepcopy(learner), batches, timed).samples_per_s / config.batch_size
    left_s = config.hours * 3600 - (time.monotonic() - began)
    steps = int(left_s * pace) // config.save_every * config.save_every
    steps, warmup = min(config.steps, max(config.save_every, steps)), config.warmup_steps
    if steps < config.steps:
        warmup = min(warmup, steps // _WARMUP_PART)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        found = {"steps_per_s": pace, "hours": config.hours, "steps": steps, "warmup_steps": warmup}
        write_json(path, found)
    return replace(config, hours=0.0, steps=steps, warmup_steps=warmup)


def _loop(
    run: FitRun,
    prefetcher: Prefetcher,
    trackers: list[Tracker],
    start: int,
    validation: Batches | None,
) -> FitResult:
    """Train, log and save until the last step."""
    config = run.config
    parts = iter(prefetcher)
    meter = Meter(config.batch_size)
    loss = run.logged_loss(start)
    bar = progress_bar()
    bar.disable = not run.is_main
    with bar:
        task = bar.add_task("fit", total=config.steps, completed=start, note="")
        for step in range(start, config.steps):
            meter.add(run.step(step, parts))
            done = step + 1
            last = done == config.steps
            bar.advance(task)
            if done % config.log_every and not last:
                continue
            metrics = meter.read(run.mean, prefetcher.waited_s)
            metrics["learning_rate"] = config.learning_rate_at(step)
            loss = metrics["loss"]
            if not math.isfinite(loss):
                raise SoarError(f"the loss is {loss} by step {done}; lower learning_rate")
            if (done % config.save_every == 0 or last) and validation is not None:
                metrics |= run.validate(validation)
            for tracker in trackers:
                tracker.log(done, metrics)
            if done % config.save_every == 0 or last:
                run.save(
                    done
                )  # after the log, whose entries behind the last state a resume removes
            note = f"loss {loss:.4f}  {metrics['samples_per_s']:.0f} samples/s"
            bar.update(task, note=note)
    return FitResult(max(start, config.steps), loss, *meter.total(prefetcher.waited_s))
