"""Ages, sexes and views in the words of several data sets; what can't be read is unknown and counted."""

import pandas as pd
import pytest

from chestxray.datasets.tables.demographics import parse_sex, parse_view, read_demographics


@pytest.mark.parametrize(
    ("text", "view"),
    [
        ("PA", "PA"), (" ap ", "AP"), ("AP_horizontal", "AP"), ("POSTEROANTERIOR", "PA"), ("L", "LATERAL"),
        ("LL", "LATERAL"), ("Lateral", "LATERAL"), ("COSTAL", "OTHER"), ("LAO", "OTHER"), ("AP LLD", "OTHER"),
        ("Frontal", None), ("UNK", None), ("", None), ("sideways", None),
    ],
)  # fmt: skip
def test_views(text: str, view: str | None) -> None:
    assert parse_view(text) == view


@pytest.mark.parametrize(("text", "sex"), [("M", "M"), ("female", "F"), ("W", "F"), ("O", None), ("", None)])
def test_sexes(text: str, sex: str | None) -> None:
    assert parse_sex(text) == sex


def test_what_can_not_be_read_is_counted_with_an_example() -> None:
    rows = pd.DataFrame({"age": ["60Y", "4x", "", "400"], "view": ["PA", "up", "Frontal", "UNK"]}, dtype=object)
    typed, notes = read_demographics(rows)
    assert typed["age"].tolist() == [60, pd.NA, pd.NA, pd.NA] and typed["sex"].isna().all()
    assert notes == [
        "age: 2 of 4 can't be read, such as 4x; unknown there",
        "view: 1 of 4 can't be read, such as up; unknown there",
    ]
