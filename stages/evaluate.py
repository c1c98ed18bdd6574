"""Fit calibration and operating points on validation, measure on test, complete the bundle."""

from pathlib import Path

import pandas as pd

from chestxray.datasets.benchmark import benchmark_batches
from chestxray.datasets.dataset import batch_folders, load_dataset
from chestxray.evaluation import figures
from chestxray.evaluation.evaluate import evaluate_model, evaluation_note, make_card, test_note
from chestxray.evaluation.input_gate import gate_facts, gate_table
from chestxray.evaluation.metrics_tables import (
    headline_metrics,
    metrics_by_finding,
    metrics_by_part,
    metrics_with_intervals,
)
from chestxray.evaluation.run_description import describe
from chestxray.inference.bundle import MODEL, write_card
from chestxray.inference.onnx_model import OnnxModel
from chestxray.params import load_params
from chestxray.system.files import read_json, write_csv, write_json, write_parquet
from chestxray.tracking.mlflow_runs import pipeline_run, stage_run
from chestxray.tracking.pipeline_record import headlines, log_evaluation
from stages import run_stage

BUNDLE = Path("models/bundle")
REPORTS = Path("reports")


def main() -> None:
    params = load_params()
    with stage_run("evaluate", params) as run:
        dataset = load_dataset(batch_folders(params.batches))
        model = OnnxModel(BUNDLE / MODEL)
        result = evaluate_model(model, dataset, benchmark_batches(params), params.evaluate)
        labels, test = result.labels, result.metrics["test"]
        note = evaluation_note(dataset, params.evaluate)
        confusion = result.confusion()
        roc, precision_recall = result.curves()
        refused = gate_table(model, result.test, result.gate, params.evaluate.seed)
        gate = gate_facts(model, refused, read_json(REPORTS / "input_gate.json")["input_gate"])
        card = make_card(model, result, dataset, params, (BUNDLE / MODEL).read_bytes(), gate)
        panels = figures.panels_of(card)
        by_finding = metrics_by_finding(result.metrics)
        write_json(REPORTS / "headlines.json", headline_metrics(result.metrics))
        write_json(REPORTS / "metrics.json", metrics_with_intervals(result.metrics))
        write_parquet(Path("models/test_logits.parquet"), result.test_logits())
        for name, table in {
            "metrics_by_part": metrics_by_part(result.metrics),
            "metrics_by_finding": by_finding,
            "classification_report": result.report(),
            "confusion_matrices": confusion,
            "predictions": result.predictions(),
            "input_gate": refused,
            "curves/roc": roc,
            "curves/precision_recall": precision_recall,
        }.items():
            write_csv(REPORTS / f"{name}.csv", table)
        folds, head, tuned = (pd.read_csv(REPORTS / f"curves/{name}.csv") for name in ("l2", "train", "fine_tune"))
        for name, figure in {
            "head": figures.head_figure(folds, head, f"trained on {result.test.kind}"),
            "training_curves": figures.training_curves_figure(tuned, f"fine-tuning on {result.test.kind}"),
            "findings": figures.findings_figure(by_finding[by_finding["part"] == "test"], panels, note),
            "confusion_matrix": figures.confusion_matrix_figure(confusion, len(labels), panels, note),
            "roc": figures.roc_figure(roc, test, panels, note),
            "precision_recall": figures.precision_recall_figure(precision_recall, test, panels, note),
            "reliability": figures.reliability_figure(labels, result.uncalibrated, result.probabilities, panels, note),
            "input_gate": figures.input_gate_figure(refused, test_note(dataset)),
        }.items():
            figures.save(figure, REPORTS / f"{name}.png")
        write_card(card, BUNDLE)
        run.log_metrics(headlines(result.metrics))
        log_evaluation(pipeline_run(run.client, params), params, REPORTS, dataset.studies, describe(card))


if __name__ == "__main__":
    run_stage(main)
