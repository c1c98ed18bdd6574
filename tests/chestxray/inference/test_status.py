"""The status of a finding follows from the patients of each class alone, and from nothing else."""

import itertools
import json
from pathlib import Path

import pytest

from chestxray.inference.bundle import Bundle
from chestxray.inference.card import CARD, BundleError
from chestxray.inference.status import ClassPatients, Evidence, finding_status, has_decision, has_number

COUNTS = (0, 1, 9, 10, 11, 500)


def test_the_status_has_a_closed_form() -> None:
    for counts in itertools.product(COUNTS, repeat=4):
        train, validation = (ClassPatients(present=a, absent=b) for a, b in (counts[:2], counts[2:]))
        if 0 in counts[:2]:
            expected = "not learned"
        elif any(count < 10 for count in counts):
            expected = "insufficient"
        else:
            expected = "learned"
        assert finding_status(Evidence(train=train, validation=validation), 10) == expected, counts


def test_more_patients_never_lower_the_status_and_a_higher_demand_never_raises_it() -> None:
    ranks = {"not learned": 0, "insufficient": 1, "learned": 2}

    def rank(counts: tuple[int, ...], demand: int) -> int:
        train, validation = (ClassPatients(present=a, absent=b) for a, b in (counts[:2], counts[2:]))
        return ranks[finding_status(Evidence(train=train, validation=validation), demand)]

    for counts in itertools.product((0, 1, 2, 3), repeat=4):
        for place in range(4):
            more = tuple(count + (each == place) for each, count in enumerate(counts))
            assert rank(more, 3) >= rank(counts, 3)
        assert rank(counts, 4) <= rank(counts, 3) <= rank(counts, 2)


def test_what_is_not_learned_has_no_number_and_no_decision_even_if_asked() -> None:
    status = ("learned", "insufficient", "not learned")
    assert has_number(status).tolist() == [True, True, False]
    assert has_decision(status).tolist() == [True, False, False]
    assert has_decision(status, asked=True).tolist() == [True, True, False]


@pytest.fixture
def card(bundle_folder: Path, tmp_path: Path) -> dict[str, object]:
    for file in bundle_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    content: dict[str, object] = json.loads((tmp_path / CARD).read_bytes())
    return content


def test_an_older_bundle_has_its_names_for_titles_and_all_learned(card: dict[str, object], tmp_path: Path) -> None:
    for name in ("titles", "status", "evidence", "patients_known"):
        del card[name]
    (tmp_path / CARD).write_text(json.dumps(card))
    old = Bundle(tmp_path).card
    assert old.titles[-2:] == ("Pleural Thickening", "Hernia")
    assert set(old.status) == {"learned"} and old.evidence == () and old.patients_known


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", ["learned"] * 13),
        ("status", ["learned"] * 13 + ["guessed"]),
        ("status", "learned"),
        ("titles", ["a"] * 15),
        ("titles", ["a"] * 13 + [""]),
        ("titles", ["a"] * 13 + ["two\nlines"]),
        ("titles", ["a"] * 13 + ["x" * 101]),
        ("titles", ["a"] * 13 + ["  "]),
        ("evidence", [{"train": {"present": 1, "absent": 1}}] * 14),
        ("evidence", [{s: {"present": -1, "absent": 1} for s in ("train", "validation")}] * 14),
        ("evidence", [{s: {"present": 1, "absent": 1} for s in ("train", "validation")}] * 3),
        ("patients_known", "perhaps"),
    ],
)
def test_a_card_says_the_status_of_every_finding_or_is_refused(
    name: str, value: object, card: dict[str, object], tmp_path: Path
) -> None:
    (tmp_path / CARD).write_text(json.dumps(card | {name: value}))
    with pytest.raises(BundleError, match=f"{CARD}.*{name}"):
        Bundle(tmp_path)
