"""Explain test studies: overlays, their index, and a figure of examples."""

from pathlib import Path

import pandas as pd

from chestxray.datasets.dataset import batch_folders, load_boxes, load_dataset
from chestxray.evaluation import figures
from chestxray.evaluation.evaluate import test_note
from chestxray.evaluation.examples import choose_examples, draw_examples
from chestxray.evaluation.overlays import choose_studies, write_overlays
from chestxray.inference.bundle import Bundle
from chestxray.labels import label_masks
from chestxray.params import load_params
from chestxray.system.files import atomic_write, write_csv
from chestxray.tracking.mlflow_runs import stage_run
from stages import run_stage

OUT = Path("reports/gradcam")


def main() -> None:
    params = load_params()
    with stage_run("gradcam", params) as run:
        prepared = batch_folders(params.batches)
        test = load_dataset(prepared, "test")
        columns = [f"{finding}_decision" for finding in test.findings]
        predictions = pd.read_csv("reports/predictions.csv", usecols=columns)[columns]
        # An empty cell is neither.
        decisions, negative = (predictions.eq(value).to_numpy() for value in (1, 0))
        chosen = choose_studies(decisions, params.gradcam.studies, params.gradcam.seed)
        bundle = Bundle(Path("models/bundle"))
        boxes = load_boxes(prepared)
        with atomic_write(OUT / "overlays") as folder:
            index = write_overlays(bundle, test, chosen, boxes, params.gradcam, folder)
        write_csv(OUT / "index.csv", index)
        labels = label_masks(test.labels, test.findings)
        examples = choose_examples(labels, decisions, negative, test.patients, params.gradcam.seed)
        pictures = draw_examples(bundle, test, examples, boxes, params.gradcam)
        figures.save(figures.examples_figure(pictures, test_note(test)), OUT / "overview.png")
        run.log_metrics({"gradcam": {"studies": len(chosen), "overlays": len(index)}})


if __name__ == "__main__":
    run_stage(main)
