"""Write a data set with LeRobot's own writer; it runs in an environment with lerobot 0.4.4.

python write_with_lerobot.py FOLDER images|video
"""

import sys

import numpy as np
import torch

# PyPI's torchvision expects operators that the CPU build of torch lacks; nothing here calls them.
library = torch.library.Library("torchvision", "DEF")
library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from lerobot.datasets.lerobot_dataset import LeRobotDataset  # noqa: E402

NAMES = ["x", "y", "z", "roll", "pitch", "yaw", "gripper"]
EPISODES, FRAMES, SIZE = 2, 6, 64


def main():
    video = sys.argv[2] == "video"
    vector = {"dtype": "float32", "shape": (7,)}
    image = {
        "dtype": "video" if video else "image",
        "shape": (SIZE, SIZE, 3),
        "names": ["height", "width", "channels"],
    }
    data = LeRobotDataset.create(
        "local/test",
        fps=5,
        root=sys.argv[1],
        robot_type="widowx",
        use_videos=video,
        features={
            "observation.images.front": image,
            "observation.state": vector | {"names": {"motors": NAMES}},
            "action": vector | {"names": [f"delta_{name}" for name in NAMES[:6]] + ["gripper"]},
        },
    )
    for episode in range(EPISODES):
        for frame in range(FRAMES):
            number = np.float32(100 * episode + frame)
            shade = np.full((SIZE, SIZE, 3), 20 + 100 * episode + 10 * frame, np.uint8)
            data.add_frame(
                {
                    "observation.images.front": shade,
                    "observation.state": number + np.arange(7, dtype=np.float32),
                    "action": -number - np.arange(7, dtype=np.float32),
                    "task": f"task {episode}",
                }
            )
        data.save_episode()
    data.finalize()


main()
