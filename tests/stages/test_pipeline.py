"""The pipeline from phantoms to the registered model, and what a change re-runs."""

import json
import math
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from chestxray.datasets.dataset import BatchFolders, read_studies
from chestxray.findings import FINDINGS
from chestxray.inference.onnx_model import OnnxModel
from tests.repository import TOP
from tests.stages.conftest import FIRST, Clone, Trained, ran

pytestmark = pytest.mark.slow

ALL = [
    "phantom_listed", "phantom", "decode@phantom", "prepare@phantom", "backbone", "features@phantom",
    "digests@prepared", "digests@features", "class_weighting",
    "train", "fine_tune", "input_gate", "evaluate", "gradcam", "register",
]  # fmt: skip


@dataclass(frozen=True)
class History:
    """A clone after its first `dvc repro`, a second one, and one with another L2."""

    clone: Clone
    first: list[str]
    second: list[str]
    with_other_l2: list[str]
    metrics_diff: str
    params_diff: str

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(f"sqlite:///{self.clone.top / '.mlflow' / 'mlflow.db'}")

    def runs(self, where: str = "") -> list[Run]:
        experiment = self.client.get_experiment_by_name("chest-xray")
        return list(self.client.search_runs([experiment.experiment_id], where, order_by=["start_time"]))

    def parents(self) -> list[Run]:
        return [run for run in self.runs() if "mlflow.parentRunId" not in run.data.tags]


@pytest.fixture(scope="module")
def history(trained: Trained) -> History:
    clone, second = trained.clone, trained.clone.repro()
    # Not `dvc exp run --temp`: the workspace is what the next commands compare.
    with_other_l2 = ran(clone.run("dvc", "exp", "run", "-S", "train.l2=50.0").stdout)
    return History(
        clone, trained.stages, second, with_other_l2,
        clone.run("dvc", "metrics", "diff").stdout, clone.run("dvc", "params", "diff").stdout,
    )  # fmt: skip


def test_one_repro_runs_every_stage_in_order(history: History) -> None:
    assert sorted(history.first) == sorted(ALL)
    assert history.first.index("phantom") < history.first.index("prepare@phantom") < history.first.index("train")
    assert history.first[-3:] == ["evaluate", "gradcam", "register"] or history.first[-1] == "register"


def test_a_second_repro_does_nothing(history: History) -> None:
    assert history.second == []


def test_another_l2_runs_what_depends_on_it_and_nothing_else(history: History) -> None:
    assert history.with_other_l2 == ["train", "fine_tune", "input_gate", "evaluate", "gradcam", "register"]


def test_the_differences_are_shown(history: History) -> None:
    assert "train.l2" in history.params_diff
    assert "test.mean_auroc" in history.metrics_diff


def test_plots_are_drawn(history: History) -> None:
    page = history.clone.run("dvc", "plots", "show", "--out", "plots").stdout
    html = Path(page.strip().removeprefix("file://")).read_text()
    for figure in ("head", "findings", "roc", "confusion_matrix"):
        assert f'src="static/workspace_reports_{figure}.png"' in html
    assert "<script src" not in html


def test_metrics_are_finite_numbers_with_their_n_and_interval(history: History) -> None:
    metrics = json.loads((history.clone.top / "reports/metrics.json").read_text())["test"]
    flat = [v for value in metrics.values() for v in (value.values() if isinstance(value, dict) else [value])]
    assert all(isinstance(value, int | float) and math.isfinite(value) for value in flat)
    assert metrics["mean_auroc_ci_low"] <= metrics["mean_auroc"] <= metrics["mean_auroc_ci_high"]
    studies = read_studies(BatchFolders("phantom", history.clone.top / "data"))
    assert metrics["n"] == (studies["split"] == "test").sum()
    by_part = pd.read_csv(history.clone.top / "reports/metrics_by_part.csv").set_index("part")
    assert {"micro_f1", "macro_f1", "weighted_f1", "subset_accuracy", "hamming_loss"} < set(by_part)
    assert by_part.loc["test", "mean_auroc"] == metrics["mean_auroc"]


def test_metrics_fit_a_terminal(history: History) -> None:
    shown = history.clone.run("dvc", "metrics", "show").stdout
    assert "test.mean_auroc" in shown
    assert max(map(len, (shown + history.metrics_diff).splitlines())) <= 120


def test_predictions_have_a_row_per_test_image_and_agree_with_the_confusion_matrices(history: History) -> None:
    reports = history.clone.top / "reports"
    predictions = pd.read_csv(reports / "predictions.csv")
    confusion = pd.read_csv(reports / "confusion_matrices.csv").set_index("finding")
    status = {finding: predictions[f"{finding}_status"].iloc[0] for finding in FINDINGS}
    card = json.loads((history.clone.top / "models/bundle/bundle.json").read_text())
    assert status == dict(zip(card["findings"], card["status"], strict=True))
    assert list(confusion.index) == [finding for finding in FINDINGS if status[finding] == "learned"] != []
    for finding in confusion.index:
        labels, decision = predictions[f"{finding}_truth"] == 1, predictions[f"{finding}_decision"] == 1
        assert confusion.loc[finding, "tp"] == (labels & decision).sum()
        assert confusion.loc[finding].sum() == len(predictions)


def test_the_input_gate_is_in_the_model_the_reports_and_the_card(history: History) -> None:
    top = history.clone.top
    table = pd.read_csv(top / "reports/input_gate.csv").set_index("kind")
    assert {"good", "altered", "inverted", "upside-down", "sideways", "text", "blank"} < set(table.index)
    card = json.loads((top / "models/bundle/bundle.json").read_text())["input_gate"]
    assert card["test"]["inverted"]["refused"] == table.loc["inverted", "refused"]
    fitted = json.loads((top / "reports/input_gate.json").read_text())["input_gate"]
    assert card["fitted"] == fitted and fitted["refused"] <= 0.01 * fitted["n"] + 0.01 * fitted["altered"]["n"]
    gate = OnnxModel(top / "models/bundle/model.onnx").input_gate
    assert dict(zip(gate.names, gate.thresholds, strict=True)) == card["thresholds"]
    listed = pd.read_csv(top / "reports/refused_studies.csv")
    assert list(listed) == ["batch", "image", "split", "check", "value", "limit"]
    assert (top / "reports/input_gate.png").stat().st_size > 5000


def test_contradicted_labels_are_of_training_images_and_of_findings_that_are_not_left_out(history: History) -> None:
    top = history.clone.top
    by_finding = pd.read_csv(top / "reports/label_errors_by_finding.csv").set_index("finding")
    assert tuple(by_finding.index) == FINDINGS and (by_finding["listed"].isna() == by_finding["left_out"].notna()).all()
    listed = pd.read_csv(top / "reports/label_errors.csv")
    studies = read_studies(BatchFolders("phantom", top / "data")).set_index("image")
    assert set(studies.loc[listed["image"], "split"]) <= {"train"} and listed["synthetic"].all()
    assert [studies.loc[row.image, row.finding] for row in listed.itertuples()] == listed["label"].tolist()
    assert listed["finding"].value_counts().to_dict() == by_finding["listed"].dropna().loc[lambda n: n > 0].to_dict()


def test_every_called_finding_of_an_explained_study_has_an_overlay(history: History) -> None:
    folder = history.clone.top / "reports/gradcam"
    index = pd.read_csv(folder / "index.csv")
    assert len(index) and (index["probability"] >= index["threshold"]).all()
    assert {path.name for path in (folder / "overlays").iterdir()} == set(index["file"])
    assert (folder / "overview.png").stat().st_size > 1000


def test_a_fresh_clone_rebuilds_the_same_to_the_byte_whatever_is_recorded_and_shown_and_registers(
    history: History, tmp_path: Path
) -> None:
    """The stages don't depend on the tracking: here it writes nothing to their runs, and shows nothing."""
    fresh = Clone(tmp_path / "fresh")
    history.clone.run("git", "clone", "-q", "--branch", FIRST, ".", str(fresh.top))
    silence(fresh.top / "chestxray/tracking")
    made = fresh.repro("gradcam")
    fresh.run("git", "checkout", "-q", "chestxray/tracking")
    assert sorted(made + fresh.repro()) == sorted(ALL)
    assert fresh.run("git", "status", "--porcelain", "--untracked-files=no").stdout == ""
    assert "reports/metrics.json" in fresh.run("git", "ls-files").stdout
    version = MlflowClient(f"sqlite:///{fresh.top / '.mlflow' / 'mlflow.db'}").get_model_version_by_alias(
        "chest-xray", "champion"
    )
    assert str(version.version) == "1"


def silence(tracking: Path) -> None:
    (tracking / "progress.py").write_text(
        "from contextlib import nullcontext\n\n"
        "def progress(items, *_, **__):\n    yield from items\n\n"
        "def steps(*_):\n    return nullcontext(lambda: None)\n"
    )
    runs = (tracking / "mlflow_runs.py").read_text()
    for method in ("log_params", "log_metrics", "log_curve", "log_tags", "log_artifact"):
        assert f"def {method}(" in runs
        runs += f"\nRun.{method} = lambda *_, **__: None\n"
    (tracking / "mlflow_runs.py").write_text(runs)


def test_outputs_hold_no_path_of_the_machine(history: History) -> None:
    for path in (*(history.clone.top / "reports").rglob("*.*"), history.clone.top / "models/bundle/bundle.json"):
        assert str(history.clone.top).encode() not in path.read_bytes(), path


def test_one_parent_run_per_state_with_the_full_record(history: History) -> None:
    first, second = history.parents()
    assert first.data.params["train.l2"] == "1.0"
    assert second.data.params["train.l2"] == "50.0"
    for run in (first, second):
        assert run.data.tags["data"] == "synthetic"
        assert {"data_sha256", "model_sha256", "git_commit", "dvc_lock_sha256"} < set(run.data.tags)
        assert 0.0 <= run.data.metrics["test/mean_auroc"] <= 1.0
        assert run.info.run_name.startswith("phantom: Conv_1, 1 epoch") and run.info.end_time > run.info.start_time
        assert {each.dataset.name for each in run.inputs.dataset_inputs} == {"phantom", "phantom (benchmark)"}
    assert second.info.run_name.endswith("train.l2 50.0") and "l2" not in first.info.run_name
    for run in (first, second):
        names = {file.path for file in history.client.list_artifacts(run.info.run_id)}
        assert {"confusion_matrix.png", "classification_report.csv", "curves", "gradcam"} < names


def test_each_executed_stage_is_a_child_run(history: History) -> None:
    first, second = (run.info.run_id for run in history.parents())
    names = {
        parent: [run.data.tags["chestxray.stage"] for run in history.runs(f"tags.`mlflow.parentRunId` = '{parent}'")]
        for parent in (first, second)
    }
    assert sorted(names[first]) == sorted(ALL)
    assert names[second] == ["train", "fine_tune", "input_gate", "evaluate", "gradcam", "register"]
    assert {run.info.status for run in history.runs()} == {"FINISHED"}


def test_curves_are_in_mlflow_per_epoch(history: History) -> None:
    (run, *_) = history.runs("tags.`chestxray.stage` = 'fine_tune'")
    epochs = [m.step for m in history.client.get_metric_history(run.info.run_id, "fine_tune/validation_mean_auroc")]
    assert {0, 1} <= set(epochs)


def test_the_first_model_stays_champion_and_the_new_one_is_challenger(history: History) -> None:
    aliases = history.client.get_registered_model("chest-xray").aliases
    assert {alias: str(version) for alias, version in aliases.items()} == {"champion": "1", "challenger": "2"}


def test_registering_the_same_bundle_again_makes_no_version(history: History) -> None:
    history.clone.run("dvc", "repro", "--force", "--single-item", "register")
    assert len(history.client.search_model_versions("name = 'chest-xray'")) == 2
    assert len(history.parents()) == 2


def test_mlflow_users_can_load_the_model(history: History) -> None:
    script = (
        "import mlflow, numpy as np, onnxruntime as ort\n"
        "model = mlflow.pyfunc.load_model('models:/chest-xray@challenger')\n"
        "images = np.random.default_rng(0).integers(256, size=(3, 64, 64, 1), dtype=np.uint8)\n"
        "said = model.predict(images)\n"
        "session = ort.InferenceSession('models/bundle/model.onnx')\n"
        "np.testing.assert_allclose(said['logits'], session.run(['logits'], {'image': images})[0], atol=1e-5)\n"
    )
    uri = f"sqlite:///{history.clone.top / '.mlflow' / 'mlflow.db'}"
    history.clone.run("env", f"MLFLOW_TRACKING_URI={uri}", "python", "-c", script)


def test_a_failed_stage_and_its_pipeline_are_marked_failed(copy_trained: Callable[[], Clone]) -> None:
    clone = copy_trained()
    clone.turn(prepare={"max_rejected": 0.0})
    clone.run("dvc", "checkout", "phantom")
    victim = sorted((clone.top / "data/raw/phantom/images").iterdir())[0]
    victim.unlink()
    victim.write_bytes(b"not an image")
    clone.run("python", "-m", "stages.decode", "phantom")
    failed = clone.run("python", "-m", "stages.prepare", "phantom", check=False)
    assert failed.returncode != 0 and "prepare.max_rejected" in failed.stderr
    assert victim.name in (clone.top / "reports/rejected.csv").read_text()
    assert not (clone.top / "data/prepared/phantom").exists()
    client = MlflowClient(f"sqlite:///{clone.top / '.mlflow' / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("chest-xray").experiment_id])
    assert {run.info.run_name: run.info.status for run in runs if "chestxray.stage" in run.data.tags} == {
        "decode@phantom": "FINISHED",
        "prepare@phantom": "FAILED",
    }
    assert [run.info.status for run in runs if "chestxray.stage" not in run.data.tags] == ["FAILED"]


@pytest.mark.heavy
def test_of_two_repros_in_one_clone_the_second_says_that_the_first_is_at_work(make_clone: Callable[[], Clone]) -> None:
    clone, command = make_clone(), ("dvc", "repro", "prepare@phantom")
    with ThreadPoolExecutor(1) as thread, socket.create_server(("127.0.0.1", 0)) as gate:
        gate.settimeout(300)
        pipeline = (clone.top / "dvc.yaml").read_text()
        stage = "python -m stages.phantom\n"
        wait = f"import socket; socket.create_connection(('127.0.0.1', {gate.getsockname()[1]})).recv(1)"
        (clone.top / "dvc.yaml").write_text(pipeline.replace(f"cmd: {stage}", f'cmd: python -c "{wait}" && {stage}'))
        first = thread.submit(clone.run, *command)
        at_work, _ = gate.accept()
        with at_work:  # the stage waits until this is closed
            second = clone.run(*command, check=False)
        first.result()
    assert second.returncode and re.search(r"is busy, it is being blocked by|[Uu]nable to acquire lock", second.stderr)
    assert clone.repro("prepare@phantom") == []
    client = MlflowClient(f"sqlite:///{clone.top / '.mlflow' / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("chest-xray").experiment_id])
    stages = sorted(run.data.tags.get("chestxray.stage", "") for run in runs)
    assert stages == ["", "decode@phantom", "phantom", "phantom_listed", "prepare@phantom"]
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_wrong_params_stop_a_stage_before_any_work(make_clone: Callable[[], Clone]) -> None:
    clone = make_clone()
    clone.turn(train={"l2": -1.0})
    failed = clone.run("dvc", "repro", check=False)
    assert failed.returncode != 0
    assert "train.l2" in failed.stderr and "-1.0" in failed.stderr
    assert not (clone.top / ".mlflow").exists() and not (clone.top / "data/raw/phantom").exists()


def test_parquet_and_arrays_agree(history: History) -> None:
    folders = BatchFolders("phantom", history.clone.top / "data")
    images, studies = np.load(folders.decoded / "images.npy", mmap_mode="r"), read_studies(folders)
    assert images.shape == (len(studies), 64, 64) and images.dtype == np.uint8
    assert studies.groupby("patient")["split"].nunique().max() == 1


CHANGES: dict[str, set[str]] = {
    "findings.py": set(ALL) - {"phantom_listed", "backbone"},
    "labels.py": {"train", "fine_tune", "input_gate", "evaluate", "gradcam", "register"},
    "batch_layout.py": {"phantom_listed", "phantom", "decode@phantom", "prepare@phantom"},
    "errors.py": set(),
    "params.py": set(),
    "tracking/progress.py": set(),
    "cli/main.py": set(),
    "scoring/table.py": set(),
    "system/files.py": set(ALL),
    "imaging/quality.py": {"decode@phantom", "gradcam"},
    "imaging/dicom/header.py": {"decode@phantom", "gradcam"},
    "datasets/split.py": set(ALL) - {"phantom_listed", "phantom", "backbone"},
    "datasets/download/catalog.py": set(ALL) - {"phantom_listed", "phantom", "backbone"},
    "phantom/canvas.py": {"phantom"},
    "models/weights.py": {"backbone", "features@phantom", "train", "fine_tune", "input_gate", "register"},
    "metrics/ranking.py": {"train", "fine_tune", "input_gate", "evaluate", "gradcam", "register"},
    "inference/platt.py": {"train", "input_gate", "evaluate", "gradcam", "register"},
    "training/class_weights.py": {"class_weighting", "train", "fine_tune"},
    "training/views.py": {"features@phantom", "train", "fine_tune"},
    "training/linear_head.py": {"train"},
    "training/preconditioning.py": {"train"},
    "training/replay.py": {"fine_tune"},
    "training/export.py": {"input_gate"},
    "training/input_gate.py": {"input_gate"},
    "training/unlike_images.py": {"input_gate", "evaluate"},
    "evaluation/figures/style.py": {"evaluate", "gradcam", "register"},
    "registry/gate.py": {"train", "register"},
}
"""A module that is changed, and the stages that are out of date then."""


@contextmanager
def changed(path: Path, text: str) -> Iterator[None]:
    """A file with another text, for a while."""
    before = path.read_text()
    path.write_text(text)
    try:
        yield
    finally:
        path.write_text(before)


def test_a_change_in_a_package_is_a_change_for_the_stages_that_import_it(history: History) -> None:
    packages = {path.parent.name for path in (TOP / "chestxray").glob("*/__init__.py")}
    assert packages <= {module.partition("/")[0] for module in CHANGES}
    for module, stages in CHANGES.items():
        assert history.clone.readers(history.clone.top / "chestxray" / module) == stages, module


def test_a_needless_run_ends_where_the_outputs_are_equal(history: History) -> None:
    path = history.clone.top / "chestxray/imaging/quality.py"
    with changed(path, f"{path.read_text()}\n# a comment\n"):
        assert history.clone.out_of_date() == {"decode@phantom", "gradcam"}
        assert history.clone.repro() == ["decode@phantom", "gradcam"]
    history.clone.repro()
    assert history.clone.out_of_date() == set()


def test_what_is_left_of_a_batch_that_is_listed_no_more_trains_nothing_again(history: History) -> None:
    data = history.clone.top / "data"
    for stage in ("decoded", "prepared", "features"):
        shutil.copytree(data / stage / "phantom", data / stage / "earlier")
    shutil.copy(data / "splits/phantom.parquet", data / "splits/earlier.parquet")
    assert history.clone.out_of_date() == {"digests@prepared", "digests@features"}
    assert sorted(history.clone.repro()) == ["digests@features", "digests@prepared"]
    for stage in ("decoded", "prepared", "features"):
        shutil.rmtree(data / stage / "earlier")
    (data / "splits/earlier.parquet").unlink()
    history.clone.repro()
    assert history.clone.out_of_date() == set()
