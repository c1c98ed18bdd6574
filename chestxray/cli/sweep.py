"""Train many heads and some fine-tunings on the features of the last `dvc repro`, and propose the best of them."""

import argparse
from collections.abc import Iterator
from functools import reduce
from itertools import chain, product
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import ValidationError
from ruamel.yaml import YAML

from chestxray.datasets.dataset import Dataset, batch_folders, load_dataset
from chestxray.datasets.split import Split
from chestxray.errors import UserError
from chestxray.evaluation.figures import save, sweep_figure
from chestxray.findings import RESEARCH_USE_ONLY
from chestxray.labels import LabelMasks, label_masks
from chestxray.params import Params, load_params
from chestxray.system.files import read_json, write_csv
from chestxray.tracking.mlflow_runs import Run, own_run
from chestxray.training.class_weights import weight_array
from chestxray.training.features import Features, load_features
from chestxray.training.sweep import Candidate, Choice, choose, pipeline_logits, scores, train_deeper, train_heads

GRIDS = {
    "train.l2": (0.2, 0.4, 0.7, 1.2, 2.0, 3.5, 6.0, 10.0, 20.0, 50.0),
    "train.shared": (0.0, 0.1, 0.3, 1.0, 3.0),
    "fine_tune.learning_rate": (3e-5, 1e-4, 3e-4, 1e-3),
    "fine_tune.weight_decay": (1e-4, 1e-2),
}
"""By key of `params.yaml`: what is tried unless something else is asked for."""
READ_FROM = ("decode", "prepare", "class_weighting", "features", "train", "fine_tune")
"""Stages whose outputs a sweep starts from."""
SOURCE = "chestxray sweep"
SCORE = "validation_mean_auroc"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    for key, grid in GRIDS.items():
        section, name = key.split(".")
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            dest=key,
            type=float,
            nargs="*",
            default=grid,
            metavar="VALUE",
            help=f"values of {section}: {name}, by default {' '.join(f'{value:g}' for value in grid)}"
            + ("; none: no fine-tuning" if section == "fine_tune" else ""),
        )
    parser.add_argument("--output", type=Path, default=Path("reports/sweep"), help="folder for table and figure")


def run(options: argparse.Namespace) -> int:
    """Train, choose, write and say."""
    params = load_params()
    grids = {key: tuple(dict.fromkeys(getattr(options, key))) for key in GRIDS}
    _check(params, grids)
    check_reproduced(Path())
    options.output.mkdir(parents=True, exist_ok=True)  # what forbids that is said before hours of work
    dataset = load_dataset(batch_folders(params.batches))
    weights = weight_array(read_json(Path("reports/class_weights.json")), dataset.findings)
    learned = np.array(dataset.findings)[weights > 0].tolist()
    train, validation = (_features(params, dataset, side).of(learned) for side in ("train", "validation"))
    with own_run("sweep", SOURCE) as parent:
        parent.log_params({"sweep": {key: ", ".join(map(str, grid)) for key, grid in grids.items()}})
        heads = train_heads(train, validation, weights[weights > 0], grids["train.l2"], grids["train.shared"])
        deeper = train_deeper(params, weights, _choices(params, grids))
        labels = label_masks(validation.labels, learned)
        candidates = [_recorded(candidate, labels, parent) for candidate in chain(heads, deeper)]
        choice = choose(candidates, pipeline_logits(params, weights), labels, validation.patients)
        table = tabulate(candidates, choice)
        note = f"{len(labels)} {dataset.kind} of {len(set(validation.patients))} patients, validation side"
        write_csv(options.output / "sweep.csv", table)
        save(sweep_figure(table, choice.baseline, note), options.output / "sweep.png")
        over_folds = {"gain_over_folds": choice.apparent, "gain_of_nested_choice": choice.nested}
        parent.log_metrics({"gain": choice.gain.value, **over_folds})
        parent.log_artifact(options.output / "sweep.csv")
        parent.log_artifact(options.output / "sweep.png")
    print("\n".join(_said(candidates[choice.best], table, choice, note)))
    print(f"Table and figure: {options.output}; each candidate's run: make mlflow. {RESEARCH_USE_ONLY}")
    return 0


def tabulate(candidates: list[Candidate], choice: Choice) -> pd.DataFrame:
    """Tabulate candidates: what each was trained with, its best epoch and score, and which one is best.

    Returns:
        `kind` (head, fine-tuning), a column for each param, NaN where the other kind has it, `epoch` (0 of a head),
        `validation_mean_auroc`, `gain` over the model of `dvc repro`, and `best`, 1 of one candidate, 0 of the others.
    """
    table = pd.DataFrame([candidate.params for candidate in candidates], columns=list(GRIDS))
    epochs = np.nanargmax(choice.scores, axis=1)
    best = np.nanmax(choice.scores, axis=1)
    table.insert(0, "kind", [candidate.kind for candidate in candidates])
    return table.assign(
        epoch=epochs + [candidate.first_epoch for candidate in candidates],
        validation_mean_auroc=best.round(6),
        gain=(best - choice.baseline).round(6),
        best=(np.arange(len(table)) == choice.best).astype(int),
    )


def _check(params: Params, grids: dict[str, tuple[float, ...]]) -> None:
    """Check what is asked for.

    Raises:
        UserError: it can't be done.
    """
    for key, grid in grids.items():
        section, _, name = key.partition(".")
        known = getattr(params, section)
        for value in grid:
            try:
                type(known).model_validate({**known.model_dump(), name: value})
            except ValidationError as error:
                raise UserError(f"{key} {value:g} can't be tried: {error.errors()[0]['msg'].lower()}") from None
    if not grids["train.l2"] or not grids["train.shared"]:
        raise UserError("a sweep needs a value of --l2 and one of --shared at least")
    if params.train.warm_start:
        raise UserError(
            f"train.warm_start is {params.train.warm_start}, and a sweep fits heads anew: set it to null, dvc repro, "
            "and then sweep"
        )


def check_reproduced(top: Path) -> None:
    """Check that what a sweep starts from was made with the params of now.

    Args:
        top: the folder of `params.yaml` and `dvc.lock`.

    Raises:
        UserError: naming the param that has changed since, or what was never made.
    """
    yaml = YAML(typ="safe")
    lock, params = top / "dvc.lock", yaml.load(top / "params.yaml")
    if not lock.is_file():
        raise UserError(f"no {lock}: a sweep starts from what dvc repro makes. Run dvc repro, then sweep")
    stages = (yaml.load(lock) or {}).get("stages", {})
    for stage, facts in stages.items():
        name, _, batch = stage.partition("@")
        if name in READ_FROM and (not batch or batch in params["batches"]):
            for key, given in facts.get("params", {}).get("params.yaml", {}).items():
                if change := _first_change(key, given, reduce(_part, key.split("."), params)):
                    raise UserError(f"params.yaml: {change} in the last run of {stage}. Run dvc repro, then sweep")


def _part(section: object, name: str) -> object:
    return section.get(name) if isinstance(section, dict) else None


def _first_change(key: str, given: object, now: object) -> str:
    """Say which value is not what it was; nothing if all are."""
    if isinstance(given, dict) and isinstance(now, dict):
        changes = (_first_change(f"{key}.{name}", given.get(name), now.get(name)) for name in {**given, **now})
        return next(filter(None, changes), "")
    return "" if given == now else f"{key} is {now!r} and was {given!r}"


def _choices(params: Params, grids: dict[str, tuple[float, ...]]) -> list[dict[str, float]]:
    """Return what fine-tunings are tried with; nothing where params.yaml trains no epoch."""
    keys = [key for key in GRIDS if key.startswith("fine_tune.")]
    values = product(*(grids[key] for key in keys)) if params.fine_tune.epochs else ()
    return [dict(zip(keys, each, strict=True)) for each in values]


def _features(params: Params, dataset: Dataset, side: Split) -> Features:
    """Open the cached features of a side."""
    return load_features([each.features for each in batch_folders(params.batches)], dataset.split(side).studies, side)


def _recorded(candidate: Candidate, labels: LabelMasks, parent: Run) -> Candidate:
    """Write a candidate to MLflow, as a part of the sweep's run."""
    name = ", ".join(f"{key.partition('.')[2]} {value:g}" for key, value in candidate.params.items())
    with own_run(name, SOURCE, parent) as run:
        run.log_params(candidate.params)
        for epoch, score in enumerate(scores(candidate.logits, labels), candidate.first_epoch):
            run.log_metrics({SCORE: score}, epoch)
    return candidate


def _said(best: Candidate, table: pd.DataFrame, choice: Choice, note: str) -> Iterator[str]:
    """Say what is best, how much of that is the luck of having chosen, and how to try it."""
    row = table.loc[choice.best]
    counts = table["kind"].value_counts()
    yield f"Sweep: {counts.get('head', 0)} heads, {counts.get('fine-tuning', 0)} fine-tunings; {note}."
    values = ", ".join(f"{key} {value:g}" for key, value in best.params.items())
    epoch = f", epoch {row['epoch']}" if row["epoch"] else ""
    yield (
        f"Best: {row['kind']} with {values}{epoch}: mean AUROC {row[SCORE]:.4f}, of the model of `dvc repro` "
        f"{choice.baseline:.4f}; difference {row['gain']:+.4f}"
        + (
            f" with a standard error of {choice.gain.error:.4f} over patients."
            if np.isfinite(choice.gain.error)
            else "."
        )
    )
    if np.isfinite(choice.scores).sum() > 1:
        yield _luck(choice)
    if not (choice.gain.value > 0 and choice.nested > 0):  # or it is not known
        yield "That is not shown to be better than what params.yaml has: keep it."
        return
    if best.first_epoch:
        yield "The stage fine_tune keeps an epoch only if it beats its head by more than a standard error."
    else:
        yield "The stage fine_tune starts from it, as from any head, and keeps it unless an epoch gains enough."
    given = " ".join(f"-S {key}={value:g}" for key, value in best.params.items())
    yield f"Nothing is changed. To see what it comes to on the test side: dvc exp run {given} evaluate"


def _luck(choice: Choice) -> str:
    """Say how much of the gain is the luck of having chosen."""
    if not np.isfinite(choice.nested):
        return "It is the best of many on the patients that it is scored on: too few to say how much of that is luck."
    return (
        f"It is the best of many on the patients that it is scored on, and so looks too good. Chosen without the "
        f"patients that are scored (nested folds), what is left of {choice.apparent:+.4f} is {choice.nested:+.4f}: the "
        f"bias of choosing is {choice.apparent - choice.nested:+.4f}."
    )
