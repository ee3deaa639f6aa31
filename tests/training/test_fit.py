"""The optimization loop on a small regression."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from soar import checkpoint
from soar.checkpoint import Checkpoint
from soar.data.prefetch import Batches, step_rng
from soar.errors import CheckpointError, ConfigError, SoarError
from soar.nn.draws import randn
from soar.training.fit import FitConfig, FitResult, fit
from soar.training.tracking import JsonLines
from soar.utils.files import read_lines, write_json

CONFIG = FitConfig(
    steps=12, batch_size=8, warmup_steps=2, log_every=1, save_every=4, device="cpu", ema_decay=0.9
)


class Line(nn.Module):
    """A linear map with input noise, trained on y = 2x."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 3)

    def loss(
        self, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        x = batch["x"]
        error = (self.layer(x + 0.1 * randn(x.shape, generator)) - 2 * x).square().mean()
        return error, {"error": error}


def batches(step: int, size: int, rows: slice) -> dict[str, np.ndarray]:
    return {"x": step_rng(7, step).normal(size=(size, 3)).astype(np.float32)[rows]}


def losses(folder: Path) -> list[float]:
    return [r["loss"] for r in read_lines(folder / "log.jsonl")]


class KilledError(Exception):
    pass


def killed_at(step: int) -> Batches:
    def dying(i: int, size: int, rows: slice) -> dict[str, np.ndarray]:
        if i == step:
            raise KilledError
        return batches(i, size, rows)

    return dying


@pytest.mark.parametrize("step", [1, 4, 6, 11])
def test_a_killed_and_resumed_run_has_the_losses_of_an_uninterrupted_one(
    tmp_path: Path, step: int
) -> None:
    whole, broken = Line(), Line()
    fit(whole, batches, CONFIG, tmp_path / "whole")
    with pytest.raises(KilledError):
        fit(broken, killed_at(step), CONFIG, tmp_path / "broken")
    resumed = Line()
    result = fit(resumed, batches, CONFIG, tmp_path / "broken")
    assert result.step == CONFIG.steps
    assert losses(tmp_path / "broken") == losses(tmp_path / "whole")
    assert torch.equal(resumed.layer.weight, whole.layer.weight)


def test_a_finished_run_is_not_trained_further(tmp_path: Path) -> None:
    fit(Line(), batches, CONFIG, tmp_path)
    again = Line()
    fit(again, killed_at(0), CONFIG, tmp_path)
    assert len(losses(tmp_path)) == CONFIG.steps


def test_resume_refuses_other_settings(tmp_path: Path) -> None:
    fit(Line(), batches, CONFIG, tmp_path)
    other = FitConfig(steps=12, batch_size=8, log_every=1, save_every=4, learning_rate=1.0)
    with pytest.raises(CheckpointError, match=r"\(learning_rate: 0\.0003, now 1\.0\)"):
        fit(Line(), batches, other, tmp_path)


def test_a_store_that_has_grown_resumes_where_the_episodes_are_the_same(tmp_path: Path) -> None:
    def fit_on(version: int, episodes: int) -> None:
        line = Line()
        mixture = {"store_version": version, "episodes": episodes, "query": {"version": version}}
        made = Checkpoint("line", {}, {}, provenance={"mixture": {"own": mixture}})
        fit(
            line, batches, CONFIG, tmp_path, export=lambda: replace(made, weights=line.state_dict())
        )

    fit_on(828, 600)
    before = checkpoint.load(tmp_path).id
    fit_on(3100, 600)
    assert checkpoint.load(tmp_path).id == before
    with pytest.raises(CheckpointError, match=r"\(provenance.mixture.own.episodes: 600, now 601\)"):
        fit_on(3100, 601)


def test_accumulated_parts_take_the_same_step_as_the_whole_batch(tmp_path: Path) -> None:
    for name, parts in (("one", 1), ("four", 4)):
        config = FitConfig(steps=6, batch_size=8, accumulate=parts, log_every=1, save_every=6)
        fit(Line(), batches, config, tmp_path / name)
    assert losses(tmp_path / "one") == pytest.approx(losses(tmp_path / "four"), rel=1e-5)


def test_the_exported_checkpoint_holds_the_moving_average_and_its_step(
    tmp_path: Path,
) -> None:
    line = Line()

    def export() -> Checkpoint:
        return Checkpoint("line", line.state_dict(), {"width": 3})

    fit(line, batches, CONFIG, tmp_path, export=export, validation=batches)
    exported = checkpoint.load(tmp_path, "line")
    state = checkpoint.load(tmp_path / "state")
    assert exported.provenance["step"] == 12
    assert exported.provenance["fit"]["batch_size"] == 8
    assert torch.equal(exported.weights["layer.weight"], state.weights["ema.layer.weight"])
    assert not torch.equal(exported.weights["layer.weight"], line.layer.weight)
    assert "validation_error" in read_lines(tmp_path / "log.jsonl")[-1]


def test_a_loss_that_is_not_finite_stops_the_run() -> None:
    def broken(step: int, size: int, rows: slice) -> dict[str, np.ndarray]:
        return {"x": np.full((size, 3), np.nan, np.float32)[rows]}

    with pytest.raises(SoarError, match="loss is nan by step 1"):
        fit(Line(), broken, CONFIG)


def test_the_learning_rate_warms_up_and_decays_to_zero() -> None:
    config = FitConfig(steps=100, warmup_steps=10, learning_rate=1.0)
    rates = [config.learning_rate_at(i) for i in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0.0)


def test_invalid_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="steps is 0; valid: a whole number of at least 1"):
        FitConfig(steps=0)
    with pytest.raises(ConfigError, match="multiple of log_every"):
        FitConfig(log_every=100, save_every=150)
    with pytest.raises(ConfigError, match="multiple of processes x accumulate"):
        fit(Line(), batches, FitConfig(batch_size=8, accumulate=3))
    with pytest.raises(ConfigError, match="valid: auto, cpu, cuda"):
        fit(Line(), batches, FitConfig(device="abacus"))


def test_tensorboard_reads_back_what_was_logged(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = FitConfig(steps=4, batch_size=8, log_every=2, save_every=2, trackers=("tensorboard",))
    fit(Line(), batches, config, tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [e.value for e in events.Scalars("loss")] == pytest.approx(losses(tmp_path))


def test_a_tracker_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    config = FitConfig(steps=1, batch_size=8, log_every=1, save_every=1, trackers=("wandb",))
    with pytest.raises(ConfigError, match="pip install wandb"):
        fit(Line(), batches, config, tmp_path)


def _export(line: Line) -> Checkpoint:
    return Checkpoint("line", line.state_dict(), {"width": 3})


def fit_with_export(folder: Path, config: FitConfig = CONFIG) -> FitResult:
    line = Line()
    return fit(line, batches, config, folder, export=lambda: _export(line))


@pytest.mark.parametrize("config", [CONFIG, replace(CONFIG, save_every=12)])
def test_a_run_stopped_between_its_last_state_and_its_last_export_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: FitConfig
) -> None:
    expected = fit_with_export(tmp_path / "whole", config)
    save = checkpoint.save

    def dying(folder: Path, made: Checkpoint) -> str:
        if made.provenance["step"] == config.steps and folder.name != "state":
            raise KilledError
        return save(folder, made)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", dying)
        with pytest.raises(KilledError):
            fit_with_export(tmp_path / "broken", config)
    resumed = fit_with_export(tmp_path / "broken", config)
    ids = [checkpoint.load(tmp_path / name).id for name in ("whole", "broken")]
    assert ids[0] == ids[1]
    assert resumed.loss == expected.loss
    assert losses(tmp_path / "broken") == losses(tmp_path / "whole")


@pytest.mark.parametrize("kept", [0, 100])
def test_a_damaged_or_missing_export_is_written_again(tmp_path: Path, kept: int) -> None:
    fit_with_export(tmp_path)
    before = checkpoint.load(tmp_path).id
    weights = next(tmp_path.glob("weights-*"))
    weights.write_bytes(weights.read_bytes()[:kept])
    fit_with_export(tmp_path)
    assert checkpoint.load(tmp_path).id == before


@pytest.mark.parametrize("moment", ["state", "log"])
def test_no_row_of_the_log_is_missing_after_a_kill_at_any_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    fit_with_export(tmp_path / "whole")
    save, log = checkpoint.save, JsonLines.log

    def save_and_die(folder: Path, made: Checkpoint) -> str:
        id = save(folder, made)
        if moment == "state" and folder.name == "state":
            raise KilledError
        return id

    def log_and_die(self: JsonLines, step: int, metrics: Mapping[str, float]) -> None:
        log(self, step, metrics)
        if moment == "log" and step == 8:
            raise KilledError

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, "save", save_and_die)
            patch.setattr(JsonLines, "log", log_and_die)
            with pytest.raises(KilledError):
                fit_with_export(tmp_path / "broken")
    fit_with_export(tmp_path / "broken")
    steps = [r["step"] for r in read_lines(tmp_path / "broken" / "log.jsonl")]
    assert steps == list(range(1, CONFIG.steps + 1))
    assert losses(tmp_path / "broken") == losses(tmp_path / "whole")


def test_hours_reduce_the_steps_once_and_a_resumed_run_keeps_them(tmp_path: Path) -> None:
    config = replace(CONFIG, steps=10**9, hours=1e-6)
    assert fit(Line(), batches, config, tmp_path).step == CONFIG.save_every  # one save at least
    assert len(losses(tmp_path)) == CONFIG.save_every
    resumed = fit(Line(), batches, replace(config, hours=5), tmp_path)
    assert resumed.step == CONFIG.save_every
    line = Line()
    fit(line, batches, replace(CONFIG, hours=1), tmp_path / "enough")
    other = Line()
    fit(other, batches, CONFIG, tmp_path / "plain")
    assert losses(tmp_path / "enough") == losses(tmp_path / "plain")  # timing changes nothing


def test_hours_that_reduce_the_steps_reduce_the_warmup(tmp_path: Path) -> None:
    config = replace(CONFIG, steps=1000, warmup_steps=300, save_every=20, hours=1e-6)
    assert fit(Line(), batches, config, tmp_path / "short").step == 20
    rates = [r["learning_rate"] for r in read_lines(tmp_path / "short" / "log.jsonl")]
    assert rates.index(max(rates)) == 1, "a tenth of 20 steps"
    assert rates[-1] < 0.01 * max(rates)


def test_a_training_by_the_clock_of_before_keeps_its_warmup(tmp_path: Path) -> None:
    config = replace(CONFIG, steps=40, warmup_steps=30, save_every=20, hours=1e-6)
    whole = replace(config, hours=0.0, steps=20)
    fit(Line(), batches, whole, tmp_path)
    write_json(tmp_path / "pace.json", {"steps": 20})
    assert fit(Line(), batches, config, tmp_path).step == 20, "it resumes"


def test_hours_need_a_single_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="hours needs a single process"):
        fit(Line(), batches, replace(CONFIG, hours=1), tmp_path)
