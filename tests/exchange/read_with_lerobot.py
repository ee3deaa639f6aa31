"""Print what LeRobot's own reader finds in a folder, as JSON; it runs in an environment with lerobot 0.4.4.

python read_with_lerobot.py FOLDER [KEY]

Images are written to KEY.npy files in FOLDER's parent, for a comparison of pixels.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

# PyPI's torchvision expects operators that the CPU build of torch lacks; nothing here calls them.
library = torch.library.Library("torchvision", "DEF")
library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from lerobot.datasets.lerobot_dataset import LeRobotDataset  # noqa: E402


def main():
    folder = Path(sys.argv[1])
    deltas = {"action": [0, 0.2, 0.4]}
    data = LeRobotDataset("local/test", root=folder, delta_timestamps=deltas, video_backend="pyav")
    items = [data[i] for i in range(len(data))]
    for key in data.meta.camera_keys:
        pixels = np.stack([(item[key].numpy() * 255).round().astype(np.uint8) for item in items])
        np.save(folder.parent / f"{key}.npy", pixels.transpose(0, 2, 3, 1))
    episodes = [
        {k: v for k, v in data.meta.episodes[i].items() if not k.startswith("stats/")}
        for i in range(data.meta.total_episodes)
    ]
    print(
        json.dumps(
            {
                "episodes": episodes,
                "state": [item["observation.state"].tolist() for item in items],
                "action": [item["action"].tolist() for item in items],
                "padded": [item["action_is_pad"].tolist() for item in items],
                "task": [item["task"] for item in items],
                "success": [bool(item["next.success"]) for item in items],
                "statistics": {
                    k: {s: np.asarray(v).tolist() for s, v in d.items()}
                    for k, d in data.meta.stats.items()
                },
                "cameras": data.meta.camera_keys,
            }
        )
    )


main()
