"""Draw the phantom patients: how many studies each has, and which findings each study shows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chestxray.findings import FINDINGS
from chestxray.phantom.site import ACUTE, FIRST_SITE, PORTABLE_IF_ILL, Site

ABNORMAL = 0.5
"""Share of patients who are ill; nearly all findings are theirs."""

AFFINITY = {
    ("Effusion", "Atelectasis"): 3.0,
    ("Effusion", "Cardiomegaly"): 3.0,
    ("Effusion", "Edema"): 4.0,
    ("Effusion", "Consolidation"): 2.0,
    ("Effusion", "Pneumothorax"): 1.5,
    ("Edema", "Cardiomegaly"): 6.0,
    ("Edema", "Infiltration"): 2.5,
    ("Edema", "Emphysema"): 0.2,
    ("Cardiomegaly", "Emphysema"): 0.2,
    ("Pneumonia", "Consolidation"): 4.0,
    ("Pneumonia", "Infiltration"): 2.0,
    ("Consolidation", "Atelectasis"): 1.5,
    ("Atelectasis", "Infiltration"): 1.5,
    ("Mass", "Nodule"): 3.0,
    ("Mass", "Effusion"): 1.5,
    ("Emphysema", "Pneumothorax"): 3.0,
    ("Emphysema", "Fibrosis"): 0.5,
    ("Fibrosis", "Pleural_Thickening"): 3.0,
}
"""How many times likelier one finding is beside another."""

AGE_TREND = {"Hernia": 0.6, "Cardiomegaly": 0.3, "Emphysema": 0.3, "Fibrosis": 0.4, "Edema": 0.2, "Pneumothorax": -0.2}
"""Change of the logarithm of a finding's odds for every 16 years of age."""

RECURRENCE = 5.0
"""How many times likelier a finding is in a patient who had it in an earlier batch."""


@dataclass(frozen=True)
class Study:
    """One radiograph to be drawn.

    Attributes:
        followup: number of the study among the patient's, from 0 on over all batches.
        age: in years.
        view: `PA` or `AP`.
        findings: in the order of `FINDINGS`.
    """

    followup: int
    age: int
    view: str
    findings: tuple[str, ...]


@dataclass(frozen=True)
class Patient:
    """One patient with one to four studies of one batch.

    Attributes:
        number: the id.
        sex: `M` or `F`.
        age: in years, at the first study of all batches; the anatomy is of that age.
        studies: in order, those of earlier batches left out.
    """

    number: int
    sex: str
    age: int
    studies: tuple[Study, ...]


def sample_cohort(studies: int, patients: int, seed: int) -> list[Patient]:
    """Draw the cohort of the first batch.

    Args:
        studies: how many radiographs in all, `patients` to four times `patients`.
        patients: how many patients, numbered from 1.
        seed: of the cohort.

    Returns:
        The patients with their studies, in order.

    Raises:
        ValueError: the studies can't be shared out, one to four to each patient.
    """
    return sample_patients(studies, range(1, patients + 1), (), FIRST_SITE, np.random.default_rng([seed, 0]))


def sample_update(
    known: list[Patient], studies: int, patients: int, returning: int, site: Site, seed: int
) -> list[Patient]:
    """Draw the cohort of a later batch from another site.

    Args:
        known: the patients of the first batch.
        studies: how many radiographs in all, `patients` to four times `patients`.
        patients: how many patients; the new ones are numbered from the last known one on.
        returning: how many of them are known.
        site: where they are seen.
        seed: of the first batch.

    Returns:
        The patients with their studies of this batch, in order of their numbers; follow-ups of a known patient go on
        where the first batch ended.

    Raises:
        ValueError: the studies can't be shared out, or more are to return than there are.
    """
    if not 0 <= returning <= min(patients, len(known)):
        raise ValueError(f"{returning} returning of {patients} patients and {len(known)} known ones")
    rng = np.random.default_rng([seed, 0, 1])
    back = [known[index] for index in sorted(rng.choice(len(known), returning, replace=False))]
    new = range(len(known) + 1, len(known) + 1 + patients - returning)
    return sample_patients(studies, [*(patient.number for patient in back), *new], back, site, rng)


def sample_patients(
    studies: int, numbers: Sequence[int], back: Sequence[Patient], site: Site, rng: np.random.Generator
) -> list[Patient]:
    """Draw who has how many studies, and what they show.

    Args:
        studies: how many radiographs in all.
        numbers: of the patients.
        back: the first of them, as an earlier batch has them.
        site: where they are seen.
        rng: of the cohort.
    """
    patients = len(numbers)
    known = len(back)
    if not 0 < patients <= studies <= 4 * patients:
        raise ValueError(f"{studies} studies of {patients} patients: a patient has 1 to 4 studies")
    visits = 1 + np.bincount(rng.choice(3 * patients, studies - patients, replace=False) // 3, minlength=patients)
    owner = np.repeat(np.arange(patients), visits)
    age = np.clip(np.rint(rng.normal(48, 16, patients)), 18, 92).astype(int)
    age[:known] = [patient.age for patient in back]
    labels = sample_findings(owner, age[owner], earlier_findings(back, patients), site, rng)
    sex = rng.choice(["M", "F"], patients, p=[0.56, 0.44])
    sex[:known] = [patient.sex for patient in back]
    odds = site.portable + PORTABLE_IF_ILL * labels[:, [name in ACUTE for name in FINDINGS]].any(axis=1)
    view = np.where(rng.random(studies) < odds, "AP", "PA")
    start = np.cumsum(visits) - visits
    earlier = [*(patient.studies[-1].followup + 1 for patient in back), *[0] * (patients - known)]
    return [
        Patient(
            numbers[p],
            str(sex[p]),
            int(age[p]),
            tuple(
                Study(k, int(age[p]) + k // 2, str(view[row]), finding_names(labels[row]))
                for k, row in enumerate(range(start[p], start[p] + visits[p]), earlier[p])
            ),
        )
        for p in range(patients)
    ]


def earlier_findings(back: Sequence[Patient], patients: int) -> NDArray[np.bool_]:
    """Return which findings earlier batches have of each patient, `(patients, 14)`; the first `back` ones are known."""
    had = np.zeros((patients, len(FINDINGS)), dtype=bool)
    for p, patient in enumerate(back):
        had[p] = [any(name in study.findings for study in patient.studies) for name in FINDINGS]
    return had


def finding_names(row: NDArray[np.bool_]) -> tuple[str, ...]:
    """Return the findings that one row of labels `(14,)` has."""
    return tuple(name for name, present in zip(FINDINGS, row, strict=True) if present)


def sample_findings(
    owner: NDArray[np.int64], age: NDArray[np.int64], had: NDArray[np.bool_], site: Site, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Give each finding to its share of the studies, the rarest first.

    A study is likelier to get a finding when it has an affine one, when its patient is prone to it or had it before,
    and at some ages.

    Args:
        owner: `(studies,)` patient of each study.
        age: `(studies,)` in years, of each study's patient.
        had: `(patients, 14)` the findings of earlier batches.
        site: with the shares.
        rng: of the cohort.

    Returns:
        `(studies, 14)` labels in the order of `FINDINGS`; each column has exactly its share, at least one.
    """
    studies = len(owner)
    patients = int(owner.max()) + 1
    ill = rng.permutation(patients) < ABNORMAL * patients
    able = np.where(rng.random(studies) < 0.94, ill[owner], ~ill[owner]) * 1.0 + 1e-9
    labels = np.zeros((studies, len(FINDINGS)), dtype=bool)
    for name, share in reversed(list(site.prevalence.items())):
        prone = np.exp(rng.normal(0, 1.2, patients))[owner]
        prone = prone * np.where(had[owner, FINDINGS.index(name)], RECURRENCE, 1.0)
        weight = able * prone * np.exp(AGE_TREND.get(name, 0.0) * (age - 48) / 16) * 0.75 ** labels.sum(axis=1)
        for pair, times in AFFINITY.items():
            if name in pair:
                other = pair[pair[0] == name]
                weight = weight * np.where(labels[:, FINDINGS.index(other)], times, 1.0)
        chosen = rng.choice(studies, max(1, round(share * studies)), replace=False, p=weight / weight.sum())
        labels[chosen, FINDINGS.index(name)] = True
    return labels
