from pathlib import Path

import pytest

from soar.errors import ConfigError
from soar.fleet.config import FleetConfig, Placement

TASK = "move the green block to the left side"


def fleet(folder: Path, text: str) -> FleetConfig:
    file = folder / "fleet.yaml"
    file.write_text(text)
    return FleetConfig.read(file)


def test_stations_are_files_or_stand_in_the_fleet_file(tmp_path):
    (tmp_path / "arm1.yaml").write_text("robot: toy\nquestions: q.yaml\n")
    made = fleet(
        tmp_path,
        f"""
        store: data
        tasks: [{TASK}]
        stations:
          - arm1.yaml
          - {{station: {{name: arm2, robot: "lab:connect"}}, where: lab2, resources: {{GPU: 0.5}}}}
          - station: {{name: arm3, robot: toy, tasks: [own task]}}
        models: {{subgoals: none, policy: lcbc}}
        """,
    )
    one, two, three = made.stations
    assert made.store == tmp_path / "data"
    assert (one.station.name, one.station.tasks, one.where) == ("arm1", (TASK,), "")
    assert one.station.questions == str(tmp_path / "q.yaml")
    assert two.station.tasks == (TASK,)
    assert three.station.tasks == ("own task",)
    assert two.ray_options() == {"num_cpus": 0.0, "num_gpus": 0.5, "resources": {"lab2": 0.001}}
    assert made.collection.episode.prefetch_steps == 2  # arm2 keeps its period
    assert [s.station.name for s in made.at("lab2").stations] == ["arm2"]


def test_models_and_collection_are_those_of_collect(tmp_path):
    (tmp_path / "models.yaml").write_text("policy: lcbc\nsubgoals: none\n")
    made = fleet(
        tmp_path,
        "store: s\nstations: [{station: {name: a, robot: toy}}]\nmodels: models.yaml\n"
        "collection: {noise: 0.5, episode: {num_subgoals: 2}}\n",
    )
    assert (made.models.policy, made.collection.noise) == ("lcbc", 0.5)
    assert made.collection.episode.num_subgoals == 2
    assert made.engine == "embedded"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "keys with values"),
        ("stations: [{station: {name: a, robot: toy}}]", "store is missing"),
        ("store: s\nstations: []", "at least one station"),
        ("store: s\nstations: [missing.yaml]", "missing.yaml is missing"),
        ("store: s\nstations: [{where: x}]", "station is missing"),
        ("store: s\nstations: [{station: {name: a, robot: toy}, wher: x}]", "did you mean 'where'"),
        ("store: s\nstations: [{station: {name: a, robt: toy}}]", "did you mean 'robot'"),
        ("store: s\nstations: [{station: {name: a, robot: toy}}, {station: {name: a, robot: toy}}]", "two stations"),
        ("store: s\nengine: kubernetes\nstations: [{station: {name: a, robot: toy}}]", "'embedded' or 'ray'"),
        ("store: s\nstations: [{station: {name: a, robot: toy}}]\nreplicas: {policy: {count: -1}}", "at least 0"),
        ("store: s\nstations: [{station: {name: a, robot: toy}, resources: {GPU: -1}}]", "amounts from 0"),
        ("store: ftp://host/x\nstations: [{station: {name: a, robot: toy}}]", "a file or folder"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_says_what_is_valid(tmp_path, text, message):
    with pytest.raises(ConfigError) as raised:
        fleet(tmp_path, text)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_place_without_a_station_is_refused(tmp_path):
    made = fleet(tmp_path, "store: s\nstations: [{station: {name: a, robot: toy}, where: lab1}]")
    with pytest.raises(ConfigError, match="no station is at 'lab2'; valid: lab1"):
        made.at("lab2")


def test_a_placement_takes_nothing_by_default():
    assert Placement().ray_options() == {"num_cpus": 0.0, "num_gpus": 0.0, "resources": {}}
