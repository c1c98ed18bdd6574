"""Put the figures of a bundle's card into tables of Markdown, each with its interval and n, and miss none."""

import re
from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any

from chestxray.inference.card import CARD, BundleError, Card
from chestxray.inference.decisions import decided
from chestxray.inference.headlines import NONE_THERE, TOO_FEW, Headline, headlines, titles_without
from chestxray.inference.located import Compared, Difference
from chestxray.inference.measured import COUNTS, DECIDED, ENDS, RANKED, SCHEMA, lacking
from chestxray.inference.operating_point import Rate
from chestxray.inference.status import has_number
from chestxray.inference.subgroup import Subgroup

NONE = "–"
GROUPED = {
    "auroc": "AUROC",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "underdiagnosis": "underdiagnosis",
}
"""Measures of groups, and their titles."""
SPECIAL = re.compile(r"([\\`*_\[\]<>$#~|!])")


class ModelCardError(BundleError):
    """A figure that the model card needs is not in `bundle.json`; the message names it."""


def plain(text: str) -> str:
    """Return Markdown of one line that shows a text as it is: a bundle may be a stranger's."""
    return SPECIAL.sub(r"\\\1", " ".join(text.split()))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of Markdown; the cells are Markdown already."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def needed(metrics: Mapping[str, Any], *keys: str) -> Any:
    """Return a metric.

    Raises:
        ModelCardError: it is missing; the message names it.
    """
    value: Any = metrics
    for place, key in enumerate(keys):
        if not isinstance(value, Mapping) or key not in value:
            raise ModelCardError(f"{CARD} has no metrics.{'.'.join(keys[: place + 1])}, which the model card needs")
        value = value[key]
    return value


def figure(value: float, low: float | None, high: float | None, n: int | None = None) -> str:
    """Say a number with its interval, or that there are too few patients for one, and with its n."""
    said = TOO_FEW if low is None or high is None else f"{low:.3f} to {high:.3f}"
    return f"{value:.3f} ({said})" + ("" if n is None else f", n {n}")


def rate(found: Rate | Difference | None) -> str:
    """Say a share of images or a difference of two."""
    return NONE if found is None else figure(found.value, found.low, found.high, found.n)


def headline_table(card: Card) -> str:
    """Tabulate the headlines on the test images and on the benchmark.

    Raises:
        ModelCardError: a metric is missing.
    """
    parts = {"test": needed(card.metrics, "test")} | {
        part: card.metrics[part] for part in ("benchmark",) if part in card.metrics
    }
    for part in parts:
        for key in COUNTS:
            needed(card.metrics, part, key)
    titles = card.headlines or titles_without(parts["test"])
    said = [headlines(found, titles) for found in parts.values()]
    rows = [[plain(title), *(_headline(each[place]) for each in said)] for place, title in enumerate(titles.values())]
    title = "{}: {} images of {} patients, {} of {} scored findings with intervals"
    counts = ("n", "patients", "findings_averaged", "findings_scored")
    return table(["", *(title.format(part, *(found[key] for key in counts)) for part, found in parts.items())], rows)


def _headline(each: Headline) -> str:
    return f"{NONE if each.value is None else f'{each.value:.3f}'} ({each.said})"


def check_measured(card: Card) -> None:
    """Make sure that what the counts say was measured is there, in a card that says of itself that it has it.

    Raises:
        ModelCardError: a figure is missing; the message names it.
    """
    if card.schema_version < SCHEMA:
        return
    numbered, deciding = has_number(card.status), decided(card.thresholds(), card.status)
    findings, with_decision = (tuple(compress(card.findings, mask)) for mask in (numbered, deciding))
    missing = lacking(card.metrics, findings, with_decision, whole=not card.recalibrated)
    if missing is not None:
        raise ModelCardError(f"{CARD} has no metrics.{missing}, which the model card needs")


def finding_table(card: Card) -> str:
    """Tabulate what was measured of each finding on the test images.

    Raises:
        ModelCardError: the counts are missing.
    """
    header = ["finding", *RANKED.values(), *DECIDED.values(), "NPV", "with the finding", "labelled"]
    if not needed(card.metrics, "test", "findings_scored"):
        return "No finding could be scored on the test images."
    test = card.metrics["test"]
    rows = []
    for name, title, status in zip(card.findings, card.titles, card.status, strict=True):
        if status != "not learned":
            cells = [_metric(card, key, name) for key in (*RANKED, *DECIDED)]
            npv = test.get("npv", {}).get(name)
            counts = (str(needed(card.metrics, "test", key, name)) for key in ("positives", "labelled"))
            rows.append([plain(title), *cells, NONE if npv is None else f"{npv:.3f}", *counts])
    return table(header, rows)


def _metric(card: Card, key: str, finding: str) -> str:
    """Say a metric of a finding with its interval; an older card does not say why there is none."""
    test = card.metrics["test"]
    value, low, high = (test.get(f"{key}{end}", {}).get(finding) for end in ("", *ENDS))
    if value is None:
        return NONE
    if card.schema_version < SCHEMA and (low is None or high is None):
        return f"{value:.3f} ({NONE_THERE})"
    return figure(value, low, high)


def batch_table(card: Card) -> str:
    """Tabulate the mean AUROC on the test images of each batch.

    Raises:
        ModelCardError: a count is missing.
    """
    rows = []
    for batch, found in card.metrics.get("batch", {}).items():
        images, patients = (needed(card.metrics, "batch", batch, key) for key in ("n", "patients"))
        said = headlines(found, {"mean_auroc": "mean AUROC"})[0]
        rows.append([plain(batch), str(images), str(patients), f"{said.title}: {_headline(said)}"])
    return table(["batch", "test images", "patients", "on them"], rows) if rows else ""


def point_table(card: Card) -> str:
    """Tabulate every operating point of every finding, with what it is worth on the test images."""
    header = ["operating point", "finding", "threshold", "sensitivity", "specificity", "PPV", "NPV", "why none"]
    rows = []
    for name, points in card.operating_points.items():
        for title, point in zip(card.titles, points, strict=True):
            cells = [f"`{name}`", plain(title)]
            if point.threshold is None:
                rows.append([*cells, *[NONE] * 5, plain(point.lacking) or "no decision"])
                continue
            measured = (rate(each) for each in (point.sensitivity, point.specificity, point.ppv))
            rows.append([*cells, f"{point.threshold:.3f}", *measured, _without_interval(point.npv), ""])
    return table(header, rows)


def _without_interval(found: Rate | None) -> str:
    return NONE if found is None else f"{found.value:.3f}, n {found.n}"


def band_table(card: Card) -> str:
    """Tabulate the uncertain bands, with what of the test images lies in them and on their wrong side."""
    header = ["finding", "from", "to", "error asked", "in the band", "present, but below", "absent, but above"]
    rows = []
    for title, band in zip(card.titles, card.uncertain, strict=False):
        if band is not None:
            ends = (f"{value:.3f}" for value in (band.low, band.high, band.error))
            rows.append([plain(title), *ends, rate(band.inside), rate(band.present_below), rate(band.absent_above)])
    return table(header, rows) if rows else "No finding has a band."


def place_table(card: Card) -> str:
    """Tabulate how well heatmaps find the boxes of test images, beside the mean box of the finding."""
    header = ["finding", "explanation", "measure", "heatmap", "mean box", "gain"]
    rows = []
    for title, explained, located in zip(card.titles, card.explanation, card.localization, strict=False):
        measures: dict[str, Compared] = {}
        if located is not None:
            measures = {"pixel AUROC": located.pixel_auroc, "pointing game": located.pointing_game}
        for measure, found in measures.items():
            cells = (rate(found.map), rate(found.mean_box), rate(found.gain))
            rows.append([plain(title), explained, measure, *cells])
    return table(header, rows) if rows else ""


def gate_table(card: Card) -> str:
    """Tabulate the share that the input gate refuses of good test images and of others."""
    rows = []
    for kind, row in card.input_gate.get("test", {}).items():
        share, low, high = (row.get(key) for key in ("share", "low", "high"))
        if not isinstance(share, int | float):
            raise ModelCardError(f"{CARD} has no input_gate.test.{plain(kind)}.share, which the model card needs")
        rows.append([plain(kind), figure(share, low, high, row.get("n"))])
    return table(["images", "share refused"], rows) if rows else ""


def subgroup_table(card: Card) -> str:
    """Tabulate how the model does on groups of the test images; what too few patients show is said to be hidden."""
    header = ["attribute", "group", "finding", "images", "patients", "with it", *GROUPED.values()]
    header += ["calibration error", "hidden"]
    titles = dict(zip(card.findings, card.titles, strict=True))
    rows = []
    for group in card.subgroups:
        name = plain(titles.get(group.finding, group.finding))
        counts = (str(group.images), str(group.patients), str(group.positives))
        error = NONE if group.calibration_error is None else f"{group.calibration_error:.3f}"
        cells = (_of_group(group, measure) for measure in GROUPED)
        rows.append([group.attribute, plain(group.group), name, *counts, *cells, error, plain(group.suppressed)])
    return table(header, rows) if rows else ""


def _of_group(group: Subgroup, measure: str) -> str:
    """Say a measure of a group, and how likely chance alone is to make its difference to the other groups."""
    value, low, high, p = (getattr(group, f"{measure}{end}") for end in ("", *ENDS, "_p"))
    if value is None:
        return NONE
    return figure(value, low, high) + ("" if p is None else f", p {p:.3f}")
