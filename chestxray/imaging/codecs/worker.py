"""Decode codestreams, one after another, as a process that `chestxray.imaging.codecs.process` starts and feeds.

The standard input is a socket for both ways, the standard output a file in memory for the pixels. A codec may crash the
process, and gets no more processor time and memory than the pixels that it was asked for are worth.
"""

import contextlib
import errno
import mmap
import os
import resource
import signal
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Decoder = Callable[[bytearray], npt.NDArray[Any]]
Codec = Literal[
    "jpeg", "jpeg-3", "jpeg-ls", "jpeg-2000", "jpeg-xl", "png-8", "png-16", "png-rgb", "png-rgba", "png-any-16"
]  # fmt: skip
"""Names of `_codecs`; "jpeg-3" is JPEG of three components, which are left as they are; "png-8" and "png-16" are grey.

"png-any-16" is 16 bits of any kind, interlaced or not; transparency is dropped.
"""

REQUEST = struct.Struct("<10sLLBQ")
"""Codec, rows, columns and components to expect at most, bytes of the codestream, which follows."""

REPLY = struct.Struct("<B3sB")
"""Outcome, type of the values, components; the values of `DECODED` are in the block."""

READY, DECODED, DAMAGED, ANOTHER_SIZE, NO_MEMORY = range(5)
"""Outcomes; the process says `READY` once, when it can decode."""

TYPES: dict[bytes, type[np.integer[Any]]] = {b"|u1": np.uint8, b"|i1": np.int8, b"<u2": np.uint16, b"<i2": np.int16}
"""Of values, all that a radiograph needs."""

MOST_BYTES = 6
"""A pixel in the block: three components of 16 bits."""

KEPT_BLOCK = 2**23
"""Bytes of the block that stay mapped, and in memory once they are used; it has as many when a request comes."""

SECONDS = 0.1
SECONDS_PER_VALUE = 5e-7
"""Of processor time: four times what the slowest codec takes, that of JPEG 2000."""

BYTES = 64 * 2**20
BYTES_PER_VALUE = 12
"""Of address space, beside what the idle process has: the codecs take 9 bytes a value, the block 2."""

SOCKET, BLOCK = 0, 1


def main() -> None:
    """Decode until the other side of the socket is closed."""
    codecs = _codecs()
    _lower_rights()
    block = mmap.mmap(BLOCK, KEPT_BLOCK)
    idle = _address_space()
    os.write(SOCKET, REPLY.pack(READY, b"", 0))
    while header := _received(REQUEST.size):
        _answer(codecs, header, block, idle)


def _answer(codecs: dict[str, Decoder], header: bytearray, block: mmap.mmap, idle: int) -> None:
    """Decode the codestream that follows the header of a request, into the block."""
    name, rows, columns, components, length = REQUEST.unpack(header)
    codestream = _received(length)
    _limit(idle + BYTES + length, rows * columns * components)
    try:
        reply = _decode(codecs[name.rstrip(b"\0").decode()], codestream, rows, columns, block)
    except Exception as error:  # each codec has errors of its own
        no_memory = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        reply = REPLY.pack(NO_MEMORY if no_memory else DAMAGED, b"", 0)
    signal.setitimer(signal.ITIMER_PROF, 0)
    del codestream  # the other side takes memory for the values, of which there may be as many
    os.write(SOCKET, reply)


def _codecs() -> dict[str, Decoder]:
    """Load the codecs, which the process that imports this module for its constants does not."""
    from imagecodecs._jpeg2k import jpeg2k_decode  # noqa: PLC0415 # as the first line says, here and below
    from imagecodecs._jpeg8 import jpeg8_decode  # noqa: PLC0415 # the same
    from imagecodecs._jpegls import jpegls_decode  # noqa: PLC0415 # the same
    from imagecodecs._jpegxl import jpegxl_decode  # noqa: PLC0415 # the same
    from imagecodecs._png import png_decode  # noqa: PLC0415 # the same
    from kornia_rs.io import decode_image_png_u8, decode_image_png_u16  # noqa: PLC0415 # the same

    def png(decode: Callable[..., npt.NDArray[Any]], mode: str) -> Decoder:
        return lambda data: _least(decode(bytes(data), struct.unpack_from(">LL", data, 16)[::-1], mode))

    def opaque(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return pixels if pixels.ndim == 2 else pixels[..., : 1 if pixels.shape[2] == 2 else 3]

    return {
        "jpeg": jpeg8_decode,
        "jpeg-3": lambda data: jpeg8_decode(data, colorspace="YCBCR", outcolorspace="YCBCR"),  # no conversion
        "jpeg-ls": jpegls_decode,
        "jpeg-2000": jpeg2k_decode,
        "jpeg-xl": lambda data: jpegxl_decode(data, numthreads=1),
        "png-8": png(decode_image_png_u8, "mono"),
        "png-16": png(decode_image_png_u16, "mono"),
        "png-rgb": png(decode_image_png_u8, "rgb"),
        "png-rgba": png(decode_image_png_u8, "rgba"),
        "png-any-16": lambda data: opaque(png_decode(data)),
    }


def _least(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return grey alone of pixels whose colours are grey, and no transparency: it is the way out that costs."""
    if pixels.shape[2] < 3:
        return pixels[..., 0]
    red, green, blue = (pixels[..., channel] for channel in range(3))
    return red if np.array_equal(red, green) and np.array_equal(green, blue) else pixels[..., :3]


def _lower_rights() -> None:
    """Write no file, leave no core, and be the first to go where the machine has no memory left."""
    with contextlib.suppress(OSError):  # not Linux
        Path("/proc/self/oom_score_adj").write_text("1000")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def _address_space() -> int:
    """Return what the process has of it in bytes; a gibibyte where the system does not tell."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[0]
    except OSError:
        return 2**30
    return int(pages) * resource.getpagesize()


def _limit(memory: int, values: int) -> None:
    """Allow what decoding so many values takes; the process is killed at the end of its time."""
    memory += BYTES_PER_VALUE * values
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    with contextlib.suppress(ValueError):  # macOS, which has no such limit
        resource.setrlimit(resource.RLIMIT_AS, (memory if most == resource.RLIM_INFINITY else min(memory, most), most))
    signal.setitimer(signal.ITIMER_PROF, SECONDS + SECONDS_PER_VALUE * values)


def _decode(codec: Decoder, codestream: bytearray, rows: int, columns: int, block: mmap.mmap) -> bytes:
    """Copy the values into the block, or into a larger mapping of its file, and return the reply."""
    pixels = codec(codestream)
    components = pixels.shape[2:] or (1,)
    kind = pixels.dtype.str.encode()
    if pixels.shape[:2] != (rows, columns) or components not in ((1,), (3,)) or kind not in TYPES:
        return REPLY.pack(ANOTHER_SIZE, b"", 0)
    mapping = block if pixels.nbytes <= len(block) else mmap.mmap(BLOCK, pixels.nbytes)
    np.copyto(np.frombuffer(mapping, pixels.dtype, pixels.size).reshape(pixels.shape), pixels)
    return REPLY.pack(DECODED, kind, *components)


def _received(length: int) -> bytearray:
    """Return so many bytes, or none at the end."""
    data = bytearray(length)
    rest = memoryview(data)
    while rest:
        count = os.readv(SOCKET, [rest])
        if count == 0:
            return bytearray()
        rest = rest[count:]
    return data


if __name__ == "__main__":
    main()
