"""Measure how many wrong labels of phantoms are found: `python -m benchmarks.label_errors`.

Works on a pipeline that ran as far as `features`, and knows what was drawn. First with the labels as they are, which
miss some of it; then with labels that are right but for planted errors: a share of the images with a finding lose it,
and as many without it get it, so its prevalence stays. They are drawn at random, for each finding anew. The head is
fitted to these labels as the stage `train` does it.

Two tables: the wrong ones among the first rows of `reports/label_errors.csv`; and, for each finding and label, those
among the contradicted labels, and among the first k, if k are wrong, of three orders: by the log odds of the fits
without the image's patient, as in the file; by those of the head that was fitted to these labels; and at random.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.machine import machine
from benchmarks.table import Row, publish
from chestxray.datasets.dataset import BatchFolders, Dataset, load_dataset
from chestxray.labels import Booleans, Floats, label_masks, patients_by_class
from chestxray.params import Params, load_params
from chestxray.phantom.cohort import sample_cohort
from chestxray.training.class_weights import class_weights, weight_array
from chestxray.training.features import Features, load_features
from chestxray.training.label_errors import contradict, find_label_errors
from chestxray.training.linear_head import fit_head, head_logits

BATCH = "phantom"
AS_THEY_ARE = "as they are"
SHARES = (0.0, 0.1, 0.2, 0.4)
FIRST = (20, 50, 100)
"""Rows of the file."""
ORDERS = ("held out", "in training", "at random")
Labels = npt.NDArray[np.int8]


class Judged(NamedTuple):
    """Labels of one kind of a finding, and what is found among them.

    Attributes:
        labels: which errors they have.
        finding: its name.
        label: 0 or 1.
        n: how many images have it.
        wrong: how many of them wrongly.
        contradicted: how many of them are contradicted.
        hits: how many of those wrongly.
        precision: by order, of its first `wrong` images, which is their recall too; NaN where none is wrong.
    """

    labels: str
    finding: str
    label: int
    n: int
    wrong: int
    contradicted: int
    hits: int
    precision: tuple[float, ...]


class Listed(NamedTuple):
    """The rows of the file.

    Attributes:
        labels: which errors they have.
        rows: how many there are.
        first: the share of wrong ones among the first of them, by `FIRST`.
    """

    labels: str
    rows: int
    first: tuple[float, ...]


def drawn(features: Features, params: Params) -> Labels:
    """Return what was drawn in each image, as its labels should be."""
    cohort = sample_cohort(params.phantom.studies, params.phantom.patients, params.phantom.seed)
    shown = {f"{each.number:08d}_{study.followup:03d}.png": study.findings for each in cohort for study in each.studies}
    images = features.studies["image"]
    return np.array([[name in shown[image] for name in features.findings] for image in images], np.int8)


def plant(truth: Labels, share: float, generator: np.random.Generator) -> Labels:
    """Change a share of the labels of each finding that are 1, and as many that are 0."""
    labels = truth.copy()
    for right, column in zip(truth.T, labels.T, strict=True):
        count = round(share * np.count_nonzero(right))
        for label in (0, 1):
            column[generator.choice(np.flatnonzero(right == label), count, replace=False)] = 1 - label
    return labels


def judge(name: str, features: Features, labels: Labels, truth: Labels, params: Params) -> tuple[Listed, list[Judged]]:
    """Fit the head to labels, and judge these, of findings with as many patients as `evaluate.min_positives`."""
    studies = features.studies.copy()
    studies[list(features.findings)] = labels
    given = replace(features, studies=studies)
    weights = weight_array(class_weights(labels, given.findings, params.class_weighting), given.findings)
    head = fit_head(given, weights, params.train)
    held_out = pd.DataFrame(head.held_out, columns=list(given.findings))
    rows = find_label_errors(Dataset(studies, {}), held_out, params.train.folds, params.evaluate.min_positives).listed
    wrong = pd.DataFrame(labels != truth, studies["image"], given.findings)
    hits = np.array([wrong.loc[image, finding] for image, finding in zip(rows["image"], rows["finding"], strict=True)])
    listed = Listed(name, len(rows), tuple(float(hits[:first].mean()) for first in FIRST))
    enough = patients_by_class(label_masks(labels, given.findings), given.patients).min(axis=0)
    orders = (head.held_out, head_logits(given, head.weights))
    judged: list[Judged] = []
    for place in np.flatnonzero(enough >= params.evaluate.min_positives):
        odds = [order[:, place].astype(np.float64) for order in orders]
        column = labels[:, place]
        judged += judge_finding(name, given.findings[place], odds, column, column != truth[:, place])
    return listed, judged


def judge_finding(name: str, finding: str, odds: list[Floats], labels: Labels, wrong: Booleans) -> Iterator[Judged]:
    """Judge the labels of a finding by the log odds of two orders, the first of which has not seen them."""
    contradicted = contradict(odds[0], labels == 1).contradicted
    for label in (1, 0):
        images = labels == label
        n, count = int(images.sum()), int(wrong[images].sum())
        precision = [_first(each[images] * (1 if label else -1), wrong[images], count) for each in odds]
        precision.append(count / n if count else np.nan)
        found, hits = int(contradicted[images].sum()), int((contradicted & wrong)[images].sum())
        yield Judged(name, finding, label, n, count, found, hits, tuple(precision))


def _first(scores: Floats, wrong: Booleans, count: int) -> float:
    """Return the share of wrong ones among the `count` lowest scores."""
    return float(wrong[scores.argsort(kind="stable")[:count]].mean()) if count else float("nan")


def table_row(labels: str, finding: str, label: int, judged: pd.DataFrame, repeats: int) -> Row:
    """Return a line of the table: counts of a repeat, precisions weighted by the wrong labels that they are of."""
    n, wrong, contradicted, hits = (judged[name].sum() / repeats for name in ("n", "wrong", "contradicted", "hits"))
    first = np.array(judged["precision"].tolist())
    weights = judged["wrong"].to_numpy(float)
    found = np.nansum(first * weights[:, None], axis=0) / max(weights.sum(), 1)
    row = {"labels": labels, "finding": finding, "label": f"{label}", "n": f"{n:.0f}", "wrong": f"{wrong:.1f}"}
    row |= {"contradicted": f"{contradicted:.1f}"}
    row |= {"precision": _share(hits, contradicted), "recall": _share(hits, wrong)}
    return row | {f"at k, {order}": f"{value:.2f}" if wrong else "" for order, value in zip(ORDERS, found, strict=True)}


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.2f}" if whole else ""


def file_rows(listed: pd.DataFrame) -> Iterator[Row]:
    """Yield a line of the table of the file for each kind of errors."""
    for labels, some in listed.groupby("labels", sort=False):
        shares = np.mean(some["first"].tolist(), axis=0)
        first = {f"of the first {count}": f"{value:.2f}" for count, value in zip(FIRST, shares, strict=True)}
        yield {"labels": str(labels), "rows": f"{some['rows'].mean():.0f}", **first}


def table_rows(judged: pd.DataFrame, listed: pd.DataFrame) -> Iterator[Row]:
    """Yield, for each kind of errors and label, a line for all findings and one for each."""
    for labels, repeats in listed["labels"].value_counts(sort=False).items():
        for label in (1, 0):
            some = judged[(judged["labels"] == labels) & (judged["label"] == label)]
            yield table_row(str(labels), "all", label, some, repeats)
            for finding in some["finding"].unique():
                yield table_row(str(labels), finding, label, some[some["finding"] == finding], repeats)


def main() -> None:
    """Print the table, or write it to a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="of a pipeline with this params.yaml")
    parser.add_argument("--repeats", type=int, default=5, help="of each share of errors")
    parser.add_argument("--out", type=Path, help="folder for label_errors.md and label_errors.json; printed without")
    args = parser.parse_args()
    params = load_params()
    folders = BatchFolders(BATCH, args.data)
    features = load_features([folders.features], load_dataset([folders], "train").studies, "train")
    truth = drawn(features, params)
    found = [judge(AS_THEY_ARE, features, features.labels, truth, params)]
    for share in SHARES:
        for repeat in range(args.repeats if share else 1):
            labels = plant(truth, share, np.random.default_rng([repeat, round(1000 * share)]))
            found.append(judge(f"{share:.0%} planted", features, labels, truth, params))
    heading = f"Synthetic phantoms, {len(truth)} training images, {args.repeats} repeats of each share. {machine()}"
    listed = pd.DataFrame([rows for rows, _ in found])
    judged = pd.DataFrame([each for _, findings in found for each in findings])
    record = {"repeats": args.repeats}
    publish("label_errors", f"Wrong among the first rows. {heading}", list(file_rows(listed)), record, args.out)
    publish("label_errors_by_finding", f"k = wrong. {heading}", list(table_rows(judged, listed)), record, args.out)


if __name__ == "__main__":
    main()
