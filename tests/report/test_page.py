"""The page: whole, self-contained, and there for runs at any stage."""

import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from soar.errors import ConfigError
from soar.improvement.run import Run
from soar.report.page import write_report

VOID = {"meta", "br", "img", "link", "input", "hr"}


class Balance(HTMLParser):
    """Fails on a tag that is closed wrongly."""

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
    return write_report(run, tmp_path_factory.mktemp("page") / "report.html").read_text()


def test_every_section_is_there(page: str) -> None:
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


def test_words_of_the_run_are_escaped(page: str) -> None:
    assert "Scene &lt;toy&gt; &amp; friends" in page
    assert "<toy>" not in page
    assert "the &lt;block&gt; is gone" in page


def test_figures_follow_the_pages_colours(page: str) -> None:
    assert "var(--ink)" in page
    assert page.count("<svg") >= 5


def test_films_play_inside_the_page(page: str) -> None:
    assert page.count("data:video/mp4;base64,") == 7


def test_busy_arms_and_faults_are_told(page: str) -> None:
    assert "Share of time the arm was moving: arm-0 96%" in page
    assert "robot fault 1" in page


def test_numbers_can_be_traced(page: str) -> None:
    assert "checkpoint c1, gcbc, subgoals expert, seeds from 100" in page
    assert "fitted checkpoint c1, imagination as before, store version 13" in page


def test_a_run_that_has_only_begun_has_a_page(run: Run, tmp_path: Path) -> None:
    fresh = Run(tmp_path)
    fresh.write(replace(run.record(), rounds=()))
    text = write_report(fresh).read_text()
    assert "nothing has been evaluated yet" in text
    assert "Provenance" in text


def test_a_run_in_the_middle_shows_what_there_is(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.folder, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "evaluations" / "round-1")
    text = write_report(Run(tmp_path / "run")).read_text()
    assert "The run isn&#x27;t finished" in text
    assert "Collection" in text


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no run"):
        write_report(Run(tmp_path))
