"""Make the golden replies of a bridge_data_robot server: run by Python 3.8 with numpy 1, OpenCV and lz4.

    python make_golden.py golden

The bytes are those that edgeml's `compress` gives for what `widowx_env_service.py` returns.
"""

import pickle
import sys
from pathlib import Path

import cv2
import lz4.frame
import numpy as np

assert np.__version__.startswith("1."), np.__version__
picture = np.zeros((48, 64, 3), np.uint8)  # RGB: red, below a blue stripe
picture[...] = (200, 10, 20)
picture[:16] = (10, 20, 200)
reply = {
    "image": np.linspace(0, 1, 3 * 4 * 4),
    "state": np.array([0.3, -0.1, 0.15, 0.01, -0.02, 0.5, 1.0]),
    "full_image": cv2.imencode(".jpg", picture)[1].tobytes(),  # OpenCV takes RGB as BGR
}
folder = Path(sys.argv[1])
folder.mkdir(exist_ok=True)
(folder / "bridge_observation_numpy1.bin").write_bytes(lz4.frame.compress(pickle.dumps(reply)))
scalars = {"status": np.int64(1), "values": [np.float64(0.5), np.float32(0.25)]}
(folder / "bridge_scalars_numpy1.bin").write_bytes(lz4.frame.compress(pickle.dumps(scalars)))
