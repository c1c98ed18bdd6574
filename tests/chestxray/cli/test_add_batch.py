"""Adding a batch: what it brings is said and listed; what would do harm changes nothing."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient

from chestxray.batch_layout import SYNTHETIC_NOTICE, TABLE, UNLABELLED_NOTICE
from chestxray.cli.main import main
from chestxray.cli.params_edit import apply_edits
from chestxray.datasets.arrival import examine
from chestxray.datasets.dataset import BatchFolders
from chestxray.datasets.split import patient_split
from chestxray.findings import FINDINGS
from chestxray.params import ParamsError, load_params
from chestxray.system.sole_writer import sole_writer
from tests.nih_batch import noise, plain_batch, png, write_batch
from tests.prepared_batch import prepare
from tests.repository import TOP

SHIPPED = (TOP / "params.yaml").read_text()
ADDED = SHIPPED.replace("NIH: {root: data/raw/nih}\n", "NIH: {root: data/raw/nih}\n  b2:\n    root: new\n")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one prepared batch of patients 1 to 12, and a folder `new` with patient 1 again and 101."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    (tmp_path / "params.yaml").write_text(SHIPPED)
    prepare(plain_batch(Path("data/raw/phantom")), BatchFolders("phantom"), load_params().prepare)
    rows = [("00000001_001.png", "Mass|Hernia", 1), ("00000101_000.png", "No Finding", 101)]
    write_batch(Path("new"), rows, {name: png(noise(90 + place)) for place, (name, _, _) in enumerate(rows)})
    return tmp_path


@pytest.fixture
def store(here: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """URI of an MLflow store without a model."""
    uri = f"sqlite:///{shutil.copy(empty_store, here / 'store.db')}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return uri


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    before = Path("params.yaml").read_bytes()
    assert main(["add-batch", *arguments]) == 1
    assert Path("params.yaml").read_bytes() == before
    assert not list(Path().glob(".params*"))
    return capsys.readouterr().err


def add_to_table(root: Path, name: str, patient: int, data: bytes) -> None:
    (root / "images" / name).write_bytes(data)
    with (root / TABLE).open("a") as table:
        table.write(f"{name},Mass,0,{patient},57,M,PA,2500,2048,0.168,0.168\n")


def counts(said: str) -> dict[str, tuple[str, ...]]:
    """What is said to be present, absent and unknown of each finding."""
    lines = [line.split() for line in said.splitlines()]
    return {words[0]: tuple(words[1:]) for words in lines if words[0] in FINDINGS}


def test_what_it_brings_is_said_and_only_its_lines_are_added(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["add-batch", "b2", "new"])
    said = capsys.readouterr().out
    assert "studies   2 new" in said and "patients  2, 1 of them known" in said
    assert "read as: NIH ChestX-ray14" in said and "rejected  0" in said
    assert counts(said)["Hernia"] == counts(said)["Mass"] == ("1", "1", "0")
    splits = [patient_split(patient, load_params().prepare, None) for patient in ("1", "101")]
    for split in ("train", "validation", "test"):
        assert f"{splits.count(split)} {split}" in said
    assert Path("params.yaml").read_text() == ADDED
    assert list(load_params().batches) == ["phantom", "b2"]


def test_findings_that_it_does_not_label_are_said_and_not_counted(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("new", UNLABELLED_NOTICE).write_text("Nodule\nEdema\n")
    main(["add-batch", "b2", "new"])
    said = capsys.readouterr().out
    assert counts(said)["Nodule"] == counts(said)["Edema"] == ("0", "0", "2")
    assert counts(said)["Hernia"] == ("1", "1", "0")


def test_a_notice_that_its_table_contradicts_or_that_names_nothing_known_changes_nothing(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("new", UNLABELLED_NOTICE).write_text("Hernia\n")
    assert f"1× Hernia, though {UNLABELLED_NOTICE} says" in refused(capsys, "b2", "new")
    Path("new", UNLABELLED_NOTICE).write_text("Hernias\n")
    assert "unknown finding 'Hernias'" in refused(capsys, "b2", "new")


def test_an_image_known_under_another_name_and_encoding_is_said_to_be_so(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_to_table(Path("new"), "00000001_007.png", 1, png(noise(0).astype(np.uint16) * 257))
    main(["add-batch", "b2", "new"])
    said = capsys.readouterr().out
    assert "00000001_007.png (phantom has it as 00000001_000.png)" in said and "2 new" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("B 2", "new"), "is no name for a batch"),
        (("../b", "new"), "is no name for a batch"),
        (("b" * 65, "new"), "is no name for a batch: must be named with a–z, 0–9, _ and -, a letter first, 64 at most"),
        (("\x1b[2J" * 1000, "new"), r"was not added: '\x1b[2J"),
        (("on", "new"), "'on' is no name for a batch: YAML reads this word as something else"),
        (("phantom", "new"), "the name phantom is in use"),
        (("b2", "new/../data/raw/phantom"), "is batch phantom already"),
        (("b2", "nowhere"), "no such batch folder"),
        (("b2", "data"), "no table in data"),
    ],
)
def test_a_wrong_name_or_folder_changes_nothing(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    assert said in refused(capsys, *arguments)


def test_too_many_bad_images_change_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_to_table(Path("new"), "00000102_000.png", 102, b"no")
    assert "prepare.max_rejected" in refused(capsys, "b2", "new")


def test_a_patient_or_an_image_on_two_sides_changes_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    official = "" if patient_split("1", load_params().prepare, None) == "test" else "00000001_001.png"
    Path("new/test_list.txt").write_text(official)
    assert "1 patients on two sides of the split, with the images 00000001_000.png" in refused(capsys, "b2", "new")
    Path("new/test_list.txt").unlink()
    params = load_params().prepare
    other = next(p for p in range(200, 300) if patient_split(str(p), params, None) != patient_split("1", params, None))
    add_to_table(Path("new"), f"{other:08d}_000.png", other, png(noise(0)))
    assert "identical images on two sides" in refused(capsys, "b2", "new")


def test_a_batch_of_known_images_alone_changes_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree("data/raw/phantom", "copy")
    assert "nothing new in copy" in refused(capsys, "b2", "copy")


def test_an_earlier_batch_that_is_not_prepared_changes_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree("data/prepared")
    assert "run dvc repro" in refused(capsys, "b2", "new")


def test_a_warm_start_is_pinned_to_its_version(here: Path, capsys: pytest.CaptureFixture[str], store: str) -> None:
    assert "no version @champion of the model chest-xray" in refused(capsys, "b2", "new", "--warm-start", "@champion")
    client = MlflowClient(store)
    client.create_registered_model("chest-xray")
    for _ in range(2):
        client.create_model_version("chest-xray", str(here))
    client.set_registered_model_alias("chest-xray", "champion", "2")
    assert "is no version" in refused(capsys, "b2", "new", "--warm-start", "newest")
    assert "no version 3" in refused(capsys, "b2", "new", "--warm-start", "3")
    main(["add-batch", "b2", "new", "--warm-start", "@champion"])
    assert load_params().train.warm_start == "models:/chest-xray/2"
    expected = re.sub("warm_start: null +", "warm_start: models:/chest-xray/2 ", ADDED)
    assert Path("params.yaml").read_text() == expected


def test_of_two_at_once_the_second_says_so(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with sole_writer(Path("params.yaml"), "at work"):
        assert main(["add-batch", "b2", "new"]) == 1
    assert "another process is adding a batch to params.yaml: wait for it" in capsys.readouterr().err
    assert Path("params.yaml").read_text() == SHIPPED
    assert main(["add-batch", "b2", "new"]) == 0


def test_what_a_person_writes_meanwhile_is_kept(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def meanwhile(*arguments: Any) -> Any:
        Path("params.yaml").write_text(SHIPPED.replace("  phantom:", "  b1: {root: x}\n  phantom:", 1))
        return examine(*arguments)

    monkeypatch.setattr("chestxray.cli.add_batch.examine", meanwhile)
    assert main(["add-batch", "b1", "new"]) == 1
    assert load_params().batches["b1"].root == "x"


def test_it_needs_no_terminal(here: Path) -> None:
    command = [sys.executable, "-m", "chestxray", "add-batch", "b2", "new"]
    done = subprocess.run(
        command, env={"PYTHONPATH": str(TOP)}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "next: dvc repro" in done.stdout and Path("params.yaml").read_text() == ADDED


@settings(max_examples=15)  # each reads and writes the whole file
@given(st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=30))
def test_any_printable_folder_is_read_back_and_no_other_line_changes(root: str) -> None:
    text = apply_edits(SHIPPED, {"batches.b2": {"root": root}})
    added = [line for line in text.split("\n") if line not in SHIPPED.split("\n")]
    assert added[0] == "  b2:" and added[1].startswith("    root: ") and len(added) == 2
    assert text.replace("\n".join(added) + "\n", "") == SHIPPED


def test_batches_on_one_line_stay_on_one_line() -> None:
    block = SHIPPED[SHIPPED.index("batches:") : SHIPPED.index("findings:")]
    flow = "batches: {phantom: {root: data/raw/phantom}}\n"
    text = apply_edits(SHIPPED.replace(block, flow), {"batches.b2": {"root": "new"}})
    assert text == SHIPPED.replace(block, "batches: {phantom: {root: data/raw/phantom}, b2: {root: new}}\n")


def test_nulls_that_dvc_left_empty_stay_so() -> None:
    text = apply_edits(SHIPPED.replace(": null ", ":      "), {"batches.b2": {"root": "new"}})
    assert text == ADDED.replace(": null ", ":      ")


@pytest.mark.parametrize(
    "style",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.removesuffix("\n"),
        lambda text: f"\ufeff{text}",
        lambda text: f"---\n{text}",
        lambda text: text.replace(": null", ": ~"),
        lambda text: text.replace("  size:", "  size :").replace("seed: 3\n", "seed: 3  \n"),
        lambda text: re.sub("^( +)", r"\1\1", text, flags=re.MULTILINE),
    ],
    ids=["CRLF", "no last line end", "byte order mark", "document start", "tilde", "spaces", "four spaces"],
)
def test_whatever_the_style_only_the_new_lines_are_added(style: Callable[[str], str]) -> None:
    added = "  b2:\n    root: new\n"
    assert apply_edits(style(SHIPPED), {"batches.b2": {"root": "new"}}) == style(ADDED)
    assert added in ADDED


def test_a_style_into_which_the_lines_do_not_fit_is_left_to_a_person() -> None:
    with pytest.raises(ParamsError, match="by hand"):
        apply_edits(SHIPPED.replace("f1 | youden", "f1 |\tyouden") + "...\n", {"batches.b2": {"root": "new"}})


def test_radiographs_and_phantoms_together_are_warned_of(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "new" / SYNTHETIC_NOTICE).write_text("drawn")
    main(["add-batch", "b2", "new"])
    assert "WARNING   phantoms and radiographs together" in capsys.readouterr().out


def test_how_its_table_is_read_is_written_too(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = Path("new", TABLE)
    table.write_text(table.read_text().replace("Mass|Hernia", "Mass|Gout"))
    assert 'labels: {"Gout": null}' in refused(capsys, "b2", "new")
    main(["add-batch", "b2", "new", "--labels", "Gout=", "--patients", "b-", "--uncertain", "positive"])
    batch = load_params().batches["b2"]
    assert (batch.labels, batch.patients, batch.uncertain) == ({"Gout": None}, "b-", "positive")
    added = "    root: new\n    labels:\n      Gout: null\n    uncertain: positive\n    patients: b-\n"
    assert Path("params.yaml").read_text() == ADDED.replace("    root: new\n", added)
    assert "patients  2, 0 of them known" in capsys.readouterr().out


def test_labels_may_stand_last(here: Path) -> None:
    entry = {"root": "new", "labels": {"Gout": None}}
    assert apply_edits(SHIPPED, {"batches.b2": entry}) == ADDED.replace("new\n", "new\n    labels:\n      Gout: null\n")
