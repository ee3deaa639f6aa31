import json
from dataclasses import asdict

import numpy as np
import pytest

from soar.data.store.rows import from_row, to_json, to_row
from soar.types import EpisodeSummary, Provenance, Query, Verdict
from soar.utils.config import from_plain


def test_a_summary_converts_to_a_row_and_back(make_episode):
    episode = make_episode(instruction="put the jalapeño in the “bowl”")
    summary = EpisodeSummary("x", episode.instruction, 4, episode.verdict, episode.provenance)
    assert from_row(json.loads(json.dumps(to_row(summary)))) == summary


def test_a_minimal_summary_converts_to_a_row_and_back():
    origin = Provenance("one", "bridge", "", 2**80, 0.0)
    summary = EpisodeSummary("x", "", 0, Verdict("unknown"), origin)
    assert from_row(to_row(summary)) == summary


def test_numpy_numbers_are_stored_as_numbers():
    assert to_json({"a": np.float32(0.5), "b": np.int64(3)}) == '{"a": 0.5, "b": 3}'
    with pytest.raises(TypeError, match="valid: text, numbers"):
        to_json({"a": object()})


def test_a_query_converts_to_json_and_back():
    query = Query(("a",), regimes=("soar",), rounds=(1, 2), since_s=1.5, version=3)
    assert from_plain(Query, json.loads(json.dumps(asdict(query))), "here") == query
