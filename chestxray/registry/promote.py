"""Decide whether a registered version becomes champion, and carry the decision out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from chestxray.datasets.benchmark import benchmark_batches
from chestxray.datasets.dataset import Dataset
from chestxray.errors import UserError
from chestxray.evaluation.groups import study_groups
from chestxray.labels import label_masks
from chestxray.params import Params
from chestxray.registry.compatibility import shared_findings
from chestxray.registry.flips import FLIP_COLUMNS, flips
from chestxray.registry.gate import judge
from chestxray.registry.history import version_history
from chestxray.registry.registered_version import ROLLED_BACK, RegisteredVersion, RegistryError
from chestxray.registry.version_predictions import VersionPredictions, predict_versions
from chestxray.registry.versions import CHAMPION, Registry


@dataclass(frozen=True)
class Promotion:
    """What is decided on a version, and on what.

    Attributes:
        verdict: content of `promotion.json`: `version`, `champion` (the number of the one before, or null),
            `same_weights_as` (the number of the first version that is the same network, or null), `decision`, `reason`,
            `synthetic`, `patients_known`, `titles` and `status` of the version's findings, `champion_status` of the
            champion's, and what `gate.Verdict.to_dict` gives, if there were two versions to compare.
        flips: test studies whose decision changed, as `flips` lists them.
        history: every version on every batch, as `history.version_history` gives it.
    """

    verdict: dict[str, Any]
    flips: pd.DataFrame
    history: pd.DataFrame


def decide_promotion(registry: Registry, version: RegisteredVersion, test: Dataset, params: Params) -> Promotion:
    """Judge a version against the champion on the benchmark; moves nothing.

    The champion itself keeps the verdict that made it champion. A version with the weights of an earlier one is no new
    model, however it is calibrated, and is not promoted.

    Args:
        registry: that has the version.
        version: the challenger.
        test: the test images of all batches.
        params: names the benchmark's batches and the gate's policy.

    Raises:
        RegistryError: the version's files are gone.
    """
    champion = registry.version_with_alias(CHAMPION)
    champion_number = champion.number if champion else None
    predictions = predict_versions(registry, test, params)
    if version.number not in predictions:
        raise RegistryError(
            f"version {version.number} can't be opened; delete it from the registry and run dvc repro again"
        )
    history = version_history(test, list(predictions.values()), champion_number, params.evaluate.min_positives)
    original = _first_of_its_weights(registry, version)
    verdict = {
        "version": version.number,
        "champion": champion_number,
        "same_weights_as": original,
        "synthetic": test.synthetic,
        "patients_known": test.patients_known,
        "titles": dict(predictions[version.number].titles),
        "status": dict(predictions[version.number].status),
    }
    no_flips = pd.DataFrame(columns=FLIP_COLUMNS)
    if version.number == champion_number:
        unknown = {"decision": "promote", "reason": "It is champion already; its verdict is not on record."}
        kept, kept_flips = version.verdict() or (verdict | {"champion": None} | unknown, no_flips)
        return Promotion(kept, kept_flips, history)
    challenger_predictions = predictions[version.number]
    champion_predictions = predictions.get(champion_number) if champion_number else None
    changed = no_flips
    if champion_predictions:
        changed = flips(test.studies, champion_predictions.predictions, challenger_predictions.predictions)
        verdict["champion_status"] = dict(champion_predictions.status)
    verdict |= _decide(version, original, champion_number, champion_predictions, challenger_predictions, test, params)
    return Promotion(verdict, changed, history)


def _first_of_its_weights(registry: Registry, version: RegisteredVersion) -> int | None:
    """Return the number of the first version with the weights of this later one; None if it is itself the first."""
    digest = version.network_digest()
    if digest is None:
        return None
    earlier = (other for other in registry.versions() if other.number < version.number)
    return next((other.number for other in earlier if other.network_digest() == digest), None)


def _decide(
    version: RegisteredVersion,
    original: int | None,
    champion_number: int | None,
    champion: VersionPredictions | None,
    challenger: VersionPredictions,
    test: Dataset,
    params: Params,
) -> dict[str, Any]:
    """Decide and say why; the gate is asked where nothing else settles it."""
    decision = "keep"
    by_hand = f"to make version {version.number} champion all the same, chestxray promote {version.number}"
    if champion_number is None:
        decision = "promote"
        reason = "It is the first: there is no champion to hold it against."
    elif version.verdict_tag == ROLLED_BACK:
        reason = f"It was rolled back: {by_hand}."
    elif original is not None:
        compared = _ask_gate(test, champion, challenger, params) if champion and original == champion_number else {}
        reason = f"It has the same weights as version {original}, recalibrated, and is no new model: {by_hand}."
        return compared | {"decision": decision, "reason": reason}
    elif version.number < champion_number:
        reason = f"Version {champion_number} was promoted after it: {by_hand}."
    elif champion is None:
        reason = f"Champion version {champion_number} can't be compared (the log says why): {by_hand}."
    elif champion.synthetic and not test.synthetic:
        decision = "promote"
        reason = f"It is trained on radiographs, champion version {champion_number} on synthetic phantoms."
    elif test.synthetic and not champion.synthetic:
        reason = f"Champion version {champion_number} is trained on radiographs, it on synthetic phantoms."
    elif not shared_findings(champion.predictions.findings, challenger.predictions.findings).shared:
        reason = f"It and champion version {champion_number} have no finding in common: {by_hand}."
    else:
        return _ask_gate(test, champion, challenger, params)
    return {"decision": decision, "reason": reason}


def _ask_gate(
    test: Dataset, champion: VersionPredictions, challenger: VersionPredictions, params: Params
) -> dict[str, Any]:
    part = test.studies["batch"].isin(benchmark_batches(params)).to_numpy()
    if not part.any():
        return {"decision": "underpowered", "reason": "The benchmark has no test images."}
    groups = study_groups(test.studies[part])
    try:
        return judge(
            label_masks(test.labels, test.findings).at(part),
            champion.predictions.at(part),
            challenger.predictions.at(part),
            test.patients[part],
            params.register_.gate,
            params.evaluate.min_positives,
            {f"{group.attribute} {group.name}": group.images for group in groups if group.known},
        ).to_dict()
    except UserError as error:
        return {"decision": "underpowered", "reason": f"The benchmark can't tell models apart: {error}."}


def apply_verdict(registry: Registry, version: RegisteredVersion, verdict: dict[str, Any], reports: Path) -> None:
    """Keep the verdict with the version, tag it, and move the alias if the verdict is `promote`.

    The alias comes last: a run that is killed before is judged again, with the same result. Who is champion already is
    left alone.

    Args:
        registry: that has the version.
        version: the challenger.
        verdict: content of `promotion.json`.
        reports: the folder that holds `promotion.json` and `flips.csv`.
    """
    champion = registry.version_with_alias(CHAMPION)
    if champion is not None and champion.number == version.number:
        return
    version.keep_verdict(verdict, reports)
    if verdict["decision"] == "promote":
        registry.promote(version)
