"""Fits calibration and operating points on validation, measures on test, completes the bundle."""

from pathlib import Path

from chestxray import figures
from chestxray.bundle import MODEL, Network, write_card
from chestxray.dataset import load_dataset
from chestxray.evaluation import card_of, describe, evaluate_model
from chestxray.inference import answers, names_of
from chestxray.metrics import classification_report, confusion_matrices
from chestxray.params import load_params
from chestxray.ranking import curves
from chestxray.reports import write_csv, write_json, write_parquet
from chestxray.tracking import stage_run

BUNDLE = Path("models/bundle")
REPORTS = Path("reports")


def main() -> None:
    params = load_params()
    with stage_run("evaluate", params) as run:
        dataset = load_dataset([Path("data/prepared", batch) for batch in params.batches])
        model = (BUNDLE / MODEL).read_bytes()
        network = Network(model)
        result = evaluate_model(network, dataset, params.benchmark, params.evaluate)
        truth, test, note = result.test.truth, result.metrics["test"], describe(dataset, params.evaluate)
        confusion = confusion_matrices(truth, result.decisions)
        roc, precision_recall = curves(truth, result.probabilities)
        write_json(REPORTS / "metrics.json", result.metrics)
        write_csv(
            REPORTS / "classification_report.csv",
            classification_report(truth, result.decisions, result.thresholds, test),
        )
        write_csv(REPORTS / "confusion_matrices.csv", confusion)
        write_csv(REPORTS / "predictions.csv", result.predictions())
        write_parquet(Path("models/test_logits.parquet"), answers(names_of(result.test), result.logits))
        write_csv(REPORTS / "curves/roc.csv", roc)
        write_csv(REPORTS / "curves/precision_recall.csv", precision_recall)
        for name, figure in {
            "confusion_matrix": figures.confusion_matrix_figure(confusion, len(truth), note),
            "roc": figures.roc_figure(roc, test, note),
            "precision_recall": figures.precision_recall_figure(precision_recall, test, note),
            "reliability": figures.reliability_figure(truth, result.uncalibrated, result.probabilities, note),
        }.items():
            figures.save(figure, REPORTS / f"{name}.png")
        write_card(card_of(network, result, dataset, params, model), BUNDLE)
        run.log_metrics(result.metrics)


if __name__ == "__main__":
    main()
