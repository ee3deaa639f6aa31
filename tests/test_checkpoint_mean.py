"""The mean of several trainings' weights, as a function and as `soar pretrain average`."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from soar.checkpoint import Checkpoint, load, mean_of, save
from soar.cli import main
from soar.errors import CheckpointError


def model(value: float, kind: str = "gcbc", size: int = 3) -> Checkpoint:
    return Checkpoint(
        kind, {"w": torch.full((size,), value).half()}, {"width": 8}, provenance={"step": 1}
    )


def test_the_mean_keeps_precision_configuration_and_says_what_it_is_of(tmp_path, capsys):
    ids = [save(tmp_path / name, model(value)) for name, value in [("a", 1), ("b", 2), ("c", 6)]]
    folders = [str(tmp_path / name) for name in "abc"]
    main(["pretrain", "average", *folders, "--out", str(tmp_path / "mean")])
    found = load(tmp_path / "mean")
    assert found.weights["w"].dtype == torch.half
    assert found.weights["w"].tolist() == [3, 3, 3]
    assert found.provenance == {"step": 1, "mean_of": ids}
    assert found.id in capsys.readouterr().out


def test_the_temperature_of_a_mean_is_the_geometric_mean():
    warm = [replace(model(t), config={"width": 8, "temperature": t}) for t in (1.0, 4.0)]
    assert mean_of(warm).config == {"width": 8, "temperature": 2.0}
    with pytest.raises(CheckpointError, match="same kind"):
        mean_of([model(1), warm[0]])


@pytest.mark.parametrize("other", [model(1, kind="lcbc"), model(1, size=4)])
def test_other_models_have_no_mean(other):
    with pytest.raises(CheckpointError, match="same kind"):
        mean_of([model(1), other])


@pytest.mark.parametrize("models", [[], [model(1)]])
def test_fewer_than_two_models_have_no_mean(models):
    with pytest.raises(CheckpointError, match="two models or more"):
        mean_of(models)
