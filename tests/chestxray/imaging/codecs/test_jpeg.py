"""The parts of a JPEG codestream are found, and one that lacks pixels is told from one that is grey at its end."""

import io

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from chestxray.imaging.codecs.jpeg import MAX_FILL, MAX_SEGMENTS, check_complete, read_jpeg
from chestxray.imaging.decode import decode
from chestxray.imaging.radiograph import RadiographError
from tests.dicom_files import lossless_jpeg

DEEP = np.random.default_rng(0).integers(4096, size=(64, 48), dtype=np.uint16)
FLAT = (DEEP >> 4).astype(np.uint8)
END = b"\xff\xd9"


def pillow(**options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(FLAT).convert(str(options.pop("mode", "L"))).save(stream, "JPEG", **options)
    return stream.getvalue()


def grey_below(levels: np.ndarray, grey: int) -> np.ndarray:
    return np.where(np.arange(64)[:, None] < 32, levels, grey).astype(levels.dtype)


CODESTREAMS = {
    "baseline": pillow(),
    "colour": pillow(mode="RGB"),
    "progressive": pillow(progressive=True),
    "restarts": pillow(restart_marker_rows=1),
    "progressive, restarts": pillow(progressive=True, restart_marker_rows=2),
    "12 bits": imagecodecs.jpeg8_encode(DEEP, bitspersample=12),
    "lossless": imagecodecs.jpeg8_encode(DEEP, lossless=True, predictor=7, bitspersample=12),
    "lossless, restarts": lossless_jpeg(DEEP, 12, restart=4),
    "grey at its end": imagecodecs.jpeg8_encode(grey_below(FLAT, 128)),
    "lossless, grey at its end": imagecodecs.jpeg8_encode(
        grey_below(DEEP, 2048), lossless=True, predictor=1, bitspersample=12
    ),
}


def check(data: bytes) -> None:
    check_complete(data, imagecodecs.jpeg8_decode(data), imagecodecs.jpeg8_decode)


@pytest.mark.parametrize("name", CODESTREAMS)
def test_a_codestream_with_all_pixels_is_complete(name: str) -> None:
    check(CODESTREAMS[name])
    check(CODESTREAMS[name] + bytes(1))


@pytest.mark.parametrize("name", CODESTREAMS)
@pytest.mark.parametrize("part", [0.05, 0.3, 0.5, 0.8, 0.9])
@pytest.mark.parametrize("end", [b"", END, bytes(8) + END])
def test_one_that_lacks_pixels_is_refused(name: str, part: float, end: bytes) -> None:
    data = CODESTREAMS[name]
    start = read_jpeg(data).scans[0][0]
    with pytest.raises(RadiographError, match="truncated"):
        check(data[: start + int(part * (len(data) - start - 8))] + end)


def test_one_that_ends_after_a_restart_interval_is_refused() -> None:
    data = CODESTREAMS["lossless, restarts"]
    with pytest.raises(RadiographError, match="fewer pixels"):
        check(data[: data.index(b"\xff\xd3")] + END)


def test_fill_bytes_may_come_before_any_marker() -> None:
    data = CODESTREAMS["baseline"]
    jpeg = read_jpeg(data)
    filled = data[:2] + b"\xff\xff" + data[2 : jpeg.scans[0][1]] + b"\xff" + END
    check(filled)
    assert (jpeg.frame, jpeg.bits, jpeg.rows, jpeg.columns, jpeg.components) == (0xC0, 8, 64, 48, 1)


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xd9", b"\xff\xd8\xff\xe0\xff\xff", b"\xff\xd8\xff\xc0\0\2"],
)
def test_what_has_no_parts_is_refused(data: bytes) -> None:
    with pytest.raises(RadiographError, match="damaged"):
        read_jpeg(data)


def test_few_fill_bytes_are_passed_over_and_many_are_refused() -> None:
    jpeg = pillow()
    few, many = (jpeg[:2] + fill + jpeg[2:-2] + fill + jpeg[-2:] for fill in (b"\xff" * 50, b"\xff" * (MAX_FILL + 1)))
    assert read_jpeg(few).rows == read_jpeg(jpeg).rows
    with pytest.raises(RadiographError, match=f"more than {MAX_FILL:,} fill bytes"):
        read_jpeg(many)


def test_as_many_restart_markers_as_blocks_are_decoded_and_more_are_refused() -> None:
    often = pillow(restart_marker_blocks=1)
    assert read_jpeg(often).restarts and decode(often).pixels.shape == FLAT.shape
    with pytest.raises(RadiographError, match="restart markers"):
        read_jpeg(often[:-2] + b"\xff\xd0" * 1_000_000 + often[-2:])


def test_no_more_segments_are_read_than_files_have() -> None:
    with pytest.raises(RadiographError, match="segments"):
        read_jpeg(b"\xff\xd8" + b"\xff\x01" * MAX_SEGMENTS)
