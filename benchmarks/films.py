"""Write folders of real-sized radiographs: drawn ones, or those of a folder, repeated as files of their own."""

import itertools
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.load import radiographs
from tests.dicom_files import dicom

DISTINCT = 24
"""Films that are drawn; more files repeat them, DICOM with other UIDs."""
COMPRESSION = 6
"""Of PNG; with it libpng chooses a filter for each row, as it does in NIH's files."""
DETECTORS = ((2022, 2022, 12), (2500, 2048, 14), (3056, 2544, 16))
"""Rows, columns and bits stored of DICOM files, in turn."""
UID_ROOT = "1.2.826.0.1.3680043.10.1"


def base_films(folder: Path | None, count: int) -> list[bytes]:
    """Return the PNG files of a folder, or at most `DISTINCT` drawn ones of 1024 × 1024 pixels."""
    if folder is not None:
        return [file.read_bytes() for file in sorted(folder.glob("*.png"))]
    films = radiographs(min(count, DISTINCT))
    drawn = (cv2.imdecode(np.frombuffer(film, np.uint8), cv2.IMREAD_GRAYSCALE) for film in films)
    return [cv2.imencode(".png", grey, [cv2.IMWRITE_PNG_COMPRESSION, COMPRESSION])[1].tobytes() for grey in drawn]


def write_films(out: Path, base: list[bytes], count: int) -> dict[str, Path]:
    """Write `count` PNG and `count` DICOM files of the same films, in turn, into a folder each."""
    folders = {"PNG": out / "png", "DICOM": out / "dicom"}
    for folder in folders.values():
        folder.mkdir(parents=True)
    numbers = itertools.count()
    for number, file in zip(range(count), itertools.cycle(base), strict=False):
        (folders["PNG"] / f"{number:06d}.png").write_bytes(file)
    for number, detector in zip(range(min(count, len(base))), itertools.cycle(DETECTORS), strict=False):
        levels = exposed(base[number], *detector, seed=number)
        for place in range(number, count, len(base)):
            uid = f"{UID_ROOT}.{next(numbers)}"
            (folders["DICOM"] / f"{place:06d}.dcm").write_bytes(as_dicom(levels, detector[2], uid))
    return folders


def exposed(png: bytes, rows: int, columns: int, bits: int, seed: int) -> npt.NDArray[np.uint16]:
    """Return a film as a detector gives it: enlarged, its grey in the lower 7/8 of the bits, with noise of its own."""
    grey = np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE), np.float32)
    large = cv2.resize(grey, (columns, rows), interpolation=cv2.INTER_CUBIC)
    large += np.random.default_rng(seed).standard_normal(large.shape, dtype=np.float32)
    full_scale = np.float32(7 / 8 * (2**bits - 1))
    return np.asarray(np.clip(large * (full_scale / 255), 0, full_scale), np.uint16)


def as_dicom(levels: npt.NDArray[np.uint16], bits: int, uid: str) -> bytes:
    """Return a computed radiograph, MONOCHROME2, not compressed, with the window that shows all of it."""
    width = int(levels.max()) + 1
    elements: dict[str, Any] = {
        "WindowCenter": width / 2,
        "WindowWidth": width,
        "ViewPosition": "PA",
        "BodyPartExamined": "CHEST",
    }
    return dicom(levels, bits=bits, SOPInstanceUID=uid, **elements)
