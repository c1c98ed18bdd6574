"""Random images with truth, scores and decisions, that the tests of ranking, bootstrap and metrics share."""

import numpy as np

PREVALENCE = np.linspace(0.05, 0.5, 14)


def columns(values):
    """One finding's values `(n,)` as those of all 14."""
    return np.repeat(np.asarray(values)[:, None], 14, axis=1)


def sample(seed, n=300, patients=150, decimals=2):
    """Truth, probabilities with ties, decisions, patients."""
    generator = np.random.default_rng(seed)
    labels = generator.random((n, 14)) < PREVALENCE
    probabilities = (1 / (1 + np.exp(1 - labels - generator.normal(size=(n, 14))))).round(decimals)
    people = np.array([f"{patient:05d}" for patient in generator.integers(patients, size=n)])
    return labels, probabilities, probabilities > 0.4, people
