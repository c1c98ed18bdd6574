"""Jackknife: whole patients are left out, each once, and what it says of means, rankings and biases is known."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from chestxray.metrics import jackknife as module
from chestxray.metrics.jackknife import GROUPS, check_patients, deletion_weights, jackknife, spread, sums_left
from chestxray.metrics.ranking import auroc, rank_findings, ranking_scores
from tests.chestxray.sample import masks, sample


def weights_of(people):
    return np.concatenate(list(deletion_weights(people)))


def test_every_patient_is_left_out_once_with_all_images():
    people = sample(2)[3]
    weights = weights_of(people)
    assert weights.shape == (len(np.unique(people)), 300)
    for row, patient in zip(weights, np.unique(people), strict=True):
        np.testing.assert_array_equal(row, people != patient)


def test_it_hangs_on_the_patients_alone(monkeypatch):
    people = sample(2)[3]
    whole = weights_of(people)
    order = np.random.default_rng(0).permutation(300)
    np.testing.assert_array_equal(weights_of(people[order]), whole[:, order])
    monkeypatch.setattr(module, "CHUNK", 7 * 300)
    np.testing.assert_array_equal(weights_of(people), whole)
    assert max(map(len, deletion_weights(people))) == 7


def test_of_many_patients_groups_are_left_out(monkeypatch):
    monkeypatch.setattr(module, "GROUPS", 20)
    people = np.arange(100).repeat(2)
    weights = weights_of(people)
    assert weights.shape == (20, 200)
    assert ((weights == 0).sum(axis=0) == 1).all() and ((weights == 0).sum(axis=1) == 10).all()
    np.testing.assert_array_equal(weights[:, ::2], weights[:, 1::2])


def test_the_spread_of_a_mean_is_its_standard_error_without_bias():
    values = np.random.default_rng(0).normal(size=400)
    found = jackknife(lambda w: {"mean": w @ values / w.sum(axis=1)}, np.arange(400))["mean"]
    assert found.value == pytest.approx(values.mean())
    assert found.error == pytest.approx(values.std(ddof=1) / 20)
    assert found.bias == pytest.approx(0, abs=1e-9)
    assert 200 < found.freedom < 399


def test_the_bias_of_the_variance_is_taken_off():
    values = np.random.default_rng(1).normal(size=50)

    def variance(weights):
        mean = weights @ values / weights.sum(axis=1)
        return {"variance": weights @ values**2 / weights.sum(axis=1) - mean**2}

    found = jackknife(variance, np.arange(50))["variance"]
    assert found.value - found.bias == pytest.approx(values.var(ddof=1))


def test_few_patients_on_whom_it_hangs_are_few_degrees_of_freedom():
    alike = np.tile([-1.0, 1.0], 50)
    assert spread(np.array(0.0), alike).freedom == pytest.approx(99)
    few = np.zeros(100)
    few[:6] = alike[:6]
    assert spread(np.array(0.0), few).freedom == pytest.approx(2 / (1 / 6 - 1 / 100))
    nothing = spread(np.array(0.5), np.full(100, 0.5))
    assert (nothing.error, nothing.bias, nothing.freedom) == (0, 0, 99)


def delong(positive, scores):
    """Variances of the two parts of an AUROC (DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988)."""
    kernel = (scores[positive][:, None] > scores[~positive]) + 0.5 * (scores[positive][:, None] == scores[~positive])
    return kernel.mean(1).var(ddof=1) / positive.sum(), kernel.mean(0).var(ddof=1) / (~positive).sum()


def test_with_an_image_a_patient_the_variance_of_an_auroc_is_delongs():
    labels, scores, _, _ = sample(3, n=200)
    rankings = rank_findings(masks(labels), scores)
    found = jackknife(lambda w: {"auroc": ranking_scores(rankings, w)[0]}, np.arange(200))["auroc"]
    for finding, (positive, column) in enumerate(zip(labels.T, scores.T, strict=True)):
        counts = np.array([positive.sum(), (~positive).sum()])
        expected = 199 / 200 * (counts / (counts - 1) * delong(positive, column)).sum()
        assert found.error[finding] ** 2 == pytest.approx(expected, rel=1e-9)
    np.testing.assert_allclose(found.bias, 0, atol=1e-9)
    np.testing.assert_allclose(found.value, auroc(masks(labels), scores))


def test_with_several_images_a_patient_the_variance_of_an_auroc_is_near_obuchowskis():
    """Placements summed by patient (Obuchowski, Biometrics 53, 1997)."""
    labels, scores, _, people = sample(4, n=2000, patients=600, findings=1)
    positive, column = labels[:, 0], scores[:, 0]
    kernel = (column[positive][:, None] > column[~positive]) + 0.5 * (column[positive][:, None] == column[~positive])
    area = kernel.mean()
    parts = []
    for rows, placements in ((positive, kernel.mean(1)), (~positive, kernel.mean(0))):
        ids = np.unique(people[rows])
        parts.append({i: (placements[people[rows] == i] - area).sum() / rows.sum() for i in ids})
    squares = sum(len(part) / (len(part) - 1) * sum(v**2 for v in part.values()) for part in parts)
    everyone = len(np.unique(people))
    both = everyone / (everyone - 1) * sum(parts[0][i] * parts[1][i] for i in parts[0].keys() & parts[1].keys())
    rankings = rank_findings(masks(labels), scores)
    found = jackknife(lambda w: {"auroc": ranking_scores(rankings, w)[0]}, people)["auroc"]
    assert found.error[0] ** 2 == pytest.approx(squares + 2 * both, rel=0.02)


def test_leaving_out_is_scoring_the_others():
    labels, scores, _, people = sample(5, n=80, patients=30)
    rankings = rank_findings(masks(labels), scores)
    area, precision = module.leave_out(
        lambda w: dict(zip(("auroc", "ap"), ranking_scores(rankings, w), strict=True)), people
    )[1].values()
    for row, patient in enumerate(np.unique(people)):
        kept = people != patient
        for finding in range(14):
            truth = labels[kept, finding]
            if 0 < truth.sum() < kept.sum():
                assert area[row, finding] == pytest.approx(roc_auc_score(truth, scores[kept, finding]))
                assert precision[row, finding] == pytest.approx(average_precision_score(truth, scores[kept, finding]))
            else:
                assert np.isnan(area[row, finding])


def test_wrong_patients_are_refused_without_naming_one():
    with pytest.raises(ValueError, match=r"patients must be \(3,\).*got \(2,\)"):
        check_patients(["a", "b"], 3)
    with pytest.raises(ValueError, match="at least 2 patients") as refused:
        check_patients(["Doe^Jane"] * 3, 3)
    assert "Doe" not in str(refused.value)


@pytest.mark.parametrize("ids", [["a", np.nan, "b"], [1.0, np.nan, 2.0], ["a", None, "b"], ["a", 1, "b"]])
def test_ids_that_are_none_or_of_two_kinds_are_refused_and_not_taken_for_one_patient(ids):
    with pytest.raises(ValueError, match=r"patients must be all text or all whole numbers"):
        check_patients(np.array(ids, dtype=object), 3)


@pytest.mark.parametrize("patients", [2, 40, 2 * GROUPS + 1])
def test_sums_without_a_patient_are_those_of_the_samples(patients: int) -> None:
    rng = np.random.default_rng(patients)
    people = np.array([f"p{number}" for number in [*range(patients), *rng.integers(patients, size=100)]])
    values = rng.integers(2, size=(len(people), 3)).astype(float)
    total, without = sums_left(values, people)
    assert np.array_equal(total, values.sum(axis=0))
    assert np.array_equal(without, np.concatenate([weights @ values for weights in deletion_weights(people)]))
