"""Features of RLDS data sets: `features.json`, and the two data sets that are written.

A feature is named by its path, as in a `tf.train.Example`: "steps/observation/image_0".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from soar.errors import ConfigError
from soar.utils.files import Json

_CORE = "tensorflow_datasets.core.features"
_DICT = f"{_CORE}.features_dict.FeaturesDict"
_SEQUENCES = ("dataset_feature.Dataset", "sequence_feature.Sequence")


class Feature(NamedTuple):
    """One leaf of a data set's features."""

    kind: Literal["image", "tensor", "text", "other"]
    doc: str = ""
    shape: tuple[int, ...] = ()
    """Shape for one step; 0 stands for a free size."""
    dtype: str = ""
    """numpy's name of a number's type."""


Features = Mapping[str, Feature]


def to_json(features: Features) -> Json:
    """Return the content of `features.json`."""
    tree = _tree(features)
    children = {name: _node(name, child) for name, child in tree.items()}
    return {
        "type": _DICT,
        "content": {"features": children},
        "proto_cls": "tensorflow_datasets.FeaturesDict",
    }


def from_json(content: Json) -> dict[str, Feature]:
    """Return the features that a `features.json` describes. Raises ConfigError."""
    try:
        found: dict[str, Feature] = {}
        for name, node in content["content"]["features"].items():
            _collect(name, node, found)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise ConfigError(f"features.json describes no data set ({error!r:.80})") from error
    return found


def _tree(features: Features) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, feature in features.items():
        *parents, name = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = feature
    return tree


def _node(name: str, child: Any) -> Json:
    if isinstance(child, Feature):
        return _leaf(child)
    features = {key: _node(key, value) for key, value in child.items()}
    group = {"pythonClassName": _DICT, "featuresDict": {"features": features}}
    if name != "steps":
        return group
    return {
        "pythonClassName": f"{_CORE}.dataset_feature.Dataset",
        "sequence": {"feature": group, "length": "-1"},
    }


def _leaf(feature: Feature) -> Json:
    shape = {"dimensions": [str(n) for n in feature.shape]} if feature.shape else {}
    described = {"description": feature.doc} if feature.doc else {}
    if feature.kind == "text":
        return {"pythonClassName": f"{_CORE}.text_feature.Text", "text": {}} | described
    if feature.kind == "image":
        image = {"shape": shape, "dtype": "uint8", "encodingFormat": "jpeg"}
        return {"pythonClassName": f"{_CORE}.image_feature.Image", "image": image} | described
    kind = "tensor_feature.Tensor" if feature.shape else "scalar.Scalar"
    tensor = {"shape": shape, "dtype": feature.dtype, "encoding": "none"}
    return {"pythonClassName": f"{_CORE}.{kind}", "tensor": tensor} | described


def _collect(path: str, node: Json, found: dict[str, Feature]) -> None:
    """Add the leaves below a node of `features.json`."""
    doc = node.get("description", "")
    if "featuresDict" in node:
        for name, child in node["featuresDict"]["features"].items():
            _collect(f"{path}/{name}", child, found)
    elif "sequence" in node and node["pythonClassName"].endswith(_SEQUENCES):
        _collect(path, node["sequence"]["feature"], found)
    elif "image" in node:
        gray = _shape(node["image"])[2:] == (1,) or node["image"].get("dtype") != "uint8"
        kind: Literal["image", "other"] = "other" if gray else "image"
        found[path] = Feature(kind, doc, _shape(node["image"]))
    elif "tensor" in node:
        found[path] = Feature("tensor", doc, _shape(node["tensor"]), node["tensor"]["dtype"])
    elif "text" in node:
        found[path] = Feature("text", doc)
    else:
        found[path] = Feature("other", doc)


def _shape(node: Json) -> tuple[int, ...]:
    return tuple(max(0, int(n)) for n in node.get("shape", {}).get("dimensions", ()))


_IMAGE = (256, 256, 3)
_STATE_DOC = "Robot end effector state, consists of [3x XYZ, 3x roll-pitch-yaw, 1x gripper]"
_ACTION_DOC = (
    "Robot action, consists of [3x XYZ delta, 3x roll-pitch-yaw delta, 1x gripper absolute]."
)
_STEPS: Features = {
    "steps/observation/image_0": Feature(
        "image", "Main camera RGB observation (fixed position).", _IMAGE
    ),
    "steps/observation/state": Feature("tensor", _STATE_DOC, (7,), "float32"),
    "steps/action": Feature("tensor", _ACTION_DOC, (7,), "float32"),
    "steps/is_first": Feature("tensor", "True on first step of the episode.", (), "bool"),
    "steps/is_last": Feature("tensor", "True on last step of the episode.", (), "bool"),
    "steps/language_instruction": Feature("text", "Language Instruction."),
    "episode_metadata/file_path": Feature("text", "Path to the original data file."),
    "episode_metadata/has_language": Feature(
        "tensor",
        "True if language exists in observation, otherwise empty string.",
        (),
        "bool",
    ),
}
SOAR: Features = {
    **_STEPS,
    "steps/goal": Feature("image", "Goal image. Generated by SuSIE.", _IMAGE),
    "episode_metadata/task_list": Feature(
        "text", "List of language task that is available for the scene."
    ),
    "episode_metadata/object_list": Feature("text", "List of object in the scene."),
    "episode_metadata/time": Feature("text", "Time the episode is recorded."),
    "episode_metadata/robot_id": Feature("text", "Robot ID."),
    "episode_metadata/success": Feature(
        "tensor",
        "True if the episode is deemed successful by VLM, otherwise False.",
        (),
        "bool",
    ),
}
"""Features of `soar_dataset` 1.0.0, the paper's data set, as its converter declares them."""
BRIDGE_CAMERAS = tuple(f"image_{k}" for k in range(4))
BRIDGE: Features = {
    **_STEPS,
    **{
        f"steps/observation/{name}": Feature("image", "Camera RGB observation.", _IMAGE)
        for name in BRIDGE_CAMERAS
    },
    "steps/is_terminal": Feature("tensor", "True on a terminal last step.", (), "bool"),
    "steps/discount": Feature("tensor", "1 on every step.", (), "float32"),
    "steps/reward": Feature("tensor", "1 on the last step of a success.", (), "float32"),
    "episode_metadata/episode_id": Feature("tensor", "ID of episode in file_path.", (), "int32"),
    **{
        f"episode_metadata/has_{name}": Feature(
            "tensor", f"True if {name} exists, otherwise dummy value.", (), "bool"
        )
        for name in BRIDGE_CAMERAS
    },
}
"""Features of `bridge_dataset` 1.0.0 that its loaders read: no depth, no sentence embedding."""
