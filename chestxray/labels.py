"""Check arrays of labels, decisions and scores, an image a row and a finding a column.

The service checks its arrays here too, therefore this module needs NumPy alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from chestxray.errors import UserError
from chestxray.findings import UNLABELLED, check_findings

Booleans = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Weights = npt.NDArray[np.int32]
"""`(b, n)`, a row a weighting: how much each of n images counts. Leaving one out gives its images 0."""


@dataclass(frozen=True, eq=False)
class LabelMasks:
    """Checked labels of n images and k findings; an image without a label for a finding is ignored for it.

    Attributes:
        findings: names of the k columns.
        present: `(n, k)` which images have the finding.
        absent: `(n, k)` which lack it.
    """

    findings: tuple[str, ...]
    present: Booleans
    absent: Booleans

    def __len__(self) -> int:
        """Return the number of images, labelled or not."""
        return len(self.present)

    @property
    def labelled(self) -> Booleans:
        """`(n, k)` which images have or lack the finding."""
        return self.present | self.absent

    def labelled_rows(self, finding: int) -> tuple[npt.NDArray[np.intp], Booleans]:
        """Return the rows of the m images that label a finding, and which of them have it, both `(m,)`."""
        rows = np.flatnonzero(self.present[:, finding] | self.absent[:, finding])
        return rows, self.present[rows, finding]

    def at(self, images: npt.NDArray[np.bool_]) -> Self:
        """Return the labels of some of the images, `(n,)` bool."""
        return type(self)(self.findings, self.present[images], self.absent[images])

    def hide(self, findings: Sequence[str]) -> Self:
        """Return the labels as if no image labelled these findings."""
        kept = np.array([name not in findings for name in self.findings], bool)
        return type(self)(self.findings, self.present & kept, self.absent & kept)

    def of(self, findings: Sequence[str]) -> Self:
        """Return the labels of some of the findings, in the order given.

        Raises:
            ValueError: one is not among them.
        """
        places = places_of(findings, self.findings)
        return type(self)(tuple(findings), self.present[:, places], self.absent[:, places])


def places_of(findings: Sequence[str], among: Sequence[str]) -> list[int]:
    """Return the column of each finding among those of an array.

    Raises:
        ValueError: one is not among them.
    """
    missing = [finding for finding in findings if finding not in among]
    if missing:
        raise ValueError(f"no finding {missing[0]!r} among {', '.join(among)}")
    return [among.index(finding) for finding in findings]


def _check_shape(array: npt.NDArray[Any], what: str, findings: Sequence[str], images: int | None) -> None:
    if array.ndim != 2 or array.shape[1] != len(findings) or not len(array) or images not in (None, len(array)):
        rows = "n >= 1" if images is None else str(images)
        raise ValueError(
            f"{what} must be ({rows}, {len(findings)}), an image a row, a finding a column; got {array.shape}"
        )


def _check_values(array: npt.NDArray[Any], allowed: tuple[int, ...], what: str) -> None:
    other = array[~np.isin(array, allowed)]
    if other.size:
        listed = f"{', '.join(map(str, allowed[:-1]))} and {allowed[-1]}"
        raise ValueError(f"{what} must hold {listed} only, got {other.size} other values such as {other[0]!r}")


def label_masks(labels: npt.ArrayLike, findings: Sequence[str]) -> LabelMasks:
    """Check the labels of at least one image.

    Args:
        labels: `(n, k)` of 1 (present), 0 (absent) and -1 (not labelled), or bool.
        findings: names of the k columns.

    Returns:
        Which images have, and which lack, each finding.

    Raises:
        ValueError: names that `check_findings` refuses, another shape, no images, or other values; the text says what
            was given.
    """
    names = check_findings(findings)
    array = np.asarray(labels)
    _check_shape(array, "labels", names, None)
    _check_values(array, (UNLABELLED, 0, 1), "labels")
    return LabelMasks(names, array == 1, array == 0)


def check_decisions(decisions: npt.ArrayLike, what: str, findings: Sequence[str], images: int) -> Booleans:
    """Check decisions on images.

    Args:
        decisions: `(images, k)` of 0 and 1 (or bool).
        what: their name in an error.
        findings: names of the k columns.
        images: the n they must have.

    Returns:
        `(n, k)` bool.

    Raises:
        ValueError: another shape or other values; the text says what was given.
    """
    array = np.asarray(decisions)
    _check_shape(array, what, findings, images)
    _check_values(array, (0, 1), what)
    return array.astype(bool)


def check_scores(
    scores: npt.ArrayLike,
    what: str,
    findings: Sequence[str],
    images: int | None = None,
    low: float = -np.inf,
    high: float = np.inf,
) -> Floats:
    """Check logits or probabilities.

    Args:
        scores: `(n, k)`.
        what: their name in an error.
        findings: names of the k columns.
        images: the n they must have; None for any.
        low: the least value allowed.
        high: the greatest value allowed.

    Returns:
        `(n, k)` float64.

    Raises:
        ValueError: another shape, a value that is not finite or lies outside `low..high`; the text names the first.
    """
    array = np.asarray(scores, dtype=np.float64)
    _check_shape(array, what, findings, images)
    wrong = ~(np.isfinite(array) & (array >= low) & (array <= high))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        allowed = "finite" if (low, high) == (-np.inf, np.inf) else f"between {low:g} and {high:g}"
        raise ValueError(f"{what} must be {allowed}, got {array[row, column]} for {findings[column]} in row {row}")
    return array


def counted_once(images: int) -> Weights:
    """Return weights `(1, images)` of 1: the sample as it is, every image counts once."""
    return np.ones((1, images), dtype=np.int32)


def has_both_classes(labels: LabelMasks) -> Booleans:
    """Return which findings can be ranked: `(k,)`, true where some images have it and some lack it."""
    return np.asarray(labels.present.any(axis=0) & labels.absent.any(axis=0))


def patients_by_class(labels: LabelMasks, patients: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Count the patients who have at least one image with a finding, and at least one that is labelled without it.

    Args:
        labels: of n images and k findings.
        patients: `(n,)` ids.

    Returns:
        `(2, k)`: with it, without it; a patient may count in both.

    Example:
        >>> labels = label_masks([[1], [0], [0], [-1]], ["Tuberculosis"])
        >>> patients_by_class(labels, np.array(["a", "a", "b", "c"])).ravel().tolist()
        [1, 2]
    """
    classes = (labels.present, labels.absent)
    return np.array([[len(np.unique(patients[images])) for images in columns.T] for columns in classes], np.intp)


def check_scorable(labels: LabelMasks) -> Booleans:
    """Check that at least one finding has both classes; return which have.

    Raises:
        UserError: no finding has both classes.
    """
    both = has_both_classes(labels)
    if not both.any():
        raise UserError(
            f"no finding has both positives and negatives in these {len(labels)} images; give images of the other class"
        )
    return both
