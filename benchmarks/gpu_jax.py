"""Training speed of the reference's ResNet-34 policy in JAX, for `gpu.py` to stand beside; run where JAX is installed.

    python benchmarks/gpu_jax.py BRIDGE_DATA_V2        a checkout of github.com/rail-berkeley/bridge_data_v2

The authors' encoder (`resnetv1-34-bridge`, early concatenation of the goal) and head sizes, squared error, Adam. Images
lie on the device, as constants of the compiled step, and aren't augmented, which the reference leaves to TensorFlow on
the CPU; ours augments in its step.
"""

import argparse
import importlib.util
import json
import sys
import time
import types
from pathlib import Path
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("reference", type=Path)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--pixels", type=int, default=256)
    options = parser.parse_args()
    for precision in ("float32", "bfloat16"):
        rate = measure(options, precision)
        print(
            json.dumps(
                {
                    "stage": "train paper in JAX",
                    "precision": precision,
                    "batch": options.batch,
                    "samples/s": float(f"{rate:.4g}"),
                }
            )
        )


def measure(options: argparse.Namespace, precision: str) -> float:
    """Return the samples a second of a training step."""
    import flax.linen as nn
    import jax
    import jax.numpy as jnp
    import optax

    resnet = load_resnet(options.reference / "jaxrl_m/vision")

    class Policy(nn.Module):
        """Goal-conditioned behavior cloning with the reference's sizes."""

        @nn.compact
        def __call__(self, images: Any) -> Any:
            encoder = resnet.resnetv1_configs["resnetv1-34-bridge"](
                pooling_method="avg", add_spatial_coordinates=True, act="swish", dtype=precision
            )
            x = encoder(images)
            for _ in range(3):
                x = nn.swish(nn.Dense(256)(x))
            return nn.Dense(7)(x)

    policy, optimizer = Policy(), optax.adam(3e-4)
    key = jax.random.PRNGKey(0)
    shape = (options.batch, options.pixels, options.pixels, 6)
    images = jax.random.randint(key, shape, 0, 256).astype(jnp.uint8)
    actions = jax.random.normal(key, (options.batch, 7))
    weights = jax.jit(policy.init)(key, images[:1])
    state = optimizer.init(weights)

    @jax.jit
    def step(weights: Any, state: Any) -> tuple[Any, Any, Any]:
        def loss(w: Any) -> Any:
            return ((policy.apply(w, images) - actions) ** 2).sum(-1).mean()

        value, gradient = jax.value_and_grad(loss)(weights)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(weights, updates), state, value

    for _ in range(3):
        weights, state, value = step(weights, state)
    value.block_until_ready()
    start = time.perf_counter()
    for _ in range(options.steps):
        weights, state, value = step(weights, state)
    value.block_until_ready()
    return float(options.batch * options.steps) / (time.perf_counter() - start)


def load_resnet(folder: Path) -> Any:
    """Import the authors' encoder without their package, which needs TensorFlow."""
    for name in ("jaxrl_m", "jaxrl_m.vision"):
        sys.modules[name] = types.ModuleType(name)
    for name in ("film_conditioning_layer", "resnet_v1"):
        full = f"jaxrl_m.vision.{name}"
        spec = importlib.util.spec_from_file_location(full, folder / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[full] = module
        spec.loader.exec_module(module)
    return sys.modules["jaxrl_m.vision.resnet_v1"]


if __name__ == "__main__":
    main()
