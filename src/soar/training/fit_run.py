"""State of a run of `fit`: learner, optimizer and processes, and what is written to resume them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from soar import __version__
from soar import checkpoint as checkpoints
from soar.checkpoint import Checkpoint
from soar.contract.contract import WIDOWX
from soar.data.prefetch import Batches, to_device
from soar.errors import CheckpointError, ConfigError
from soar.interfaces import Learner
from soar.nn.draws import PartGenerator
from soar.training.tracking import Tracker, open_trackers
from soar.utils.config import flat
from soar.utils.files import read_lines
from soar.utils.hardware import accelerator, choose_device, choose_precision

if TYPE_CHECKING:
    from soar.training.fit import FitConfig

Export: TypeAlias = Callable[[], Checkpoint]
"""Returns the current model as a checkpoint; `fit` adds its own provenance."""

STATE = "training state"
"""Kind of the checkpoints that hold a training state."""
_VALIDATION_BATCHES = 8


@runtime_checkable
class StagedLearner(Protocol):
    """A learner of several parts: with learning rates of their own, or a target network that follows the weights."""

    @property
    def learning_rate_scales(self) -> Mapping[str, float]:
        """Learning rates relative to the configuration's, by the beginning of the parameters' names."""

    def after_step(self) -> None:
        """Update the parts that have no gradient, after every step of the optimizer."""


class FitRun:
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
            self.parameter_groups(),
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

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameters by the scale of their learning rate."""
        learner = self.learner
        scales = learner.learning_rate_scales if isinstance(learner, StagedLearner) else {}
        groups: dict[float, list[nn.Parameter]] = {}
        for name, p in zip(self.names, self.params, strict=True):
            scale = next((s for start, s in scales.items() if name.startswith(start)), 1.0)
            groups.setdefault(scale, []).append(p)
        return [{"params": params, "scale": scale} for scale, params in groups.items()]

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
            generator = self.generator(step, part)
            last = part + 1 == config.accumulate
            with contextlib.nullcontext() if last else self.no_sync():
                batch = next(parts)
                loss, metrics = self.loss(batch, generator)
                (loss / config.accumulate).backward()  # type: ignore[no-untyped-call]
            shares = {k: v for k, v in batch.items() if k.startswith("share/")}
            for name, value in {"loss": loss, **metrics, **shares}.items():
                means[name] = means.get(name, 0) + value.detach().float().mean() / config.accumulate
        means["grad_norm"] = nn.utils.clip_grad_norm_(self.params, config.clip_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = group["scale"] * config.learning_rate_at(step)
        self.optimizer.step()
        if isinstance(self.learner, StagedLearner):
            self.learner.after_step()
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

    def generator(self, step: int, part: int | None = None) -> torch.Generator:
        """Return the loss's random generator for this process's part of a step; None is the whole step."""
        seed = np.random.SeedSequence((self.config.seed, step, 0)).generate_state(1, np.uint64)
        generator = PartGenerator(self.device)
        if part is not None:
            generator.part = self.rank * self.config.accumulate + part
            generator.parts = self.world * self.config.accumulate
        generator.manual_seed(int(seed[0]))
        return generator

    def no_sync(self) -> contextlib.AbstractContextManager[Any]:
        """Skip the gradients' synchronization between processes, for all but the last part."""
        if self.accelerator is None:
            return contextlib.nullcontext()
        return cast(contextlib.AbstractContextManager[Any], self.accelerator.no_sync(self.model))

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean over processes."""
        return value if self.accelerator is None else self.accelerator.reduce(value, "mean")

    @torch.no_grad()
    def validate(self, batches: Batches) -> dict[str, float]:
        """Return mean loss and metrics of the exported weights over the first eight batches."""
        self.learner.eval()
        means: dict[str, float] = {}
        size = self.config.batch_size
        with self.averaged():
            for step in range(_VALIDATION_BATCHES):
                batch = to_device(batches(step, size, slice(0, size)), self.device)
                loss, metrics = self.loss(batch, self.generator(step))
                for name, value in {"loss": loss, **metrics}.items():
                    means[name] = means.get(name, 0.0) + float(value) / _VALIDATION_BATCHES
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
            self.write_export(step)
        if self.accelerator:
            self.accelerator.wait_for_everyone()

    def write_export(self, step: int) -> None:
        """Write the exported checkpoint."""
        if self.folder is None or self.export is None:
            return
        with self.averaged():
            exported = self.export()
            provenance = {
                **exported.provenance,
                "step": step,
                "fit": dataclasses.asdict(self.config),
                "code_version": __version__,
            }
            checkpoints.save(self.folder, dataclasses.replace(exported, provenance=provenance))

    def complete_export(self, start: int) -> None:
        """Write the checkpoint of a resumed state, unless it was written before the interruption."""
        if start and self.is_main and self.folder and self.exported_step() != start:
            self.write_export(start)
        if self.accelerator:
            self.accelerator.wait_for_everyone()

    def exported_step(self) -> int | None:
        """Return the gradient steps of the checkpoint in the folder; None if there is no intact one."""
        try:
            step = checkpoints.load(self.folder or "").provenance.get("step")
        except CheckpointError:
            return None
        return step if isinstance(step, int) else None

    def logged_loss(self, start: int) -> float:
        """Return the loss logged last up to step `start`; NaN if there is none."""
        rows = read_lines(self.folder / "log.jsonl") if self.folder else []
        return next((r["loss"] for r in reversed(rows) if r["step"] <= start), math.nan)

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
        free = {"device", "accumulate", "log_every", "save_every", "trackers", "hours"}
        settings = {k: v for k, v in dataclasses.asdict(self.config).items() if k not in free}
        if self.export:
            exported = dataclasses.asdict(dataclasses.replace(self.export(), weights={}))
            settings |= {k: v for k, v in exported.items() if k not in ("weights", "id")}
            if exported["contract"] == dataclasses.asdict(WIDOWX):
                del settings["contract"]  # as before there were contracts
        return cast(dict[str, Any], json.loads(json.dumps(settings)))

    def resume(self) -> int:
        """Load the state in the folder, if there is one, and return the number of steps done."""
        if self.folder is None or not checkpoints.exists(self.folder / "state"):
            return 0
        state = checkpoints.load(self.folder / "state", STATE)
        config = getattr(self.learner, "config", None)
        for name, value in self.identity().items():
            default = _defaults(config) if name == "config" else None
            saved = state.config.get(name)
            if name == "provenance":
                saved, value = _without_versions(saved), _without_versions(value)
            if not _agrees(saved, value, default):
                changed = "; ".join(_differences(saved, value, name))
                raise CheckpointError(
                    f"{self.folder} was trained with other settings ({changed}); use the same ones or another folder"
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


def _defaults(config: object) -> Any:
    """Return the defaults of a configuration's class as plain data; None if it has none."""
    try:
        return json.loads(json.dumps(dataclasses.asdict(type(config)())))  # type: ignore[call-overload]
    except TypeError:
        return None


def _without_versions(value: Any) -> Any:
    """Leave out the versions of the stores: one that has grown may still give the same episodes."""
    if not isinstance(value, dict):
        return value
    versions = ("store_version", "version")
    return {k: _without_versions(v) for k, v in value.items() if k not in versions}


def _differences(saved: Any, now: Any, name: str) -> list[str]:
    """Return the settings that differ, each as "name: saved, now present"; new or gone ones if no others do."""
    before, after = flat({name: saved}), flat({name: now})
    changed = [k for k in before if k in after and before[k] != after[k]]
    names = changed or sorted(before.keys() ^ after.keys())
    return [f"{k}: {before.get(k)}, now {after.get(k)}" for k in names]


def _agrees(saved: Any, now: Any, default: Any) -> bool:
    """Whether a saved setting equals the current one; one that an earlier version didn't have must have its default."""
    if not (isinstance(saved, dict) and isinstance(now, dict) and isinstance(default, dict)):
        return bool(saved == now)
    return saved.keys() <= now.keys() and all(
        _agrees(saved[k], v, default.get(k)) if k in saved else v == default.get(k)
        for k, v in now.items()
    )
