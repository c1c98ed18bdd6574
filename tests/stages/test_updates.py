"""An update: one edit and one repro, a fixed yardstick, a warm start, and kills on the way."""

import io
import json
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from chestxray.batch_layout import UNLABELLED_NOTICE
from chestxray.datasets.dataset import BatchFolders, read_studies
from tests.nih_batch import plain_batch
from tests.stages.conftest import FIRST, Clone, ran

pytestmark = pytest.mark.slow

LATER = ["train", "fine_tune", "input_gate", "evaluate", "gradcam", "register"]
EACH = ["phantom_listed", "digests@prepared", "digests@features", "class_weighting", *LATER]
KILLED_AT = {
    "decode": ("chestxray.datasets.decode", "resize", "own"),
    "prepare": ("chestxray.datasets.prepare", "check_split", "own"),
    "features": ("chestxray.training.features", "views", "own"),
    "register": ("chestxray.registry.promote", "decide_promotion", None),
}
"""Stage → the function at whose call the process is killed, and the batch of the stage."""


@dataclass(frozen=True)
class Updates:
    """A clone after two batches, with what each step printed."""

    clone: Clone
    added: str
    killed: dict[str, int]
    second: list[str]
    nothing: list[str]
    metrics_diff: str

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(f"sqlite:///{self.clone.top / '.mlflow' / 'mlflow.db'}")

    def metrics(self, tag: str) -> dict[str, dict[str, float]]:
        read: dict[str, dict[str, float]] = json.loads(
            self.clone.run("git", "show", f"{tag}:reports/metrics.json").stdout
        )
        return read


def killed_in(clone: Clone, stage: str) -> int:
    """Runs a stage that kills itself without warning; returns the exit code."""
    module, function, batch = KILLED_AT[stage]
    script = (
        "import importlib, os, runpy, signal, sys\n"
        f"module = importlib.import_module({module!r})\n"
        f"module.{function} = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"sys.argv = {['stage', *([batch] if batch else [])]!r}\n"
        f"runpy.run_module('stages.{stage}', run_name='__main__')\n"
    )
    return clone.run("python", "-c", script, check=False).returncode


@pytest.fixture(scope="module")
def updates(copy_trained: Callable[[], Clone]) -> Updates:
    clone = copy_trained()
    clone.repro()
    own = plain_batch(clone.top / "data" / "raw" / "own", count=40)
    (own / UNLABELLED_NOTICE).write_text("Effusion\nHernia\n")
    added = clone.run("python", "-m", "chestxray", "add-batch", "own", "data/raw/own", "--warm-start", "1").stdout
    killed, second = {}, []
    for stage, goal in (
        ("decode", "decode@own"),
        ("prepare", "prepare@own"),
        ("features", "gradcam"),
        ("register", ""),
    ):
        killed[stage] = killed_in(clone, stage)
        second += clone.repro(*filter(None, [goal]))
    nothing = clone.repro()
    metrics_diff = clone.run("dvc", "metrics", "diff", FIRST).stdout
    clone.commit("two batches")
    return Updates(clone, added, killed, second, nothing, metrics_diff)


def test_adding_says_what_it_adds(updates: Updates) -> None:
    assert "patients" in updates.added and "known" in updates.added


def test_an_update_prepares_and_embeds_the_new_batch_alone(updates: Updates) -> None:
    assert sorted(updates.second) == sorted(["decode@own", "prepare@own", "features@own", *EACH])
    assert updates.nothing == []


def test_the_benchmark_stays_and_the_difference_is_shown(updates: Updates) -> None:
    one, two = (updates.metrics(tag) for tag in (FIRST, "HEAD"))
    assert one["benchmark"]["n"] == two["benchmark"]["n"] == one["test"]["n"]
    by_part = updates.clone.run("git", "show", "HEAD:reports/metrics_by_part.csv").stdout
    rows = pd.read_csv(io.StringIO(by_part)).set_index(["part", "batch"])["n"]
    assert two["test"]["n"] == rows[("batch", "phantom")] + rows[("batch", "own")]
    assert one["benchmark"].keys() == two["benchmark"].keys() and one["test"].keys() == two["test"].keys()
    digests = {updates.clone.run("git", "show", f"{tag}:reports/benchmark.json").stdout for tag in (FIRST, "HEAD")}
    assert len(digests) == 1
    pinned = json.loads(digests.pop())["benchmark_set"]["sha256"]
    assert f"benchmark_sha256: {pinned}" in (updates.clone.top / "params.yaml").read_text()
    assert (
        "test.mean_auroc" in updates.metrics_diff
    )  # the warm start kept its parent: the benchmark has nothing to show


def test_killed_stages_leave_nothing_half_done_and_the_next_run_ends_right(updates: Updates) -> None:
    assert set(updates.killed.values()) == {-signal.SIGKILL}
    for stage in ("decoded", "prepared"):
        left = {path.name for path in (updates.clone.top / "data" / stage).iterdir()}
        assert left == {".gitignore", "phantom", "own"}
    versions = updates.client.search_model_versions("name = 'chest-xray'")
    assert sorted(int(version.version) for version in versions) == [1, 2]
    assert len({version.tags["chestxray.bundle_sha256"] for version in versions}) == 2
    assert {version.tags["chestxray.verdict"].split()[0] for version in versions} <= {"promote", "keep", "underpowered"}


def test_the_warm_start_goes_on_from_the_version_that_is_pinned(updates: Updates) -> None:
    assert "warm_start: models:/chest-xray/1" in (updates.clone.top / "params.yaml").read_text()
    seen = json.loads((updates.clone.top / "models/start/seen_batches.json").read_text())
    assert seen == ["phantom"]
    images = json.loads((updates.clone.top / "reports/fine_tune.json").read_text())["fine_tune"]["images"]
    data = updates.clone.top / "data"
    prepared = [read_studies(BatchFolders(folder.name, data)) for folder in (data / "prepared").glob("[a-z]*")]
    assert 0 < images < (pd.concat(prepared)["split"] == "train").sum()
    assert json.loads((updates.clone.top / "reports/train.json").read_text()) == {"train": {"warm_start": 1}}
    assert (updates.clone.top / "reports/curves/train.csv").read_text() == "iteration,loss\n"
    assert pd.read_csv(updates.clone.top / "reports/label_errors.csv").empty
    left_out = pd.read_csv(updates.clone.top / "reports/label_errors_by_finding.csv")["left_out"]
    assert left_out.str.contains("starts from a registered version|fewer than 2 patients").all()


def test_what_the_new_batch_does_not_label_counts_nowhere_in_it(updates: Updates) -> None:
    reports, data = updates.clone.top / "reports", updates.clone.top / "data"
    batches = {name: read_studies(BatchFolders(name, data)) for name in ("phantom", "own")}
    train, test = ({name: (b["split"] == split).sum() for name, b in batches.items()} for split in ("train", "test"))
    assert (batches["own"][["Effusion", "Hernia"]] == -1).all(axis=None) and train["own"] and test["own"]
    weights = json.loads((reports / "class_weights.json").read_text())
    assert weights["Mass"]["n"] == sum(train.values())
    assert weights["Effusion"]["n"] == weights["Hernia"]["n"] == train["phantom"]
    confusion = pd.read_csv(reports / "confusion_matrices.csv").set_index("finding").sum(axis=1)
    assert confusion["Mass"] - confusion["Effusion"] == test["own"]
    predictions = pd.read_csv(reports / "predictions.csv")
    assert (predictions["Effusion_truth"].isna() == (predictions["batch"] == "own")).all()
    assert predictions["Effusion_probability"].notna().all()


def test_cold_and_warm_give_the_same_reports(updates: Updates) -> None:
    cold, warm = (
        set(updates.clone.run("git", "ls-tree", "-r", "--name-only", tag, "reports").stdout.split())
        for tag in (FIRST, "HEAD")
    )
    assert cold == warm


def test_the_ledger_has_every_version_on_every_batch(updates: Updates) -> None:
    table = pd.read_csv(updates.clone.top / "reports/updates.csv")
    assert sorted(zip(table["version"], table["batch"], strict=True)) == [
        (version, batch) for version in (1, 2) for batch in ("own", "phantom")
    ]
    metrics = updates.metrics("HEAD")
    mine = table[table["version"] == 2].set_index("batch")
    assert mine.loc["phantom", "mean_auroc"] == pytest.approx(metrics["benchmark"]["mean_auroc"], abs=2e-6)
    assert (updates.clone.top / "reports/updates.png").stat().st_size > 5000


def test_the_verdict_is_written_and_followed(updates: Updates) -> None:
    verdict = json.loads((updates.clone.top / "reports/promotion.json").read_text())
    assert verdict["version"] == 2 and verdict["images"] == updates.metrics("HEAD")["benchmark"]["n"]
    text = (updates.clone.top / "reports/promotion.md").read_text()
    assert verdict["reason"] in text and "synthetic" in text
    champion = updates.client.get_model_version_by_alias("chest-xray", "champion").version
    assert str(champion) == str(2 if verdict["decision"] == "promote" else verdict["champion"])


def test_rolling_back_and_forth(updates: Updates) -> None:
    client = updates.client

    def alias(name: str) -> str:
        return str(client.get_model_version_by_alias("chest-xray", name).version)

    client.set_registered_model_alias("chest-xray", "champion", "2")
    client.set_registered_model_alias("chest-xray", "previous", "1")
    updates.clone.run("python", "-m", "chestxray", "rollback")
    assert (alias("champion"), alias("previous")) == ("1", "2")
    again = updates.clone.run("python", "-m", "chestxray", "rollback", check=False)
    assert again.returncode == 1 and "version 2 was rolled back" in again.stderr and alias("champion") == "1"
    updates.clone.run("python", "-m", "chestxray", "promote", "2")
    assert (alias("champion"), alias("previous")) == ("2", "1")
    client.delete_registered_model_alias("chest-xray", "previous")
    failed = updates.clone.run("python", "-m", "chestxray", "rollback", check=False)
    assert failed.returncode != 0 and "no previous champion" in failed.stderr


def test_a_warm_start_that_does_not_fit_is_refused_before_any_work(updates: Updates) -> None:
    params = (updates.clone.top / "params.yaml").read_text()
    for wrong, said in ((("warm_start: models:/chest-xray/1", "warm_start: models:/chest-xray/77"), "77"),):
        (updates.clone.top / "params.yaml").write_text(params.replace(*wrong))
        failed = updates.clone.run("python", "-m", "stages.train", check=False)
        assert failed.returncode != 0 and "train.warm_start" in failed.stderr and said in failed.stderr
    (updates.clone.top / "params.yaml").write_text(params)


def test_the_older_tag_gives_the_older_metrics_back(updates: Updates) -> None:
    expected = updates.metrics(FIRST)
    updates.clone.run("git", "checkout", "-qf", FIRST)
    updates.clone.repro()
    assert json.loads((updates.clone.top / "reports/metrics.json").read_text()) == expected
    with pytest.raises(MlflowException):
        updates.client.get_model_version("chest-xray", "4")
    assert ran(updates.clone.run("dvc", "repro").stdout) == []


def test_files_are_where_the_readme_says(updates: Updates) -> None:
    for name in ("promotion.json", "promotion.md", "updates.csv", "updates.png", "flips.csv"):
        assert Path(updates.clone.top, "reports", name).is_file()
