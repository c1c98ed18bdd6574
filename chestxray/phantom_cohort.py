"""Who the phantom patients are, and what each study of them shows.

Prevalences keep the order of NIH ChestX-ray14 (Wang et al., CVPR 2017), but the rare findings are less rare, so that
a small cohort still has some of each on every side of a split.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chestxray.findings import FINDINGS

PREVALENCE = {
    "Infiltration": 0.150,
    "Effusion": 0.115,
    "Atelectasis": 0.102,
    "Nodule": 0.078,
    "Mass": 0.070,
    "Pneumothorax": 0.064,
    "Consolidation": 0.059,
    "Pleural_Thickening": 0.054,
    "Cardiomegaly": 0.050,
    "Emphysema": 0.046,
    "Edema": 0.042,
    "Fibrosis": 0.038,
    "Pneumonia": 0.034,
    "Hernia": 0.030,
}
"""Share of studies with each finding, most common first."""

ABNORMAL = 0.5
"""Share of studies that may have findings."""

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

PORTABLE = 0.32
PORTABLE_IF_ILL = 0.12
ILL = frozenset({"Edema", "Effusion", "Pneumonia", "Consolidation", "Atelectasis"})
"""Share of AP studies, and how much more often those with acute findings are taken in bed."""


@dataclass(frozen=True)
class Study:
    """One radiograph to be drawn."""

    followup: int
    age: int
    view: str
    findings: tuple[str, ...]


@dataclass(frozen=True)
class Patient:
    """One patient with one to four studies."""

    number: int
    sex: str
    studies: tuple[Study, ...]


def sample_cohort(studies: int, patients: int, seed: int) -> list[Patient]:
    """Draws a cohort.

    Args:
        studies: how many radiographs in all, `patients` to four times `patients`.
        patients: how many patients, numbered from 1.
        seed: of the cohort.

    Returns:
        The patients with their studies, in order.

    Raises:
        ValueError: the studies can't be shared out, one to four to each patient.
    """
    if not 0 < patients <= studies <= 4 * patients:
        raise ValueError(f"{studies} studies of {patients} patients: a patient has 1 to 4 studies")
    rng = np.random.default_rng([seed, 0])
    visits = 1 + np.bincount(rng.choice(3 * patients, studies - patients, replace=False) // 3, minlength=patients)
    owner = np.repeat(np.arange(patients), visits)
    first = np.clip(np.rint(rng.normal(48, 16, patients)), 18, 92).astype(int)
    labels = sample_findings(owner, first[owner], rng)
    sex = rng.choice(["M", "F"], patients, p=[0.56, 0.44])
    odds = PORTABLE + PORTABLE_IF_ILL * labels[:, [name in ILL for name in FINDINGS]].any(axis=1)
    view = np.where(rng.random(studies) < odds, "AP", "PA")
    start = np.cumsum(visits) - visits
    return [
        Patient(
            p + 1,
            str(sex[p]),
            tuple(
                Study(k, int(first[p]) + k // 2, str(view[row]), present(labels[row]))
                for k, row in enumerate(range(start[p], start[p] + visits[p]))
            ),
        )
        for p in range(patients)
    ]


def present(row: NDArray[np.bool_]) -> tuple[str, ...]:
    """The findings of one row of labels."""
    return tuple(name for name, seen in zip(FINDINGS, row, strict=True) if seen)


def sample_findings(owner: NDArray[np.int64], age: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Gives each finding to its share of the studies, the rarest first.

    A study is likelier to get a finding when it has an affine one, when its patient is prone to it, and at some ages.

    Args:
        owner: patient of each study.
        age: in years, of each study's patient.
        rng: of the cohort.

    Returns:
        Studies×14 labels in the order of `FINDINGS`; each column has exactly its share, at least one.
    """
    studies, patients = len(owner), int(owner.max()) + 1
    ill = rng.permutation(patients) < ABNORMAL * patients
    able = np.where(rng.random(studies) < 0.94, ill[owner], ~ill[owner]) * 1.0 + 1e-9
    labels = np.zeros((studies, len(FINDINGS)), dtype=bool)
    for name, share in reversed(PREVALENCE.items()):
        prone = np.exp(rng.normal(0, 1.2, patients))[owner]
        weight = able * prone * np.exp(AGE_TREND.get(name, 0.0) * (age - 48) / 16) * 0.75 ** labels.sum(axis=1)
        for pair, times in AFFINITY.items():
            if name in pair:
                other = pair[pair[0] == name]
                weight = weight * np.where(labels[:, FINDINGS.index(other)], times, 1.0)
        chosen = rng.choice(studies, max(1, round(share * studies)), replace=False, p=weight / weight.sum())
        labels[chosen, FINDINGS.index(name)] = True
    return labels
