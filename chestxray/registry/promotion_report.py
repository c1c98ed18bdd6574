"""Write a verdict for people to read: `promotion.md`."""

from typing import Any

from chestxray.findings import RESEARCH_USE_ONLY
from chestxray.metrics.table import COMPARED, Metric


def report(verdict: dict[str, Any]) -> str:
    """Write `promotion.md` from the content of `promotion.json`."""
    lines = [f"# Version {verdict['version']}: {verdict['decision']}", "", verdict["reason"], ""]
    if "mean" in verdict:
        kind = "**synthetic** phantoms, no clinical meaning" if verdict["synthetic"] else "radiographs"
        lines += [
            f"Challenger version {verdict['version']} against champion version {verdict['champion']}, on the same "
            f"{verdict['images']} benchmark images of {verdict['patients']} patients ({kind}). Differences are "
            "challenger minus champion; bounds are one-sided at the policy's level, by jackknife over patients.",
            "",
            "| mean over voting findings | champion | challenger | difference | bounds |",
            "|---|---|---|---|---|",
            *(f"| {_title(metric)} {_cells(verdict['mean'][metric.name])}" for metric in COMPARED),
            "",
            "| AUROC | positives | standing | champion | challenger | difference | bounds |",
            "|---|---|---|---|---|---|---|",
            *(
                f"| {name.replace('_', ' ')} | {row['positives']} | {row['standing']} {_cells(row['auroc'])}"
                for name, row in verdict["findings"].items()
            ),
            "",
            "Policy: " + ", ".join(f"{key} {value}" for key, value in verdict["policy"].items()) + ".",
            "",
        ]
    return "\n".join([*lines, RESEARCH_USE_ONLY, ""])


def _cells(row: dict[str, float | None]) -> str:
    if row["difference"] is None:
        return "| – | – | – | – |"
    bounds = "–" if row["low"] is None else f"{row['low']:+.4f} to {row['high']:+.4f}"
    return f"| {row['champion']:.4f} | {row['challenger']:.4f} | {row['difference']:+.4f} | {bounds} |"


def _title(metric: Metric) -> str:
    return metric.title if metric.higher_is_better else f"{metric.title} (lower is better)"
