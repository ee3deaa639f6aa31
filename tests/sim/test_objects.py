import mujoco
import pytest

from soar.errors import ConfigError
from soar.sim.model import build_spec
from soar.sim.objects.builder import add_object
from soar.sim.objects.kinds import KINDS
from soar.sim.objects.parts import COLORS
from soar.sim.scenes.paper_scenes import NOMINAL
from soar.sim.scenes.regimes import BROAD_COLORS
from soar.sim.scenes.spec import Scene, SceneObject, Table
from soar.sim.scenes.tables import TABLES, texture

ITEMS = [name for name, kind in KINDS.items() if kind.role == "item"]
CONTAINERS = [name for name, kind in KINDS.items() if kind.role == "container"]


def _rest(kind: str) -> tuple[mujoco.MjModel, mujoco.MjData]:
    obj = SceneObject("it", kind, BROAD_COLORS[kind][0])
    scene = Scene("s", "dev", (obj,), Table("oak"), NOMINAL, ())
    model = build_spec(scene).compile()
    data = mujoco.MjData(model)
    data.joint("it").qpos[:3] = (0.3, 0.1, KINDS[kind].height / 2 + 0.002)
    mujoco.mj_step(model, data, 1000)
    return model, data


@pytest.mark.parametrize("kind", ITEMS)
def test_item_rests_in_place_and_fits_the_gripper(kind: str) -> None:
    _, data = _rest(kind)
    x, y, z = data.body("it").xpos
    assert (x, y) == pytest.approx((0.3, 0.1), abs=1e-3)
    assert z == pytest.approx(KINDS[kind].height / 2, abs=1e-3)
    assert abs(data.joint("it").qvel).max() < 1e-3
    assert 0.016 <= KINDS[kind].grasp_width <= 0.045


@pytest.mark.parametrize("kind", CONTAINERS)
def test_container_stands_and_has_room_for_a_block(kind: str) -> None:
    _, data = _rest(kind)
    assert data.body("it").xmat[8] > 0.999
    assert KINDS[kind].inner_radius > KINDS["block"].radius


def test_unknown_kind_or_color_names_the_valid_ones() -> None:
    spec = mujoco.MjSpec()
    with pytest.raises(ConfigError, match=r"no kind of object 'teapot'; valid: .*bowl"):
        add_object(spec, SceneObject("x", "teapot", "red"))
    with pytest.raises(ConfigError, match=r"no color 'mauve'; valid: .*green"):
        add_object(spec, SceneObject("x", "block", "mauve"))


def test_colors_of_all_kinds_are_in_the_palette() -> None:
    assert set(BROAD_COLORS) == {k for k in KINDS if KINDS[k].role != "door"}
    assert all(c in COLORS for colors in BROAD_COLORS.values() for c in colors)


@pytest.mark.parametrize("name", TABLES)
def test_texture_is_deterministic(name: str) -> None:
    image = texture(Table(name))
    assert (image == texture(Table(name))).all()
    assert image.std() > 0.5


def test_unknown_table_names_the_valid_ones() -> None:
    with pytest.raises(ConfigError, match=r"no table 'glass'; valid: .*oak"):
        texture(Table("glass"))
