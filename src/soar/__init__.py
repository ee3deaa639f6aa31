"""Instruction-following robots that improve on their own.

The names that programs and plug-ins need are importable from here, each from its module when it is first used, so that
`import soar` takes no time. `__init__.pyi` tells type checkers the same. Everything else: docs/architecture.md.
"""

import importlib

__version__ = "0.1.0"

_MODULES = {
    "types": (
        "Action", "Actions", "Answer", "EpisodeFrames", "Image", "Images", "Noise", "Observation", "Outcome",
        "Proposal", "Query", "Question", "Subgoal", "Task", "Verdict",
    ),
    "interfaces": (
        "EpisodeStore", "Policy", "Robot", "SubgoalGenerator", "SuccessDetector", "TaskProposer",
        "VisionLanguageModel",
    ),
    "errors": ("ConfigError", "ModelUnavailable", "RobotFault", "SoarError", "StoreError"),
    "registry": ("load_detector", "load_policy", "load_subgoals", "load_vlm"),
    "data.store.lance": ("open_store",),
    "data.frame_cache": ("build_frames",),
    "collection.config": ("CollectionConfig",),
    "collection.fleet": ("CollectionJob", "run_fleet"),
    "rollout.loop": ("run_episodes",),
    "rollout.models": ("ModelsConfig",),
    "rollout.station": ("EpisodeConfig", "Station"),
    "rollout.station_config": ("StationConfig",),
    "tasks.grammar": ("task_from_instruction",),
    "tasks.success_detector": ("to_verdict",),
}  # fmt: skip
_HOME = {name: f"soar.{module}" for module, names in _MODULES.items() for name in names}
__all__ = sorted(["__version__", *_HOME])


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(
            f"module 'soar' has no attribute '{name}'; valid: {', '.join(__all__)}"
        )
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
