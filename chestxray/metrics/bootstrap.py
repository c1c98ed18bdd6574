"""Resample whole patients to say how sure a figure is: 95 % intervals, and the comparison of two models."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from chestxray.errors import UserError
from chestxray.labels import Floats, LabelMasks, Weights, check_scorable, check_scores, drawn_once
from chestxray.metrics.ranking import mean_over_findings, rank_findings, ranking_scores
from chestxray.tracking.progress import progress

QUANTILES = (0.025, 0.975)
CHUNK = 60_000
"""Weights held at once, in numbers: bounds the memory of a bootstrap, whatever its size.

Four times as many take twice as long: arrays leave the processor's cache.
"""


class Estimate(NamedTuple):
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


def check_patients(patients: npt.ArrayLike, images: int) -> npt.NDArray[Any]:
    """Check patient ids: `(n,)`, of at least two patients, since one patient can't be resampled.

    Raises:
        ValueError: another shape, or a single patient.
    """
    array = np.asarray(patients)
    if array.shape != (images,):
        raise ValueError(f"patients must be ({images},), one id an image; got {array.shape}")
    if len(np.unique(array)) < 2:
        raise UserError(f"an interval needs at least 2 patients, got only {array[0]!r}; give more patients")
    return array


def bootstrap_weights(patients: npt.ArrayLike, resamples: int, seed: int) -> Iterator[Weights]:
    """Draw patients with replacement, as many as there are: images of one patient stay together.

    Args:
        patients: `(n,)` ids. The draws hang on the set of ids, not on the order of images.
        resamples: how many, at least 1.
        seed: of the draws.

    Yields:
        `(b, n)` int32, a row a resample: how often each image was drawn. All b add up to `resamples`.

    Raises:
        ValueError: no resamples.
    """
    if resamples < 1:
        raise ValueError(f"a bootstrap needs at least 1 resample (2000 are usual), got {resamples}")
    ids, patient = np.unique(np.asarray(patients), return_inverse=True)
    generator = np.random.default_rng(seed)
    chunk = max(1, CHUNK // len(patient))
    starts = range(0, resamples, chunk)
    for start in progress(starts, "bootstrap", len(starts), unit="chunk"):
        rows = min(chunk, resamples - start)
        drawn = generator.integers(len(ids), size=(rows, len(ids))) + len(ids) * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * len(ids)).reshape(rows, len(ids))
        yield times.astype(np.int32)[:, patient]


def resample(
    statistics: Callable[[Weights], dict[str, Floats]], patients: npt.ArrayLike, resamples: int, seed: int
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Compute statistics of the sample as it is, and of each resample of its patients.

    Args:
        statistics: of each row of weights `(b, n)`: name → `(b, …)`.
        patients: `(n,)` ids.
        resamples: how many, at least 1.
        seed: of the draws.

    Returns:
        Name → `(…)` of the sample, and name → `(resamples, …)`.

    Raises:
        ValueError: no resamples.
    """
    point = {name: values[0] for name, values in statistics(drawn_once(len(np.asarray(patients)))).items()}
    chunks = [statistics(weights) for weights in bootstrap_weights(patients, resamples, seed)]
    return point, {name: np.concatenate([chunk[name] for chunk in chunks]) for name in point}


def interval(samples: Floats) -> tuple[float, float]:
    """Compute the 95 % percentile interval of `(resamples,)`, NaN left out; NaN where all are.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.

    Example:
        >>> interval(np.arange(101.0))
        (2.5, 97.5)
    """
    known = samples[np.isfinite(samples)]
    low, high = np.quantile(known, QUANTILES) if known.size else (np.nan, np.nan)
    return float(low), float(high)


def paired_bootstrap(
    labels: LabelMasks,
    scores_a: npt.ArrayLike,
    scores_b: npt.ArrayLike,
    patients: npt.ArrayLike,
    *,
    resamples: int,
    seed: int,
) -> Estimate:
    """Compare two models: mean AUROC of a minus that of b, both on the same resampled patients.

    Args:
        labels: of n images and k findings.
        scores_a: `(n, k)`, finite.
        scores_b: `(n, k)`, finite.
        patients: `(n,)` ids.
        resamples: of patients.
        seed: of the resampling.

    Returns:
        The difference and its 95 % percentile interval; means are over findings with both classes.

    Raises:
        ValueError: wrong shapes or values, or no finding with both classes.
    """
    people = check_patients(patients, len(labels))
    check_scorable(labels)
    rankings_a = rank_findings(labels, check_scores(scores_a, "scores_a", labels.findings, len(labels)))
    rankings_b = rank_findings(labels, check_scores(scores_b, "scores_b", labels.findings, len(labels)))

    def difference(weights: Weights) -> dict[str, Floats]:
        a, b = (mean_over_findings(ranking_scores(rankings, weights)[0]) for rankings in (rankings_a, rankings_b))
        return {"mean_auroc": a - b}

    point, drawn = resample(difference, people, resamples, seed)
    return Estimate(float(point["mean_auroc"]), *interval(drawn["mean_auroc"]))
