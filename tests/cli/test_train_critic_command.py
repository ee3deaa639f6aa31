import json
from pathlib import Path

import numpy as np
import pytest

from soar import checkpoint as checkpoints
from soar.cli import main
from soar.critics.critic import load_critic
from soar.data.store.lance import open_store
from soar.types import Episode, Outcome, Provenance, Verdict


def fill(path: Path) -> None:
    store = open_store(path, create=True)
    outcomes: list[Outcome] = ["success", "failure", "success"]
    for seed, outcome in enumerate(outcomes):
        rng = np.random.default_rng(seed)
        actions = rng.uniform(-0.02, 0.02, (6, 7)).astype(np.float32)
        store.append(
            Episode(
                instruction="open the drawer",
                actions=actions,
                commanded=actions,
                images=rng.integers(0, 256, (7, 32, 32, 3), np.uint8),
                states=rng.normal(size=(7, 7)).astype(np.float32),
                times_s=np.arange(7.0),
                subgoals=(),
                verdict=Verdict(outcome, 0.5),
                provenance=Provenance("one", "dev", "1", seed, 1e9 + seed),
            )
        )


def test_a_critic_is_trained_from_two_stores_and_resumed_after_a_verdict_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("demos", "own"):
        fill(tmp_path / name)
    line = (
        f"train critic --store {tmp_path}/demos --own.store {tmp_path}/own --own.share 0.25 --out {tmp_path}/critic "
        "--preset debug --algorithm vgps_iql --fit.device cpu"
    ).split()
    main(line)
    assert "step 6" in capsys.readouterr().out
    saved = checkpoints.load(tmp_path / "critic", "critic")
    assert saved.config["algorithm"] == "vgps_iql"
    assert saved.provenance["data"]["own"]["weight"] == 0.25
    assert load_critic(tmp_path / "critic", "cpu").name == f"vgps_iql critic {saved.id}"

    own = open_store(tmp_path / "own")
    own.set_verdict(next(own.query()).id, Verdict("failure", 0.1))
    main(line)
    assert checkpoints.load(tmp_path / "critic").id == saved.id


def test_held_out_episodes_give_scores_and_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path / "store")
    out = tmp_path / "critic"
    main(
        f"train critic --store {tmp_path}/store --out {out} --preset debug --held-out 0.4 --fit.device cpu".split()
    )
    assert "0 successes and 1 failures held out" in capsys.readouterr().out
    scores = json.loads((out / "scores.json").read_text())
    assert scores["failures"] == 1
    assert scores["auc"] is None  # there is no success among them
    page = (out / "report.html").read_text()
    assert "open the drawer: failure" in page
    assert "Values of iql critic" in page
