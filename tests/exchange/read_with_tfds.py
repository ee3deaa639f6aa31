"""Print what TensorFlow Datasets reads in a folder, as JSON; it runs in an environment with tensorflow-datasets alone.

python read_with_tfds.py FOLDER
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.example_parser import ExampleParserNp


def records(path):
    """The payloads of a TFRecord file, by lengths alone."""
    data = path.read_bytes()
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 8], "little")
        yield data[at + 12 : at + 12 + length]
        at += 16 + length


def summary(episode):
    steps = episode["steps"]
    numbers = {k: v for k, v in steps.items() if k not in ("observation", "goal")}
    images = [*steps["observation"]["image_0"], *steps.get("goal", ())]
    return {
        "action": np.asarray(numbers["action"]).tolist(),
        "state": np.asarray(steps["observation"]["state"]).tolist(),
        "is_last": [bool(v) for v in numbers["is_last"]],
        "instruction": numbers["language_instruction"][0].decode(),
        "images": [hashlib.sha256(np.ascontiguousarray(i).tobytes()).hexdigest() for i in images],
        "metadata": {
            k: v.decode() if isinstance(v, bytes) else np.asarray(v).item()
            for k, v in episode["episode_metadata"].items()
        },
    }


def main():
    builder = tfds.builder_from_directory(sys.argv[1])
    parser = ExampleParserNp(builder.info.features.get_serialized_info())
    found = {}
    for name, split in builder.info.splits.items():
        paths = [Path(path) for path in split.filepaths]
        parsed = [parser.parse_example(r) for path in paths for r in records(path)]
        assert len(parsed) == split.num_examples
        decoded = [builder.info.features.decode_example_np(e) for e in parsed]
        for episode in decoded:
            if not isinstance(episode["steps"], dict):
                steps = list(episode["steps"])
                episode["steps"] = {
                    key: [step[key] for step in steps] for key in steps[0] if key != "observation"
                } | {
                    "observation": {
                        key: [step["observation"][key] for step in steps]
                        for key in steps[0]["observation"]
                    }
                }
        found[name] = [summary(episode) for episode in decoded]
    print(json.dumps(found))


main()
