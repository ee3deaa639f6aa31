"""Typed yes/no questions over `/systemone`: transformers serve, vLLM, SGLang, llama.cpp.

Requests and replies have the shapes of the server in transformers (`transformers.cli.serving.systemone`).
"""

from __future__ import annotations

from collections.abc import Sequence

from soar.types import Answer, Question
from soar.utils.files import Json
from soar.vlm.clients.endpoint import Endpoint
from soar.vlm.clients.replies import read_systemone

_IMAGE = "<image-1>"
"""Placeholder in the state, which the server replaces by the asset of this name."""


class SystemOneVLM(Endpoint):
    """Client for questions of type "noul"; the server reads P(yes) off its next-token probabilities."""

    path = "/systemone"
    most_questions = 64

    def request(self, image: str, questions: Sequence[Question]) -> Json:
        """Build one state with one image, and the questions by name."""
        return {
            "model": self.config.model,
            "state": f"A robot's camera shows this tabletop: {_IMAGE}",
            "questions": {
                f"q{i}": {"type": "noul", "instructions": q.text} for i, q in enumerate(questions)
            },
            "assets": {_IMAGE: {"type": "image", "format": "png", "data_base64": image}},
        }

    def read(self, reply: Json, questions: Sequence[Question]) -> list[Answer]:
        """Read P(yes) of each question."""
        return read_systemone(reply, questions)
