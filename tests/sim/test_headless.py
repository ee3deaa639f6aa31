"""The simulator renders without a screen, whatever part of soar is imported first."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import mujoco
import pytest

import soar
from soar.errors import ConfigError
from soar.sim.scenes.paper_scenes import SCENES
from soar.sim.world import World

SOURCES = Path(soar.__file__).parent
ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in ("MUJOCO_GL", "DISPLAY")}


def imports_mujoco(path: Path) -> bool:
    """Whether a module imports MuJoCo, or mink, which does, when it is imported itself."""
    for node in ast.parse(path.read_text()).body:
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if any(name.split(".")[0] in ("mujoco", "mink") for name in names):
            return True
    return False


def test_only_the_simulator_imports_mujoco_which_chooses_its_platform_first():
    found = [p.relative_to(SOURCES).parts[0] for p in SOURCES.rglob("*.py") if imports_mujoco(p)]
    assert set(found) == {"sim"}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems render by themselves")
def test_a_command_renders_without_a_screen_and_without_settings():
    code = "from soar.cli import main; main(['vlm','evaluate','--scenes','dev1','--images','1'])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "GLFW" not in done.stderr


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        ("Offscreen framebuffer is not complete, error 0x8cdd", "no room here for images of 8 x 8"),
        ("Could not allocate offscreen framebuffer", "no room here for images of 8 x 8"),
        ("OpenGL ARB_framebuffer_object required", "set MUJOCO_GL"),
        ("No OpenGL framebuffer available", "set MUJOCO_GL"),
    ],
)
def test_what_opengl_lacks_is_said(problem: str, message: str, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise mujoco.FatalError(problem)

    monkeypatch.setattr(mujoco, "MjrContext", fail)
    world = World(SCENES["1"], 8)
    with pytest.raises(ConfigError, match=message):
        world.render()
