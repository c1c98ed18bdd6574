"""Measure how often an operating point breaks what its name promises, on patients whose true figures are known.

Validation sets are drawn from the populations of `benchmarks.coverage`. As the pipeline does, the best of several
epochs is chosen by mean AUROC on the same validation before the thresholds are (Platt scaling keeps the order of
scores, so that it changes no decision). The true sensitivity at a threshold is known in closed form. A finding on which
the point is unattainable breaks nothing; it is counted apart.
"""

import argparse
import math
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit, ndtr

from benchmarks.coverage import IMAGES, LONG_TAILED, MIN_POSITIVES, UP_TO_8, Binormal
from benchmarks.gate import noise, share
from benchmarks.machine import machine
from benchmarks.table import Row, publish
from chestxray.evaluation.operating_points import fit_thresholds
from chestxray.evaluation.uncertain import fit_bands
from chestxray.labels import Floats, LabelMasks, patients_by_class
from chestxray.metrics.ranking import mean_auroc

POINTS = {"sensitivity@0.9": 0.9, "assured_sensitivity@0.8": 0.8, "assured_sensitivity@0.9": 0.9}
"""Name of an operating point → the sensitivity that it is to reach."""
CONFIDENCE = 0.95
ERROR = 0.1
"""Of the uncertain band, for images of either class."""
EPOCHS = 5
ALIKE = 0.95
"""Correlation of the scores of two epochs."""


class Outcome(NamedTuple):
    """What became of an operating point of a finding, or of one side of its band.

    Attributes:
        kind: name of the operating point, or of the side.
        attained: whether validation gave it.
        true: its true sensitivity, or the true share of images on the wrong side.
        broken: whether that is less than was promised (of a band: not said).
    """

    kind: str
    attained: bool
    true: float
    broken: bool


def best_epoch(
    population: Binormal, generator: np.random.Generator, images: int
) -> tuple[LabelMasks, Floats, npt.NDArray[np.intp]]:
    """Draw a validation set and the scores of each epoch, and keep the best one's."""
    draw = population.draw(generator, images)
    first = logit(draw.scores)
    shift = population.shift * draw.labels.present
    epochs = [
        shift + math.sqrt(ALIKE) * (first - shift) + math.sqrt(1 - ALIKE) * noise(generator, draw.patients)
        for _ in range(EPOCHS)
    ]
    best = max(epochs, key=lambda scores: mean_auroc(draw.labels, scores))
    return draw.labels, expit(best), draw.patients


def outcomes(population: Binormal, images: int, seed: int) -> Iterator[Outcome]:
    """Draw a validation set, choose on it, and hold what was chosen against the truth."""
    labels, scores, patients = best_epoch(population, np.random.default_rng([seed, images]), images)
    learned = np.flatnonzero(patients_by_class(labels, patients).min(axis=0) >= MIN_POSITIVES).tolist()
    for name, wanted in POINTS.items():
        thresholds = fit_thresholds(labels, scores, patients, name, CONFIDENCE)
        for place in learned:
            cut = thresholds[place].threshold
            true = math.nan if cut is None else float(ndtr(population.shift[place] - logit(cut)))
            yield Outcome(name, cut is not None, true, cut is not None and true < wanted)
    for place, band in enumerate(fit_bands(labels, scores, patients, ERROR)):
        if place in learned and band:
            low, high = logit(band)
            yield Outcome("band: present, below", True, float(ndtr(low - population.shift[place])), False)
            yield Outcome("band: absent, above", True, float(ndtr(-high)), False)


def table_rows(population: str, images: int, found: Iterable[Outcome]) -> Iterator[Row]:
    """Yield a row a kind."""
    listed = list(found)
    for kind in dict.fromkeys(each.kind for each in listed):
        attained = [each for each in listed if each.kind == kind and each.attained]
        of_kind = sum(each.kind == kind for each in listed)
        true = np.array([each.true for each in attained] or [math.nan])
        yield {
            "population": population,
            "images": str(images),
            "": kind,
            "attained %": share(len(attained), of_kind),
            "broken, of those attained %": share(sum(each.broken for each in attained), len(attained))
            if kind in POINTS and attained
            else "",
            "true value, mean": f"{true.mean():.3f}",
            "5–95 %": "–".join(f"{end:.3f}" for end in np.quantile(true, (0.05, 0.95))),
        }


def main() -> None:
    """Simulate, and print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=300, help="validation sets of each population and size")
    parser.add_argument("--images", type=int, nargs="+", default=IMAGES, help="of a validation set")
    parser.add_argument("--out", type=Path, help="folder for promises.md and promises.json; printed without")
    args = parser.parse_args()
    began = time.monotonic()
    populations = {
        "1–8 images a patient": Binormal(UP_TO_8),
        "1–100 images a patient": Binormal(LONG_TAILED),
    }
    rows: list[Row] = []
    for name, population in populations.items():
        for images in args.images:
            found = [each for seed in range(args.draws) for each in outcomes(population, images, seed)]
            rows += table_rows(name, images, found)
    heading = (
        f"Promises of operating points with confidence {CONFIDENCE}, and wrong sides of uncertain bands at {ERROR}: "
        f"{args.draws} validation sets a line, the best of {EPOCHS} epochs each; findings with {MIN_POSITIVES} "
        f"patients of either class; {(time.monotonic() - began) / 60:.0f} minutes. {machine()}"
    )
    publish("promises", heading, rows, {"draws": args.draws}, args.out)


if __name__ == "__main__":
    main()
