"""Measure on the test images how the operating points and the uncertain bands did that validation gave."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from chestxray.evaluation.operating_points import Threshold
from chestxray.evaluation.uncertain import Band, Ends
from chestxray.inference.operating_point import OperatingPoint, Rate, threshold_values
from chestxray.inference.uncertain import UncertainBand
from chestxray.labels import Booleans, LabelMasks
from chestxray.metrics.ranking import DECIMALS
from chestxray.metrics.report import averaged_findings, estimates
from chestxray.metrics.shares import Shares, measure_shares
from chestxray.metrics.table import NPV, PPV, Predictions, Sample


def measure_points(
    labels: LabelMasks,
    probabilities: npt.NDArray[np.floating[Any]],
    patients: npt.ArrayLike,
    thresholds: Mapping[str, Sequence[Threshold]],
    min_patients: int,
) -> dict[str, tuple[OperatingPoint, ...]]:
    """Measure sensitivity, specificity and predictive values of each operating point.

    Predictive values are those of the tables of metrics, with their intervals: for other images drawn alike, whose
    prevalence chance makes another.

    Args:
        labels: of n test images and k findings.
        probabilities: `(n, k)`.
        patients: `(n,)` ids.
        thresholds: by the name of the operating point, of the k findings.
        min_patients: of either class, that an interval needs.
    """
    averaged = averaged_findings(labels, np.asarray(patients), min_patients)
    found = {}
    for name, cuts in thresholds.items():
        positive = np.asarray(probabilities, float) >= threshold_values(cuts)  # nothing reaches NaN
        sensitivity = _of(averaged, measure_shares(positive, labels.present, patients, min_patients))
        specificity = _of(averaged, measure_shares(~positive, labels.absent, patients, min_patients))
        ppv, npv = _predictive_values(labels, probabilities, positive, patients, min_patients)
        found[name] = tuple(
            OperatingPoint(threshold=None, lacking=cut.lacking)
            if cut.threshold is None
            else OperatingPoint(
                threshold=cut.threshold,
                sensitivity=_rate(sensitivity, place),
                specificity=_rate(specificity, place),
                ppv=_rate(ppv, place),
                npv=_rate(npv, place),
            )
            for place, cut in enumerate(cuts)
        )
    return found


def _of(averaged: Booleans, shares: Shares) -> Shares:
    """Keep the intervals of the findings that have some in all tables."""
    low, high = (np.where(averaged, end, np.nan) for end in (shares.low, shares.high))
    return shares._replace(low=low, high=high)


def _predictive_values(
    labels: LabelMasks,
    probabilities: npt.NDArray[np.floating[Any]],
    positive: Booleans,
    patients: npt.ArrayLike,
    min_patients: int,
) -> tuple[Shares, Shares]:
    people = np.asarray(patients)
    predictions = Predictions(labels.findings, probabilities, positive)
    sample = Sample(labels, predictions, averaged=averaged_findings(labels, people, min_patients))
    found = estimates(sample, (PPV, NPV), people, min_patients)
    none = np.full(len(labels.findings), np.nan)
    called, silent = ((images & labels.labelled).sum(axis=0) for images in (positive, ~positive))
    ppv = Shares(found[PPV.name], found[f"{PPV.name}_ci_low"], found[f"{PPV.name}_ci_high"], called)
    return ppv, Shares(found[NPV.name], none, none, silent)


def measure_bands(
    labels: LabelMasks,
    probabilities: npt.NDArray[np.floating[Any]],
    patients: npt.ArrayLike,
    bands: Sequence[Band],
    error: float,
    min_patients: int,
) -> tuple[UncertainBand | None, ...]:
    """Measure how many test images lie in each finding's band, and how many on its wrong side; arguments as above."""
    lows, highs = np.array([(np.nan, np.nan) if band is None else band for band in bands]).T
    scores = np.asarray(probabilities, float)
    below, above = scores < lows, scores > highs

    def rates(hits: Booleans, cases: Booleans) -> Shares:
        return measure_shares(hits, cases, patients, min_patients)

    inside = rates(~below & ~above, labels.labelled)
    present_below, absent_above = rates(below, labels.present), rates(above, labels.absent)
    return tuple(
        band
        and UncertainBand(
            low=band[0],
            high=band[1],
            error=error,
            inside=_rate(inside, place),
            present_below=_rate(present_below, place),
            absent_above=_rate(absent_above, place),
        )
        for place, band in enumerate(bands)
    )


def risk_coverage(
    labels: LabelMasks, probabilities: npt.NDArray[np.floating[Any]], curve: Mapping[float, Sequence[Band]]
) -> pd.DataFrame:
    """Tabulate what bands of several errors leave to decide, and how much of that is wrong.

    Args:
        labels: of n test images and k findings.
        probabilities: `(n, k)`.
        curve: by error, the bands of the findings; of those that leave nothing uncertain, the one of the least error is
            shown.

    Returns:
        Columns `finding`, `error`, `decided` (share of the labelled images that lie outside the band) and `wrong`
        (share of these on the wrong side; empty if none is decided); rows of findings with bands.
    """
    scores = np.asarray(probabilities, float)
    rows = []
    for place, finding in enumerate(labels.findings):
        given = ((error, curve[error][place]) for error in sorted(curve))
        for error, band in _until_all_is_decided((error, band) for error, band in given if band is not None):
            below, above = scores[:, place] < band[0], scores[:, place] > band[1]
            outside = (below | above) & labels.labelled[:, place]
            wrong = (below & labels.present[:, place]) | (above & labels.absent[:, place])
            decided = outside.sum() / max(labels.labelled[:, place].sum(), 1)
            rows.append((finding, error, decided, wrong.sum() / outside.sum() if outside.any() else np.nan))
    return pd.DataFrame(rows, columns=["finding", "error", "decided", "wrong"]).round(DECIMALS)


def _until_all_is_decided(bands: Iterable[tuple[float, Ends]]) -> Iterator[tuple[float, Ends]]:
    """Pass on bands by rising error, as far as the first one that leaves nothing uncertain."""
    for error, (low, high) in bands:
        yield error, (low, high)
        if low == high:
            return


def _rate(shares: Shares, place: int) -> Rate | None:
    """Return one of the shares; None of no images, and of what does not exist."""
    if not shares.n[place] or not np.isfinite(shares.value[place]):
        return None
    value, low, high = (round(float(each[place]), DECIMALS) for each in shares[:3])
    known = np.isfinite(low)
    return Rate(value=value, low=low if known else None, high=high if known else None, n=int(shares.n[place]))


def points_table(findings: Sequence[str], points: Mapping[str, Sequence[OperatingPoint]]) -> pd.DataFrame:
    """Tabulate a row a finding and operating point: threshold, or why there is none, and what it is worth on test.

    Predictive values are those of the test images: PPV with an interval for others drawn alike, NPV without one
    (docs/decisions/intervals.md).
    """
    rows = []
    for name, of_findings in points.items():
        for finding, point in zip(findings, of_findings, strict=True):
            row = {"finding": finding, "operating_point": name, "threshold": point.threshold}
            values = point.predictive_values()
            rates = {"sensitivity": point.sensitivity, "specificity": point.specificity}
            rates |= {"ppv": values and values.ppv, "npv": values and values.npv}
            for title, rate in rates.items():
                row |= _cells(title, rate)
            rows.append({**row, "prevalence": point.test_prevalence, "lacking": point.lacking})
    return pd.DataFrame(rows).round(DECIMALS)


def bands_table(findings: Sequence[str], bands: Sequence[UncertainBand | None]) -> pd.DataFrame:
    """Tabulate a row a finding: its uncertain band, and what of the test images lies in it, and on its wrong side."""
    rows = []
    for finding, band in zip(findings, bands, strict=True):
        row = {"finding": finding, "low": band and band.low, "high": band and band.high, "error": band and band.error}
        row |= _cells("inside", band.inside if band else None)
        row |= _cells("present_below", band.present_below if band else None)
        row |= _cells("absent_above", band.absent_above if band else None)
        rows.append(row)
    return pd.DataFrame(rows).round(DECIMALS)


def _cells(title: str, rate: Rate | None) -> dict[str, float | int | None]:
    """Return the columns of a rate: its value, the ends of its interval, and its n."""
    if rate is None:
        return dict.fromkeys((title, f"{title}_ci_low", f"{title}_ci_high", f"{title}_n"))
    return {title: rate.value, f"{title}_ci_low": rate.low, f"{title}_ci_high": rate.high, f"{title}_n": rate.n}
