"""Cards of checkpoints and exported data sets: what they are, what their numbers mean, how good and where from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from soar.checkpoint import Checkpoint
from soar.contract.contract import Contract
from soar.data.curation.card import describe
from soar.utils.files import Json
from soar.utils.statistics import Interval
from soar.utils.yaml_files import dump


class Result(NamedTuple):
    """A measured success rate."""

    scene: str
    success: Interval
    """With its 95 % interval."""
    trials: int


def checkpoint_card(
    checkpoint: Checkpoint, repo: str, license: str, results: Sequence[Result] = ()
) -> str:
    """Return a checkpoint's card as Markdown, with the front matter that the Hub reads.

    Args:
        checkpoint: the checkpoint.
        repo: its place on the Hub, "org/name".
        license: as the Hub abbreviates it, such as "mit".
        results: measured success rates.
    """
    front: dict[str, Json] = {
        "license": license or "unknown",
        "library_name": "soar-robot",
        "pipeline_tag": "robotics",
        "tags": ["soar", "robotics", checkpoint.kind],
    }
    if results:
        front["model-index"] = [{"name": repo, "results": [_indexed(r) for r in results]}]
    numbers = sum(w.numel() for w in checkpoint.weights.values())
    parts = [
        f"---\n{dump(front)}---\n# {repo}",
        f"A `{checkpoint.kind}` of [SOAR](https://auto-improvement.github.io), {numbers / 1e6:.1f} million numbers, "
        f"checkpoint `{checkpoint.id}`. The weights are safetensors; loading them runs no code.",
        f"```\nsoar hub pull {repo}\n```\n\nIts name in every option and file that names a model: `hub:{repo}`.",
        "## What the numbers mean\n\n" + describe(checkpoint.contract),
    ]
    if results:
        parts.append("## Results\n\n" + _table(results))
    parts.append("## Provenance\n\n" + _yaml(checkpoint.provenance))
    return "\n\n".join(parts) + "\n"


def data_set_card(
    repo: str, license: str, format: str, contract: Contract | None, facts: Mapping[str, Json]
) -> str:
    """Return the card of a data set in another format than the store's.

    Args:
        repo: its place on the Hub, "org/name".
        license: as the Hub abbreviates it.
        format: "lerobot" or "rlds".
        contract: meaning of its numbers, where known.
        facts: what its own files say of its size and origin.
    """
    front: dict[str, Json] = {
        "license": license or "unknown",
        "task_categories": ["robotics"],
        "tags": ["soar", "robotics", "LeRobot" if format == "lerobot" else "RLDS"],
    }
    if format == "lerobot":
        front["configs"] = [{"config_name": "default", "data_files": "data/*/*.parquet"}]
    parts = [
        f"---\n{dump(front)}---\n# {repo}",
        f"Episodes of robots that improve on their own ([SOAR](https://auto-improvement.github.io)), as {format}.",
        f"```\nsoar data import hub:datasets/{repo} --store S\n```",
        _yaml(facts),
    ]
    if contract is not None:
        parts.append("## What the numbers mean\n\n" + describe(contract))
    return "\n\n".join(parts) + "\n"


def _indexed(result: Result) -> Json:
    metric = {
        "type": "success_rate",
        "name": "success rate",
        "value": round(result.success.value, 4),
    }
    return {
        "task": {"type": "robotics"},
        "dataset": {"type": "soar", "name": result.scene},
        "metrics": [metric],
    }


def _table(results: Sequence[Result]) -> str:
    lines = [
        f"| {r.scene} | {r.success.value:.0%} | {r.success.low:.0%} to {r.success.high:.0%} | {r.trials} |"
        for r in results
    ]
    head = ["| scene | success | 95 % interval | trials |", "|---|---|---|---|"]
    return "\n".join([*head, *lines])


def _yaml(plain: Mapping[str, Json]) -> str:
    return f"```yaml\n{dump(dict(plain))}```"
