"""Compilation of a scene to a MuJoCo model: table, objects, arm, camera and light."""

from __future__ import annotations

import warnings
from typing import Protocol, runtime_checkable

import mujoco
import numpy as np
from jaxtyping import Float64

from soar.sim.arm import add_arm
from soar.sim.objects.builder import add_object
from soar.sim.scenes.spec import Camera, Scene
from soar.sim.scenes.tables import add_table

_BACKGROUND = (0.62, 0.64, 0.67)
_LIGHT_DIFFUSE, _AMBIENT, _HEADLIGHT_DIFFUSE = 0.55, 0.38, 0.25
_LIGHT_DIRECTION = (0.15, -0.35, -1.0)


@runtime_checkable
class SceneState(Protocol):
    """A scene, its compiled model, and the present state of its physics."""

    scene: Scene
    model: mujoco.MjModel
    data: mujoco.MjData


def compile_scene(scene: Scene) -> mujoco.MjModel:
    """Compile a scene. Raises ConfigError: it has an unknown kind, color or table."""
    with warnings.catch_warnings():
        # A cloth's flex is visual and rides on strips; MuJoCo warns that it has no stiffness of its own.
        warnings.filterwarnings("ignore", message="flex .* is not rigid")
        return build_spec(scene).compile()


def build_spec(scene: Scene) -> mujoco.MjSpec:
    """Build the uncompiled model of a scene. Raises ConfigError: it has an unknown kind, color or table."""
    spec = mujoco.MjSpec()
    spec.modelname = f"scene-{scene.name}"
    spec.compiler.degree = False
    _set_physics(spec)
    _add_light(spec, scene.light)
    add_table(spec, scene.table, scene.barriers)
    for obj in scene.objects:
        add_object(spec, obj)
    add_arm(spec)
    spec.worldbody.add_camera(
        name="camera",
        pos=scene.camera.position,
        quat=look_at(scene.camera),
        fovy=scene.camera.fovy_deg,
    )
    return spec


def look_at(
    camera: Camera, offset: Float64[np.ndarray, "3"] | None = None
) -> Float64[np.ndarray, "4"]:
    """Return the orientation (w, x, y, z) of a camera displaced by `offset` [m] that still faces its target."""
    quat = np.empty(4)
    mujoco.mju_mat2Quat(quat, camera_axes(camera, offset).ravel())
    return quat


def camera_axes(
    camera: Camera, offset: Float64[np.ndarray, "3"] | None = None
) -> Float64[np.ndarray, "3 3"]:
    """Return a camera's axes in the world as columns: right, up and backward."""
    position = np.asarray(camera.position) + (np.zeros(3) if offset is None else offset)
    backward = position - np.asarray(camera.look_at)
    backward /= np.linalg.norm(backward)
    right = np.cross(camera.up, backward)
    right /= np.linalg.norm(right)
    return np.column_stack([right, np.cross(backward, right), backward])


def _set_physics(spec: mujoco.MjSpec) -> None:
    option = spec.option
    option.timestep = 0.005
    option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    option.impratio = 10
    option.iterations, option.ls_iterations = 50, 50
    spec.visual.quality.offsamples = 0
    spec.visual.quality.shadowsize = 0
    spec.visual.quality.numslices, spec.visual.quality.numstacks = 16, 8
    spec.visual.quality.numquads = 1


def set_brightness(model: mujoco.MjModel, brightness: float) -> None:
    """Set the light of a compiled scene, by a factor of the default."""
    model.light_diffuse[0] = _LIGHT_DIFFUSE * brightness
    direction = np.asarray(_LIGHT_DIRECTION)
    model.light_dir[0] = direction / np.linalg.norm(direction)
    model.vis.headlight.ambient[:] = _AMBIENT * brightness
    model.vis.headlight.diffuse[:] = _HEADLIGHT_DIFFUSE * brightness


def _add_light(spec: mujoco.MjSpec, brightness: float) -> None:
    light = spec.worldbody.add_light(
        name="light", pos=(0.1, 0.4, 1.5), dir=_LIGHT_DIRECTION, castshadow=False
    )
    light.type = mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
    light.diffuse = np.full(3, _LIGHT_DIFFUSE * brightness)
    light.specular = np.full(3, 0.15)
    spec.visual.headlight.ambient = np.full(3, _AMBIENT * brightness)
    spec.visual.headlight.diffuse = np.full(3, _HEADLIGHT_DIFFUSE * brightness)
    spec.visual.headlight.specular = np.zeros(3)
    spec.add_texture(
        name="background",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_FLAT,
        rgb1=_BACKGROUND,
        width=8,
        height=48,
    )
