"""The errors a user can meet. Each message is one line: what was wrong and what is valid."""


class SoarError(Exception):
    """Base of every error this package raises on purpose; the command line prints it without a traceback."""


class ConfigError(SoarError):
    """A setting is not usable; the message names the valid choices."""


class NoFeasibleTask(SoarError):
    """No task of the list can be chosen for the scene as it is."""


class StoreError(SoarError):
    """The episode store can't be opened, read or written."""


class CheckpointError(SoarError):
    """A checkpoint is missing, damaged, or doesn't fit what it is loaded into."""


class RobotFault(SoarError):
    """The robot can't go on by itself; the running episode is dropped. `recover()` may help."""


class CameraFault(RobotFault):
    """The camera is gone or shows a frozen picture."""


class BadOutput(SoarError):
    """A model returned something that isn't what its interface says; the running episode is dropped."""


class UnsafeAction(BadOutput):
    """A policy asked for something that is not a motion: not seven finite numbers."""


class ModelUnavailable(SoarError):
    """A model (VLM endpoint, subgoal server) did not answer within its retries and time limit."""
