"""Predicate questions over `/decisions`, in the shapes of the openai package's `client.decisions`."""

from __future__ import annotations

from collections.abc import Sequence

from soar.types import Answer, Question
from soar.utils.files import Json
from soar.vlm.clients.endpoint import Endpoint
from soar.vlm.clients.replies import read_decisions


class DecisionsVLM(Endpoint):
    """Client that asks for the probability of "yes"; a server may refuse single questions."""

    path = "/decisions"
    most_questions = 400

    def request(self, image: str, questions: Sequence[Question]) -> Json:
        """Build one message with the image, and one predicate for each question."""
        part = {"type": "input_image", "image_url": f"data:image/png;base64,{image}"}
        text = {
            "type": "input_text",
            "text": "This is what a robot's camera shows of its tabletop.",
        }
        return {
            "model": self.config.model,
            "input": [{"type": "message", "role": "user", "content": [part, text]}],
            "questions": [
                {
                    "type": "predicate",
                    "name": f"q{i}",
                    "instructions": f'Judging by the image, the answer to "{q}" is yes.',
                }
                for i, q in enumerate(questions)
            ],
        }

    def read(self, reply: Json, questions: Sequence[Question]) -> list[Answer]:
        """Read the probability of each predicate."""
        return read_decisions(reply, questions)
