"""Measure how time and memory grow with the number of studies: `python -m benchmarks.scale`.

Three ways, all in scratch copies of the repository, with the params of `params.yaml`: the stages that compute on every
image at several sizes, fitted and extrapolated to NIH ChestX-ray14; with `--archive` the stages that see all batches at
once, at its size; with `--caching` what cached activations cost and save.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.gate import draw_groups, retraining
from benchmarks.machine import machine
from benchmarks.memory import table_row
from benchmarks.scratch import (
    BATCH,
    Peak,
    copy_repository,
    draw_phantoms,
    grow_batch,
    pipeline,
    run_stages,
    turn,
)
from benchmarks.table import Row, publish
from benchmarks.tiling import ARCHIVE, tile_batch
from chestxray.datasets.dataset import BatchFolders
from chestxray.metrics.comparison import compare
from chestxray.metrics.report import evaluate
from chestxray.metrics.table import COMPARED
from chestxray.params import load_params
from chestxray.registry.gate import judge

SIZES = (2000, 4000, 8000, 16000)
ARCHIVE_SIZES = (16000, ARCHIVE)
OF_EVERY_IMAGE = {
    "prepare": (f"decode@{BATCH}", f"prepare@{BATCH}"),
    "features": (f"features@{BATCH}",),
    "fine_tune": ("fine_tune",),
}
"""What is fitted, and the stages that it is the sum of."""
OF_ALL_BATCHES = (
    "digests@prepared", "digests@features", "class_weighting", "train", "input_gate", "evaluate", "gradcam", "register",
)  # fmt: skip
DRAWN_BY_STAGES = ("phantom_listed", "phantom")
"""The stages that are not run: the batch is drawn already."""
SMALL = {"input_size": 64}
"""A network that sees less and so costs a tenth: what is beside it shows."""
ALSO_MEASURED = tuple(metric for metric in COMPARED if metric.interval is not None)
"""What the gate compares and `evaluate` has intervals of: all but the calibration error."""
TEST_IMAGES = 28_000
"""A quarter of the archive."""


class Growth(NamedTuple):
    """How seconds grow with the number of studies.

    Attributes:
        exponent: of the power of the number that fits best.
        rate: studies a second at the largest size.
        extrapolated: seconds for the archive, at this rate, or as the exponent says if that is above 1.
    """

    exponent: float
    rate: float
    extrapolated: float


def fit_growth(seconds: Mapping[int, float]) -> Growth:
    """Fit the logarithm of seconds to that of the number of studies, by least squares.

    Example:
        >>> growth = fit_growth({1000: 10.0, 2000: 40.0})
        >>> round(growth.exponent, 6), growth.rate, round(growth.extrapolated / 40 / (112_120 / 2000) ** 2, 6)
        (2.0, 50.0, 1.0)
    """
    exponent = float(np.polyfit(np.log(list(seconds)), np.log(list(seconds.values())), 1)[0])
    largest = max(seconds)
    extrapolated = seconds[largest] * (ARCHIVE / largest) ** max(1.0, exponent)
    return Growth(exponent, largest / seconds[largest], extrapolated)


def stages_until(last: str) -> dict[str, str]:
    """Return the commands of the pipeline up to a stage, less those that draw."""
    commands = {name: command for name, command in pipeline().items() if name not in DRAWN_BY_STAGES}
    return dict(list(commands.items())[: list(commands).index(last) + 1])


def together(peaks: Sequence[Peak]) -> Peak:
    """Return the seconds of stages that run one after the other, and the highest of their peaks."""
    highest, seconds, processor = zip(*peaks, strict=True)
    return Peak(max(highest), sum(seconds), sum(processor))


def measure_growth(scratch: Path, sizes: Sequence[int]) -> tuple[list[Row], dict[str, Any]]:
    """Run the stages that compute on every image at several sizes, each in a repository of its own."""
    draw_phantoms(scratch / "drawn")
    measured: dict[str, dict[int, Peak]] = {name: {} for name in OF_EVERY_IMAGE}
    for studies in sizes:
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            top, root = Path(folder, "repository"), Path(folder, "batch")
            grow_batch(scratch / "drawn", root, studies)
            copy_repository(top, root)
            peaks = run_stages(top, stages_until("fine_tune"), f"{studies:,} studies")
        for name, stages in OF_EVERY_IMAGE.items():
            measured[name][studies] = together([peaks[stage] for stage in stages])
    return [growth_row(name, by_size) for name, by_size in measured.items()], _record(measured)


def growth_row(name: str, peaks: Mapping[int, Peak]) -> Row:
    """Return what `table_row` does, and how seconds grow, by the clock and of processors."""
    clock = fit_growth({studies: peak.seconds for studies, peak in peaks.items()})
    processor = fit_growth({studies: peak.processor for studies, peak in peaks.items()})
    return table_row(name, dict(peaks)) | {
        "exponent": f"{clock.exponent:.2f}",
        "exponent of processor s": f"{processor.exponent:.2f}",
        f"processor s at {max(peaks):,}": f"{peaks[max(peaks)].processor:.0f}",
        "studies/s": f"{clock.rate:.1f}",
        f"extrapolated to {ARCHIVE:,}": f"{clock.extrapolated / 60:.0f} min",
    }


def measure_archive(scratch: Path, sizes: Sequence[int], small: bool) -> tuple[list[Row], dict[str, Any]]:
    """Run the stages that see all batches at once, at the size of an archive, beside a champion that is registered.

    The champion is trained and calibrated on a few drawn studies. What is evaluated and registered on the large data is
    its network, calibrated anew: the champion predicts all test images too, and the gate compares both.

    Args:
        scratch: a folder.
        sizes: numbers of studies.
        small: whether the network is `SMALL`.
    """
    top, root, kept = scratch / "repository", scratch / "batch", scratch / "kept"
    draw_phantoms(root, load_params().phantom.studies)
    copy_repository(top, root)
    turn(top, "backbone", **(SMALL if small else {}))
    commands = stages_until("register")
    run_stages(top, commands, "champion")
    top.rename(kept)
    measured: dict[str, dict[int, Peak]] = {name: {} for name in OF_ALL_BATCHES}
    for studies in sizes:
        shutil.copytree(kept, top)  # to the same place: an MLflow store knows its files by their absolute paths
        tile_batch(BatchFolders(BATCH, top / "data"), studies, load_params().prepare)
        for name, peak in run_stages(top, {name: commands[name] for name in measured}, f"{studies:,} studies").items():
            measured[name][studies] = peak
        shutil.rmtree(top)
    rows = [growth_row(name, by_size) for name, by_size in measured.items()]
    gate = time_gate(TEST_IMAGES)
    print(*(f"{what}: {seconds:.1f} s of processors" for what, seconds in gate.items()), sep="\n")
    return rows, _record(measured) | {"gate": gate}


def time_gate(images: int) -> dict[str, float]:
    """Time what is computed from predictions of test images: the metrics of a model, and the gate that compares two."""
    labels, champion, challenger, people = retraining(0, images, 0.0)
    params = load_params()
    policy, enough = params.register_.gate, params.evaluate.min_positives
    patients = people.astype(str)
    groups = draw_groups(0, people)
    ways: dict[str, Callable[[], object]] = {
        "metrics of one model": lambda: evaluate(
            labels, champion.probabilities, champion.decisions, patients, min_positives=enough
        ),
        "gate, both models, what the metrics have too": lambda: compare(
            labels, champion, challenger, patients, metrics=ALSO_MEASURED
        ),
        "gate, both models": lambda: compare(labels, champion, challenger, patients),
        "gate, both models and the vetoes of groups": lambda: judge(
            labels, champion, challenger, patients, policy, enough, groups
        ),
    }
    return {f"{name}, {images:,} images": _processor_seconds(way) for name, way in ways.items()}


def measure_caching(scratch: Path) -> tuple[list[Row], dict[str, Any]]:
    """Run features and fine-tuning with cached activations and without, on as many phantoms as are drawn by default."""
    top, root = scratch / "repository", scratch / "batch"
    draw_phantoms(root, load_params().phantom.studies)
    copy_repository(top, root)
    commands = stages_until("fine_tune")
    record = {}
    rows: list[Row] = []
    for cached in (True, False):
        turn(top, "features", cache_activations=cached)
        run = commands if cached else {name: commands[name] for name in (f"features@{BATCH}", "fine_tune")}
        peaks = run_stages(top, run, f"cache_activations: {cached}")
        features, tuning = peaks[f"features@{BATCH}"], peaks["fine_tune"]
        row = {"features, s": features.seconds, "fine_tune, s": tuning.seconds}
        row |= {"both, s": sum(row.values()), "both, processor s": features.processor + tuning.processor}
        row["disk, MB"] = sum(file.stat().st_size for file in (top / "data/features" / BATCH).iterdir()) / 1e6
        record[str(cached)] = row
        rows.append({"cache_activations": str(cached).lower(), **{name: f"{each:.0f}" for name, each in row.items()}})
    return rows, record


def _processor_seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def _record(measured: Mapping[str, Mapping[int, Peak]]) -> dict[str, Any]:
    return {"peaks": {name: {n: peak._asdict() for n, peak in peaks.items()} for name, peaks in measured.items()}}


def main() -> None:
    """Print the table, or write it to a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--archive", action="store_true", help="class_weighting to register, at the size of NIH's archive")
    way.add_argument("--caching", action="store_true", help="features and fine_tune, activations cached or not")
    parser.add_argument("--small", action="store_true", help="with --archive: the network sees 64 × 64 pixels")
    parser.add_argument("--studies", type=int, nargs="+", help="sizes of the data set, the smallest first")
    parser.add_argument("--scratch", type=Path, help="a folder with room for 400 kB a study; default: a temporary one")
    parser.add_argument("--out", type=Path, help="a folder for the table and the figures as JSON")
    options = parser.parse_args()
    if options.small and not options.archive:
        parser.error("--small goes with --archive")
    if options.studies and len(set(options.studies)) < 2 and not options.caching:
        parser.error("--studies needs two sizes at least: how time grows is fitted to them")
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        scratch = Path(folder)
        if options.archive:
            rows, record = measure_archive(scratch, options.studies or ARCHIVE_SIZES, options.small)
        elif options.caching:
            rows, record = measure_caching(scratch)
        else:
            rows, record = measure_growth(scratch, options.studies or SIZES)
    name = "scale_archive" if options.archive else "scale_caching" if options.caching else "scale"
    heading = f"Time and memory by the number of studies, synthetic phantoms; {machine()}"
    publish(name, heading, rows, record, options.out)


if __name__ == "__main__":
    main()
