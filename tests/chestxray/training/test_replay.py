"""Replay: everything new, and a balanced share of what is old."""

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from chestxray.findings import FINDINGS
from chestxray.training.replay import replay_rows


def studies_of(batches: list[str], positive: list[int]) -> pd.DataFrame:
    """Studies of which those in `positive` have a Hernia."""
    table = pd.DataFrame(0, index=range(len(batches)), columns=list(FINDINGS))
    table.loc[positive, "Hernia"] = 1
    return table.assign(batch=batches)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=60), st.floats(0, 1), st.integers(0, 5))
def test_all_that_is_new_and_a_share_of_what_is_old(batches: list[str], share: float, seed: int) -> None:
    studies = studies_of(batches, [0])
    rows = replay_rows(studies, ["a", "b"], share, seed)
    old = studies["batch"].isin(["a", "b"]).to_numpy()
    assert set(np.flatnonzero(~old)) <= set(rows)
    assert old[rows].sum() == np.ceil(share * old.sum())
    assert (np.diff(rows) > 0).all()
    assert np.array_equal(rows, replay_rows(studies, ["a", "b"], share, seed))


def test_a_cold_start_takes_everything() -> None:
    assert replay_rows(studies_of(["a"] * 5, []), [], 0.0, 0).tolist() == [0, 1, 2, 3, 4]


def test_rare_findings_come_back_more_often() -> None:
    studies = studies_of(["a"] * 400, list(range(20)))
    drawn = [np.isin(replay_rows(studies, ["a"], 0.1, seed), range(20)).mean() for seed in range(50)]
    assert 0.3 < np.mean(drawn) < 0.7  # 5 % of the studies, half of the weight


def test_a_finding_that_all_have_changes_nothing() -> None:
    studies = studies_of(["a"] * 40, list(range(5)))
    more = studies.assign(Tubes=np.int8(1))
    assert np.array_equal(replay_rows(more, ["a"], 0.3, 0), replay_rows(studies, ["a"], 0.3, 0))
