"""`soar data` on the command line."""

import os
from dataclasses import replace

import pytest

from soar.cli import main
from soar.utils.media import read_video


def run(capsys, *words) -> str:
    main(["data", *map(str, words)])
    return " ".join(capsys.readouterr().out.split())


def test_ls_lists_what_matches(store, make_episode, capsys):
    a = store.append(make_episode(0, outcome="success"))
    b = store.append(make_episode(1, outcome="failure"))
    assert a in (out := run(capsys, "ls", "--store", store.path))
    assert b in out
    out = run(capsys, "ls", "--store", store.path, "--outcomes", "failure")
    assert a not in out
    assert out.endswith("1 episodes match")
    assert a not in run(capsys, "ls", "--store", store.path, "--last", 1)


def test_show_prints_everything_for_a_part_of_the_id(store, make_episode, capsys):
    id = store.append(make_episode(instruction="put the [red] fruit away"))
    out = run(capsys, "show", id[-6:], "--store", store.path)
    for fact in (id, "put the [red] fruit away", "success 0.90 by compact", "motor 3", "uncertain"):
        assert fact in out


def test_show_says_who_acted_in_which_steps(store, make_episode, capsys):
    usual = make_episode(steps=6)
    taken = replace(usual, actors=("policy", "person", "person", "policy", "policy", "expert"))
    ids = [store.append(episode) for episode in (usual, taken)]
    assert "acted" not in run(capsys, "show", ids[0], "--store", store.path)
    out = run(capsys, "show", ids[1], "--store", store.path)
    assert "acted policy 0 to 0, person 1 to 2, policy 3 to 4, expert 5 to 5" in out


def test_an_ambiguous_or_unknown_id_is_a_user_error(store, make_episode, capsys):
    ids = [store.append(make_episode(seed)) for seed in range(2)]
    for name, message in [("2001", "2 episodes are called '2001'"), ("x", "no episodes")]:
        with pytest.raises(SystemExit) as exit:
            main(["data", "show", name, "--store", str(store.path)])
        assert exit.value.code == 2
        assert message in capsys.readouterr().err
    assert ids


def test_a_folder_that_is_no_store_is_a_user_error(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit:
        main(["data", "ls", "--store", str(tmp_path)])
    assert exit.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_stats_counts_per_task(store, make_episode, capsys):
    for seed, outcome in enumerate(["success", "failure", "unknown"]):
        store.append(make_episode(seed, outcome=outcome, truth=seed > 0))
    out = run(capsys, "stats", "--store", store.path)
    assert "3 1 1 1 0.50 0.67 put the lemon in the bowl" in out
    assert "3 episodes, 12 steps" in out


def test_verify_exits_1_and_names_the_damage(store, make_episode, capsys):
    ids = [store.append(make_episode(seed)) for seed in range(2)]
    assert run(capsys, "verify", "--store", store.path) == "2 episodes, none damaged"
    os.truncate(store.steps_path(ids[1]), 99)
    with pytest.raises(SystemExit) as exit:
        run(capsys, "verify", "--store", store.path)
    assert exit.value.code == 1
    assert f"episode {ids[1]}: " in capsys.readouterr().out
    out = run(capsys, "sweep", "--store", store.path, "--damaged")
    assert f"removed damaged {ids[1]}" in out
    assert run(capsys, "verify", "--store", store.path) == "1 episodes, none damaged"


def test_video_shows_the_episode_with_its_subgoal(store, make_episode, capsys, tmp_path):
    id = store.append(make_episode(size=64, steps=6))
    out = tmp_path / "a.mp4"
    assert "7 frames" in run(capsys, "video", id, "--store", store.path, "--out", out)
    frames = read_video(out)
    assert len(frames) == 7
    assert frames.shape[1] > frames.shape[2] == 64
