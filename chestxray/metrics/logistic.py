"""Fit a logistic regression: the plainest way to ask what numbers say of a yes or no."""

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from chestxray.labels import Booleans, Floats

PENALTY = 1.0
"""Of the squared weights, as scikit-learn's default."""


def fit_logistic(features: Floats, positive: Booleans, penalty: float = PENALTY) -> Floats:
    """Fit a logistic regression with an intercept, which is not penalised.

    Args:
        features: `(n, f)`, standardised.
        positive: `(n,)`, of both kinds.
        penalty: of half the squared weights, against the summed log-loss.

    Returns:
        `(f,)` weights; the intercept ranks nothing, and is left out.
    """
    width = features.shape[1]
    target = positive.astype(float)

    def loss(parameters: Floats) -> tuple[float, Floats]:
        weights, intercept = parameters[:width], parameters[width]
        z = features @ weights + intercept
        wrong = expit(z) - target
        value = float(np.logaddexp(0, z).sum() - z @ target + penalty * (weights @ weights) / 2)
        return value, np.append(features.T @ wrong + penalty * weights, wrong.sum())

    start = np.append(np.zeros(width), np.log(target.mean() / (1 - target.mean())))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return np.asarray(found.x[:width])


def standardise(features: Floats, like: Floats) -> Floats:
    """Shift and scale features to mean 0 and deviation 1 of the rows `like`; what is constant there becomes 0."""
    deviation = np.where(np.ptp(like, axis=0) > 0, like.std(axis=0), 0)  # that of equal numbers may round to more
    return np.where(deviation > 0, (features - like.mean(axis=0)) / np.where(deviation > 0, deviation, 1), 0)


def predict_across_folds(features: Floats, positive: Booleans, fold: Floats) -> Floats:
    """Score each row by a regression fitted on the other folds; 0 where these have only one kind.

    Args:
        features: `(n, f)`.
        positive: `(n,)`.
        fold: `(n,)` of each row; that of all rows of a patient is the same.
    """
    scores = np.zeros(len(features))
    for each in np.unique(fold):
        rest = fold != each
        if 0 < positive[rest].sum() < rest.sum():
            weights = fit_logistic(standardise(features[rest], features[rest]), positive[rest])
            scores[~rest] = standardise(features[~rest], features[rest]) @ weights
    return scores
