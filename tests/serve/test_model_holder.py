"""A model is served only if it proved good; a bad new one leaves the old one serving."""

import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from mlflow import MlflowClient

from chestxray.findings import FINDINGS
from chestxray.inference.bundle import MODEL, Bundle
from chestxray.inference.bundle_source import SOURCE
from chestxray.inference.card import CARD, bundle_digest, write_card
from chestxray.inference.platt import Platt
from chestxray.registry.registered_version import DIGEST
from chestxray.registry.versions import Registry
from chestxray.system.regular_file import read_regular
from chestxray.tracking.mlflow_runs import Run
from serve.model_holder import ModelHolder
from serve.settings import Settings
from tests.repository import TOP
from tests.serve.bundles import make_bundle


def following(uri: Path | str, **settings: str) -> ModelHolder:
    return ModelHolder(Settings(model_uri=str(uri), inference_threads=1, **settings))  # type: ignore[arg-type] # strings


def served(holder: ModelHolder) -> str:
    assert holder.model
    return holder.model.info.sha256


def replace_model(folder: Path, model: bytes) -> None:
    """Another `model.onnx`, with a card that vouches for it."""
    card = Bundle(folder).card.model_copy(update={"model_sha256": hashlib.sha256(model).hexdigest()})
    (folder / MODEL).write_bytes(model)
    write_card(card, folder)


def test_a_new_bundle_in_the_folder_is_taken_up(tmp_path: Path) -> None:
    holder = following(make_bundle(tmp_path))
    holder.refresh()
    first = served(holder)
    make_bundle(tmp_path, seed=1)
    holder.refresh()
    assert served(holder) == bundle_digest(tmp_path) != first
    assert holder.problem is None


def test_a_bundle_that_came_out_of_a_registry_says_which_version_it_is(tmp_path: Path) -> None:
    make_bundle(tmp_path)
    was = {"name": "chest-xray", "version": "3", "alias": "champion", "sha256": bundle_digest(tmp_path)}
    (tmp_path / SOURCE).write_text(json.dumps(was))
    holder = following(tmp_path)
    holder.refresh()
    assert holder.model and was.items() <= holder.model.info.model_dump().items()
    make_bundle(tmp_path, seed=1)  # of which nobody said anything
    holder.refresh()
    assert holder.model and holder.model.info.version is None


def damage(folder: Path) -> None:
    make_bundle(folder, seed=1)
    model = bytearray((folder / MODEL).read_bytes())
    model[len(model) // 2] ^= 1
    (folder / MODEL).write_bytes(model)


def remove_model(folder: Path) -> None:
    make_bundle(folder, seed=1)
    (folder / MODEL).unlink()


def put_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def external(folder: Path) -> None:
    model = onnx.load(folder / MODEL)
    onnx.external_data_helper.convert_model_to_external_data(model, location="tensors.data")
    onnx.save(model, folder / "external.onnx")
    replace_model(folder, (folder / "external.onnx").read_bytes())


def not_finite(folder: Path) -> None:
    model = onnx.load(folder / MODEL)
    (bias,) = (tensor for tensor in model.graph.initializer if tensor.name == "bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(14, np.nan, np.float32), "bias"))
    replace_model(folder, model.SerializeToString())


REVERSED = {
    "findings": FINDINGS[::-1],
    "calibration": Platt(FINDINGS[::-1], np.full(14, 0.5), np.linspace(-1, 1, 14)).to_dict(),
}

BAD = {
    "damaged": (damage, "SHA-256"),
    "no model": (remove_model, "not a bundle"),
    "a pipe for a model": (lambda folder: put_pipe(folder / MODEL), "no regular file"),
    "a pipe for a card": (lambda folder: put_pipe(folder / CARD), "no regular file"),
    "no model beside the same card": (lambda folder: (folder / MODEL).unlink(), "not a bundle"),
    "another model beside the same card": (lambda folder: (folder / MODEL).write_bytes(b"another"), "SHA-256"),
    "no card": (lambda folder: (folder / CARD).unlink(), "is no bundle"),
    "half a card": (lambda folder: (folder / CARD).write_text("{"), "not a bundle"),
    "other labels": (
        lambda folder: write_card(Bundle(folder).card.model_copy(update=REVERSED), folder),
        "the names or the order of the findings",
    ),
    "other size": (lambda folder: make_bundle(folder, size=96), "size"),
    "other bias": (lambda folder: make_bundle(folder, bias=(9.0,) * 14), "add up"),
    "tensors elsewhere": (external, "External data"),
    "not a number": (not_finite, "add up"),
    "not ONNX": (lambda folder: replace_model(folder, b"nonsense"), "does not run"),
}


def test_tensors_in_other_files_are_not_even_looked_for_where_they_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    external(make_bundle(tmp_path))
    monkeypatch.chdir(tmp_path)  # where ONNX Runtime would look by itself
    with pytest.raises(Exception, match="External data"):
        Bundle(tmp_path)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_new_model_leaves_the_old_one_serving(tmp_path: Path, name: str) -> None:
    spoil, reason = BAD[name]
    holder = following(make_bundle(tmp_path))
    holder.refresh()
    before = served(holder)
    spoil(tmp_path)
    holder.refresh()
    assert served(holder) == before
    assert holder.problem and reason in holder.problem.reason
    for path in tmp_path.iterdir():
        path.unlink()
    make_bundle(tmp_path, seed=2)
    holder.refresh()
    assert holder.problem is None and served(holder) != before


def test_a_bundle_that_could_not_be_read_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it has changed: the disk failed."""
    holder = following(make_bundle(tmp_path))

    def failing(path: Path, limit: int | None = None) -> bytes:
        if path.name == MODEL:
            raise OSError(errno.EIO, "Input/output error")
        return read_regular(path, limit)

    with monkeypatch.context() as patched:
        patched.setattr("chestxray.inference.bundle.read_regular", failing)
        holder.refresh()
        assert holder.model is None and holder.problem
    holder.refresh()
    assert served(holder) == bundle_digest(tmp_path) and holder.problem is None


def test_a_bundle_that_was_away_for_a_while_is_no_problem(tmp_path: Path) -> None:
    holder = following(make_bundle(tmp_path))
    holder.refresh()
    card = tmp_path / CARD
    card.rename(tmp_path / "away")
    holder.refresh()
    assert holder.problem
    (tmp_path / "away").rename(card)
    holder.refresh()
    assert holder.problem is None


def test_a_refused_bundle_is_not_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = following(tmp_path)
    damage(tmp_path)
    holder.refresh()
    reason = holder.problem
    monkeypatch.setattr("serve.model_holder.open_tested", pytest.fail)
    holder.refresh()
    assert reason and holder.problem == reason


def test_without_a_store_it_says_what_to_do(tmp_path: Path) -> None:
    holder = following("models:/chest-xray@champion", mlflow_tracking_uri=f"sqlite:///{tmp_path}/none.db")
    holder.refresh()
    assert holder.model is None
    assert holder.problem and "make reproduce" in holder.problem.reason
    assert not list(tmp_path.iterdir())


def failing_with(code: str) -> Callable[..., subprocess.Popen[str]]:
    """Starts this code instead of what asks MLflow."""
    start = subprocess.Popen
    return lambda _, **named: start([sys.executable, "-c", code], **named)


def test_without_mlflow_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chestxray.inference.bundle_source.find_spec", lambda name: None)
    holder = following("models:/chest-xray@champion")
    holder.refresh()
    assert holder.problem and holder.problem.reason.endswith(
        "MLflow is not installed here: set MODEL_URI to a bundle's folder"
    )


def new_version(client: MlflowClient, folder: Path, digest: str) -> str:
    return str(client.create_model_version("chest-xray", folder.as_uri(), tags={DIGEST: digest}).version)


@pytest.mark.parametrize(
    "store", ["postgresql://clinic:pa%2Fss@db.invalid/mlflow", "http://clinic:pa%2Fss@127.0.0.1:1/"]
)
def test_what_is_told_has_no_password_and_no_path(
    store: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    said = [f"cannot reach {store}", "authentication of clinic:pa/ss failed"]
    for reason in said:
        code = f"import sys; sys.exit({reason!r})"
        holder = following("models:/chest-xray@champion", mlflow_tracking_uri=store)
        with monkeypatch.context() as patched:
            patched.setattr(subprocess, "Popen", failing_with(code))
            holder.refresh()
        assert str(holder.problem).startswith("model-not-found: ")
        assert "/" not in str(holder.problem) and "pa" not in str(holder.problem).split()
        assert holder.problem and "MLflow: " in holder.problem.reason
    told = caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    assert "model refused" in told and not any(word in told for word in ("pa/ss", "pa%2Fss", "clinic:"))


@pytest.mark.slow
def test_an_alias_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = MlflowClient(store)
    client.create_registered_model("chest-xray")
    first, second = make_bundle(tmp_path / "one"), make_bundle(tmp_path / "two", seed=1)
    champion = new_version(client, first, bundle_digest(first))
    client.set_registered_model_alias("chest-xray", "champion", champion)
    holder = following("models:/chest-xray@champion", mlflow_tracking_uri=store)
    holder.refresh()
    assert served(holder) == bundle_digest(first)
    assert holder.model
    assert (holder.model.info.version, holder.model.info.alias) == ("1", "champion")

    client.set_registered_model_alias("chest-xray", "champion", new_version(client, second, "0" * 64))
    holder.refresh()
    assert served(holder) == bundle_digest(first)
    assert holder.problem and "SHA-256" in holder.problem.reason

    client.set_registered_model_alias("chest-xray", "champion", new_version(client, second, bundle_digest(second)))
    holder.refresh()
    assert holder.problem is None
    assert served(holder) == bundle_digest(second)

    same = new_version(client, second, bundle_digest(second))
    client.set_registered_model_alias("chest-xray", "champion", same)
    holder.refresh()
    assert served(holder) == bundle_digest(second)
    assert holder.model.info.version == same

    client.delete_registered_model_alias("chest-xray", "champion")
    holder.refresh()
    assert served(holder) == bundle_digest(second)
    assert holder.problem and "champion" in holder.problem.reason

    monkeypatch.chdir(tmp_path)  # a relative store goes by it
    pinned = following("models:/chest-xray/1", mlflow_tracking_uri="sqlite:///mlflow.db")
    pinned.refresh()
    assert served(pinned) == bundle_digest(first)
    assert pinned.model and pinned.model.info.alias is None


@pytest.mark.slow
def test_what_the_pipeline_registers_can_be_served(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client, folder = MlflowClient(store), make_bundle(tmp_path / "bundle")
    experiment = client.create_experiment("registering", artifact_location=(tmp_path / "artifacts").as_uri())
    run = Run(client, client.create_run(experiment).info.run_id)
    weights = tmp_path / "final.weights.h5"
    weights.write_bytes(b"weights")
    registry = Registry(client, "chest-xray")
    registry.promote(registry.register(run, folder, weights))
    holder = following("models:/chest-xray@champion", mlflow_tracking_uri=store)
    holder.refresh()
    assert holder.problem is None
    assert served(holder) == bundle_digest(folder)


def test_the_service_imports_no_training_and_no_mlflow() -> None:
    heavy = {"tensorflow", "keras", "mlflow", "onnx", "torch"}
    code = f"import sys, serve.__main__, chestxray.cli.predict; print(*({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=TOP, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
