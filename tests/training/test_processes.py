"""Training in two processes, and its random numbers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from soar.cli import main
from soar.nn import draws
from soar.nn.heatmaps import attention_loss
from two_processes import assert_same_training, fill, training


def test_two_processes_of_accelerate_have_the_losses_of_one(tmp_path: Path) -> None:
    fill(tmp_path / "store")
    main(training(tmp_path / "store", tmp_path / "one"))
    # With `--cpu` in place of `--multi_gpu` it would start a single process, unless MPI is there.
    launch = "-m accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 1 "
    launch += "--mixed_precision no --dynamo_backend no --main_process_port 0 -m soar"
    words = [sys.executable, *launch.split(), *training(tmp_path / "store", tmp_path / "two")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=230, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("step 6") == 1
    assert_same_training(tmp_path / "one", tmp_path / "two")


def _part(part: int, parts: int) -> draws.PartGenerator:
    generator = draws.PartGenerator()
    generator.part, generator.parts = part, parts
    generator.manual_seed(7)
    return generator


def test_the_parts_of_a_batch_draw_the_numbers_of_the_whole() -> None:
    def drawn(generator: torch.Generator, n: int) -> torch.Tensor:
        return torch.stack(
            [
                draws.rand((n,), generator),
                draws.randn((n, 3), generator)[:, 1],
                draws.randint(50, (n,), generator).float(),
                draws.stratified(n, generator),
            ],
            1,
        )

    whole = drawn(torch.Generator().manual_seed(7), 12)
    assert torch.equal(torch.cat([drawn(_part(i, 3), 4) for i in range(3)]), whole)
    intervals = (whole[:, 3] * 12).long()
    assert sorted(intervals.tolist()) == list(range(12))


def test_processes_that_know_more_points_weigh_more_in_the_attention_loss(monkeypatch) -> None:
    maps = torch.randn(4, 1, 16, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    points = torch.tensor([[[0.1, 0.2]], [[torch.nan] * 2], [[0.3, -0.4]], [[0.0, 0.9]]])
    whole = attention_loss(maps, points)
    distributed = torch.distributed
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed, "all_reduce", lambda count: count.fill_(3))
    halves = [attention_loss(maps[i : i + 2], points[i : i + 2]) for i in (0, 2)]
    torch.testing.assert_close(sum(halves) / 2, whole)
