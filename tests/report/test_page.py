"""The page of a run at any stage and of a collection: complete, self-contained, escaped."""

import errno
import os
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from soar.data.store.lance import open_store
from soar.errors import ConfigError, FileError
from soar.evaluation.plots import new_axes, new_figure
from soar.evaluation.results import add_trials
from soar.improvement.run import Run
from soar.report.figures import svg
from soar.report.page import write_report
from soar.types import Proposal, Task
from soar.utils.media import read_video

VOID = {"meta", "br", "img", "link", "input", "hr"}


class Balance(HTMLParser):
    """A parser that fails on a wrongly closed tag."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(run: Run, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report(run.folder, tmp_path_factory.mktemp("page") / "report.html").read_text()


def test_the_page_of_a_run_has_every_section(page: str) -> None:
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    assert titles == [
        "Success",
        "Before and after",
        "Rounds",
        "Collection",
        "Verdicts",
        "Training",
        "Faults",
        "Provenance",
    ]


def test_a_page_says_who_collects_and_what_a_policy_without_subgoals_learns(
    page: str, run: Run, tmp_path: Path
) -> None:
    assert "a later image of the same episode as its goal" in page
    assert "is the subgoal that the robot was pursuing" in page
    shutil.copytree(run.folder, tmp_path / "taught")
    taught = Run(tmp_path / "taught")
    models = {"policy": "lcbc", "subgoals": "none", "teacher": "gcbc"}
    taught.write(replace(run.record(), models=models))
    page = write_report(taught.folder).read_text()
    assert "a teacher, the policy gcbc, collects episodes" in page
    assert "given the observation and that instruction" in page
    assert "is the subgoal that the robot was pursuing" not in page


def test_nothing_is_loaded_from_elsewhere(page: str) -> None:
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert "@import" not in page
    assert not re.findall(r"url\((?!#)", page)


def test_the_markup_is_balanced(page: str) -> None:
    parser = Balance()
    parser.feed(page)
    assert parser.open == []


def test_ids_are_unique_where_links_point(page: str) -> None:
    for anchor in re.findall(r'<a href="#(.*?)"', page):
        assert page.count(f'id="{anchor}"') == 1


def test_text_of_the_run_is_escaped(page: str) -> None:
    assert "Scene &lt;toy&gt; &amp; friends" in page
    assert "<toy>" not in page
    assert "the &lt;block&gt; is gone" in page


def test_figures_follow_the_pages_colors(page: str) -> None:
    assert "var(--ink)" in page
    assert page.count("<svg") >= 5


@pytest.mark.parametrize("place", ["ticks", "title", "legend"])
def test_a_dollar_in_a_figure_begins_no_formula(place: str) -> None:
    words = "put $5 and $_$ there"
    figure = new_figure(4, 3)
    axes = new_axes(figure)
    axes.plot([0, 1], label=words if place == "legend" else "others")
    if place == "ticks":
        axes.set_yticks([0], [words])
    elif place == "title":
        axes.set_title(words, loc="left")
    figure.legend(loc="outside upper right")
    assert words in svg(figure, "words")


def test_videos_are_inside_the_page(page: str) -> None:
    assert page.count("data:video/mp4;base64,") == 7


def test_duty_cycles_and_faults_are_shown(page: str) -> None:
    assert "Share of time the arm was moving: arm-0 96%" in page
    assert "robot fault 1" in page


def test_agreement_of_person_and_detector_is_shown_where_both_judged(
    run: Run, page: str, tmp_path: Path
) -> None:
    assert "Person and detector" not in page
    shutil.copytree(run.folder, tmp_path / "run")
    [first, *_] = Run(tmp_path / "run").evaluations()[0].trials
    judged = replace(first, person="success", detector="failure")
    add_trials(Run(tmp_path / "run").evaluation_folder(0), [judged])
    text = write_report(tmp_path / "run").read_text()
    assert "Person and detector agreed on 0 of 1 trials." in text


def test_numbers_can_be_traced(page: str) -> None:
    assert "checkpoint c1, gcbc, subgoals expert, seeds from 100" in page
    assert "fitted checkpoint c1, subgoal generator as before, store version 13" in page


def test_a_run_that_has_only_begun_has_a_page(run: Run, tmp_path: Path) -> None:
    fresh = Run(tmp_path)
    fresh.write(replace(run.record(), rounds=()))
    text = write_report(tmp_path).read_text()
    assert "nothing has been evaluated yet" in text
    assert "Provenance" in text


def test_a_run_in_the_middle_shows_what_there_is(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.folder, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "evaluations" / "round-1")
    text = write_report(tmp_path / "run").read_text()
    assert "The run isn&#39;t finished" in text
    assert "Collection" in text


@pytest.fixture(scope="module")
def store_page(run: Run, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report(run.store, tmp_path_factory.mktemp("page") / "report.html").read_text()


def test_the_page_of_a_store_has_the_sections_of_a_collection(store_page: str) -> None:
    titles = re.findall(r"<h2>(.*?)</h2>", store_page)
    assert titles == ["Collection", "Verdicts", "Faults", "Provenance"]
    assert "No evaluation belongs to a store" in store_page
    assert "Sample episodes" in store_page
    assert "robot fault 1" in store_page
    parser = Balance()
    parser.feed(store_page)
    assert parser.open == []


def test_the_page_of_a_store_shows_proposals_and_stations(run: Run, tmp_path: Path) -> None:
    store = open_store(tmp_path / "store", create=True)
    source = open_store(run.store, read_only=True)
    for n, summary in enumerate(source.query()):
        task = Task(summary.instruction)
        proposal = Proposal(task, "uncertain", feasible=("move the <x>", task.instruction))
        origin = replace(summary.provenance, proposal=proposal, station=f"arm-{n % 2}", truth=None)
        store.append(replace(source.load(summary.id), provenance=origin))
    text = write_report(tmp_path / "store").read_text()
    assert "Reasons of the choices: uncertain 12." in text
    assert "<td>move the &lt;x&gt;</td><td>12</td><td>0</td>" in text
    assert "<td>arm-1</td><td>6</td>" in text
    assert "truth of these episodes is not recorded" in text
    assert "No station has reported a status" in text


def test_an_empty_store_has_a_page_that_says_so(tmp_path: Path) -> None:
    open_store(tmp_path / "store", create=True)
    assert "This store has no episodes yet." in write_report(tmp_path / "store").read_text()


def test_a_folder_without_run_or_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"neither a run .* nor an episode store"):
        write_report(tmp_path)


def test_a_page_that_cannot_be_written_is_one_line_and_the_old_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    open_store(store, create=True)
    with pytest.raises(FileError, match="no regular file"):
        write_report(store, tmp_path)
    page = write_report(store, tmp_path / "pages" / "report.html")
    before = page.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match=r"report\.html can't be written: the disk is full"):
        write_report(store, page)
    assert page.read_bytes() == before
    assert list(page.parent.iterdir()) == [page]


def test_a_playlist_in_place_of_a_video_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "list.mp4"
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n")
    with pytest.raises(ConfigError, match=r"list\.mp4 is no readable mp4"):
        read_video(path)
