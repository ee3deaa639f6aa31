"""Components of installed packages and of component files, by name wherever a built-in one stands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soar import plugins
from soar.cli import main
from soar.data.store.lance import open_store
from soar.errors import ConfigError
from soar.evaluation.protocol import EvalConfig, sim_protocol
from soar.improvement.methods.method import NothingToLearnError, OwnEpisodes
from soar.improvement.own_training import OwnTraining
from soar.improvement.run import Run
from soar.plugins import call, make_own, make_plugin
from soar.policies.identity import policy_identity
from soar.registry import load_detector, load_policy, load_subgoals, load_vlm, policy_spec
from soar.rollout.models import ModelsConfig
from soar.rollout.station_config import StationConfig, open_station
from soar.sim.scenes.catalog import load_scene
from soar.types import EpisodeFrames, Query, Task

EXAMPLES = Path(__file__).parents[1] / "examples" / "plugins"
ROLES = ("robot", "vlm", "subgoals", "policy", "detector")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The example packages, as an installer lays them out."""
    import tomllib

    for role in ROLES:
        project = tomllib.loads((EXAMPLES / role / "pyproject.toml").read_text())["project"]
        module = f"soar_example_{role}"
        (tmp_path / f"{module}.py").write_text((EXAMPLES / role / f"{module}.py").read_text())
        about = tmp_path / f"{module}-0.1.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 0.1\n"
        )
        [(group, names)] = project["entry-points"].items()
        lines = [f"{name} = {target}" for name, target in names.items()]
        (about / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines]))
    monkeypatch.syspath_prepend(tmp_path)
    plugins._entry_points.cache_clear()
    yield
    plugins._entry_points.cache_clear()
    for role in ROLES:
        sys.modules.pop(f"soar_example_{role}", None)


@pytest.mark.usefixtures("installed")
def test_registered_components_are_listed(capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    main(("plugins",))
    shown = capsys.readouterr().out
    for line in ("robot", "magnet", "soar-example-policy 0.1", "soar_example_vlm:BrightVLM", "ok"):
        assert line in shown


@pytest.mark.usefixtures("installed")
def test_registered_names_make_components() -> None:
    assert load_vlm("bright").name == "bright"
    assert load_subgoals("still").name == "still"
    assert load_policy("nearest").name == "nearest"
    detector = load_detector("moved", 0.7)
    assert detector.threshold == 0.7
    station = open_station(
        StationConfig("arm1", "magnet", tasks=("move the block to the left side",), process=False)
    )
    assert station.robot.observe().image.shape == (64, 64, 3)


@pytest.mark.usefixtures("installed")
def test_a_registered_detector_judges() -> None:
    detector: Any = load_detector("moved", 0.5)
    images = np.zeros((2, 8, 8, 3), np.uint8)
    same = EpisodeFrames(Task("x"), images)
    other = EpisodeFrames(Task("x"), np.stack([images[0], images[0] + 9]))
    assert [v.outcome for v in detector.judge([same, other])] == ["failure", "success"]


@pytest.mark.usefixtures("installed")
def test_a_component_file_gives_options(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("policy: nearest\noptions: {neighbors: 3}\n")
    policy: Any = load_policy(str(path))
    assert policy._neighbors == 3
    path.write_text("policy: nearest\noptions: {neighbours: 3}\n")
    with pytest.raises(ConfigError, match=r"'nearest': options .* don't fit: .*neighbours"):
        load_policy(str(path))
    path.write_text("detector: moved\noptions: {scale: 100}\n")
    assert load_detector(str(path), 0.5).name == "moved"
    path.write_text("policy: nearest\nopions: {neighbors: 3}\n")
    with pytest.raises(ConfigError, match="unknown key 'opions'"):
        load_policy(str(path))


_ENDPOINT = "m@http://127.0.0.1:9/v1"
_WRONG_OPTIONS = [
    ("policy: gcbc", "{foo: 1}", "'gcbc' takes no option 'foo'; valid: no options"),
    ("policy: openpi:ws://127.0.0.1:9", "{url: x}", "unknown key 'url'"),
    ("policy: steered:gcbc,c", "{count: x}", "count: 'x' is not valid"),
    ("vlm: compact", "{foo: 1}", "'compact' takes no option 'foo'"),
    ("vlm: local:/nope", "{foo: 1}", "valid: least_mass, device"),
    (f"vlm: chat:{_ENDPOINT}", "{foo: 1}", "unknown key 'foo'"),
    (f"vlm: chat:{_ENDPOINT}", "{url: x}", "'url' is no option; it is part of the name"),
    (f"vlm: chat:{_ENDPOINT}", "{retries: x}", "retries: 'x' is not valid"),
    (f"vlm: chat:{_ENDPOINT}", "{decoder: 3}", "decoder"),
    (f"vlm: systemone:{_ENDPOINT}", f"{{decoder: 'chat:{_ENDPOINT}'}}", "decoder"),
    ("subgoals: compact@16", "{foo: 1}", "'compact@16' takes no option 'foo'"),
    ("subgoals: susie:/nope", "{foo: 1}", "valid: size, scheduler"),
    ("subgoals: susie:/nope", "{size: x}", "size: 'x' is not valid; valid: a whole number"),
    ("detector: vlm", "{foo: 1}", "'vlm' takes no option 'foo'"),
    (f"detector: roboreward:{_ENDPOINT}", "{foo: 1}", "unknown key 'foo'"),
    (f"detector: roboreward:{_ENDPOINT}", "{frames: x}", "frames: 'x' is not valid"),
    ("detector: robometer:http://127.0.0.1:9", "{timeout_s: x}", "timeout_s: 'x' is not valid"),
]


@pytest.mark.parametrize(("component", "options", "message"), _WRONG_OPTIONS)
def test_an_option_that_a_kind_does_not_take_is_one_line(
    tmp_path: Path, component: str, options: str, message: str
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"{component}\noptions: {options}\n")
    role = component.partition(":")[0]
    load: Any = {"vlm": load_vlm, "subgoals": load_subgoals, "detector": load_detector}
    with pytest.raises(ConfigError, match=re.escape(message)) as error:
        load.get(role, load_policy)(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("option", ["make", "name", "role", "target"])
def test_a_function_of_others_takes_options_of_any_name(option: str) -> None:
    assert call(dict, "dict", **{option: 1}) == {option: 1}
    for make, name in ((make_own, "soar.robots.toy_models:ToyPolicy"), (make_plugin, "nearest")):
        with pytest.raises(ConfigError, match=f"don't fit: .*'{option}'"):
            make("policy", name, **{option: 1})


def test_a_policy_of_others_is_evaluated() -> None:
    config = EvalConfig("python:soar.robots.toy_models:ToyPolicy", subgoals="none", trials=1)
    _, setting = sim_protocol(config, [load_scene("1")])
    assert setting.policy == "toy-policy"
    assert setting.checkpoint == policy_identity(config.checkpoint).id
    assert setting.details["model"] == "python:soar.robots.toy_models:ToyPolicy"


def test_identities_differ_by_options(tmp_path: Path) -> None:
    name = "python:soar.robots.toy:ToyRobot"
    ids = set()
    for seed in (1, 2):
        path = tmp_path / f"{seed}.yaml"
        path.write_text(
            f"policy: python:soar.robots.toy_models:ToyPolicy\noptions: {{}}\n# {name}\n"
        )
        ids.add(policy_identity(str(path)).id)
    assert len(ids) == 1, "a comment is no option"


@pytest.mark.usefixtures("installed")
def test_a_policy_with_fit_is_trained_in_a_round(tmp_path: Path) -> None:
    from soar.collection.config import CollectionConfig
    from soar.improvement.collecting import Amount, collect_round
    from soar.rollout.models import ModelsConfig

    run = Run(tmp_path / "run")
    toys = "python:soar.robots.toy_models:Toy"
    models = ModelsConfig(vlm=f"{toys}VLM", subgoals=f"{toys}Subgoals", policy=f"{toys}Policy")
    station = StationConfig("toy", "toy", process=False)
    collect_round(run, 1, [station], models, CollectionConfig(), Amount(2))
    stage, out = OwnTraining(()), run.train_folder(1)
    own = OwnEpisodes(run, 1, Query(), "none")
    assert stage(own, "nearest", out) == {"autonomous": 1.0}
    trained = str(out / "policy.yaml")
    assert policy_spec(trained).options == {"folder": str(out)}
    policy: Any = load_policy(trained)
    assert len(policy._states) == sum(e.length for e in open_store(run.store).query())
    assert policy_identity(trained).id != policy_identity("nearest").id
    with pytest.raises(NothingToLearnError, match="no method fit"):
        stage(own, f"{toys}Policy", out)
    with pytest.raises(NothingToLearnError, match="no episode"):
        stage(own._replace(query=Query(outcomes=("unknown",))), "nearest", out)


def test_a_package_that_cannot_be_imported_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = tmp_path / "broken-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[soar.policies]\nbroken = no_such_module:make")
    monkeypatch.syspath_prepend(tmp_path)
    plugins._entry_points.cache_clear()
    try:
        with pytest.raises(ConfigError, match=r"plug-in 'broken' .*: No module named"):
            load_policy("broken")
    finally:
        plugins._entry_points.cache_clear()


@pytest.mark.parametrize(
    ("load", "words"),
    [
        (load_policy, "makes a str, which lacks name, act, reset; valid: a policy"),
        (load_vlm, "makes a str, which lacks name, answer; valid: a VLM"),
        (load_subgoals, "makes a str, which lacks name, generate; valid: a subgoal generator"),
    ],
)
def test_a_function_that_makes_something_else_is_one_line(load: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=f"'python:os:getcwd' {words}"):
        load("python:os:getcwd")


def test_a_detector_needs_a_method_that_judges() -> None:
    with pytest.raises(ConfigError, match="makes a Fraction, which lacks name, threshold, judge"):
        load_detector("python:fractions:Fraction", 0.5)


def test_an_exception_of_a_users_function_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "without_weights.py").write_text("def make():\n    raise OSError('no weights')\n")
    monkeypatch.syspath_prepend(tmp_path)
    message = r"'python:without_weights:make' raised OSError at .*without_weights.py:2: no weights"
    with pytest.raises(ConfigError, match=message):
        load_policy("python:without_weights:make")


_OWN = """
class Eyes:
    name = "eyes"
    def answer(self, images, questions): ...
class Nameless(Eyes):
    name = None
def kind(): return Eyes
def propose(tasks, vlm): return Eyes()
def alone(): return Eyes()
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("python:lab_parts:eyes", "'lab_parts:eyes' is no function or class; valid: lab_parts:Eyes"),
        ("python:lab_parts.Eyes", "No module named 'lab_parts.Eyes'.*; valid: package.module:function"),
        ("python:lab_parts:kind", "makes the class Eyes, not an object of it; valid: a VLM"),
        ("python:lab_parts:Nameless", "makes a Nameless, whose `name` is None, not text"),
        ("python:lab_broken:make", "ModuleNotFoundError at .*lab_broken.py:1: No module named 'absent'"),
        ("lab_parts:Eyes", "no vlm of kind 'lab_parts'; valid: compact, .*, python:lab_parts:Eyes, a folder"),
        ("openai:m@http://gpu:8000/v1", "no vlm of kind 'openai'; valid: compact, local:, chat:"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_name_is_one_line_that_says_what_is_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    (tmp_path / "lab_parts.py").write_text(_OWN)
    (tmp_path / "lab_broken.py").write_text("import absent\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=message):
        load_vlm(name)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("propose", "makes a Eyes, which lacks propose; valid: a proposer"),
        ("alone", "2 positional arguments and options {} don't fit"),
    ],
)
def test_a_proposer_of_the_users_own_is_checked_when_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, message: str
) -> None:
    (tmp_path / "lab_parts.py").write_text(_OWN)
    monkeypatch.syspath_prepend(tmp_path)
    models = ModelsConfig(proposer=f"python:lab_parts:{function}")
    with pytest.raises(ConfigError, match=message):
        models.load_proposer((), load_vlm("python:lab_parts:Eyes"))


def test_the_example_packages_install(tmp_path: Path) -> None:
    """With pip, into a folder of their own, without an index."""
    sources, target = tmp_path / "sources", tmp_path / "target"
    shutil.copytree(EXAMPLES, sources)  # building leaves folders beside the sources
    folders = [str(sources / role) for role in ROLES]
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    subprocess.run([*pip, "-q", "--target", str(target), *folders], check=True)
    environment = {**os.environ, "PYTHONPATH": str(target), "COLUMNS": "200"}
    listed = subprocess.run(
        [sys.executable, "-m", "soar", "plugins"], env=environment, check=True, capture_output=True
    ).stdout.decode()
    for role in ROLES:
        assert f"soar-example-{role} 0.1" in listed
    assert listed.count(" ok") == len(ROLES)
