"""Register the bundle, judge it against the champion, complete the MLflow run, and move the alias if it is earned."""

from pathlib import Path

import pandas as pd

from chestxray.datasets.dataset import batch_folders, load_dataset
from chestxray.evaluation import figures
from chestxray.evaluation.evaluate import test_note
from chestxray.evaluation.run_description import describe, describe_version, picture
from chestxray.inference.card import CARD, read_card
from chestxray.params import load_params
from chestxray.registry.promote import apply_verdict, decide_promotion
from chestxray.registry.promotion_report import report
from chestxray.registry.registered_version import FLIPS_FILE, VERDICT_FILE
from chestxray.registry.versions import Registry
from chestxray.system.files import write_csv, write_json, write_text
from chestxray.tracking.mlflow_runs import pipeline_run, stage_run
from chestxray.tracking.pipeline_record import embedded, log_evaluation, log_verdict
from chestxray.tracking.store import open_store, store_lock
from stages import run_stage

BUNDLE = Path("models/bundle")
REPORTS = Path("reports")
MARKER = Path(".mlflow/registered.json")


def main() -> None:
    params = load_params()
    client = open_store()
    # Another clone that registers in the same store waits here, and is judged against what this one leaves.
    with stage_run("register", params), store_lock(client.tracking_uri, "registry"):
        pipeline = pipeline_run(client, params)
        registry = Registry(client, params.register_.model)
        test = load_dataset(batch_folders(params.batches), "test")
        logits = pd.read_parquet("models/test_logits.parquet")
        version = registry.register(pipeline, BUNDLE, Path("models/final.weights.h5"), logits)
        promotion = decide_promotion(registry, version, test, params)
        write_json(REPORTS / VERDICT_FILE, promotion.verdict)
        write_text(REPORTS / "promotion.md", report(promotion.verdict))
        write_csv(REPORTS / FLIPS_FILE, promotion.flips)
        write_csv(REPORTS / "updates.csv", promotion.history)
        figures.save(figures.history_figure(promotion.history, test_note(test)), REPORTS / "updates.png")
        card, verdict = read_card(BUNDLE / CARD), promotion.verdict
        said = describe(card, verdict)
        log_evaluation(pipeline, params, REPORTS, card.model_dump(), said, picture(card))
        log_verdict(pipeline, REPORTS, card.model_dump())
        apply_verdict(registry, version, verdict, REPORTS)
        registry.describe(version, describe_version(card, f"{said}\n\n{embedded(pipeline)}"))
        print(f"{registry.name} version {version.number}: {verdict['decision']}. {verdict['reason']}")
        write_json(MARKER, {"model": registry.name, "bundle_sha256": version.digest})


if __name__ == "__main__":
    run_stage(main)
