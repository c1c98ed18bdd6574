"""Whether a registered version becomes champion: the verdict with its reasons, the flips, the ledger, the alias."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from chestxray.datasets.benchmark import benchmark_batches
from chestxray.datasets.dataset import Dataset
from chestxray.findings import FINDINGS, RESEARCH_USE_ONLY, UNLABELLED
from chestxray.metrics.comparison import METRICS, Scores
from chestxray.params import Params
from chestxray.registry.gate import judge
from chestxray.registry.history import version_history
from chestxray.registry.version_predictions import VersionPredictions, predict_versions
from chestxray.registry.versions import (
    CHAMPION,
    DIGEST,
    ROLLED_BACK,
    VERDICT,
    VERDICT_FOLDER,
    RegistryError,
    artifact_path,
    promote,
    version_with_alias,
)
from chestxray.system.files import read_json
from chestxray.tracking.mlflow_runs import Run

VERDICT_FILE, FLIPS_FILE = "promotion.json", "flips.csv"
FLIP_COLUMNS = (
    "change", "batch", "image", "patient", "finding", "truth",
    "champion_probability", "champion_decision", "challenger_probability", "challenger_decision",
)  # fmt: skip
METRIC_NAMES = {
    "auroc": "AUROC",
    "average_precision": "average precision",
    "f1": "macro F1",
    "calibration_error": "calibration error (lower is better)",
}


@dataclass(frozen=True)
class Promotion:
    """What is decided on a version, and on what.

    Attributes:
        verdict: content of `promotion.json`: `version`, `champion` (the number of the one before, or null), `decision`,
            `reason`, `synthetic`, and what `gate.Verdict.to_dict` gives, if there were two versions to compare.
        flips: test studies whose decision changed, as `flips` gives them.
        ledger: every version on every batch, as `ledger.ledger` gives it.
    """

    verdict: dict[str, Any]
    flips: pd.DataFrame
    version_history: pd.DataFrame


def decide_promotion(client: MlflowClient, version: ModelVersion, test: Dataset, params: Params) -> Promotion:
    """Judges a version against the champion on the benchmark; moves nothing.

    The champion itself keeps the verdict that made it champion.

    Args:
        client: of the MLflow store.
        version: the challenger.
        test: the test images of all batches.
        params: names the benchmark's batches and the gate's policy.
    """
    holding, every = version_with_alias(client, version.name, CHAMPION), predict_versions(client, test, params)
    number, champion = int(version.version), int(holding.version) if holding else None
    if number not in every:
        raise RegistryError(f"version {number} can't be opened; delete it from the registry and run dvc repro again")
    table = version_history(test, list(every.values()), champion)
    if number == champion:
        return Promotion(*_kept_verdict(client, version, test.synthetic), table)
    rival = every.get(champion) if champion else None
    changed = flips(test.studies, rival.scores, every[number].scores) if rival else pd.DataFrame(columns=FLIP_COLUMNS)
    facts = {"version": number, "champion": champion, "synthetic": test.synthetic}
    return Promotion(facts | _decision(version, champion, rival, every[number], test, params), changed, table)


def _decision(
    version: ModelVersion,
    champion: int | None,
    rival: VersionPredictions | None,
    own: VersionPredictions,
    test: Dataset,
    params: Params,
) -> dict[str, Any]:
    """What is decided and why; the gate is asked where nothing else settles it."""
    decision, by_hand = "keep", "to replace it, move the alias in MLflow by hand"
    if champion is None:
        decision, reason = "promote", "It is the first: there is no champion to hold it against."
    elif version.tags.get(VERDICT) == ROLLED_BACK:
        reason = "It was rolled back by hand."
    elif int(version.version) < champion:
        reason = f"Version {champion} was promoted after it: {by_hand}."
    elif rival is None:
        reason = f"Champion version {champion} can't be compared (the log says why): {by_hand}."
    elif rival.synthetic and not test.synthetic:
        decision = "promote"
        reason = f"It is trained on radiographs, champion version {champion} on synthetic phantoms."
    elif test.synthetic and not rival.synthetic:
        reason = f"Champion version {champion} is trained on radiographs, it on synthetic phantoms."
    else:
        return _judged(test, rival, own, params)
    return {"decision": decision, "reason": reason}


def _judged(
    test: Dataset, champion: VersionPredictions, challenger: VersionPredictions, params: Params
) -> dict[str, Any]:
    part = test.studies["batch"].isin(benchmark_batches(params)).to_numpy()
    people, policy = test.patients[part], params.register_.gate
    try:
        return judge(test.labels[part], champion.at(part), challenger.at(part), people, policy).to_dict()
    except ValueError as error:
        return {"decision": "underpowered", "reason": f"The benchmark can't tell models apart: {error}."}


def _kept_verdict(client: MlflowClient, version: ModelVersion, synthetic: bool) -> tuple[dict[str, Any], pd.DataFrame]:
    with tempfile.TemporaryDirectory() as folder:
        try:
            kept = artifact_path(version.tags[DIGEST], VERDICT_FOLDER)
            files = Path(client.download_artifacts(version.run_id, kept, folder))
            return dict(read_json(files / VERDICT_FILE)), pd.read_csv(files / FLIPS_FILE, dtype={"patient": str})
        except (MlflowException, OSError):
            unknown = {"decision": "promote", "reason": "It is champion already; its verdict is not on record."}
            facts = {"version": int(version.version), "champion": None, "synthetic": synthetic}
            return facts | unknown, pd.DataFrame(columns=FLIP_COLUMNS)


def flips(test: pd.DataFrame, champion: Scores, challenger: Scores) -> pd.DataFrame:
    """The test studies whose decision the challenger changes, a row a study and finding, right to wrong first.

    Where the truth is not labelled there is no right and wrong, and no row.

    Args:
        test: `batch`, `image`, `patient` and the 14 findings, N rows.
        champion, challenger: of the same N images.
    """
    rows = []
    for place, finding in enumerate(FINDINGS):
        old, new = (np.asarray(scores.decisions)[:, place].astype(bool) for scores in (champion, challenger))
        labels = test[finding].to_numpy()
        changed = (old != new) & (labels != UNLABELLED)
        part = test.loc[changed, ["batch", "image", "patient"]].assign(finding=finding)
        for name, scores, said in (("champion", champion, old), ("challenger", challenger, new)):
            part[f"{name}_probability"] = np.asarray(scores.probabilities)[changed, place]
            part[f"{name}_decision"] = said[changed].astype(int)
        part.insert(4, "truth", labels[changed].astype(int))
        part.insert(0, "change", np.where(old == labels, "right to wrong", "wrong to right")[changed])
        rows.append(part)
    table: pd.DataFrame = pd.concat(rows)[list(FLIP_COLUMNS)]
    return table.sort_values(["change", "finding", "batch", "image"], ignore_index=True)


def apply_verdict(client: MlflowClient, version: ModelVersion, verdict: dict[str, Any], reports: Path) -> None:
    """Keeps the verdict with the version, tags it, and moves the alias if the verdict is `promote`.

    The alias comes last: a run that is killed before is judged again, with the same result. Who is champion already is
    left alone.

    Args:
        client: of the MLflow store.
        version: the challenger.
        verdict: content of `promotion.json`.
        reports: the folder that holds `promotion.json` and `flips.csv`.
    """
    champion = version_with_alias(client, version.name, CHAMPION)
    if champion is not None and champion.version == version.version:
        return
    run, kept = Run(client, version.run_id), artifact_path(version.tags[DIGEST], VERDICT_FOLDER)
    for name in (VERDICT_FILE, FLIPS_FILE):
        run.log_artifact(reports / name, kept)
    if version.tags.get(VERDICT) != ROLLED_BACK:
        against = f" against version {verdict['champion']}" if verdict["champion"] else ""
        client.set_model_version_tag(version.name, version.version, VERDICT, f"{verdict['decision']}{against}")
    if verdict["decision"] == "promote":
        promote(client, version)


def report(verdict: dict[str, Any]) -> str:
    """`promotion.md`, from the content of `promotion.json`."""
    lines = [f"# Version {verdict['version']}: {verdict['decision']}", "", verdict["reason"], ""]
    if "mean" in verdict:
        kind = "**synthetic** phantoms, no clinical meaning" if verdict["synthetic"] else "radiographs"
        lines += [
            f"Challenger version {verdict['version']} against champion version {verdict['champion']}, on the same "
            f"{verdict['images']} benchmark images of {verdict['patients']} patients ({kind}). Differences are "
            "challenger minus champion; bounds are one-sided at the policy's level, by paired bootstrap over patients.",
            "",
            "| mean over voting findings | champion | challenger | difference | bounds |",
            "|---|---|---|---|---|",
            *(f"| {METRIC_NAMES[name]} {_cells(verdict['mean'][name])}" for name in METRICS),
            "",
            "| AUROC | positives | standing | champion | challenger | difference | bounds |",
            "|---|---|---|---|---|---|---|",
            *(
                f"| {name.replace('_', ' ')} | {row['positives']} | {row['standing']} {_cells(row['auroc'])}"
                for name, row in verdict["findings"].items()
            ),
            "",
            "Policy: " + ", ".join(f"{key} {value}" for key, value in verdict["policy"].items()) + ".",
            "",
        ]
    return "\n".join([*lines, RESEARCH_USE_ONLY, ""])


def _cells(row: dict[str, float | None]) -> str:
    if row["difference"] is None:
        return "| – | – | – | – |"
    bounds = "–" if row["low"] is None else f"{row['low']:+.4f} to {row['high']:+.4f}"
    return f"| {row['champion']:.4f} | {row['challenger']:.4f} | {row['difference']:+.4f} | {bounds} |"
