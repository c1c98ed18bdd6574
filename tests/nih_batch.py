"""Write small batches in NIH layout, with real image files, for tests."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from chestxray.batch_layout import HEADER, TABLE

Pixels = npt.NDArray[np.uint8]


def png(pixels: npt.NDArray[np.generic]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def noise(seed: int, size: tuple[int, int] = (40, 40)) -> Pixels:
    return np.random.default_rng(seed).integers(256, size=size, dtype=np.uint8)


def write_batch(root: Path, rows: Sequence[tuple[str, str, int]], files: Mapping[str, bytes]) -> Path:
    """Write image files, and a table with rows of image name, finding labels and patient."""
    (root / "images").mkdir(parents=True)
    for name, data in files.items():
        (root / "images" / name).write_bytes(data)
    lines = [f"{name},{labels},0,{patient},57,M,PA,2500,2048,0.168,0.168" for name, labels, patient in rows]
    (root / TABLE).write_text("\n".join([HEADER, *lines]) + "\n")
    return root


def plain_batch(root: Path, count: int = 12, labels: str = "Mass") -> Path:
    """Write a batch of `count` noise images, each of another patient; every second one has `labels`."""
    names = [f"{number:08d}_000.png" for number in range(1, count + 1)]
    rows = [(name, labels if place % 2 else "No Finding", place + 1) for place, name in enumerate(names)]
    return write_batch(root, rows, {name: png(noise(place)) for place, name in enumerate(names)})
