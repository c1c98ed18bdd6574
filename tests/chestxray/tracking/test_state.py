"""The state of the pipeline is another one when anything changes that results depend on, and the same otherwise."""

import shutil
from pathlib import Path

import pytest

from chestxray.batch_layout import BOXES, OLD_TABLE, SYNTHETIC_NOTICE, TABLE, TEST_LIST, UNLABELLED_NOTICE
from chestxray.params import BatchParams
from chestxray.tracking.state import pipeline_state
from tests.chestxray.conftest import PARAMS
from tests.repository import TOP


@pytest.mark.parametrize("name", [TABLE, OLD_TABLE, BOXES, TEST_LIST, SYNTHETIC_NOTICE, UNLABELLED_NOTICE])
def test_what_a_batch_from_outside_says_is_part_of_the_state(name: str, tmp_path: Path) -> None:
    params = PARAMS.model_copy(update={"batches": {"b": BatchParams(root=str(tmp_path))}})
    without = pipeline_state(params)
    (tmp_path / name).write_text("Hernia\n")
    assert pipeline_state(params) != without
    (tmp_path / name).unlink()
    assert pipeline_state(params) == without


def test_params_are_part_of_the_state() -> None:
    other = PARAMS.model_copy(update={"prepare": PARAMS.prepare.model_copy(update={"salt": "another"})})
    assert pipeline_state(other) != pipeline_state(PARAMS)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The code of a repository, in a place where it may be changed."""
    for folder in ("chestxray", "stages"):
        shutil.copytree(TOP / folder, tmp_path / folder)
    shutil.copy(TOP / "dvc.yaml", tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    "file",
    [
        "chestxray/labels.py",
        "chestxray/metrics/ranking.py",
        "chestxray/imaging/dicom/header.py",
        "stages/train.py",
        "dvc.yaml",
    ],
)
def test_code_is_part_of_the_state_however_deep_it_lies(file: str, repository: Path) -> None:
    before = pipeline_state(PARAMS)
    text = (repository / file).read_text()
    (repository / file).write_text(text + "# another line\n")
    assert pipeline_state(PARAMS) != before
    (repository / file).write_text(text)
    assert pipeline_state(PARAMS) == before


def test_what_is_no_code_is_no_part_of_the_state(repository: Path) -> None:
    before = pipeline_state(PARAMS)
    (repository / "chestxray" / "imaging" / "notes.txt").write_text("to do")
    (repository / "README.md").write_text("another")
    assert pipeline_state(PARAMS) == before
