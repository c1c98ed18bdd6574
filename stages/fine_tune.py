"""Trains the deeper layers from the head on, keeps the better of both, and exports it to ONNX."""

from pathlib import Path

import numpy as np

from chestxray.class_weighting import weight_array
from chestxray.dataset import load_dataset
from chestxray.export import export_classifier
from chestxray.features import load_features
from chestxray.figures import save, training_curves_figure
from chestxray.mobilenet import convention_of
from chestxray.network import HEAD, read_weights
from chestxray.params import load_params
from chestxray.reports import read_json, write_csv, write_json
from chestxray.tracking import stage_run
from chestxray.training import cached_examples, fine_tune, pixel_examples


def main() -> None:
    params = load_params()
    with stage_run("fine_tune", params) as run:
        dataset = load_dataset([Path("data/prepared", batch) for batch in params.batches])
        folders = [Path("data/features", batch) for batch in params.batches]
        weights = read_weights(Path("models/backbone.weights.h5"), params.backbone)
        head = np.load("models/head.npy")
        weights[HEAD] = [head[:-1], head[-1]]
        if params.fine_tune.from_layer == "input":
            train, validation = (
                pixel_examples(dataset.side(side), params.backbone.input_size, params.features)
                for side in ("train", "validation")
            )
        else:
            train, validation = (
                cached_examples(load_features(folders, dataset.studies, side)) for side in ("train", "validation")
            )
        convention = convention_of(params.backbone.weights)
        class_weights = weight_array(read_json(Path("reports/class_weights.json")))
        tuned = fine_tune(train, validation, weights, class_weights, convention, params.backbone, params.fine_tune)
        export_classifier(
            weights | tuned.weights,
            convention,
            params.backbone,
            dataset,
            params.prepare.size,
            Path("models/bundle/model.onnx"),
        )
        write_csv(Path("reports/curves/fine_tune.csv"), tuned.curve)
        kind = "synthetic phantoms" if dataset.synthetic else "radiographs"
        save(training_curves_figure(tuned.curve, f"fine-tuning on {kind}"), Path("reports/training_curves.png"))
        write_json(Path("reports/fine_tune.json"), {"fine_tune": tuned.metrics()})
        run.log_metrics(tuned.metrics())
        run.log_curve(tuned.curve, step="epoch")


if __name__ == "__main__":
    main()
