"""Say the few numbers that stand for a whole evaluation: each with its interval, and over how many findings it is."""

from collections.abc import Mapping
from typing import Any, NamedTuple

NO_DECISIONS = "not measured: no finding has decisions"
TOO_FEW = "no interval: too few patients"
NONE_THERE = "no interval: this bundle has none"
MEANS = ("mean_", "macro_")
"""How the names of means over findings begin; others pool all labels."""


class Headline(NamedTuple):
    """A number for all findings.

    Attributes:
        title: for people, with the findings that a mean is over: "mean AUROC of 12 findings".
        value: None where it was not measured.
        said: its interval, or why there is none.
    """

    title: str
    value: float | None
    said: str

    def __str__(self) -> str:
        """Return it in a line: "mean AUROC of 12 findings 0.903 (95 % interval 0.878 to 0.925)"."""
        return f"{self.title} {'–' if self.value is None else f'{self.value:.3f}'} ({self.said})"


def headline(metrics: Mapping[str, Any], name: str, title: str) -> Headline:
    """Say one number of an evaluation.

    A mean is over the findings that have enough patients; where none has, it is the one over all that can be scored,
    without an interval.

    Args:
        metrics: of some images, as the card of a bundle has them.
        name: of the metric.
        title: of the metric, for people.

    Example:
        >>> str(headline({"mean_auroc_of_all": 0.8, "auroc": {"Mass": 0.8}}, "mean_auroc", "mean AUROC"))
        'mean AUROC of 1 finding 0.800 (no interval: too few patients)'
    """
    if name not in metrics:
        rest, scored = metrics.get(f"{name}_of_all"), metrics.get(name.partition("_")[2])
        over = _over(len(scored)) if scored else " of all findings"
        return Headline(title, None, NO_DECISIONS) if rest is None else Headline(title + over, rest, TOO_FEW)
    count = _averaged(metrics, name)
    over = "" if count is None else _over(count)
    low, high = (metrics.get(f"{name}_ci_{end}") for end in ("low", "high"))
    if low is not None and high is not None:
        said = f"95 % interval {low:.3f} to {high:.3f}"
    else:
        said = NONE_THERE if metrics.get("findings_averaged", 1) else TOO_FEW
    return Headline(title + over, metrics[name], said)


def _over(count: int) -> str:
    return " of 1 finding" if count == 1 else f" of {count} findings"


def _averaged(metrics: Mapping[str, Any], name: str) -> int | None:
    """Return over how many findings a mean is: those with an interval, of F1 only the decided ones; None if unknown."""
    if not name.startswith(MEANS):
        return None
    by_finding = metrics.get(f"{name.partition('_')[2]}_ci_low")
    return len(by_finding) if by_finding else metrics.get("findings_averaged")  # older bundles may have neither


def headlines(metrics: Mapping[str, Any], titles: Mapping[str, str]) -> list[Headline]:
    """Say the numbers that a bundle's card names.

    Args:
        metrics: of its test images.
        titles: `headlines` of the card, by metric; those with an interval in older bundles, which name none.
    """
    return [headline(metrics, name, title) for name, title in (titles or titles_without(metrics)).items()]


def titles_without(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Return title by name of the numbers that an older bundle, which names no headlines, has with an interval."""
    with_interval = [name for name in metrics if isinstance(metrics.get(f"{name}_ci_low"), int | float)]
    return {name: name.replace("_", " ") for name in with_interval}
