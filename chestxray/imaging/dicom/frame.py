"""Decode the codestream of a compressed DICOM frame with the codec that its first bytes ask for (PS3.5, annex A.4).

The transfer syntax says only whether values may be inexact: files exist whose syntax names another kind of JPEG than
they hold. Which libraries decode, and why, is told in docs/decisions/dicom-codecs.md.
"""

import struct

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom import uid

from chestxray.imaging.codecs.jpeg import JPEG_LS, START_OF_IMAGE, check_complete, read_jpeg
from chestxray.imaging.codecs.jpeg2000 import BOXES, CODESTREAM, check_tiles, codestream_of
from chestxray.imaging.codecs.process import decode_in_process
from chestxray.imaging.codecs.worker import Codec
from chestxray.imaging.dicom.colour import Samples, grey_channel
from chestxray.imaging.dicom.header import DicomFile
from chestxray.imaging.radiograph import RadiographError

Values = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

LOSSLESS = frozenset(
    {
        uid.RLELossless, uid.JPEGLossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEG2000Lossless,
        uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, "1.2.840.10008.1.2.4.110",
    }
)  # fmt: skip
LOSSY = frozenset(
    {
        uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless, uid.JPEG2000, uid.HTJ2K,
        "1.2.840.10008.1.2.4.111", "1.2.840.10008.1.2.4.112",
    }
)  # fmt: skip
"""Those that are written as numbers are JPEG XL, which pydicom does not name."""

SUPPORTED = "native, deflated, RLE, JPEG, JPEG-LS, JPEG 2000, HTJ2K and JPEG XL are accepted"

SIGNATURES: dict[bytes, Codec] = {
    CODESTREAM: "jpeg-2000",
    BOXES: "jpeg-2000",
    b"\xff\x0a": "jpeg-xl",
    b"\0\0\0\x0cJXL \r\n\x87\n": "jpeg-xl",
}
"""Codecs by the first bytes of a codestream, all but the JPEG family's."""

DCT = frozenset({0xC0, 0xC1, 0xC2})
"""Markers of JPEG frames that are inexact: baseline, extended, progressive."""
LOSSLESS_JPEG = 0xC3

OVERSHOOT = 4
"""Inexact values may go beyond the bits stored by this part of their range; more is another depth than announced."""

PIXELS_PER_BYTE = 1000
FREE_PIXELS = 4_000_000
"""A large frame of more pixels for a byte is blank, or a bomb; compression of 1:100 leaves a tenth of them."""


def decode_frame(frame: bytes, file: DicomFile) -> Values:
    """Decode the codestream of the only frame.

    Args:
        frame: the codestream.
        file: its header.

    Returns:
        rows × columns, of colours × 3, uint8 or uint16 by the bits allocated, signs extended or not.

    Raises:
        RadiographError: a transfer syntax or codestream that is not supported, one of another size than the header
            announces or with fewer pixels, colours in a grey image, or values that need more bits than announced.
        Exception: of any kind, from the codecs, for damaged pixels.
    """
    if file.syntax == uid.RLELossless:  # which has no count of bits of its own, and may hold an overlay
        return _decode_rle(frame, file)
    if file.syntax not in LOSSLESS | LOSSY:
        raise RadiographError(f"TransferSyntaxUID is {file.syntax.name}; {SUPPORTED}", "unsupported-format")
    if file.shape[0] * file.shape[1] > FREE_PIXELS + PIXELS_PER_BYTE * len(frame):
        raise RadiographError(f"the codestream has {len(frame):,} bytes, too few for the pixels of Rows and Columns")
    if frame.startswith(START_OF_IMAGE):
        values, inexact = _decode_jpeg(frame, file)
    else:
        codec = next((codec for start, codec in SIGNATURES.items() if frame.startswith(start)), None)
        if codec is None:
            raise RadiographError(f"the codestream is of no known kind; {SUPPORTED}")  # damaged: its syntax is
        if codec == "jpeg-2000":
            check_tiles(codestream_of(frame))
        values, inexact = decode_in_process(codec, frame, *file.shape, file.samples), False
    in_range = _in_range(_as_announced(values, file), file, inexact or file.syntax in LOSSY)
    deep = file.elements.BitsAllocated == 16
    return in_range.astype(np.uint16, copy=False) if deep else in_range.astype(np.uint8, copy=False)


def _decode_jpeg(frame: bytes, file: DicomFile) -> tuple[Samples, bool]:
    """Decode JPEG or JPEG-LS; return whether its values are inexact as well."""
    jpeg = read_jpeg(frame)
    if (jpeg.rows, jpeg.columns) != file.shape or jpeg.components not in (1, 3):
        raise RadiographError(
            f"the codestream has {jpeg.columns}×{jpeg.rows} pixels of {jpeg.components} components; the "
            f"{file.shape[1]}×{file.shape[0]} of Columns and Rows are accepted, with 1 or 3"
        )
    if jpeg.frame == JPEG_LS:
        return decode_in_process("jpeg-ls", frame, *file.shape, jpeg.components), False
    if jpeg.frame not in DCT and jpeg.frame != LOSSLESS_JPEG:
        raise RadiographError(
            "the JPEG is hierarchical or arithmetic; baseline, extended, progressive and lossless are accepted",
            "unsupported-format",
        )

    def decode(data: bytes) -> Samples:
        codec: Codec = "jpeg" if jpeg.components == 1 else "jpeg-3"
        return decode_in_process(codec, data, *file.shape, jpeg.components)

    values = decode(frame)
    check_complete(frame, values, decode)
    return values, jpeg.frame in DCT


def _as_announced(values: Samples, file: DicomFile) -> Samples:
    """Return as many components as the header says, which may call a grey codestream colour, or the other way round."""
    if (values.ndim == 3) == (file.samples == 3):
        return values
    if values.ndim == 2:
        return np.repeat(values[..., None], 3, axis=-1)
    grey = grey_channel(values, file.elements.BitsStored)
    if grey is None:
        raise RadiographError(
            "SamplesPerPixel is 1 and pixels have colours; grey pixels are accepted", "not-a-radiograph"
        )
    return grey


def _in_range(values: Samples, file: DicomFile, inexact: bool) -> Samples:
    """Clamp inexact values a little beyond the bits stored; refuse exact ones, of which the header must be wrong.

    A codestream may announce more bits as long as no value needs them.
    """
    bits = int(file.elements.BitsStored)
    signed = file.elements.PixelRepresentation == 1
    numbers = values.view(f"i{values.itemsize}") if signed else values  # the sign may be extended
    low = -(1 << bits - 1) if signed else 0
    high = (1 << bits - (signed and values.dtype.kind == "i")) - 1
    least, most = int(numbers.min()), int(numbers.max())
    if low <= least and most <= high:
        return numbers
    allowed = (1 << bits) // OVERSHOOT if inexact else 0
    if least < low - allowed or most > high + allowed:
        raise RadiographError(
            f"BitsStored is {bits} with PixelRepresentation {int(signed)}, and pixels have values beyond"
        )
    return np.clip(numbers, low, high)


def _decode_rle(frame: bytes, file: DicomFile) -> Values:
    """Decode RLE: a segment for each byte of a value, the most significant first, packed as in TIFF.

    pydicom's own decoder inflates before it looks how far it should; Pillow's stops where the frame is full.
    """
    elements = file.elements
    count = int(elements.Rows * elements.Columns)
    planes = int(elements.BitsAllocated // 8)
    segments, *offsets = struct.unpack_from("<16L", frame)
    if segments != planes * file.samples:
        raise RadiographError(f"the RLE frame has {segments} segments; {planes * file.samples} are accepted")
    ends = [*offsets[1:segments], len(frame)]
    unpacked = [
        np.frombuffer(Image.frombytes("L", (count, 1), frame[start:end], "packbits", "L").tobytes(), np.uint8)
        for start, end in zip(offsets[:segments], ends, strict=True)
    ]
    if planes == 2:
        unpacked = [
            np.stack(pair, axis=-1).view("<u2")[:, 0] for pair in zip(unpacked[1::2], unpacked[::2], strict=True)
        ]
    values: Values = unpacked[0] if file.samples == 1 else np.stack(unpacked, axis=-1)
    return values.reshape(*file.shape, *values.shape[1:])
