"""Write a verdict for people to read: `promotion.md`."""

from typing import Any

from chestxray.findings import RESEARCH_USE_ONLY
from chestxray.inference.status import PATIENTS_UNKNOWN, Status
from chestxray.metrics.table import COMPARED, Metric
from chestxray.registry.registered_version import same_weights

MEANINGS: dict[Status | None, str] = {
    "learned": "learned (a probability and decisions)",
    "insufficient": "insufficient (a score and no decisions)",
    "not learned": "not learned (no number)",
    None: "not among the findings",
}
"""What a version says of a finding; None where it does not have it."""


def report(verdict: dict[str, Any]) -> str:
    """Write `promotion.md` from the content of `promotion.json`."""
    title = f"# Version {verdict['version']}: {verdict['decision']}{same_weights(verdict)}"
    lines = [title, "", verdict["reason"], "", *_changes(verdict)]
    if "mean" in verdict:
        kind = "**synthetic** phantoms, no clinical meaning" if verdict["synthetic"] else "radiographs"
        # Verdicts of older versions name neither patients nor titles.
        kind += "" if verdict.get("patients_known", True) else f", {PATIENTS_UNKNOWN}"
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
                f"| {_name(verdict, name)} | {row['positives']} | {row['standing']} {_cells(row['auroc'])}"
                for name, row in verdict["findings"].items()
            ),
            "",
            *_group_lines(verdict.get("groups", {})),
            "Policy: " + ", ".join(f"{key} {value}" for key, value in verdict["policy"].items()) + ".",
            "",
        ]
    lines += _without_result(verdict)
    return "\n".join([*lines, RESEARCH_USE_ONLY, ""])


def _group_lines(groups: dict[str, Any]) -> list[str]:
    """Tabulate the groups that vote; verdicts of older versions have none."""
    voting = {name: row for name, row in groups.items() if row["standing"] != "does not vote"}
    if not voting:
        return []
    return [
        "A group vetoes where it is shown to be worse by more than the margin (p below the level, by Holm over these).",
        "",
        "| mean AUROC in a group | patients | findings | standing | p | champion | challenger | difference | bounds |",
        "|---|---|---|---|---|---|---|---|---|",
        *(
            f"| {name} | {row['patients']} | {row['findings']} | {row['standing']} | {row['p']:.4f} "
            f"{_cells(row['auroc'])}"
            for name, row in voting.items()
        ),
        "",
    ]


def _name(verdict: dict[str, Any], finding: str) -> str:
    title: str = verdict.get("titles", {}).get(finding, finding.replace("_", " "))
    return title


def _changes(verdict: dict[str, Any]) -> list[str]:
    """Say which findings stand otherwise in the champion, a sentence for each kind of change."""
    if "champion_status" not in verdict:  # nothing to compare, or an older verdict
        return []
    before, after = verdict["champion_status"], verdict["status"]
    changes: dict[tuple[Status | None, Status | None], list[str]] = {}
    for name in (name for name in {**after, **before} if before.get(name) != after.get(name)):
        changes.setdefault((before.get(name), after.get(name)), []).append(_name(verdict, name))
    lines = []
    for (old, new), names in changes.items():
        was, now = ("was", "is") if len(names) == 1 else ("were", "are")
        then = f"{was} {MEANINGS[old]} in champion version {verdict['champion']}"
        lines += [f"{', '.join(names)} {then} and {now} {MEANINGS[new]} in version {verdict['version']}.", ""]
    return lines


def _without_result(verdict: dict[str, Any]) -> list[str]:
    """Name the version's findings that are not learned or insufficient, a paragraph each."""
    status = verdict.get("status", {})
    lines = []
    for kind, meaning in (
        ("insufficient", "These findings have a score and no decisions, since too few patients show them"),
        ("not learned", "These findings are not learned, have no number, and are not compared"),
    ):
        names = [_name(verdict, finding) for finding in status if status[finding] == kind]
        if names:
            lines += [f"{meaning}: {', '.join(names)}.", ""]
    return lines


def _cells(row: dict[str, float | None]) -> str:
    if row["difference"] is None:
        return "| – | – | – | – |"
    bounds = "–" if row["low"] is None else f"{row['low']:+.4f} to {row['high']:+.4f}"
    return f"| {row['champion']:.4f} | {row['challenger']:.4f} | {row['difference']:+.4f} | {bounds} |"


def _title(metric: Metric) -> str:
    return metric.title if metric.higher_is_better else f"{metric.title} (lower is better)"
