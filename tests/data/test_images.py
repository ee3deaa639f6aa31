import numpy as np
import pytest

from soar.data.store.images import decode, decode_all, encode, image_size
from soar.errors import StoreError


def test_png_is_lossless():
    image = np.random.default_rng(0).integers(0, 256, (17, 31, 3), np.uint8)
    assert np.array_equal(decode(encode(image, "png")), image)


def test_jpeg_keeps_colors_at_full_resolution():
    """One-pixel stripes of red and blue blur to purple when chroma is subsampled."""
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2, 0] = 200
    stripes[:, 1::2, 2] = 200
    assert np.abs(decode(encode(stripes)).astype(int) - stripes).max() < 25


def test_a_view_of_an_image_encodes_as_its_copy():
    image = np.random.default_rng(0).integers(0, 256, (16, 32, 3), np.uint8)[:, ::2]
    assert encode(image) == encode(image.copy())


@pytest.mark.parametrize("codec", ["jpeg", "png"])
def test_damaged_bytes_are_an_error(codec):
    data = encode(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), codec)
    for damaged in (data[: len(data) // 2], b"", b"no image"):
        with pytest.raises(StoreError, match="can't be decoded"):
            decode(damaged)


@pytest.mark.parametrize("codec", ["jpeg", "png"])
def test_several_images_decode_as_each_alone(codec):
    images = np.random.default_rng(0).integers(0, 256, (3, 24, 32, 3), np.uint8)
    files = [encode(image, codec) for image in images]
    assert np.array_equal(decode_all(files), [decode(file) for file in files])


@pytest.mark.parametrize("codec", ["jpeg", "png"])
@pytest.mark.parametrize("shape", [(16, 16, 3), (32, 16, 3), (8, 64, 3)])
def test_images_of_two_sizes_are_an_error(codec, shape):
    files = [encode(np.zeros(s, np.uint8), codec) for s in [shape, (16, 32, 3)]]
    with pytest.raises(StoreError):
        decode_all(files)


@pytest.mark.parametrize("codec", ["jpeg", "png"])
def test_an_images_size_is_read_from_its_header(codec):
    image = np.zeros((20, 30, 3), np.uint8)
    assert image_size(encode(image, codec)) == (20, 30)
    with pytest.raises(StoreError, match="can't be decoded"):
        image_size(encode(image, codec)[:10])
