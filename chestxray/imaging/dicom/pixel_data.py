"""The pixel data of a DICOM file to stored values (PS3.5, section 8 and annexes A and G)."""

import struct
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom import uid
from pydicom.encaps import generate_fragments, parse_basic_offsets
from pydicom.pixels.decoders.base import get_decoder

from chestxray.imaging.dicom.codec_process import decode_in_process
from chestxray.imaging.dicom.codestream import JPEG_LS, LOSSLESS, SEQUENTIAL, check_jpeg, check_jpeg2000
from chestxray.imaging.dicom.header import UNDEFINED, Bounded, DicomFile
from chestxray.imaging.dicom.jpeg_lossless import decode_lossless_jpeg
from chestxray.imaging.radiograph import RadiographError

Values = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

JPEG = {
    uid.JPEGBaseline8Bit: SEQUENTIAL,
    uid.JPEGExtended12Bit: SEQUENTIAL,  # of 8 or 12 bits
    uid.JPEGLossless: LOSSLESS,
    uid.JPEGLosslessSV1: LOSSLESS,
    uid.JPEGLSLossless: JPEG_LS,
    uid.JPEGLSNearLossless: JPEG_LS,
}
JPEG_2000 = frozenset({uid.JPEG2000Lossless, uid.JPEG2000})


def stored_values(file: DicomFile) -> Values:
    """Decodes the one frame.

    Returns:
        rows × columns, as many bits as are stored, in two's complement if they are signed.

    Raises:
        RadiographError: fewer pixels than rows and columns, or a transfer syntax that is not supported.
        Exception: of any kind, from the codecs, for damaged pixels.
    """
    if file.syntax.is_encapsulated != (file.length == UNDEFINED):
        raise RadiographError("truncated or damaged")
    if not file.syntax.is_encapsulated:
        values = _native(file)
    elif file.syntax == uid.RLELossless:
        values = _run_lengths(file, _codestream(file))
    else:
        values = _decoded(file, _codestream(file))
    bits = int(file.elements.BitsStored)
    # The bits above may hold an overlay.
    return values if bits == 8 * values.itemsize else values & np.array((1 << bits) - 1, values.dtype)


def _native(file: DicomFile) -> Values:
    elements = file.elements
    order = "<" if file.syntax.is_little_endian else ">"
    count, deep = int(elements.Rows * elements.Columns), elements.BitsAllocated == 16
    if deep or (order == ">" and file.pixel_vr == "OW"):
        # Big endian swaps the bytes of words, even if each of them is a pixel.
        words = np.frombuffer(file.native(2 * (count if deep else (count + 1) // 2)), f"{order}u2").astype(
            "<u2", copy=False
        )
        values: Values = words if deep else words.view(np.uint8)[:count]
    else:
        values = np.frombuffer(file.native(count), np.uint8)
    return values.reshape(elements.Rows, elements.Columns)


def _codestream(file: DicomFile) -> bytes:
    """The fragments of the only frame, one after the other."""
    stream = Bounded(file.data)
    stream.seek(file.offset)
    parse_basic_offsets(stream)
    return b"".join(generate_fragments(stream))


def _run_lengths(file: DicomFile, frame: bytes) -> Values:
    """RLE (PS3.5, annex G): a segment for each byte of a value, the most significant first, packed as in TIFF.

    pydicom's own decoder inflates before it looks how far it should; Pillow's stops where the frame is full.
    """
    elements = file.elements
    count, planes = int(elements.Rows * elements.Columns), int(elements.BitsAllocated // 8)
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


def _decoded(file: DicomFile, frame: bytes) -> Values:
    rows, columns = int(file.elements.Rows), int(file.elements.Columns)
    if file.syntax in JPEG_2000:
        check_jpeg2000(frame, rows, columns)
        values = _by_pillow(file, frame)
    elif file.syntax in JPEG:
        values = _jpeg(file, frame, rows, columns)
    else:
        raise RadiographError("of a transfer syntax that is not supported")
    _check_range(values, file)
    deep = file.elements.BitsAllocated == 16
    return values.astype(np.uint16, copy=False) if deep else values.astype(np.uint8, copy=False)


def _check_range(values: Values, file: DicomFile) -> None:
    """A codestream has its own count of bits, which may be more than the header says as long as no value needs them."""
    bits, signed = int(file.elements.BitsStored), bool(file.elements.PixelRepresentation)
    numbers = values.view(f"i{values.itemsize}") if signed else values  # the sign may be extended
    if numbers.max() >= 1 << bits or numbers.min() < -(1 << bits - 1):
        raise RadiographError(f"of values that need more than the {bits} bits that the header says")


def _jpeg(file: DicomFile, frame: bytes, rows: int, columns: int) -> Values:
    kinds = JPEG[file.syntax]
    bits = check_jpeg(frame, kinds, rows, columns)
    if kinds == LOSSLESS:
        return decode_lossless_jpeg(frame, rows, columns)
    if kinds == JPEG_LS:
        return decode_in_process("jpeg-ls", frame, rows, columns)
    if file.syntax == uid.JPEGExtended12Bit and bits == 12:
        return decode_in_process("jpeg-12", frame, rows, columns)
    return _by_pillow(file, frame)


def _by_pillow(file: DicomFile, frame: bytes) -> Values:
    elements = file.elements
    options: Any = {
        "rows": int(elements.Rows),
        "columns": int(elements.Columns),
        # Of JPEG 2000 of more bits pydicom keeps the lowest without a word.
        "bits_allocated": 16 if file.syntax in JPEG_2000 else int(elements.BitsAllocated),
        "bits_stored": int(elements.BitsStored),
        "pixel_representation": int(elements.PixelRepresentation),
        "photometric_interpretation": str(elements.PhotometricInterpretation),
        "samples_per_pixel": 1,
        "number_of_frames": 1,
        "pixel_keyword": "PixelData",
    }
    array, _ = get_decoder(file.syntax).as_array(_encapsulated(frame), raw=True, decoding_plugin="pillow", **options)
    values: Values = array.view(f"u{array.itemsize}")
    return values.reshape(elements.Rows, elements.Columns)


def _encapsulated(frame: bytes) -> bytes:
    """A frame as pydicom wants it: an empty table of offsets, one item."""
    return struct.pack("<LLLL", 0xE000FFFE, 0, 0xE000FFFE, len(frame)) + frame
