"""Random images with truth, scores and decisions, that the tests of ranking, jackknife and metrics share."""

import numpy as np

from chestxray.findings import FINDINGS
from chestxray.labels import LabelMasks, label_masks


def columns(values):
    """One finding's values `(n,)` as those of all 14."""
    return np.repeat(np.asarray(values)[:, None], 14, axis=1)


def names(count):
    """So many findings: those of NIH, then others."""
    return (*FINDINGS, *(f"Sign {place}" for place in range(15, count + 1)))[:count]


def masks(labels) -> LabelMasks:
    """Labels `(n, k)` of the first k findings."""
    return label_masks(labels, names(np.shape(labels)[1]))


def sample(seed, n=300, patients=150, decimals=2, findings=14):
    """Truth, probabilities with ties, decisions, patients."""
    generator = np.random.default_rng(seed)
    labels = generator.random((n, findings)) < np.linspace(0.05, 0.5, findings)
    probabilities = (1 / (1 + np.exp(1 - labels - generator.normal(size=(n, findings))))).round(decimals)
    people = np.array([f"{patient:05d}" for patient in generator.integers(patients, size=n)])
    return labels, probabilities, probabilities > 0.4, people
