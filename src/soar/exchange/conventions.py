"""Data sets whose numbers are compared with their contract while they are read, and converted on request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from soar.contract.contract import ActionNumbers, Contract, Numbers
from soar.contract.convert import Conversion, as_widowx
from soar.contract.evidence import Evidence
from soar.data.store.images import decode, encode
from soar.exchange.recording import Recording
from soar.exchange.stores import Reader


class Examined:
    """A data set that is examined while it is read.

    Args:
        reader: the data set.
        convert: whether to express it in the WidowX's terms (meters, radians, deltas, gripper 0 closed to 1 open, RGB).

    Raises:
        ConfigError: it can't be converted.
    """

    def __init__(self, reader: Reader, convert: bool = False) -> None:
        self._reader, self._convert = reader, convert
        self._evidence: dict[tuple[ActionNumbers, Numbers], Evidence] = {}
        self.contract = _target(reader.contract) if convert else reader.contract

    @property
    def name(self) -> str:
        """Name of the data set."""
        return self._reader.name

    def __len__(self) -> int:
        """Number of episodes."""
        return len(self._reader)

    def read(self) -> Iterator[Recording]:
        """See `Reader.read`."""
        for recording in self._reader.read():
            contract = recording.contract
            widths = recording.actions.shape[1], recording.states.shape[1]
            finite = np.isfinite(recording.actions).all() and np.isfinite(recording.states).all()
            if widths != (contract.action.dim, contract.state.dim) or not finite:
                yield recording  # it is refused where it would be stored
                continue
            meaning = (contract.action, contract.state)
            self._evidence.setdefault(meaning, Evidence(contract)).add(
                recording.actions, recording.states
            )
            yield converted(recording) if self._convert else recording

    def contradictions(self) -> list[str]:
        """Return one line for each number read so far that doesn't look like what the contract says."""
        lines = [line for e in self._evidence.values() for line in e.contradictions()]
        return list(dict.fromkeys(lines))


def converted(recording: Recording) -> Recording:
    """Return an episode in the WidowX's terms, with its own period and cameras. Raises ConfigError."""
    source, target = recording.contract, _target(recording.contract)
    if source == target:
        return recording
    conversion, before = Conversion(source, target), recording.states[:-1]
    origin = recording.provenance
    bgr = {camera.name for camera in source.cameras if camera.color == "bgr"}
    goals = list(recording.subgoals)
    if source.camera_names[0] in bgr:  # subgoals are images of the primary camera
        images = _rgb([image for _, image in goals])
        goals = [(step, image) for (step, _), image in zip(goals, images, strict=True)]
    return replace(
        recording,
        contract=target,
        cameras={
            name: _rgb(images) if name in bgr else images
            for name, images in recording.cameras.items()
        },
        subgoals=goals,
        states=conversion.state(recording.states),
        actions=conversion.action(recording.actions, before),
        commanded=conversion.action(recording.commanded, before),
        provenance=replace(origin, code_version=f"{origin.code_version}, converted".strip(", ")),
    )


def _target(contract: Contract) -> Contract:
    return replace(as_widowx(contract), chunk=contract.chunk)


def _rgb(images: Sequence[bytes]) -> list[bytes]:
    """Return image files with red and blue exchanged, which encodes them anew."""
    return [encode(decode(image)[..., ::-1]) for image in images]
