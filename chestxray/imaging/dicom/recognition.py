"""Recognise a DICOM file by its first bytes (PS3.10, section 7), without pydicom."""

import struct

MAGIC = b"DICM"
PREAMBLE = 128
LONG_LENGTH = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
"""Value representations with two empty bytes and a length of four bytes (PS3.5, section 7.1.2)."""

FIRST_GROUPS = frozenset({2, 8})
"""Of the meta header and of the data set."""

UNDEFINED_LENGTH = 0xFFFFFFFF


def first_element(data: bytes) -> int | None:
    """Find where the elements of a DICOM file begin.

    After a preamble and DICM; or at once, if the meta header has no preamble, or a data set stands alone.

    Args:
        data: the whole file.

    Returns:
        The offset of the first element; None if this is no DICOM file.
    """
    for start in (PREAMBLE, 0):
        if data[start : start + len(MAGIC)] == MAGIC:
            return start + len(MAGIC)
    return 0 if any(_begins_with_elements(data, *encoding) for encoding in ENCODINGS) else None


ENCODINGS = ((True, True), (False, True), (False, False))
"""Implicit VR, little endian; the explicit ones; as pydicom has them, in the order of how common they are."""


def encoding_of(head: bytes) -> tuple[bool, bool] | None:
    """Guess how a data set without a transfer syntax is written.

    Args:
        head: the data set from its first element on.

    Returns:
        Whether value representations are implicit, and whether it is little endian; None if it is no data set.
    """
    return next((encoding for encoding in ENCODINGS if _begins_with_elements(head, *encoding)), None)


def _begins_with_elements(data: bytes, implicit: bool, little: bool) -> bool:
    """Return whether two elements follow each other, the first of the groups that come first."""
    order = "<" if little else ">"
    if len(data) < 16:
        return False
    group, number = struct.unpack_from(f"{order}HH", data)
    kind = data[4:6]
    if group not in FIRST_GROUPS or implicit == (kind.isalpha() and kind.isupper()):
        return False
    if implicit:
        (length,) = struct.unpack_from(f"{order}L", data, 4)
        head = 8
    elif kind in LONG_LENGTH:
        (length,) = struct.unpack_from(f"{order}L", data, 8)
        head = 12
    else:
        (length,) = struct.unpack_from(f"{order}H", data, 6)
        head = 8
    if length == UNDEFINED_LENGTH:
        return True
    if length % 2 or head + length + 4 > len(data):
        return False
    following = struct.unpack_from(f"{order}HH", data, head + length)
    return bool((group, number) < following and following[0] <= 0x7FE0)
