"""What is decided on a version without asking the gate, and what a rollback leaves when it is killed."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from chestxray.datasets.dataset import Dataset
from chestxray.datasets.split import patient_split, split_fingerprint
from chestxray.findings import FINDINGS
from chestxray.inference.bundle import Bundle, write_card
from chestxray.params import PrepareParams
from chestxray.registry.promote import decide_promotion
from chestxray.registry.promotion_report import report
from chestxray.registry.registered_version import RegisteredVersion, RegistryError
from chestxray.registry.versions import CHAMPION, Registry
from chestxray.tracking.mlflow_runs import pipeline_run
from tests.chestxray.conftest import NAME, PARAMS
from tests.chestxray.other_findings import with_findings
from tests.serve.bundles import operating_points


def another(
    client: MlflowClient, bundle_folder: Path, tmp_path: Path, name: str = "another", **changes: Any
) -> RegisteredVersion:
    """One more version, with another card."""
    folder = Path(shutil.copytree(bundle_folder, tmp_path / name))
    write_card(Bundle(folder).card.model_copy(update={"intended_use": name, **changes}), folder)
    return Registry(client, NAME).register(pipeline_run(client, PARAMS), folder, tmp_path / "final.weights.h5")


def decided(registry: Registry, version: RegisteredVersion, test: Dataset) -> tuple[str, str]:
    verdict = decide_promotion(registry, version, test, PARAMS).verdict
    return verdict["decision"], verdict["reason"]


def test_an_older_version_that_is_built_again_stays_where_it_is(
    client: MlflowClient, registry: Registry, dataset: Dataset, bundle_folder: Path, tmp_path: Path
) -> None:
    registry.promote(another(client, bundle_folder, tmp_path))
    decision, reason = decided(registry, registry.version(1), dataset.split("test"))
    assert decision == "keep" and "Version 2 was promoted after it" in reason


@pytest.mark.parametrize(
    ("champion", "challenger", "decision"),
    [(True, False, "promote"), (False, True, "keep"), (False, False, "underpowered")],
)
def test_a_model_of_radiographs_comes_before_one_of_phantoms(
    champion: bool, challenger: bool, decision: str, client: MlflowClient, registry: Registry, dataset: Dataset,
    bundle_folder: Path, tmp_path: Path,
) -> None:  # fmt: skip
    registry.promote(another(client, bundle_folder, tmp_path, synthetic=champion))
    newest = another(client, bundle_folder, tmp_path, "newest", synthetic=challenger)
    images = Dataset(dataset.studies.assign(synthetic=challenger), dataset.images).split("test")
    assert decided(registry, newest, images)[0] == decision


def test_a_champion_of_another_draw_of_test_patients_is_not_compared(
    client: MlflowClient,
    registry: Registry,
    dataset: Dataset,
    bundle_folder: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It may have been trained on them."""
    registry.promote(another(client, bundle_folder, tmp_path, test_draws={"b": "0" * 64}))
    newest = another(client, bundle_folder, tmp_path, "newest")
    decision, reason = decided(registry, newest, dataset.split("test"))
    assert decision == "keep" and "can't be compared" in reason
    assert "version 2 is left out: it was made with test patients of batch b 000" in caplog.text


def test_what_either_has_not_learned_is_not_compared_and_what_is_insufficient_has_no_flips(
    client: MlflowClient, registry: Registry, dataset: Dataset, bundle_folder: Path, tmp_path: Path
) -> None:
    status = ["learned"] * 12 + ["insufficient", "not learned"]
    lost, rare = FINDINGS[13], FINDINGS[12]
    evaluate = PARAMS.evaluate.model_copy(update={"min_positives": 2, "benchmark": ("b",)})
    params = PARAMS.model_copy(update={"evaluate": evaluate})
    registry.promote(another(client, bundle_folder, tmp_path))
    newest = another(
        client,
        bundle_folder,
        tmp_path,
        "newest",
        status=tuple(status),
        operating_points=operating_points((0.0,) * 12 + (None, None)),
    )
    promotion = decide_promotion(registry, newest, dataset.split("test"), params)
    verdict = promotion.verdict
    assert lost not in verdict["findings"] and verdict["not_compared"] == {"champion": [lost], "challenger": []}
    assert f"only the champion has {lost}" in verdict["reason"]
    assert (
        verdict["findings"][rare]["auroc"]["difference"] == 0 and verdict["findings"][rare]["f1"]["difference"] is None
    )
    assert verdict["mean"]["f1"]["difference"] is not None
    assert not promotion.flips.empty and not set(promotion.flips["finding"]) & {lost, rare}
    written = report(verdict)
    assert "Insufficient (a score without decisions): Pleural thickening." in written
    assert f"Not learned (no number, not compared): {lost}." in written and "patients unknown" not in written
    assert "patients unknown: each image counts as one" in report({**verdict, "patients_known": False})


def test_the_draw_is_the_hash_until_a_list_says_otherwise(dataset: Dataset) -> None:
    prepare: PrepareParams = PARAMS.prepare
    test = dataset.split("test").studies
    assert split_fingerprint(test, prepare) == {"b": "hash"}
    assert split_fingerprint(test.head(3), prepare) == {"b": "hash"}  # as if some images had not been usable
    other = next(str(n) for n in range(100) if patient_split(str(n), prepare, None) != "test")
    listed = split_fingerprint(test.assign(patient=[other, *test["patient"][1:]]), prepare)["b"]
    assert listed != "hash" and listed != split_fingerprint(test.assign(patient=other), prepare)["b"]


def test_a_killed_rollback_loses_no_version(
    client: MlflowClient, registry: Registry, bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.promote(registry.version(1))
    registry.promote(another(client, bundle_folder, tmp_path))
    set_alias, calls = client.set_registered_model_alias, []

    def killed(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) > 1:
            raise KeyboardInterrupt
        set_alias(*arguments)

    monkeypatch.setattr(client, "set_registered_model_alias", killed)
    with pytest.raises(KeyboardInterrupt):
        registry.rollback()
    monkeypatch.undo()
    champion = registry.version_with_alias(CHAMPION)
    assert champion is not None and champion.number == 1
    with pytest.raises(RegistryError, match="no previous champion"):
        registry.rollback()


def test_a_version_with_other_findings_is_compared_on_what_both_have(
    client: MlflowClient, registry: Registry, dataset: Dataset, bundle_folder: Path, tmp_path: Path
) -> None:
    registry.promote(registry.version(1))
    shared = ["Atelectasis", "Effusion", "Mass"]
    columns = {"Mass": 4, "Tuberculosis": 3, "Effusion": 2, "Atelectasis": 7}
    folder = with_findings(bundle_folder, columns, tmp_path / "other")
    newest = registry.register(pipeline_run(client, PARAMS), folder, tmp_path / "final.weights.h5")
    params = PARAMS.model_copy(update={"evaluate": PARAMS.evaluate.model_copy(update={"benchmark": ("b",)})})
    promotion = decide_promotion(registry, newest, dataset.split("test"), params)
    verdict, history = promotion.verdict, promotion.history.set_index("version")
    alone = {"champion": [name for name in FINDINGS if name not in shared], "challenger": ["Tuberculosis"]}
    assert list(verdict["findings"]) == shared and verdict["not_compared"] == alone
    assert verdict["reason"].endswith("only the challenger has Tuberculosis.")
    assert set(promotion.flips["finding"]) == {"Atelectasis"}  # the others are the same columns of the same network
    assert history["findings_scored"].to_dict() == {1: 14, 2: 3}
    again = decide_promotion(registry, newest, dataset.split("test"), params)
    assert again.verdict == verdict  # from the logits that were kept


def test_a_version_without_a_common_finding_leaves_the_champion(
    client: MlflowClient, registry: Registry, dataset: Dataset, bundle_folder: Path, tmp_path: Path
) -> None:
    registry.promote(registry.version(1))
    folder = with_findings(bundle_folder, {"Tuberculosis": 3}, tmp_path / "other")
    newest = registry.register(pipeline_run(client, PARAMS), folder, tmp_path / "final.weights.h5")
    assert decided(registry, newest, dataset.split("test")) == (
        "keep",
        "It and champion version 1 have no finding in common: to replace it, move the alias in MLflow by hand.",
    )
