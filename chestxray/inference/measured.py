"""Know what a bundle says was measured: of which kind each number is, and which must be there."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

SCHEMA = 2
"""Version of the bundle's card. From 2 on it says so itself, and every figure that the counts allow is in it."""
Path = tuple[str, ...]
"""Of a figure among the metrics."""
COUNTS = ("n", "patients", "findings_scored", "findings_averaged")
COUNTED = ("positives", "labelled")
"""Counts by finding."""
RANKED = {"auroc": "AUROC", "average_precision": "average precision"}
DECIDED = {"f1": "F1", "recall": "sensitivity", "specificity": "specificity", "precision": "PPV"}
"""Metrics by finding with intervals, and their titles."""
CALLED = {"precision": ("recall", "specificity"), "npv": ("specificity", "recall")}
"""What is a share of the images that are called so, and by which rates it shows that some are."""
ENDS = ("_ci_low", "_ci_high")
MEANS = {"mean_auroc": "auroc", "mean_average_precision": "average_precision", "macro_f1": "f1"}
"""Means over the findings with intervals, and what of."""
SHARES = {
    f"{name}{end}" for name in (*RANKED, *DECIDED, *MEANS, "micro_f1") for end in ("", *ENDS)
} | {f"{mean}_of_all" for mean in MEANS} | {"npv", "calibration_error", "calibration_error_before"}  # fmt: skip


def check_kinds(metrics: Mapping[str, Any], headlines: Mapping[str, str]) -> None:
    """Check that what is read of a card's metrics are shares and counts, by the findings where it is by finding.

    Raises:
        ValueError: the message names the metric, if it is known here, and repeats no other text.
    """
    parts = [(part, found) for part, found in metrics.items() if part != "batch"]
    batches = metrics.get("batch", {})
    if not isinstance(batches, dict):
        raise ValueError("metrics.batch must be an object")
    for part, found in [*parts, *(("batch", each) for each in batches.values())]:
        where = part if part in ("test", "benchmark", "batch") else "a part"
        if not isinstance(found, dict):
            raise ValueError(f"metrics: {where} must be an object")
        for name, value in found.items():
            if name in (*COUNTS, *COUNTED):
                _check_values(f"metrics: {where}.{name}", value, name in COUNTED, whole=True)
            elif name in SHARES or name in headlines:
                by_finding = name.removesuffix(ENDS[0]).removesuffix(ENDS[1]) in (*RANKED, *DECIDED, "npv")
                said = name if name in SHARES else "a headline"
                _check_values(f"metrics: {where}.{said}", value, by_finding, whole=False)
            else:
                _check_numbers(where, value)
        if any(isinstance(found.get(name), dict) for name in headlines):
            raise ValueError("headlines must be figures over all findings")


def _check_numbers(where: str, value: Any) -> None:
    for each in value.values() if isinstance(value, dict) else [value]:
        if isinstance(each, bool) or not isinstance(each, int | float):
            raise ValueError(f"metrics: {where} must hold numbers alone")


def _check_values(where: str, value: Any, by_finding: bool, whole: bool) -> None:
    if by_finding and not isinstance(value, dict):
        raise ValueError(f"{where} must be an object by finding")
    kind, wanted = (int, "whole, from 0 on") if whole else (int | float, "between 0 and 1")
    for each in value.values() if by_finding else [value]:
        if not isinstance(each, kind) or isinstance(each, bool) or each < 0 or (each > 1 and not whole):
            raise ValueError(f"{where} must be {'numbers' if by_finding else 'a number'} {wanted}")


def lacking(metrics: Mapping[str, Any], findings: Sequence[str], decided: Sequence[str], whole: bool) -> str | None:
    """Name the first figure that the counts say was measured, and that is not there; None if all are.

    Args:
        metrics: of a card of this version.
        findings: that have a number.
        decided: those of them that have a decision.
        whole: there must be a benchmark, and figures by batch.

    Returns:
        Such as "test.auroc.Mass".
    """
    needed: list[Path] = [("test",), *([("benchmark",), ("batch",)] if whole else [])]
    for part in ("test", "benchmark"):
        needed += [(part, *path) for path in _of_part(metrics.get(part), findings, decided)]
    for batch, found in metrics.get("batch", {}).items():
        needed += [("batch", batch, *path) for path in _of_batch(found)]
    return next((".".join(path) for path in needed if not _has(metrics, path)), None)


def _has(value: Any, path: Path) -> bool:
    for key in path:
        if not isinstance(value, Mapping) or key not in value:
            return False
        value = value[key]
    return True


def _of_batch(found: Mapping[str, Any]) -> Iterator[Path]:
    """Yield what one batch must have: its counts, and mean AUROC as far as they allow."""
    yield from ((name,) for name in COUNTS)
    if found.get("findings_scored"):
        yield ("mean_auroc_of_all",)
    if found.get("findings_averaged"):
        yield from _with_ends("mean_auroc")


def _of_part(found: Mapping[str, Any] | None, findings: Sequence[str], decided: Sequence[str]) -> Iterator[Path]:
    """Yield what a part of the test images must have, by its own counts."""
    if found is None:
        return
    yield from ((name,) for name in COUNTS)
    if not found.get("findings_scored"):
        return
    yield from ((name,) for name in COUNTED)
    yield from ((name, finding) for name in COUNTED for finding in findings)
    positives, labelled = (found.get(name, {}) for name in COUNTED)
    scored = [name for name in findings if 0 < positives.get(name, 0) < labelled.get(name, 0)]
    known = {name for key in RANKED for end in ENDS for name in found.get(f"{key}{end}", ())}
    for keys, names in ((RANKED, scored), ((*DECIDED, "npv"), [name for name in scored if name in decided])):
        for key in keys:
            yield (key,)
            yield from ((key, name) for name in names if key not in CALLED or _called(found, name, *CALLED[key]))
            yield from ((f"{key}{end}",) for end in ENDS if key != "npv")
            if key in RANKED or key in ("f1", "recall", "specificity"):
                yield from ((f"{key}{end}", name) for end in ENDS for name in names if name in known)
    for end, other in (ENDS, ENDS[::-1]):  # a PPV has an interval if enough patients are called positive
        yield from ((f"precision{end}", name) for name in found.get(f"precision{other}", ()))
    if len(known) < found.get("findings_averaged", 0):
        yield f"auroc{ENDS[0]}", "(of a finding)"
    yield from _means(found, [name for name in decided if name in known], [*decided])


def _called(found: Mapping[str, Any], name: str, hits: str, others: str) -> bool:
    """Return whether any image is called so, by the rates of a finding; also where these are missing."""
    return bool(found.get(hits, {}).get(name, 1) > 0 or found.get(others, {}).get(name, 0) < 1)


def _means(found: Mapping[str, Any], averaged: Sequence[str], decided: Sequence[str]) -> Iterator[Path]:
    """Yield the numbers for all findings, of F1 only where some have decisions."""
    yield from ((f"{mean}_of_all",) for mean in ("mean_auroc", "mean_average_precision"))
    if found.get("findings_averaged"):
        yield from (path for mean in ("mean_auroc", "mean_average_precision") for path in _with_ends(mean))
    if any(found.get("labelled", {}).get(name) for name in decided):
        yield from _with_ends("micro_f1") if found.get("findings_averaged") else [("micro_f1",)]
    if averaged:
        yield from (
            *_with_ends("macro_f1"),
            ("macro_f1_of_all",),
            ("calibration_error",),
            ("calibration_error_before",),
        )


def _with_ends(name: str) -> Iterator[Path]:
    yield from ((f"{name}{end}",) for end in ("", *ENDS))
