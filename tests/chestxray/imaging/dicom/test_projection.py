"""The header says whether an image is a frontal chest radiograph, in whatever words hospitals write."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, uid

from chestxray.imaging.decode import decode
from chestxray.imaging.dicom.terms import body_parts, view_position, views
from chestxray.imaging.radiograph import Check
from tests.dicom_files import FULL, RAMP, dicom


def checks_of(**elements: Any) -> dict[str, Check]:
    """The checks of a file, by name."""
    return {check.name: check for check in decode(dicom(RAMP, **FULL, **elements)).checks}


def verdicts(**elements: Any) -> dict[str, str]:
    """The verdicts of a file, by the name of the check."""
    return {name: check.verdict for name, check in checks_of(**elements).items()}


def coded(code: str, meaning: str = "") -> list[Dataset]:
    """A sequence of one code."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "SRT", meaning
    return [item]


CHESTS = (
    "CHEST", "Chest", "THORAX", "Port Chest", "LUNG", "LUNGS", "Lunge", "TORAX", "Tórax", "Torace", "CXR", "HEART",
    "CHEST 2 VIEWS", "CHEST_PA", "PORTABLE CHEST", "UNKNOWN", "", "Poumons",
)  # fmt: skip
OTHERS = (
    "HANDPA", "RHAND", "LEFTKNEE", "Hände", "OS CALCIS", "THORACOLUMBAR",
    "HAND", "LEFT HAND", "Wrist", "HIP", "KNEE", "SKULL", "ABDOMEN", "PELVIS", "FOOT", "CSPINE", "T-SPINE", "L SPINE",
    "THORACIC SPINE", "SHOULDER", "CLAVICLE", "HEAD", "EXTREMITY", "ARM", "FEET", "Fuß", "Schädel", "Hüfte", "Knie re.",
    "GENOU", "Épaule", "MANO", "Rodilla", "GINOCCHIO", "joelho", "Handgelenk", "BWS", "Brustwirbelsäule", "BREAST",
    "LOWER_LIMB", "KUB",
)  # fmt: skip
DOUBTFUL = ("RIBS", "WHOLE BODY", "CHEST_TO_ABDOMEN", "CHESTABDOMEN", "BABYGRAM", "QWERTZ", "SS")


@pytest.mark.parametrize("part", CHESTS)
def test_chests_pass_in_every_spelling(part: str) -> None:
    assert verdicts(BodyPartExamined=part, SpecificCharacterSet="ISO_IR 192") == {}


@pytest.mark.parametrize("part", OTHERS)
def test_other_parts_of_the_body_are_refused(part: str) -> None:
    (check,) = checks_of(BodyPartExamined=part, SpecificCharacterSet="ISO_IR 192").values()
    assert (check.name, check.verdict) == ("body-part", "refused")
    assert "BodyPartExamined" in check.message and "CHEST" in check.message


@pytest.mark.parametrize("part", DOUBTFUL)
def test_what_is_not_known_or_more_than_a_chest_is_warned_of(part: str) -> None:
    assert verdicts(BodyPartExamined=part) == {"body-part": "warned"}


@pytest.mark.parametrize(
    ("code", "meaning", "verdict"),
    [
        ("T-D3000", "", None),
        ("51185008", "", None),
        ("T-D8700", "", "refused"),
        ("72696002", "", "refused"),
        ("T-11300", "", "warned"),
        ("X-1", "Chest", None),
        ("X-1", "Hand", "refused"),
        ("X-1", "", None),
    ],
)
def test_codes_of_a_part_of_the_body_count_like_words(code: str, meaning: str, verdict: str | None) -> None:
    found = verdicts(AnatomicRegionSequence=coded(code, meaning))
    assert found == ({"body-part": verdict} if verdict else {})
    contradicted = verdicts(AnatomicRegionSequence=coded("T-D8700"), BodyPartExamined="CHEST")
    assert contradicted == {"body-part": "warned"}


POSITIONS = {
    "PA": ("PA", "pa", "P-A", "P.A.", "postero-anterior", "POSTEROANTERIOR", "PA_ERECT", "Chest PA", "PA 2"),
    "AP": ("AP", "A-P", "AP SUPINE", "AP portable", "antero-posterior", "AP decubito supino"),
    "LL": ("LL", "LLAT", "L-LAT", "L-L", "Left Lateral", "LAT L", "LT LAT"),
    "RL": ("RL", "RLAT", "right lateral", "R LAT"),
    "LAT": (
        "LATVIEW",
        "LATERALERECT",
        "CHESTLAT",
        "seitl.",
        "LAT",
        "LATERAL",
        "Lateral ",
        "seitlich",
        "PROFIL",
        "perfil",
        "latero-lateral",
        "laterale",
    ),
    "LLD": ("LLD", "left lateral decubitus"),
    "RLD": ("RLD", "R DECUB"),
    "RAO": ("RAO",),
}
VERDICTS = {"PA": None, "AP": None, "LL": "refused", "RL": "refused", "LAT": "refused", "RAO": "refused"}


@pytest.mark.parametrize(("position", "text"), [(name, text) for name, texts in POSITIONS.items() for text in texts])
def test_views_are_known_in_every_spelling(position: str, text: str) -> None:
    radiograph = decode(dicom(RAMP, **FULL, ViewPosition=text))
    verdict = VERDICTS.get(position, "warned")
    assert radiograph.view_position == position
    assert [(check.name, check.verdict) for check in radiograph.checks] == (
        [("view-position", verdict)] if verdict else []
    )


@pytest.mark.parametrize(("text", "verdict"), [("OBLIQUE", "refused"), ("Schräg", "refused"), ("LORDOTIC", "warned")])
def test_other_views_have_no_term(text: str, verdict: str) -> None:
    assert verdicts(ViewPosition=text, SpecificCharacterSet="ISO_IR 192") == {"view-position": verdict}


@pytest.mark.parametrize(
    ("code", "position", "verdict"),
    [
        ("R-10206", "AP", None),
        ("399348003", "AP", None),
        ("R-10214", "PA", None),
        ("272479007", "PA", None),
        ("R-10202", None, None),
        ("R-10236", "LL", "refused"),
        ("R-10232", "RL", "refused"),
        ("R-10228", "LAT", "refused"),
        ("R-10220", None, "refused"),
    ],
)
def test_codes_of_a_view_count_like_words(code: str, position: str | None, verdict: str | None) -> None:
    radiograph = decode(dicom(RAMP, **FULL, ViewCodeSequence=coded(code)))
    assert radiograph.view_position == position
    assert [check.verdict for check in radiograph.checks] == ([verdict] if verdict else [])
    both = verdicts(ViewPosition="PA", ViewCodeSequence=coded(code))
    assert both == ({"view-position": "warned"} if verdict else {})


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        ("LF", lambda shown: shown),
        ("RF", np.fliplr),
        ("LH", np.flipud),
        ("RH", lambda shown: np.rot90(shown, 2)),
        ("FL", np.transpose),
        ("FR", lambda shown: np.rot90(shown, 1)),
        ("HL", lambda shown: np.rot90(shown, -1)),
        ("HR", lambda shown: np.rot90(shown, 2).T),
    ],
)
def test_frontal_images_are_turned_upright(orientation: str, turned) -> None:
    """The file holds an upright image turned the other way; what comes out is upright."""
    radiograph = decode(dicom(np.ascontiguousarray(turned(RAMP)), **FULL, PatientOrientation=list(orientation)))
    assert np.array_equal(radiograph.pixels, RAMP)
    said = [(check.name, check.verdict) for check in radiograph.checks]
    assert said == ([] if orientation == "LF" else [("patient-orientation", "warned")])
    assert radiograph.patient_orientation == "\\".join(orientation)


@pytest.mark.parametrize("orientation", [None, ["L"], ["L", "<script>"], ["", ""]])
def test_an_orientation_that_is_not_told_is_none(orientation: list[str] | None) -> None:
    given = {} if orientation is None else {"PatientOrientation": orientation}
    assert decode(dicom(RAMP, **FULL, **given)).patient_orientation is None


@pytest.mark.parametrize(
    ("orientation", "verdict"),
    [
        (["A", "F"], "refused"),
        (["P", "F"], "refused"),
        (["L", "P"], "refused"),
        (["L", "R"], "warned"),
        (["L"], "warned"),
        (["LE", "CD"], "warned"),
        (["LA", "F"], "warned"),
        (["?", "!"], "warned"),
        (None, None),
    ],
)
def test_what_is_not_frontal_is_said(orientation: list[str] | None, verdict: str | None) -> None:
    found = verdicts(PatientOrientation=orientation)
    assert found == ({"patient-orientation": verdict} if verdict else {})
    if verdict:
        assert verdicts(PatientOrientation=orientation, ViewPosition="PA") == {"patient-orientation": "warned"}


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        ("Chest Lateral", True),
        ("W Chest Lat.", True),
        ("Thorax seitlich", True),
        ("Rx tórax perfil", True),
        ("胸部 側面", True),
        ("胸部 正面", False),
        ("Left hand", True),
        ("Knie re.", True),
        ("Chest PA and lateral", False),
        ("Thorax pa", False),
        ("Chest and ribs", False),
        ("Abteilung 3", False),
        ("bilateral infiltrates", False),
        ("Routine", False),
    ],
)
@pytest.mark.parametrize("name", ["SeriesDescription", "StudyDescription", "ProtocolName"])
def test_what_people_wrote_of_the_series_warns(name: str, text: str, warned: bool) -> None:
    checks = checks_of(**{name: text, "SpecificCharacterSet": "ISO_IR 192"})
    assert {key: check.verdict for key, check in checks.items()} == ({"series-description": "warned"} if warned else {})
    assert all(name in check.message and text not in check.message for check in checks.values())


@pytest.mark.parametrize(
    "elements",
    [{"PresentationIntentType": "FOR PROCESSING"}, {"SOPClassUID": uid.DigitalXRayImageStorageForProcessing}],
    ids=str,
)
def test_images_for_processing_are_warned_of(elements: dict[str, str]) -> None:
    assert verdicts(**elements) == {"presentation-intent": "warned"}


@given(st.text(max_size=60), st.booleans())
def test_any_text_is_understood_or_not(text: str, alone: bool) -> None:
    assert body_parts(text, alone) <= {"chest", "near", "other", "unknown"}
    assert views(text, alone) <= {"frontal", "lateral", "oblique", "decubitus", "unknown"}
    assert (view_position(text) or "PA").isupper()


def test_hostile_text_costs_little() -> None:
    for text in ("L " * 500, "CHEST" * 200, "LATERAL" * 140, "A" * 1000):
        views(text), body_parts(text), view_position(text)
    assert verdicts(SeriesDescription="LATERAL" * 140) == {}
