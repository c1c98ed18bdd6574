"""Measure time and peak memory of every hostile file in a real server process: `python -m benchmarks.hostile`."""

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pydicom import uid

from benchmarks.client import PREDICT, Client, form
from benchmarks.machine import machine
from benchmarks.process import TOP, Server, serving
from benchmarks.table import publish
from tests.dicom_files import dicom
from tests.serve.files import GREY, PNG, REFUSED, USABLE

ROUNDS = 3


class Cost(NamedTuple):
    """Status, milliseconds (the best of three) and MiB of peak resident memory above what was resident before."""

    status: int
    milliseconds: float
    mebibytes: float


def costs(server: Server, files: Mapping[str, bytes]) -> dict[str, Cost]:
    """Send every file three times to a warm server."""
    found = {}
    with Client(server.port) as client:
        # The first DICOM file loads pydicom, 30 MiB, once; the first compressed one starts the process for codecs.
        for file in (PNG, dicom(GREY), dicom(GREY, uid.JPEGLossless)) * 5:
            client.post(PREDICT, form(file))
        for name, file in files.items():
            server.reset_peak()
            before = server.resident()
            answers = [client.post(PREDICT, form(file)) for _ in range(ROUNDS)]
            fastest = min(answer.seconds for answer in answers)
            found[name] = Cost(answers[0].status, 1000 * fastest, max(0.0, server.peak() - before))
    return found


def main() -> None:
    """Print the table, or write it to a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=TOP / "models" / "bundle")
    parser.add_argument("--out", type=Path, help="a folder for hostile.md and hostile.json")
    options = parser.parse_args()
    files = USABLE | {name: file for name, (file, _) in REFUSED.items()}
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), options.bundle) as server:
        found = costs(server, files)
    rows = [
        {"file": name, "status": str(cost.status), "ms": f"{cost.milliseconds:.1f}", "MiB": f"{cost.mebibytes:.1f}"}
        for name, cost in sorted(found.items(), key=lambda item: -item[1].mebibytes)
    ]
    record = {"costs": {name: cost._asdict() for name, cost in found.items()}}
    publish("hostile", f"Hostile files, best of {ROUNDS}; {machine()}", rows, record, options.out)


if __name__ == "__main__":
    main()
