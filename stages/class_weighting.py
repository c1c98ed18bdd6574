"""Weigh the findings by their prevalence; check split and benchmark, as the first stage that sees all batches."""

import logging
from pathlib import Path

import pandas as pd

from chestxray.datasets.benchmark import benchmark_batches, benchmark_images, check_benchmark
from chestxray.datasets.dataset import REJECTED, batch_folders, load_dataset
from chestxray.params import load_params
from chestxray.system.files import write_csv, write_json
from chestxray.tracking.mlflow_runs import stage_run
from chestxray.training.class_weights import check_ranked, class_weights, learnable
from stages import run_stage


def main() -> None:
    params = load_params()
    with stage_run("class_weighting", params) as run:
        prepared = batch_folders(params.batches)
        dataset = load_dataset(prepared)
        batches = benchmark_batches(params)
        yardstick = check_benchmark(benchmark_images(dataset, batches), params.evaluate.benchmark_sha256)
        benchmark = {"batches": "+".join(batches), **yardstick}
        write_json(Path("reports/benchmark.json"), {"benchmark_set": benchmark})
        for batch, findings in dataset.unlabelled.items():
            logging.getLogger(__name__).warning("batch %s does not label %s", batch, ", ".join(findings))
        weights = class_weights(
            dataset.labels[dataset.studies["split"] == "train"], dataset.findings, params.class_weighting
        )
        check_ranked(dataset, learnable(weights))
        write_json(Path("reports/class_weights.json"), weights)
        rejected = pd.concat([*(pd.read_csv(each.prepared / REJECTED, dtype=str) for each in prepared), dataset.known])
        write_csv(Path("reports/rejected.csv"), rejected)
        run.log_artifact(Path("reports/class_weights.json"))


if __name__ == "__main__":
    run_stage(main)
