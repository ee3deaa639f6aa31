"""Images per CPU second that LeRobot's reader gives as random (observation, goal) pairs; run by exchange.py.

python pairs_with_lerobot.py FOLDER COUNT
"""

import json
import sys
import time

import numpy as np
import torch

library = torch.library.Library("torchvision", "DEF")  # operators that the CPU build of torch lacks
library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from lerobot.datasets.lerobot_dataset import LeRobotDataset  # noqa: E402

KEY = "observation.images.primary"


def main():
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    folder, count = sys.argv[1], int(sys.argv[2])
    data = LeRobotDataset("local/x", root=folder, video_backend="pyav")
    deltas = {KEY: [0.0, 10 / data.fps]}
    data = LeRobotDataset("local/x", root=folder, video_backend="pyav", delta_timestamps=deltas)
    data[0]
    seconds = []
    for _ in range(5):
        began = time.process_time()
        for index in rng.integers(len(data), size=count):
            assert data[int(index)][KEY].shape[0] == 2
        seconds.append(time.process_time() - began)
    print(json.dumps(2 * count / float(np.median(seconds))))


main()
