import threading
import time
from pathlib import Path

import numpy as np
import pytest

from soar.errors import CameraFault
from soar.robots.hardware.camera import Camera


class Fake:
    """A source whose frames have their number as brightness, one whenever `step` lets it go on."""

    def __init__(self, frames: int = 10**6) -> None:
        self.step, self.taken = threading.Semaphore(1), threading.Semaphore(0)
        self.count, self.frames, self.closed = 0, frames, 0

    def read(self):
        self.step.acquire()
        if self.count >= self.frames:
            return None
        self.count += 1
        self.taken.release()
        return np.full((4, 6, 3), self.count, np.uint8)

    def close(self) -> None:
        self.closed += 1


def advance(source: Fake, count: int = 1) -> None:
    for _ in range(count):
        source.step.release()


def test_a_reader_that_is_slower_than_the_camera_sees_the_newest_frame():
    source = Fake()
    camera = Camera(lambda: source)
    advance(source, 40)
    end = time.monotonic() + 5
    while camera.read().image[0, 0, 0] != 41:
        assert time.monotonic() < end
        time.sleep(0.001)
    first = camera.read()
    assert camera.read().time_s == first.time_s  # no new one came
    advance(source)
    camera.close()


def test_a_frame_carries_the_time_at_which_it_arrived_and_a_stale_one_is_a_fault():
    now, source = [100.0], Fake()
    camera = Camera(lambda: source, stale_s=0.5, now=lambda: now[0])
    assert camera.read().time_s == 100.0
    now[0] = 100.4
    assert camera.read().time_s == 100.0
    now[0] = 100.75
    with pytest.raises(CameraFault, match=r"newest frame is 0\.75 s old"):
        camera.read()
    advance(source)
    assert camera.read_next(5).time_s == 100.75
    camera.close()


class Unplugged(Fake):
    """A source that can't be closed."""

    def close(self) -> None:
        super().close()
        raise OSError("no such device")


@pytest.mark.parametrize("kind", [Fake, Unplugged])
def test_a_source_that_ends_is_opened_again_and_the_fault_says_why(kind: type[Fake]):
    opened: list[Fake] = []

    def open_source() -> Fake:
        if len(opened) == 1:
            opened.append(Fake())
            raise OSError("no device /dev/video0")
        opened.append(Fake() if opened else kind(frames=1))
        return opened[-1]

    now = [0.0]
    camera = Camera(open_source, stale_s=0.5, now=lambda: now[0])
    now[0] = 1.0
    advance(opened[0])
    with pytest.raises(CameraFault, match=r"1\.00 s old"):
        camera.read()
    assert camera.read_next(5).time_s == 1.0
    assert opened[0].closed == 1
    advance(opened[-1])
    camera.close()


def test_a_camera_without_a_first_frame_is_a_fault_that_names_the_cause():
    def refuse() -> Fake:
        raise OSError("device busy")

    with pytest.raises(CameraFault, match=r"no frame within 0\.05 s: device busy"):
        Camera(refuse, open_s=0.05)


def test_opencv_reads_a_file_in_rgb(tmp_path: Path):
    pytest.importorskip("cv2", reason="needs the extra `camera`")
    from soar.utils.media import write_video

    path = tmp_path / "red.mp4"
    write_video(path, [np.full((64, 64, 3), (200, 20, 10), np.uint8)] * 10)
    camera = Camera(str(path))
    image = camera.read().image
    assert image.shape == (64, 64, 3)
    assert np.abs(image[32, 32].astype(int) - (200, 20, 10)).max() < 25
    camera.close()
