"""Tables, plots and videos of evaluations."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from soar.errors import ConfigError
from soar.evaluation.plots import format_points, plot_rates
from soar.evaluation.results import (
    Comparison,
    EvalSetting,
    Evaluation,
    Trial,
    add_trials,
    compare,
    open_evaluation,
)
from soar.evaluation.tables import (
    MANY_TASKS,
    comparison_table,
    interleave_tasks,
    rates_table,
    read_trial_video,
    summary,
    video_of,
    write_comparison,
    write_grid,
    write_results,
)
from soar.report.videos import choose_pairs
from soar.utils.media import read_video, write_video
from soar.utils.statistics import Interval

PUT, TAKE = "put the block in the bowl", "take the block out of the bowl"


def evaluation(folder: Path, outcomes: str, videos: bool = False) -> Evaluation:
    """Write an evaluation with one letter for each trial; the two tasks take turns."""
    tasks = (("1", PUT), ("1", TAKE))
    open_evaluation(
        folder, EvalSetting("c0", "gcbc", "expert", tasks, len(outcomes) // 2, 0, 5, 20)
    )
    for n, letter in enumerate(outcomes):
        video = f"videos/{n}.mp4" if videos else ""
        if videos:
            write_video(folder / video, np.full((4, 64, 64, 3), 128, np.uint8))
        outcome = "success" if letter == "s" else "failure"
        trial = Trial("1", tasks[n % 2][1], n // 2, outcome, ever=True, video=video)  # type: ignore[arg-type]
        add_trials(folder, [trial])
    return open_evaluation(folder)


def text(table: Table) -> str:
    console = Console(width=160)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def test_the_table_shows_successes_rates_and_intervals(tmp_path: Path) -> None:
    lines = text(rates_table(evaluation(tmp_path, "sfsfff"))).splitlines()
    assert lines[1].split()[-6:] == ["2/3", "0.67", "0.21", "..", "0.94", "1.00"]
    assert lines[-1].split() == ["all", "2/6", "0.33", "0.10", "..", "0.70", "1.00"]


def test_many_tasks_are_shown_by_verb(tmp_path: Path) -> None:
    tasks = tuple(("bridge-1", f"put thing {n} away") for n in range(MANY_TASKS + 1))
    open_evaluation(tmp_path, EvalSetting("c", "gcbc", "expert", tasks, 1, 0, 5, 20))
    add_trials(tmp_path, [Trial(*task, 0, "success") for task in tasks])
    lines = text(rates_table(open_evaluation(tmp_path))).splitlines()
    assert "put ..." in lines[1]
    assert len([line for line in lines if line.strip()]) == 3


def test_the_summary_counts_trials_and_successes(tmp_path: Path) -> None:
    found = summary(evaluation(tmp_path, "sfsfff"))
    assert found["finished"]
    assert [t["successes"] for t in found["tasks"]] == [2, 0]
    assert found["overall"]["ever_fulfilled"] == 6
    json.dumps(found)


def test_results_are_files_beside_the_trials(tmp_path: Path) -> None:
    write_results(evaluation(tmp_path, "sfsf", videos=True))
    assert json.loads((tmp_path / "summary.json").read_text())["overall"]["trials"] == 4
    assert (tmp_path / "plot.png").stat().st_size > 1000
    assert len(read_video(tmp_path / "grid.mp4")) == 4


def test_without_videos_there_is_no_grid(tmp_path: Path) -> None:
    found = evaluation(tmp_path, "sf")
    write_results(found)
    assert not (tmp_path / "grid.mp4").exists()
    with pytest.raises(ConfigError, match="no video was kept"):
        read_trial_video(found, found.trials[0])
    with pytest.raises(ConfigError, match=r"seed \d+\): '/etc/passwd' is no mp4 file"):
        read_trial_video(found, replace(found.trials[0], video="/etc/passwd"))


def test_videos_are_framed_in_the_color_of_their_outcome(tmp_path: Path) -> None:
    found = evaluation(tmp_path, "sf", videos=True)
    good, bad = (
        read_trial_video(found, t)[0] for t in sorted(found.trials, key=lambda t: t.outcome)[::-1]
    )
    assert tuple(good[0, 32]) == (23, 166, 115)
    assert tuple(bad[32, -1]) == (209, 73, 91)


def test_a_comparison_shows_difference_interval_and_p(tmp_path: Path) -> None:
    comparison = compare(evaluation(tmp_path / "a", "ffffff"), evaluation(tmp_path / "b", "sfsfsf"))
    lines = text(comparison_table(comparison)).splitlines()
    cells = ["3", "0.00", "1.00", "3,", "0", "+1.00", "+1.00", "..", "+1.00", "0.25"]
    assert lines[1].split()[-10:] == cells
    write_comparison(comparison, tmp_path)
    assert json.loads((tmp_path / "comparison.json").read_text())["overall"]["pairs"] == 6
    assert (tmp_path / "comparison.png").exists()


def test_tasks_take_turns_in_what_is_shown(tmp_path: Path) -> None:
    trials = [Trial("1", task, seed, "success") for task in (PUT, TAKE) for seed in range(2)]
    assert [t.instruction for t in interleave_tasks(trials)] == [PUT, TAKE, PUT, TAKE]


def test_a_series_may_lack_labels() -> None:
    one = Interval(0.5, 0.2, 0.8)
    plot_rates({"before": {"a": one, "b": one}, "after": {"b": one}})


def test_a_legend_is_never_wider_than_its_figure() -> None:
    one = Interval(0.5, 0.2, 0.8)
    names = ["pretrained", "hindsight, all scenes", "advantage, all scenes", "critic, all scenes"]
    figure = plot_rates({name: {"dev1": one, "dev2": one} for name in names})
    figure.draw_without_rendering()
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == names
    assert legend.get_window_extent().width <= figure.bbox.width


@pytest.mark.parametrize(("share", "words"), [(0.27, "+27"), (-0.031, "−3"), (0.001, "0")])
def test_percentage_points_are_signed(share: float, words: str) -> None:
    assert format_points(share) == words


OUTSIDE = {
    "an absolute path": "{secret}",
    "a path that leads out": "../secret.mp4",
    "a link that leads out": "link.mp4",
    "a pipe": "pipe.mp4",
    "a folder": ".",
    "a file that is missing": "missing.mp4",
    "a name that is too long": "x" * 300 + ".mp4",
    "a file of another kind": "trials.jsonl",
    "a zero byte": "a\0.mp4",
}


@pytest.mark.parametrize("name", OUTSIDE.values(), ids=OUTSIDE)
def test_no_file_outside_of_an_evaluation_is_taken_for_a_video(name: str, tmp_path: Path) -> None:
    folder, secret = tmp_path / "evaluation", tmp_path / "secret.mp4"
    folder.mkdir()
    write_video(secret, [np.full((32, 32, 3), 200, np.uint8)] * 2, fps=5)
    (folder / "link.mp4").symlink_to(secret)
    os.mkfifo(folder / "pipe.mp4")
    (folder / "trials.jsonl").touch()
    setting = EvalSetting("c", "gcbc", "expert", (("1", "move it"),), 1, 0, 5, 20)
    trial = Trial("1", "move it", 0, "success", video=name.format(secret=secret))
    shown = Evaluation(folder, setting, (trial,))
    assert video_of(shown, trial) is None
    write_grid(shown, tmp_path / "grid.mp4")
    assert not (tmp_path / "grid.mp4").exists()
    assert not choose_pairs(Comparison(shown, shown, ((trial, trial),)), 4)
