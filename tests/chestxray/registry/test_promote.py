"""What is decided on a version without asking the gate, and what a rollback leaves when it is killed."""

import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from mlflow import MlflowClient

from chestxray.datasets.dataset import Dataset
from chestxray.datasets.split import patient_split, split_fingerprint
from chestxray.findings import FINDINGS
from chestxray.inference.bundle import Bundle
from chestxray.inference.card import write_card
from chestxray.models.mobilenet_v2 import LayerWeights
from chestxray.models.weights import HEAD, write_weights
from chestxray.params import PrepareParams
from chestxray.registry.promote import apply_verdict, decide_promotion
from chestxray.registry.promotion_report import report
from chestxray.registry.registered_version import RegisteredVersion, RegistryError
from chestxray.registry.versions import CHAMPION, HAS_MODELS, PREVIOUS, Registry
from chestxray.system.files import write_json
from chestxray.tracking.mlflow_runs import pipeline_run
from tests.chestxray.conftest import NAME, PARAMS, TINY
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
    assert f"only the champion predicts {lost}" in verdict["reason"]
    assert (
        verdict["findings"][rare]["auroc"]["difference"] == 0 and verdict["findings"][rare]["f1"]["difference"] is None
    )
    assert verdict["mean"]["f1"]["difference"] is not None
    assert not promotion.flips.empty and not set(promotion.flips["finding"]) & {lost, rare}
    written = report(verdict)
    assert "a score and no decisions, since too few patients show them: Pleural thickening." in written
    assert f"not learned, have no number, and are not compared: {lost}." in written
    assert "patients unknown" not in written
    assert "patients unknown: each image counts as one" in report({**verdict, "patients_known": False})


def test_a_finding_that_stands_otherwise_than_in_the_champion_is_said_in_a_sentence() -> None:
    before: dict[str, Any] = {"Mass": "learned", "Edema": "learned", "Hernia": "insufficient", "Nodule": "learned"}
    after = {"Mass": "learned", "Edema": "insufficient", "Hernia": "learned", "Nodule": "insufficient"}
    verdict = {"version": 2, "champion": 1, "decision": "keep", "reason": "Because.", "titles": {"Edema": "Oedema"}}
    written = report({**verdict, "status": after, "champion_status": before})
    assert (
        "Oedema, Nodule were learned (a probability and decisions) in champion version 1 and are insufficient (a score "
        "and no decisions) in version 2." in written
    )
    assert "Hernia was insufficient (a score and no decisions) in champion version 1 and is learned (a" in written
    assert "Mass" not in written and "champion" not in report({**verdict, "status": after})  # as older verdicts were


def rewritten(weights: LayerWeights, file: Path) -> Path:
    """The same weights in a file with other bytes."""
    write_weights(weights, file)
    with h5py.File(file, "a") as opened:
        opened.attrs["written"] = "another time"
    return file


def with_weights(
    registry: Registry, client: MlflowClient, bundle: Path, weights: Path, name: str, threshold: float
) -> RegisteredVersion:
    """Register a version of the tiny network."""
    card = Bundle(bundle).card
    params = {**card.params, "backbone": {**card.params["backbone"], "alpha": TINY.alpha}}
    made = Path(shutil.copytree(bundle, weights.parent / name))
    points = operating_points((threshold,) * 14)
    write_card(card.model_copy(update={"params": params, "operating_points": points}), made)
    return registry.register(pipeline_run(client, PARAMS), made, weights)


def test_the_same_weights_are_no_new_model_however_they_are_written_and_calibrated(
    client: MlflowClient, registry: Registry, dataset: Dataset, bundle_folder: Path, tiny_weights: LayerWeights,
    tmp_path: Path,
) -> None:  # fmt: skip
    write_weights(tiny_weights, tmp_path / "one.weights.h5")
    again = rewritten(tiny_weights, tmp_path / "again.weights.h5")
    assert again.read_bytes() != (tmp_path / "one.weights.h5").read_bytes()
    other = tiny_weights | {HEAD: [np.nextafter(array, np.float32(1)) for array in tiny_weights[HEAD]]}
    write_weights(other, tmp_path / "other.weights.h5")
    test = dataset.split("test")
    first = with_weights(registry, client, bundle_folder, tmp_path / "one.weights.h5", "one", 0.5)
    registry.promote(first)
    twin = with_weights(registry, client, bundle_folder, again, "again", 0.01)
    evaluate = PARAMS.evaluate.model_copy(update={"min_positives": 2, "benchmark": ("b",)})
    verdict = decide_promotion(registry, twin, test, PARAMS.model_copy(update={"evaluate": evaluate})).verdict
    assert (verdict["decision"], verdict["same_weights_as"]) == ("keep", first.number)
    assert "It has the same weights as version 2, recalibrated, and is no new model" in verdict["reason"]
    assert "chestxray promote 3" in verdict["reason"]
    assert verdict["mean"]["auroc"]["difference"] == 0 and verdict["mean"]["f1"]["difference"] != 0
    assert report(verdict).startswith("# Version 3: keep (same weights as version 2, recalibrated)\n")
    changed = with_weights(registry, client, bundle_folder, tmp_path / "other.weights.h5", "other", 0.02)
    assert decide_promotion(registry, changed, test, PARAMS).verdict["same_weights_as"] is None
    apply_verdict(registry, twin, verdict, written_reports(tmp_path, verdict))
    champion = registry.version_with_alias(CHAMPION)
    assert champion is not None and champion.number == first.number
    tag = registry.version(twin.number).verdict_tag
    assert tag == "keep against version 2 (same weights as version 2, recalibrated)"


def written_reports(folder: Path, verdict: dict[str, Any]) -> Path:
    write_json(folder / "promotion.json", verdict)
    (folder / "flips.csv").write_text("change\n")
    return folder


def test_what_was_rolled_back_comes_back_only_by_its_number(
    client: MlflowClient, registry: Registry, bundle_folder: Path, tmp_path: Path
) -> None:
    registry.promote(registry.version(1))
    registry.promote(another(client, bundle_folder, tmp_path))
    registry.rollback()
    for _ in range(2):
        with pytest.raises(RegistryError, match=r"champion is version 1 already, version 2 was rolled back.*promote 2"):
            registry.rollback()
    before = registry.promote_by_hand(2)
    assert before is not None and before.number == 1
    now, previous = (registry.version_with_alias(alias) for alias in (CHAMPION, PREVIOUS))
    assert now is not None and now.number == 2 and now.verdict_tag == "promoted by hand after version 1"
    assert previous is not None and previous.number == 1
    assert [version.number for version in registry.rollback()] == [2, 1]


def test_a_version_that_can_not_be_promoted_by_hand_says_why(
    registry: Registry, client: MlflowClient, bundle_folder: Path, tmp_path: Path
) -> None:
    assert registry.promote_by_hand(1) is None
    with pytest.raises(RegistryError, match="version 1 of chest-xray is champion already"):
        registry.promote_by_hand(1)
    with pytest.raises(RegistryError, match="there is no version 7"):
        registry.promote_by_hand(7)
    gone = another(client, bundle_folder, tmp_path)
    shutil.rmtree(next(tmp_path.rglob(f"versions/{gone.digest[:16]}")))
    with pytest.raises(RegistryError, match="the files of version 2 are gone"):
        registry.promote_by_hand(2)


def test_the_list_of_runs_shows_the_version_of_a_run(client: MlflowClient, registry: Registry) -> None:
    (version,) = client.search_model_versions(f"name = '{NAME}'")
    assert client.get_run(version.run_id).data.tags[HAS_MODELS] == "[]"  # as seen in a browser


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
    assert verdict["reason"].endswith("only the challenger predicts Tuberculosis.")
    assert " was not among the findings in champion version 1 and is learned (a" in report(verdict)
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
        "It and champion version 1 have no finding in common: to make version 2 champion all the same, "
        "chestxray promote 2.",
    )
