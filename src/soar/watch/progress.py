"""A run of improvement from its beginning to its report: stages, films of trials, and the report itself."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse

from soar.errors import ConfigError
from soar.evaluation.results import Evaluation
from soar.evaluation.tables import video_of
from soar.improvement.run import RoundRecord, Run, RunRecord
from soar.utils.files import Json, short_name
from soar.utils.objects import object_of
from soar.watch.panel import Panel, Values, post, route, whole
from soar.watch.place import Place, readable

STAGES = {
    "collect": "collect",
    "finetune": "subgoal generator learns",
    "fit": "policy learns",
    "evaluate": "success after",
    "decide": "promote or keep",
}
"""Stages of a round, and the words that the page shows."""
_FILMS = 8
"""Newest trials whose films are shown."""
_REPORT_HEADERS = {
    "Content-Security-Policy": (
        "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
        "img-src data:; media-src data:"
    )
}
"""The report's own script may run, but as if from another origin: it can't steer anything."""


def progress(place: Place) -> Panel:
    """Return the panel of the run, or of a store's report alone."""
    return Panel(
        "run",
        "Run" if place.run else "Report",
        (
            route("/report", partial(_report, place)),
            post("/api/report", partial(_write_report, place)),
            route("/api/trials/{round}/{number}.mp4", partial(_trial, place)),
        ),
        partial(_values, place),
    )


def _values(place: Place) -> Values:
    report = _report_path(place)
    written_s = report.stat().st_mtime if report.is_file() else None
    shown: dict[str, Json] = {"report_s": written_s, "folder": short_name(_folder(place))}
    if place.run is not None:
        shown |= _run_values(place, place.run)
    return {"run": shown}


def _run_values(place: Place, run: Run) -> dict[str, Json]:
    if not (run.folder / "run.json").exists():
        return {
            "title": "A run is about to begin",
            "stages": [_stage("measure the machine, prepare", True)],
        }
    try:
        record, evaluations = run.record(), run.evaluations()
    except ConfigError as error:
        return {"title": "The run can't be read", "stages": [], "problem": str(error)}
    return {
        "title": record.title,
        "started_s": record.started_s,
        "command": record.command,
        "stages": _stages(place, run, record, evaluations),
        "decisions": [f"Round {r.index}: {r.decision}" for r in record.rounds if r.decision],
        "films": _films(evaluations),
    }


def _stages(
    place: Place, run: Run, record: RunRecord, evaluations: Mapping[int, Evaluation]
) -> list[Json]:
    """Return every stage with its state; the first that isn't done is going on."""
    stages: list[Json] = []
    began = not record.config.get("stations")  # trials of real stations are all in the rounds
    if began:
        seconds = record.seconds.get("evaluate")
        stages.append(_stage("success before", False, seconds, _trials(evaluations.get(0))))
        evaluated = record.rounds or ((first := evaluations.get(0)) and first.finished)
        stages[-1]["state"] = "done" if seconds is not None and evaluated else "now"
    known = {r.index: r for r in record.rounds}
    for index in range(1, record.rounds_requested + 1):
        this = known.get(index, RoundRecord(index))
        names = list(STAGES)
        next_stage = names.index(this.stage) if this.stage in names else len(names)
        for number, name in enumerate(names):
            is_busy = all(s["state"] == "done" for s in stages) and number == next_stage
            found = _stage(STAGES[name], is_busy, this.seconds.get(name))
            found["round"] = index if record.rounds_requested > 1 else None
            found["state"] = "done" if number < next_stage else "now" if is_busy else "next"
            found |= _progress_of(place, run, record, index, name, evaluations)
            stages.append(found)
    done = all(s["state"] == "done" for s in stages)
    written = _report_path(place).is_file()
    stages.append(_stage("report", done and not written))
    stages[-1]["state"] = "done" if done and written else "now" if done else "next"
    return stages


def _stage(
    name: str, is_busy: bool, seconds: float | None = None, more: Mapping[str, Json] | None = None
) -> dict[str, Json]:
    state = "now" if is_busy else "next"
    return {"name": name, "state": state, "seconds": seconds, **(more or {})}


def _progress_of(
    place: Place,
    run: Run,
    record: RunRecord,
    index: int,
    stage: str,
    evaluations: Mapping[int, Evaluation],
) -> dict[str, Json]:
    """Return how far a stage is: share, and words."""
    if stage == "evaluate":
        return _trials(evaluations.get(index))
    if stage == "collect":
        limited = (record.config.get("collect") or {}).get("minutes")
        total = 0 if limited else int(record.config.get("episodes") or 0) * len(record.scenes)
        count = sum(e.provenance.round == index for e in readable(place)[1])
        return _share(count, total, "episodes")
    try:
        logs = {"fit": run.train_logs, "finetune": run.finetune_logs}
        rows = logs[stage]().get(index, []) if stage in logs else []
        total = run.steps(record, index) if stage == "fit" else 0
    except ConfigError:
        return {}
    if not rows:
        return {}
    return _share(int(rows[-1]["step"]), total, "steps", f"loss {rows[-1]['loss']:.3f}")


def _trials(evaluation: Evaluation | None) -> dict[str, Json]:
    if evaluation is None:
        return {}
    total = evaluation.setting.trials * len(evaluation.setting.tasks)
    successes = sum(t.outcome == "success" for t in evaluation.trials)
    return _share(len(evaluation.trials), total, "trials", f"{successes} successes")


def _share(count: int, total: int, what: str, more: str = "") -> dict[str, Json]:
    words = f"{count} of {total} {what}" if total else f"{count} {what}"
    return {
        "share": min(1.0, count / total) if total else None,
        "words": f"{words}, {more}" if more else words,
    }


def _films(evaluations: Mapping[int, Evaluation]) -> list[Json]:
    """Return the newest trials with a film, the last one first."""
    films: list[Json] = []
    for index in sorted(evaluations, reverse=True):
        trials = evaluations[index].trials
        for number in range(len(trials) - 1, -1, -1):
            if len(films) == _FILMS:
                return films
            if video_of(evaluations[index], trials[number]):
                trial = trials[number]
                films.append(
                    {
                        "url": f"/api/trials/{index}/{number}.mp4",
                        "task": trial.instruction,
                        "outcome": trial.outcome,
                        "when": "before" if index == 0 else f"after round {index}",
                    }
                )
    return films


def _trial(place: Place, request: Request) -> Json:
    evaluations = place.run.evaluations() if place.run else {}
    index, number = (whole(name, request.path_params[name]) for name in ("round", "number"))
    evaluation = evaluations.get(index)
    trials: Sequence[object] = evaluation.trials if evaluation else ()
    if evaluation is None or number >= len(trials):
        raise ConfigError(f"no trial {number} of evaluation {index}")
    path = video_of(evaluation, evaluation.trials[number])
    if path is None:
        raise ConfigError(f"trial {number} of evaluation {index} has no film")
    return FileResponse(path, media_type="video/mp4")


def _report(place: Place, request: Request) -> Json:
    path = _report_path(place)
    if not path.is_file():
        raise ConfigError("no report has been written yet")
    return FileResponse(path, media_type="text/html", headers=_REPORT_HEADERS)


def _write_report(place: Place, request: Request, body: Json) -> Json:
    from soar.report.page import write_report  # with torch, which the page doesn't need

    began_s = time.monotonic()
    path = write_report(_folder(place), _report_path(place))
    return {"path": str(path), "seconds": round(time.monotonic() - began_s, 1)}


def _folder(place: Place) -> Path:
    return place.run.folder if place.run else place.store


def _report_path(place: Place) -> Path:
    """Return the report's file; that of a store in object storage stays on this machine."""
    folder = _folder(place)
    return (folder if place.run or not object_of(folder) else folder / "report") / "report.html"
