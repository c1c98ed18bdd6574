"""Write the weights that fine-tuning starts from: the backbone with a fitted head, or a registered version."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from chestxray.datasets.dataset import batch_folders, load_dataset
from chestxray.models.weights import HEAD, read_weights, write_weights
from chestxray.params import Params, load_params
from chestxray.registry.warm_start import load_parent
from chestxray.system.files import read_json, write_csv, write_json
from chestxray.tracking.mlflow_runs import stage_run
from chestxray.tracking.store import open_store
from chestxray.training.class_weights import learnable, weight_array
from chestxray.training.features import load_features
from chestxray.training.linear_head import Head, fit_head, head_auroc
from stages import run_stage

START = Path("models/start")
CLASS_WEIGHTS = Path("reports/class_weights.json")
LONGEST_TAG = 5000
"""Characters that MLflow takes."""


def main() -> None:
    params = load_params()
    with stage_run("train", params) as run:
        start = read_weights(Path("models/backbone.weights.h5"), params.backbone.alpha)
        seen: tuple[str, ...] = ()
        folds = pd.DataFrame(columns=["l2", "mean_auroc"])  # without rows where no finding starts cold
        curve = pd.DataFrame(columns=["iteration", "loss"])
        metrics: dict[str, float] = {"warm_start": int(params.train.warm_start is not None)}
        dataset = load_dataset(batch_folders(params.batches))
        columns: dict[str, npt.NDArray[np.float32]] = {}  # of the head, by finding
        if params.train.warm_start:
            parent = load_parent(open_store(), params.train.warm_start, params, dataset.split("test"), start)
            seen, start, columns = parent.batches, parent.weights, parent.head
            said = parent.sentence(dataset.findings)
            print(f"warm start: {said}", flush=True)
            run.log_tags({"warm_start": said[:LONGEST_TAG]})
        cold = tuple(finding for finding in dataset.findings if finding not in columns)
        if set(cold).intersection(learnable(read_json(CLASS_WEIGHTS))):
            head, score = _fit(dataset.studies, cold, params)
            folds = head.folds
            curve = head.curve
            columns |= dict(zip(cold, head.weights.T, strict=True))
            metrics |= {"l2": head.l2}
            metrics |= {} if np.isnan(score) else {"validation_mean_auroc": round(score, 6)}
        start[HEAD] = _stack(columns, dataset.findings)
        write_weights(start, START / "network.weights.h5")
        write_json(START / "seen_batches.json", seen)
        write_csv(Path("reports/curves/l2.csv"), folds)
        write_csv(Path("reports/curves/train.csv"), curve)
        write_json(Path("reports/train.json"), {"train": metrics})
        run.log_metrics({"train": metrics})
        run.log_curve(curve, "train", step="iteration")


def _fit(studies: pd.DataFrame, findings: tuple[str, ...], params: Params) -> tuple[Head, float]:
    """Return the head fitted to some findings, and their mean AUROC on validation, NaN if none can be ranked."""
    folders = [each.features for each in batch_folders(params.batches)]
    weights = weight_array(read_json(CLASS_WEIGHTS), findings)
    train = load_features(folders, studies, "train").of(findings)
    validation = load_features(folders, studies, "validation").of(findings)
    head = fit_head(train, weights, params.train)
    return head, head_auroc(validation, head.weights, weights > 0)


def _stack(columns: Mapping[str, npt.NDArray[np.float32]], findings: tuple[str, ...]) -> list[npt.NDArray[np.float32]]:
    """Return kernel and bias of the head; what neither a parent nor this run has learned is zero."""
    nothing = np.zeros_like(next(iter(columns.values())))
    head = np.stack([columns.get(finding, nothing) for finding in findings], axis=-1)
    return [head[:-1], head[-1]]


if __name__ == "__main__":
    run_stage(main)
