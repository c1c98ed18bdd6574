"""The labels of NIH ChestX-ray14."""

import pytest

from chestxray.findings import FINDINGS, parse_findings


def test_findings_come_in_the_order_of_the_data_set_each_once() -> None:
    assert parse_findings("Hernia|Atelectasis|Hernia") == ("Atelectasis", "Hernia")
    assert parse_findings("No Finding") == ()
    assert parse_findings("|".join(reversed(FINDINGS))) == FINDINGS


@pytest.mark.parametrize("text", ["", "Gout", "Mass|", "mass", "No Finding|Mass"])
def test_anything_else_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="unknown finding"):
        parse_findings(text)
