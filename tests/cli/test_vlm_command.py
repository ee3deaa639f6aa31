"""`soar vlm` and `soar tasks`, as typed."""

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from soar import checkpoint as checkpoints
from soar.cli import main
from soar.data.store.lance import open_store
from soar.types import Episode, Outcome, Provenance, Verdict
from soar.utils.media import write_png
from soar.vlm.compact.model import to_checkpoint
from soar.vlm.compact.network import CompactVLMConfig, CompactVLMNet
from soar.vlm.labels import read_labels, update_label

sys.path.append(str(Path(__file__).parents[1] / "vlm/clients"))
import misbehaving as bad

TASK = "put the lemon on the blue plate"


@pytest.fixture(scope="module")
def vlm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vlm")
    net = CompactVLMNet(CompactVLMConfig(resolution=32, width=16, dim=32))
    checkpoints.save(folder, to_checkpoint(net, 1.0, {}))
    return folder


def episode(p: float | None, truth: bool, started_s: float) -> Episode:
    outcome: Outcome = "unknown" if p is None else ("success" if p >= 0.5 else "failure")
    return Episode(
        instruction=TASK,
        actions=np.zeros((2, 7), np.float32),
        commanded=np.zeros((2, 7), np.float32),
        images=np.full((3, 64, 64, 3), int(started_s), np.uint8),
        states=np.zeros((3, 7), np.float32),
        times_s=np.arange(3) * 0.2,
        subgoals=(),
        verdict=Verdict(outcome, p, "Is it?", "", "test"),
        provenance=Provenance("a", "soar", "8", 0, started_s, truth=truth),
    )


@pytest.fixture
def store(tmp_path):
    """Six judged episodes: at 0.5 two hits, one false alarm, one miss, one right failure, one unknown."""
    opened = open_store(tmp_path / "store", create=True)
    rows = [(0.9, True), (0.8, True), (0.7, False), (0.3, True), (0.1, False), (None, True)]
    for i, (p, truth) in enumerate(rows):
        opened.append(episode(p, truth, float(i + 1)))
    return tmp_path / "store"


def run(*words: object) -> None:
    main([str(w) for w in words])


def test_tasks_questions_shows_the_questions_of_a_scene(capsys):
    run("tasks", "questions", "--scene", 3)
    shown = capsys.readouterr().out
    assert "Is the green marker on the left side of the table?" in shown
    assert "Is there a wooden bowl present?" in shown


def test_tasks_questions_without_a_scene_or_task_is_a_user_s_mistake(capsys):
    with pytest.raises(SystemExit):
        run("tasks", "questions")
    assert "--scene" in capsys.readouterr().err


def test_a_language_model_writes_questions_that_a_person_may_edit_and_a_scene_file_names(
    tmp_path, capsys
):
    entry = {"question": "Are the cups stacked?", "done_when": "yes", "objects": ["cups"]}

    def write_question(handler, body, n):
        message = {"role": "assistant", "content": f"Here it is: {json.dumps(entry)}"}
        handler.reply({"choices": [{"message": message}]})

    task, file = "stack the cups", tmp_path / "questions.yaml"
    with bad.serving(write_question) as server:
        words = ("tasks", "questions", "--tasks", task, "--questions", file)
        run(*words, "--language-model", f"model@{server.url}")
        run(*words)
    assert len(server.seen) == 1
    assert task in server.seen[0]["messages"][0]["content"]
    shown = capsys.readouterr()
    assert shown.out.count("Are the cups stacked?\n  done: yes   feasible: no") == 2
    assert f"'{task}': question from the language model" in " ".join(shown.err.split())
    scene = tmp_path / "scene.yaml"
    scene.write_text(
        "name: cups\ntable: oak\nquestions: questions.yaml\n"
        "objects:\n  - {name: cup, kind: cup, color: red}\n  - {name: plate, kind: plate, color: white}\n"
        f"tasks:\n  - {{instruction: {task}, inside: [cup, plate]}}\n"
    )
    run("tasks", "questions", "--scene", scene)
    assert "Are the cups stacked?" in capsys.readouterr().out


def test_a_task_without_a_question_is_refused_in_one_line_that_names_the_question_file(capsys):
    with pytest.raises(SystemExit):
        run("tasks", "questions", "--tasks", "put the cup left of the fork")
    shown = capsys.readouterr().err
    assert "question file" in shown
    assert "open|close the X" in shown
    assert len(shown.splitlines()) == 1


@pytest.mark.parametrize(
    ("old", "new"), [("--book", "--questions"), ("--model", "--language-model")]
)
def test_an_old_option_names_the_new_one(old, new, capsys):
    with pytest.raises(SystemExit):
        run("tasks", "questions", "--tasks", "open the drawer", old, "x")
    assert f"is now {new}" in capsys.readouterr().err


def test_ask_prints_a_probability_for_each_question(vlm, tmp_path, capsys):
    write_png(tmp_path / "a.png", np.zeros((40, 40, 3), np.uint8))
    run("vlm", "ask", tmp_path / "a.png", "Is the drawer open?", "Is it raining?", "--vlm", vlm)
    shown = capsys.readouterr().out
    assert "Is the drawer open?" in shown
    assert "0." in shown


def test_ask_about_a_file_that_is_no_image_is_one_line(vlm, tmp_path, capsys):
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(SystemExit):
        run("vlm", "ask", tmp_path / "a.png", "Is it?", "--vlm", vlm)
    assert "no image that can be read" in capsys.readouterr().err


def test_ask_without_a_question_is_one_line(vlm, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run("vlm", "ask", tmp_path / "a.png", "--vlm", vlm)
    assert "no question is given" in capsys.readouterr().err


def test_calibrate_compares_stored_verdicts_with_the_truth(store, tmp_path, capsys):
    run("vlm", "calibrate", "--store", store, "--recall", 1.0, "--out", tmp_path / "plot.png")
    shown = capsys.readouterr().out
    assert "0.600" in shown  # accuracy at 0.5: 3 of 5
    assert "0.667" in shown  # precision: 2 of 3; recall likewise
    assert "1.000" in shown  # recall at the chosen threshold
    assert (tmp_path / "plot.png").stat().st_size > 5000


def test_calibrate_prefers_a_person_s_labels_to_the_simulator_s_truth(store, tmp_path, capsys):
    ids = [e.id for e in open_store(store, read_only=True).query()]
    labels = tmp_path / "labels.csv"
    labels.write_text("id,success\n" + f"{ids[0]},no\n{ids[1]},yes\n")
    run("vlm", "calibrate", "--store", store, "--labels", labels, "--out", tmp_path / "p.png")
    assert "2 episodes" in capsys.readouterr().out


def test_calibrate_names_a_file_without_labels(store, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run("vlm", "calibrate", "--store", store, "--labels", tmp_path / "none.csv")
    assert "none.csv has no labels" in capsys.readouterr().err


def test_calibrate_never_mixes_verdicts_of_different_origins(store, tmp_path, capsys):
    """Words, right in every case, beside probabilities, right in 5 of 6 pairs: each has its own curve."""
    opened = open_store(store)
    for i, (p, truth) in enumerate([(1.0, True), (0.0, False), (1.0, True)]):
        made = episode(p, truth, 10.0 + i)
        opened.append(replace(made, verdict=replace(made.verdict, source="word")))
    person = episode(1.0, False, 20.0)
    opened.append(replace(person, verdict=replace(person.verdict, judge="person")))
    run("vlm", "calibrate", "--store", store, "--out", tmp_path / "p.png")
    shown = capsys.readouterr().out
    unstated, worded = shown.split("verdicts of a word in a model's reply")
    assert "area under ROC 0.833, calibration error" in unstated
    assert "5 episodes" in unstated
    assert "area under ROC 1.000, calibration error 0.000, 3 episodes" in worded
    assert "2 verdicts of persons, or without an answer, are left out" in shown
    assert {p.name for p in tmp_path.glob("*.png")} == {"p-unstated.png", "p-word.png"}


def test_ask_shows_the_reply_and_what_a_language_model_made_of_it(tmp_path, capsys):
    def reply(content):
        return lambda handler, *_: handler.reply({"choices": [{"message": {"content": content}}]})

    write_png(tmp_path / "a.png", np.zeros((40, 40, 3), np.uint8))
    with bad.serving(reply("It is shut.")) as seeing, bad.serving(reply("no")) as reading:
        name = f"chat:m@{seeing.url}?decoder=chat:m@{reading.url}"
        run("vlm", "ask", tmp_path / "a.png", "Is the drawer open?", "--vlm", name)
    shown = capsys.readouterr().out.split()
    assert shown[-6:] == ["0.000", "word", "It", "is", "shut.", "no"]


def test_calibrate_can_judge_again_with_a_model(store, vlm, tmp_path, capsys):
    run("vlm", "calibrate", "--store", store, "--vlm", vlm, "--out", tmp_path / "p.png")
    assert "6 episodes" in capsys.readouterr().out


def test_labels_are_typed_saved_at_once_and_resumed(store, tmp_path, monkeypatch, capsys):
    labels = tmp_path / "labels.csv"

    def type_in(*words: str) -> None:
        typed = iter(words)
        monkeypatch.setattr("builtins.input", lambda _: next(typed))
        run("vlm", "label", "--store", store, "--labels", labels)

    type_in("y", "n", "b", "y", "q")
    ids = [e.id for e in open_store(store, read_only=True).query()]
    rows = list(csv.DictReader(labels.open()))
    assert [(r["id"], r["success"]) for r in rows] == [(ids[0], "yes"), (ids[1], "yes")]
    type_in("n", "s", "q")
    assert len(list(csv.DictReader(labels.open()))) == 3
    run("vlm", "label", "--store", store, "--labels", labels, "--apply")
    judged = {e.id: e.verdict for e in open_store(store, read_only=True).query()}
    assert judged[ids[1]].outcome == "success"
    assert judged[ids[2]].outcome == "failure"
    assert judged[ids[2]].judge == "person"
    assert judged[ids[5]].outcome == "unknown"


def test_a_label_that_another_writer_adds_meanwhile_is_kept(store, tmp_path, monkeypatch):
    labels = tmp_path / "labels.csv"
    *_, last = open_store(store, read_only=True).query()

    def answer(_: str) -> str:
        if labels.exists():
            return "q"
        update_label(labels, last, False)
        return "y"

    monkeypatch.setattr("builtins.input", answer)
    run("vlm", "label", "--store", store, "--labels", labels)
    assert list(read_labels(labels).values()) == [False, True]


def test_a_wrong_label_is_named_with_its_line(store, tmp_path, capsys):
    labels = tmp_path / "labels.csv"
    labels.write_text("id,success\nabc,perhaps\n")
    with pytest.raises(SystemExit):
        run("vlm", "label", "--store", store, "--labels", labels, "--apply")
    assert "line 2" in capsys.readouterr().err


def test_evaluate_measures_success_and_questions_on_scenes(vlm, tmp_path, capsys):
    out = tmp_path / "numbers.json"
    run("vlm", "evaluate", "--vlm", vlm, "--scenes", 2, "--images", 4, "--out", out)
    assert "success detection by kind" in capsys.readouterr().out
    numbers = json.loads(out.read_text())
    asked = numbers["success detection by kind"]["all"]
    counts = ("true_success", "false_success", "false_failure", "true_failure", "unknown")
    assert sum(asked[k] for k in counts) == 8  # two tasks, four images
    assert set(numbers["success detection by kind"]) == {"in", "not in", "all"}


def test_calibrate_refuses_a_file_that_is_no_plot(store, capsys):
    with pytest.raises(SystemExit) as end:
        run("vlm", "calibrate", "--store", store, "--out", "x.yaml")
    assert end.value.code == 2
    assert "valid endings: .png, .svg, .pdf" in capsys.readouterr().err
