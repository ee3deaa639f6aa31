"""Offscreen OpenGL for MuJoCo. Run as a module, it checks that this machine can render."""

from __future__ import annotations

import os
import sys


def use_headless_gl() -> None:
    """Select EGL for MuJoCo's rendering on Linux unless MUJOCO_GL is set. Call before importing mujoco."""
    if sys.platform == "linux":
        os.environ.setdefault("MUJOCO_GL", "egl")


def check() -> None:
    """Render one small frame. Raises whatever MuJoCo raises when it can't."""
    use_headless_gl()
    import mujoco

    model = mujoco.MjModel.from_xml_string(
        "<mujoco><worldbody><light pos='0 0 2'/><geom size='.1'/></worldbody></mujoco>"
    )
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    with mujoco.Renderer(model, 32, 32) as renderer:
        renderer.update_scene(data)
        if not renderer.render().any():
            raise RuntimeError("the rendered frame is empty")


if __name__ == "__main__":
    check()
