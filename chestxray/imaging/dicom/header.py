"""Read the elements of a DICOM file that matter, and find its pixels, at a bounded cost (PS3.5, PS3.10).

What the bounds are for, and why pydicom is silenced: docs/decisions/untrusted-images.md.
"""

import io
import logging
import re
import warnings
import zlib
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import pydicom
from pydicom import Dataset
from pydicom._uid_dict import UID_dictionary
from pydicom.charset import default_encoding
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.filereader import read_dataset, read_sequence
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from chestxray.imaging.dicom.description import CODES, REAL, TABLES, WHOLE, WORDS, Elements, read_elements
from chestxray.imaging.dicom.numbers import texts
from chestxray.imaging.dicom.recognition import encoding_of, first_element
from chestxray.imaging.radiograph import Check, RadiographError

PYDICOM_WARNINGS = ("ignore", None, Warning, re.compile("pydicom"), 0)
"""The entry that `warnings.filterwarnings("ignore", module="pydicom")` makes in `warnings.filters`."""

MAX_READS = 20_000
"""Real radiographs have some hundreds of elements; each costs a read or two."""

MAX_SEQUENCE_READS = 2_000
"""A dozen look-up tables take a hundred."""

MAX_VALUE_BYTES = 1024
MAX_UID_BYTES = 64
MAX_SEQUENCE_BYTES = 2 * 1024 * 1024
"""A table of 65,536 entries has 128 KiB; a film may carry one for each of the ways in which it is looked at."""

MAX_INFLATED_HEADER = 4 * 1024 * 1024
WANTED = (*WORDS, *WHOLE, *REAL, *TABLES, *CODES)
NAMES = {Tag(name): name for name in WANTED}
TAGS: list[BaseTag | int] = [*NAMES]
SEQUENCES = frozenset({*TABLES, *CODES})
LUT_DATA = Tag("LUTData")
META_TAGS: list[BaseTag | int] = [Tag("TransferSyntaxUID"), Tag("MediaStorageSOPClassUID")]
SYNTAX_OF_ENCODING = {
    (True, True): ImplicitVRLittleEndian,
    (False, True): ExplicitVRLittleEndian,
    (False, False): ExplicitVRBigEndian,
}
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
    """A stream that can be read so often and no more, so that millions of tiny elements cost no more than a real file.

    It shows pydicom the character set under another tag: pydicom interprets it wherever it finds it, whatever tags it
    was asked for, and looks for a codec of every name in it, which takes minutes for a long one. No text that it
    concerns is used.
    """

    def __init__(self, data: bytes, reads: int = MAX_READS) -> None:
        super().__init__(data)
        self._limit = self._left = reads

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as any stream does.

        Raises:
            RadiographError: it was read more often than it may be.
        """
        self._left -= 1
        if self._left < 0:
            raise RadiographError(
                f"elements take more reads than the {self._limit:,} that are accepted, far more than any radiograph has"
            )
        data = super().read(size)
        return CHARACTER_SET.get(data[:4], data[:4]) + data[4:] if size == HEADER_BYTES else data


@dataclass(frozen=True)
class DicomFile:
    """The header of a DICOM file, and where its pixel data are.

    Attributes:
        elements: those of `WANTED` that the file has, as `description.read_elements` reads them.
        syntax: transfer syntax.
        pixel_vr: value representation of the pixel data, None if implicit.
        length: of the pixel data in bytes, as the file has it; `UNDEFINED` if they are items, with a codestream inside.
        data: the whole file, or the header of a deflated one, inflated.
        offset: of the first byte of the pixel data in it, or beyond.
        checks: what is doubtful of the elements.
        inflater: of a deflated file, with the rest of it.
    """

    elements: Elements
    syntax: UID
    pixel_vr: str | None
    length: int
    data: bytes
    offset: int
    checks: tuple[Check, ...] = ()
    inflater: Inflater | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self.elements.Rows), int(self.elements.Columns)

    @property
    def samples(self) -> int:
        """1 of a grey pixel, 3 of one that may have a colour."""
        return int(self.elements.SamplesPerPixel)

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
            raise RadiographError("PixelData has fewer pixels than Rows and Columns say; the file may be truncated")
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
    opened = open_elements(data)
    return replace(_read_elements(opened.stream, opened.data, opened.syntax, opened.origin), inflater=opened.inflater)


class OpenedElements(NamedTuple):
    """A DICOM file whose meta header is read.

    Attributes:
        stream: stands at the first element of the data set.
        data: what it reads: the whole file, or the header of a deflated one, inflated.
        syntax: transfer syntax.
        origin: the SOP class that the meta header names, or empty.
        inflater: of a deflated file, with the rest of it.
    """

    stream: BoundedStream
    data: bytes
    syntax: UID
    origin: str
    inflater: Inflater | None = None


def open_elements(data: bytes) -> OpenedElements:
    """Read the meta header of a file, and inflate the beginning of a deflated one.

    Args:
        data: the whole file.

    Raises:
        RadiographError: no DICOM, or no transfer syntax of the standard.
        Exception: of any kind, from pydicom, for a damaged file.
    """
    _silence_pydicom()
    start = first_element(data)
    if start is None:
        raise RadiographError("neither PNG, JPEG, TIFF, JPEG 2000 nor DICOM", "unsupported-format")
    stream = BoundedStream(data)
    stream.seek(start)
    meta = read_dataset(
        stream, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2, specific_tags=META_TAGS
    )
    syntax = _syntax(meta, data[stream.tell() : stream.tell() + MAX_VALUE_BYTES])
    named = texts(meta.get_item("MediaStorageSOPClassUID")) if "MediaStorageSOPClassUID" in meta else []
    origin = named[0] if named else ""
    if syntax != DeflatedExplicitVRLittleEndian:
        return OpenedElements(stream, data, syntax, origin)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    head = inflater.decompress(memoryview(data)[stream.tell() :], MAX_INFLATED_HEADER)
    return OpenedElements(BoundedStream(head), head, syntax, origin, inflater)


def _syntax(meta: Dataset, head: bytes) -> UID:
    """Return the transfer syntax that the meta header names; without one, what the data set looks like."""
    encoding = encoding_of(head)
    if "TransferSyntaxUID" not in meta and encoding is not None:
        return SYNTAX_OF_ENCODING[encoding]
    value = meta.get_item("TransferSyntaxUID").value if "TransferSyntaxUID" in meta else b""
    readable = isinstance(value, bytes) and 0 < len(value) <= MAX_UID_BYTES
    if readable:
        syntax = UID(value.decode("ascii", "replace").strip("\0 "))
        if not syntax.is_private and syntax.is_transfer_syntax:
            return syntax
    raise RadiographError(
        "TransferSyntaxUID is absent or names no transfer syntax of the standard; uncompressed, deflated, RLE, JPEG,"
        " JPEG-LS, JPEG 2000 and JPEG XL are accepted",
        "unsupported-format" if readable else "unreadable-image",
    )


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


def _read_elements(stream: BoundedStream, data: bytes, syntax: UID, origin: str) -> DicomFile:
    found = _PixelElement()

    def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        if tag < FLOAT_PIXEL_DATA:
            return False
        found.tag, found.vr, found.length = int(tag), vr, length
        return True

    raw = read_dataset(stream, syntax.is_implicit_VR, syntax.is_little_endian, stop_when=at_pixels, specific_tags=TAGS)
    if found.tag == 0:
        raise RadiographError("PixelData is absent, or the file is truncated before it", "not-a-radiograph")
    if found.tag != PIXEL_DATA:
        raise RadiographError("PixelData is absent; pixels of whole numbers are accepted", "not-a-radiograph")
    elements, checks = read_elements(_opened(raw), origin, syntax.is_encapsulated and syntax != RLELossless)
    offset = stream.tell() + (8 if found.vr is None else 12)
    return DicomFile(elements, syntax, found.vr, found.length, data, offset, checks)


def _opened(raw: Dataset) -> dict[str, RawDataElement | DataElement]:
    """Return the elements by keyword, with sequences opened, once none is too long to be interpreted."""
    opened: dict[str, RawDataElement | DataElement] = {}
    for element in raw.values():
        name = NAMES.get(element.tag)
        if name is None:
            continue
        _check_length(name, element.value, MAX_SEQUENCE_BYTES if name in SEQUENCES else MAX_VALUE_BYTES)
        opened[name] = element
        if name in SEQUENCES:
            value = _sequence(element) if isinstance(element, RawDataElement) else element.value
            opened[name] = DataElement(element.tag, "SQ", value)
            for part in (part for item in value for part in item.values()):
                _check_length(name, part.value, MAX_SEQUENCE_BYTES if part.tag == LUT_DATA else MAX_VALUE_BYTES)
    return opened


def _check_length(name: str, value: object, limit: int) -> None:
    if isinstance(value, bytes) and len(value) > limit:
        raise RadiographError(f"{name} has a value of {len(value):,} bytes; up to {limit:,} are accepted")


def _sequence(element: RawDataElement) -> Sequence:
    """Read a sequence of known length as pydicom does when it is first used, but at a bounded cost."""
    value = element.value or b""
    stream = BoundedStream(value, MAX_SEQUENCE_READS)
    return read_sequence(stream, element.is_implicit_VR, element.is_little_endian, len(value), default_encoding)
