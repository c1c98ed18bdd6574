"""A folder with files of every kind that stands in the way of a run."""

import os
from pathlib import Path

import numpy as np

from tests.dicom_files import dicom
from tests.serve.files import GREY, encoded

LATERAL = dicom(GREY, ViewPosition="LL")


def radiographs(folder: Path, count: int) -> list[Path]:
    """So many different images of noise."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(count)
    files = [folder / f"{number:04d}.png" for number in range(count)]
    for file in files:
        file.write_bytes(encoded(rng.integers(256, size=(120, 100), dtype=np.uint8)))
    return files


def make_ward(folder: Path) -> Path:
    """Make a folder of radiographs, and much else."""
    radiographs(folder / "a b" / "[1]", 3)
    (folder / "1.2.840.99").write_bytes(dicom(GREY))
    (folder / "IM0001").write_bytes(dicom(GREY))
    (folder / "DICOMDIR").write_bytes(dicom(GREY))
    (folder / "lateral.dcm").write_bytes(LATERAL)
    (folder / "README").write_text("findings: none")
    (folder / "labels.csv").write_text("image\n")
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "__MACOSX").mkdir()
    (folder / "damaged.PNG").write_bytes(encoded(GREY)[:500])
    (folder / "=cmd.png").write_bytes(encoded(GREY))
    (folder / "new\nline\r.png").write_bytes(encoded(GREY))
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.png")).write_bytes(encoded(GREY))
    (folder / "broken.png").symlink_to("nowhere")
    (folder / "circle.png").symlink_to("circle.png")
    (folder / "up").symlink_to("..")
    os.mkfifo(folder / "pipe.png")
    with (folder / "large.dcm").open("wb") as file:
        file.truncate(200_000_000)
    return folder


TAKEN = [
    "1.2.840.99", "=cmd.png", "IM0001", "a b/[1]/0000.png", "a b/[1]/0001.png", "a b/[1]/0002.png", "broken.png",
    "circle.png", "damaged.PNG", "large.dcm", "lateral.dcm", "new\nline\r.png", "\udcff.png",
]  # fmt: skip
"""Of the ward, sorted."""
