"""The interval of a share is Wilson's."""

import numpy as np
import pytest

from chestxray.metrics.proportion import estimate_share


@pytest.mark.parametrize(("count", "total"), [(0, 20), (1, 20), (10, 20), (20, 20), (3, 1000)])
def test_the_bounds_are_the_shares_from_which_the_count_is_196_standard_errors_away(count: int, total: int) -> None:
    share, low, high = estimate_share(count, total)
    assert share == count / total and low <= share <= high
    for bound in (low, high):
        if 0 < bound < 1:
            assert abs(share - bound) == pytest.approx(1.959964 * np.sqrt(bound * (1 - bound) / total), rel=1e-4)


def test_of_no_case_there_is_no_share() -> None:
    with pytest.raises(ValueError, match="n"):
        estimate_share(0, 0)
