"""A real server with a tiny random model, through two of its endpoints."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from soar.registry import load_vlm
from soar.tasks.grammar import task_from_instruction
from soar.tasks.open_proposer import OpenProposer
from soar.types import Answer, Observation, Question
from soar.vlm.clients.chat import ChatVLM
from soar.vlm.clients.endpoint import EndpointConfig
from soar.vlm.clients.systemone import SystemOneVLM
from soar.vlm.clients.transformers_model import TransformersVLM

sys.path.insert(0, str(Path(__file__).parent))
import tiny_models

pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")

QUESTIONS = [Question(q) for q in ("Is the lemon on the plate?", "Is the drawer open?")]
IMAGE = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
START_S = 180


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny_models.make(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def url(folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [Path(sys.executable).parent / "transformers", "serve", folder, "--device", "cpu"]
    server = subprocess.Popen(
        [*map(str, command), "--host", "127.0.0.1", "--port", str(port)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    base = f"http://127.0.0.1:{port}"
    try:
        for _ in range(START_S * 5):
            assert server.poll() is None, "transformers serve ended by itself"
            try:
                httpx.get(f"{base}/health", timeout=1).raise_for_status()
                break
            except httpx.HTTPError:
                time.sleep(0.2)
        yield f"{base}/v1"
    finally:
        server.terminate()
        server.wait(20)


def config(url: str, folder: Path) -> EndpointConfig:
    return EndpointConfig(url, str(folder), timeout_s=120, limit_s=240, retries=1)


@pytest.mark.slow
def test_systemone_gives_the_model_s_probabilities(url, folder):
    """The server's prompt differs a little from ours, so only the range is known; but it must be read."""
    answers = SystemOneVLM(config(url, folder)).answer([IMAGE], [QUESTIONS])[0]
    assert [a.question for a in answers] == QUESTIONS
    assert all(a.p_yes is not None and 0 <= a.p_yes <= 1 for a in answers)
    assert len({a.p_yes for a in answers}) == 2
    other = SystemOneVLM(config(url, folder)).answer([255 - IMAGE], [QUESTIONS])[0]
    assert other[0].p_yes != answers[0].p_yes


@pytest.mark.slow
def test_chat_with_a_model_that_babbles_is_answered_or_unknown(url, folder):
    """Random weights say random things, the server ignores log-probabilities and schema: no label is made up."""
    answers = ChatVLM(config(url, folder)).answer([IMAGE], [QUESTIONS])[0]
    assert [a.question for a in answers] == QUESTIONS
    for answer in answers:
        assert answer.p_yes in (None, 0.0, 1.0)
        assert answer.raw
        if answer.p_yes is not None:
            assert any(word in answer.raw.lower() for word in ("yes", "no"))


@pytest.mark.slow
def test_a_served_language_model_decodes_free_text_or_leaves_it_unknown(url, folder):
    """The server refuses no request; random weights say none of the three words, and both texts are kept."""
    vlm = load_vlm(f"chat:{folder}@{url}?decoder=chat:{folder}@{url}")
    [[answer]] = vlm.answer([IMAGE], [QUESTIONS[:1]])
    assert answer.raw
    assert answer.decoded
    assert answer.source == "word"
    assert answer.p_yes in (None, 0.0, 1.0)
    if answer.decoded.strip().lower() not in ("yes", "no", "true", "false"):
        assert answer.p_yes is None


@pytest.mark.slow
def test_a_model_that_babbles_names_no_task_that_is_tried(url, folder):
    """The reply about the image is kept, and the station's own task is proposed."""
    chat, own = ChatVLM(config(url, folder)), task_from_instruction("open the drawer")
    seen = Observation(IMAGE, np.zeros(7, np.float32), 0.0)
    answers = {own.question: Answer(own.question, 0.0)}
    proposal = OpenProposer([own], chat, chat).propose(seen, answers, {}, np.random.default_rng(0))
    assert proposal.task == own
    assert proposal.asked[0].raw
    assert not proposal.asked[0].raw.startswith("unavailable")


def test_the_served_folder_is_one_that_local_reads_too(folder):
    [[answer]] = TransformersVLM(str(folder), "cpu", least_mass=0.0).answer(
        [IMAGE], [QUESTIONS[:1]]
    )
    assert answer.p_yes is not None
