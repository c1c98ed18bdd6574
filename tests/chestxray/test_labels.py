"""Checks of labels and scores: an error says what was given, and a finding counts only with both classes."""

import numpy as np
import pytest

from chestxray.findings import FINDINGS, check_findings
from chestxray.labels import check_decisions, check_scorable, check_scores, has_both_classes, label_masks
from tests.chestxray.sample import masks, names

COUNTS = pytest.mark.parametrize("count", [1, 5, 14, 20])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((3, 13)), r"labels must be \(n >= 1, 14\).* got \(3, 13\)"),
        (np.zeros(14), r"\(14,\)"),
        (np.zeros((0, 14)), r"\(0, 14\)"),
        (np.full((3, 14), 2), "-1, 0 and 1 only, got 42 other values such as .*2"),
        (np.full((3, 14), -2), "-2"),
        (np.full((3, 14), np.nan), "nan"),
        (np.full((3, 14), 0.5), "0.5"),
    ],
)
def test_labels_other_than_1_0_and_unlabelled_in_a_column_a_finding_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        label_masks(labels, FINDINGS)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "1 to 200 findings, got 0"),
        ([f"{place}" for place in range(201)], "got 201"),
        (["Mass", "Edema", "Mass"], "finding 3 of 3 has the name of an earlier one"),
        (["Mass", ""], "name of finding 2 of 2 must be 1 to 100 printable characters.* got 0"),
        (["Mass", "x" * 101], "got 101"),
        (["Mass", " Edema"], "without spaces around them"),
        (["Ma\nss"], "printable"),
        (["Mass", "macro"], "finding 2 of 2 is called macro, as a column"),
    ],
)
def test_names_that_no_table_can_have_are_refused_and_not_repeated(given, message):
    for check in (check_findings, lambda findings: label_masks(np.zeros((2, len(findings))), findings)):
        with pytest.raises(ValueError, match=message) as error:
            check(given)
        assert "Ma\nss" not in str(error.value) and "xx" not in str(error.value)


@COUNTS
def test_any_names_of_any_script_stay_in_their_order(count):
    given = [*names(count)[1:], "Lungenödem 肺水腫"]
    assert check_findings(given) == label_masks(np.zeros((2, count)), given).findings == tuple(given)


def test_a_decision_is_always_one_way_or_the_other():
    with pytest.raises(ValueError, match=r"decisions must hold 0 and 1 only, got 42 .* such as .*-1"):
        check_decisions(np.full((3, 14), -1), "decisions", FINDINGS, images=3)


def test_a_wrong_score_is_named_by_finding_and_row():
    scores = np.full((4, 14), 0.5)
    scores[2, 7] = np.nan
    with pytest.raises(ValueError, match="got nan for Pneumothorax in row 2"):
        check_scores(scores, "logits", FINDINGS)
    scores[2, 7] = 1.5
    with pytest.raises(ValueError, match=r"between 0 and 1, got 1\.5 for Pneumothorax"):
        check_scores(scores, "probabilities", FINDINGS, low=0, high=1)
    with pytest.raises(ValueError, match=r"logits must be \(5, 14\).*got \(4, 14\)"):
        check_scores(np.zeros((4, 14)), "logits", FINDINGS, images=5)
    with pytest.raises(ValueError, match=r"got 2\.0 for Tuberculosis in row 0"):
        check_scores([[0.5, 2]], "probabilities", ["Mass", "Tuberculosis"], high=1)


@COUNTS
@pytest.mark.parametrize("kind", [bool, np.int8, np.int64, float])
def test_labels_and_decisions_of_any_type_come_out_as_bool(kind, count):
    given = np.eye(max(count, 3))[:3, :count].astype(kind)
    labels = masks(given)
    for result in (check_decisions(given, "decisions", names(count), images=3), labels.present, ~labels.absent):
        assert result.dtype == bool
        np.testing.assert_array_equal(result, given == 1)
    assert labels.labelled.all() and len(labels) == 3


def test_an_image_without_a_label_neither_has_nor_lacks_the_finding():
    given = np.tile(np.array([[1], [0], [-1]], np.int8), 14)
    given[:, 5] = -1
    labels = masks(given)
    assert labels.labelled.sum(axis=0).tolist() == [2] * 5 + [0] + [2] * 8
    rows, positive = labels.labelled_rows(0)
    assert (rows.tolist(), positive.tolist()) == ([0, 1], [True, False])
    assert has_both_classes(labels).tolist() == [place != 5 for place in range(14)]


def test_some_images_and_some_findings_are_taken_by_name_in_the_order_asked_for():
    given = np.random.default_rng(0).integers(-1, 2, (6, 5))
    labels = label_masks(given, "abcde")
    some = labels.of(["d", "a"]).at(np.arange(6) < 4)
    assert some.findings == ("d", "a")
    np.testing.assert_array_equal(some.present, given[:4, [3, 0]] == 1)
    np.testing.assert_array_equal(some.absent, given[:4, [3, 0]] == 0)
    with pytest.raises(ValueError, match="no finding 'f' among a, b, c, d, e"):
        labels.of(["a", "f"])


def test_a_finding_is_scorable_with_positives_and_negatives():
    labels = np.zeros((5, 14), bool)
    labels[0, 1:3] = True
    labels[:, 3] = True
    both = [False, True, True] + [False] * 11
    assert has_both_classes(masks(labels)).tolist() == check_scorable(masks(labels)).tolist() == both
    with pytest.raises(
        ValueError, match="no finding has both positives and negatives in these 5 images; give images of the other"
    ):
        check_scorable(masks(labels[:, [0, 3] * 7]))
