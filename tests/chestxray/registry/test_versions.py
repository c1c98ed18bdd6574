"""A bundle is one version, however often it is registered, and by two processes at the same moment too."""

import multiprocessing
import os
import shutil
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from ruamel.yaml import YAML

from chestxray.datasets.dataset import IMAGES, STUDIES, BatchFolders, Dataset
from chestxray.evaluation.logits import logits_frame, predict_logits, prepared_hashes
from chestxray.inference.bundle import MODEL
from chestxray.inference.card import CARD, Card, bundle_digest, write_card
from chestxray.inference.onnx_model import OnnxModel
from chestxray.registry.registered_version import DIGEST, VERDICT
from chestxray.registry.versions import Registry
from chestxray.system.files import read_json, write_json
from chestxray.tracking.mlflow_runs import PARENT, STAGE, STATE, pipeline_run
from stages.register import main
from tests.chestxray.conftest import NAME, PARAMS
from tests.repository import TOP
from tests.serve.bundles import operating_points

ROUNDS = 4


def workspace(top: Path, dataset: Dataset, bundle: Path, threshold: float, strict: bool = False) -> Path:
    """A clone just before its stage `register`: a bundle, the prepared data, and the reports of the stages before."""
    yaml = YAML()
    params = yaml.load(TOP / "params.yaml")
    params["batches"] = {"b": {"root": "data/raw/b"}}
    params["evaluate"]["seed"] = int(threshold * 1000)  # another bundle is of another state of the pipeline
    params["register"]["gate"] |= {"superiority": strict}
    top.mkdir(parents=True)
    yaml.dump(params, top / "params.yaml")
    folders = BatchFolders("b", top / "data")
    for folder in (folders.prepared, folders.decoded):
        folder.mkdir(parents=True)
    dataset.studies.drop(columns="batch").to_parquet(folders.prepared / STUDIES)
    np.save(folders.decoded / IMAGES, dataset.images["b"])
    shutil.copytree(bundle, top / "models/bundle")
    card = Card.model_validate(read_json(bundle / CARD))
    write_card(card.model_copy(update={"operating_points": operating_points((threshold,) * 14)}), top / "models/bundle")
    (top / "models/final.weights.h5").write_bytes(b"weights")
    test = dataset.split("test")
    logits = predict_logits(OnnxModel(bundle / MODEL), test, "predicting")
    logits_frame(prepared_hashes(test), logits, test.findings).to_parquet(top / "models/test_logits.parquet")
    for name in ("metrics", "train", "fine_tune", "class_weights"):
        write_json(top / f"reports/{name}.json", {name: {}})
    return top


def register_at_once(start: Barrier, rounds: list[tuple[Path, Path]]) -> None:
    """Body of a process: runs the stage in each workspace, against the store in the folder beside it."""
    for top, store in rounds:
        os.chdir(top)
        os.environ |= {"DVC_ROOT": str(top), "MLFLOW_TRACKING_URI": f"sqlite:///{store / 'mlflow.db'}"}
        start.wait(timeout=120)
        main()


def registered(folder: Path, empty_store: Path, pairs: list[tuple[Path, Path]]) -> list[MlflowClient]:
    """Two processes run the stage in the two workspaces of each pair, each pair against a store of its own."""
    stores = [folder / f"store{number}" for number in range(len(pairs))]
    for number, store in enumerate(stores):
        store.mkdir()
        if number:  # the first is made by the two
            shutil.copy(empty_store, store)
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(2)
    rounds = [[(pair[one], store) for pair, store in zip(pairs, stores, strict=True)] for one in (0, 1)]
    processes = [spawn.Process(target=register_at_once, args=(start, each)) for each in rounds]
    for process in processes:
        process.start()
    try:
        for process in processes:
            process.join(timeout=300)
        assert [process.exitcode for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
            process.join()
    return [MlflowClient(f"sqlite:///{store / 'mlflow.db'}") for store in stores]


def aliases(client: MlflowClient) -> dict[str, int]:
    return {alias: int(number) for alias, number in client.get_registered_model(NAME).aliases.items()}


def verdict(top: Path) -> dict[str, Any]:
    return dict(read_json(top / "reports/promotion.json"))


def check_runs(client: MlflowClient, parents: int) -> None:
    """So many runs of pipelines, and the stage twice under them, all finished."""
    runs = client.search_runs([client.get_experiment_by_name("chest-xray").experiment_id])
    children = [run for run in runs if STAGE in run.data.tags]
    of = {run.info.run_id for run in runs if STATE in run.data.tags}
    assert len(of) == parents and len(children) == 2 and len(runs) == parents + 2
    assert {run.data.tags[PARENT] for run in children} == of
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_registering_again_makes_no_version(client: MlflowClient, bundle_folder: Path, tmp_path: Path) -> None:
    registry = Registry(client, NAME)
    again = registry.register(pipeline_run(client, PARAMS), bundle_folder, tmp_path / "final.weights.h5")
    assert again.number == 1 and len(registry.versions()) == 1


@pytest.mark.slow
def test_two_that_register_the_same_bundle_make_one_version(
    tmp_path: Path, empty_store: Path, dataset: Dataset, bundle_folder: Path
) -> None:
    pairs = [
        tuple(workspace(tmp_path / f"{pair}{one}", dataset, bundle_folder, 0.5) for one in "ab")
        for pair in range(ROUNDS)
    ]
    for client, pair in zip(registered(tmp_path, empty_store, pairs), pairs, strict=True):
        (version,) = client.search_model_versions(f"name = '{NAME}'")
        assert version.tags[DIGEST] == bundle_digest(pair[0] / "models/bundle")
        assert version.tags[VERDICT] == "promote"
        assert aliases(client) == {"champion": int(version.version), "challenger": int(version.version)}
        assert verdict(pair[0]) == verdict(pair[1])
        check_runs(client, parents=1)


@pytest.mark.slow
@pytest.mark.heavy
def test_two_that_register_different_bundles_judge_the_second_against_the_first(
    tmp_path: Path, empty_store: Path, dataset: Dataset, bundle_folder: Path
) -> None:
    pairs = [
        tuple(workspace(tmp_path / f"{pair}{t}", dataset, bundle_folder, t, strict=pair % 2 == 0) for t in (0.4, 0.6))
        for pair in range(ROUNDS)
    ]
    for client, pair in zip(registered(tmp_path, empty_store, pairs), pairs, strict=True):
        by_digest = {v.tags[DIGEST]: v for v in client.search_model_versions(f"name = '{NAME}'")}
        of = {int(by_digest[bundle_digest(top / "models/bundle")].version): top for top in pair}
        assert sorted(of) == [1, 2] and len(by_digest) == 2
        first, second = verdict(of[1]), verdict(of[2])
        assert (first["version"], first["champion"], first["decision"]) == (1, None, "promote")
        assert (second["version"], second["champion"]) == (2, 1)
        tags = {int(version.version): version.tags[VERDICT] for version in by_digest.values()}
        assert tags == {1: "promote", 2: f"{second['decision']} against version 1"}
        promoted = {"champion": 2, "previous": 1} if second["decision"] == "promote" else {"champion": 1}
        assert aliases(client) == {"challenger": 2, **promoted}
        check_runs(client, parents=2)
