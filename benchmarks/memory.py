"""Measure the peak memory of every stage at several sizes of the data set: `python -m benchmarks.memory`.

Works in scratch copies of the repository and never touches the user's data. The batches repeat a few hundred drawn
phantoms with a different pattern in a corner of every copy, so that every image differs and drawing takes minutes, not
hours. All params are those of `params.yaml`, but for the stage `phantom`, which draws as many studies at 64 pixels
a side. Memory is RssAnon, summed over a stage's processes and sampled twenty times a second: file-backed pages, which
the system may drop at will, are not counted.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import cv2
import numpy as np
from ruamel.yaml import YAML

from benchmarks.machine import machine
from benchmarks.process import TOP, family, kibibytes
from benchmarks.table import Row, publish
from chestxray.batch_layout import SYNTHETIC_NOTICE, TABLE
from chestxray.params import load_params
from chestxray.phantom.batch import write_batch
from chestxray.system.files import write_json
from chestxray.tracking.progress import progress

BATCH = "big"
DRAWN = 400
PATTERN = 8
"""Side in pixels of the squares that number a copy."""
SECONDS_BETWEEN_SAMPLES = 0.05


class Peak(NamedTuple):
    """Peak of the memory of a command in MiB, its seconds, and the processor seconds of all its processes."""

    mebibytes: float
    seconds: float
    processor: float


def pipeline() -> dict[str, str]:
    """Return the commands of the pipeline on the one batch, in the order in which it runs, by the stage's name in DVC.

    Example:
        >>> list(pipeline().items())[2:4]
        [('decode@big', 'python -m stages.decode big'), ('prepare@big', 'python -m stages.prepare big')]
    """
    commands: dict[str, str] = {}
    for name, stage in YAML(typ="safe").load(TOP / "dvc.yaml")["stages"].items():
        if "foreach" in stage:
            keys = [BATCH] if stage["foreach"] == "${batches}" else list(stage["foreach"])
            commands |= {f"{name}@{key}": stage["do"]["cmd"].replace("${key}", key) for key in keys}
        else:
            commands[name] = stage["cmd"]
    return commands


def copy_repository(top: Path, root: Path, studies: int) -> None:
    """Copy the files that git tracks to `top`, with params that point at the batch `root`."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=TOP, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes((TOP / name).read_bytes())
    yaml = YAML()
    path = top / "params.yaml"
    params: dict[str, Any] = yaml.load(path)
    params["batches"] = {BATCH: {"root": str(root)}}
    params["phantom"] |= {"studies": studies, "patients": -(-studies * 2 // 3), "size": 64}
    yaml.dump(params, path)


def grow_batch(drawn: Path, root: Path, studies: int) -> None:
    """Write a batch of `studies` different images: copies of drawn ones with their number painted in a corner.

    A patient's images stay together; every round of copies has other patients.
    """
    header, *lines = (drawn / TABLE).read_text(encoding="utf-8").splitlines()
    rows = [line.split(",", 4) for line in lines]
    (root / "images").mkdir(parents=True)
    (root / SYNTHETIC_NOTICE).write_bytes((drawn / SYNTHETIC_NOTICE).read_bytes())
    table = [header]
    for number in progress(range(studies), f"copying {studies} phantoms", studies):
        name, labels, follow_up, patient, rest = rows[number % len(rows)]
        image = np.asarray(cv2.imread(str(drawn / "images" / name), cv2.IMREAD_GRAYSCALE))
        high, low = divmod(number, 256)
        image[:PATTERN, :PATTERN] = high
        image[PATTERN : 2 * PATTERN, :PATTERN] = low
        copied = f"{number:08d}.png"
        cv2.imwrite(str(root / "images" / copied), image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        table.append(f"{copied},{labels},{follow_up},{int(patient) + number // len(rows) * 100_000},{rest}")
    (root / TABLE).write_text("\n".join(table) + "\n", encoding="utf-8")


def measure_peak(
    command: list[str],
    top: Path,
    environment: Mapping[str, str] = MappingProxyType({}),
    field: tuple[str, str] | None = ("status", "RssAnon"),
) -> Peak:
    """Run a command in `top`, and measure the memory of its processes.

    Args:
        command: to run.
        top: its folder; what it says goes into `log.txt` there.
        environment: of it besides ours.
        field: of which file in `/proc/<pid>` is summed over the processes; None measures the time alone.

    Raises:
        RuntimeError: the command failed; the message ends with its last output.
    """
    inherited = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    started, used = time.monotonic(), _processor_seconds()
    peak = 0
    log = top / "log.txt"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=top, stdout=file, stderr=file, env=inherited | {"DVC_ROOT": str(top)} | dict(environment)
        )
        try:
            while field is not None and process.poll() is None:
                peak = max(peak, sum(kibibytes(pid, *field) for pid in family(process.pid)))
                time.sleep(SECONDS_BETWEEN_SAMPLES)
            process.wait()
        finally:
            process.kill()
    seconds = time.monotonic() - started
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{log.read_text(errors='replace')[-2000:]}")
    return Peak(peak / 1024, seconds, _processor_seconds() - used)


def _processor_seconds() -> float:
    """Return those of all processes that have ended and were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(studies: int, stages: dict[str, str], drawn: Path, scratch: Path) -> dict[str, Peak]:
    """Run the stages in order on a batch of `studies`, in a copy of the repository, both in the folder `scratch`."""
    top = scratch / "repository"
    root = scratch / "batch"
    grow_batch(drawn, root, studies)
    copy_repository(top, root, studies)
    peaks = {}
    for stage, command in stages.items():
        if stage == "phantom":  # the batch is none that it draws
            write_json(top / "data/phantom_listed.json", {"listed": True})
        peaks[stage] = measure_peak([sys.executable, *command.split()[1:]], top)
        print(f"{studies} studies, {stage}: {peaks[stage].mebibytes:.0f} MiB", file=sys.stderr, flush=True)
    return peaks


def table_row(stage: str, peaks: dict[int, Peak]) -> Row:
    """Return the peaks of a stage by number of studies, and the ratio of the most studies to the fewest."""
    columns = {f"MiB at {studies:,}": f"{peak.mebibytes:.0f}" for studies, peak in peaks.items()}
    columns |= {f"s at {studies:,}": f"{peak.seconds:.0f}" for studies, peak in peaks.items()}
    ratio = peaks[max(peaks)].mebibytes / peaks[min(peaks)].mebibytes
    return {"stage": stage, **columns, "ratio of MiB": f"{ratio:.2f}"}


def main() -> None:
    """Print the table, or write it to a folder."""
    commands = pipeline()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, nargs="+", default=[8000, 16000], help="sizes of the data set")
    parser.add_argument("--until", choices=commands, default=list(commands)[-1], help="the last stage to run")
    parser.add_argument("--scratch", type=Path, help="a folder with room for 400 kB a study; default: a temporary one")
    parser.add_argument("--out", type=Path, help="a folder for memory.md and memory.json")
    options = parser.parse_args()
    stages = dict(list(commands.items())[: list(commands).index(options.until) + 1])
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        drawn = Path(folder, "drawn")
        params = load_params()
        few = {"studies": DRAWN, "patients": DRAWN * 3 // 4, "size": params.prepare.size}
        write_batch(drawn, params.phantom.model_copy(update=few))
        measured: dict[int, dict[str, Peak]] = {}
        for studies in options.studies:
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                measured[studies] = measure(studies, stages, drawn, Path(scratch))
    by_stage = {stage: {studies: peaks[stage] for studies, peaks in measured.items()} for stage in stages}
    rows = [table_row(stage, peaks) for stage, peaks in by_stage.items()]
    heading = f"Peak anonymous memory of each stage, synthetic phantoms; {machine()}"
    record = {"peaks": {stage: {n: peak._asdict() for n, peak in peaks.items()} for stage, peaks in by_stage.items()}}
    publish("memory", heading, rows, record, options.out)


if __name__ == "__main__":
    main()
