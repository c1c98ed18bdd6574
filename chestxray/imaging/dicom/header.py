"""Read the elements of a DICOM file that matter, and find its pixels, at a bounded cost (PS3.5, PS3.10).

What the bounds are for, and why pydicom is silenced: docs/decisions/untrusted-images.md.
"""

import io
import logging
import re
import warnings
import zlib
from dataclasses import dataclass, replace
from typing import Protocol

import pydicom
from pydicom import Dataset
from pydicom._uid_dict import UID_dictionary
from pydicom.charset import default_encoding
from pydicom.dataelem import RawDataElement
from pydicom.filereader import read_dataset, read_sequence
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from chestxray.imaging.radiograph import RadiographError

PYDICOM_WARNINGS = ("ignore", None, Warning, re.compile("pydicom"), 0)
"""The entry that `warnings.filterwarnings("ignore", module="pydicom")` makes in `warnings.filters`."""

META = 132
"""Bytes before the first element: the preamble and DICM."""

MAX_READS = 20_000
"""Real radiographs have some hundreds of elements; each costs a read or two."""

MAX_VALUE_BYTES = 1024
MAX_UID_BYTES = 64
MAX_SEQUENCE_BYTES = 256 * 1024
"""A look-up table has 128 KiB at most."""

MAX_INFLATED_HEADER = 1024 * 1024
WANTED = (
    "SOPClassUID", "Modality", "ViewPosition", "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames",
    "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue",
    "PixelPaddingRangeLimit", "WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence", "RescaleIntercept",
    "RescaleSlope", "ModalityLUTSequence",
)  # fmt: skip
TAGS: list[BaseTag | int] = [Tag(name) for name in WANTED]
SEQUENCES = frozenset({"VOILUTSequence", "ModalityLUTSequence"})
JPEG_XL = {
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
}
"""Transfer syntaxes of the standard that pydicom does not know."""

CHARACTER_SET = {b"\x08\0\x05\0": b"\x08\0\0\0", b"\0\x08\0\x05": b"\0\x08\0\0"}
"""The tag (0008,0005), in both orders of bytes, and that of a group length, which pydicom does not interpret."""

HEADER_BYTES = 8
"""Tag, value representation and length, which pydicom reads at once."""

PIXEL_DATA = 0x7FE00010
FLOAT_PIXEL_DATA = 0x7FE00008
UNDEFINED = 0xFFFFFFFF


class Inflater(Protocol):
    """The type of what `zlib.decompressobj` returns."""

    @property
    def unconsumed_tail(self) -> bytes:
        """The input that is not inflated yet."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Inflate to at most so many bytes."""


class BoundedStream(io.BytesIO):
    """A stream that can be read `MAX_READS` times, so that millions of tiny elements cost no more than a real file.

    It shows pydicom the character set under another tag: pydicom interprets it wherever it finds it, whatever tags it
    was asked for, and looks for a codec of every name in it, which takes minutes for a long one. No text that it
    concerns is used.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as any stream does.

        Raises:
            RadiographError: it was read more than `MAX_READS` times.
        """
        self._reads += 1
        if self._reads > MAX_READS:
            raise RadiographError("more elements than any radiograph has")
        data = super().read(size)
        return CHARACTER_SET.get(data[:4], data[:4]) + data[4:] if size == HEADER_BYTES else data


@dataclass(frozen=True)
class DicomFile:
    """The header of a DICOM file, and where its pixel data are.

    Attributes:
        elements: those of `WANTED` that the file has.
        syntax: transfer syntax.
        pixel_vr: value representation of the pixel data, None if implicit.
        length: of the pixel data in bytes, as the file has it; `UNDEFINED` if they are items, with a codestream inside.
        data: the whole file, or the header of a deflated one, inflated.
        offset: of the first byte of the pixel data in it, or beyond.
        inflater: of a deflated file, with the rest of it.
    """

    elements: Dataset
    syntax: UID
    pixel_vr: str | None
    length: int
    data: bytes
    offset: int
    inflater: Inflater | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self.elements.Rows), int(self.elements.Columns)

    def native(self, count: int) -> memoryview:
        """Return the first `count` bytes of the pixel data, inflated if the file is deflated.

        Raises:
            RadiographError: there are fewer.
        """
        data = self.data
        missing = self.offset + count - len(data)
        if self.inflater is not None and missing > 0:
            data += self.inflater.decompress(self.inflater.unconsumed_tail, missing)
        found = memoryview(data)[self.offset : self.offset + count]
        if len(found) < count or self.length < count:
            raise RadiographError("fewer pixels than rows and columns")
        return found


@dataclass
class _PixelElement:
    tag: int = 0
    vr: str | None = None
    length: int = 0


def read_file(data: bytes) -> DicomFile:
    """Read up to the pixel data; from the first call on, pydicom says nothing in warnings and logs.

    Args:
        data: the whole file.

    Raises:
        RadiographError: no pixels, or more of anything than real files have.
        Exception: of any kind, from pydicom, for a damaged file.
    """
    _silence_pydicom()
    stream = BoundedStream(data)
    stream.seek(META)
    meta = read_dataset(
        stream,
        False,
        True,
        stop_when=lambda tag, _vr, _length: tag.group != 2,
        specific_tags=[Tag("TransferSyntaxUID")],
    )
    syntax = _uid(meta.get_item("TransferSyntaxUID").value)
    if syntax.is_private or not syntax.is_transfer_syntax:
        raise RadiographError("of an unknown transfer syntax")
    if syntax != DeflatedExplicitVRLittleEndian:
        return _read_elements(stream, data, syntax)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    head = inflater.decompress(memoryview(data)[stream.tell() :], MAX_INFLATED_HEADER)
    return replace(_read_elements(BoundedStream(head), head, syntax), inflater=inflater)


def _silence_pydicom() -> None:
    """Keep pydicom from quoting the file, for the whole process, whoever reads and whatever was set since last time.

    What pydicom finds odd it would quote in warnings and in its log. The filter of warnings is set again where another
    one has come before it, as in `warnings.catch_warnings`.
    """
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    for name, meaning in JPEG_XL.items():
        UID_dictionary.setdefault(name, (meaning, "Transfer Syntax", "", "", ""))
    if warnings.filters[:1] != [PYDICOM_WARNINGS]:
        warnings.filterwarnings("ignore", module="pydicom")


def _read_elements(stream: BoundedStream, data: bytes, syntax: UID) -> DicomFile:
    found = _PixelElement()

    def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        if tag < FLOAT_PIXEL_DATA:
            return False
        found.tag, found.vr, found.length = int(tag), vr, length
        return True

    elements = read_dataset(
        stream, syntax.is_implicit_VR, syntax.is_little_endian, stop_when=at_pixels, specific_tags=TAGS
    )
    if found.tag != PIXEL_DATA:
        raise RadiographError("no pixels of whole numbers", "not-a-radiograph")
    _check_lengths(elements)
    offset = stream.tell() + (8 if found.vr is None else 12)
    return DicomFile(elements, syntax, found.vr, found.length, data, offset)


def _uid(value: object) -> UID:
    if not isinstance(value, bytes) or len(value) > MAX_UID_BYTES:
        raise RadiographError("of an unknown transfer syntax")
    return UID(value.decode("ascii").rstrip("\0 "))


def _check_lengths(elements: Dataset) -> None:
    """Refuse long values before any is interpreted, which makes it larger; sequences are opened for it."""
    for name in WANTED:
        if name not in elements:
            continue
        element = elements.get_item(name)
        value = element.value
        limit = MAX_SEQUENCE_BYTES if name in SEQUENCES else MAX_VALUE_BYTES
        if isinstance(value, bytes) and len(value) > limit:
            raise RadiographError("longer values than any radiograph has")
        if name in SEQUENCES and isinstance(element, RawDataElement):
            value = _sequence(element)
            elements.add_new(element.tag, "SQ", value)
        inside = [raw.value for item in value for raw in item.values()] if isinstance(value, Sequence) else []
        if any(isinstance(part, bytes) and len(part) > limit for part in inside):
            raise RadiographError("longer values than any radiograph has")


def _sequence(element: RawDataElement) -> Sequence:
    """Read a sequence of known length as pydicom does when it is first used, but at a bounded cost."""
    value = element.value or b""
    stream = BoundedStream(value)
    return read_sequence(stream, element.is_implicit_VR, element.is_little_endian, len(value), default_encoding)
