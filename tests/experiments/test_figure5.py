"""Figure 5 from finished runs, and the size of the demonstration."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from soar.errors import ConfigError
from soar.experiments.demo import demo_config
from soar.experiments.paper.figure5 import TEN_SCENES, draw, reproduce_figure5
from soar.improvement.run import Run


def test_finished_scenes_are_drawn_and_the_others_left_out(run: Run, tmp_path: Path):
    shutil.copytree(run.folder, tmp_path / "scene-1")
    shutil.copytree(run.folder, tmp_path / "scene-2")
    record = json.loads((tmp_path / "scene-2" / "run.json").read_text())
    record["rounds"][0]["stage"] = "fit"
    (tmp_path / "scene-2" / "run.json").write_text(json.dumps(record))

    table = draw(tmp_path, ("1", "2", "3"))
    assert table.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    numbers = json.loads((tmp_path / "figure5.json").read_text())
    (row,) = numbers["scenes"]
    assert row["scene"] == "1"
    assert row["before"]["value"] == pytest.approx(0.2)
    assert row["after"]["value"] == pytest.approx(0.6)
    assert row["difference"]["value"] == pytest.approx(0.4)
    assert row["trials"] == 10
    assert row["collected"] == 12
    assert numbers["mean"]["paper_after"] == 0.57
    assert "| 1 | 20%" in (tmp_path / "figure5.md").read_text()


def test_all_starts_of_all_scenes_give_one_difference(run: Run, tmp_path: Path):
    for scene in ("1", "2"):
        shutil.copytree(run.folder, tmp_path / f"scene-{scene}")
    draw(tmp_path, ("1", "2"))
    numbers = json.loads((tmp_path / "figure5.json").read_text())
    one, both = numbers["scenes"][0]["difference"], numbers["difference"]
    assert both["value"] == pytest.approx(one["value"])
    assert one["low"] < both["low"] < both["value"] < both["high"] < one["high"]
    assert "| mean; all starts | 20% | 60% | +40 [" in (tmp_path / "figure5.md").read_text()


def test_unfinished_and_unknown_scenes_are_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="no scene is finished"):
        draw(tmp_path, ("1",))
    with pytest.raises(ConfigError, match="at least one job"):
        reproduce_figure5(tmp_path, TEN_SCENES, 0, print)
    with pytest.raises(ConfigError, match="no scene 'nope'"):
        reproduce_figure5(tmp_path, replace(TEN_SCENES, scenes=("1", "nope")), 1, print)
    assert not list(tmp_path.iterdir())


def test_more_minutes_make_a_larger_demonstration_of_the_same_kind():
    usual, large = demo_config(), demo_config("3", minutes=60)
    assert usual.episodes < large.episodes
    assert usual.trials < large.trials
    assert large.scenes == ("3",)
    assert usual.fit.steps < large.fit.steps
    with pytest.raises(ConfigError, match="minutes"):
        demo_config(minutes=0)
