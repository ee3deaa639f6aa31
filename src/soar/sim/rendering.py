"""Offscreen rendering of a compiled model. All renderers of a thread share one OpenGL context.

Creating a context costs about 250 ms of CPU time, uploading a model into an existing one 3 ms.
"""

from __future__ import annotations

import threading

import mujoco
import numpy as np
from mujoco.rendering.classic import gl_context

from soar.errors import ConfigError
from soar.types import Image

_MAX_GEOMS = 1000
_local = threading.local()


class Renderer:
    """Square images of one model from its camera named "camera", without shadows and reflections."""

    def __init__(self, model: mujoco.MjModel, size: int) -> None:
        """Upload `model` for images of `size` x `size` pixels. Raises ConfigError: no OpenGL, or too many for it."""
        self._model = model
        self._rect = mujoco.MjrRect(0, 0, size, size)
        self._scene = mujoco.MjvScene(model, maxgeom=_MAX_GEOMS)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._scene.flags[flag] = 0
        self._option = mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._camera.fixedcamid = model.camera("camera").id
        model.vis.global_.offwidth = model.vis.global_.offheight = size
        try:
            self._gl = _shared_context()
            self._gl.make_current()
            self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_150.value)
        except (mujoco.FatalError, AttributeError, ImportError) as error:
            if "offscreen framebuffer" in str(error).lower():
                raise ConfigError(
                    f"OpenGL has no room here for images of {size} x {size} pixels; valid: smaller ones"
                ) from error
            raise ConfigError(
                "MuJoCo can't render: import soar.sim before mujoco, or set MUJOCO_GL to egl, osmesa or glfw"
            ) from error

    def render(self, data: mujoco.MjData) -> Image:
        """Image of the state in `data`, uint8 RGB (size, size, 3)."""
        mujoco.mjv_updateScene(
            self._model, data, self._option, None, self._camera,
            mujoco.mjtCatBit.mjCAT_ALL.value, self._scene,
        )  # fmt: skip
        image = np.empty((self._rect.height, self._rect.width, 3), np.uint8)
        self._gl.make_current()
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        mujoco.mjr_render(self._rect, self._scene, self._context)
        mujoco.mjr_readPixels(image, None, self._rect, self._context)
        return np.flipud(image).copy()

    def upload_texture(self, name: str) -> None:
        """Upload a texture of the model again, after its `tex_data` has changed."""
        self._gl.make_current()
        mujoco.mjr_uploadTexture(self._model, self._context, self._model.texture(name).id)

    def close(self) -> None:
        """Free the uploaded model. Safe to call twice."""
        if self._context is not None:
            self._gl.make_current()
            self._context.free()
            self._context = None


def _shared_context() -> gl_context.GLContext:
    """The calling thread's OpenGL context, created at its first use."""
    if not hasattr(_local, "context"):
        _local.context = gl_context.GLContext(64, 64)
    return _local.context
