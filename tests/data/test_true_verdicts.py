"""`soar sim judge`: the simulator's truth as verdicts, in a copy."""

from collections.abc import Callable
from pathlib import Path

import pytest

from soar.cli import main
from soar.data.store.lance import LanceStore, open_store
from soar.types import Episode


def test_a_copy_has_true_verdicts(
    store: LanceStore,
    make_episode: Callable[..., Episode],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for seed, (truth, outcome) in enumerate(
        [(True, "failure"), (False, "success"), (True, "success")]
    ):
        store.append(make_episode(seed, outcome=outcome, truth=truth))
    args = ["sim", "judge", "--store", str(store.root), "--out", str(tmp_path / "true")]
    main(args)
    assert "3 episodes judged by the simulator's truth" in capsys.readouterr().out
    main(args)
    assert "0 episodes judged" in capsys.readouterr().out
    for e in open_store(tmp_path / "true", read_only=True).query():
        assert (e.verdict.outcome == "success") == e.provenance.truth
    kept = [e.verdict.outcome for e in store.query()]
    assert sorted(kept) == ["failure", "success", "success"]


def test_other_episodes_of_the_copy_keep_their_verdicts(
    store: LanceStore,
    make_episode: Callable[..., Episode],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    real = open_store(tmp_path / "real", create=True)
    kept = real.append(make_episode(0, truth=None, outcome="success"))
    own = store.append(make_episode(1, truth=False, outcome="success"))
    out = str(tmp_path / "true")
    main(["data", "merge", str(real.path), "--out", out])
    main(["sim", "judge", "--store", str(store.path), "--out", out])
    assert "1 episodes judged by the simulator's truth" in capsys.readouterr().out
    target = open_store(tmp_path / "true", read_only=True)
    assert target.summary(kept).verdict == real.summary(kept).verdict
    assert target.summary(own).verdict.outcome == "failure"


def test_episodes_of_real_robots_are_refused(
    store: LanceStore,
    make_episode: Callable[..., Episode],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store.append(make_episode(truth=None))
    with pytest.raises(SystemExit):
        main(["sim", "judge", "--store", str(store.root), "--out", str(tmp_path / "true")])
    assert "nobody knows the truth of 1 episodes" in capsys.readouterr().err
    assert not (tmp_path / "true").exists()
