"""What practice says about where to aim."""

from dataclasses import replace

import numpy as np
import pytest

from soar import checkpoint as checkpoints
from soar.aim import NEAR, aimed, learn_aim
from soar.errors import CheckpointError
from soar.models import compact_subgoals
from soar.types import EpisodeSummary, Offset, Outcome, Provenance, Verdict

ORIGIN = Provenance("arm", "soar", "1", 0, 0.0, "policy")


def practice(best: Offset, count: int, seed: int = 0) -> list[EpisodeSummary]:
    """Episodes of two tasks, an easy and a hard one, whose success falls off around the best aim."""
    rng, made = np.random.default_rng(seed), []
    outcomes: tuple[Outcome, Outcome] = ("failure", "success")
    for i in range(count):
        right, down = rng.normal(0, 0.04, 2)
        far = (right - best[0]) ** 2 + (down - best[1]) ** 2
        chance = (0.7, 0.3)[i % 2] * np.exp(-far / (2 * 0.045**2))
        outcome = outcomes[int(rng.random() < chance)]
        origin = replace(ORIGIN, exploration={"aside_x": right, "aside_y": down})
        judged = Verdict(outcome, float(outcome == "success"), judge="test")
        made.append(EpisodeSummary(str(i), ("easy", "hard")[i % 2], 100, judged, origin))
    return made


@pytest.mark.parametrize("best", [(0.0, -0.04), (0.03, 0.02), (0.0, 0.0)])
def test_the_best_aim_is_found_from_verdicts(best: Offset):
    aim = learn_aim(practice(best, 300))
    assert np.allclose(aim.offset, best, atol=0.02)
    assert max(aim.spread) < 0.02
    assert aim.episodes == 300


def test_without_evidence_nothing_is_moved():
    unsuccessful: tuple[Outcome, Outcome] = ("failure", "unknown")
    none = [
        replace(e, verdict=Verdict(outcome, 0.0, judge="test"))
        for outcome in unsuccessful
        for e in practice((0.0, 0.0), 20)[:4]
    ]
    assert np.allclose(learn_aim([]).offset, 0, atol=1e-9)
    assert np.hypot(*learn_aim(none).offset) < 0.02
    assert min(learn_aim(none).spread) > NEAR / 2


def test_aims_add_up_and_move_what_is_painted(tmp_path):
    first = aimed("compact", (0.02, -0.04), tmp_path / "1")
    second = aimed(f"{first}@16", (0.01, 0.0), tmp_path / "2")
    assert second == f"{tmp_path / '2'}@16"
    made = compact_subgoals(second)
    assert made.aim.tolist() == pytest.approx([0.03, -0.04])
    assert made.ahead == 16
    told = checkpoints.load(tmp_path / "2").provenance["aim_learned"]
    assert told["started_from"] == checkpoints.load(tmp_path / "1").id


def test_what_is_no_compact_imagination_is_not_aimed(tmp_path):
    with pytest.raises(CheckpointError):
        aimed(str(tmp_path), (0.0, 0.0), tmp_path / "out")
