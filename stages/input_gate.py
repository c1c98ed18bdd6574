"""Fit the input gate to the trained network, and export both to ONNX."""

from pathlib import Path

from chestxray.datasets.dataset import batch_folders, load_dataset, load_refused
from chestxray.models.onnx_graph import features_graph
from chestxray.models.pretrained_config import pretrained_config
from chestxray.models.weights import read_weights
from chestxray.params import load_params
from chestxray.system.files import write_csv, write_json
from chestxray.tracking.mlflow_runs import stage_run
from chestxray.training.export import export_classifier
from chestxray.training.input_gate import fit_gate, gate_features
from stages import run_stage


def main() -> None:
    params = load_params()
    with stage_run("input_gate", params) as run:
        prepared = batch_folders(params.batches)
        dataset = load_dataset(prepared)
        config = pretrained_config(params.backbone, params.head)
        weights = read_weights(Path("models/final.weights.h5"), config.alpha, len(dataset.findings), config.tap_names)
        graph = features_graph(weights, config.with_last_tap_alone(), None).SerializeToString(deterministic=True)
        features = gate_features(dataset, graph, config.input_size, params.input_gate)
        fitted = fit_gate(features, load_refused(prepared), params.input_gate)
        export_classifier(
            weights, config, dataset, params.prepare.size, Path("models/bundle/model.onnx"), fitted.weights
        )
        write_csv(Path("reports/refused_studies.csv"), fitted.refused)
        write_json(Path("reports/input_gate.json"), {"input_gate": fitted.metrics})
        run.log_metrics({"input_gate": {k: v for k, v in fitted.metrics.items() if not isinstance(v, dict)}})


if __name__ == "__main__":
    run_stage(main)
