"""A bundle is measured on radiographs that its pipeline has never seen, and says which of them it has."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from chestxray.cli.main import main
from chestxray.datasets.dataset import Dataset
from chestxray.datasets.decode import decode_files
from chestxray.datasets.trained_on import TRAINED_ON, TrainedOn
from chestxray.errors import UserError
from chestxray.findings import FINDINGS
from chestxray.inference.bundle import MODEL, Bundle
from chestxray.inference.card import CARD, read_card, write_card
from chestxray.registry.versions import Registry
from chestxray.system.files import read_json
from chestxray.tracking.mlflow_runs import pipeline_run
from tests.chestxray.conftest import EVALUATE, NAME, PARAMS

PATIENTS = 20


@pytest.fixture(scope="module")
def folder(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test images and five of the training images, two of them under other ids, as PNG files."""
    root = tmp_path_factory.mktemp("elsewhere")
    studies = dataset.studies
    chosen = pd.concat([studies[studies["split"] == "test"], studies[studies["split"] == "train"].head(5)])
    for row, image in zip(chosen["row"], chosen["image"], strict=True):
        cv2.imwrite(str(root / image), dataset.images["b"][row])
    table = chosen[["image", "patient", *FINDINGS]].assign(view="PA", sex=np.resize(["F", "M"], len(chosen)))
    table.iloc[-2:, table.columns.get_loc("patient")] = ["9998", "9999"]
    table.to_csv(root / "labels.csv", index=False)
    return root


@pytest.fixture
def bundle(bundle_folder: Path, folder: Path, dataset: Dataset, tmp_path: Path) -> Path:
    made = Path(shutil.copytree(bundle_folder, tmp_path / "model"))
    files = decode_files(folder, "elsewhere", dataset.images["b"].shape[1], lambda _: None).files
    hashes = dataset.studies["image"].map(files.set_index("path")["content_hash"]).fillna("not in the folder")
    hashes.iloc[2] = "another image of the same patient"
    card = read_card(made / CARD)
    TrainedOn.of(dataset.studies.assign(content_hash=hashes), card.data_sha256).write(made)
    write_card(card.model_copy(update={"params": card.params | {"evaluate": EVALUATE.model_dump(mode="json")}}), made)
    return made


def test_a_bundle_is_measured_elsewhere_as_the_pipeline_measures_it(
    bundle: Path, folder: Path, dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)  # where there is no params.yaml
    assert main(["evaluate", str(bundle), str(folder), "--output", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "read as: a column a finding (labels.csv)" in said and "Research use only" in said
    assert "left out: 4 images that the model was fitted on, 1 others with ids of its patients; should" in said
    assert (
        f"measured on 20 radiographs of {PATIENTS} patients, with the model's own calibration and operating points"
        in said
    )
    card = Bundle(bundle).card
    found = pd.read_csv(tmp_path / "out" / "metrics_by_finding.csv").set_index("finding")
    expected = card.metrics["test"]
    for name in ("auroc", "f1", "recall_ci_low"):
        assert found[name].to_dict() == pytest.approx(expected[name], abs=0.02)  # PNG files were resized once
    assert read_json(tmp_path / "out" / "metrics.json")["test"]["n"] == 20
    points = pd.read_csv(tmp_path / "out" / "operating_points.csv")
    f1 = points[points["operating_point"] == "f1"]
    assert f1["threshold"].tolist() == pytest.approx(list(card.thresholds()), abs=1e-6)
    for name in ("predictions.csv", "uncertain.csv", "localization.csv", "subgroups.csv", "roc.png", "abstention.png"):
        assert (tmp_path / "out" / name).exists()
    shortcuts = pd.read_csv(tmp_path / "out" / "shortcuts.csv")
    told = shortcuts[shortcuts["source"] == "pooled features"].set_index("target")
    assert told.loc["sex F", "n"] == 20 and 0 <= told.loc["sex F", "auroc"] <= 1
    assert not (tmp_path / "out" / "bundle").exists()


def test_a_recalibrated_bundle_says_so_and_knows_what_it_was_fitted_on(
    bundle: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chestxray.cli.evaluate.write_reports", lambda *_: None)  # the figures take seconds
    out = tmp_path / "out"
    assert main(["evaluate", str(bundle), str(folder), "--recalibrate", "--output", str(out)]) == 0
    before, after = Bundle(bundle), Bundle(out / "bundle")
    assert after.card.recalibrated and not before.card.recalibrated
    assert (out / "bundle" / MODEL).read_bytes() == (bundle / MODEL).read_bytes()
    assert after.card.calibration != before.card.calibration
    assert after.card.splits["train"] == before.card.splits["train"]
    sides = [after.card.splits[side] for side in ("validation", "test")]
    assert sum(side.patients for side in sides) == PATIENTS and sides[1].images == after.card.metrics["test"]["n"]
    assert after.card.splits["test"].batches["external"].table == "a column a finding"
    said = (out / "model_card.md").read_text()
    assert "**Recalibrated: " in said and 'dataset: {name: "external", type: chest-x-ray, split: test}' in said
    assert (
        "Of training: Drawn with the images" in said and "validation and test: What the labels are worth is not" in said
    )
    assert "| train | b | synthetic phantoms |" in said and "| test | external | radiographs | a column a" in said
    assert "| external | one of 2 parts of the patients" in said and "benchmark: 0 images" not in said
    told = capsys.readouterr().out
    assert f"with calibration and operating points from {sides[0].images} others of {sides[0].patients} pati" in told
    gate = pd.read_csv(out / "input_gate.csv")
    assert gate.empty and "input gate: " not in told and not after.card.input_gate["test"]  # this model has none
    assert main(["evaluate", str(out / "bundle"), str(folder)]) == 0
    assert (
        f"{4 + sides[0].images} images that the model was fitted on, 1 others with ids of its patients"
        in capsys.readouterr().out
    )


def test_what_can_not_be_told_or_done_is_said(
    bundle: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(bundle), str(folder), "--recalibrate"]) == 1
    assert "--recalibrate needs --output" in capsys.readouterr().err
    assert main(["evaluate", str(bundle), str(folder), "--output", str(tmp_path)]) == 1
    assert "is there already" in capsys.readouterr().err
    (bundle / TRAINED_ON).unlink()
    assert main(["evaluate", str(bundle), str(folder)]) == 0
    assert "can't be told: its bundle does not say" in capsys.readouterr().out
    assert main(["evaluate", str(tmp_path / "nothing"), str(folder)]) == 1
    assert "is not a bundle" in capsys.readouterr().err


def test_what_can_not_be_used_is_counted_and_listed(
    bundle: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chestxray.cli.evaluate.write_reports", lambda *_: None)  # the figures take seconds
    damaged = Path(shutil.copytree(folder, tmp_path / "damaged"))
    table = pd.read_csv(damaged / "labels.csv")
    last = table["image"].iloc[0]
    (damaged / last).write_bytes(b"no image")
    asked = ["evaluate", str(bundle), str(damaged), "--output", str(tmp_path / "out")]
    assert main([*asked, "--max-rejected", "0.01"]) == 1
    assert "raise prepare.max_rejected (chestxray evaluate: --max-rejected)" in capsys.readouterr().err
    assert main([*asked, "--max-rejected", "0.5"]) == 0
    said = capsys.readouterr().out
    assert "rejected  1\n  1× unreadable image, such as " in said and "measured on 19 radiographs" in said
    rejected = pd.read_csv(tmp_path / "out" / "rejected.csv")
    assert rejected["image"].tolist() == [last] and rejected["reason"].str.startswith("unreadable image").all()


def test_a_label_that_nobody_knows_is_mended_by_the_option_that_the_message_names(
    bundle: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = Path(shutil.copytree(folder, tmp_path / "listed"))
    table = pd.read_csv(listed / "labels.csv")
    table["Finding Labels"] = np.resize(["Mass|Scoliosis", "No Finding"], len(table))
    table[["image", "patient", "Finding Labels"]].to_csv(listed / "labels.csv", index=False)
    assert main(["evaluate", str(bundle), str(listed)]) == 1
    assert "--labels LABEL=FINDING for each" in capsys.readouterr().err
    assert main(["evaluate", str(bundle), str(listed), "--labels", "Scoliosis="]) == 0


def test_images_that_all_have_a_finding_tell_its_sensitivity_and_no_more(
    bundle: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    positive = Path(shutil.copytree(folder, tmp_path / "positive"))
    table = pd.read_csv(positive / "labels.csv").assign(**(dict.fromkeys(FINDINGS, 0) | {"Effusion": 1}))
    table.to_csv(positive / "labels.csv", index=False)
    out = tmp_path / "out"
    assert main(["evaluate", str(bundle), str(positive), "--output", str(out)]) == 0
    said = capsys.readouterr().out
    assert "no finding has images both with and without it: nothing can be ranked" in said
    assert "Effusion: sensitivity " in said and "Mass: specificity " in said and "AUROC" not in said
    points = pd.read_csv(out / "operating_points.csv").set_index(["operating_point", "finding"])
    assert points.loc[("f1", "Effusion"), "sensitivity"] >= 0 and np.isnan(points.loc[("f1", "Mass"), "sensitivity"])
    assert not (out / "roc.png").exists() and (out / "predictions.csv").exists()
    assert main(["evaluate", str(bundle), str(positive), "--recalibrate", "--output", str(tmp_path / "re")]) == 1
    assert "give images of the other class" in capsys.readouterr().err
    table.assign(**dict.fromkeys(FINDINGS, "")).to_csv(positive / "labels.csv", index=False)
    assert main(["evaluate", str(bundle), str(positive)]) == 1
    assert "label no finding that the model has learned" in capsys.readouterr().err


def test_an_output_is_made_before_any_work_and_appears_whole_or_not_at_all(
    bundle: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*given: object) -> None:
        (Path(str(given[-1])) / "findings.png").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("chestxray.cli.evaluate.write_reports", interrupted)
    asked = ["evaluate", str(bundle), str(folder), "--output"]
    assert main([*asked, str(tmp_path / "new/out")]) == 130
    assert list((tmp_path / "new").iterdir()) == []
    monkeypatch.setattr("chestxray.cli.evaluate.read_folder", lambda *_: pytest.fail("it has begun to work"))
    capsys.readouterr()
    (tmp_path / "file").write_bytes(b"")
    for output, reason in {
        tmp_path / "file/out": "can't be made: ",
        tmp_path: "is there already",
        folder / "images/out": "whose images would be more next time",
        Path("/proc/out"): "can't be made: ",
    }.items():
        assert main([*asked, str(output)]) == 1
        assert reason in capsys.readouterr().err
    assert not (folder / "images").exists()


def test_images_whose_ids_are_all_known_may_be_of_other_people(
    bundle: Path, folder: Path, capsys: pytest.CaptureFixture[str], dataset: Dataset
) -> None:
    card = read_card(bundle / CARD)
    strangers = dataset.studies.assign(split="train", content_hash=[f"other {row}" for row in dataset.studies["row"]])
    strangers = pd.concat([strangers, strangers.head(2).assign(patient=["9998", "9999"])])
    TrainedOn.of(strangers, card.data_sha256).write(bundle)
    assert main(["evaluate", str(bundle), str(folder)]) == 1
    said = capsys.readouterr().err
    assert "nothing is left of 25 images: 0 images that the model was fitted on, 25 others" in said
    assert "keep them apart by --patients PREFIX" in said


def test_a_registered_version_knows_what_it_was_trained_on(
    client: MlflowClient, registry: Registry, bundle: Path, folder: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    version = registry.register(pipeline_run(client, PARAMS), bundle, tmp_path / "final.weights.h5")
    assert main(["evaluate", f"models:/{NAME}/{version.number}", str(folder)]) == 0
    assert "4 images that the model was fitted on, 1 others with ids of its patients" in capsys.readouterr().out
    fetched = tmp_path / "fetched"
    assert main(["fetch-bundle", f"models:/{NAME}/{version.number}", str(fetched)]) == 0
    assert not (fetched / TRAINED_ON).exists(), "what is served does not say who was in training"


def test_patients_are_known_again_by_their_ids_where_a_table_knows_them(dataset: Dataset, tmp_path: Path) -> None:
    known = TrainedOn.of(dataset.studies, "salt")
    known.write(tmp_path)
    again = TrainedOn.read(tmp_path, "salt")
    assert again is not None and np.array_equal(again.images, known.images) and len(again.patients) == 40
    train = dataset.studies[dataset.studies["split"] == "train"]
    others = train.assign(content_hash=[str(row) for row in train["row"]])
    images, patients = again.seen(others)
    assert not images.any() and patients.all()
    assert not again.seen(others.assign(patient_known=False))[1].any()
    assert not np.any(again.seen(dataset.split("test").studies))
    with pytest.raises(UserError, match="belongs to another model"):
        TrainedOn.read(tmp_path, "other salt")
    (tmp_path / TRAINED_ON).write_bytes(b"PAR1")
    with pytest.raises(UserError, match="is damaged"):
        TrainedOn.read(tmp_path, "salt")
