"""Cost of steering: `act` with K samples and a critic against `act` alone, for the compact policy with a flow head.

    python benchmarks/steering.py --samples 10 --batches 1 8

One thread; medians of CPU time over interleaved calls, so that other work on the machine hits all alike. V-GPS reports
1.28 times at K = 10. The weights of head and critic are random: they don't change the time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

from soar.critics.critic import Critic
from soar.critics.steering import SteeredPolicy, SteeringConfig
from soar.data.transforms import Resize, ToFloat
from soar.policies.heads.head import HeadConfig
from soar.policies.loading import load_policy, with_fresh_head
from soar.registry import packaged
from soar.training.critic import compact
from soar.types import Observation

PIXELS = 256
"""Height and width of the camera's images."""


def main() -> None:
    """Print milliseconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--calls", type=int, default=60)
    args = parser.parse_args()
    torch.set_num_threads(1)
    policy = with_fresh_head(load_policy(packaged("gcbc"), "cpu"), HeadConfig("flow")).eval()
    config = compact("iql").critic
    critic = Critic(config, (Resize(config.resolution), ToFloat())).eval()
    steered = SteeredPolicy(policy, critic, SteeringConfig(count=args.samples))
    rng = np.random.default_rng(0)
    for batch in args.batches:
        goals = rng.integers(0, 256, (batch, PIXELS, PIXELS, 3), np.uint8)
        seen = [Observation(g, np.zeros(7, np.float32), 0.0) for g in goals[::-1]]
        calls: list[Callable[[], object]] = [
            partial(policy.act, seen, goals, rng),
            partial(policy.sample, seen, goals, rng, args.samples),
            partial(steered.act, seen, goals, rng),
        ]
        alone, sampled, whole = medians(calls, args.calls)
        print(
            f"batch {batch}: act {alone:.2f} ms, {args.samples} samples {sampled:.2f} ms ({sampled / alone:.2f}x), "
            f"steered {whole:.2f} ms ({whole / alone:.2f}x)"
        )


def medians(calls: Sequence[Callable[[], object]], count: int) -> list[float]:
    """Return the median CPU time of each call [ms]."""
    times = np.zeros((count, len(calls)))
    for call in calls:
        call()
    for row in times:
        for i, call in enumerate(calls):
            began = time.process_time()
            call()
            row[i] = 1e3 * (time.process_time() - began)
    found: list[float] = np.median(times, 0).tolist()
    return found


if __name__ == "__main__":
    main()
