"""Data sets of another contract: converted at import, trained on, and named where their numbers don't fit it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from exchange_parts import check_statistics, difference, jpegs, make_episode, recording, smooth

from soar.cli import main
from soar.contract.contract import WIDOWX, ActionNumbers, Camera, Contract, Gripper, Numbers
from soar.contract.convert import Conversion
from soar.data.store.images import decode
from soar.data.store.lance import open_store
from soar.exchange.conventions import converted
from soar.exchange.lerobot.writer import LeRobotOptions, LeRobotWriter
from soar.exchange.recording import Recording
from soar.exchange.staging import staged
from soar.utils.config import to_plain

THEIRS = Contract(
    ActionNumbers(
        length="mm", rotation="rotvec", zero_rotation="fingers_forward", reference="absolute",
        gripper=Gripper(1, 0),
    ),
    Numbers(
        length="mm", rotation="quaternion_xyzw", zero_rotation="fingers_forward",
        gripper=Gripper(1, 0),
    ),
)  # fmt: skip


def moving(seed: int, steps: int = 30) -> Recording:
    """An episode in which the states go where the actions say, in the WidowX's terms."""
    rng = np.random.default_rng(seed)
    actions = rng.normal(0, [0.01] * 3 + [0.05] * 3 + [0.0], (steps, 7))
    actions[:, 6] = np.arange(steps) < steps // 2
    states = np.cumsum(np.vstack([[0.3, 0, 0.1, 0, 0, 0, 0], actions]), axis=0)
    states[:, 6] = [1, *actions[:, 6]]
    return replace(
        recording(make_episode(seed, steps)),
        actions=actions.astype(np.float32),
        commanded=actions.astype(np.float32),
        states=states.astype(np.float32),
        instruction="put the lemon in the bowl",
    )


def theirs(one: Recording) -> Recording:
    there = Conversion(WIDOWX, THEIRS)
    actions = there.action(one.actions, one.states[:-1])
    return replace(
        one, actions=actions, commanded=actions, states=there.state(one.states), contract=THEIRS
    )


@pytest.fixture
def data_set(tmp_path: Path) -> Path:
    """A LeRobot set of another lab, which says nothing about stores."""
    out = tmp_path / "set"
    options = LeRobotOptions(last_frame=True)
    with staged(out, {"contract": to_plain(THEIRS)}) as staging:
        episodes = [theirs(moving(seed)) for seed in range(3)]
        list(LeRobotWriter(staging, THEIRS, options).write(episodes))
    shutil.rmtree(out / "soar")
    return out


def contract_file(path: Path, contract: Contract) -> Path:
    path.write_text(yaml.safe_dump(to_plain(contract)))
    return path


def run(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    main([str(word) for word in words])
    return capsys.readouterr().out


def test_a_set_of_another_convention_is_converted_and_trained_on(data_set, tmp_path, capsys):
    plain, store = tmp_path / "plain", tmp_path / "store"
    said = contract_file(tmp_path / "theirs.yaml", THEIRS)
    words = ("data", "import", data_set, "--contract", said)
    assert "unlike" not in run(capsys, *words, "--store", plain)
    assert {s.contract for s in open_store(plain).query()} == {THEIRS}
    with pytest.raises(SystemExit):
        run(capsys, "train", "gcbc", "--preset", "debug", "--store", plain, "--out", tmp_path / "r")
    assert "soar data import --convert" in capsys.readouterr().err
    run(capsys, *words, "--store", store, "--convert")
    found = sorted(open_store(store).query(), key=lambda s: s.id)
    for summary in found:
        assert summary.contract == WIDOWX
        assert summary.provenance.code_version == "set v3.0, converted"
    mine = np.concatenate([open_store(store).load(s.id).actions for s in found])
    expected = {moving(seed).actions.tobytes(): moving(seed).actions for seed in range(3)}
    for actions in expected.values():
        distances = [np.abs(mine[i : i + 30] - actions).max() for i in (0, 30, 60)]
        assert min(distances) < 1e-4
    out = tmp_path / "run"
    run(capsys, "train", "gcbc", "--preset", "debug", "--store", store, "--out", out)
    check_statistics(store, out)


def test_numbers_that_dont_fit_the_given_contract_are_named(data_set, tmp_path, capsys):
    wrong = replace(
        THEIRS,
        action=replace(THEIRS.action, length="m", gripper=Gripper()),
        state=replace(THEIRS.state, length="m"),
    )
    said = contract_file(tmp_path / "wrong.yaml", wrong)
    words = ("data", "import", data_set, "--store", tmp_path / "s", "--contract", said)
    dry = run(capsys, *words, "--dry-run").splitlines()
    assert not (tmp_path / "s").exists()
    assert [line for line in dry if line.startswith("unlike its contract: state: positions")]
    assert [line for line in dry if "the state closes where the action opens" in line]
    assert run(capsys, *words).splitlines()[-2:] == dry[-2:]
    quality = run(capsys, "data", "quality", "--store", tmp_path / "s")
    assert "unlike its contract: state: positions are beyond 5 m" in quality


def test_images_of_a_blue_red_camera_become_rgb():
    images = smooth(np.random.default_rng(0), 8, 32)
    contract = replace(THEIRS, cameras=(Camera(color="bgr"),))
    swapped = jpegs(images[..., ::-1])
    one = replace(
        theirs(moving(0, 7)),
        cameras={"primary": swapped},
        contract=contract,
        subgoals=[(4, swapped[7])],
    )
    found = converted(one)
    assert found.contract == WIDOWX
    ((step, goal),) = found.subgoals
    assert (step, difference([goal], jpegs(images[7:])) < 2) == (4, True)
    assert difference(found.cameras["primary"], jpegs(images)) < 2
    assert decode(found.cameras["primary"][0]).shape == (32, 32, 3)
    assert converted(found) is found
