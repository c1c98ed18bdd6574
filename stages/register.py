"""Registers the bundle, holds it against the champion, completes the MLflow run, moves the alias if it is earned."""

from pathlib import Path

import pandas as pd

from chestxray.datasets.dataset import load_dataset, prepared_folders
from chestxray.evaluation import figures
from chestxray.inference.bundle import bundle_digest
from chestxray.params import load_params
from chestxray.registry.promote import apply_verdict, decide_promotion, report
from chestxray.registry.version_predictions import PREDICTIONS_DIGEST, keep_predictions
from chestxray.registry.versions import register
from chestxray.system.files import read_json, write_csv, write_json, write_text
from chestxray.tracking.mlflow_runs import log_pipeline, one_at_a_time, open_store, pipeline_run, stage_run
from stages import run

BUNDLE = Path("models/bundle")
REPORTS = Path("reports")
MARKER = Path(".mlflow/registered.json")


def main() -> None:
    params = load_params()
    client = open_store()
    # Another clone that registers in the same store waits here, and is judged against what this one leaves.
    with stage_run("register", params), one_at_a_time(client.tracking_uri, "registry"):
        pipeline, digest, name = pipeline_run(client, params), bundle_digest(BUNDLE), params.register_.model
        test = load_dataset(prepared_folders(params.batches)).split("test")
        version = register(pipeline, BUNDLE, Path("models/final.weights.h5"), name, digest)
        if PREDICTIONS_DIGEST not in version.tags:
            keep_predictions(client, version, pd.read_parquet("models/test_logits.parquet"))
        promotion = decide_promotion(client, version, test, params)
        write_json(REPORTS / "promotion.json", promotion.verdict)
        write_text(REPORTS / "promotion.md", report(promotion.verdict))
        write_csv(REPORTS / "flips.csv", promotion.flips)
        write_csv(REPORTS / "updates.csv", promotion.version_history)
        figures.save(figures.history_figure(promotion.version_history, test.kind), REPORTS / "updates.png")
        log_pipeline(pipeline, params, REPORTS, read_json(BUNDLE / "bundle.json"))
        apply_verdict(client, version, promotion.verdict, REPORTS)
        print(f"{name} version {version.version}: {promotion.verdict['decision']}. {promotion.verdict['reason']}")
        write_json(MARKER, {"model": name, "bundle_sha256": digest})


if __name__ == "__main__":
    run(main)
