"""Decode the pixel data of a DICOM file to stored values (PS3.5, section 8 and annex A)."""

import numpy as np
from pydicom.encaps import generate_fragments, parse_basic_offsets

from chestxray.imaging.dicom.description import Elements
from chestxray.imaging.dicom.frame import Values, decode_frame
from chestxray.imaging.dicom.header import UNDEFINED, BoundedStream, DicomFile
from chestxray.imaging.radiograph import Check, RadiographError


def stored_values(file: DicomFile) -> Values:
    """Decode the one frame and keep the bits stored: see `raw_values` and `kept_bits`."""
    return kept_bits(raw_values(file), file.elements)


def raw_values(file: DicomFile) -> Values:
    """Decode the one frame.

    Returns:
        rows × columns, of colours × 3, uint8 or uint16 by the bits allocated, with whatever stands in the bits that are
        not stored.

    Raises:
        RadiographError: fewer pixels than rows and columns, or a transfer syntax that is not supported.
        Exception: of any kind, from the codecs, for damaged pixels.
    """
    compressed = file.syntax.is_encapsulated
    if compressed != (file.length == UNDEFINED):
        wrong = "in one piece, and compressed" if compressed else "in items, and uncompressed"
        raise RadiographError(f"PixelData is {wrong} by TransferSyntaxUID; items are accepted where it is compressed")
    return decode_frame(_codestream(file), file) if compressed else _native_values(file)


def kept_bits(values: Values, elements: Elements) -> Values:
    """Return the bits stored of each value, signed ones in two's complement, and zeros above; in place if it can."""
    bits = int(elements.BitsStored)
    below = elements.HighBit + 1 - bits  # not the lowest ones, as was allowed until 2006
    values = values >> np.array(below, values.dtype) if below else values
    if bits == 8 * values.itemsize:
        return values
    # The bits above may hold an overlay.
    mask = np.array((1 << bits) - 1, values.dtype)
    masked: Values = np.bitwise_and(values, mask, out=values if values.flags.writeable else None)
    return masked


def overflow_checks(values: Values, elements: Elements) -> tuple[Check, ...]:
    """Warn of unsigned values that need more bits than are stored, as `raw_values` gives them."""
    high = int(elements.HighBit) + 1
    if elements.PixelRepresentation or high == 8 * values.itemsize or not values.size or values.max() < 1 << high:
        return ()  # of signed ones, the bits above may repeat the sign
    needed = int(values.max()).bit_length()
    message = (
        f"Values take {needed} bits, and BitsStored is {elements.BitsStored}: what is above was left out, as an overlay"
        " there is; if none is, the grey levels are wrong."
    )
    return (Check("bits-stored", "warned", message, needed, high + 1),)


def _native_values(file: DicomFile) -> Values:
    elements = file.elements
    order = "<" if file.syntax.is_little_endian else ">"
    subsampled = elements.PhotometricInterpretation == "YBR_FULL_422"  # two pixels share their colour
    count = elements.Rows * elements.Columns * (2 if subsampled else file.samples)
    deep = elements.BitsAllocated == 16
    if deep or (order == ">" and file.pixel_vr == "OW"):
        # Big endian swaps the bytes of words, even if each of them is a pixel.
        packed = file.native(2 * (count if deep else (count + 1) // 2))
        words = np.frombuffer(packed, f"{order}u2").astype("<u2", copy=False)
        values: Values = words if deep else words.view(np.uint8)[:count]
    else:
        values = np.frombuffer(file.native(count), np.uint8)
    return values.reshape(file.shape) if file.samples == 1 else _colours(values, file)


def _colours(values: Values, file: DicomFile) -> Values:
    """Arrange the samples of native colours (PS3.3, C.7.6.3.1.2, C.7.6.3.1.3) as rows × columns × 3."""
    elements = file.elements
    if elements.PhotometricInterpretation == "YBR_FULL_422":
        if elements.Columns % 2:
            raise RadiographError("Columns is odd; with YBR_FULL_422 an even number is accepted")
        pairs = values.reshape(elements.Rows, elements.Columns // 2, 4)
        return pairs[..., [0, 2, 3, 1, 2, 3]].reshape(*file.shape, 3)
    if elements.PlanarConfiguration == 1:
        planes: Values = values.reshape(3, *file.shape).transpose(1, 2, 0)
        return planes
    return values.reshape(*file.shape, 3)


def _codestream(file: DicomFile) -> bytes:
    """Join the fragments of the only frame."""
    stream = BoundedStream(file.data)
    stream.seek(file.offset)
    parse_basic_offsets(stream)
    return b"".join(generate_fragments(stream))
