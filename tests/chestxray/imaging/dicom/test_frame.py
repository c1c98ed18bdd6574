"""Every codec decodes what its transfer syntax and the header announce, and nothing else."""

import io

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import uid
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import pixel_array

from chestxray.imaging.decode import decode
from chestxray.imaging.dicom.frame import decode_frame
from chestxray.imaging.dicom.header import DicomFile, read_file
from chestxray.imaging.dicom.pixel_data import stored_values
from chestxray.imaging.radiograph import RadiographError
from tests.dicom_files import (
    FULL,
    JPEG_2000,
    LOSSY,
    RAMP,
    SYNTAXES,
    codestream,
    dataset_of,
    dicom,
    encoded,
    lossless_jpeg,
    written,
)

DEEP = RAMP.astype(np.uint16) * 16
DEEP_SYNTAXES = [s for s in SYNTAXES if uid.UID(s).is_encapsulated and s != uid.JPEGBaseline8Bit]


def in_frame(codestream: bytes, syntax: str, allocated: int, stored: int, **elements: object) -> bytes:
    """A file whose header may say something else than its codestream."""
    dataset = dataset_of(RAMP, BitsAllocated=allocated, BitsStored=stored, HighBit=stored - 1, **elements)
    dataset.PixelData = encapsulate([codestream])
    return written(dataset, syntax)


@pytest.mark.parametrize(
    "options",
    [
        {"tile_size": (32, 32)},
        {"tile_size": (20, 13), "tile_offset": (0, 0), "num_resolutions": 2},
        {"codeblock_size": (4, 4)},
        {"codeblock_size": (64, 16), "precinct_size": (128, 128), "progression": "RPCL"},
        {"precinct_size": (64, 64), "quality_layers": [20, 5, 0], "progression": "PCRL"},
    ],
    ids=str,
)
def test_jpeg_2000_may_be_divided(options: dict[str, object]) -> None:
    stream = io.BytesIO()
    Image.fromarray(RAMP).save(stream, "JPEG2000", no_jp2=True, plt=True, comment="by a test", **options)
    data = in_frame(stream.getvalue(), uid.JPEG2000Lossless, 8, 8, **FULL)
    assert np.array_equal(decode(data).pixels, RAMP)


def packed(pixels: np.ndarray, syntax: str) -> bytes:
    """The codestream alone."""
    dataset = pydicom.dcmread(io.BytesIO(dicom(pixels, syntax, 12)))
    return get_frame(dataset.PixelData, 0, number_of_frames=1)


@pytest.mark.parametrize("syntax", [s for s in DEEP_SYNTAXES if s != uid.RLELossless])
@pytest.mark.parametrize(("allocated", "stored"), [(8, 8), (16, 10)])
def test_values_that_the_header_has_no_bits_for_are_refused(syntax: str, allocated: int, stored: int) -> None:
    """Instead of wrapping them."""
    with pytest.raises(RadiographError, match=f"BitsStored is {stored} .* beyond"):
        decode(in_frame(packed(DEEP, syntax), syntax, allocated, stored))


@pytest.mark.parametrize("syntax", [s for s in DEEP_SYNTAXES if s not in (uid.RLELossless, *JPEG_2000)])
def test_a_codestream_may_have_more_bits_than_it_needs(syntax: str) -> None:
    small = RAMP.astype(np.uint16)
    levels = decode(in_frame(packed(small, syntax), syntax, 16, 10, WindowCenter=128, WindowWidth=256)).pixels
    assert np.abs(levels.astype(int) - RAMP).max() <= (3 if syntax in LOSSY else 0)


def test_signs_may_be_extended_beyond_the_bits_stored() -> None:
    signed = RAMP.astype(np.int16) - 100
    window = {"WindowCenter": 28, "WindowWidth": 256, "PixelRepresentation": 1}
    data = in_frame(lossless_jpeg(signed.view(np.uint16), 16), uid.JPEGLossless, 16, 12, **window)
    assert np.array_equal(decode(data).pixels, RAMP)


OF_ANOTHER_KIND = {
    "baseline JPEG": encoded("jpeg8", RAMP, level=98),
    "lossless JPEG": lossless_jpeg(RAMP, 8),
    "JPEG-LS": encoded("jpegls", RAMP),
    "JPEG 2000": encoded("jpeg2k", RAMP, level=0, codecformat="j2k"),
    "JPEG 2000 in boxes": encoded("jpeg2k", RAMP, level=0, codecformat="jp2"),
    "HTJ2K": encoded("htj2k", RAMP, reversible=True),
    "JPEG XL": encoded("jpegxl", RAMP, lossless=True),
    "JPEG XL in boxes": encoded("jpegxl", RAMP, lossless=True, usecontainer=True),
}


@pytest.mark.parametrize("kind", OF_ANOTHER_KIND)
@pytest.mark.parametrize("syntax", [uid.JPEGLossless, uid.JPEG2000, uid.JPEGLSLossless])
def test_the_codestream_chooses_the_decoder(kind: str, syntax: str) -> None:
    levels = decode(in_frame(OF_ANOTHER_KIND[kind], syntax, 8, 8, **FULL)).pixels
    assert np.abs(levels.astype(int) - RAMP).max() <= (3 if kind == "baseline JPEG" else 0)


@pytest.mark.parametrize("kind", OF_ANOTHER_KIND)
@pytest.mark.parametrize("part", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("end", [b"", b"\xff\xd9", b"\xff\xd9\0"])
def test_a_codestream_that_lacks_pixels_is_refused(kind: str, part: float, end: bytes) -> None:
    data = OF_ANOTHER_KIND[kind]
    with pytest.raises(RadiographError, match="truncated"):
        decode(in_frame(data[: int(part * len(data))] + end, uid.JPEGLossless, 8, 8, **FULL))


COLOUR: dict[str, tuple[str, dict[str, object]]] = {
    "JPEG of luma and chroma": ("jpeg8", {"level": 98}),
    "JPEG of red, green and blue": ("jpeg8", {"level": 98, "outcolorspace": "RGB"}),
    "lossless JPEG": ("jpeg8", {"lossless": True, "predictor": 1}),
    "JPEG-LS": ("jpegls", {}),
    "JPEG 2000": ("jpeg2k", {"level": 0, "codecformat": "j2k"}),
    "JPEG 2000 without a transform": ("jpeg2k", {"level": 0, "codecformat": "j2k", "mct": False}),
    "HTJ2K": ("htj2k", {"reversible": True}),
    "JPEG XL": ("jpegxl", {"lossless": True}),
}


@pytest.mark.parametrize("name", COLOUR)
@pytest.mark.parametrize("samples", [1, 3])
def test_colour_without_colour_is_grey(name: str, samples: int) -> None:
    """Whether the header calls it colour or not."""
    codec, options = COLOUR[name]

    def values(colours: np.ndarray) -> np.ndarray:
        frame = encoded(codec, colours, **options)
        kind = {"SamplesPerPixel": samples, "PhotometricInterpretation": "RGB" if samples == 3 else "MONOCHROME2"}
        return decode(in_frame(frame, uid.JPEGBaseline8Bit, 8, 8, **kind, **FULL)).pixels

    equal = np.repeat(RAMP[..., None], 3, axis=2)
    assert np.abs(values(equal).astype(int) - RAMP).max() <= ("level" in options and codec == "jpeg8") * 3
    equal[:20, :20, 0] += 9
    with pytest.raises(RadiographError, match="have colours"):
        values(equal)


@pytest.mark.parametrize("syntax", [uid.RLELossless, uid.JPEGLSLossless])
@pytest.mark.parametrize("bits", [8, 16])
def test_grey_codestreams_and_planes_that_the_header_calls_colour(syntax: str, bits: int) -> None:
    pixels = RAMP if bits == 8 else RAMP.astype(np.uint16) * 257
    dataset = pydicom.dcmread(io.BytesIO(dicom(np.repeat(pixels, 3, axis=1), syntax)))
    dataset.Columns, dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 48, 3, "RGB"
    if syntax == uid.RLELossless:
        dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        dataset.PlanarConfiguration = 0
        dataset.PixelData = np.repeat(pixels[..., None], 3, axis=2).tobytes()
        dataset.compress(uid.RLELossless, generate_instance_uid=False, encoding_plugin="pydicom")
    else:
        dataset.PixelData = encapsulate([codestream(pixels, syntax, bits)])
    assert np.array_equal(decode(written(dataset, syntax)).pixels, RAMP)


@pytest.mark.parametrize(("predictor", "restart"), [(p, 0) for p in range(1, 8)] + [(1, 1), (4, 5)])
@pytest.mark.parametrize("bits", [8, 9, 10, 12, 14, 16])
def test_lossless_jpeg_comes_back(predictor: int, restart: int, bits: int) -> None:
    """By another encoder than libjpeg's."""
    noise = np.random.default_rng(0).integers(1 << bits, size=(31, 17), dtype=np.uint16)
    pixels = noise.astype(np.uint8) if bits == 8 else noise
    dataset = dataset_of(pixels, bits)
    dataset.PixelData = encapsulate([lossless_jpeg(pixels, bits, predictor, restart)])
    assert np.array_equal(stored_values(read_file(written(dataset, uid.JPEGLossless))), pixels)


def test_jpeg_of_12_bits_comes_back() -> None:
    """Coefficients are whole numbers, which costs a few of 4,096 levels at most."""
    noise = np.random.default_rng(0).integers(4096, size=(40, 72), dtype=np.uint16)
    for pixels in (noise, np.sort(noise), np.full((8, 8), 4095, np.uint16)):
        values = stored_values(read_file(dicom(pixels, uid.JPEGExtended12Bit, 12)))
        assert np.abs(values.astype(int) - pixels).max() <= 3


@pytest.mark.parametrize("syntax", [uid.JPEG2000Lossless, uid.JPEGLSLossless, uid.JPEGLossless])
@pytest.mark.parametrize("bits", [10, 12, 16])
def test_signed_values_come_back_in_twos_complement(syntax: str, bits: int) -> None:
    """JPEG 2000 knows signs; the others have the bits stored, or all with the sign extended."""
    signed = np.random.default_rng(0).integers(-(1 << bits - 1), 1 << bits - 1, size=(64, 48), dtype=np.int16)
    stored = signed.view(np.uint16) & (1 << bits) - 1
    extended = (signed, bits) if syntax == uid.JPEG2000Lossless else (signed.view(np.uint16), 16)
    for pixels, depth in ((stored, bits), extended):
        data = in_frame(codestream(pixels, syntax, depth), syntax, 16, bits, PixelRepresentation=1)
        assert np.array_equal(stored_values(read_file(data)), stored)


def test_signs_that_the_header_denies_are_refused() -> None:
    signed = RAMP.astype(np.int16) - 100
    with pytest.raises(RadiographError, match="PixelRepresentation"):
        decode(in_frame(codestream(signed, uid.JPEG2000Lossless, 12), uid.JPEG2000Lossless, 16, 12))


@pytest.mark.parametrize("syntax", sorted({uid.JPEG2000, uid.HTJ2K, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless}))
def test_inexact_values_a_little_beyond_the_bits_stored_are_clamped(syntax: str) -> None:
    over = np.add.outer(np.arange(64) * 10, np.arange(48) * 9).astype(np.uint16) + 40
    assert over.max() > 1023
    frame = codestream(over, uid.JPEGLSLossless, 12)
    assert np.array_equal(stored_values(read_file(in_frame(frame, syntax, 16, 10))), np.minimum(over, 1023))


def test_psot_of_zero_and_padding_are_read() -> None:
    """ISO 15444-1, A.4.2: the length of the last tile-part may be left open."""
    data = OF_ANOTHER_KIND["JPEG 2000"]
    tile = data.index(b"\xff\x90")
    frame = data[: tile + 6] + bytes(4) + data[tile + 10 :] + b"\0"
    assert np.array_equal(decode(in_frame(frame, uid.JPEG2000, 8, 8, **FULL)).pixels, RAMP)


@pytest.mark.parametrize("side", [1000, 4000])
def test_a_large_film_of_hardly_any_bytes_is_refused(side: int) -> None:
    """It would cost as much as one of many."""
    frame = encoded("jpeg2k", np.zeros((side, side), np.uint8), level=0, codecformat="j2k")
    dataset = dataset_of(np.zeros((side, side), np.uint8))
    dataset.PixelData = encapsulate([frame])
    file = read_file(written(dataset, uid.JPEG2000Lossless))
    if side == 1000:
        assert stored_values(file).max() == 0
    else:
        with pytest.raises(RadiographError, match="too few"):
            stored_values(file)


def test_fill_bytes_are_skipped() -> None:
    data = OF_ANOTHER_KIND["lossless JPEG"]
    filled = data[:2] + b"\xff\xff" + data[2:]
    assert np.array_equal(decode(in_frame(filled, uid.JPEGLossless, 8, 8, **FULL)).pixels, RAMP)


@pytest.mark.parametrize("syntax", [uid.MPEG2MPML, "1.2.840.10008.1.2.4.92"])
def test_other_transfer_syntaxes_are_named(syntax: str) -> None:
    with pytest.raises(RadiographError, match="JPEG XL are accepted") as raised:
        decode(in_frame(bytes(100), syntax, 8, 8))
    assert uid.UID(syntax).name in str(raised.value)


ORACLES = {
    "JPGExtended.dcm": {(420, 140): 244, (230, 120): 95},
    "JPEG-lossy.dcm": {(420, 140): 244, (230, 120): 95},  # the same with a wrong header of the scan
    "JPEG-LL.dcm": {(512, 128): 13, (341, 128): 36, (420, 140): 227, (230, 120): 105},
    "JPGLosslessP14SV1_1s_1f_8b.dcm": {(384, 512): 15, (256, 512): 11, (384, 341): 62},
    "JPEGLSNearLossless_08.dcm": {(22, 5): 15, (15, 5): 30},
    "JPEGLSNearLossless_16.dcm": {(25, 5): 255, (16, 5): 4095},
}
"""Values that DCMTK gives."""


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("MR_small_RLE", "MR_small"), ("MR_small_jp2klossless", "MR_small"), ("MR_small_jpeg_ls_lossless", "MR_small"),
        ("emri_small_jpeg_2k_lossless", "emri_small"), ("emri_small_jpeg_ls_lossless", "emri_small"),
        ("emri_small_RLE", "emri_small"), ("693_J2KR", "693_UNCR"), ("RG1_J2KR", "RG1_UNCR"),
        ("RG3_J2KR", "RG3_UNCR"), ("693_J2KI", "693_J2KI"), ("J2K_pixelrep_mismatch", "J2K_pixelrep_mismatch"),
        ("JPEG2000", "JPEG2000"),
    ],
)  # fmt: skip
def test_real_files_decode_as_their_plain_siblings_or_as_in_pydicom(name: str, plain: str) -> None:
    theirs = pixel_array(real_file(plain), index=0, raw=True)
    values, stored = first_frame(real_file(name))
    assert np.array_equal(values & stored, theirs.view(values.dtype) & stored)


@pytest.mark.parametrize("name", ORACLES)
def test_real_files_decode_as_in_dcmtk(name: str) -> None:
    values, _ = first_frame(real_file(name))
    assert {place: values[place] for place in ORACLES[name]} == ORACLES[name]


def real_file(name: str) -> str:
    """A file of pydicom or pydicom-data."""
    path = get_testdata_file(name if name.endswith(".dcm") else f"{name}.dcm", download=False)
    if path is None:
        pytest.skip("pydicom-data is not installed, or has another content")
    return str(path)


def first_frame(path: str) -> tuple[np.ndarray, int]:
    """The values of any modality, and a mask of the bits stored."""
    dataset = pydicom.dcmread(path)
    frame = get_frame(dataset.PixelData, 0, number_of_frames=int(dataset.get("NumberOfFrames") or 1))
    file = DicomFile(dataset, dataset.file_meta.TransferSyntaxUID, "OB", 0xFFFFFFFF, b"", 0)
    return decode_frame(frame, file), (1 << dataset.BitsStored) - 1
