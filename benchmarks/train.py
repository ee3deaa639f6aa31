"""Training speed of the presets, beside the machine's peak. Prints one table and JSON lines.

    python benchmarks/train.py                     every preset that suits the device, a minute each
    python benchmarks/train.py --presets compact --steps 40 --batch 256

For each preset: samples/s over all but the first steps, the floating-point rate of its matrix and
convolution work (counted by torch: forward and backward, two operations a multiply-add), that rate
as a share of a large matrix product's in the same precision measured in the same run, the share of
time spent waiting for data, and the peak memory of the process or the GPU. And serving: the time of
`act` for one observation and for sixteen.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

import numpy as np
import rich
import torch
import tyro
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from soar.data.mixture import Mixture, Source
from soar.experiments.pace import noise_frames
from soar.policies.behavior_cloning import BehaviorCloning
from soar.training.policy import PRESETS, PolicyTrainConfig, train_policy, with_fit
from soar.types import Observation
from soar.utils.hardware import choose_device, choose_precision

EPISODES, LENGTH = 20, 50
GB = 1e9


@dataclass(frozen=True)
class Row:
    """Measurements of one preset."""

    preset: str
    device: str
    precision: str
    batch: int
    samples_per_s: float
    gflop_per_sample: float
    share_of_matmul: float
    wait_share: float
    peak_memory_gb: float
    act_1_ms: float
    act_16_ms: float


def main(
    presets: tuple[Literal["paper", "compact", "debug"], ...] = ("compact",),
    kind: Literal["gcbc", "lcbc"] = "gcbc",
    steps: int = 20,
    batch: int = 256,
    device: str = "auto",
    compile: bool = False,
) -> None:
    chosen = choose_device(device)
    if chosen.type == "cuda" and presets == ("compact",):
        presets = ("compact", "paper")
    rows = [measure(preset, kind, steps, batch, chosen, compile) for preset in presets]
    table = Table("", *(row.preset for row in rows))
    for name in list(asdict(rows[0]))[1:]:
        values = [asdict(row)[name] for row in rows]
        table.add_row(
            name.replace("_", " "),
            *(f"{v:.3g}" if isinstance(v, float) else str(v) for v in values),
        )
    rich.print(table)
    for row in rows:
        print(json.dumps(asdict(row)))


def measure(
    preset: str, kind: str, steps: int, batch: int, device: torch.device, compile: bool = False
) -> Row:
    """Measure a preset, after three warm-up steps."""
    config = with_fit(
        PRESETS[preset](kind),
        steps=3,
        batch_size=batch,
        log_every=1,
        save_every=1,
        device=str(device),
    )
    config = replace(config, compile=compile)
    source = Source("random", noise_frames(config.policy.resolution, EPISODES, LENGTH), 1.0)
    train_policy(config, [source], None)
    policy, result = train_policy(
        with_fit(config, steps=steps, log_every=steps, save_every=steps), [source], None
    )
    precision = choose_precision("auto", device)
    flop = flop_per_sample(policy, config, source)
    return Row(
        preset=f"{preset} {kind}",
        device=torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"cpu x{torch.get_num_threads()}",
        precision=str(precision).removeprefix("torch."),
        batch=batch,
        samples_per_s=result.samples_per_s,
        gflop_per_sample=flop / 1e9,
        share_of_matmul=result.samples_per_s * flop / matmul_rate(device, precision),
        wait_share=result.wait_share,
        peak_memory_gb=peak_memory(device) / GB,
        act_1_ms=1e3 * act_time(policy, 1),
        act_16_ms=1e3 * act_time(policy, 16),
    )


def flop_per_sample(policy: BehaviorCloning, config: PolicyTrainConfig, source: Source) -> float:
    """Return floating-point operations per sample of a training step, forward and backward."""
    embed = lambda s: np.zeros((len(s), 384), np.float32)  # noqa: E731
    drawn = Mixture([source], 0, embed)(0, 2, slice(None))
    device = next(policy.parameters()).device
    batch = {k: torch.from_numpy(v).to(device) for k, v in drawn.items()}
    with FlopCounterMode(display=False) as counter:
        loss, _ = policy.loss(batch, torch.Generator(device))
        loss.backward()  # type: ignore[no-untyped-call]
    policy.zero_grad()
    return float(counter.get_total_flops()) / 2


def matmul_rate(device: torch.device, precision: torch.dtype) -> float:
    """Return the best rate of several large matrix products [operations/s]."""
    n = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(n, n, device=device, dtype=precision) for _ in range(2))
    best = 0.0
    for _ in range(10):
        start = time.perf_counter()
        float((a @ b)[0, 0])
        best = max(best, 2 * n**3 / (time.perf_counter() - start))
    return best


def act_time(policy: BehaviorCloning, robots: int, repeats: int = 20) -> float:
    """Return the median time of `act` on camera images of 256 px [s]."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (robots, 256, 256, 3), dtype=np.uint8)
    observations = [Observation(i, np.zeros(7, np.float32), 0.0) for i in images]
    goals: Sequence[str] | np.ndarray = images if policy.name == "gcbc" else ["go"] * robots
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        policy.act(observations, goals, rng)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def peak_memory(device: torch.device) -> float:
    """Return the peak memory of the GPU or of the process [bytes]."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
