"""`chestxray sweep` after a `dvc repro`: each candidate a run in MLflow, a table, a figure, a proposal."""

import json
from collections.abc import Callable

import pandas as pd
import pytest
from mlflow import MlflowClient

from chestxray.tracking.mlflow_runs import PARENT
from tests.stages.conftest import Clone


@pytest.mark.slow
def test_a_sweep_proposes_and_changes_nothing(copy_trained: Callable[[], Clone]) -> None:
    clone = copy_trained()
    clone.run("dvc", "checkout")
    grids = ("--l2", "1", "10", "--shared", "0.3", "1", "--learning-rate", "1e-4", "--weight-decay", "1e-4")
    said = clone.run("chestxray", "sweep", *grids).stdout
    table = pd.read_csv(clone.top / "reports/sweep/sweep.csv")
    assert table["kind"].tolist() == 4 * ["head"] + ["fine-tuning"] and table["best"].sum() == 1
    best = table[table["best"] == 1].iloc[0]
    assert best["validation_mean_auroc"] == table["validation_mean_auroc"].max()
    assert f"{best['validation_mean_auroc']:.4f}" in said and "bias of choosing" in said and "synthetic" in said
    assert (clone.top / "reports/sweep/sweep.png").read_bytes().startswith(b"\x89PNG")

    ours = table[(table["train.l2"] == 1) & (table["train.shared"] == 0.3)]  # the head that the pipeline has
    head = json.loads((clone.top / "reports/train.json").read_text())["train"]["validation_mean_auroc"]
    assert ours["validation_mean_auroc"].item() == pytest.approx(head, abs=2e-3)
    assert clone.run("git", "status", "--porcelain").stdout == ""

    client = MlflowClient(f"sqlite:///{clone.top / '.mlflow' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("chest-xray").experiment_id
    (parent,) = client.search_runs([experiment], "attributes.run_name = 'sweep'")
    children = client.search_runs([experiment], f"tags.`{PARENT}` = '{parent.info.run_id}'", order_by=["start_time"])
    assert len(children) == 5 and {run.info.status for run in [parent, *children]} == {"FINISHED"}
    assert children[0].data.params == {"train.l2": "10.0", "train.shared": "0.3"}
    assert children[0].data.metrics["validation_mean_auroc"] == pytest.approx(
        table["validation_mean_auroc"][0], abs=1e-6
    )
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} == {"sweep.csv", "sweep.png"}
