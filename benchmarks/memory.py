"""Peak anonymous memory of every stage at two sizes: `python -m benchmarks.memory --studies 8000 16000`.

Works in a scratch copy of the repository. The large batches repeat a few hundred drawn phantoms with a grey level
changed per copy, so that every image is another one but drawing them takes minutes, not hours. Memory is RssAnon,
summed over a stage's processes and sampled ten times a second: file-backed pages, which the system may drop at will,
are not counted.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from ruamel.yaml import YAML

from benchmarks.machine import machine
from chestxray.nih import TABLE
from chestxray.params import PhantomParams
from chestxray.phantom import write_batch

TOP = Path(__file__).parents[1]
STAGES = ("prepare", "backbone", "class_weighting", "features", "train", "fine_tune", "evaluate", "gradcam", "register")
STAGES_PER_BATCH = ("prepare", "features")
DRAWN = 400
SECONDS_BETWEEN_SAMPLES = 0.1


def copy_repository(top: Path, root: Path) -> None:
    """Copies what git tracks and lets its params point at the batch `root`; quick where memory doesn't depend on it."""
    tracked = subprocess.run(["git", "ls-files"], cwd=TOP, capture_output=True, text=True, check=True).stdout
    for name in tracked.splitlines():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes((TOP / name).read_bytes())

    yaml, path = YAML(), top / "params.yaml"
    params: dict[str, Any] = yaml.load(path) or {}
    params["batches"] = {"big": {"root": str(root)}}
    params["fine_tune"]["epochs"] = 1
    params["features"]["views"] = 3
    yaml.dump(params, path)


def grow_batch(drawn: Path, root: Path, studies: int) -> None:
    """Writes a batch of `studies` images: copies of drawn ones, each with a corner pixel pattern of its own."""
    lines = (drawn / TABLE).read_text().splitlines()
    header, rows = lines[0], [line.split(",", 4) for line in lines[1:]]
    (root / "images").mkdir(parents=True)
    table = [header]
    for number in range(studies):
        name, labels, follow_up, patient, rest = rows[number % len(rows)]
        image = np.asarray(cv2.imread(str(drawn / "images" / name), cv2.IMREAD_GRAYSCALE))
        image[:8, :8] = number // 256 % 256
        image[8:16, :8] = number % 256
        copied = f"{number:08d}_000.png"
        cv2.imwrite(str(root / "images" / copied), image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        table.append(",".join([copied, labels, follow_up, f"{int(patient) + 100000 * (number // len(rows))}", rest]))
    (root / TABLE).write_text("\n".join(table) + "\n")


def peak_of(command: list[str], top: Path) -> tuple[float, float]:
    """Runs a command; returns the peak of RssAnon over its processes in MB, and its seconds.

    Raises:
        RuntimeError: the command failed.
    """
    started, peak = time.monotonic(), 0
    with (top / "log.txt").open("wb") as log:
        process = subprocess.Popen(command, cwd=top, stdout=log, stderr=log, env=os.environ | {"DVC_ROOT": str(top)})
        while process.poll() is None:
            peak = max(peak, sum(_anonymous(pid) for pid in _family(process.pid)))
            time.sleep(SECONDS_BETWEEN_SAMPLES)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{(top / 'log.txt').read_text()[-2000:]}")
    return peak / 1024, time.monotonic() - started


def _family(pid: int) -> list[int]:
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [member for child in task.read_text().split() for member in _family(int(child))]
        except OSError:  # ended meanwhile
            continue
    return found


def _anonymous(pid: int) -> int:
    """RssAnon in KiB; 0 when the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


def measure(studies: int, drawn: Path, scratch: Path) -> dict[str, tuple[float, float]]:
    """Peak MB and seconds of every stage at a number of studies."""
    top, root = scratch / f"copy-{studies}", scratch / f"batch-{studies}"
    grow_batch(drawn, root, studies)
    copy_repository(top, root)
    measured = {}
    for name in STAGES:
        arguments = ["big"] if name in STAGES_PER_BATCH else []
        measured[name] = peak_of([sys.executable, "-m", f"stages.{name}", *arguments], top)
        print(f"{studies} studies, {name}: {measured[name][0]:.0f} MB, {measured[name][1]:.0f} s", file=sys.stderr)
    return measured


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, nargs=2, default=[8000, 16000])
    parser.add_argument("--scratch", type=Path, help="a folder with room for 3 MB per study; default: a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        scratch, drawn = Path(folder), Path(folder, "drawn")
        write_batch(drawn, PhantomParams(studies=DRAWN, patients=DRAWN * 3 // 4, size=256, difficulty=0.5, seed=1))
        small, large = (measure(studies, drawn, scratch) for studies in options.studies)
    rows = [
        {
            "stage": name,
            **{f"MB at {n:,}": round(m[name][0]) for n, m in zip(options.studies, (small, large), strict=True)},
            "ratio": round(large[name][0] / small[name][0], 3),
            **{f"s at {n:,}": round(m[name][1]) for n, m in zip(options.studies, (small, large), strict=True)},
        }
        for name in small
    ]
    print(machine())
    print(pd.DataFrame(rows).to_string(index=False))
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
