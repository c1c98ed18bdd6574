"""Labels and scores: what is refused says what was given, and a finding counts only with both classes."""

import numpy as np
import pytest

from chestxray.labels import check_labels, check_scores, has_both_classes, scorable


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((3, 13)), r"\(3, 13\)"),
        (np.zeros(14), r"\(14,\)"),
        (np.zeros((0, 14)), r"\(0, 14\)"),
        (np.full((3, 14), -1), "-1"),
        (np.full((3, 14), np.nan), "nan"),
        (np.full((3, 14), 0.5), "0.5"),
    ],
)
def test_labels_other_than_0_and_1_in_14_columns_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        check_labels(labels)


def test_a_wrong_score_is_named_by_finding_and_row():
    scores = np.full((4, 14), 0.5)
    scores[2, 7] = np.nan
    with pytest.raises(ValueError, match="got nan for Pneumothorax in row 2"):
        check_scores(scores, "logits")
    scores[2, 7] = 1.5
    with pytest.raises(ValueError, match=r"between 0 and 1, got 1\.5 for Pneumothorax"):
        check_scores(scores, "probabilities", low=0, high=1)
    with pytest.raises(ValueError, match=r"logits must be \(5, 14\).*got \(4, 14\)"):
        check_scores(np.zeros((4, 14)), "logits", images=5)


@pytest.mark.parametrize("kind", [bool, np.int8, np.int64, float])
def test_labels_of_any_type_come_out_as_bool(kind):
    labels = np.eye(14)[:3].astype(kind)
    checked = check_labels(labels, images=3)
    assert checked.dtype == bool
    np.testing.assert_array_equal(checked, labels == 1)


def test_a_finding_is_scorable_with_positives_and_negatives():
    truth = np.zeros((5, 14), bool)
    truth[0, 1:3], truth[:, 3] = True, True
    both = [False, True, True] + [False] * 11
    assert has_both_classes(truth).tolist() == scorable(truth).tolist() == both
    with pytest.raises(ValueError, match="no finding has both positives and negatives in these 5 images"):
        scorable(truth[:, [0, 3] * 7])
