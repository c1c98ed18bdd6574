from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from chestxray.inference.answer import Model, answer
from chestxray.inference.bundle import Bundle
from chestxray.inference.predictions import ModelInfo, Options
from chestxray.scoring.columns import Row, columns_of
from chestxray.scoring.heatmap_files import HeatmapFiles
from chestxray.scoring.inputs import find_inputs
from chestxray.scoring.score import Scorer, score_files
from tests.dicom_files import dicom
from tests.serve.bundles import make_bundle
from tests.serve.files import GREY, PNG


@pytest.fixture(scope="module")
def model(small_bundle: Path) -> Model:
    return opened(small_bundle)


def opened(folder: Path) -> Model:
    bundle = Bundle(folder, threads=1)
    return Model(ModelInfo(name="small", sha256="0" * 64, synthetic=bundle.card.synthetic), bundle)


def rows_of(scorer: Scorer, *paths: object) -> list[dict[str, object]]:
    """Rows as dictionaries."""
    names = [column.name for column in scorer.columns]
    rows: list[Row] = score_files(scorer, find_inputs([str(path) for path in paths]).files)
    return [dict(zip(names, row, strict=True)) for row in rows]


def test_a_row_says_what_the_service_answers(model: Model, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    (row,) = rows_of(Scorer(model), tmp_path / "a.png")
    answered = answer(model, PNG, Options(), 10**6, "")
    for finding in answered.findings:
        assert row[f"{finding.name}:probability"] == finding.probability
        assert row[f"{finding.name}:positive"] == finding.positive
        assert row[f"{finding.name}:status"] == "learned"
    assert (row["quality"], row["error"], row["path"]) == (answered.quality.verdict, None, str(tmp_path / "a.png"))
    assert (row["model_sha256"], row["synthetic"]) == ("0" * 64, True)


def test_what_can_be_used_is_scored_and_everything_else_says_why(model: Model, ward: Path) -> None:
    rows = rows_of(Scorer(model), ward)
    errors = {str(row["path"]).removeprefix(f"{ward}/"): row["error"] for row in rows if row["error"]}
    assert errors == {
        "broken.png": "unreadable-file",
        "circle.png": "unreadable-file",
        "damaged.PNG": "unreadable-image",
        "large.dcm": "file-too-large",
        "lateral.dcm": "not-a-radiograph",
    }
    for row in rows:
        scored = row["error"] is None
        assert (row["Edema:probability"] is not None) == (row["Edema:positive"] is not None) == scored
        assert (row["error_message"] is None) == scored
    (lateral,) = (row for row in rows if row["error"] == "not-a-radiograph")
    assert lateral["quality"] == "refused" and "view-position:refused" in str(lateral["checks"]).split()


@pytest.mark.parametrize("threshold", [None, 0.0])
def test_a_finding_has_what_its_status_allows(ward: Path, tmp_path: Path, threshold: float | None) -> None:
    status = ("not learned", "insufficient", *["learned"] * 12)
    model = opened(make_bundle(tmp_path / "bundle", status=status))
    first, second, third, *_ = model.bundle.card.findings
    scorer = Scorer(model, threshold=threshold, heatmaps=HeatmapFiles(str(tmp_path / "maps"), "run", of_all=True))
    names = [column.name for column in scorer.columns]
    assert names[6] == f"{third}:probability" and names[-4:-2] == [f"{first}:positive", f"{first}:status"]
    assert f"{first}:probability" not in names and f"{second}:probability" not in names
    (row,) = rows_of(scorer, ward / "a b" / "[1]" / "0000.png")
    assert (row[f"{first}:positive"], row[f"{first}:status"]) == (None, "not learned")
    assert isinstance(row[f"{second}:score"], float) and row[f"{second}:status"] == "insufficient"
    assert row[f"{second}:positive"] is (None if threshold is None else True)
    assert row[f"{second}:heatmap"] and f"{first}:heatmap" not in names


@pytest.mark.parametrize("count", [1, 5, 200])
def test_any_number_of_findings_has_columns_that_no_two_share(model: Model, count: int) -> None:
    findings = tuple(["a", "a:status", "a:positive", "path", "error"][:count]) + tuple(map(str, range(count - 5)))
    card = model.bundle.card.model_copy(update={"findings": findings, "status": ("learned",) * count, "uncertain": ()})
    names = [column.name for column in columns_of(card, identifiers=True, heatmaps=True)]
    assert len(names) == len(set(names)) == 12 + 4 * count


def test_a_pipe_is_not_waited_for(model: Model, ward: Path) -> None:
    (row,) = rows_of(Scorer(model), ward / "pipe.png")
    assert row["error"] == "unreadable-file"


def test_options_are_those_of_the_service(model: Model, ward: Path) -> None:
    (row,) = rows_of(Scorer(model, threshold=0.0, accept_anyway=True), ward / "lateral.dcm")
    assert (row["error"], row["quality"]) == (None, "refused")
    assert all(row[f"{name}:positive"] for name in model.bundle.card.findings)


def test_identifiers_are_named_only_when_asked_for(model: Model, ward: Path) -> None:
    file = ward / "CANARY.dcm"
    uids = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.4", "SOPInstanceUID": "1.2.5"}
    file.write_bytes(dicom(GREY, PatientID="CANARY 7", **uids))
    assert not any("CANARY 7" in str(value) for value in rows_of(Scorer(model), file)[0].values())
    named = Scorer(model, identifiers=True)
    rows = rows_of(named, file, ward / "a b")
    columns = ("study_uid", "series_uid", "sop_instance_uid", "patient_id")
    assert [rows[0][name] for name in columns] == ["1.2.3", "1.2.4", "1.2.5", "CANARY 7"]
    assert [rows[1][name] for name in columns] == [None] * 4
    (refused,) = rows_of(named, ward / "lateral.dcm")
    assert refused["error"] and refused["sop_instance_uid"] == "1.2.3"


def test_identifiers_of_real_files_are_those_that_pydicom_reads(model: Model) -> None:
    path = get_testdata_file("RG1_UNCR.dcm", download=False)
    if not path:
        pytest.skip("pydicom-data is not installed")
    read = get_testdata_file("RG1_UNCR.dcm", read=True)
    (row,) = rows_of(Scorer(model, identifiers=True), path)
    named = [row[name] for name in ("study_uid", "series_uid", "sop_instance_uid", "patient_id")]
    assert named == [read.StudyInstanceUID, read.SeriesInstanceUID, read.SOPInstanceUID, read.PatientID]


@pytest.mark.parametrize(
    ("given", "named"),
    [(b"=cmd\n", "=cmd"), (b"M\xfcller", "M\\xfcller"), (b"a\x07b", "a\\x07b"), (b"x" * 600, None), (b"", None)],
)
def test_a_hostile_patient_id_is_escaped_or_left_out(
    model: Model, tmp_path: Path, given: bytes, named: str | None
) -> None:
    marker = b"PATIENT " + bytes(len(given) + len(given) % 2)
    data = dicom(GREY, PatientID=marker.decode("ascii"))
    (tmp_path / "a.dcm").write_bytes(_with_patient(data, marker, given))
    (row,) = rows_of(Scorer(model, identifiers=True), tmp_path / "a.dcm")
    assert row["patient_id"] == named and row["error"] is None


def _with_patient(data: bytes, marker: bytes, given: bytes) -> bytes:
    """The file with another patient id."""
    start = data.index(marker)
    padded = given + b" " * (len(given) % 2)
    length = len(padded).to_bytes(2, "little")
    end = start + int.from_bytes(data[start - 2 : start], "little")
    return data[: start - 2] + length + padded + data[end:]


def test_what_nobody_expected_costs_one_row_and_quotes_nothing(
    model: Model, ward: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error, code in ((KeyError("CANARY"), "internal-error"), (MemoryError("CANARY"), "out-of-resources")):

        def fail(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr("chestxray.scoring.score.predict_file", fail)
        (row,) = rows_of(Scorer(model), ward / "=cmd.png")
        assert row["error"] == code and "CANARY" not in str(row["error_message"])


def test_heatmaps_of_positive_findings_are_files_whose_names_no_two_share(ward: Path, tmp_path: Path) -> None:
    findings = ("../../etc", "a/b", "a:b", "肺炎", "x" * 300, "CON", *(f"finding {n}" for n in range(8)))
    calibration = {name: {"slope": 1.0, "intercept": 0.0} for name in findings}
    folder = make_bundle(tmp_path / "odd")
    model = opened(folder)
    card = model.bundle.card.model_copy(update={"findings": findings, "calibration": calibration})
    model.bundle.card = card
    scorer = Scorer(model, heatmaps=HeatmapFiles(str(tmp_path / "maps"), "run"))
    rows = rows_of(scorer, ward / "a b", ward / "damaged.PNG")
    drawn = [Path(str(path)) for row in rows for name, path in row.items() if name.endswith(":heatmap") and path]
    assert len(drawn) == len(set(drawn)) == sum(row[f"{name}:positive"] is True for row in rows for name in findings)
    assert sorted(drawn) == sorted(path for path in (tmp_path / "maps").rglob("*") if path.is_file())
    assert all(path.parent == tmp_path / "maps/run/000000" and path.name.isascii() for path in drawn)
    for row in rows:
        assert all((row[f"{name}:heatmap"] is not None) == (row[f"{name}:positive"] is True) for name in findings)
    assert Image.open(drawn[0]).size == (round(512 * 100 / 120), 512)
    all_of_them = rows_of(Scorer(model, heatmaps=HeatmapFiles(str(tmp_path / "all"), "run", of_all=True)), ward / "a b")
    assert all(row[f"{name}:heatmap"] for row in all_of_them for name in findings)


def test_a_heatmap_is_the_one_that_the_service_draws(model: Model, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    (row,) = rows_of(Scorer(model, heatmaps=HeatmapFiles(str(tmp_path), "run", of_all=True)), tmp_path / "a.png")
    drawn: list[bytes] = []
    options = Options(heatmaps="link", heatmaps_for="all")

    def keep(pngs: object, _: float) -> object:
        drawn.extend(pngs)  # type: ignore[call-overload] # an object to mypy
        raise InterruptedError

    with pytest.raises(InterruptedError):
        answer(model, PNG, options, 10**6, "", keep)  # type: ignore[arg-type] # it never returns
    files = [Path(str(row[f"{name}:heatmap"])).read_bytes() for name in model.bundle.card.findings]
    assert files == drawn and len(np.unique([len(file) for file in files])) > 1
