"""Run stages in a scratch copy of the repository, on a batch of any size, and measure their seconds and memory.

The user's data are never touched. A batch repeats a few hundred drawn phantoms, each copy with noise of its own, so
that every image differs and drawing takes minutes, not hours. Memory is RssAnon, summed over a stage's processes and
sampled twenty times a second: file-backed pages, which the system may drop at will, are not counted.
"""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from ruamel.yaml import YAML

from benchmarks.process import TOP, family, kibibytes
from chestxray.batch_layout import SYNTHETIC_NOTICE, TABLE
from chestxray.params import load_params
from chestxray.phantom.batch import write_batch
from chestxray.tracking.progress import progress

BATCH = "big"
DRAWN = 400
NOISE = 2
"""Grey levels at most by which a pixel of a copy differs."""
SECONDS_BETWEEN_SAMPLES = 0.05


class Peak(NamedTuple):
    """Peak of anonymous memory of a stage in MiB, its seconds, and those of processors.

    On a busy machine the latter change less.
    """

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


def copy_repository(top: Path, root: Path) -> None:
    """Copy the files that git tracks to `top`, with params that list the batch `root` alone."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=TOP, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes((TOP / name).read_bytes())
    yaml = YAML()
    params: dict[str, Any] = yaml.load(top / "params.yaml")
    params["batches"] = {BATCH: {"root": str(root)}}
    yaml.dump(params, top / "params.yaml")


def turn(top: Path, section: str, **values: object) -> None:
    """Change values of a section of the params in `top`."""
    yaml = YAML()
    params: dict[str, Any] = yaml.load(top / "params.yaml")
    params[section] |= values
    yaml.dump(params, top / "params.yaml")


def draw_phantoms(root: Path, studies: int = DRAWN) -> None:
    """Draw phantoms for batches to repeat, at the size to which the pipeline prepares images."""
    params = load_params()
    few = {"studies": studies, "patients": studies * 3 // 4, "size": params.prepare.size}
    write_batch(root, params.phantom.model_copy(update=few))


def copied_pixels(image: npt.NDArray[np.uint8], number: int) -> npt.NDArray[np.uint8]:
    """Return a copy of an image that differs from all others of it: with the noise that belongs to its number."""
    noise = np.random.default_rng(number).integers(-NOISE, NOISE + 1, image.shape, np.int8)
    copied: npt.NDArray[np.uint8] = np.clip(image.astype(np.int16) + noise, 0, 255).astype(np.uint8)
    return copied


def grow_batch(drawn: Path, root: Path, studies: int) -> None:
    """Write a batch of `studies` different images that repeat drawn ones.

    A patient's images stay together; every round of copies has other patients.
    """
    header, *lines = (drawn / TABLE).read_text(encoding="utf-8").splitlines()
    rows = [line.split(",", 4) for line in lines]
    (root / "images").mkdir(parents=True)
    (root / SYNTHETIC_NOTICE).write_bytes((drawn / SYNTHETIC_NOTICE).read_bytes())
    table = [header]
    for number in progress(range(studies), f"copying {studies} phantoms", studies):
        name, labels, follow_up, patient, rest = rows[number % len(rows)]
        image = np.asarray(cv2.imread(str(drawn / "images" / name), cv2.IMREAD_GRAYSCALE), np.uint8)
        copied = f"{number:08d}.png"
        written = [cv2.IMWRITE_PNG_COMPRESSION, 1]
        cv2.imwrite(str(root / "images" / copied), copied_pixels(image, number), written)
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
    variables = inherited | {"DVC_ROOT": str(top)} | dict(environment)
    started, used = time.monotonic(), processor_seconds()
    peak = 0
    log = top / "log.txt"
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=top, stdout=file, stderr=file, env=variables)
        try:
            while field is not None and process.poll() is None:
                peak = max(peak, sum(kibibytes(pid, *field) for pid in family(process.pid)))
                time.sleep(SECONDS_BETWEEN_SAMPLES)
            process.wait()
        finally:
            process.kill()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{log.read_text(errors='replace')[-2000:]}")
    return Peak(peak / 1024, time.monotonic() - started, processor_seconds() - used)


def processor_seconds() -> float:
    """Return the processor time of all processes that this one started, and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run_stages(top: Path, stages: Mapping[str, str], said: str) -> dict[str, Peak]:
    """Run commands of the pipeline in turn in `top`, each in a process of its own, and measure each.

    Args:
        top: a copy of the repository.
        stages: as of `pipeline`.
        said: before the figures of each on standard error, such as the number of studies.
    """
    peaks = {}
    for stage, command in stages.items():
        peak = peaks[stage] = measure_peak([sys.executable, *command.split()[1:]], top)
        figures = f"{peak.seconds:.0f} s, {peak.processor:.0f} of processors, {peak.mebibytes:.0f} MiB"
        print(f"{said}, {stage}: {figures}", file=sys.stderr, flush=True)
    return peaks
