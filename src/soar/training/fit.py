"""`fit`: the optimization loop of every model in this package.

It knows nothing of a model but its loss, and nothing of the data but a source of batches. Batch i is always the same,
and the loss draws its random numbers from (seed, i), so that resuming needs only the parameters, their moving average
and the optimizer's state.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, cast

import numpy as np
import torch
from annotated_types import Ge, Lt
from torch import Tensor, nn

from soar import __version__
from soar import checkpoint as checkpoints
from soar.checkpoint import Checkpoint
from soar.data.prefetch import Batches, Prefetcher, to_device
from soar.errors import CheckpointError, ConfigError, SoarError
from soar.interfaces import Learner
from soar.training.tracking import Meter, Tracker, TrackerName, open_trackers
from soar.utils.config import check_ranges
from soar.utils.hardware import accelerator, choose_device, choose_precision
from soar.utils.progress import progress_bar

Export: TypeAlias = Callable[[], Checkpoint]
"""Returns the current model as a checkpoint; `fit` adds its own provenance."""

AtLeastOne: TypeAlias = Annotated[int, Ge(1)]
STATE = "training state"
"""Kind of the checkpoints that hold a training state."""


@dataclass(frozen=True)
class FitConfig:
    """Optimization by AdamW with linear warmup and cosine decay. The defaults are the paper's (B.2.2)."""

    steps: AtLeastOne = 500_000
    """Gradient steps; the learning rate reaches zero at the last."""
    batch_size: AtLeastOne = 256
    """Samples per step, over all processes and accumulation parts."""
    learning_rate: float = 3e-4
    """Learning rate after warmup."""
    warmup_steps: int = 2000
    """Gradient steps of linear warmup."""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW's decay rates of the moments."""
    weight_decay: float = 1e-3
    """AdamW's weight decay."""
    clip_norm: float = 1.0
    """Largest norm of the gradient."""
    accumulate: AtLeastOne = 1
    """Parts of a process's samples in a step that are computed one after another, to save memory."""
    ema_decay: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Decay of the weights' moving average, which is exported in their place; 0 is no average."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Precision of the forward pass; "auto" is bf16 autocast if the device multiplies bf16 in hardware."""
    device: str = "auto"
    """Device; "auto" is the GPU if there is one."""
    seed: int = 0
    """Seed of initial weights, batches and losses."""
    log_every: AtLeastOne = 100
    """Gradient steps between two log entries."""
    save_every: AtLeastOne = 5000
    """Gradient steps between two checkpoints."""
    trackers: tuple[TrackerName, ...] = ()
    """Trackers beside the JSONL log, which is always written."""

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
    validation_batches: int = 8,
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
        validation_batches: number of its batches.

    Raises:
        CheckpointError: `folder` holds a run with other settings.
        SoarError: the loss is no longer finite.
    """
    if not isinstance(learner, nn.Module):
        raise ConfigError("fit needs a learner that is a torch module")
    run = _Run(learner, config, Path(folder) if folder else None, export)
    start = run.resume()
    with run.training(start) as trackers:
        depth = 2 * config.accumulate + 1
        prefetcher = Prefetcher(batches, config.batch_size, run.parts(start), run.device, depth)
        try:
            return _loop(run, prefetcher, trackers, start, validation, validation_batches)
        finally:
            prefetcher.close()


def _loop(
    run: _Run,
    prefetcher: Prefetcher,
    trackers: list[Tracker],
    start: int,
    validation: Batches | None,
    validation_batches: int,
) -> FitResult:
    """Train, log and save until the last step."""
    config = run.config
    parts = iter(prefetcher)
    meter = Meter(config.batch_size)
    loss = math.nan
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
            if done % config.save_every == 0 or last:
                if validation is not None:
                    metrics |= run.validate(validation, validation_batches)
                run.save(done)
            for tracker in trackers:
                tracker.log(done, metrics)
            note = f"loss {loss:.4f}  {metrics['samples_per_s']:.0f} samples/s"
            bar.update(task, note=note)
    return FitResult(max(start, config.steps), loss, *meter.total(prefetcher.waited_s))


class _Run:
    """A learner in training with its optimizer, device and processes, and its training state."""

    def __init__(
        self, learner: nn.Module, config: FitConfig, folder: Path | None, export: Export | None
    ) -> None:
        self.config, self.folder, self.export = config, folder, export
        self.accelerator = accelerator(config.device)
        self.device = self.accelerator.device if self.accelerator else choose_device(config.device)
        self.world = self.accelerator.num_processes if self.accelerator else 1
        self.rank = self.accelerator.process_index if self.accelerator else 0
        self.is_main = self.rank == 0
        if config.batch_size % (self.world * config.accumulate):
            raise ConfigError(
                f"batch_size is {config.batch_size}; valid: a multiple of processes x accumulate, "
                f"{self.world} x {config.accumulate}"
            )
        self.learner = learner.to(self.device)
        self.names = [n for n, p in learner.named_parameters() if p.requires_grad]
        self.params = [p for p in learner.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.params,
            lr=config.learning_rate,
            betas=config.betas,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.ema = [p.detach().clone() for p in self.params] if config.ema_decay else []
        self.precision = choose_precision(config.precision, self.device)
        self.model: nn.Module = _Loss(learner)
        if self.accelerator:
            self.model = self.accelerator.prepare_model(self.model)

    @contextlib.contextmanager
    def training(self, start: int) -> Iterator[list[Tracker]]:
        """Put the learner into training mode, and open the main process's trackers."""
        trackers: list[Tracker] = []
        if self.folder and self.is_main:
            settings = dataclasses.asdict(self.config)
            trackers = open_trackers(self.folder, self.config.trackers, start, settings)
        was_training = self.learner.training
        self.learner.train()
        try:
            yield trackers
        finally:
            self.learner.train(was_training)
            for tracker in trackers:
                tracker.close()

    def parts(self, start: int) -> Iterator[tuple[int, slice]]:
        """Yield step and rows of each accumulation part that this process reads."""
        size = self.config.batch_size // (self.world * self.config.accumulate)
        first = self.rank * self.config.accumulate
        for step in range(start, self.config.steps):
            for part in range(first, first + self.config.accumulate):
                yield step, slice(part * size, (part + 1) * size)

    def step(self, step: int, parts: Iterator[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Take a gradient step and return the means of its loss and metrics over this process's samples."""
        config = self.config
        means: dict[str, Tensor] = {}
        for part in range(config.accumulate):
            generator = self.generator(step, self.rank * config.accumulate + part)
            last = part + 1 == config.accumulate
            with contextlib.nullcontext() if last else self.no_sync():
                batch = next(parts)
                loss, metrics = self.loss(batch, generator)
                (loss / config.accumulate).backward()  # type: ignore[no-untyped-call]
            shares = {k: v for k, v in batch.items() if k.startswith("share/")}
            for name, value in {"loss": loss, **metrics, **shares}.items():
                means[name] = means.get(name, 0) + value.detach().float().mean() / config.accumulate
        means["grad_norm"] = nn.utils.clip_grad_norm_(self.params, config.clip_norm)
        self.optimizer.param_groups[0]["lr"] = config.learning_rate_at(step)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema:
            decay = min(config.ema_decay, (step + 1) / (step + 10))
            torch._foreach_lerp_(self.ema, [p.detach() for p in self.params], 1 - decay)
        return means

    def loss(
        self, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return loss and metrics, computed in the run's precision."""
        bf16 = self.precision == torch.bfloat16
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            return cast(tuple[Tensor, dict[str, Tensor]], self.model(batch, generator))

    def generator(self, step: int, part: int) -> torch.Generator:
        """Return the loss's random generator for a part of a step."""
        seed = np.random.SeedSequence((self.config.seed, step, part)).generate_state(1, np.uint64)
        return torch.Generator(self.device).manual_seed(int(seed[0]))

    def no_sync(self) -> contextlib.AbstractContextManager[Any]:
        """Skip the gradients' synchronization between processes, for all but the last part."""
        if self.accelerator is None:
            return contextlib.nullcontext()
        return cast(contextlib.AbstractContextManager[Any], self.accelerator.no_sync(self.model))

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean over processes."""
        return value if self.accelerator is None else self.accelerator.reduce(value, "mean")

    @torch.no_grad()
    def validate(self, batches: Batches, count: int) -> dict[str, float]:
        """Return mean loss and metrics of the exported weights over the first `count` batches."""
        self.learner.eval()
        means: dict[str, float] = {}
        size = self.config.batch_size
        with self.averaged():
            for step in range(count):
                batch = to_device(batches(step, size, slice(0, size)), self.device)
                loss, metrics = self.loss(batch, self.generator(step, 0))
                for name, value in {"loss": loss, **metrics}.items():
                    means[name] = means.get(name, 0.0) + float(value) / count
        self.learner.train()
        return {f"validation_{name}": mean for name, mean in means.items()}

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Replace the learner's weights by their moving average, if there is one."""
        kept = [p.detach().clone() for p in self.params] if self.ema else []
        with torch.no_grad():
            for p, average in zip(self.params, self.ema, strict=False):
                p.copy_(average)
            try:
                yield
            finally:
                for p, own in zip(self.params, kept, strict=False):
                    p.copy_(own)

    def save(self, step: int) -> None:
        """Write the training state and the exported checkpoint; every process waits for them."""
        if self.folder is not None and self.is_main:
            checkpoints.save(self.folder / "state", self.state(step))
            if self.export:
                with self.averaged():
                    exported = self.export()
                    provenance = {
                        **exported.provenance,
                        "step": step,
                        "fit": dataclasses.asdict(self.config),
                        "code_version": __version__,
                    }
                    checkpoints.save(
                        self.folder, dataclasses.replace(exported, provenance=provenance)
                    )
        if self.accelerator:
            self.accelerator.wait_for_everyone()

    def state(self, step: int) -> Checkpoint:
        """Return everything that the next step depends on."""
        tensors = {f"model.{k}": v for k, v in self.learner.state_dict().items()}
        for i, (name, p) in enumerate(zip(self.names, self.params, strict=True)):
            tensors |= {f"{k}.{name}": v for k, v in self.optimizer.state[p].items()}
            if self.ema:
                tensors[f"ema.{name}"] = self.ema[i]
        return Checkpoint(STATE, tensors, self.identity(), provenance={"step": step})

    def identity(self) -> dict[str, Any]:
        """Return the settings and provenance that must be the same for a resume."""
        free = {"device", "accumulate", "log_every", "save_every", "trackers"}
        settings = {k: v for k, v in dataclasses.asdict(self.config).items() if k not in free}
        if self.export:
            exported = dataclasses.asdict(dataclasses.replace(self.export(), weights={}))
            settings |= {k: v for k, v in exported.items() if k not in ("weights", "id")}
        return cast(dict[str, Any], json.loads(json.dumps(settings)))

    def resume(self) -> int:
        """Load the state in the folder, if there is one, and return the number of steps done."""
        if self.folder is None or not checkpoints.exists(self.folder / "state"):
            return 0
        state = checkpoints.load(self.folder / "state", STATE)
        for name, value in self.identity().items():
            if state.config.get(name) != value:
                raise CheckpointError(
                    f"{self.folder} was trained with {name} {state.config.get(name)}, not {value}; "
                    "use the same settings or another folder"
                )
        tensors: dict[str, dict[str, Tensor]] = {}
        for key, value in state.weights.items():
            kind, _, name = key.partition(".")
            tensors.setdefault(kind, {})[checkpoints.present_key(self.learner, name)] = value
        checkpoints.load_weights(self.learner, dataclasses.replace(state, weights=tensors["model"]))
        for i, (name, p) in enumerate(zip(self.names, self.params, strict=True)):
            self.optimizer.state[p] = {
                "step": tensors["step"][name].to("cpu" if p.is_cpu else p.device),
                "exp_avg": _in_layout_of(p, tensors["exp_avg"][name]),
                "exp_avg_sq": _in_layout_of(p, tensors["exp_avg_sq"][name]),
            }
            if self.ema:
                self.ema[i].copy_(tensors["ema"][name])
        return int(state.provenance["step"])


class _Loss(nn.Module):
    """A learner's loss as a module's forward, which data-parallel training wraps."""

    def __init__(self, learner: nn.Module) -> None:
        super().__init__()
        self.learner = learner

    def forward(
        self, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        return cast(Learner, self.learner).loss(batch, generator)


def _in_layout_of(p: Tensor, value: Tensor) -> Tensor:
    """Copy a tensor into the parameter's memory layout, which fused optimizers assume."""
    return torch.empty_like(p, requires_grad=False).copy_(value)
