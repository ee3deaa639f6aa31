from pathlib import Path

import pytest

from soar.cli import main


def test_sheet_draws_the_scenes_that_are_named(tmp_path: Path) -> None:
    from PIL import Image

    out = tmp_path / "sheet.png"
    main(["sim", "sheet", "--out", str(out), "--size", "96", "--scenes", "1", "5", "bridge-3"])
    assert Image.open(out).width > 96


def test_video_films_the_expert_and_says_how_it_went(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "open.mp4"
    main(["sim", "video", "--scene", "5", "--task", "open", "--out", str(out), "--size", "96"])
    assert out.stat().st_size > 1000
    assert capsys.readouterr().out.startswith("open the drawer: ")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["video", "--scene", "11"], "no scene '11'"),
        (["video", "--scene", "1", "--task", "lemon"], "no task of scene '1' has 'lemon'"),
        (["video", "--scene", "1", "--task", "bowl"], "more than one task"),
        (["video", "--scene", "5", "--size", "1", "--max-steps", "1"], "valid: at least 2 x 2"),
        (["sheet", "--scenes", "1", "--size", "40000"], "no room here for images of 40000 x 40000"),
        (["demos", "--regime", "soar", "--store", "s"], "name some with --scenes"),
    ],
)
def test_a_users_mistake_is_one_line(
    args: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["sim", *args])
    assert exit_.value.code == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_demonstrations_that_are_there_already_are_said_to_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["sim", "demos", "--store", str(tmp_path / "s"), "--regime", "dev", "--scenes", "dev1"]
    for said in ("0 failed (100.0% succeeded)", "has 1 demonstrations or more already"):
        main([*args, "--episodes", "1", "--workers", "1", "--image-size", "32"])
        assert said in capsys.readouterr().out
