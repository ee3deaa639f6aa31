from dataclasses import replace

import numpy as np
import pytest

from soar.pretraining import vlm_stream
from soar.pretraining.labeled_images import LabeledImageConfig
from soar.pretraining.vlm_corpus import make_vlm_corpus
from soar.pretraining.vlm_stream import SceneStream
from soar.training.vlm import VLMTrainConfig, train_compact_vlm
from soar.vlm.compact.network import CompactVLMConfig

pytestmark = pytest.mark.usefixtures("warm_workers")

SMALL = LabeledImageConfig(resolution=32, questions=4, images=2, activities=1, stops=1, views=2)
CONFIG = VLMTrainConfig(net=CompactVLMConfig(resolution=32, width=8, dim=16, pointing_dim=8))
CONFIG = replace(CONFIG, fit=replace(CONFIG.fit, steps=5, batch_size=4, log_every=1, save_every=5))


def stream() -> SceneStream:
    return SceneStream(CONFIG, seed=7, workers=1, images=SMALL)


def test_a_stream_gives_each_step_its_batch_and_trains_the_network(tmp_path, monkeypatch):
    monkeypatch.setattr(vlm_stream, "SCENES_PER_BLOCK", 4)  # 8 images: two steps of a block
    with stream() as batches:
        first = [batches(step, 4, slice(0, 4)) for step in range(4)]
    images = np.concatenate([b["images"] for b in first])
    assert len(np.unique(images.reshape(16, -1), axis=0)) == 16
    with stream() as batches:
        again = batches(3, 4, slice(2, 4))
    for name in ("images", "answers", "points"):
        np.testing.assert_array_equal(again[name], first[3][name][2:])
    np.testing.assert_allclose(again["words"], first[3]["words"][2:], atol=1e-5)
    make_vlm_corpus(tmp_path / "corpus", 8, workers=1, seed=1, config=SMALL)
    with stream() as batches:
        measured = train_compact_vlm(tmp_path / "corpus", tmp_path / "out", CONFIG, batches=batches)
    assert measured["questions"] == 8 * 4
