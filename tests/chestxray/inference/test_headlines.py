"""A number that stands for many says over how many it is, and what is not measured is said too."""

from chestxray.inference.headlines import headlines

TITLES = {"mean_auroc": "mean AUROC", "macro_f1": "macro F1", "micro_f1": "micro F1"}


def said(metrics: dict[str, object], titles: dict[str, str] = TITLES) -> list[str]:
    return [str(each) for each in headlines(metrics, titles)]


def test_a_mean_says_over_how_many_findings_it_is() -> None:
    values = {
        f"{name}{end}": value for name in TITLES for end, value in (("", 0.5), ("_ci_low", 0.4), ("_ci_high", 0.6))
    }
    interval = "0.500 (95 % interval 0.400 to 0.600)"
    assert said(values | {"findings_averaged": 12}) == [
        f"mean AUROC of 12 findings {interval}", f"macro F1 of 12 findings {interval}", f"micro F1 {interval}",
    ]  # fmt: skip
    assert said(values | {"findings_averaged": 1})[0] == f"mean AUROC of 1 finding {interval}"
    assert said(values)[0] == f"mean AUROC {interval}"
    ends = {"auroc_ci_low": dict.fromkeys("abc", 0.1), "f1_ci_low": dict.fromkeys("ab", 0.1)}  # c has no decisions
    assert said(values | {"findings_averaged": 3} | ends)[:2] == [
        f"mean AUROC of 3 findings {interval}", f"macro F1 of 2 findings {interval}",
    ]  # fmt: skip


def test_what_has_no_interval_says_why_and_is_not_left_out() -> None:
    few = {"findings_averaged": 0, "mean_auroc_of_all": 0.8, "micro_f1": 0.7}
    assert said(few) == [
        "mean AUROC of all findings 0.800 (no interval: too few patients)",
        "macro F1 – (not measured: no finding has decisions)",
        "micro F1 0.700 (no interval: too few patients)",
    ]
    one = few | {"auroc": {"Mass": 0.8}}
    assert said(one)[0] == "mean AUROC of 1 finding 0.800 (no interval: too few patients)"
    constant = {"findings_averaged": 2, "mean_auroc": 1.0}
    assert said(constant)[0] == "mean AUROC of 2 findings 1.000 (no interval: this bundle has none)"


def test_an_older_card_shows_what_has_one_interval() -> None:
    metrics = {"n": 3, "mean_auroc": 0.5, "mean_auroc_ci_low": 0.4, "mean_auroc_ci_high": 0.6, "auroc_ci_low": {}}
    assert said(metrics, {}) == ["mean auroc 0.500 (95 % interval 0.400 to 0.600)"]
