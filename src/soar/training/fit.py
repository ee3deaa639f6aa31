"""`fit`: the one optimisation loop. Everything that learns here learns through it.

It knows a model's loss and a source of batches, and nothing of what either means. Batch number i is
always the same batch, and the loss draws its random numbers from (seed, i) alone, so that resuming
is starting at i: nothing has to be remembered but parameters and optimizer.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor, nn

from soar import __version__
from soar import checkpoint as checkpoints
from soar.checkpoint import Checkpoint
from soar.data.prefetch import Batches, Prefetcher, to_device
from soar.errors import CheckpointError, ConfigError, SoarError
from soar.interfaces import Learner
from soar.training.tracking import Meter, Tracker, TrackerName, open_trackers
from soar.utils.hardware import accelerator, choose_device, choose_precision
from soar.utils.progress import progress_bar

Export: TypeAlias = Callable[[], Checkpoint]
"""The model as it is now, as a checkpoint; `fit` adds its own provenance."""

STATE = "training state"


@dataclass(frozen=True)
class FitConfig:
    """How to optimise. The defaults are the paper's (B.2.2)."""

    steps: int = 500_000
    """Gradient steps; the cosine reaches zero at the last."""
    batch_size: int = 256
    """Samples a step, over all processes and accumulation parts together."""
    learning_rate: float = 3e-4
    warmup_steps: int = 2000
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 1e-3
    clip_norm: float = 1.0
    accumulate: int = 1
    """Parts a process works through one after another for each step, to save memory."""
    ema_decay: float = 0.0
    """Decay of the weights' moving average, which is then what is exported; 0 is no average."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """"auto": bf16 autocast where the device multiplies it in hardware."""
    device: str = "auto"
    """"auto": the GPU if there is one."""
    seed: int = 0
    log_every: int = 100
    save_every: int = 5000
    trackers: tuple[TrackerName, ...] = ()
    """Beside the JSONL log, which is always written."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate", "log_every", "save_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; valid: at least 1")
        if self.save_every % self.log_every:
            raise ConfigError(
                f"save_every is {self.save_every}; valid: a multiple of log_every, {self.log_every}, "
                "so that a resumed log has no gap"
            )
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(f"ema_decay is {self.ema_decay}; valid: from 0 to below 1")

    def learning_rate_at(self, step: int) -> float:
        """Linear warmup, then cosine to zero; `step` counts from 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


class FitResult(NamedTuple):
    """What a call of `fit` did."""

    step: int
    """Steps done since the beginning of training, earlier calls included."""
    loss: float
    """Mean over the last logged window."""
    samples_per_s: float
    """Over this call, logging and saving included."""
    wait_share: float
    """Share of this call's time spent waiting for data."""


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
    """Minimise a learner's loss; continues where a run in `folder` stopped.

    `folder` gets `log.jsonl`, the exported checkpoint, and in `state/` what a resume needs; None keeps
    nothing. `validation` is another source of batches, whose mean loss is logged with every save.
    A batch's "share/..." entries, 1 or 0 for each sample, are logged as what they average to.
    The learner must be a torch module. Started by `torchrun` or `accelerate launch`, every process takes
    its part of each batch, and the losses are those of one process.

    Raises:
        CheckpointError: `folder` holds the state of a run with other settings.
        SoarError: the loss is no longer finite.
    """
    if not isinstance(learner, nn.Module):
        raise ConfigError("fit needs a learner that is a torch module")
    run = _Run(learner, config, Path(folder) if folder else None, export)
    start = run.resume()
    with run.training(start) as trackers:
        prefetcher = Prefetcher(
            batches,
            config.batch_size,
            run.parts(start),
            run.device,
            depth=2 * config.accumulate + 1,
        )
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
    """Step, log, save, until the last step."""
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
            metrics = meter.read(run.mean, prefetcher.waited_s) | {
                "learning_rate": config.learning_rate_at(step)
            }
            loss = metrics["loss"]
            if not math.isfinite(loss):
                raise SoarError(
                    f"the loss is {loss} by step {done}; a lower learning_rate may help"
                )
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
    """A learner under training: its optimizer, device and processes, and how they are saved."""

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
        """The learner in training mode, and the open logs of the main process."""
        settings = dataclasses.asdict(self.config)
        trackers = (
            open_trackers(self.folder, self.config.trackers, start, settings)
            if self.folder and self.is_main
            else []
        )
        was_training = self.learner.training
        self.learner.train()
        try:
            yield trackers
        finally:
            self.learner.train(was_training)
            for tracker in trackers:
                tracker.close()

    def parts(self, start: int) -> Iterator[tuple[int, slice]]:
        """What this process reads: for each step, its accumulation parts of the batch."""
        size = self.config.batch_size // (self.world * self.config.accumulate)
        first = self.rank * self.config.accumulate
        for step in range(start, self.config.steps):
            for part in range(first, first + self.config.accumulate):
                yield step, slice(part * size, (part + 1) * size)

    def step(self, step: int, parts: Iterator[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """One gradient step; the means of its loss and metrics over this process's samples."""
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
        """Loss and metrics in the run's precision."""
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.precision == torch.bfloat16
        ):
            return cast(tuple[Tensor, dict[str, Tensor]], self.model(batch, generator))

    def generator(self, step: int, part: int) -> torch.Generator:
        """The loss's random numbers for one part of one step."""
        seed = np.random.SeedSequence((self.config.seed, step, part)).generate_state(1, np.uint64)
        return torch.Generator(self.device).manual_seed(int(seed[0]))

    def no_sync(self) -> contextlib.AbstractContextManager[Any]:
        """Keeps gradients in this process, where the next part will be added to them."""
        if self.accelerator is None:
            return contextlib.nullcontext()
        return cast(contextlib.AbstractContextManager[Any], self.accelerator.no_sync(self.model))

    def mean(self, value: Tensor) -> Tensor:
        """The mean over processes."""
        return value if self.accelerator is None else self.accelerator.reduce(value, "mean")

    @torch.no_grad()
    def validate(self, batches: Batches, count: int) -> dict[str, float]:
        """Mean loss and metrics of the exported weights over the first `count` batches."""
        self.learner.eval()
        sums: dict[str, float] = {}
        size = self.config.batch_size
        with self.averaged():
            for step in range(count):
                batch = to_device(batches(step, size, slice(0, size)), self.device)
                loss, metrics = self.loss(batch, self.generator(step, 0))
                for name, value in {"loss": loss, **metrics}.items():
                    sums[f"validation_{name}"] = (
                        sums.get(f"validation_{name}", 0.0) + float(value) / count
                    )
        self.learner.train()
        return sums

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """The learner with its moving average as weights, where there is one."""
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
        """Write the checkpoint for users and the state for a resume; every process waits for them."""
        if self.folder is not None and self.is_main:
            checkpoints.save(self.folder / "state", self.state(step))
            if self.export:
                with self.averaged():
                    exported = self.export()
                    fitted = {
                        "step": step,
                        "fit": dataclasses.asdict(self.config),
                        "code_version": __version__,
                    }
                    provenance = {**exported.provenance, **fitted}
                    checkpoints.save(
                        self.folder, dataclasses.replace(exported, provenance=provenance)
                    )
        if self.accelerator:
            self.accelerator.wait_for_everyone()

    def state(self, step: int) -> Checkpoint:
        """Everything the next step depends on."""
        tensors = {f"model.{k}": v for k, v in self.learner.state_dict().items()}
        for i, (name, p) in enumerate(zip(self.names, self.params, strict=True)):
            tensors |= {f"{k}.{name}": v for k, v in self.optimizer.state[p].items()}
            if self.ema:
                tensors[f"ema.{name}"] = self.ema[i]
        return Checkpoint(STATE, tensors, self.identity(), provenance={"step": step})

    def identity(self) -> dict[str, Any]:
        """What must be the same for a resume to make sense."""
        free = {"device", "accumulate", "log_every", "save_every", "trackers"}
        settings = {k: v for k, v in dataclasses.asdict(self.config).items() if k not in free}
        if self.export:
            exported = dataclasses.asdict(dataclasses.replace(self.export(), weights={}))
            settings |= {k: v for k, v in exported.items() if k not in ("weights", "id")}
        return cast(dict[str, Any], json.loads(json.dumps(settings)))

    def resume(self) -> int:
        """Take over the state saved in the folder, if any; returns the steps already done."""
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
    """A learner's loss as a module's forward, which is what data-parallel training wraps."""

    def __init__(self, learner: nn.Module) -> None:
        super().__init__()
        self.learner = learner

    def forward(
        self, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        return cast(Learner, self.learner).loss(batch, generator)


def _in_layout_of(p: Tensor, value: Tensor) -> Tensor:
    """A copy that lies in memory as the parameter does, which fused optimizers take for granted."""
    return torch.empty_like(p, requires_grad=False).copy_(value)
