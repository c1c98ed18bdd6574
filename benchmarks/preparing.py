"""Time `prepare` on real images: `python -m benchmarks.preparing ROOT --before CHECKOUT` against another checkout."""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.codecs import Decoder
from benchmarks.machine import machine
from benchmarks.table import Row, publish
from chestxray.batch_layout import TABLE
from chestxray.datasets.batch import read_batch
from chestxray.findings import NIH_VOCABULARY
from chestxray.imaging.decode import decode

ROUNDS = 5
COPIES = 48
"""Of each image. Those that are identical are decoded before they are rejected."""

PREPARE = """
import contextlib, os, sys, tempfile, time
from pathlib import Path
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[1]) or None])
from chestxray.datasets.prepare import prepare_batch
from chestxray.params import load_params
try:
    from chestxray.datasets.dataset import BatchFolders
    from chestxray.datasets.decode import decode_batch
except ImportError:  # a checkout in which one function does both
    def prepare(root, out):
        prepare_batch(root, out / "batch", params)
else:
    from chestxray.findings import NIH_VOCABULARY
    def prepare(root, out):
        folders = BatchFolders("batch", out)
        decode_batch(root, folders.decoded, params.size)
        prepare_batch(root, folders, params, NIH_VOCABULARY)
params = load_params().prepare.model_copy(update={"max_rejected": 0.99, "test": 0.15, "validation": 0.15})
for line in sys.stdin:
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        with contextlib.redirect_stdout(sys.stderr):
            prepare(Path(line.strip()), Path(folder))
        print(time.perf_counter() - started, flush=True)
"""
"""Prepares each batch of the standard input on so many cores, all if 0, and prints the seconds."""


def write_copies(source: Path, root: Path, grey: bool) -> int:
    """Write a batch of the images of `source`, `COPIES` of each.

    Args:
        source: a batch in NIH layout.
        root: the folder to make.
        grey: whether only those are taken that are stored as grey.

    Returns:
        How many images.
    """
    (root / "images").mkdir(parents=True)
    header, *rows = (source / TABLE).read_text(encoding="utf-8").splitlines()
    copied = [header]
    for row in rows:
        name, _, rest = row.partition(",")
        path = read_batch(source, NIH_VOCABULARY).paths.get(name)
        data = path.read_bytes() if path else b""
        if data[:4] == b"\x89PNG" and (data[25] == 0 or not grey):
            for copy in range(COPIES):
                (root / "images" / f"{copy}_{name}").write_bytes(data)
                copied.append(f"{copy}_{name},{rest}")
    (root / TABLE).write_text("\n".join(copied) + "\n", encoding="utf-8")
    return len(copied) - 1


def compare_preparing(source: Path, before: Path | None, scratch: Path) -> list[Row]:
    """Return milliseconds an image of ours and of another checkout, best of `ROUNDS` in which they take turns."""
    rows: list[Row] = []
    for images, grey in (("stored as grey", True), ("all", False)):
        root = scratch / images
        count = write_copies(source, root, grey)
        side = decode(next(iter(read_batch(root, NIH_VOCABULARY).paths.values())).read_bytes()).pixels.shape[1]
        for cores in (0, 1):
            ways = {"ours": Decoder(PREPARE, str(cores))}
            if before is not None:
                ways["before"] = Decoder(PREPARE, str(cores), top=before)
            rounds = [[way.seconds(root) for way in ways.values()] for _ in range(ROUNDS)]
            best = 1000 / count * np.min(rounds[1:], axis=0)  # the first starts what is kept
            row = {"images": f"{images}, {count} of {side} pixels", "cores": "one" if cores else "all"}
            row |= {way: f"{time:.2f} ms" for way, time in zip(ways, best, strict=True)}
            rows.append(row | ({"before : ours": f"{best[1] / best[0]:.2f}"} if before else {}))
            for way in ways.values():
                way.close()
    return rows


def main() -> None:
    """Print the table, or write it to a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, help="a batch of PNG in NIH layout")
    parser.add_argument("--before", type=Path, help="a checkout of another commit, to compare with")
    parser.add_argument("--out", type=Path, help="a folder for preparing.md and preparing.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = compare_preparing(options.root, options.before, Path(folder))
    publish("preparing", f"prepare, an image, best of {ROUNDS}; {machine()}", rows, {}, options.out)


if __name__ == "__main__":
    main()
