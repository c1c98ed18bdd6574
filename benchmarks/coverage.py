"""Measure how often the intervals of the card hold the value that they are for, on data whose values are known.

Populations: binormal scores as in `benchmarks.gate`, with prevalences from 0.2 % to 20 %, for patients of 1 to 8 images
and for patients as unequal as NIH's, of whom most have one image and few have a hundred; and the predictions of a test
set, or NIH's table with simulated scores, of which patients are drawn with replacement, so that the figures of all are
the true ones. A mean is held against the mean of the true values of the findings that it is over in that draw.
"""

import argparse
import io
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import partial
from itertools import chain, product
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit, ndtr, ndtri

from benchmarks.gate import noise, share
from benchmarks.machine import machine
from benchmarks.table import Row, publish
from chestxray.datasets.split import patient_fold
from chestxray.findings import FINDINGS, UNLABELLED
from chestxray.labels import Booleans, Floats, LabelMasks, label_masks
from chestxray.metrics.report import evaluate

IMAGES = (250, 730, 3000)
MIN_POSITIVES = 10
PREVALENCE = np.array([0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.10, 0.12, 0.15, 0.20])
AUROC = np.array([0.92, 0.75, 0.97, 0.65, 0.85, 0.70, 0.90, 0.80, 0.98, 0.60, 0.93, 0.75, 0.85, 0.70])
"""True ones, by finding."""
UP_TO_8 = np.array([0.0, 0.30, 0.20, 0.10, 0.10, 0.10, 0.10, 0.05, 0.05])
"""Share of patients with 0, 1, … images."""
LONG_TAILED = np.exp(-(np.log(np.maximum(np.arange(101), 0.01)) ** 2) / 4) / np.maximum(np.arange(101), 1)
"""The same, to be divided by their sum: log-normal, 3.6 images a patient."""
RARELY = 0.1
"""Share of the draws below which the intervals of a finding are counted with those of other such findings."""
DRAWS_AT_ONCE = 10
MEANS = {"mean_auroc": "auroc", "mean_average_precision": "average_precision", "macro_f1": "f1"}
"""The figure that each mean is of."""
Values = dict[str, Any]
"""True figures: `(k,)` by finding, or one number."""


class Draw(NamedTuple):
    """A data set: labels, scores 0..1, decisions, patients."""

    labels: LabelMasks
    scores: Floats
    decisions: Booleans
    patients: npt.NDArray[np.intp]


class Population(Protocol):
    """From which data sets are drawn, and of which the true figures are known."""

    @property
    def values(self) -> Values:
        """The true figures."""

    def draw(self, generator: np.random.Generator, images: int) -> Draw:
        """Draw whole patients, of about so many images in all."""


class Binormal:
    """Scores that a finding shifts by d, so that the true AUROC is Φ(d / √2); positive above the threshold of best F1.

    Args:
        sizes: `(most + 1,)` in proportion to them patients have 0, 1, … images.
    """

    def __init__(self, sizes: Floats) -> None:
        self.sizes = sizes / sizes.sum()
        self.shift = math.sqrt(2) * ndtri(AUROC)
        cuts = np.linspace(-6, 10, 16001)[:, None]
        found = ndtr(self.shift - cuts)
        hits, alarms = PREVALENCE * found, (1 - PREVALENCE) * ndtr(-cuts)
        f1 = 2 * hits / (hits + alarms + PREVALENCE)
        best = f1.argmax(axis=0), np.arange(len(FINDINGS))
        self.thresholds = cuts[best[0], 0]
        precision = hits / (hits + alarms)
        specificity = 1 - ndtr(-cuts) + 0 * found
        silent = (1 - PREVALENCE) * specificity
        pooled = hits[best].sum(), alarms[best].sum()
        self.values: Values = {
            "auroc": AUROC,
            "average_precision": -np.trapezoid(precision, found, axis=0),
            "f1": f1[best],
            "recall": found[best],
            "specificity": specificity[best],
            "precision": precision[best],
            "npv": (silent / (silent + PREVALENCE * (1 - found)))[best],
            "micro_f1": 2 * pooled[0] / (sum(pooled) + PREVALENCE.sum()),
        }

    def draw(self, generator: np.random.Generator, images: int) -> Draw:
        """Draw whole patients until there are so many images; the last one's are cut off."""
        sizes = generator.choice(len(self.sizes), size=images, p=self.sizes)
        people = np.arange(images).repeat(sizes)[:images]
        labels = noise(generator, people) < ndtri(PREVALENCE)
        scores = noise(generator, people) + self.shift * labels
        return Draw(label_masks(labels, FINDINGS), expit(scores), scores > self.thresholds, people)


@dataclass(frozen=True, eq=False)
class Predictions:
    """A table of predictions, as `reports/predictions.csv` is; its own figures are the true ones."""

    whole: Draw

    @property
    def values(self) -> Values:
        """The figures of all its images."""
        return figures(self.whole)

    def draw(self, generator: np.random.Generator, images: int) -> Draw:
        """Draw patients with replacement, as many as have so many images on average."""
        order = np.argsort(self.whole.patients, kind="stable")
        sizes = np.bincount(self.whole.patients)
        drawn = generator.integers(len(sizes), size=round(images * len(sizes) / len(order)))
        starts = np.cumsum(sizes) - sizes
        people = np.arange(len(drawn)).repeat(sizes[drawn])
        rows = np.concatenate([order[starts[each] : starts[each] + sizes[each]] for each in drawn])
        labels = self.whole.labels
        drawn_labels = LabelMasks(labels.findings, labels.present[rows], labels.absent[rows])
        return Draw(drawn_labels, self.whole.scores[rows], self.whole.decisions[rows], people)


def read_predictions(path: Path) -> Predictions:
    """Read a table of predictions: patient, then `<finding>_truth`, `_probability` and `_decision`."""
    table = pd.read_csv(path)
    names = [name.removesuffix("_truth") for name in map(str, table.columns) if name.endswith("_truth")]
    decided = [name for name in names if f"{name}_decision" in table and table[f"{name}_decision"].notna().all()]
    truth, scores, decisions = (
        np.column_stack([table[f"{name}_{end}"].to_numpy(float) for name in decided])
        for end in ("truth", "probability", "decision")
    )
    labels = label_masks(np.nan_to_num(truth, nan=UNLABELLED), decided)
    return Predictions(Draw(labels, scores, decisions == 1, pd.factorize(table["patient"])[0]))


def read_table(path: Path, alike: float) -> Predictions:
    """Read patients and labels of NIH's official table, and simulate scores; positive above the threshold of best F1.

    Args:
        path: `Data_Entry_2017_v2020.csv`, of which a fifth of the patients is taken.
        alike: correlation of the scores of a patient's images.
    """
    table = pd.read_csv(path, usecols=["Patient ID", "Finding Labels"])
    table = table[table["Patient ID"].map(lambda patient: patient_fold(f"coverage {patient}", 5) == 0)]
    people, _ = pd.factorize(table["Patient ID"])
    named = table["Finding Labels"].str.split("|")
    labels = np.column_stack([named.map(lambda names, finding=name: finding in names) for name in FINDINGS])
    generator = np.random.default_rng(0)
    own, shared = (generator.normal(size=(size, len(FINDINGS))) for size in (len(people), people.max() + 1))
    shift = math.sqrt(2) * ndtri(AUROC)
    scores = math.sqrt(alike) * shared[people] + math.sqrt(1 - alike) * own + shift * labels
    thresholds = [best_f1_threshold(truth, each) for truth, each in zip(labels.T, scores.T, strict=True)]
    return Predictions(Draw(label_masks(labels, FINDINGS), expit(scores), scores >= thresholds, people))


def best_f1_threshold(truth: Booleans, scores: Floats) -> float:
    """Return the score from which on images are positive when F1 is highest."""
    order = np.argsort(-scores)
    hits = np.cumsum(truth[order])
    return float(scores[order][np.argmax(hits / (np.arange(1, len(order) + 1) + truth.sum()))])


def figures(draw: Draw) -> Values:
    """Compute the figures of a data set as those of a population."""
    metrics = measured(draw, 2)
    findings = draw.labels.findings
    names = ["auroc", "average_precision", "f1", "recall", "specificity", "precision", "npv"]
    values = {name: np.array([metrics[name].get(finding, np.nan) for finding in findings]) for name in names}
    return values | {"micro_f1": metrics["micro_f1"]}


def measured(draw: Draw, min_positives: int) -> dict[str, Any]:
    """Compute the metrics of a data set, without the line of progress."""
    with redirect_stderr(io.StringIO()):
        return evaluate(*draw, min_positives=min_positives)


class Interval(NamedTuple):
    """An interval of a kind of figure, of a finding or of none; whether it holds the true value; its width."""

    kind: str
    finding: str
    covers: bool
    width: float


def intervals(metrics: Mapping[str, Any], values: Values, findings: Sequence[str]) -> Iterator[Interval]:
    """Yield every interval that is printed."""
    averaged = [place for place, name in enumerate(findings) if name in metrics["auroc_ci_low"]]
    for name, low in metrics.items():
        if not name.endswith("_ci_low"):
            continue
        kind = name.removesuffix("_ci_low")
        high = metrics[f"{kind}_ci_high"]
        if isinstance(low, dict):
            for finding, end in low.items():
                true = values[kind][findings.index(finding)]
                yield Interval(kind, finding, bool(end <= true <= high[finding]), high[finding] - end)
        else:
            true = np.mean(values[MEANS[kind]][averaged]) if kind in MEANS else values[kind]
            yield Interval(kind, "", bool(low <= true <= high), high - low)


def simulate(population: Population, values: Values, images: int, seeds: range) -> list[Interval]:
    """Draw a data set a seed; return all their intervals."""
    drawn = (population.draw(np.random.default_rng([seed, images]), images) for seed in seeds)
    found = (intervals(measured(each, MIN_POSITIVES), values, each.labels.findings) for each in drawn)
    return list(chain.from_iterable(found))


class Cell(NamedTuple):
    """How often an interval was printed, and held the true value."""

    kind: str
    finding: str
    printed: int
    covered: int
    width: float


def count_cells(found: Iterable[Interval]) -> list[Cell]:
    """Count the intervals of each kind and finding."""
    table = pd.DataFrame(found, columns=Interval._fields)
    return [
        Cell(str(kind), str(finding), len(part), int(part["covers"].sum()), float(part["width"].mean()))
        for (kind, finding), part in table.groupby(["kind", "finding"], sort=False)
    ]


def table_rows(population: str, images: int, cells: Sequence[Cell], draws: int) -> Iterator[Row]:
    """Yield a row a kind: coverage in all, and of the finding that is covered least; rare ones count together."""
    for kind in dict.fromkeys(cell.kind for cell in cells):
        of_kind = [cell for cell in cells if cell.kind == kind]
        counts: dict[str, tuple[int, int]] = {}
        for cell in of_kind:
            name = cell.finding if cell.printed >= RARELY * draws else "rarely printed"
            covered, printed = counts.get(name, (0, 0))
            counts[name] = covered + cell.covered, printed + cell.printed
        least = min(counts, key=lambda name: counts[name][0] / counts[name][1])
        printed = sum(cell.printed for cell in of_kind)
        yield {
            "population": population,
            "images": str(images),
            "interval of": kind,
            "printed": str(printed),
            "covers %": share(sum(cell.covered for cell in of_kind), printed),
            "least covered finding": f"{least}: {share(*counts[least])}" if least else "",
            "mean width": f"{sum(cell.width * cell.printed for cell in of_kind) / printed:.3f}",
        }


def main() -> None:
    """Simulate, and print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=200, help="data sets of each population and size")
    parser.add_argument("--images", type=int, nargs="+", default=IMAGES, help="of a data set")
    parser.add_argument("--predictions", type=Path, default=Path("reports/predictions.csv"), help="of a test set")
    parser.add_argument("--table", type=Path, help="NIH's official table: its patients and labels, scores simulated")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, help="folder for coverage.md and coverage.json; printed without")
    args = parser.parse_args()
    began = time.monotonic()
    populations: dict[str, Population] = {
        "binormal, 1–8 images a patient": Binormal(UP_TO_8),
        "binormal, 1–100 images a patient": Binormal(LONG_TAILED),
    }
    if args.predictions.exists():
        populations["test predictions, resampled"] = read_predictions(args.predictions)
    if args.table:
        populations |= {
            f"NIH's table, scores correlated {alike}": read_table(args.table, alike) for alike in (0.5, 0.8)
        }
    starts = [range(first, min(first + DRAWS_AT_ONCE, args.draws)) for first in range(0, args.draws, DRAWS_AT_ONCE)]
    rows: list[Row] = []
    record = []
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # of the processes that are started: threads of all of them would wait
    with ProcessPoolExecutor(args.processes, get_context("spawn")) as pool:
        for (name, population), images in product(populations.items(), args.images):
            chunks = pool.map(partial(simulate, population, population.values, images), starts)
            cells = count_cells(chain.from_iterable(chunks))
            rows += table_rows(name, images, cells, args.draws)
            record += [{"population": name, "images": images, **cell._asdict()} for cell in cells]
    minutes = (time.monotonic() - began) / 60
    heading = (
        f"Coverage of 95 % intervals: {args.draws} data sets a line, 95 % Monte-Carlo intervals, of findings with "
        f"{MIN_POSITIVES} patients of either class; {minutes:.0f} minutes with {args.processes} processes. {machine()}"
    )
    publish("coverage", heading, rows, {"draws": args.draws, "cells": record}, args.out)


if __name__ == "__main__":
    main()
