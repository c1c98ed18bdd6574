"""Write the tables and figures of an evaluation, whoever trained the model and whosever the images are."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from chestxray.evaluation import figures
from chestxray.evaluation.evaluate import Evaluation
from chestxray.evaluation.localization import Localization
from chestxray.evaluation.metrics_tables import (
    headline_metrics,
    metrics_by_finding,
    metrics_by_part,
    metrics_with_intervals,
)
from chestxray.inference.card import Card
from chestxray.system.files import write_csv, write_json


def write_reports(
    result: Evaluation, located: Localization, shortcuts: pd.DataFrame, card: Card, note: str, folder: Path
) -> None:
    """Write the headlines as JSON, all else as CSV, and the figures as PNG.

    Where no finding has both classes, tables and figures of what needs both are not written.

    Args:
        result: of the test images.
        located: how well its maps find their boxes.
        shortcuts: what its features tell, and what tells findings without the image; see `find_shortcuts`.
        card: of the model, which has the titles of the findings.
        note: what the images are and how it is decided, for the titles of figures.
        folder: to write into.
    """
    write_json(folder / "headlines.json", headline_metrics(result.metrics))
    write_json(folder / "metrics.json", metrics_with_intervals(result.metrics))
    tables: dict[str, pd.DataFrame] = {
        "metrics_by_part": metrics_by_part(result.metrics),
        "operating_points": result.points(),
        "uncertain": result.bands(),
        "localization": located.table,
        "subgroups": result.subgroups,
        "shortcuts": shortcuts,
        "confusion_matrices": result.confusion(),
        "predictions": result.predictions(),
        "curves/abstention": result.risk_coverage,
        "curves/decision": result.net_benefit,
    }
    if scored := bool(result.metrics["test"]["findings_scored"]):
        roc, precision_recall = result.curves()
        tables |= {
            "metrics_by_finding": metrics_by_finding(result.metrics),
            "classification_report": result.report(),
            "curves/roc": roc,
            "curves/precision_recall": precision_recall,
        }
    for name, table in tables.items():
        write_csv(folder / f"{name}.csv", table)
    drawn = _figures(result, tables, card, note)
    if scored:
        drawn |= _figures_of_both_classes(result, tables, card, note)
    for name, figure in drawn.items():
        figures.save(figure, folder / f"{name}.png")


def _figures(result: Evaluation, tables: Mapping[str, pd.DataFrame], card: Card, note: str) -> dict[str, Figure]:
    """Draw the tables of any images, by name."""
    labels, panels, params = result.labels, figures.panels_of(card), card.params["evaluate"]
    confusion = tables["confusion_matrices"]
    return {
        "confusion_matrix": figures.confusion_matrix_figure(confusion, len(labels), panels, note),
        "abstention": figures.abstention_figure(result.risk_coverage, params["uncertain_error"], panels, note),
        "localization": figures.localization_figure(tables["localization"], panels, note),
        "subgroups": figures.subgroups_figure(result.subgroups, params["min_n"], panels, note),
        "reliability": figures.reliability_figure(labels, result.uncalibrated, result.probabilities, panels, note),
    }


def _figures_of_both_classes(
    result: Evaluation, tables: Mapping[str, pd.DataFrame], card: Card, note: str
) -> dict[str, Figure]:
    """Draw the tables of images of which some have a finding and some don't, by name."""
    test, panels = result.metrics["test"], figures.panels_of(card)
    by_finding = tables["metrics_by_finding"]
    roc, precision_recall = tables["curves/roc"], tables["curves/precision_recall"]
    return {
        "findings": figures.findings_figure(by_finding[by_finding["part"] == "test"], panels, note),
        "decision_curves": figures.decision_curves_figure(result.net_benefit, panels, note),
        "roc": figures.roc_figure(roc, test, panels, note),
        "precision_recall": figures.precision_recall_figure(precision_recall, test, panels, note),
    }
