"""Explains test studies: overlays, their index, and a contact sheet."""

import shutil
from pathlib import Path

import pandas as pd
from PIL import Image

from chestxray.bundle import Bundle
from chestxray.dataset import load_boxes, load_dataset
from chestxray.explanation import choose_studies, write_overlays
from chestxray.findings import FINDINGS
from chestxray.params import load_params
from chestxray.reports import write_csv
from chestxray.tracking import stage_run

OUT = Path("reports/gradcam")


def main() -> None:
    params = load_params()
    with stage_run("gradcam", params) as run:
        prepared = [Path("data/prepared", batch) for batch in params.batches]
        test = load_dataset(prepared).side("test")
        predictions = pd.read_csv("reports/predictions.csv")
        decisions = predictions[[f"{finding}_decision" for finding in FINDINGS]].to_numpy(bool)
        chosen = choose_studies(decisions, params.gradcam.studies, params.gradcam.seed)
        shutil.rmtree(OUT / "overlays", ignore_errors=True)
        bundle, boxes = Bundle(Path("models/bundle")), load_boxes(prepared)
        index, sheet = write_overlays(bundle, test, chosen, boxes, params.gradcam, OUT / "overlays")
        write_csv(OUT / "index.csv", index)
        Image.fromarray(sheet).save(OUT / "overview.png")
        run.log_metrics({"studies": len(chosen), "overlays": len(index)})


if __name__ == "__main__":
    main()
