import mujoco
import numpy as np
import pytest

from soar.sim.model import compile_scene
from soar.sim.rendering import Renderer
from soar.sim.scenes.paper_scenes import SCENES
from soar.sim.scenes.regimes import BROAD_COLORS, sample_scene, sample_style
from soar.sim.scenes.restyling import restyle

SHOWN = (
    "geom_rgba",
    "flex_rgba",
    "mat_rgba",
    "cam_pos",
    "cam_quat",
    "cam_fovy",
    "light_diffuse",
    "light_dir",
    "tex_data",
)


def image_of(model: mujoco.MjModel) -> np.ndarray:
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    renderer = Renderer(model, 64)
    image = renderer.render(data)
    renderer.close()
    return image


@pytest.mark.parametrize("seed", [3, 5, 12, 21])
def test_a_restyled_model_equals_a_compiled_one(seed):
    scene = sample_scene("broad", seed)
    style = sample_style(scene, np.random.default_rng(seed))
    assert style != scene
    model, expected = compile_scene(scene), compile_scene(style)
    restyle(model, style)
    for name in SHOWN:
        np.testing.assert_allclose(getattr(model, name), getattr(expected, name), atol=1e-6)
    for light in ("ambient", "diffuse"):
        np.testing.assert_allclose(
            getattr(model.vis.headlight, light), getattr(expected.vis.headlight, light)
        )
    assert (image_of(model) == image_of(expected)).all()


def test_a_renderer_shows_a_new_table_after_an_upload():
    scene = sample_scene("broad", 3)
    style = sample_style(scene, np.random.default_rng(1))
    model = compile_scene(scene)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    renderer = Renderer(model, 64)
    renderer.render(data)
    restyle(model, style)
    mujoco.mj_forward(model, data)
    renderer.upload_texture("tabletop")
    assert (renderer.render(data) == image_of(compile_scene(style))).all()
    renderer.close()


def test_a_style_keeps_kinds_and_sizes_and_stays_in_its_regime():
    rng = np.random.default_rng(0)
    fixed = {scene.table.name for scene in SCENES.values()}
    broad_tables = set()
    for seed in range(40):
        scene = sample_scene("broad", seed)
        style = sample_style(scene, rng)
        broad_tables.add(style.table.name)
        assert [(o.kind, o.scale) for o in style.objects] == [(o.kind, o.scale) for o in scene.objects]  # fmt: skip
        assert len({o.name for o in style.objects}) == len(style.objects)
        assert all(o.color in BROAD_COLORS[o.kind] for o in style.objects)
    assert len(broad_tables) > 10
    held_out = {s.table.name for s in SCENES.values() if s.regime == "dev"}
    assert not broad_tables & held_out
    assert fixed - broad_tables  # the unseen tables of the ten scenes
