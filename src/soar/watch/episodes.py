"""Stored episodes: the list, an episode's film, answers and provenance, and a person's labels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from soar.data.store.rows import to_row
from soar.data.store.steps import read_numbers, read_table
from soar.errors import ConfigError
from soar.report.videos import episode_video
from soar.types import SUCCESS_THRESHOLD, EpisodeSummary
from soar.utils.files import Json
from soar.watch.panel import Panel, Values, post, route, whole
from soar.watch.place import Place, readable
from soar.watch.values import EpisodeValuer

PAGE = 48
"""Episodes of a list that are sent at once."""
LABELS: dict[str, bool | None] = {"success": True, "failure": False, "unsure": None}
_WORDS = {success: word for word, success in LABELS.items()}
_FOREVER = {"Cache-Control": "private, max-age=31536000, immutable"}
"""Frames never change."""


def episodes(place: Place) -> Panel:
    """Return the panel of the episodes, with a film of each."""
    valuer = EpisodeValuer(place.critic) if place.critic else None
    return Panel(
        "episodes",
        "Episodes",
        (
            route("/api/episodes", partial(_list, place)),
            route("/api/episodes/{id}", partial(_detail, place)),
            route("/api/episodes/{id}/film.mp4", partial(_film, place)),
            route("/api/episodes/{id}/values", partial(_values, place, valuer)),
            route("/api/episodes/{id}/{column}/{step}.jpg", partial(_frame, place)),
        ),
        partial(_store_values, place),
    )


def labels(place: Place) -> Panel:
    """Return the panel of a person's labels, the most doubtful verdicts first."""
    return Panel(
        "label",
        "Label",
        (
            route("/api/doubtful", partial(_doubtful, place)),
            post("/api/episodes/{id}/label", partial(_label, place)),
        ),
    )


def doubt(episode: EpisodeSummary) -> float:
    """Return how near a verdict's P(success) is to the threshold, from 0 to 0.5; below 0 without a probability.

    Episodes without a verdict come last, as `soar judge` may still judge them.
    """
    p = episode.verdict.p_success
    return -1.0 if p is None else 0.5 - abs(p - SUCCESS_THRESHOLD)


def _store_values(place: Place) -> Values:
    version, found = readable(place)
    return {"store": {"version": version, "episodes": len(found)}}


def _list(place: Place, request: Request) -> Json:
    query, known = request.query_params, place.read_labels()
    found = [e for e in reversed(place.episodes()[1]) if _matches(e, query, known)]
    first = whole("from", query.get("from", "0"))
    everything = place.episodes()[1]
    return {
        "total": len(found),
        "episodes": [_row(e, known) for e in found[first : first + PAGE]],
        "tasks": sorted({e.instruction for e in everything}),
        "stations": sorted({e.provenance.station for e in everything}),
    }


def _matches(
    episode: EpisodeSummary, query: Mapping[str, str], known: Mapping[str, bool | None]
) -> bool:
    values = {
        "task": episode.instruction,
        "station": episode.provenance.station,
        "outcome": episode.verdict.outcome,
        "label": _label_word(episode.id, known) or "none",
    }
    return all(query.get(k, "") in ("", v) for k, v in values.items())


def _row(episode: EpisodeSummary, known: Mapping[str, bool | None]) -> Json:
    origin, verdict = episode.provenance, episode.verdict
    return {
        "id": episode.id,
        "task": episode.instruction,
        "length": episode.length,
        "station": origin.station,
        "scene": origin.scene,
        "round": origin.round,
        "started_s": origin.started_s,
        "outcome": verdict.outcome,
        "p": verdict.p_success,
        "label": _label_word(episode.id, known),
    }


def _label_word(id: str, known: Mapping[str, bool | None]) -> str:
    return _WORDS[known[id]] if id in known else ""


def _detail(place: Place, request: Request) -> Json:
    """Return everything about an episode but its frames."""
    id = request.path_params["id"]
    store = place.opened()
    episode = store.summary(id)
    path, rows = store.steps_path(id), range(episode.length + 1)
    with place.frames:
        subgoals = read_table(path, rows, "subgoal")["subgoal"].to_pylist()
    actions, _, _, times_s = read_numbers(path)
    row = to_row(episode)
    return {
        **_row(episode, place.read_labels()),
        "verdict": json.loads(row["verdict"]),
        "provenance": json.loads(row["provenance"]),
        "contract": json.loads(row["contract"]),
        "interventions": episode.interventions,
        "end": episode.end,
        "subgoals": [step for step, data in enumerate(subgoals) if data is not None],
        "times_s": [round(float(t - times_s[0]), 3) for t in times_s],
        "gripper": [round(float(a), 3) for a in actions[:, -1]],
        "has_critic": bool(place.critic),
    }


def _frame(place: Place, request: Request) -> Json:
    """Return a frame or a subgoal as it is stored, without decoding it."""
    column, step = request.path_params["column"], whole("step", request.path_params["step"])
    if column not in ("image", "subgoal"):
        raise ConfigError(f"no pictures '{column:.40}'; valid: image, subgoal")
    path = place.opened().steps_path(request.path_params["id"])
    with place.frames:
        [data] = read_table(path, [step], column)[column].to_pylist()
    if data is None:
        raise ConfigError(f"no subgoal begins at step {step}")
    kind = "image/png" if data[:4] == b"\x89PNG" else "image/jpeg"
    return Response(data, media_type=kind, headers=_FOREVER)


def _film(place: Place, request: Request) -> Json:
    film = episode_video(place.opened().load(request.path_params["id"]))
    return Response(film, media_type="video/mp4")


def _values(place: Place, valuer: EpisodeValuer | None, request: Request) -> Json:
    """Return the critic's value of each executed action; none without a critic."""
    if valuer is None:
        return {"values": []}
    values = valuer(place.opened().load(request.path_params["id"]))
    return {"values": [round(float(v), 4) for v in values]}


def _doubtful(place: Place, request: Request) -> Json:
    known, found = place.read_labels(), place.episodes()[1]
    left = sorted((e for e in found if e.id not in known), key=doubt, reverse=True)
    return {
        "left": len(left),
        "labeled": len(found) - len(left),
        "episodes": [_row(e, known) for e in left[:PAGE]],
    }


def _label(place: Place, request: Request, body: Json) -> Json:
    word = body.get("label") if isinstance(body, dict) else None
    if word not in (*LABELS, ""):
        raise ConfigError(f"a label is one of {', '.join(LABELS)}, or empty to forget it")
    id = request.path_params["id"]
    place.write_label(id, LABELS.get(word), forget=not word)
    return {"id": id, "label": word, "labeled": len(place.read_labels())}
