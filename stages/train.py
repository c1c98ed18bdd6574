"""Write the weights that fine-tuning starts from: the backbone with a fitted head, or a registered version."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from chestxray.datasets.dataset import Dataset, batch_folders, load_dataset
from chestxray.models.weights import HEAD, read_weights, write_weights
from chestxray.params import Params, load_params
from chestxray.registry.warm_start import load_parent
from chestxray.system.files import read_json, write_csv, write_json
from chestxray.tracking.mlflow_runs import stage_run
from chestxray.tracking.store import open_store
from chestxray.training.class_weights import learnable, weight_array
from chestxray.training.features import load_features
from chestxray.training.label_errors import find_label_errors
from chestxray.training.linear_head import Floats, Head, fit_head, head_auroc, stack_head
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
        held_out = pd.DataFrame()  # without columns, likewise
        metrics: dict[str, float] = {"warm_start": int(params.train.warm_start is not None)}
        folders = batch_folders(params.batches)
        train = load_dataset(folders, "train")
        columns: dict[str, npt.NDArray[np.float32]] = {}  # of the head, by finding
        if params.train.warm_start:
            parent = load_parent(open_store(), params.train.warm_start, params, load_dataset(folders, "test"), start)
            seen, start, columns = parent.batches, parent.weights, parent.head
            said = parent.sentence(train.findings)
            print(f"warm start: {said}", flush=True)
            run.log_tags({"warm_start": said[:LONGEST_TAG]})
        cold = tuple(finding for finding in train.findings if finding not in columns)
        weights = read_json(CLASS_WEIGHTS)
        if set(cold).intersection(learnable(weights)):
            head, score = _fit(train, cold, weight_array(weights, cold), params)
            folds = head.folds
            curve = head.curve
            held_out = pd.DataFrame(head.held_out, columns=list(cold))
            columns |= dict(zip(cold, head.weights.T, strict=True))
            metrics |= {"l2": head.l2} | ({} if np.isnan(score) else {"validation_mean_auroc": round(score, 6)})
        start[HEAD] = stack_head(columns, train.findings)
        write_weights(start, START / "network.weights.h5")
        write_json(START / "seen_batches.json", seen)
        errors = find_label_errors(train, held_out, params.train.folds, params.evaluate.min_positives)
        write_csv(Path("reports/label_errors.csv"), errors.listed)
        write_csv(Path("reports/label_errors_by_finding.csv"), errors.by_finding)
        write_csv(Path("reports/curves/l2.csv"), folds)
        write_csv(Path("reports/curves/train.csv"), curve)
        write_json(Path("reports/train.json"), {"train": metrics})
        run.log_metrics({"train": metrics})
        run.log_curve(curve, "train", step="iteration")


def _fit(images: Dataset, findings: tuple[str, ...], weights: Floats, params: Params) -> tuple[Head, float]:
    """Return the head fitted to some findings, and their mean AUROC on validation, NaN if none can be ranked."""
    folders = batch_folders(params.batches)
    features = [each.features for each in folders]
    train = load_features(features, images.studies, "train").of(findings)
    held_out = load_features(features, load_dataset(folders, "validation").studies, "validation").of(findings)
    head = fit_head(train, weights, params.train)
    return head, head_auroc(held_out, head.weights, weights > 0)


if __name__ == "__main__":
    run_stage(main)
