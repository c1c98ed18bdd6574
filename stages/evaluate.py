"""Fit calibration and operating points on validation, measure on test, complete the bundle."""

from pathlib import Path

import pandas as pd

from chestxray.datasets.benchmark import benchmark_batches
from chestxray.datasets.dataset import batch_folders, load_boxes, load_dataset
from chestxray.datasets.trained_on import TrainedOn
from chestxray.evaluation import figures
from chestxray.evaluation.card import make_card
from chestxray.evaluation.evaluate import evaluate_model, evaluation_note, test_note
from chestxray.evaluation.input_gate import gate_facts, gate_table
from chestxray.evaluation.localization import localize
from chestxray.evaluation.reports import write_reports
from chestxray.evaluation.run_description import describe, picture
from chestxray.evaluation.shortcuts import find_shortcuts
from chestxray.evaluation.shuffled_network import shuffle_weights
from chestxray.inference.bundle import MODEL
from chestxray.inference.card import write_card
from chestxray.inference.model_card import model_card
from chestxray.inference.onnx_model import OnnxModel
from chestxray.params import load_params
from chestxray.system.files import read_json, write_csv, write_parquet, write_text
from chestxray.tracking.mlflow_runs import pipeline_run, stage_run
from chestxray.tracking.pipeline_record import headlines, log_evaluation
from stages import run_stage

BUNDLE = Path("models/bundle")
REPORTS = Path("reports")


def main() -> None:
    params = load_params()
    with stage_run("evaluate", params) as run:
        folders = batch_folders(params.batches)
        dataset = load_dataset(folders)
        content = (BUNDLE / MODEL).read_bytes()
        model = OnnxModel(content)
        result = evaluate_model(model, dataset, benchmark_batches(params), params.evaluate)
        shuffled = OnnxModel(shuffle_weights(content, params.evaluate.seed))
        located = localize(model, shuffled, result.test, load_boxes(folders), params.evaluate.min_positives)
        refused = gate_table(model, result.test, result.gate, params.evaluate.seed)
        gate = gate_facts(model, refused, read_json(REPORTS / "input_gate.json")["input_gate"])
        card = make_card(model, result, dataset, params, content, gate, located)
        shortcuts = find_shortcuts(content, dataset, params.evaluate.min_n)
        write_reports(result, located, shortcuts, card, evaluation_note(dataset, params.evaluate), REPORTS)
        write_text(REPORTS / "model_card.md", model_card(card))
        write_csv(REPORTS / "input_gate.csv", refused)
        write_parquet(Path("models/test_logits.parquet"), result.test_logits())
        folds, head, tuned = (pd.read_csv(REPORTS / f"curves/{name}.csv") for name in ("l2", "train", "fine_tune"))
        for name, figure in {
            "head": figures.head_figure(folds, head, f"trained on {result.test.kind}"),
            "training_curves": figures.training_curves_figure(tuned, f"fine-tuning on {result.test.kind}"),
            "input_gate": figures.input_gate_figure(refused, test_note(dataset)),
        }.items():
            figures.save(figure, REPORTS / f"{name}.png")
        TrainedOn.of(dataset.studies, card.data_sha256).write(BUNDLE)
        write_card(card, BUNDLE)
        run.log_metrics(headlines(result.metrics))
        pipeline = pipeline_run(run.client, params)
        log_evaluation(pipeline, params, REPORTS, card.model_dump(), describe(card), picture(card))


if __name__ == "__main__":
    run_stage(main)
