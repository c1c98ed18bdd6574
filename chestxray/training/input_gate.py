"""Fit the input gate on the finished network's pooled features of training images, and of images unlike them.

See docs/decisions/input-gate.md.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pandas as pd
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from threadpoolctl import threadpool_limits

from chestxray.datasets.dataset import Dataset
from chestxray.datasets.split import patient_fold
from chestxray.inference.input_gate import NOT_A_CHEST, UNLIKE_TRAINING, InputGate
from chestxray.metrics.proportion import estimate_share
from chestxray.metrics.ranking import DECIMALS
from chestxray.models.gate_weights import GateWeights, Single
from chestxray.params import InputGateParams
from chestxray.system.parallel import parallel_map
from chestxray.tracking.progress import progress
from chestxray.training.unlike_images import NAMED, OTHER, Draw, Pixels, altered

Floats = npt.NDArray[np.float64]

NAMES = (UNLIKE_TRAINING, *NAMED, NOT_A_CHEST)
IMAGES_IN_FLIGHT = 16
SCORED_AT_ONCE = 256
RIDGE = 0.002
"""Of the softmax regression, on features with unit variance and a mean loss in which every class weighs the same."""


@dataclass(frozen=True)
class GateFeatures:
    """Pooled features that a gate is fitted on.

    Attributes:
        good: yields those of all images of the data set, as they are, in order, some at a time, float32 n × F: those
            of an archive take half a gigabyte.
        sample: rows of the images that a gate is fitted to; training and validation images, m.
        sampled: of these, float32 m × F.
        altered: of these, altered as another device might, float32 m × F.
        train: rows of the training images among the sample, t.
        unlike: of each of `NAMES` but the first, of such images made from these, float32 t × F.
        studies: of the N images.
    """

    good: Callable[[], Iterator[Single]]
    sample: npt.NDArray[np.intp]
    sampled: Single
    altered: Single
    train: npt.NDArray[np.intp]
    unlike: dict[str, Single]
    studies: pd.DataFrame


@dataclass(frozen=True)
class FittedGate:
    """A gate and what it refuses of the data set.

    Attributes:
        weights: of the gate.
        metrics: how many good images the thresholds are from and how many of them are refused by all checks, in all and
            by batch, and how many of them by the checks of pixels.
        refused: a row a study and check that refuses it, of its features or its pixels: `batch`, `image`, `split`,
            `check`, `value`, `limit`.
    """

    weights: GateWeights
    metrics: dict[str, Any]
    refused: pd.DataFrame


def gate_features(dataset: Dataset, graph: bytes, input_size: int, params: InputGateParams) -> GateFeatures:
    """Compute the features of a sample of images, and of altered and unlike ones that are made from these.

    Args:
        dataset: all batches.
        graph: the ONNX model of `onnx_graph.features_graph`, of the finished network.
        input_size: side of a view in pixels.
        params: size of the sample, and the seed.
    """
    network = _Network(dataset, graph, input_size, params.seed)
    split = dataset.studies["split"].to_numpy()
    rng = np.random.default_rng(params.seed)
    train, validation = (
        np.sort(rng.permutation(np.flatnonzero(split == side))[: params.images]) for side in ("train", "validation")
    )
    sample = np.concatenate([train, validation])
    sampled = network.features("good", sample, [lambda image, _: image])
    changed = network.features("altered", sample, [altered])
    unlike = {name: network.features(name, train, [draw]) for name, draw in NAMED.items()}
    unlike[NOT_A_CHEST] = network.features(NOT_A_CHEST, train, list(OTHER.values()))
    known = dict(zip(sample.tolist(), sampled, strict=True))
    return GateFeatures(lambda: network.of_all(known), sample, sampled, changed, train, unlike, dataset.studies)


class _Network:
    """The features of an image, the mean over its centre crop and the mirror image of that, as the model sees it."""

    def __init__(self, dataset: Dataset, graph: bytes, input_size: int, seed: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1  # an image a core, as in `features.write_features`
        self._session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._dataset = dataset
        self._input_size = input_size
        self._seed = seed

    def features(self, name: str, rows: npt.NDArray[np.intp], draws: list[Draw]) -> Single:
        """Compute the features of what the functions, in turn, make of the images in these rows: float32 m × F."""

        def compute(place: int) -> Single:
            row = rows[place]
            rng = np.random.default_rng([self._seed, row, *name.encode()])
            return self._mean_of_views(draws[place % len(draws)](self._dataset.pixels(row), rng))

        outputs = parallel_map(compute, range(len(rows)), IMAGES_IN_FLIGHT)
        return np.stack(list(progress(outputs, f"input gate, {name}", len(rows))))

    def of_all(self, known: Mapping[int, Single]) -> Iterator[Single]:
        """Yield the features of all images, as they are, in order; those of some rows are known."""

        def compute(row: int) -> Single:
            return known[row] if row in known else self._mean_of_views(self._dataset.pixels(row))

        images = len(self._dataset.studies)
        outputs = progress(parallel_map(compute, range(images), IMAGES_IN_FLIGHT), "input gate, all images", images)
        while some := list(islice(outputs, SCORED_AT_ONCE)):
            yield np.stack(some)

    def _mean_of_views(self, image: Pixels) -> Single:
        offset = (len(image) - self._input_size) // 2
        crop = image[offset : offset + self._input_size, offset : offset + self._input_size]
        pooled = self._session.run(["pooled"], {"view": np.stack([crop, crop[:, ::-1]])[..., None]})[0]
        return np.asarray(pooled.mean(axis=0))


def fit_gate(features: GateFeatures, by_checks: pd.DataFrame, params: InputGateParams) -> FittedGate:
    """Fit the gate to the training images, and its thresholds to images that it was not fitted to.

    Those are training images, each scored by a gate that was fitted without its patient's fold, and validation images,
    all of them as they are and those of the sample altered too.

    Args:
        features: of `gate_features`.
        by_checks: what the checks of pixels refuse of the studies: `batch`, `image`, `check`, `value`, `limit`.
        params: of the fit; the share to refuse is that of all checks together.
    """
    studies = features.studies
    by_pixels = pd.MultiIndex.from_frame(studies[["batch", "image"]]).isin(
        pd.MultiIndex.from_frame(by_checks[["batch", "image"]])
    )
    split = studies["split"].to_numpy()
    folds = np.array([patient_fold(patient, params.folds) for patient in studies["patient"]])
    # One thread: no sum depends on the number of cores.
    with threadpool_limits(1, user_api="blas"):
        train = split == "train"
        final = _fit(features, train, params.components)
        gates = [_fit(features, train & (folds != fold), params.components) for fold in range(params.folds)]
        left_out = np.where(train, folds, -1)
        good, held_out = _scores(features.good(), final, gates, left_out)
        _, held_out_changed = _scores(iter([features.altered]), final, gates, left_out[features.sample])
    seen = split != "test"
    held = np.concatenate([held_out[seen & ~by_pixels], held_out_changed])
    lost = int(np.count_nonzero(seen & by_pixels))
    allowed = int(params.refused * (len(held) + lost) + 1e-9)  # 0.01 × 700 is a little less than 7
    thresholds = gate_thresholds(held, max(0, allowed - lost))
    refused = np.any(held_out >= thresholds, axis=1) | by_pixels
    parts = {str(name): seen & (studies["batch"] == name).to_numpy() for name in studies["batch"].unique()}
    metrics = {
        **_refused_share(refused[seen]),
        "by_pixels": lost,
        "validation": _refused_share(refused[split == "validation"]),
        "altered": _refused_share(np.any(held_out_changed >= thresholds, axis=1)),
        "batch": {name: _refused_share(refused[part]) for name, part in parts.items()},
    }
    fitted = replace(final, thresholds=thresholds)
    return FittedGate(fitted, metrics, _list_refused(good, fitted, studies, by_checks))


def _scores(
    features: Iterator[Single], final: GateWeights, gates: Sequence[GateWeights], left_out: npt.NDArray[np.intp]
) -> tuple[Single, Single]:
    """Score images by the final gate, and by the gate that was not fitted to them.

    Args:
        features: of N images in order, some at a time, float32 n × F.
        final: the gate that is fitted to all training images.
        gates: those that leave a fold out.
        left_out: N, the gate that leaves an image out; −1 where the final one does.

    Returns:
        Both float32 N × G.
    """
    by_final: list[Single] = []
    held_out: list[Single] = []
    done = 0
    for some in features:
        by_final.append(final.scores(some))
        held_out.append(by_final[-1].copy())
        for place, gate in enumerate(gates):
            mine = left_out[done : done + len(some)] == place
            held_out[-1][mine] = gate.scores(some[mine])
        done += len(some)
    return np.concatenate(by_final), np.concatenate(held_out)


def gate_thresholds(scores: Single, allowed: int) -> Single:
    """Choose thresholds, at the same rank of each score, that at most so many good images reach in any score.

    Where none of them may be refused, the thresholds lie beyond all of them, by half the distance of the largest from
    the median.

    Args:
        scores: of good images, float32 N × G.
        allowed: how many may be refused.

    Returns:
        float32, G.

    Example:
        >>> scores = np.arange(1000, dtype=np.float32)[:, None]
        >>> gate_thresholds(scores, 10)
        array([990.], dtype=float32)
    """
    ranked = np.sort(scores, axis=0)[::-1]
    thresholds = ranked[0] + 0.5 * (ranked[0] - np.median(scores, axis=0))
    for row in ranked[:allowed]:
        if np.count_nonzero(np.any(scores >= row, axis=1)) > allowed:
            break
        thresholds = row
    return np.asarray(thresholds, np.float32)


def _fit(features: GateFeatures, training: npt.NDArray[np.bool_], count: int) -> GateWeights:
    """Fit a gate without thresholds to some of the training images, given by a mask over all images."""
    chosen = training[features.sample]
    good = np.concatenate([features.sampled[chosen], features.altered[chosen]]).astype(np.float64)
    mean, deviation = good.mean(axis=0), good.std(axis=0)
    deviation = np.where(deviation > 1e-6, deviation, 1.0)
    x = (good - mean) / deviation
    variances, directions = _principal(x, count)
    outside = float((x**2).sum(axis=1).mean() - variances.sum())
    unlike = [features.unlike[name][training[features.train]] for name in NAMES[1:]]
    classes = [x, *((made - mean) / deviation for made in unlike)]
    odds, bias = _log_odds(classes, count)
    return GateWeights(
        names=NAMES,
        thresholds=np.full(len(NAMES), np.inf, np.float32),
        mean=mean.astype(np.float32),
        deviation=deviation.astype(np.float32),
        components=directions.astype(np.float32),
        spread=np.sqrt(variances).astype(np.float32),
        residual=max(outside, 1e-3 * x.shape[1]),
        odds=odds.astype(np.float32),
        odds_bias=bias.astype(np.float32),
    )


def _principal(x: Floats, count: int) -> tuple[Floats, Floats]:
    """Return the largest variances of rows about 0, K, and their directions, F × K; fewer where the rank is lower."""
    variances, directions = np.linalg.eigh(x.T @ x / len(x))
    kept = np.flatnonzero(variances > 1e-6 * variances[-1])[::-1][: min(count, len(x) - 1)]
    return variances[kept], directions[:, kept]


def _log_odds(classes: list[Floats], count: int) -> tuple[Floats, Floats]:
    """Fit a softmax regression on the principal components of all classes, each class weighing the same.

    Returns:
        F × (C − 1) and C − 1: the log odds of each class against the first, as a linear function of the features.
    """
    x = np.concatenate(classes)
    label = np.repeat(np.arange(len(classes)), [len(rows) for rows in classes])
    weight = np.concatenate([np.full(len(rows), 1.0 / (len(rows) * len(classes))) for rows in classes])
    centre = x.mean(axis=0)
    variances, directions = _principal(x - centre, count)
    whiten = directions / np.sqrt(variances)
    z = np.column_stack([(x - centre) @ whiten, np.ones(len(x))])
    truth = np.eye(len(classes))[label]

    def objective(flat: Floats) -> tuple[float, Floats]:
        """Mean cross-entropy with a ridge penalty, and its gradient."""
        matrix = flat.reshape(z.shape[1], -1)
        logits = z @ matrix
        penalised = matrix * np.append(np.ones(len(variances)), 0.0)[:, None]
        loss = -(weight * (truth * log_softmax(logits, axis=1)).sum(axis=1)).sum() + RIDGE / 2 * (penalised**2).sum()
        gradient = z.T @ (weight[:, None] * (softmax(logits, axis=1) - truth)) + RIDGE * penalised
        return float(loss), gradient.ravel()

    start = np.zeros(z.shape[1] * len(classes))
    fitted = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 300}).x.reshape(z.shape[1], -1)
    against = fitted[:, 1:] - fitted[:, :1]
    odds = whiten @ against[:-1]
    return odds, against[-1] - centre @ odds


def _refused_share(refused: npt.NDArray[np.bool_]) -> dict[str, float]:
    """Return how many of the images are refused, and the share with its interval; of no image, its number alone."""
    count = int(np.count_nonzero(refused))
    if not len(refused):
        return {"n": 0}
    share = estimate_share(count, len(refused))
    numbers = {"share": share.value, "share_ci_low": share.low, "share_ci_high": share.high}
    return {"n": len(refused), "refused": count, **{name: round(value, DECIMALS) for name, value in numbers.items()}}


def _list_refused(scores: Single, gate: GateWeights, studies: pd.DataFrame, by_checks: pd.DataFrame) -> pd.DataFrame:
    """List the studies that the checks of pixels refuse or that reach a threshold, with each score that does."""
    rows, columns = np.nonzero(InputGate(gate.names, tuple(gate.thresholds.tolist())).found(scores))
    listed = studies.loc[rows, ["batch", "image", "split"]].reset_index(drop=True)
    listed["check"] = np.array(gate.names)[columns]
    listed["value"] = scores[rows, columns].round(3)
    listed["limit"] = gate.thresholds[columns].round(3)
    by_pixels = by_checks.merge(studies[["batch", "image", "split"]], on=["batch", "image"])
    return pd.concat([by_pixels[listed.columns], listed], ignore_index=True) if len(by_pixels) else listed
