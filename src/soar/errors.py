"""Errors that users can meet. Each message is one line: what is wrong and what is valid."""

import traceback


def described(error: BaseException) -> str:
    """Return an exception of other people's code in one line: its kind, where it was raised, and its text."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}: {text_of(error)}"


def text_of(error: BaseException) -> str:
    """Return an exception's text in one line of at most 300 characters, whatever its class makes of it."""
    try:
        return " ".join(str(error).split())[:300]
    except Exception as other:  # noqa: BLE001  a __str__ of others may raise anything
        return f"(its text raised {type(other).__name__})"


class SoarError(Exception):
    """Base of this package's errors; the command line prints them without a traceback."""


class ConfigError(SoarError):
    """A setting isn't valid; the message names the valid choices."""


class FileError(SoarError, OSError):
    """A file can't be written."""


class NoFeasibleTask(SoarError):
    """No task can be chosen for the current scene."""


class StoreError(SoarError):
    """An episode store can't be opened, read or written."""


class ContentError(StoreError):
    """An episode has content that a store can't hold; another attempt doesn't help, and the episode is dropped."""


class CheckpointError(SoarError):
    """A checkpoint is missing, damaged, or doesn't fit the model that it is loaded into."""


class RobotFault(SoarError):
    """A robot can't continue by itself; the running episode is dropped. `recover()` may help."""


class CameraFault(RobotFault):
    """A camera is disconnected, or its image is frozen."""


class MotionHeld(RobotFault):
    """A person's emergency stop, or a missing heartbeat of the operator, holds the robot."""


class BadOutput(SoarError):
    """A model's output violates its interface; the running episode is dropped."""


class UnsafeAction(BadOutput):
    """A policy's action isn't finite numbers of the robot's width."""


class ModelUnavailable(SoarError):
    """A model (VLM endpoint, subgoal server) didn't answer within its retries and time limit."""
