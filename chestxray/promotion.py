"""From registered versions to a decision: what each says of the same test images, and who is champion after that."""

import tempfile
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from chestxray.bundle import Bundle
from chestxray.comparison import METRICS, Scores
from chestxray.dataset import Dataset
from chestxray.findings import FINDINGS, RESEARCH_USE_ONLY
from chestxray.gate import Difference, Verdict, judge
from chestxray.operating_points import decide
from chestxray.params import GateParams
from chestxray.progress import progress
from chestxray.registry import VERDICT, fetch_bundle, promote

IMAGES_AT_ONCE = 8
ROLLED_BACK = "rolled back"
METRIC_NAMES = {
    "auroc": "AUROC",
    "average_precision": "average precision",
    "f1": "macro F1",
    "calibration_error": "calibration error (lower is better)",
}


@dataclass(frozen=True)
class Opinion:
    """What a registered version says of the test images.

    Attributes:
        version: its number.
        batches: that it was trained on.
        scores: of all test images, N × 14.
    """

    version: int
    batches: tuple[str, ...]
    scores: Scores

    def at(self, part: npt.NDArray[np.bool_]) -> Scores:
        """The scores of some of the images."""
        return Scores(np.asarray(self.scores.probabilities)[part], np.asarray(self.scores.decisions)[part])


def ask(client: MlflowClient, version: ModelVersion, test: Dataset) -> Opinion:
    """Passes the test images through a registered version, with its own calibration and operating points.

    Raises:
        RegistryError, BundleError: its files are gone or damaged.
    """
    with tempfile.TemporaryDirectory() as folder:
        bundle = fetch_bundle(client, version, folder)
        chunks, total = test.chunks(IMAGES_AT_ONCE), -(-len(test.studies) // IMAGES_AT_ONCE)
        what = f"test images, version {version.version}"
        logits = bundle.network.logits_of(progress(chunks, what, total, f"batch of {IMAGES_AT_ONCE} image"))
    probabilities = bundle.platt.probabilities(logits)
    scores = Scores(probabilities, decide(probabilities, bundle.thresholds))
    return Opinion(int(version.version), tuple(bundle.card.params["batches"]), scores)


def comparable(client: MlflowClient, version: ModelVersion, size: int) -> bool:
    """Whether a version takes the images as they are prepared now."""
    with tempfile.TemporaryDirectory() as folder:
        bundle: Bundle = fetch_bundle(client, version, folder)
        return bundle.card.size == size and bundle.card.findings == FINDINGS


def flips(test: pd.DataFrame, champion: Scores, challenger: Scores) -> pd.DataFrame:
    """The test studies whose decision the challenger changes, a row a study and finding, right to wrong first.

    Args:
        test: `batch`, `image`, `patient` and the 14 findings, N rows.
        champion, challenger: of the same N images.
    """
    rows = []
    for place, finding in enumerate(FINDINGS):
        old, new = (np.asarray(scores.decisions)[:, place].astype(bool) for scores in (champion, challenger))
        truth = test[finding].to_numpy() == 1
        part = test.loc[old != new, ["batch", "image", "patient"]].assign(finding=finding)
        for name, scores, said in (("champion", champion, old), ("challenger", challenger, new)):
            part[f"{name}_probability"] = np.asarray(scores.probabilities)[old != new, place]
            part[f"{name}_decision"] = said[old != new].astype(int)
        part.insert(4, "truth", truth[old != new].astype(int))
        part.insert(0, "change", np.where(old == truth, "right to wrong", "wrong to right")[old != new])
        rows.append(part)
    return pd.concat(rows).sort_values(["change", "finding", "batch", "image"], ignore_index=True)


def verdict_on(
    test: Dataset, benchmark: tuple[str, ...], champion: Opinion, challenger: Opinion, policy: GateParams
) -> Verdict:
    """The gate's verdict on the benchmark, the test images of the batches named."""
    part = test.studies["batch"].isin(benchmark).to_numpy()
    return judge(test.truth[part], champion.at(part), challenger.at(part), test.patients[part], policy)


def settle(client: MlflowClient, version: ModelVersion, decision: str, champion: ModelVersion | None) -> None:
    """Tags the version with the verdict, and moves the alias if it is `promote`.

    The tag comes first: a run killed in between is judged again, with the same result.
    """
    against = f" against version {champion.version}" if champion else " as the first"
    client.set_model_version_tag(version.name, version.version, VERDICT, f"{decision}{against}")
    if decision == "promote":
        promote(client, version)


def report(verdict: dict[str, Any], challenger: str, champion: str | None, synthetic: bool) -> str:
    """`promotion.md`.

    Args:
        verdict: as `promotion.json` has it; `mean` and `findings` are missing when there was nothing to compare with.
        challenger, champion: the version numbers.
        synthetic: whether the benchmark is phantoms.
    """
    lines = [f"# {verdict['decision'].capitalize()}: version {challenger}", "", verdict["reason"], ""]
    kind = "**synthetic** phantoms, no clinical meaning" if synthetic else "radiographs"
    if champion is not None and "mean" in verdict:
        lines += [
            f"Challenger version {challenger} against champion version {champion} on the same {verdict['images']} "
            f"benchmark images of {verdict['patients']} patients ({kind}). Differences are challenger minus champion; "
            f"bounds are one-sided at {verdict['policy']['level']:g}, from a paired bootstrap over patients.",
            "",
            "| mean over voting findings | champion | challenger | difference | bounds |",
            "|---|---|---|---|---|",
            *(f"| {METRIC_NAMES[name]} {_cells(verdict['mean'][name])}" for name in METRICS),
            "",
            "| AUROC by finding | positives | standing | champion | challenger | difference | bounds |",
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
