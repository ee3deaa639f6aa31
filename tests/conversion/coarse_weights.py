"""Random weights of a few levels for the golden files, which compress to a fraction of their size."""

import jax
import numpy as np


def coarse(params, rng, spread=1.2):
    """Return random weights with the deviation of He's initialization, biases near 0 and scales near 1.

    `spread`: standard deviation in levels; with less, more weights are 0.
    """

    def draw(path, leaf):
        name, shape = str(path[-1].key), np.shape(leaf)
        levels = np.round(spread * rng.standard_normal(shape)) / spread
        if name in ("bias", "log_stds"):
            return (0.0625 * levels).astype(np.float32)
        if name == "scale":
            return (1 + 0.125 * levels).astype(np.float32)
        fan_in = np.prod(shape[:-1]) if len(shape) > 1 and name == "kernel" else 1
        return np.float32(levels / 2 ** np.round(np.log2(max(fan_in, 1)) / 2))

    return jax.tree_util.tree_map_with_path(draw, params)
