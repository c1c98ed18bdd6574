"""DICOM files of every kind that the decoder takes, made here."""

import io
import struct
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pydicom
import scipy.fft
from pydicom import Dataset, uid
from pydicom._uid_dict import UID_dictionary
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate

from chestxray.imaging.decode import decode

Pixels = npt.NDArray[np.generic]

CR = uid.ComputedRadiographyImageStorage
EXPLICIT = str(uid.ExplicitVRLittleEndian)
LOSSLESS_JPEG = (uid.JPEGLossless, uid.JPEGLosslessSV1)
JPEG_8_BIT = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)
JPEG_LS = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
JPEG_2000 = (uid.JPEG2000Lossless, uid.JPEG2000)
HTJ2K = (uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)
JPEG_XL = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (110, 111, 112))
for _syntax in JPEG_XL:
    UID_dictionary.setdefault(_syntax, ("JPEG XL", "Transfer Syntax", "", "", ""))
NATIVE = (
    uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
)  # fmt: skip
SYNTAXES = (
    *NATIVE, uid.RLELossless, *JPEG_LS, *LOSSLESS_JPEG, *JPEG_2000, *HTJ2K, *JPEG_XL, *JPEG_8_BIT
)  # fmt: skip
LOSSY = frozenset({*JPEG_8_BIT, uid.JPEG2000, uid.JPEGLSNearLossless, uid.HTJ2K, *JPEG_XL[1:]})

RAMP = np.add.outer(np.arange(64) * 3, np.arange(48)).astype(np.uint8)
"""Smooth, for lossy codecs; 0–236."""
FULL: dict[str, Any] = {"WindowCenter": 128, "WindowWidth": 256}
"""The window that shows 8 bits as they are."""


def dataset_of(pixels: Pixels, bits: int | None = None, **elements: Any) -> Dataset:
    """A computed radiograph of unsigned or signed values; `elements` override and add."""
    depth = 8 * pixels.dtype.itemsize
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = CR, "1.2.3", "CR"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = depth, bits or depth, (bits or depth) - 1
    dataset.PixelRepresentation = int(np.issubdtype(pixels.dtype, np.signedinteger))
    dataset.PixelData = pixels.tobytes() + bytes(pixels.size * pixels.itemsize % 2)
    dataset["PixelData"].VR = "OW" if depth == 16 else "OB"
    for name, value in elements.items():
        setattr(dataset, name, value)
    return dataset


def written(dataset: Dataset, syntax: str = EXPLICIT) -> bytes:
    """The file, with preamble; the pixel data must be as the syntax wants them."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.UID(syntax)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", CR)
    dataset.file_meta.MediaStorageSOPInstanceUID = uid.UID("1.2.3")
    if uid.UID(syntax).is_encapsulated:
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def dicom(pixels: Pixels, syntax: str = EXPLICIT, bits: int | None = None, **elements: Any) -> bytes:
    """A file of the transfer syntax given."""
    dataset = dataset_of(pixels, bits, **elements)
    if syntax == uid.ExplicitVRBigEndian and pixels.dtype.itemsize == 2:
        dataset.PixelData = pixels.byteswap().tobytes()
    if syntax == uid.RLELossless:
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        dataset.compress(uid.RLELossless, generate_instance_uid=False, encoding_plugin="pydicom")
    elif uid.UID(syntax) not in NATIVE:
        dataset.PixelData = encapsulate([codestream(pixels, syntax, dataset.BitsStored)])
    return written(dataset, syntax)


def codestream(pixels: Pixels, syntax: str, bits: int) -> bytes:
    """What a transfer syntax holds, all but RLE."""
    lossy = syntax in LOSSY
    if syntax in LOSSLESS_JPEG:
        return lossless_jpeg(pixels, bits)
    if syntax in JPEG_8_BIT:
        return extended_jpeg(pixels) if bits == 12 else encoded("jpeg8", pixels, level=98)
    if syntax in JPEG_LS:
        return encoded("jpegls", pixels, level=int(lossy), out=2 * pixels.nbytes + 1024)  # noise grows
    if syntax in JPEG_2000:
        level = 90 if lossy else 0
        return encoded("jpeg2k", pixels, level=level, reversible=not lossy, codecformat="j2k", bitspersample=bits)
    if syntax in HTJ2K:
        return encoded("htj2k", pixels, level=1e-5 if lossy else None, reversible=not lossy)
    return encoded("jpegxl", pixels, distance=0.1 if lossy else None, lossless=not lossy, bitspersample=bits)


def encoded(codec: str, pixels: Pixels, **options: Any) -> bytes:
    """A codestream by an encoder of imagecodecs."""
    return bytes(getattr(imagecodecs, f"{codec}_encode")(np.ascontiguousarray(pixels), **options))


def look_up(entries: Pixels, bits: int, first: int = 0) -> Dataset:
    """An item of a sequence of look-up tables; two entries are in a word if they are bytes."""
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [len(entries) % 65536, first, bits], entries.tobytes()
    item["LUTDescriptor"].VR, item["LUTData"].VR = "SS" if first < 0 else "US", "OW"
    item.ModalityLUTType = "US"
    return item


def lossless_jpeg(pixels: Pixels, bits: int, predictor: int = 1, restart: int = 0) -> bytes:
    """JPEG process 14 (ISO 10918-1, annex H); all 17 Huffman codes have five bits.

    Args:
        pixels: unsigned.
        bits: of a pixel.
        predictor: selection value, 1–7.
        restart: rows from one restart marker to the next; 0 for none.
    """
    values = pixels.astype(np.int64) & (1 << bits) - 1
    step = restart or len(pixels)
    parts = [_scan(values[row : row + step], 1 << (bits - 1), predictor) for row in range(0, len(values), step)]
    scan = parts[0] + b"".join(bytes([0xFF, 0xD0 + i % 8]) + part for i, part in enumerate(parts[1:]))
    frame = struct.pack(">BHHBBBB", bits, *pixels.shape, 1, 1, 0x11, 0)
    codes = bytes([0, 0, 0, 0, 0, 17, *[0] * 11, *range(17)])
    interval = struct.pack(">H", restart * pixels.shape[1])
    return _codestream(
        [(0xC3, frame), (0xC4, codes), (0xDD, interval), (0xDA, bytes([1, 1, 0, predictor, 0, 0]))], scan
    )


def extended_jpeg(pixels: Pixels) -> bytes:
    """JPEG process 4 (ISO 10918-1, annexes A, F): 12 bits, every coefficient rounded to a whole number.

    Args:
        pixels: unsigned, sides of multiples of 8; all Huffman codes have eight bits.
    """
    rows, columns = pixels.shape
    blocks = (pixels.astype(float) - 2048).reshape(rows // 8, 8, columns // 8, 8).swapaxes(1, 2).reshape(-1, 8, 8)
    zigzag = sorted(range(64), key=lambda at: (at // 8 + at % 8, at // 8 if (at // 8 + at % 8) % 2 else at % 8))
    transformed = np.rint(scipy.fft.dctn(blocks, axes=(1, 2), norm="ortho")).astype(int)
    coefficients = transformed.reshape(-1, 64)[:, zigzag]
    symbols, packed, last = [0x00, 0xF0, *(16 * run + size for run in range(16) for size in range(1, 15))], "", 0
    code = {symbol: f"{place:08b}" for place, symbol in enumerate(symbols)}
    for first, *others in coefficients.tolist():
        size, run, last_nonzero = (
            abs(first - last).bit_length(),
            0,
            max((i for i, v in enumerate(others) if v), default=-1),
        )
        packed += f"{size:08b}" + _bits(first - last, size)
        for value in others[: last_nonzero + 1]:
            if value == 0 and run < 15:
                run += 1
                continue
            size = abs(value).bit_length()
            packed += code[16 * run + size] + _bits(value, size)
            run = 0
        packed += code[0] if last_nonzero < 62 else ""
        last = first
    dc, ac = (
        bytes([0x00, *[0] * 7, 16, *[0] * 8, *range(16)]),
        bytes([0x10, *[0] * 7, len(symbols), *[0] * 8, *symbols]),
    )
    frame = struct.pack(">BHHBBBB", 12, rows, columns, 1, 1, 0x11, 0)
    head = [(0xDB, bytes([0, *[1] * 64])), (0xC1, frame), (0xC4, dc), (0xC4, ac), (0xDA, bytes([1, 1, 0, 0, 63, 0]))]
    return _codestream(head, _stuffed(packed))


def _codestream(segments: list[tuple[int, bytes]], scan: bytes) -> bytes:
    head = (struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content for marker, content in segments)
    return b"".join([b"\xff\xd8", *head, scan, b"\xff\xd9"])


def _bits(value: int, size: int) -> str:
    """The additional bits of a value, as many as its category says (annex F.1.2.1)."""
    return f"{value if value > 0 else value + (1 << size) - 1:0{size}b}" if size else ""


def _stuffed(packed: str) -> bytes:
    packed += "1" * (-len(packed) % 8)
    return int(packed, 2).to_bytes(len(packed) // 8, "big").replace(b"\xff", b"\xff\x00")


def _scan(values: npt.NDArray[np.int64], start: int, predictor: int) -> bytes:
    left, up, corner = values[1:, :-1], values[:-1, 1:], values[:-1, :-1]
    predicted = np.empty_like(values)
    predicted[0, 0], predicted[0, 1:], predicted[1:, 0] = start, values[0, :-1], values[:-1, 0]
    predicted[1:, 1:] = [
        left, up, corner, left + up - corner, left + (up - corner >> 1), up + (left - corner >> 1), left + up >> 1
    ][predictor - 1]  # fmt: skip
    differences = (values - predicted + 0x7FFF & 0xFFFF) - 0x7FFF
    packed = ""
    for difference in differences.ravel().tolist():
        category = abs(difference).bit_length()
        packed += f"{category:05b}" + (_bits(difference, category) if category < 16 else "")
    return _stuffed(packed)


def processor_time(work: Callable[[], object]) -> float:
    """Seconds that this process works, the lower of two tries; the first may load libraries."""
    tries = []
    for _ in range(2):
        started = time.process_time()
        work()
        tries.append(time.process_time() - started)
    return min(tries)


@cache
def ordinary_time() -> float:
    """Seconds that this machine works for an ordinary radiograph, of 9 megapixels."""
    pixels = np.random.default_rng(0).integers(4096, size=(3000, 3000), dtype=np.uint16)
    data = dicom(pixels, bits=12)
    return processor_time(lambda: decode(data))
