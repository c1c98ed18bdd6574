"""Describe a model for people, in Markdown: what was decided on it, and what it came to on what."""

from typing import Any

from chestxray.findings import RESEARCH_USE_ONLY
from chestxray.inference.bundle import Card
from chestxray.inference.headlines import headline
from chestxray.inference.status import PATIENTS_UNKNOWN, STATUSES

PARTS = {"test": "Test images", "benchmark": "Benchmark"}


def describe(card: Card, verdict: dict[str, Any] | None = None) -> str:
    """Describe a model.

    Args:
        card: of its bundle.
        verdict: content of `promotion.json`; without one, that it was not put to the gate.
    """
    said = "Evaluated, not registered: it was not put to the gate."
    if verdict:
        said = f"**Version {verdict['version']}: {verdict['decision']}.** {verdict['reason']}"
    kind = "**synthetic** phantoms, no clinical meaning" if card.synthetic else "radiographs"
    kind += "" if card.patients_known else f"; {PATIENTS_UNKNOWN}"
    counts = ", ".join(f"{card.status.count(status)} {status}" for status in STATUSES if status in card.status)
    facts = f"Trained on {', '.join(card.params['batches'])} ({kind}). Findings: {counts}. {RESEARCH_USE_ONLY}"
    return "\n\n".join([said, _table(card), facts])


def _table(card: Card) -> str:
    """Tabulate the headlines: a row a metric, a column a part of the test images."""
    parts = {part: card.metrics[part] for part in PARTS if part in card.metrics}
    titles = [f"{PARTS[part]}: {of['n']} of {of['patients']} patients" for part, of in parts.items()]
    rows = [["", *titles], ["---"] * (1 + len(titles))]
    for metric, title in card.headlines.items():
        cells = [headline(of, metric, title) for of in parts.values()]
        rows.append([title, *("–" if c.value is None else f"{c.value:.3f} ({c.said})" for c in cells)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
