"""Print what TensorFlow's own reader finds in the shards of a soar_dataset, as JSON; it runs where tensorflow is.

python read_with_tensorflow.py FOLDER

The features are those that the training code of the paper reads.
"""

import hashlib
import json
import sys
from pathlib import Path

import tensorflow as tf

SEQUENCE = {"shape": [], "allow_missing": True}
SPEC = {
    "steps/observation/image_0": tf.io.FixedLenSequenceFeature(dtype=tf.string, **SEQUENCE),
    "steps/observation/state": tf.io.FixedLenSequenceFeature(dtype=tf.float32, **SEQUENCE),
    "steps/action": tf.io.FixedLenSequenceFeature(dtype=tf.float32, **SEQUENCE),
    "steps/language_instruction": tf.io.FixedLenSequenceFeature(dtype=tf.string, **SEQUENCE),
    "episode_metadata/success": tf.io.FixedLenFeature([], tf.int64),
    "episode_metadata/file_path": tf.io.FixedLenFeature([], tf.string),
}


def main():
    found = {}
    paths = sorted(str(path) for path in Path(sys.argv[1]).glob("*.tfrecord-*"))
    for record in tf.data.TFRecordDataset(paths):
        example = tf.io.parse_single_example(record, SPEC)
        images = [
            tf.io.decode_jpeg(image, channels=3, dct_method="INTEGER_ACCURATE").numpy()
            for image in example["steps/observation/image_0"]
        ]
        found[example["episode_metadata/file_path"].numpy().decode()] = {
            "state": tf.reshape(example["steps/observation/state"], [-1, 7]).numpy().tolist(),
            "action": tf.reshape(example["steps/action"], [-1, 7]).numpy().tolist(),
            "instruction": example["steps/language_instruction"][0].numpy().decode(),
            "success": bool(example["episode_metadata/success"].numpy()),
            "shape": list(images[0].shape),
            "images": [hashlib.sha256(image.tobytes()).hexdigest() for image in images],
        }
    print(json.dumps(found))


main()
