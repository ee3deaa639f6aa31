"""Conversion of an episode's summary to a row of plain values, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, get_args

import numpy as np

from soar.contract.contract import WIDOWX, Contract
from soar.data.store.content import check_id
from soar.errors import ConfigError, StoreError
from soar.types import (
    Answer,
    End,
    Episode,
    EpisodeSummary,
    Outcome,
    Proposal,
    Provenance,
    Question,
    Task,
    Verdict,
    Vote,
)
from soar.utils.config import from_plain, to_plain

Row = dict[str, Any]

_TASK_FIELDS = ("instruction", "question", "success_answer", "objects")
"""Stored fields of a task; `soar.tasks.question_file.task_of_episode` finds the others again."""


def summary_of(id: str, episode: Episode) -> EpisodeSummary:
    """Return an episode without its frames."""
    return EpisodeSummary(
        id, episode.instruction, len(episode), episode.verdict, episode.provenance, episode.contract,
        episode.interventions, episode.end,
    )  # fmt: skip


def to_row(summary: EpisodeSummary) -> Row:
    """Return columns to filter by, and the complete verdict and provenance as JSON."""
    provenance, verdict = summary.provenance, summary.verdict
    return {
        "id": summary.id,
        "instruction": summary.instruction,
        "length": summary.length,
        "station": provenance.station,
        "regime": provenance.regime,
        "scene": provenance.scene,
        "seed": str(provenance.seed),
        "started_s": float(provenance.started_s),
        "checkpoint": provenance.checkpoint,
        "round": int(provenance.round),
        "truth": provenance.truth,
        "provenance": to_json(vars(provenance)),
        "contract": _contract_text(summary.contract),
        "interventions": summary.interventions,
        "end": summary.end,
        **verdict_columns(verdict),
    }


def verdict_columns(verdict: Verdict) -> Row:
    """Return the columns of a verdict, which a later one replaces."""
    return {"outcome": verdict.outcome, "verdict": to_json(vars(verdict))}


def from_row(row: Mapping[str, Any]) -> EpisodeSummary:
    """Invert `to_row`. A row of schema 1 means the WidowX. Raises StoreError: the row is damaged."""
    id = check_id(row.get("id"))
    try:
        verdict = verdict_of(json.loads(row["verdict"]))
        provenance = _provenance(json.loads(row["provenance"]))
        instruction, length = row["instruction"], row["length"]
        ps = [verdict.p_success, *(v.p_success for v in verdict.votes)]
        valid = all(p is None or 0 <= p <= 1 for p in ps)
        if verdict.outcome not in get_args(Outcome) or not valid:
            raise ValueError(f"verdict {verdict.outcome!r:.20}, {ps!r:.40}")
        if not isinstance(instruction, str) or not isinstance(length, int) or length < 0:
            raise TypeError("instruction and length")
        contract, interventions = _contract(row.get("contract") or ""), row.get("interventions")
        end: Any = row.get("end") or "truncated"
        if end not in get_args(End) or not isinstance(interventions or 0, int):
            raise ValueError(f"end {end!r:.20}, interventions {interventions!r:.20}")
    except (
        ConfigError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        RecursionError,
    ) as error:
        problem = " ".join(f"{type(error).__name__}: {error}".split())[:100]
        raise StoreError(f"the row of episode '{id}' is damaged ({problem})") from error
    return EpisodeSummary(
        id, instruction, length, verdict, provenance, contract, interventions or 0, end
    )


def to_json(value: Any) -> str:
    """Convert a value to JSON, with numpy's scalars as numbers."""
    return json.dumps(value, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Question):
        return value.text
    if isinstance(value, Task):
        return {name: getattr(value, name) for name in _TASK_FIELDS}
    if isinstance(value, Proposal):
        return {k: v for k, v in vars(value).items() if k != "asked"}  # among `answers_before`
    if isinstance(value, Vote):
        return vars(value)
    raise TypeError(
        f"{type(value).__name__} can't be stored; valid: text, numbers, lists, mappings"
    )


@lru_cache(maxsize=64)
def _contract_text(contract: Contract) -> str:
    return to_json(to_plain(contract))


@lru_cache(maxsize=64)
def _contract(text: str) -> Contract:
    """Read a contract; "" is that of schema 1. Raises ConfigError, ValueError."""
    return from_plain(Contract, json.loads(text), "its contract") if text else WIDOWX


def verdict_of(fields: dict[str, Any]) -> Verdict:
    """Convert a verdict's plain data."""
    votes = tuple(Vote(**vote) for vote in fields.get("votes", ()))
    return Verdict(**fields | {"votes": votes})


def _provenance(fields: dict[str, Any]) -> Provenance:
    proposal = fields["proposal"]
    return Provenance(
        **fields
        | {
            "proposal": proposal and _proposal(proposal),
            "answers_before": _answers(fields["answers_before"]),
            "answers_after": _answers(fields["answers_after"]),
            "faults": tuple(fields["faults"]),
        }
    )


def _answers(rows: Sequence[Sequence[Any]]) -> tuple[Answer, ...]:
    return tuple(Answer(Question(question), *rest) for question, *rest in rows)


def _proposal(fields: dict[str, Any]) -> Proposal:
    task = {name: fields["task"][name] for name in _TASK_FIELDS}
    task |= {"question": Question(task["question"]), "objects": tuple(task["objects"])}
    return Proposal(
        **fields
        | {
            "task": Task(**task),
            "feasible": tuple(fields["feasible"]),
        }
    )
