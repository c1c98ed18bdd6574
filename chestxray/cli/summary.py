"""Show what the last run of the pipeline came to."""

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

from chestxray.errors import UserError
from chestxray.findings import RESEARCH_USE_ONLY
from chestxray.inference.bundle import Bundle
from chestxray.inference.card import CARD
from chestxray.inference.headlines import headlines
from chestxray.inference.status import PATIENTS_UNKNOWN, STATUSES

COLUMNS = [
    "finding",
    "status",
    "positives",
    "auroc",
    "auroc_ci_low",
    "auroc_ci_high",
    "average_precision",
    "f1",
    "threshold",
]

WHERE_NEXT = """Where to look next
  reports/                           tables and figures; start with confusion_matrix.png and gradcam/overview.png
  dvc metrics diff, dvc plots show   compare with another commit
  make mlflow                        every run, its params and figures, and the registered model
  params.yaml                        every number you may turn; then dvc repro"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments: none."""


def run(options: argparse.Namespace) -> int:
    """Print the summary."""
    if not Path("models/bundle", CARD).is_file():
        raise UserError("there is no model in models/bundle: run dvc repro, from the top of the repository")
    print(summary(Path("models/bundle"), Path("reports/classification_report.csv")))
    return 0


def summary(bundle: Path, report: Path) -> str:
    """Say the headline metrics with their intervals, the table by finding with its status, and where to look next.

    Args:
        bundle: folder of the bundle.
        report: `classification_report.csv`.
    """
    card = Bundle(bundle).card
    test: dict[str, Any] = card.metrics["test"]
    kind = "SYNTHETIC phantoms, no clinical meaning" if card.synthetic else "radiographs"
    people = f"of {test['patients']} patients" if card.patients_known else f"({PATIENTS_UNKNOWN})"
    lines = [f"Test split: {test['n']} images {people} ({kind}). {RESEARCH_USE_ONLY}", ""]
    for title, value, said in headlines(test, card.headlines):
        lines.append(f"  {title:<40}{'–    ' if value is None else f'{value:.3f}'}   {said}")
    table = pd.read_csv(report)[COLUMNS].set_index("finding").loc[list(card.findings)]
    table.insert(0, "finding", list(card.titles))
    rows = table.to_string(index=False, float_format="{:.3f}".format, na_rep="–")
    counts = ", ".join(f"{card.status.count(status)} {status}" for status in STATUSES if status in card.status)
    return "\n".join([*lines, "", f"Findings: {counts}.", rows, "", WHERE_NEXT])
