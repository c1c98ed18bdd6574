"""Names of findings: each spelling means one finding, and what is something else means none."""

import pytest

from chestxray.findings import FINDINGS, NIH_VOCABULARY, SYNONYMS, Vocabulary


def test_the_vocabulary_is_the_14_findings_in_their_order() -> None:
    assert NIH_VOCABULARY.findings == FINDINGS


@pytest.mark.parametrize(
    "change", [str.lower, str.upper, lambda name: name.replace("_", " "), lambda name: f" {name} "]
)
def test_case_spaces_and_underscores_make_no_difference(change) -> None:  # type: ignore[no-untyped-def] # methods of str
    for finding, others in SYNONYMS.items():
        assert {NIH_VOCABULARY.find(change(name)) for name in (finding, *others)} == {finding}


def test_the_composition_of_letters_makes_no_difference() -> None:
    composed, parts = "\u00c9panchement", "E\u0301panchement"
    assert Vocabulary({composed: ()}).find(parts) == composed
    with pytest.raises(ValueError, match="a name of both"):
        Vocabulary({"Effusion": (composed,), "Fluid": (parts,)})


@pytest.mark.parametrize(
    "name",
    [
        "Enlarged Cardiomediastinum", "Lung Opacity", "Lung Lesion", "Nodule/Mass", "Pleural Other", "ILD",
        "subcutaneous emphysema", "pericardial effusion", "pseudonodule", "mediastinal mass", "No Finding", "", "?",
    ],
)  # fmt: skip
def test_what_is_something_else_is_no_finding(name: str) -> None:
    assert NIH_VOCABULARY.find(name) is None


@pytest.mark.parametrize(
    ("name", "finding"),
    [
        ("Pleural Effusion", "Effusion"), ("pleural-thickening", "Pleural_Thickening"), ("Infiltrate", "Infiltration"),
        ("Pulmonary fibrosis", "Fibrosis"), ("hiatal hernia", "Hernia"), ("multiple nodules", "Nodule"),
    ],
)  # fmt: skip
def test_what_the_data_sets_call_them(name: str, finding: str) -> None:
    assert NIH_VOCABULARY.find(name) == finding


def test_a_finding_of_ones_own_and_a_name_of_two() -> None:
    own = Vocabulary({"Tuberculosis": ("TB",), "Effusion": SYNONYMS["Effusion"]})
    assert own.findings == ("Tuberculosis", "Effusion")
    assert [own.find(name) for name in ("tb", "pleural effusion", "Mass")] == ["Tuberculosis", "Effusion", None]
    with pytest.raises(ValueError, match="'Fluid' is a name of both Effusion and Edema"):
        Vocabulary({"Effusion": ("fluid",), "Edema": ("Fluid",)})


@pytest.mark.parametrize("name", ["Normal", "No Finding", "no-findings"])
def test_what_says_that_there_is_no_finding_is_the_name_of_none(name: str) -> None:
    for synonyms in ({name: ()}, {"Mass": (name,)}):
        with pytest.raises(ValueError, match="without findings: take another name"):
            Vocabulary(synonyms)
