"""Open-ended proposals through the real chat client, with a scripted server and a tiny served model."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from soar.collection.collector import collect
from soar.collection.config import CollectionConfig
from soar.collection.status import StatusFolder
from soar.data.store.lance import open_store
from soar.errors import ConfigError
from soar.robots.safety import SafeRobot
from soar.robots.toy import ToyRobot
from soar.robots.toy_models import INSTRUCTIONS, ToyPolicy, ToySubgoals
from soar.rollout.models import Models, ModelsConfig
from soar.rollout.station import EpisodeConfig, Station
from soar.sim.scenes.catalog import load_scene
from soar.tasks.grammar import task_from_instruction
from soar.tasks.open_proposer import OpenProposer, OpenProposerConfig, proposed_texts
from soar.tasks.questions import present_question
from soar.tasks.success_detector import VLMSuccessDetector
from soar.tasks.task_filters import KnownTasks, NeverList
from soar.types import Answer, Observation, TaskCount
from soar.vlm.clients.chat import ChatVLM
from soar.vlm.clients.endpoint import EndpointConfig

sys.path.insert(0, str(Path(__file__).parents[1] / "vlm" / "clients"))
import misbehaving as bad

OWN = tuple(map(task_from_instruction, ("open the drawer", "close the drawer")))
OBSERVATION = Observation(np.zeros((8, 8, 3), np.uint8), np.zeros(7, np.float32), 0.0)
KNOWN = {q: Answer(q, 1.0) for q in (present_question("drawer"), OWN[1].question)}
"""The station's answers: the drawer is there, and closed."""
KNOWN[OWN[0].question] = Answer(OWN[0].question, 0.0)


def serves(named, yes=()):
    """A chat server that names tasks, and says yes to questions in which one of some texts occurs."""

    def say(text):
        return "yes" if any(y in text for y in yes) else "no"

    def behave(handler, body, n):
        content = body["messages"][0]["content"]
        if isinstance(content, str):  # a question is to be written
            handler.reply({"choices": [{"message": {"content": "I don't know"}}]})
            return
        [image, part] = content
        assert image["image_url"]["url"].startswith("data:image/png;base64,")
        text = part["text"]
        if text.startswith("The image shows"):
            content = named if isinstance(named, str) else json.dumps(named)
        elif "JSON object" in text:
            asked = re.findall(r"^(\d+)\. (.*)$", text, re.MULTILINE)
            content = json.dumps({number: say(question) for number, question in asked})
        else:
            content = say(text)
        handler.reply({"choices": [{"message": {"content": content}, "finish_reason": "stop"}]})

    return behave


def propose(named, yes=("present",), history=None, **config):
    """The proposal of one VLM that names tasks, judges feasibility and answers the questions of the list."""
    behave = named if callable(named) else serves(named, yes)
    with bad.serving(behave) as server:
        chat = ChatVLM(EndpointConfig(f"{server.url}", "m", retries=0, limit_s=5))
        proposer = OpenProposer(OWN, chat, chat, OpenProposerConfig(**config))
        return proposer.propose(OBSERVATION, KNOWN, history or {}, np.random.default_rng(0))


def test_an_allowed_task_in_the_vlms_own_words_is_proposed_with_its_question_and_what_was_asked():
    proposal = propose(["Put the red mug on the blue plate."])
    assert proposal.task == task_from_instruction("put the red mug on the blue plate")
    assert proposal.reason == "uncertain"
    assert proposal.feasible == ("put the red mug on the blue plate",)
    request, *answers = proposal.asked
    assert request.raw == '["Put the red mug on the blue plate."]'
    assert request.p_yes is None
    assert "Never name a task with: person" in request.question.text
    assert [a.p_yes for a in answers] == [0, 0, 0, 1, 1]
    assert answers[2].question == proposal.task.question
    assert not proposal.refused


def test_the_task_tried_least_is_chosen():
    counts = {"put the mug on the plate": TaskCount(3, 1)}
    named = ["put the mug on the plate", "put the can on the plate"]
    assert propose(named, history=counts).task.instruction == named[1]


@pytest.mark.parametrize(("task", "yes", "why"), [
    ("put the knife on the plate", ("present",), "never: knife"),
    ("put the candles on the plate", ("present",), "never: candle"),
    ("put the mug on the plate", ("present", "hurt"), "never: Could a person"),
    ("put the mug on the plate", ("present", "Is the mug on the plate"), "done already"),
    ("put the mug on the plate", (), "an object is missing"),
    ("dance a waltz around it", ("present",), "no question"),
    ("{'a': 1}", ("present",), "no instruction"),
    ("put the mug on the plate " * 9, ("present",), "no instruction"),
])  # fmt: skip
def test_a_refused_task_is_stored_with_its_reason_and_the_stations_own_are_tried(task, yes, why):
    proposal = propose([task], yes)
    assert proposal.task == OWN[0]
    [reason] = proposal.refused.values()
    assert why in reason


def test_an_unreadable_answer_about_harm_refuses_the_task():
    def behave(handler, body, n):
        text = body["messages"][0]["content"][1]["text"]
        content = '["put the mug on the plate"]' if text.startswith("The image") else "hard to say"
        handler.reply({"choices": [{"message": {"content": content}}]})

    [reason] = propose(behave).refused.values()
    assert reason.startswith("never: ")
    assert reason.endswith("(unknown)")


@pytest.mark.parametrize(
    "reply", ["[]", "", "I'm sorry, but I can't.", "[1, {}]", "[[", "\N{COLLISION SYMBOL}"]
)
def test_without_any_task_the_stations_own_are_proposed(reply):
    proposal = propose(reply)
    assert proposal.task == OWN[0]
    assert proposal.asked[0].raw == reply
    assert not proposal.refused


@pytest.mark.parametrize("behave", [bad.status(500), bad.drop, bad.html])
def test_an_outage_leaves_the_stations_own_tasks_and_is_noted(behave):
    proposal = propose(behave)
    assert proposal.task == OWN[0]
    assert proposal.reason == "uncertain"
    assert proposal.asked[0].raw.startswith("unavailable: m at 127.0.0.1")


def test_a_list_of_lines_is_read_and_thoughts_before_a_list_are_not():
    assert proposed_texts("Sure:\n1. open the drawer\n2) **close it**\nBye") == [
        "open the drawer",
        "close it",
    ]
    assert proposed_texts('Maybe ["a b"]? No: ["c d", 3, " "]') == ["c d"]


def test_only_skills_and_objects_of_the_training_data_are_tried(tmp_path):
    data = tmp_path / "data.txt"
    data.write_text("# from bridge\nput the mug on the plate\nput the can in the bowl\nwave\n")
    named = ["put the can on the plate", "put the shoe on the plate", "open the can", "wave"]
    proposal = propose(named, trained_on=str(data))
    assert proposal.feasible == ("put the can on the plate",)
    why = "not what the policy was trained on"
    assert proposal.refused["put the shoe on the plate"] == why
    assert proposal.refused["open the can"] == why
    assert proposal.refused["wave"] == "no question tells whether it is done"
    assert "bowl, can, mug, plate" in proposal.asked[0].question.text


def test_a_task_outside_of_the_grammar_gets_a_question_from_the_vlm_which_the_file_keeps(tmp_path):
    file, plain = tmp_path / "questions.yaml", serves(["Stand the bottle upright"], ("present",))
    entry = {"question": "Is the bottle upright?", "done_when": "yes", "objects": ["bottle"]}

    def behave(handler, body, n):
        content = body["messages"][0]["content"]
        if isinstance(content, str):
            handler.reply({"choices": [{"message": {"content": json.dumps(entry)}}]})
        else:
            plain(handler, body, n)

    proposal = propose(behave, trained_on="any", questions=str(file))
    assert proposal.task.instruction == "stand the bottle upright"
    assert proposal.task.question.text == entry["question"]
    again = propose(["stand the bottle upright"], questions=str(file))
    assert again.task == proposal.task


def test_the_packaged_list_forbids_none_of_the_papers_tasks():
    never = NeverList.read()

    for scene in range(1, 11):
        for task in load_scene(str(scene)).tasks:
            assert not never.forbidden_word(task.instruction), task.instruction


@pytest.mark.parametrize(("text", "says"), [
    ("", "forbids nothing"), ("Is it safe?", "no question about a task"), (None, "can't be read"),
])  # fmt: skip
def test_a_wrong_list_is_one_clear_line(tmp_path, text, says):
    file = tmp_path / "never.txt"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=says):
        NeverList.read(file)


@pytest.mark.parametrize("name", ["open", "opened", "open:", "python:"])
def test_a_proposer_that_there_isnt_is_refused_with_the_valid_ones(name):
    with pytest.raises(ConfigError, match="valid: uncertain, open with a VLM chat:MODEL@URL"):
        ModelsConfig(proposer=name)
    assert ModelsConfig(vlm="chat:m@http://h/v1", proposer="open").proposer == "open"


def test_a_collected_episode_keeps_the_open_task_its_verdict_and_all_that_was_asked(tmp_path):

    toy, tasks = ToyRobot(0), tuple(map(task_from_instruction, INSTRUCTIONS))
    named = ["put the knife on the table", "put the toy on the blue tray"]
    with bad.serving(serves(named, ("present",))) as server:
        config = ModelsConfig(vlm=f"chat:m@{server.url}", proposer="open")
        chat = ChatVLM(EndpointConfig(server.url, "m"))
        proposer = config.load_proposer(tasks, chat)
        station = Station("one", SafeRobot(toy), tasks, proposer, "toy", "dev", 0, toy)
        models = Models(chat, ToyPolicy(), ToySubgoals(), VLMSuccessDetector(chat))
        store = open_store(tmp_path, create=True)
        short = CollectionConfig(episode=EpisodeConfig(1, 2), overlap=False)
        collect([station], models, store, [StatusFolder(tmp_path, "one")], short, episodes=2)
    for row in store.query():
        origin = row.provenance
        assert row.instruction == "put the toy on the blue tray"
        assert row.verdict.outcome == "failure"
        assert origin.truth is None
        assert origin.proposal is not None
        assert origin.proposal.refused == {"put the knife on the table": "never: knife"}
        assert any(a.raw == json.dumps(named) for a in origin.answers_before)
        texts = {a.question.text for a in origin.answers_after}
        assert origin.proposal.task.question.text in texts
    assert KnownTasks.read(tmp_path).nouns == {"toy", "blue tray"}
    with pytest.raises(ConfigError, match="can't be read"):
        KnownTasks.read(tmp_path / "missing.txt")
