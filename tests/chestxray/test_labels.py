"""Checks of labels and scores: an error says what was given, and a finding counts only with both classes."""

import numpy as np
import pytest

from chestxray.labels import check_decisions, check_scorable, check_scores, has_both_classes, label_masks


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((3, 13)), r"\(3, 13\)"),
        (np.zeros(14), r"\(14,\)"),
        (np.zeros((0, 14)), r"\(0, 14\)"),
        (np.full((3, 14), 2), "-1, 0 and 1 only, got 42 other values such as .*2"),
        (np.full((3, 14), -2), "-2"),
        (np.full((3, 14), np.nan), "nan"),
        (np.full((3, 14), 0.5), "0.5"),
    ],
)
def test_labels_other_than_1_0_and_unlabelled_in_14_columns_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        label_masks(labels)


def test_a_decision_is_always_one_way_or_the_other():
    with pytest.raises(ValueError, match=r"decisions must hold 0 and 1 only, got 42 .* such as .*-1"):
        check_decisions(np.full((3, 14), -1), "decisions", images=3)


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
def test_labels_and_decisions_of_any_type_come_out_as_bool(kind):
    given = np.eye(14)[:3].astype(kind)
    labels = label_masks(given)
    for result in (check_decisions(given, "decisions", images=3), labels.present, ~labels.absent):
        assert result.dtype == bool
        np.testing.assert_array_equal(result, given == 1)
    assert labels.labelled.all() and len(labels) == 3


def test_an_image_without_a_label_neither_has_nor_lacks_the_finding():
    given = np.tile(np.array([[1], [0], [-1]], np.int8), 14)
    given[:, 5] = -1
    labels = label_masks(given)
    assert labels.labelled.sum(axis=0).tolist() == [2] * 5 + [0] + [2] * 8
    rows, positive = labels.labelled_rows(0)
    assert (rows.tolist(), positive.tolist()) == ([0, 1], [True, False])
    assert has_both_classes(labels).tolist() == [place != 5 for place in range(14)]


def test_a_finding_is_scorable_with_positives_and_negatives():
    labels = np.zeros((5, 14), bool)
    labels[0, 1:3] = True
    labels[:, 3] = True
    both = [False, True, True] + [False] * 11
    assert has_both_classes(label_masks(labels)).tolist() == check_scorable(label_masks(labels)).tolist() == both
    with pytest.raises(ValueError, match="no finding has both positives and negatives in these 5 images"):
        check_scorable(label_masks(labels[:, [0, 3] * 7]))
