"""Time how fast compressed DICOM frames decode: ours, another checkout's, and pydicom's plug-ins."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import uid
from pydicom.encaps import encapsulate

from benchmarks.process import TOP
from benchmarks.table import Row
from tests.dicom_files import dataset_of, encoded, written

SIDE = 1024
TIMES = 15
USED = """
import os, sys, time
from pathlib import Path

def used():
    children = [child for file in Path("/proc/self/task").glob("*/children") for child in file.read_text().split()]
    alive = sum(int(Path(f"/proc/{child}/schedstat").read_text().split()[0]) for child in children)
    times = os.times()
    return time.process_time() + times.children_user + times.children_system + alive / 1e9
"""
"""Processor time of the process and of those that it started: a busy machine changes it less than elapsed time."""

DECODE = f"""{USED}
from chestxray.imaging.dicom.header import read_file
from chestxray.imaging.dicom.pixel_data import stored_values
for line in sys.stdin:
    started = used()
    stored_values(read_file(Path(line.strip()).read_bytes()))
    print(used() - started, flush=True)
"""
"""Decodes each file of the standard input, and prints the seconds; run with this checkout of the library or another."""

PLUGIN = f"""{USED}
from pydicom.pixels import pixel_array
for line in sys.stdin:
    started = used()
    pixel_array(line.strip(), raw=True, decoding_plugin=sys.argv[1])
    print(used() - started, flush=True)
"""
"""The same with a plug-in of pydicom."""

PLUGINS = {"JPEG-LS": ("pyjpegls", "pylibjpeg"), "JPEG 2000": ("pillow", "pylibjpeg")}
"""That decode what is named so, the usual one first."""


def radiograph() -> npt.NDArray[np.uint16]:
    """Return 12 bits that compress like a film: two lungs and the noise of a detector."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    lungs = sum(np.exp(-((columns - x) ** 2 / 0.02 + (rows - 0.5) ** 2 / 0.08)) for x in (0.3, 0.7))
    noise = np.random.default_rng(0).normal(0, 8, (SIDE, SIDE))
    return np.asarray(np.clip(2600 - 1700 * lungs + noise, 0, 4095), np.uint16)


def codec_files(folder: Path) -> dict[str, Path]:
    """Write a DICOM file of each kind of compression, and return them by name."""
    pixels = radiograph()
    frames: dict[str, tuple[str, bytes]] = {
        f"lossless JPEG, predictor {predictor}": (
            uid.JPEGLossless,
            encoded("jpeg8", pixels, lossless=True, predictor=predictor, bitspersample=12),
        )
        for predictor in (1, 6, 7)
    }
    kinds: dict[str, tuple[str, str, dict[str, Any]]] = {
        "JPEG of 12 bits": (uid.JPEGExtended12Bit, "jpeg8", {"bitspersample": 12, "level": 95}),
        "JPEG-LS": (uid.JPEGLSLossless, "jpegls", {}),
        "JPEG 2000": (uid.JPEG2000Lossless, "jpeg2k", {"level": 0, "codecformat": "j2k", "bitspersample": 12}),
        "JPEG 2000, lossy": (uid.JPEG2000, "jpeg2k", {"level": 60, "codecformat": "j2k", "bitspersample": 12}),
        "HTJ2K": (uid.HTJ2KLossless, "htj2k", {"reversible": True}),
        "JPEG XL": ("1.2.840.10008.1.2.4.110", "jpegxl", {"lossless": True, "bitspersample": 12}),
    }
    frames |= {name: (syntax, encoded(codec, pixels, **options)) for name, (syntax, codec, options) in kinds.items()}
    paths = {}
    for number, (name, (syntax, frame)) in enumerate(frames.items()):
        dataset = dataset_of(pixels, 12)
        dataset.PixelData = encapsulate([frame])
        paths[name] = folder / f"{number}.dcm"
        paths[name].write_bytes(written(dataset, syntax))
    return paths


class Decoder:
    """A process that decodes files one by one; with `top`, by the library of another checkout."""

    def __init__(self, script: str, *arguments: str, top: Path = TOP) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            cwd=top,
            env=os.environ | {"PYTHONPATH": str(top)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def seconds(self, path: Path) -> float:
        """Decode a file; return the seconds, or infinity if it can't."""
        if self._process.poll() is not None or self._process.stdin is None or self._process.stdout is None:
            return np.inf
        try:
            self._process.stdin.write(f"{path}\n")
            self._process.stdin.flush()
            return float(self._process.stdout.readline() or np.inf)
        except BrokenPipeError:
            return np.inf

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


def compare_codecs(folder: Path, before: Path | None) -> list[Row]:
    """Return milliseconds for a film of each kind: ours, another checkout's and pydicom's, which take turns."""
    rows: list[Row] = []
    for name, path in codec_files(folder).items():
        ways = {"ours": Decoder(DECODE)}
        if before is not None:
            ways["before"] = Decoder(DECODE, top=before)
        for plugin in PLUGINS.get(name.removesuffix(", lossy"), ()):
            ways[f"pydicom, {plugin}"] = Decoder(PLUGIN, plugin)
        rounds = [[way.seconds(path) for way in ways.values()] for _ in range(TIMES)]
        best = dict(zip(ways, 1000 * np.min(rounds, axis=0), strict=True))
        for way in ways.values():
            way.close()
        row = {"file": name} | {way: f"{best[way]:.1f} ms" for way in ways if np.isfinite(best[way])}
        row |= {f"{way} : ours": f"{best[way] / best['ours']:.1f}" for way in list(ways)[1:] if np.isfinite(best[way])}
        rows.append(row)
    return rows
