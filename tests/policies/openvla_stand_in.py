"""Run OpenVLA's own server (vla-scripts/deploy.py) with a model that only computes: openvla_stand_in.py DEPLOY PORT.

The server's code is theirs. The model's packages, which need gigabytes of weights, are replaced by two classes with the
methods that it calls.
"""

import importlib
import sys
import types
from pathlib import Path

import numpy as np


class Inputs(dict):
    def to(self, device, dtype):
        return self


class Processor:
    @classmethod
    def from_pretrained(cls, path, **options):
        return cls()

    def __call__(self, prompt, image):
        return Inputs(prompt=prompt, pixels=np.asarray(image))


class Model:
    @classmethod
    def from_pretrained(cls, path, **options):
        return cls()

    def to(self, device):
        return self

    def predict_action(self, prompt, pixels, unnorm_key, do_sample):
        """Seven numbers that tell what was asked: the image's size and colors, the prompt's length, the key."""
        keys = {None: 0.0, "bridge_orig": 1.0}
        color = pixels.reshape(-1, 3).mean(0) / 25500
        return np.array([*color, len(prompt) / 1e4, pixels.shape[0] / 1e4, 0.0, keys[unnorm_key]])


transformers, draccus = types.ModuleType("transformers"), types.ModuleType("draccus")
vars(transformers).update(AutoProcessor=Processor, AutoModelForVision2Seq=Model)
vars(draccus).update(wrap=lambda: lambda function: function)  # reads the command line
sys.modules |= {"transformers": transformers, "draccus": draccus}
path, port = sys.argv[1:]
sys.path.insert(0, str(Path(path).parent))
deploy = importlib.import_module("deploy")
deploy.OpenVLAServer("openvla/openvla-7b").run("127.0.0.1", int(port))
