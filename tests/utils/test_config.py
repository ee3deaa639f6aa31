from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
from annotated_types import Ge, Gt, Le, Lt

from soar.errors import ConfigError
from soar.utils.config import OneOf, check_ranges, from_plain, load, to_plain
from soar.utils.yaml_files import dump, read_plain


@dataclass(frozen=True)
class Round:
    radius_m: float = 0.1


@dataclass(frozen=True)
class Square:
    side_m: float = 0.2
    turned: bool = False


Shape = Annotated[Round | Square, OneOf({"round": Round, "square": Square})]


@dataclass(frozen=True)
class Fit:
    RENAMED: ClassVar[Mapping[str, str]] = {"lr": "learning_rate"}
    REMOVED: ClassVar[tuple[str, ...]] = ("momentum",)
    steps: Annotated[int, Ge(1)] = 10
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.98)


@dataclass(frozen=True)
class Lab:
    RENAMED: ClassVar[Mapping[str, str]] = {"plan": "fit"}
    name: str
    robot: Literal["sim", "toy"] = "sim"
    fit: Fit = field(default_factory=Fit)
    shapes: tuple[Shape, ...] = ()
    threshold: Annotated[float, Ge(0), Le(1)] = 0.5
    share: Annotated[float, Gt(0), Lt(1)] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    tasks: tuple[tuple[str, str], ...] = ()
    folder: Path = Path("runs")
    realtime: bool = False
    demonstrations: int | str = 10
    speeds: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.name == "nobody":
            raise ConfigError("nobody is no lab")


WHOLE = Lab(
    "arm1",
    "toy",
    Fit(3, 1e-5, (0.1, 0.2)),
    (Square(0.3, turned=True), Round()),
    1,
    0.25,
    {"port": "/dev/tty", "ids": [1, 2]},
    (("a", "b"),),
    Path("somewhere/else"),
    realtime=True,
)


def read(folder: Path, text: str | bytes, name: str = "lab.yaml") -> Lab:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load(Lab, path)


@pytest.mark.parametrize("lab", [WHOLE, Lab("1e-3"), Lab("no"), Lab("Ä: #")])
def test_what_is_dumped_loads_as_the_same(lab, tmp_path):
    assert from_plain(Lab, to_plain(lab), "here") == lab
    assert read(tmp_path, dump(to_plain(lab))) == lab


def test_a_choice_of_dataclasses_is_told_by_its_name(tmp_path):
    lab = read(tmp_path, "name: x\nshapes: [{name: square, side_m: 2}, {name: round}]\n")
    assert lab.shapes == (Square(2.0), Round())
    assert to_plain(lab)["shapes"][1] == {"name": "round", "radius_m": 0.1}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: x\nfit: {learning_rate: 1e-4}", 1e-4),
        ("name: x\nfit: {learning_rate: 3}", 3.0),
        ("name: x\nfit: {lr: .5}", 0.5),
        ("name: x\nplan: {lr: .5}", 0.5),
        ("name: x\nplan: {lr: .5, momentum: .9}", 0.5),
    ],
)
def test_numbers_and_old_names_are_understood(text, expected, tmp_path):
    assert read(tmp_path, text).fit.learning_rate == expected


def test_json_and_a_byte_order_mark_are_understood(tmp_path):
    assert read(tmp_path, '{"name": "x", "tasks": [["a", "b"]]}', "x.json").tasks == (("a", "b"),)
    assert read(tmp_path, "\ufeffname: Ärmel").name == "Ärmel"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\nthreshold: 80", "threshold: 80 is not valid; valid: a number from 0 to 1"),
        ("name: x\nthreshold: '.8'", "threshold: '.8' is not valid; valid: a number from 0 to 1"),
        ("name: x\nthreshold: .nan", "nan is not valid; valid: a finite number"),
        ("name: x\noptions: {a: [-.inf]}", "-inf is not valid; valid: a finite number"),
        ("name: x\nshare: 1", "share: 1 is not valid; valid: a number above 0 below 1"),
        ("name: x\nfit: {steps: 0}", "fit.steps: 0 is not valid; valid: a whole number of at least 1"),
        ("name: x\nfit: {steps: 1.0}", "fit.steps: 1.0 is not valid; valid: a whole number"),
        ("name: x\nfit: {steps: true}", "fit.steps: True is not valid; valid: a whole number"),
        ("name: x\nfit: {betas: [1]}", "fit.betas.1 is missing"),
        ("name: x\nfit: {learning_rate: fast}", "'fast' is not valid; valid: a number"),
        ("name: x\nfit: 3", r"fit: 3 is not valid; valid: keys with values \(steps, learning_rate"),
        ("name: x\nrealtime: 'no'", "realtime: 'no' is not valid; valid: true or false"),
        ("name: no", "name: False is not valid; valid: text"),
        ("name: x\nrobot: r2d2", "robot: 'r2d2' is not valid; valid: 'sim' or 'toy'"),
        ("name: x\nfolder: 3", "folder: 3 is not valid; valid: text"),
        ("name: x\ndemonstrations: [1]", r"demonstrations: \[1\] is not valid; valid: a whole number or text"),
        ("name: x\nspeeds: {slow: fast}", "speeds.slow: 'fast' is not valid; valid: a number"),
        ("name: x\nspeeds: 3", "speeds: 3 is not valid; valid: keys with values"),
        ("name: x\ntasks: open", "tasks: 'open' is not valid; valid: a list"),
        ("name: x\nthresh: 1", "unknown key 'thresh', did you mean 'threshold'.; valid keys are name,"),
        ("name: x\nfit: {step: 1}", "fit: unknown key 'step', did you mean 'steps'"),
        ("name: x\nfit: {lr: 1, learning_rate: 1}", "'lr' is the old name of 'learning_rate'"),
        ("name: x\nshapes: [{name: squar}]", "unknown key 'squar', did you mean 'square'"),
        ("name: x\nshapes: [{}]", "needs a 'name'; valid: round, square"),
        ("name: x\nshapes: [{name: round, side_m: 1}]", "unknown key 'side_m'; valid keys are radius_m"),
        ("robot: sim", "name is missing"),
        ("", "name is missing"),
        ("[1, 2]", r"\[1, 2\] is not valid; valid: keys with values \(name, robot"),
        ("just words", "'just words' is not valid; valid: keys with values"),
        ("name: nobody", "nobody is no lab"),
        ("name: [1, 2", "expected ',' or ']'"),
        ("name: x\nname: y", "the key 'name' stands here twice"),
        ("name: 2024-01-01", "is no text; write it in quotes"),
        ("name: x\n1: y", "the key 1 is no text"),
        ("name: !!python/object:os.system {}", "could not determine a constructor"),
        ("name: x\noptions: &a {b: *a}", "holds too much"),
        ("name: x\ntasks: " + "[" * 300, "nested too deeply|expected"),
        ("name: x\noptions: " + "[" * 60 + "]" * 60, "holds too much; valid: .* 40 levels"),
        ("name: x\n# " + "x" * 1_000_001, "is too large"),
        (b"name: \xff\xfe", "is no text in UTF-8"),
        ("name: x".encode("utf-16"), "is no text in UTF-8"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_one_line_that_names_file_and_place(text, message, tmp_path):
    with pytest.raises(ConfigError, match=message) as error:
        read(tmp_path, text)
    assert "lab.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_yaml_file_of_nine_lines_cannot_fill_the_memory(tmp_path):
    levels = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    with pytest.raises(ConfigError, match="holds too much"):
        read(tmp_path, "\n".join(["a0: &a0 [lol]", *levels]))


def test_a_missing_file_and_a_folder_are_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"lab\.yaml is missing$"):
        load(Lab, tmp_path / "lab.yaml")
    with pytest.raises(ConfigError, match=r"is no regular file$"):
        load(Lab, tmp_path)


def test_a_base_provides_what_the_data_leaves_out():
    base = Lab("base", "toy", Fit(3), (Round(1.0),), 0.7, options={"a": 1})
    data = {"plan": {"betas": [0, 1]}, "options": {"b": 2}, "shapes": [{"name": "square"}]}
    assert from_plain(Lab, data, "here", base) == Lab(
        "base", "toy", Fit(3, betas=(0.0, 1.0)), (Square(),), 0.7, options={"b": 2}
    )


def test_another_choice_replaces_the_base_s():
    assert from_plain(Shape, {"name": "square"}, "here", Round(2.0)) == Square()
    assert from_plain(Shape, {"name": "round"}, "here", Round(2.0)) == Round(2.0)


def test_ranges_are_checked_in_python_too():
    with pytest.raises(ConfigError, match="threshold is 80; valid: a number from 0 to 1"):
        Lab("x", threshold=80)
    with pytest.raises(ConfigError, match="share is 1; valid: a number above 0 below 1"):
        Lab("x", share=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: " + "9" * 311, "a number of 1034 bits is not valid; valid: a number of 64 bits"),
        ('a: !!int ""', "isn't what its tag says"),
        ('a: !!float ""', "isn't what its tag says"),
        ("a: !!bool x", "isn't what its tag says"),
        ("a: !!timestamp x", "isn't what its tag says"),
    ],
)
def test_a_number_that_is_none_in_yaml_is_one_line(tmp_path, text, message):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_plain(tmp_path / "a.yaml")
