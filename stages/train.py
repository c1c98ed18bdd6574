"""Write the weights that fine-tuning starts from: the backbone with a fitted head, or a registered version."""

from pathlib import Path

import pandas as pd

from chestxray.datasets.dataset import load_dataset, prepared_folders
from chestxray.models.weights import HEAD, read_weights, write_weights
from chestxray.params import Params, load_params
from chestxray.registry.warm_start import load_parent
from chestxray.system.files import read_json, write_csv, write_json
from chestxray.tracking.mlflow_runs import stage_run
from chestxray.tracking.store import open_store
from chestxray.training.class_weights import weight_array
from chestxray.training.features import features_folders, load_features
from chestxray.training.linear_head import Head, fit_head, head_auroc
from stages import run_stage

START = Path("models/start")


def main() -> None:
    params = load_params()
    with stage_run("train", params) as run:
        start = read_weights(Path("models/backbone.weights.h5"), params.backbone.alpha)
        seen: tuple[str, ...] = ()
        folds = pd.DataFrame(columns=["l2", "mean_auroc"])  # without rows after a warm start, which fits no head
        curve = pd.DataFrame(columns=["iteration", "loss"])
        metrics: dict[str, float] = {"warm_start": int(params.train.warm_start is not None)}
        dataset = load_dataset(prepared_folders(params.batches))
        if params.train.warm_start:
            test = dataset.split("test")
            _, seen, start = load_parent(open_store(), params.train.warm_start, params, test, start)
        else:
            head, score = _fit(dataset.studies, params)
            folds = head.folds
            curve = head.curve
            start[HEAD] = [head.weights[:-1], head.weights[-1]]
            metrics |= {"l2": head.l2, "validation_mean_auroc": round(score, 6)}
        write_weights(start, START / "network.weights.h5")
        write_json(START / "seen_batches.json", seen)
        write_csv(Path("reports/curves/l2.csv"), folds)
        write_csv(Path("reports/curves/train.csv"), curve)
        write_json(Path("reports/train.json"), {"train": metrics})
        run.log_metrics(metrics)
        run.log_curve(curve, step="iteration")


def _fit(studies: pd.DataFrame, params: Params) -> tuple[Head, float]:
    """Return the fitted head, and its mean AUROC on validation."""
    folders = features_folders(params.batches)
    train = load_features(folders, studies, "train")
    validation = load_features(folders, studies, "validation")
    head = fit_head(train, weight_array(read_json(Path("reports/class_weights.json"))), params.train)
    return head, head_auroc(validation, head.weights)


if __name__ == "__main__":
    run_stage(main)
