"""Train candidates on the cached features, and say what the choice of the best one on validation is worth."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from chestxray.datasets.dataset import batch_folders, load_dataset
from chestxray.datasets.split import patient_fold
from chestxray.labels import LabelMasks, has_both_classes
from chestxray.metrics.comparison import mean_auroc_gain
from chestxray.metrics.jackknife import Spread
from chestxray.metrics.ranking import mean_auroc
from chestxray.models.pretrained_config import pretrained_config
from chestxray.models.weights import read_weights
from chestxray.params import FineTuneParams, Params
from chestxray.system.engine import engine_map
from chestxray.tracking.progress import progress
from chestxray.training.features import Features
from chestxray.training.fine_tuning import fine_tune
from chestxray.training.images import training_images
from chestxray.training.linear_head import fit_each, head_logits

START = Path("models/start/network.weights.h5")
FINAL = Path("models/final.weights.h5")
FOLDS = 5
DEALS = 4
"""Of validation patients to folds, for what is left of a gain where others are scored than those chosen by."""
Logits = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Candidate:
    """A model that was trained.

    Attributes:
        kind: "head" or "fine-tuning".
        params: what it was trained with, by dotted key of `params.yaml`, which says the rest.
        logits: float32 N × k, of the validation images: one of a head, one an epoch of fine-tuning.
    """

    kind: str
    params: dict[str, float]
    logits: tuple[Logits, ...]

    @property
    def first_epoch(self) -> int:
        """Which epoch the first of `logits` are of: a head has none, which is 0."""
        return int(self.kind == "fine-tuning")


@dataclass(frozen=True)
class Choice:
    """The best candidate by the mean AUROC of validation, and what is left of its gain on patients not chosen by.

    Attributes:
        best: its number.
        scores: `(candidates, most epochs)`, mean AUROC of each candidate after each of its epochs, NaN behind the last.
        baseline: mean AUROC of the model that candidates are held against.
        gain: of the best over the baseline, and its spread over patients.
        apparent: mean gain of the best over folds of patients.
        nested: mean gain over the same folds, each by the candidate that is best without the fold's patients. What
            it falls short of `apparent` is the bias of having chosen (Varma and Simon, BMC Bioinformatics 7, 2006).
    """

    best: int
    scores: npt.NDArray[np.float64]
    baseline: float
    gain: Spread
    apparent: float
    nested: float


def train_heads(
    train: Features,
    validation: Features,
    class_weights: npt.NDArray[np.float64],
    grid: Sequence[float],
    shared: Sequence[float],
) -> Iterator[Candidate]:
    """Fit a head for each λ and each degree of sharing.

    Args:
        train: features of the training images, of the findings that can be learned.
        validation: of the validation images.
        class_weights: weight of a positive label, k.
        grid: values of `train.l2`.
        shared: values of `train.shared`.
    """
    for l2, each, weights in fit_each(train, class_weights, grid, shared):
        yield Candidate("head", {"train.l2": l2, "train.shared": each}, (head_logits(validation, weights),))


def train_deeper(
    params: Params, weights: npt.NDArray[np.float64], choices: Iterable[dict[str, float]]
) -> Iterator[Candidate]:
    """Fine-tune the network that the stage `train` left, once for each choice; with Ray, in its workers.

    Args:
        params: the whole of `params.yaml`.
        weights: weight of a positive label of every finding, 0 of those that are not scored.
        choices: values by dotted key, such as `fine_tune.learning_rate`.
    """
    # One at a time, in this thread: each takes all cores, and may map over threads itself, which can't be nested.
    return engine_map(partial(_fine_tuned, params, weights), choices, in_flight=1)


def _fine_tuned(params: Params, weights: npt.NDArray[np.float64], chosen: dict[str, float]) -> Candidate:
    """Fine-tune with some params changed."""
    changed = {key.removeprefix("fine_tune."): value for key, value in chosen.items()}
    tuned = _epochs(params, weights, START, params.fine_tune.model_copy(update=changed))
    return Candidate("fine-tuning", chosen, tuned[1:])


def pipeline_logits(params: Params, weights: npt.NDArray[np.float64]) -> Logits:
    """Compute the logits of the validation images by the model of the last `dvc repro`: float32 N × k.

    Args:
        params: the whole of `params.yaml`.
        weights: weight of a positive label of every finding, 0 of those that are not scored.
    """
    return _epochs(params, weights, FINAL, params.fine_tune.model_copy(update={"epochs": 0}))[0]


def _epochs(params: Params, weights: npt.NDArray[np.float64], start: Path, how: FineTuneParams) -> tuple[Logits, ...]:
    """Fine-tune a network; return the validation logits of the start and of each epoch."""
    folders = batch_folders(params.batches)
    config = pretrained_config(params.backbone, params.head)
    network = read_weights(start, config.alpha, len(weights), config.tap_names)
    train, validation = (
        training_images(load_dataset(folders, split), split, network, params) for split in ("train", "validation")
    )
    tuned = fine_tune(train, validation, network, weights, config, how)
    return tuple(logits[:, weights > 0] for logits in tuned.logits)


def choose(
    candidates: Sequence[Candidate], baseline: Logits, labels: LabelMasks, patients: npt.NDArray[np.str_]
) -> Choice:
    """Choose the best candidate, and measure what is left of its gain where others are scored than those chosen by.

    Args:
        candidates: at least one.
        baseline: float32 N × k, logits of the model that they are held against.
        labels: of the N validation images.
        patients: of each image.
    """
    trained = [logits for candidate in candidates for logits in candidate.logits]
    places = np.cumsum([0] + [len(candidate.logits) for candidate in candidates])
    every = scores(trained, labels)
    best = int(np.argmax(every))
    table = np.full((len(candidates), int(np.diff(places).max())), np.nan)
    for row, first, end in zip(table, places, places[1:], strict=False):
        row[: end - first] = every[first:end]
    gain = mean_auroc_gain(labels, trained[best], baseline, patients)
    candidate = int(np.searchsorted(places, best, side="right")) - 1
    left = _gains_by_fold([baseline, *trained], 1 + best, labels, patients)
    return Choice(candidate, table, mean_auroc(labels, baseline), gain, *left.mean(axis=0))


def _gains_by_fold(
    models: Sequence[Logits], best: int, labels: LabelMasks, patients: npt.NDArray[np.str_]
) -> npt.NDArray[np.float64]:
    """Compute the gain over the first model in each fold: of one model, and of the best one of the other folds.

    Returns:
        `(folds, 2)` of the folds in which a finding can be ranked; NaN for all if there is none.
    """
    gains = [(np.nan, np.nan)]
    deals = [(deal, fold) for deal in range(DEALS) for fold in range(FOLDS)]
    for deal, fold in progress(deals, "choosing without the patients that are scored", len(deals), "fold"):
        inside = np.array([patient_fold(f"sweep {deal} {patient}", FOLDS) == fold for patient in patients])
        here, others = (labels.at(part) for part in (inside, ~inside))
        if has_both_classes(here).any() and has_both_classes(others).any():
            found = scores([logits[inside] for logits in models], here)
            without = 1 + int(np.argmax(scores([logits[~inside] for logits in models[1:]], others)))
            gains.append((found[best] - found[0], found[without] - found[0]))
    return np.array(gains[1:] or gains)


def scores(models: Sequence[Logits], labels: LabelMasks) -> list[float]:
    """Compute the mean AUROC of the same images by each of several models; 0 of one that diverged."""
    return [mean_auroc(labels, logits) if np.isfinite(logits).all() else 0.0 for logits in models]
