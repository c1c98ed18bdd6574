"""Trains the deeper layers from the start on, keeps the better of both, and exports it to ONNX."""

from pathlib import Path

from chestxray.class_weighting import weight_array
from chestxray.dataset import load_dataset
from chestxray.export import export_classifier
from chestxray.features import load_features
from chestxray.figures import save, training_curves_figure
from chestxray.mobilenet import convention_of
from chestxray.params import load_params
from chestxray.replay import replayed
from chestxray.reports import read_json, write_csv, write_json
from chestxray.tracking import stage_run
from chestxray.training import cached_examples, fine_tune, pixel_examples
from chestxray.weights_file import read_weights, write_weights

START = Path("models/start")


def main() -> None:
    params = load_params()
    with stage_run("fine_tune", params) as run:
        dataset = load_dataset([Path("data/prepared", batch) for batch in params.batches])
        folders = [Path("data/features", batch) for batch in params.batches]
        start = read_weights(START / "network.weights.h5", params.backbone, head=True)
        if params.fine_tune.from_layer == "input":
            train, validation = (
                pixel_examples(dataset.side(side), params.backbone.input_size, params.features)
                for side in ("train", "validation")
            )
        else:
            train, validation = (
                cached_examples(load_features(folders, dataset.studies, side)) for side in ("train", "validation")
            )
        studies, seen = dataset.side("train").studies, read_json(START / "seen_batches.json")
        rows = replayed(studies, seen, params.fine_tune.replay, params.fine_tune.seed)
        if not len(rows):
            raise SystemExit(
                "no new training image and fine_tune.replay 0: nothing to train on; raise fine_tune.replay"
            )
        convention = convention_of(params.backbone.weights)
        weights = weight_array(read_json(Path("reports/class_weights.json")))
        tuned = fine_tune(train.at(rows), validation, start, weights, convention, params.backbone, params.fine_tune)
        final, size = start | tuned.weights, params.prepare.size
        export_classifier(final, convention, params.backbone, dataset, size, Path("models/bundle/model.onnx"))
        write_weights(final, Path("models/final.weights.h5"))
        write_csv(Path("reports/curves/fine_tune.csv"), tuned.curve)
        kind = "synthetic phantoms" if dataset.synthetic else "radiographs"
        save(training_curves_figure(tuned.curve, f"fine-tuning on {kind}"), Path("reports/training_curves.png"))
        metrics = {**tuned.metrics(), "images": len(rows)}
        write_json(Path("reports/fine_tune.json"), {"fine_tune": metrics})
        run.log_metrics(metrics)
        run.log_curve(tuned.curve, step="epoch")


if __name__ == "__main__":
    main()
