"""Describe a model for people: in Markdown what was decided on it and what it came to on what, and in one picture."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from chestxray.evaluation.figures.style import BLUE, DOTS_PER_INCH
from chestxray.findings import RESEARCH_USE_ONLY
from chestxray.inference.card import Card
from chestxray.inference.headlines import headline, titles_without
from chestxray.inference.model_card import card_body, shortened
from chestxray.inference.status import PATIENTS_UNKNOWN, STATUSES

WIDTH = 7.6
"""Of the picture, in inches: it is shown as it is, beside a menu and a panel, on a page of 1366 pixels."""
GAP = "&emsp;"
"""Between columns, which MLflow's page sets side by side without any."""
LONGEST = 5000
"""Characters of the description of a version, the most that MLflow's database takes."""
REST = "The whole model card is model\\_card.md, among the artifacts of the run."
PARTS = {"test": "Test images", "benchmark": "Benchmark"}


def describe(card: Card, verdict: dict[str, Any] | None = None) -> str:
    """Describe a model.

    Args:
        card: of its bundle.
        verdict: content of `promotion.json`; without one, that it was not put to the gate.
    """
    said = "Evaluated, not registered: it was not put to the gate."
    if verdict:
        said = f"Version {verdict['version']}: {verdict['decision']}. {verdict['reason']}"
    counts = ", ".join(f"{card.status.count(status)} {status}" for status in STATUSES if status in card.status)
    batches = card.splits["train"].batches if "train" in card.splits else card.params["batches"]
    facts = f"Trained on {', '.join(batches)} ({_kind(card)}). Findings: {counts}. {RESEARCH_USE_ONLY}"
    return "\n\n".join([said, _table(card), facts])


def describe_version(card: Card, said: str) -> str:
    """Describe a registered version: what is said of it, then its model card, as far as MLflow takes it.

    Args:
        card: of its bundle.
        said: what stands first, in Markdown.
    """
    return f"{said}\n\n{shortened(card_body(card), LONGEST - len(said) - 2, REST)}"


def _table(card: Card) -> str:
    """Tabulate the headlines: a row a metric, a column a part of the test images."""
    parts = {part: card.metrics[part] for part in PARTS if part in card.metrics}
    titles = [f"{PARTS[part]}: {of['n']} of {of['patients']} patients" for part, of in parts.items()]
    rows = [["", *(f"{GAP}{title}" for title in titles)], ["---"] * (1 + len(titles))]
    for metric, title in (card.headlines or titles_without(card.metrics["test"])).items():
        cells = [headline(of, metric, title) for of in parts.values()]
        values = ("–" if cell.value is None else f"{cell.value:.3f}" for cell in cells)
        rows.append([title, *(f"{GAP}{value} ({cell.said})" for value, cell in zip(values, cells, strict=True))])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def picture(card: Card) -> Figure:
    """Draw the AUROC of each finding on the test images, with its 95 % interval; a finding without one has no mark."""
    test = card.metrics["test"]
    value, low, high = (
        np.array([test.get(f"auroc{end}", {}).get(name, np.nan) for name in card.findings], float)
        for end in ("", "_ci_low", "_ci_high")
    )
    figure = Figure(figsize=(WIDTH, 1.1 + 0.25 * len(value)), dpi=DOTS_PER_INCH, layout="constrained")
    said = f"AUROC on {test['n']} test images, 95 % intervals (none: too few patients)"
    figure.suptitle(f"{said}\n{_kind(card)}. {RESEARCH_USE_ONLY}", fontsize=10, parse_math=False)
    axes, places = figure.subplots(), np.arange(len(value))
    errors = np.nan_to_num([np.maximum(value - low, 0), np.maximum(high - value, 0)])
    axes.errorbar(value, places, xerr=errors, fmt="o", markersize=5, capsize=3, color=BLUE)
    axes.set(xlim=(min(0.4, np.nanmin([*low, *value, 0.4])), 1.01), ylim=(len(value) - 0.5, -0.5))
    axes.set_yticks(places, card.titles, fontsize=9, parse_math=False)
    axes.grid(color="#dddddd", linewidth=0.6)
    return figure


def _kind(card: Card) -> str:
    kind = "synthetic phantoms, no clinical meaning" if card.synthetic else "radiographs"
    return kind + ("" if card.patients_known else f"; {PATIENTS_UNKNOWN}")
