"""Decode the codestream of a compressed DICOM frame with the codec of its transfer syntax (PS3.5, annexes A.4 and G).

`CODECS` is the table; which libraries decode, and why, is told in docs/decisions/dicom-codecs.md.
"""

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom import uid
from pydicom.pixels.decoders.base import get_decoder

from chestxray.imaging.dicom.codec_process import decode_in_process
from chestxray.imaging.dicom.codestream import JPEG_LS, LOSSLESS, SEQUENTIAL, check_jpeg, check_jpeg2000
from chestxray.imaging.dicom.header import DicomFile
from chestxray.imaging.dicom.jpeg_lossless import decode_lossless_jpeg
from chestxray.imaging.radiograph import RadiographError

Values = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Codec = Callable[[bytes, DicomFile], Values]
"""Codestream and header to values, rows × columns."""


def decode_frame(frame: bytes, file: DicomFile) -> Values:
    """Decode the codestream of the only frame.

    Args:
        frame: the codestream.
        file: its header.

    Returns:
        rows × columns, uint8 or uint16 by the bits allocated, signs extended or not.

    Raises:
        RadiographError: a transfer syntax that is not supported, a codestream of another size or kind than the header
            announces, or values that need more bits than it announces.
        Exception: of any kind, from the codecs, for damaged pixels.
    """
    if file.syntax not in CODECS:
        raise RadiographError("of a transfer syntax that is not supported")
    values = CODECS[file.syntax](frame, file)
    if file.syntax != uid.RLELossless:  # which has no count of bits of its own, and may hold an overlay
        _check_range(values, file)
    deep = file.elements.BitsAllocated == 16
    return values.astype(np.uint16, copy=False) if deep else values.astype(np.uint8, copy=False)


def _check_range(values: Values, file: DicomFile) -> None:
    """Refuse values that the bits stored can't hold; a codestream may announce more bits as long as none needs them."""
    bits = int(file.elements.BitsStored)
    signed = bool(file.elements.PixelRepresentation)
    numbers = values.view(f"i{values.itemsize}") if signed else values  # the sign may be extended
    if numbers.max() >= 1 << bits or numbers.min() < -(1 << bits - 1):
        raise RadiographError(f"of values that need more than the {bits} bits that the header says")


def _decode_rle(frame: bytes, file: DicomFile) -> Values:
    """Decode RLE: a segment for each byte of a value, the most significant first, packed as in TIFF.

    pydicom's own decoder inflates before it looks how far it should; Pillow's stops where the frame is full.
    """
    elements = file.elements
    count = int(elements.Rows * elements.Columns)
    planes = int(elements.BitsAllocated // 8)
    segments, *offsets = struct.unpack_from("<16L", frame)
    if segments != planes:
        raise RadiographError("truncated or damaged")
    ends = [*offsets[1:planes], len(frame)]
    unpacked = [
        Image.frombytes("L", (count, 1), frame[start:end], "packbits", "L").tobytes()
        for start, end in zip(offsets[:planes], ends, strict=True)
    ]
    values = np.frombuffer(unpacked[0], np.uint8)
    deep: Values = values
    if planes == 2:
        deep = np.stack([np.frombuffer(unpacked[1], np.uint8), values], axis=-1).view("<u2")
    return deep.reshape(elements.Rows, elements.Columns)


def _decode_baseline_jpeg(frame: bytes, file: DicomFile) -> Values:
    check_jpeg(frame, SEQUENTIAL, *file.shape)
    return _decode_with_pillow(frame, file)


def _decode_extended_jpeg(frame: bytes, file: DicomFile) -> Values:
    """Decode JPEG of 12 bits, or of 8, which the transfer syntax allows as well."""
    bits = check_jpeg(frame, SEQUENTIAL, *file.shape)
    return decode_in_process("jpeg_12_worker", frame, *file.shape) if bits == 12 else _decode_with_pillow(frame, file)


def _decode_lossless_jpeg(frame: bytes, file: DicomFile) -> Values:
    check_jpeg(frame, LOSSLESS, *file.shape)
    return decode_lossless_jpeg(frame, *file.shape)


def _decode_jpeg_ls(frame: bytes, file: DicomFile) -> Values:
    check_jpeg(frame, JPEG_LS, *file.shape)
    return decode_in_process("jpeg_ls_worker", frame, *file.shape)


def _decode_jpeg_2000(frame: bytes, file: DicomFile) -> Values:
    check_jpeg2000(frame, *file.shape)
    return _decode_with_pillow(frame, file, bits_allocated=16)  # of more bits, pydicom would keep the lowest alone


def _decode_with_pillow(frame: bytes, file: DicomFile, **overrides: int) -> Values:
    """Decode a JPEG or JPEG 2000 codestream as pydicom does with Pillow."""
    elements = file.elements
    rows, columns = file.shape
    options: dict[str, Any] = {
        "rows": rows,
        "columns": columns,
        "bits_allocated": int(elements.BitsAllocated),
        "bits_stored": int(elements.BitsStored),
        "pixel_representation": int(elements.PixelRepresentation),
        "photometric_interpretation": str(elements.PhotometricInterpretation),
        "samples_per_pixel": 1,
        "number_of_frames": 1,
        "pixel_keyword": "PixelData",
        **overrides,
    }
    item = struct.pack("<LLLL", 0xE000FFFE, 0, 0xE000FFFE, len(frame)) + frame  # after an empty table of offsets
    array, _ = get_decoder(file.syntax).as_array(item, raw=True, decoding_plugin="pillow", **options)
    values: Values = array.view(f"u{array.itemsize}")
    return values.reshape(elements.Rows, elements.Columns)


CODECS: dict[str, Codec] = {
    uid.RLELossless: _decode_rle,
    uid.JPEGBaseline8Bit: _decode_baseline_jpeg,
    uid.JPEGExtended12Bit: _decode_extended_jpeg,
    uid.JPEGLossless: _decode_lossless_jpeg,
    uid.JPEGLosslessSV1: _decode_lossless_jpeg,
    uid.JPEGLSLossless: _decode_jpeg_ls,
    uid.JPEGLSNearLossless: _decode_jpeg_ls,
    uid.JPEG2000Lossless: _decode_jpeg_2000,
    uid.JPEG2000: _decode_jpeg_2000,
}
"""By transfer syntax; those that are not here are refused."""
