"""Record in the pipeline's run what it came to: params, headline metrics, data, description, tables and figures."""

import hashlib
import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from mlflow.entities import Dataset, DatasetInput, InputTag

from chestxray.params import Params
from chestxray.tracking.mlflow_runs import Run
from chestxray.tracking.nested import Nested
from chestxray.tracking.repository import git_commit, workspace

HEADLINES = ("mean_auroc", "mean_average_precision", "macro_f1")
"""Of each part of `metrics.json`, these are MLflow's metrics, or the same over all findings; the rest is in tables."""
PARTS = ("test", "benchmark")
DESCRIPTION = "mlflow.note.content"
DIGITS = 36
"""Of a digest, as many as MLflow takes."""
CONTEXT = "mlflow.data.context"
ROLES = {"train": "training", "validation": "validation", "test": "test"}
TRAINING = ("l2", "validation_mean_auroc", "kept_epoch")
"""Of `train.json` and `fine_tune.json`, these are MLflow's metrics."""
PICTURE = "description.png"
EVALUATED = ("metrics*", "classification_report.csv", "confusion_matrices.csv", "findings.png", "model_card.md")
"""Files that the stage `evaluate` writes: all that a run has which stops there."""
ALL = ("*.json", "*.csv", "*.md", "*.png", "curves/*.csv", "gradcam/overview.png", "gradcam/index.csv")


def log_evaluation(run: Run, params: Params, reports: Path, card: Nested, said: str, picture: Figure) -> None:
    """Log what is known when the model is evaluated: a try with `dvc exp run … evaluate` ends here.

    Args:
        run: the parent.
        params: of this state.
        reports: folder of the reports.
        card: content of `bundle.json`, which says what of each batch is used as what.
        said: the description, for people, in Markdown.
        picture: for the description.
    """
    run.log_params(params.model_dump(mode="json", by_alias=True))
    run.log_metrics(headlines(_read(reports / "metrics.json")))
    for part in ("train", "fine_tune"):
        metrics = _read(reports / f"{part}.json")[part]
        run.log_metrics({part: {name: value for name, value in metrics.items() if name in TRAINING}})
    _log_batches(run, params, card)
    run.client.log_figure(run.run_id, picture, PICTURE)
    run.log_tags({DESCRIPTION: f"{said}\n\n{embedded(run)}"})
    _log_files(run, reports, EVALUATED)


def log_verdict(run: Run, reports: Path, card: Nested) -> None:
    """Log the rest of the full record, which ends with the verdict: all tables and figures, and digests.

    Args:
        run: the parent.
        reports: folder of the reports.
        card: content of `bundle.json`.
    """
    _log_files(run, reports, ALL)
    lock = workspace() / "dvc.lock"
    run.log_tags(
        {
            "data": "synthetic" if card["synthetic"] else "real",
            "data_sha256": card["data_sha256"],
            "model_sha256": card["model_sha256"],
            "git_commit": git_commit(),
            "dvc_lock_sha256": hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else "none",
        }
    )


def embedded(run: Run) -> str:
    """Return the picture of a run in Markdown; MLflow's server has it at this address, and shows it unscaled."""
    return f"![AUROC by finding](get-artifact?path={PICTURE}&run_uuid={run.run_id})"


def headlines(metrics: Nested) -> dict[str, dict[str, float]]:
    """Return the six numbers that stand for a model, of those that could be measured.

    Args:
        metrics: content of `metrics.json`.
    """
    chosen: dict[str, dict[str, float]] = {}
    for part in PARTS:
        found = metrics.get(part, {})
        names = [name if name in found else f"{name}_of_all" for name in HEADLINES]
        chosen[part] = {name: found[name] for name in names if name in found}
    return chosen


def _log_batches(run: Run, params: Params, card: Nested) -> None:
    """Log what of each batch is used as what: MLflow's datasets, one a batch and role, with counts.

    A dataset's digest is the one in the card, cut to what MLflow takes, and the role is its context. MLflow gives a
    dataset one context in a run, so that the benchmark, which is the test images of some batches once more, has a name
    of its own. A run that has them keeps them.
    """
    known = {(each.dataset.name, each.dataset.digest) for each in run.client.get_run(run.run_id).inputs.dataset_inputs}
    benchmark = params.evaluate.benchmark or tuple(params.batches)[:1]
    inputs = []
    for side, facts in card["splits"].items():
        for batch, images in facts["batches"].items():
            names = {batch: ROLES[side]}
            if side == "test" and batch in benchmark:
                names[f"{batch} (benchmark)"] = "benchmark"
            for name, role in names.items():
                dataset = Dataset(
                    name=name,
                    digest=images["sha256"][:DIGITS],
                    source_type="local",
                    source=json.dumps({"uri": params.batches[batch].root}),
                    profile=json.dumps({"studies": images["images"], "patients": images["patients"]}),
                )
                if (dataset.name, dataset.digest) not in known:
                    inputs.append(DatasetInput(dataset, [InputTag(CONTEXT, role)]))
    run.client.log_inputs(run.run_id, inputs)


def _log_files(run: Run, reports: Path, patterns: tuple[str, ...]) -> None:
    for pattern in patterns:
        for file in sorted(reports.glob(pattern)):
            run.log_artifact(file, "/".join(file.relative_to(reports).parent.parts) or None)


def _read(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content
