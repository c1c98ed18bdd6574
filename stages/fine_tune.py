"""Fine-tune the deeper layers and keep the best epoch."""

from pathlib import Path

from chestxray.datasets.dataset import batch_folders, load_dataset
from chestxray.errors import UserError
from chestxray.models.pretrained_config import pretrained_config
from chestxray.models.weights import read_weights, write_weights
from chestxray.params import load_params
from chestxray.system.files import read_json, write_csv, write_json
from chestxray.tracking.mlflow_runs import stage_run
from chestxray.training.class_weights import weight_array
from chestxray.training.fine_tuning import fine_tune
from chestxray.training.images import training_images
from chestxray.training.replay import replay_rows
from stages import run_stage

START = Path("models/start")


def main() -> None:
    params = load_params()
    with stage_run("fine_tune", params) as run:
        folders = batch_folders(params.batches)
        train, validation = (load_dataset(folders, split) for split in ("train", "validation"))
        config = pretrained_config(params.backbone, params.head)
        start = read_weights(START / "network.weights.h5", config.alpha, len(train.findings), config.tap_names)
        seen = read_json(START / "seen_batches.json")
        rows = replay_rows(train.studies, seen, params.fine_tune.replay, params.fine_tune.seed)
        if not len(rows):
            raise UserError("no new training image and fine_tune.replay 0: nothing to train on; raise fine_tune.replay")
        weights = weight_array(read_json(Path("reports/class_weights.json")), train.findings)
        shown = training_images(train, "train", start, params).at(rows)
        held_out = training_images(validation, "validation", start, params)
        tuned = fine_tune(shown, held_out, start, weights, config, params.fine_tune)
        write_weights(start | tuned.weights, Path("models/final.weights.h5"))
        write_csv(Path("reports/curves/fine_tune.csv"), tuned.curve)
        metrics = {**tuned.metrics(), "images": len(rows)}
        write_json(Path("reports/fine_tune.json"), {"fine_tune": metrics})
        run.log_metrics({"fine_tune": metrics})
        run.log_curve(tuned.curve, "fine_tune", step="epoch")


if __name__ == "__main__":
    run_stage(main)
