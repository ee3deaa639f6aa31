"""A VLM of another package: `--vlm bright` answers by the brightness of each half of the image."""

from __future__ import annotations

from collections.abc import Sequence

from soar import Answer, Image, Question


class BrightVLM:
    """Knows left and right alone; everything else is unknown, which never becomes a label."""

    name = "bright"

    def answer(
        self, images: Sequence[Image], questions: Sequence[Sequence[Question]]
    ) -> list[list[Answer]]:
        """Return one answer to each question about each image."""
        return [
            [self._one(image, question) for question in asked]
            for image, asked in zip(images, questions, strict=True)
        ]

    def _one(self, image: Image, question: Question) -> Answer:
        if question.kind not in ("left", "right"):
            return Answer(question, None, "I only know left and right")
        middle = image.shape[1] // 2
        left, right = float(image[:, :middle].mean()), float(image[:, middle:].mean())
        p_left = left / max(left + right, 1e-9)
        p = p_left if question.kind == "left" else 1 - p_left
        return Answer(question, p, f"{left:.0f} against {right:.0f}", "probability")
