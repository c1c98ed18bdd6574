"""A PNG is read by any reader as the picture was, a JPEG nearly so."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from chestxray.imaging.pictures import encode_jpeg, encode_png


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (64, 50), (1, 1, 3), (5, 2, 3), (64, 50, 3)])
def test_a_picture_comes_back_as_it_was(shape: tuple[int, ...]) -> None:
    picture = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
    file = encode_png(picture)
    with Image.open(io.BytesIO(file)) as image:
        image.verify()
    with Image.open(io.BytesIO(file)) as image:
        assert image.format == "PNG" and np.array_equal(np.asarray(image), picture)
    colour = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(colour[..., ::-1] if picture.ndim == 3 else colour, picture)


def test_the_same_picture_gives_the_same_bytes() -> None:
    picture = np.random.default_rng(1).integers(256, size=(40, 30, 3), dtype=np.uint8)
    assert encode_png(picture) == encode_png(np.asfortranarray(picture)) == encode_png(picture.copy())


def test_what_changes_little_takes_little() -> None:
    rows, columns = np.mgrid[:256, :256]
    picture = ((rows + columns) // 2).astype(np.uint8)
    assert len(encode_png(picture)) < picture.size / 20


def test_a_jpeg_keeps_colours_in_their_places() -> None:
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:, :32, 0] = picture[:, 32:64, 1] = picture[:, 64:, 2] = 200
    with Image.open(io.BytesIO(encode_jpeg(picture))) as image:
        assert image.format == "JPEG" and image.size == (96, 64)
        assert np.abs(np.asarray(image, int)[:, 8::16] - picture[:, 8::16]).max() < 12
