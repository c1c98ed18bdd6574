"""The pipeline on a folder of one's own: a column a finding, five of them, one of which NIH does not know."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from ruamel.yaml import YAML

from chestxray.datasets.dataset import BatchFolders, read_studies
from chestxray.inference.bundle import Bundle
from tests.nih_batch import noise, png
from tests.stages.conftest import Clone

pytestmark = [pytest.mark.slow, pytest.mark.heavy]

FINDINGS = ("Tuberculosis", "Effusion", "Cardiomegaly", "Nodule", "Old surgery")
"""In the order of the params; nobody has the last."""
COLUMNS = {"pleural effusion": "Effusion", "TB": "Tuberculosis", "cardiomegaly": "Cardiomegaly", "Nodule": "Nodule",
           "old_surgery": "Old surgery"}  # fmt: skip
ENTRIES = {
    "Tuberculosis": {"title": "Tuberculosis (active)", "synonyms": ["TB"]},
    "Effusion": None,
    "Cardiomegaly": None,
    "Nodule": None,
    "Old surgery": None,
}


def write_own_batch(root: Path) -> None:
    """120 images of 60 patients in two folders; each finding is a brighter square somewhere."""
    labels = np.random.default_rng(0).integers(2, size=(120, 5)) * [1, 1, 1, 1, 0]
    names = [f"ward {'AB'[row % 2]}/p{row // 2}/{row}.png" for row in range(120)]
    for row, name in enumerate(names):
        pixels = noise(row, (64, 64)) // 2
        for place in np.flatnonzero(labels[row]):
            pixels[12 * place : 12 * place + 12, 20:44] += 100
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(pixels))
    places = [FINDINGS.index(finding) for finding in COLUMNS.values()]
    table = pd.DataFrame(labels[:, places], columns=list(COLUMNS))
    table.insert(0, "Path", names)
    table.insert(1, "patient_id", [row // 2 for row in range(120)])
    table.to_csv(root / "labels of ours.csv", sep=";", index=False)


def use_own_batch(clone: Clone, findings: dict[str, object]) -> None:
    yaml, path = YAML(), clone.top / "params.yaml"
    params = yaml.load(path)
    params["batches"] = {"own": {"root": "data/raw/own"}}
    params["findings"] = findings
    yaml.dump(params, path)


@dataclass(frozen=True)
class History:
    """A clone after `dvc repro` on its own batch, and what ran."""

    clone: Clone
    first: list[str]
    second: list[str]

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(f"sqlite:///{self.clone.top / '.mlflow' / 'mlflow.db'}")


@pytest.fixture(scope="module")
def history(make_clone: Callable[[], Clone]) -> History:
    clone = make_clone()
    write_own_batch(clone.top / "data/raw/own")
    use_own_batch(clone, ENTRIES)
    return History(clone, clone.repro(), clone.repro())


def test_the_findings_of_the_params_go_through_all_stages(history: History) -> None:
    top = history.clone.top
    assert {"prepare@own", "features@own", "train", "fine_tune", "evaluate", "register"} < set(history.first)
    assert history.second == []
    studies = read_studies(BatchFolders("own", top / "data"))
    given = pd.read_csv(top / "data/raw/own/labels of ours.csv", sep=";")
    assert len(studies) == 120
    for column, finding in COLUMNS.items():
        assert studies[finding].sum() == given[column].sum()
    card = Bundle(top / "models/bundle").card
    assert card.findings == FINDINGS and not card.synthetic
    version = history.client.get_model_version_by_alias("chest-xray", "champion")
    assert str(version.version) == "1"


def test_what_nobody_has_is_not_learned(history: History) -> None:
    top = history.clone.top
    rows = json.loads((top / "reports/class_weights.json").read_text())
    assert tuple(rows) == FINDINGS
    assert [finding for finding, row in rows.items() if row["weight"] == 0] == ["Old surgery"]
    predictions = pd.read_csv(top / "reports/predictions.csv")
    assert not predictions["Old surgery_decision"].eq(1).any()
    index = pd.read_csv(top / "reports/gradcam/index.csv")
    assert set(index["finding"]) <= set(FINDINGS[:-1])
    assert {path.name for path in (top / "reports/gradcam/overlays").iterdir()} == set(index["file"])


def test_a_warm_start_with_other_findings_says_which_start_cold(history: History) -> None:
    others = {"Nodule": None, "Mass": None, "Tuberculosis": ENTRIES["Tuberculosis"], "Effusion": None}
    use_own_batch(history.clone, others)
    table = history.clone.top / "data/raw/own/labels of ours.csv"
    given = pd.read_csv(table, sep=";")
    given.assign(Mass=given["cardiomegaly"]).to_csv(table, sep=";", index=False)
    history.clone.turn(train={"warm_start": "models:/chest-xray/1"})
    ran = history.clone.repro("fine_tune")
    assert ran[-2:] == ["train", "fine_tune"]
    (run, *_) = history.client.search_runs(
        [history.client.get_experiment_by_name("chest-xray").experiment_id],
        "tags.`chestxray.stage` = 'train'",
        order_by=["start_time DESC"],
    )
    said = "3 of 4 findings start from models:/chest-xray/1; cold: Mass; not of this run: Cardiomegaly, Old surgery"
    assert run.data.tags["warm_start"] == said
    metrics = json.loads((history.clone.top / "reports/train.json").read_text())["train"]
    assert metrics["warm_start"] == 1 and metrics["l2"] == 1.0
