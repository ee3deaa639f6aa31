"""Heatmaps over square cells."""

import torch

from soar.nn.heatmaps import attention_loss, gaussian_heatmaps, grid_cells


def test_attention_loss_is_least_at_the_point_and_ignores_unknown_points():
    cells = grid_cells(4)
    points = cells[torch.tensor([[5], [9]])]
    right = torch.full((2, 1, 16), -20.0)
    right[0, 0, 5] = right[1, 0, 9] = 0.0
    wrong = right.flip(0)
    assert attention_loss(right, points) < attention_loss(wrong, points)
    assert attention_loss(wrong, torch.full_like(points, torch.nan)) == 0


def test_attention_loss_takes_several_maps_per_question_and_wider_gaussians():
    cells = grid_cells(8)
    point = torch.tensor([0.4, -0.6])
    points = torch.full((1, 1, 2, 2), torch.nan)
    points[0, 0, 0] = point
    near = (-(cells - point).square().sum(-1) * 20).log_softmax(-1)
    away = (-(cells + point).square().sum(-1) * 20).log_softmax(-1)
    good, bad = (torch.stack([g, away])[None, None] for g in (near, away))
    assert attention_loss(good, points, 1.5) < attention_loss(bad, points, 1.5)
    assert attention_loss(good, torch.full((1, 1, 2, 2), torch.nan), 1.5) == 0


def test_a_gaussian_has_its_width_in_cells():
    middle = grid_cells(8)[[27]]
    narrow, wide = (gaussian_heatmaps(middle, 8, width)[0] for width in (1.0, 2.0))
    assert narrow[27] == wide[27] == 0
    assert torch.isclose(narrow[28], torch.tensor(-0.5))
    assert torch.isclose(wide[29], torch.tensor(-0.5))
