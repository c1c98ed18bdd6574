"""Judge whether a challenger replaces the champion, on the evidence of the same benchmark images.

The mean AUROC over the voting findings decides: non-inferiority within a margin (Piaggio et al., CONSORT for
non-inferiority trials, JAMA 308, 2012), or superiority. Bounds are the estimate plus or minus a Student quantile times
the standard error of the jackknife over patients, both models without the same patient (Efron and Tibshirani, 1993,
chapter 11).

A finding *vetoes* when it is shown to be worse, at the level divided by the number of voting findings (Bonferroni), and
its estimate lies beyond the finding's margin. No veto is no proof of no harm: the report says of which findings
non-inferiority is shown. Why it is so, and what it costs in power: docs/decisions/gate.md.

A *group* of patients or images vetoes when its mean AUROC is shown to be worse by more than the margin, by Holm over
the groups that vote: the challenger may not pay for its mean with the women, or with one site.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

from chestxray.labels import Booleans, Floats, LabelMasks, has_both_classes
from chestxray.metrics.comparison import Comparison, compare
from chestxray.metrics.holm import holm
from chestxray.metrics.jackknife import spread
from chestxray.metrics.ranking import DECIMALS, mean_over_findings
from chestxray.metrics.table import COMPARED, Predictions
from chestxray.params import GateParams
from chestxray.registry.compatibility import shared_findings

POWER = 0.8
Decision = Literal["promote", "keep", "underpowered"]
Standing = Literal["not inferior", "inconclusive", "veto", "does not vote"]


class Difference(NamedTuple):
    """A metric of both models and challenger minus champion, with the one-sided bounds of the policy's level.

    The standard error is known to `freedom` degrees of freedom, at least 1; the bounds go by them.
    """

    champion: float
    challenger: float
    difference: float
    standard_error: float
    low: float
    high: float
    freedom: float


class GroupVerdict(NamedTuple):
    """How a group of the benchmark images stands.

    Attributes:
        images: of it.
        patients: of it.
        findings: that vote in it.
        auroc: of the mean over these; None where none votes.
        p: that a challenger worse by the margin would look as bad, by Holm over the groups that vote; None likewise.
        standing: `veto`, `inconclusive` or `does not vote`.
    """

    images: int
    patients: int
    findings: int
    auroc: Difference | None
    p: float | None
    standing: Standing


@dataclass(frozen=True)
class Verdict:
    """What the gate decides, and on what.

    Attributes:
        decision: `promote`, `keep` or `underpowered`.
        reason: in a sentence.
        policy: by which it was decided.
        min_positives: patients of each class that a finding needs to vote.
        images: of the benchmark.
        patients: of the benchmark.
        means: metric → difference of the mean over voting findings; empty where none votes.
        findings: names of the k findings that were compared.
        differences: metric → k differences, NaN where a finding lacks a class.
        positives: images with each finding.
        standings: of each finding.
        groups: by name, those of the benchmark images.
        detectable: the smallest difference of the mean AUROC that these patients show with 80 % power.
        patients_needed: to show a difference of the margin with 80 % power.
        champion_only: findings that the challenger does not know.
        challenger_only: findings that the champion does not know.
    """

    decision: Decision
    reason: str
    policy: GateParams
    min_positives: int
    images: int
    patients: int
    means: dict[str, Difference]
    findings: tuple[str, ...]
    differences: dict[str, tuple[Difference, ...]]
    positives: tuple[int, ...]
    standings: tuple[Standing, ...]
    groups: dict[str, GroupVerdict]
    detectable: float | None
    patients_needed: int | None
    champion_only: tuple[str, ...] = ()
    challenger_only: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Finite JSON of 6 decimals with the same keys every time; `null` where a number does not exist."""
        findings = {
            name: {
                "positives": self.positives[place],
                "standing": self.standings[place],
                **{metric.name: _finite(self.differences[metric.name][place]) for metric in COMPARED},
            }
            for place, name in enumerate(self.findings)
        }
        nothing = Difference(*[np.nan] * len(Difference._fields))
        return {
            "decision": self.decision,
            "reason": self.reason,
            "images": self.images,
            "patients": self.patients,
            "detectable": None if self.detectable is None else round(self.detectable, DECIMALS),
            "patients_needed": self.patients_needed,
            "policy": self.policy.model_dump(mode="json") | {"min_positives": self.min_positives},
            "mean": {metric.name: _finite(self.means.get(metric.name, nothing)) for metric in COMPARED},
            "findings": findings,
            "groups": {name: _group_row(group, nothing) for name, group in self.groups.items()},
            "not_compared": {"champion": list(self.champion_only), "challenger": list(self.challenger_only)},
        }


def _finite(difference: Difference) -> dict[str, float | None]:
    return {k: round(v, DECIMALS) if np.isfinite(v) else None for k, v in difference._asdict().items()}


def _group_row(group: GroupVerdict, nothing: Difference) -> dict[str, Any]:
    counts = {"images": group.images, "patients": group.patients, "findings": group.findings}
    p = None if group.p is None else round(group.p, DECIMALS)
    return {**counts, "standing": group.standing, "p": p, "auroc": _finite(group.auroc or nothing)}


def _difference(old: Any, new: Any, without: Floats, freedom: int, level: float) -> Difference:
    found = spread(np.asarray(new - old), without)
    error = float(found.error) if freedom > 0 else np.nan
    degrees = max(1.0, min(freedom, float(found.freedom)))
    reach = float(stdtrit(degrees, 1 - level)) * error
    gain = float(new - old)
    return Difference(float(old), float(new), gain, error, gain - reach, gain + reach, degrees)


def _standing(auroc: Difference, voters: int, policy: GateParams) -> Standing:
    strict = float(stdtrit(auroc.freedom, 1 - policy.level / voters)) * auroc.standard_error
    if auroc.difference < -policy.finding_margin and auroc.difference + strict < 0:
        return "veto"
    return "not inferior" if auroc.low > -policy.finding_margin else "inconclusive"


def _decide(
    mean: Difference, vetoes: list[str], detectable: float, needed: int, policy: GateParams
) -> tuple[Decision, str]:
    goal = 0.0 if policy.superiority else -policy.margin
    aim = "better" if policy.superiority else f"not worse by more than {policy.margin:g}"
    found = f"mean AUROC {mean.difference:+.4f}, one-sided bounds {mean.low:+.4f} and {mean.high:+.4f}"
    if vetoes:
        return "keep", f"The challenger is shown to be worse at {', '.join(vetoes)} ({found})."
    if mean.low > goal:
        return "promote", f"The challenger is shown to be {aim} ({found})."
    if mean.high < 0:
        return "keep", f"The challenger is shown to be worse ({found})."
    if detectable <= policy.margin:
        return "keep", f"The challenger is not shown to be {aim}, though these patients could have shown it ({found})."
    return "underpowered", (
        f"Too few patients to tell whether the challenger is {aim} ({found}): the smallest difference that they show "
        f"with 80 % power is {detectable:.4f}; one of {policy.margin:g} needs about {needed} patients."
    )


def reach_verdict(
    comparison: Comparison,
    policy: GateParams,
    min_positives: int,
    groups: Mapping[str, Comparison] | None = None,
) -> Verdict:
    """Judge a comparison by a policy; see `judge`."""
    votes = _votes(comparison, min_positives)
    grouped = _judge_groups(groups or {}, policy, min_positives)
    differences = _differences(comparison, policy.level)
    standings = _standings(differences["auroc"], votes, policy)
    means: dict[str, Difference] = {}
    detectable = needed = None
    decision: Decision = "underpowered"
    reason = f"No finding has {min_positives} patients of each class in the benchmark, so none votes; add patients."
    if votes.any():
        means = _means(comparison, votes, policy.level)
        quantiles = sum(float(stdtrit(means["auroc"].freedom, share)) for share in (1 - policy.level, POWER))
        detectable = quantiles * means["auroc"].standard_error
        needed = max(2, int(np.ceil(comparison.patients * (detectable / policy.margin) ** 2)))
        vetoes = [name for name, standing in zip(comparison.findings, standings, strict=True) if standing == "veto"]
        vetoes += [name for name, group in grouped.items() if group.standing == "veto"]
        decision, reason = _decide(means["auroc"], vetoes, detectable, needed, policy)
    return Verdict(
        decision=decision,
        reason=reason,
        policy=policy,
        min_positives=min_positives,
        images=comparison.images,
        patients=comparison.patients,
        means=means,
        findings=comparison.findings,
        differences=differences,
        positives=tuple(comparison.positives.tolist()),
        standings=standings,
        groups=grouped,
        detectable=detectable,
        patients_needed=needed,
    )


def _votes(comparison: Comparison, min_positives: int) -> Booleans:
    return np.asarray(np.isfinite(comparison.champion["auroc"]) & (comparison.rarer_patients >= min_positives))


def _judge_groups(groups: Mapping[str, Comparison], policy: GateParams, min_positives: int) -> dict[str, GroupVerdict]:
    """Test of each group whether the challenger's mean AUROC is worse by more than the margin."""
    found = {}
    for name, comparison in groups.items():
        votes = _votes(comparison, min_positives)
        auroc = _means(comparison, votes, policy.level)["auroc"] if votes.any() else None
        found[name] = GroupVerdict(
            comparison.images, comparison.patients, int(votes.sum()), auroc, None, "does not vote"
        )
    voting = {name: group.auroc for name, group in found.items() if group.auroc is not None}
    adjusted = holm([_p_worse(auroc, policy) for auroc in voting.values()])
    for name, p in zip(voting, adjusted, strict=True):
        standing: Standing = "veto" if p < policy.level else "inconclusive"
        found[name] = found[name]._replace(p=float(p), standing=standing)
    return found


def _p_worse(auroc: Difference, policy: GateParams) -> float:
    """Return the one-sided p-value of a difference, if in truth it were a loss of the margin."""
    beyond = auroc.difference + policy.margin
    if auroc.standard_error == 0:
        return float(beyond >= 0)
    return float(stdtr(auroc.freedom, beyond / auroc.standard_error))


def _differences(comparison: Comparison, level: float) -> dict[str, tuple[Difference, ...]]:
    """Compute the difference of each metric for each finding."""
    freedom = (comparison.rarer_patients - 1).tolist()
    return {
        metric: tuple(
            _difference(old, new, left_out, degrees, level)
            for old, new, left_out, degrees in zip(
                comparison.champion[metric], comparison.challenger[metric], without.T, freedom, strict=True
            )
        )
        for metric, without in comparison.without.items()
    }


def _means(comparison: Comparison, votes: Booleans, level: float) -> dict[str, Difference]:
    """Compute the difference of each metric's mean over the findings that vote and that both models have it of."""
    means = {}
    for metric, without in comparison.without.items():
        old, new = comparison.champion[metric], comparison.challenger[metric]
        both = votes & np.isfinite(old - new)
        mean_without = mean_over_findings(without[:, both])
        mean_old, mean_new = (mean_over_findings(values[both]) for values in (old, new))
        means[metric] = _difference(mean_old, mean_new, mean_without, comparison.patients - 1, level)
    return means


def _standings(auroc: Sequence[Difference], votes: Booleans, policy: GateParams) -> tuple[Standing, ...]:
    """Say how each finding stands; those that don't vote can't veto."""
    voters = int(votes.sum())
    return tuple(
        _standing(difference, voters, policy) if voter else "does not vote"
        for difference, voter in zip(auroc, votes, strict=True)
    )


def compare_groups(
    labels: LabelMasks,
    champion: Predictions,
    challenger: Predictions,
    patients: npt.ArrayLike,
    groups: Mapping[str, Booleans],
) -> dict[str, Comparison]:
    """Compare two models by AUROC in each group of images that is not all of them, and in which a finding can be."""
    people = np.asarray(patients)
    found = {}
    for name, images in groups.items():
        part = labels.at(images)
        if not images.all() and has_both_classes(part).any() and len(np.unique(people[images])) > 1:
            models = champion.at(images), challenger.at(images)
            found[name] = compare(part, *models, people[images], metrics=COMPARED[:1])
    return found


def judge(
    labels: LabelMasks,
    champion: Predictions,
    challenger: Predictions,
    patients: npt.ArrayLike,
    policy: GateParams,
    min_positives: int,
    groups: Mapping[str, Booleans] | None = None,
) -> Verdict:
    """Decide whether the challenger replaces the champion, on the findings of both that the images label.

    Args:
        labels: of n images; findings that only one model predicts are left out.
        champion: the model in use.
        challenger: on the same images in the same order.
        patients: `(n,)` ids.
        policy: margins and level.
        min_positives: patients of each class in these images that a finding needs to vote, also within a group.
        groups: `(n,)` images of each, by name; they may overlap.

    Raises:
        ValueError: wrong shapes or values, fewer than 2 patients, or no finding with both classes.
    """
    found = shared_findings(champion.findings, challenger.findings)
    common = labels.of([name for name in found.shared if name in labels.findings])
    sampled = compare(common, champion, challenger, patients)
    parts = compare_groups(common, champion, challenger, patients, groups or {})
    verdict = reach_verdict(sampled, policy, min_positives, parts)
    return replace(
        verdict,
        reason=" ".join(filter(None, [verdict.reason, found.sentence()])),
        champion_only=found.champion_only,
        challenger_only=found.challenger_only,
    )
