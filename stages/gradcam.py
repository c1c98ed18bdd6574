"""Explain test studies: overlays, their index, and a contact sheet."""

from pathlib import Path

import pandas as pd
from PIL import Image

from chestxray.datasets.dataset import batch_folders, load_boxes, load_dataset
from chestxray.evaluation.overlays import choose_studies, write_overlays
from chestxray.inference.bundle import Bundle
from chestxray.params import load_params
from chestxray.system.files import atomic_write, write_csv
from chestxray.tracking.mlflow_runs import stage_run
from stages import run_stage

OUT = Path("reports/gradcam")


def main() -> None:
    params = load_params()
    with stage_run("gradcam", params) as run:
        prepared = batch_folders(params.batches)
        test = load_dataset(prepared).split("test")
        predictions = pd.read_csv("reports/predictions.csv")
        columns = [f"{finding}_decision" for finding in test.findings]
        decisions = predictions[columns].eq(1).to_numpy()  # an empty cell is no decision
        chosen = choose_studies(decisions, params.gradcam.studies, params.gradcam.seed)
        bundle = Bundle(Path("models/bundle"))
        boxes = load_boxes(prepared)
        with atomic_write(OUT / "overlays") as folder:
            index, sheet = write_overlays(bundle, test, chosen, boxes, params.gradcam, folder)
        write_csv(OUT / "index.csv", index)
        with atomic_write(OUT / "overview.png") as partial:
            Image.fromarray(sheet).save(partial, "PNG")
        run.log_metrics({"gradcam": {"studies": len(chosen), "overlays": len(index)}})


if __name__ == "__main__":
    run_stage(main)
