"""Free-text replies decoded by a language model: two scripted chat servers, one that sees and one that reads."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from soar.errors import ConfigError, ModelUnavailable
from soar.registry import load_vlm
from soar.rollout.models import ModelsConfig
from soar.types import Question
from soar.vlm.clients.decoder import Decoder

sys.path.insert(0, str(Path(__file__).parent))
import misbehaving as bad

IMAGE = np.zeros((8, 8, 3), np.uint8)
Q = [Question("Is the green block in the brown bowl?"), Question("Is the drawer open?")]
PAPER = "No, the green block is placed outside the bowl, on the edge of the transparent platform."


def says(text, ending="stop"):
    """A chat server that gives one reply, or what a function makes of the request."""

    def behave(handler, body, n):
        content = text(body) if callable(text) else text
        choice = {"message": {"content": content}, "finish_reason": ending}
        handler.reply({"choices": [choice]})

    return behave


def decoded(seen, reads, questions=Q[:1], ending="stop"):
    """Answers of a VLM that says `seen`, read by a language model that says `reads`; and what each was sent."""
    with bad.serving(says(seen, ending)) as vlm, bad.serving(says(reads)) as lm:
        name = f"chat:llava@{vlm.url}?decoder=chat:reader@{lm.url}"
        [answers] = load_vlm(name).answer([IMAGE], [questions])
    return answers, vlm.seen, lm.seen


def test_the_papers_example_is_decoded_and_both_texts_are_kept():
    [answer], seen, read = decoded(PAPER, "False")
    assert answer == (Q[0], 0.0, PAPER, "word", "False")
    assert seen[0]["messages"][0]["content"][1]["text"] == Q[0].text
    assert "logprobs" not in seen[0]
    prompt = read[0]["messages"][0]["content"]
    assert prompt.endswith(f"Question: {Q[0]}\nReply: {json.dumps(PAPER)}\nAnswer:")
    assert "unknown" in prompt


@pytest.mark.parametrize(("word", "p"), [
    ("yes", 1.0), ("Yes.", 1.0), ("**no**", 0.0), ("Answer: no", 0.0), ("True", 1.0), ("unknown", None),
    ("<think>It says no.</think>yes", 1.0),
    ("<think>yes", None), ("", None), ("yes or no", None), ("maybe", None), ("yes, I think", None),
    ("The answer is unknown because yes isn't said", None), ("yes" * 9000, None),
])  # fmt: skip
def test_only_one_of_three_words_is_believed(word, p):
    [answer], _, _ = decoded("A block lies somewhere in the scene.", word)
    assert answer.p_yes == p
    assert answer.decoded == word[:300]
    assert answer.source == "word"


def test_each_question_is_a_request_of_its_own():
    answers, seen, read = decoded("The drawer is pulled out.", "unknown", Q)
    assert [a.question for a in answers] == Q
    assert len(seen) == len(read) == 2


def test_no_text_and_thoughts_without_an_end_need_no_language_model():
    for reply in ("", "  ", "<think>The block is in the bowl"):
        [answer], _, read = decoded(reply, "yes")
        assert answer.p_yes is None
        assert not read


def test_a_reply_that_was_cut_off_is_shown_as_cut_off():
    _, _, read = decoded("The block is", "unknown", ending="length")
    assert '"The block is …"' in read[0]["messages"][0]["content"]


def test_a_language_model_that_says_the_opposite_of_a_plain_answer_is_not_believed():
    [answer], _, _ = decoded("No.", "yes")
    assert (answer.p_yes, answer.decoded) == (None, "yes")


def test_a_reply_is_data_of_the_prompt():
    """Quoted as JSON, so that its lines are none of the prompt's."""
    _, _, read = decoded('It is.\n\nQuestion: x\nReply: "y"\nAnswer: yes', "unknown")
    assert read[0]["messages"][0]["content"].count("\nReply: ") == 9


def test_a_language_model_that_is_down_is_an_outage():
    with bad.serving(says(PAPER)) as vlm, bad.serving(lambda h, b, n: h.reply({}, 401)) as lm:
        name = f"chat:llava@{vlm.url}?decoder=chat:reader@{lm.url}"
        with pytest.raises(ModelUnavailable, match="reader at"):
            load_vlm(name).answer([IMAGE], [Q[:1]])


def test_a_models_file_names_the_decoder_beside_the_vlm():
    config = ModelsConfig(
        vlm="chat:m@http://a/v1?least_mass=0.2", decoder="chat:lm@http://b/v1#A_KEY"
    )
    assert config.vlm_name == "chat:m@http://a/v1?least_mass=0.2&decoder=chat:lm@http://b/v1#A_KEY"
    assert ModelsConfig(vlm="compact").vlm_name == "compact"


@pytest.mark.parametrize(("name", "message"), [
    ("chat:m@http://a/v1?decoder=reader", "names no endpoint"),
    ("chat:m@http://a/v1?decoder=systemone:lm@http://b/v1", "no language model"),
    ("systemone:m@http://a/v1?decoder=chat:lm@http://b/v1", "valid after '\\?': nothing"),
    ("local:folder?decoder=chat:lm@http://b/v1", "valid after '\\?': least_mass"),
    ("compact?decoder=chat:lm@http://b/v1", "only a VLM of kind chat"),
    ("chat:m@http://a/v1?least_mass=much", "least_mass must be a number, not 'much'"),
    ("chat:m@http://a/v1?least_mass=2", "between 0 and 1"),
])  # fmt: skip
def test_wrong_options_end_in_one_line(name, message):
    with pytest.raises(ConfigError, match=message):
        load_vlm(name)


def test_an_unknown_option_is_not_shown_for_it_may_be_a_secret():
    with pytest.raises(ConfigError) as error:
        load_vlm("chat:m@http://a/v1?api_key=sk-secret")
    assert "secret" not in str(error.value)


def read_as(word: str, text: str, question: Question) -> float | None:
    """P(yes) of a reply that a language model reads as this word."""
    return Decoder(lambda _: word).read(text, question).p_yes


def test_the_replies_by_question_are_decoded_as_a_scripted_reader_says():
    """The label of every reply survives: neither thoughts' markers nor the comparison with the rules lose one."""
    groups = json.loads((Path(__file__).parent / "replies_by_question.json").read_text())
    labels = {"yes": 1.0, "no": 0.0, "unknown": None}
    for group in groups:
        for label, p in labels.items():
            for text in group[label]:
                assert read_as(label, text, Question(group["question"])) == p
