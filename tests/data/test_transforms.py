"""Transforms of images and actions."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from soar.data.mixture import DRAWS
from soar.data.transforms import (
    AutoExposure,
    BinarizeGripper,
    Color,
    Crop,
    GoalBlur,
    NormalizeActions,
    Resize,
    TableColor,
    ToFloat,
    ToneCurve,
    Transform,
    describe,
    transforms_from,
)
from soar.errors import CheckpointError, ConfigError
from soar.utils.media import resize

STATISTICS = NormalizeActions(mean=(0.0002,) * 6 + (0.6,), std=(0.01,) * 6 + (0.5,))
LIST: list[Transform] = [
    Resize(16),
    ToFloat(),
    Crop(),
    Color(),
    BinarizeGripper(),
    STATISTICS,
]


def smooth_images(n: int = 8, size: int = 16) -> torch.Tensor:
    """Smooth random float images."""
    small = torch.rand(n, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    large = torch.nn.functional.interpolate(small, size=size, mode="bilinear")
    return large.permute(0, 2, 3, 1)


def draws(n: int = 8) -> torch.Tensor:
    return torch.rand(n, DRAWS, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("augment", [Crop(), Color()])
def test_observation_and_goal_get_the_same_draw_and_samples_different_ones(
    augment: Transform,
) -> None:
    same = smooth_images()[:1].expand(8, -1, -1, -1)
    out = augment.train({"image": same, "goal": same, "draws": draws()})
    assert torch.equal(out["image"], out["goal"])
    assert not torch.allclose(out["image"][0], out["image"][1])
    assert not torch.allclose(out["image"], same)


def test_points_follow_the_crop() -> None:
    """A bright spot is still at its point after the image was cropped and rotated."""
    image, points = torch.zeros(8, 32, 32, 3), torch.full((8, 2, 2), torch.nan)
    image[:, 13:15, 19:21] = 1
    points[:, 0] = torch.tensor([20.0, 14.0]) / 16 - 1
    points[:, 1] = 0.999
    out = Crop(area=(0.6, 0.9), turn_deg=15).train(
        {"image": image, "points": points, "draws": draws()}
    )
    line = (torch.arange(32) + 0.5) / 16 - 1
    weight = out["image"][..., 0] / out["image"][..., 0].sum((1, 2), keepdim=True)
    seen = torch.stack([(weight.sum(1) * line).sum(1), (weight.sum(2) * line).sum(1)], 1)
    assert torch.allclose(out["points"][:, 0], seen, atol=0.03)
    assert out["points"][:, 1].isnan().any()


@pytest.mark.parametrize(
    "augment", [Crop(), Color(), ToneCurve(), TableColor(), AutoExposure(), GoalBlur()]
)
def test_a_sample_is_augmented_the_same_alone_and_in_a_batch(augment: Transform) -> None:
    batch = {"image": smooth_images(), "goal": smooth_images().flip(0), "draws": draws()}
    whole = augment.train(batch)
    alone = augment.train({k: v[3:4] for k, v in batch.items()})
    assert torch.allclose(whole["image"][3:4], alone["image"], atol=1e-6)


@pytest.mark.parametrize("augment", [Crop(), Color(), ToneCurve(), TableColor(), GoalBlur()])
def test_serving_does_not_augment(augment: Transform) -> None:
    batch = {"image": smooth_images()}
    assert augment.serve(batch)["image"] is batch["image"]


def test_half_of_the_goals_and_no_observations_are_blurred() -> None:
    batch = {"image": smooth_images(64), "goal": torch.rand(64, 16, 16, 3), "draws": draws(64)}
    out = GoalBlur(radius=1).train(batch)
    assert out["image"] is batch["image"]
    changed = (out["goal"] != batch["goal"]).flatten(1).any(1)
    assert torch.equal(changed, batch["draws"][:, 9] > 0.5)
    spread = out["goal"][changed].flatten(1).std(1) / batch["goal"][changed].flatten(1).std(1)
    assert (spread < 1).all()
    assert torch.allclose(out["goal"].mean((1, 2)), batch["goal"].mean((1, 2)), atol=0.03)


def test_half_of_the_samples_get_one_tone_curve_per_channel() -> None:
    batch = {"image": smooth_images(64), "goal": smooth_images(64).flip(0), "draws": draws(64)}
    out = ToneCurve().train(batch)
    changed = (out["image"] != batch["image"]).flatten(1).any(1)
    assert torch.equal(changed, batch["draws"][:, 28] > 0.5)
    assert out["image"].min() >= 0
    assert out["image"].max() <= 1
    flat = {"image": torch.full((64, 4, 4, 3), 0.3), "goal": torch.full((64, 4, 4, 3), 0.3)}
    toned = ToneCurve().train({**flat, "draws": draws(64)})
    assert torch.equal(toned["image"], toned["goal"])
    assert (toned["image"].std((1, 2)) < 1e-6).all()
    black, white = torch.zeros(1, 1, 1, 3), torch.ones(1, 1, 1, 3)
    inverting = torch.full((1, DRAWS), 0.999999)
    inverting[:, 10:28] = torch.linspace(1, 0, ToneCurve.nodes).repeat(3)
    for dark, light in ((black, white), (white, black)):
        assert torch.allclose(
            ToneCurve().train({"image": dark, "draws": inverting})["image"], light, atol=1e-4
        )


def test_half_of_the_samples_get_another_table_and_keep_their_arm() -> None:
    scene = torch.full((64, 16, 16, 3), 0.7)
    scene[:, 2:4, 2:4] = torch.tensor([0.05, 0.05, 0.05])  # arm
    scene[:, 8:10, 8:10] = torch.tensor([0.9, 0.0, 0.1])  # object
    goal, given = scene.flip(1), draws(64)
    out = TableColor(texture=0).train({"image": scene, "goal": goal, "draws": given})
    changed = (out["image"] != scene).flatten(1).any(1)
    assert torch.equal(changed, given[:, 29] > 0.5)
    assert torch.equal(out["goal"], out["image"].flip(1))
    for y, x in ((2, 2), (8, 8)):
        assert torch.allclose(out["image"][:, y, x], scene[:, y, x], atol=1e-6)
    table = out["image"][changed][:, 0, 0]
    wanted = 0.05 + 0.95 * given[:, 30:31] ** 1.5 * (0.4 + 0.6 * given[:, 31:34])
    assert torch.allclose(table, wanted[changed], atol=1e-6)
    textured = TableColor().train({"image": scene, "goal": scene, "draws": given})
    assert torch.equal(textured["image"], textured["goal"])
    plain = textured["image"][changed][:, 5:7].flatten(1, 2)
    assert (plain.std(1) > 0.001).any()
    assert ((plain - wanted[changed][:, None]).abs() <= 0.15 + 1e-6).all()


def test_dark_images_are_brightened_in_training_and_serving_and_others_stay() -> None:
    light = torch.tensor([0.1, 0.3, 0.7])[:, None, None, None]
    batch = {
        "image": (light * smooth_images(3)).sqrt(),
        "goal": (light * smooth_images(3).flip(1)).sqrt(),
    }
    dark = batch["image"].mean((1, 2, 3)) < 0.5
    assert dark.tolist() == [True, True, False]
    out = AutoExposure(0.5).train(batch)
    assert torch.equal(out["image"][2], batch["image"][2])
    assert torch.equal(out["goal"][2], batch["goal"][2])
    assert ((out["image"].mean((1, 2, 3)) - 0.5).abs()[dark] < 0.06).all()
    assert (out["goal"][:2] > batch["goal"][:2]).all()
    served = AutoExposure(0.5).serve({"image": batch["image"]})
    assert torch.equal(served["image"], out["image"])


def test_a_crop_of_the_whole_image_is_the_identity() -> None:
    batch = {"image": smooth_images(), "draws": draws()}
    out = Crop(area=(1, 1), ratio=(1, 1)).train(batch)
    assert torch.allclose(out["image"], batch["image"], atol=1e-5)


def test_a_crop_shows_the_drawn_corner() -> None:
    ramp = torch.linspace(0, 1, 64).expand(2, 64, 64)[..., None].expand(-1, -1, -1, 3)
    corner = torch.tensor([[0.0, 0.5, 0, 0, 0, 0, 0, 0, 0.5], [0.0, 0.5, 1, 1, 0, 0, 0, 0, 0.5]])
    out = Crop(area=(0.25, 1), ratio=(1, 1)).train({"image": ramp, "draws": corner})["image"]
    assert out[0, 0, -1, 0] == pytest.approx(0.5, abs=0.02)
    assert out[1, 0, 0, 0] == pytest.approx(0.5, abs=0.02)


def test_a_crop_rotates_the_image_about_its_center() -> None:
    batch = {"image": smooth_images(), "draws": torch.ones(8, 9)}
    out = Crop(area=(1, 1), ratio=(1, 1), turn_deg=90).train(batch)["image"]
    sideways = [torch.rot90(batch["image"], k, (1, 2)) for k in (1, -1)]
    assert any(torch.allclose(out, turned, atol=1e-4) for turned in sideways)


def test_color_without_ranges_is_the_identity() -> None:
    batch = {"image": smooth_images(), "draws": draws()}
    still = Color(brightness=0, contrast=(1, 1), saturation=(1, 1), hue=0)
    assert torch.allclose(still.train(batch)["image"], batch["image"], atol=1e-3)


def test_brightness_contrast_saturation_and_hue_change_what_they_name() -> None:
    image = 0.3 + 0.4 * smooth_images()
    half = torch.full((8, 9), 0.5)
    full = torch.ones(8, 9)
    none = Color(brightness=0, contrast=(1, 1), saturation=(1, 1), hue=0)

    def changed(color: Color, draw: torch.Tensor) -> torch.Tensor:
        return color.train({"image": image, "draws": draw})["image"]

    brighter = changed(Color(0.1, none.contrast, none.saturation, 0), full)
    assert torch.allclose(brighter, image + 0.1, atol=1e-3)
    flat = changed(Color(0, (0, 0), none.saturation, 0), half)
    assert torch.allclose(flat, image.mean((1, 2), keepdim=True).expand_as(flat), atol=1e-3)
    gray = changed(Color(0, none.contrast, (0, 0), 0), half)
    assert torch.allclose(gray[..., 0], gray[..., 1], atol=1e-3)
    luma = torch.tensor([0.299, 0.587, 0.114])
    turned = changed(Color(0, none.contrast, none.saturation, 0.05), full)
    assert torch.allclose(turned @ luma, image @ luma, atol=1e-3)


def test_undoing_the_normalization_restores_actions() -> None:
    action = torch.randn(5, 7) * 0.01
    z = STATISTICS.train({"action": action})["action"]
    assert torch.allclose(STATISTICS.undo(z), action, atol=1e-6)
    assert not torch.allclose(z, action)


def test_the_gripper_becomes_binary_and_motions_stay() -> None:
    action = torch.rand(9, 7)
    out = BinarizeGripper().train({"action": action})["action"]
    assert torch.equal(out[:, :6], action[:, :6])
    assert torch.equal(out[:, 6], (action[:, 6] > 0.5).float())


def test_serving_resizes_as_the_frame_cache_did() -> None:
    camera = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    served = Resize(16).serve({"image": torch.from_numpy(camera)})["image"]
    np.testing.assert_array_equal(served.numpy(), resize(camera, 16))


def test_frames_of_another_resolution_are_refused() -> None:
    with pytest.raises(ConfigError, match="frames are 64 px; this policy takes 16"):
        Resize(16).train({"image": torch.zeros(1, 64, 64, 3)})


def test_a_list_of_transforms_converts_to_json_and_back() -> None:
    text = json.dumps(describe(LIST))
    assert list(transforms_from(json.loads(text))) == LIST


def test_an_unknown_transform_is_refused() -> None:
    with pytest.raises(CheckpointError, match="unknown key 'swirl'; valid keys are resize"):
        transforms_from([{"name": "swirl"}])
    with pytest.raises(CheckpointError, match="unknown key 'size'"):
        transforms_from([{"name": "resize", "resolution": 3, "size": 3}])
    with pytest.raises(ConfigError, match="got 2 and 1"):
        NormalizeActions((0.0, 0.0), (1.0,))
