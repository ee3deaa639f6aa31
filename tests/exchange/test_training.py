"""A policy trained on an imported data set, by the same command as on a store, with the rules of what is dropped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from exchange_parts import check_statistics, make_bridge, make_episode

from soar.cli import main
from soar.data.store.lance import open_store


def run(*words: object) -> None:
    main([str(w) for w in words])


def test_a_lerobot_set_trains_a_policy_without_its_still_first_steps(
    new_store, tmp_path: Path
) -> None:
    episodes = []
    for seed in range(3):
        episode = make_episode(seed, steps=9)
        episode.actions[:2, :6] = 0
        episodes.append(replace(episode, instruction="put the lemon in the bowl"))
    given, out, store = new_store("s", *episodes), tmp_path / "set", tmp_path / "back"
    run("data", "export", out, "--store", given.path, "--to", "lerobot", "--last-frame")
    info = json.loads((out / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0"
    (out / "soar/about.json").unlink()  # as a set of others, which says nothing about stores
    run("data", "import", out, "--store", store, "--drop-still-start")
    found = list(open_store(store).query())
    assert [s.length for s in found] == [given_length - 2 for given_length in (9, 9, 9)]
    assert {s.verdict.outcome for s in found} == {"success"}
    run("train", "gcbc", "--preset", "debug", "--store", store, "--out", tmp_path / "run")
    check_statistics(store, tmp_path / "run")


def test_raw_bridge_trains_a_policy_of_the_instructions_that_are_sure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, store = tmp_path / "bridge", tmp_path / "store"
    make_bridge(folder, "2022-04-15_07-00-00")
    sure = make_bridge(folder, "2022-04-16_07-00-00")
    (sure / "lang.txt").write_text("wipe the table\nconfidence: 0.9\n")
    words = ("data", "import", folder, "--store", store, "--outcome", "success")
    run(*words, "--least-confidence", 0.5)
    texts = sorted(s.instruction for s in open_store(store).query())
    assert texts == ["", "wipe the table"]
    run("train", "gcbc", "--preset", "debug", "--store", store, "--out", tmp_path / "run")
    check_statistics(store, tmp_path / "run")
