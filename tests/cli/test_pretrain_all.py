"""`soar pretrain all`: order, sizes and resuming; the commands of the models are replaced."""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest

from soar.cli import main
from soar.cli import pretrain_all as module
from soar.cli.pretrain_all import Amounts, amounts_within, pretrain_all
from soar.pretraining.weights import CARD


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    calls: list[tuple[str, dict[str, Any]]] = []

    def command(role: str) -> Any:
        def make(config: Any, *data: Any, out: Path, **options: Any) -> None:
            calls.append((role, {"config": config, "data": data, **options}))
            out.mkdir(parents=True)
            (out / "checkpoint.json").write_text("{}")
            (out / CARD).write_text("# card\n\n## Configuration\n")

        return make

    for role in ("vlm", "subgoals", "gcbc", "keypoints", "lcbc"):
        monkeypatch.setattr(module, role, command(role))
    monkeypatch.setattr(module, "_demonstration_s", lambda workers: 0.5)

    def results(stage: str, out: Path) -> list[str]:
        calls.append((f"measure {stage}", {}))
        return ["60%"]

    monkeypatch.setattr(module, "_system_results", results)
    monkeypatch.setattr(module, "_vlm_results", lambda out: results("vlm", out))
    return calls


def test_every_model_is_made_once_in_order_within_the_hours(
    tmp_path: Path, made: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretrain_all(tmp_path, hours=10)
    measured = [role for role, _ in made if role.startswith("measure")]
    assert measured == [f"measure {stage}" for stage in module.SHARES]
    made[:] = [m for m in made if m[0] not in measured]
    assert [role for role, _ in made] == ["vlm", "subgoals", "gcbc", "keypoints", "lcbc"]
    hours = [getattr(call["config"], "fit", call["config"]).hours for _, call in made]
    assert sum(hours) < 10
    assert made[0][1]["stream"]
    assert (made[3][1]["start"], made[3][1]["policy"]) == (tmp_path / "renderer", tmp_path / "gcbc")
    assert made[4][1]["start"] == tmp_path / "gcbc"
    assert made[2][1]["data"] == made[4][1]["data"]  # both policies share the demonstrations
    made.clear()
    rmtree(tmp_path / "gcbc")
    monkeypatch.setattr(module, "_demonstration_s", lambda workers: 5.0)
    pretrain_all(tmp_path, hours=10)  # resumed: what is missing, with the sizes of the first call
    assert [role for role, _ in made] == ["gcbc", "measure gcbc"]
    assert made[0][1]["data"] == (amounts_within(10, 0.5).demonstrations,)


def test_a_model_whose_measurement_was_broken_off_is_measured_and_not_made_again(
    tmp_path: Path, made: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    working = module._system_results

    def broken(stage: str, out: Path) -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_system_results", broken)
    with pytest.raises(KeyboardInterrupt):
        pretrain_all(tmp_path, hours=10)
    monkeypatch.setattr(module, "_system_results", working)
    made.clear()
    pretrain_all(tmp_path, hours=10)
    assert made[0][0] == "measure renderer"
    assert "## Measured\n\n- 60%" in (tmp_path / "renderer" / CARD).read_text()


def test_more_hours_bring_more_data_and_few_bring_some() -> None:
    assert amounts_within(0.01, 10) == Amounts(20, 20, 20, 20, 20)
    day, week = amounts_within(24, 0.5), amounts_within(168, 0.5)
    assert week.demonstrations == pytest.approx(7 * day.demonstrations, rel=0.01)
    assert week.clips > day.clips > day.keypoint_scenes > 1000


def test_a_negative_seed_is_refused_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(("pretrain", "all", "--out", str(tmp_path), "--seed", "-1"))
    assert "seed" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
