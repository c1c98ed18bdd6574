"""Predict files without a server: a table of scores, or a line of JSON for each as `/predict` gives it."""

import argparse
import json
import logging
import os
import re
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from chestxray.errors import UserError, one_line, visible
from chestxray.imaging.radiograph import MAX_FILE_BYTES, MAX_PIXELS, RadiographError
from chestxray.inference.answer import PHANTOMS_ONLY, Model, answer
from chestxray.inference.bundle_source import find_bundle
from chestxray.inference.decisions import choose_thresholds
from chestxray.inference.predictions import ModelInfo, Options, Quality
from chestxray.inference.self_test import open_tested
from chestxray.scoring.heatmap_files import HeatmapFiles
from chestxray.scoring.inputs import InputFile, Inputs, find_inputs
from chestxray.scoring.run import score_to_table, unfinished_runs
from chestxray.scoring.score import Scorer
from chestxray.scoring.table import writer_of, written_text
from chestxray.scoring.tally import Tally

STORE = "sqlite:///.mlflow/mlflow.db"
"""MLflow's store if MLFLOW_TRACKING_URI names none: the one that `dvc repro` makes in this folder."""
FAILED = 1
"""Exit code if some files could not be used."""
NOTHING_DONE = 2
"""Exit code if no file was looked at, or no table made."""
FORMS = ("none", "inline", "jpeg", "raw")
"""Of heatmaps within JSON."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.description = (
        "Predict PNG, JPEG, TIFF, JPEG 2000 and DICOM files. With --output, a table with a row for each file; a run "
        "that was stopped goes on when it is called again with the same arguments. Without, a line of JSON for each. "
        "Exit code 0: all were predicted; 1: some could not be used; 2: nothing was done."
    )
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help="a file; a folder, with all below it; a quoted pattern such as 'ward/**/*.dcm'; or an address of object "
        "storage such as s3://bucket/ward",
    )
    parser.add_argument(
        "--csv",
        action="append",
        default=[],
        metavar="FILE:COLUMN",
        help="a column of paths, relative to the folder of the file, or of addresses; may be given several times",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="the table to make, .csv or .parquet")
    parser.add_argument(
        "--model",
        default=os.environ.get("MODEL_URI", "models:/chest-xray@champion"),
        help="folder of a bundle, models:/<name>@<alias> or models:/<name>/<version> (default: what MODEL_URI says, "
        "else the champion)",
    )
    parser.add_argument(
        "--uids",
        action="store_true",
        help="add study, series and SOP instance UIDs and patient ids of DICOM files to the table: these are patient "
        "data",
    )
    parser.add_argument(
        "--heatmaps",
        default="none",
        metavar="DIR",
        help="with --output: a folder for overlays; without: none, inline, jpeg or raw (default: none)",
    )
    parser.add_argument("--heatmaps-for", choices=("positive", "all"), default="positive", help="default: positive")
    parser.add_argument(
        "--operating-point", metavar="NAME", help="one of the model's, such as sensitivity@0.9; default: its first"
    )
    parser.add_argument("--threshold", type=float, help="instead of every operating point, 0–1")
    parser.add_argument(
        "--prevalence", type=float, help="without --output: give predictive values for it, between 0 and 1"
    )
    parser.add_argument(
        "--accept-anyway", action="store_true", help="answer about an image that the checks refuse, such as a hand"
    )


def run(options: argparse.Namespace) -> int:
    """Predict; returns the exit code."""
    try:
        return _make_table(options) if options.output else _print_answers(options)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("chestxray"):
            raise
        message = f"the package {error.name} is not installed: pip install '.[train]' in the repository"
    except BrokenPipeError:
        raise
    except (UserError, OSError) as error:
        message = one_line(error)
    print(f"chestxray predict: {written_text(message)}", file=sys.stderr)
    return NOTHING_DONE


@contextmanager
def opened_model(address: str, threads: int = 0) -> Iterator[Model]:
    """Open and try the model that an address means; its files are there until the block ends.

    Args:
        address: the folder of a bundle, or a URI of MLflow's registry.
        threads: of one inference; 0 takes all cores.

    Raises:
        BundleError: there is none, or it is not good.
    """
    store = os.environ.get("MLFLOW_TRACKING_URI", STORE)
    with tempfile.TemporaryDirectory(prefix="chestxray-") as temporary:
        folder, found = find_bundle(address, store, Path(temporary))
        bundle = open_tested(folder, threads)
        yield Model(ModelInfo.model_validate({**found, "synthetic": bundle.card.synthetic}), bundle)


def _make_table(options: argparse.Namespace) -> int:
    """Make the table."""
    output: Path = options.output
    writer_of(output)  # a wrong suffix is said before any work
    if options.prevalence is not None:
        raise UserError("--prevalence: a table has no predictive values; leave --output out")
    for name, given in (("--output", str(output)), ("--heatmaps", options.heatmaps)):
        if re.match(r"\w+:/", given):
            raise UserError(f"{name}: an address of storage was given; name a place in the file system")
    if output.is_dir():
        raise UserError("--output: a folder has that name; name a file that ends in .csv or .parquet")
    for table in options.csv:
        listed = Path(table.rpartition(":")[0])
        if output.exists() and listed.exists() and output.samefile(listed):
            raise UserError(f"--output: {str(output)!a} is the table that --csv reads; name another file")
    asked = _options(options, "none")
    folder = None if options.heatmaps == "none" else options.heatmaps
    inputs = _inputs(options, excluded=folder)
    if inputs.missing:
        raise UserError(f"no such file or folder, and no file of that pattern: {inputs.missing[0]!a}")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
    heatmaps = HeatmapFiles(folder, run="", of_all=asked.heatmaps_for == "all") if folder else None
    with opened_model(options.model, threads=1) as model:
        scorer = Scorer(model, asked.operating_point, asked.threshold, asked.accept_anyway, options.uids, heatmaps)
        tally = _score(scorer, inputs, output)
    return FAILED if tally.failed else 0


def _score(scorer: Scorer, inputs: Inputs, output: Path) -> Tally:
    """Score all files and say what became of them."""
    deciding = scorer.thresholds.name  # says before any file what is wrong
    logging.getLogger("chestxray.imaging").setLevel(logging.ERROR)  # why a file can't be used stands in its row
    try:
        tally = score_to_table(scorer, inputs.files, output)
    except KeyboardInterrupt:
        print("chestxray predict: call again with the same arguments to go on", file=sys.stderr)
        raise
    _summarise(tally, inputs, scorer.model.info, deciding, output)
    return tally


def _summarise(tally: Tally, inputs: Inputs, info: ModelInfo, deciding: str, output: Path) -> None:
    """Print what became of the files, by which model, and by which operating point it decided."""
    print(*tally.lines(inputs.skipped), sep="\n")
    print(f"decisions {deciding}")
    print(f"model     {info.in_words()}")
    print(f"table     {visible(written_text(str(output)))}")
    if left := unfinished_runs(output):
        names = visible(written_text(f".{output.name}.*.partial"))
        print(f"note      {len(left)} unfinished runs with other arguments lie beside it, {names}")
    if info.synthetic:
        print(PHANTOMS_ONLY.strip())


def _options(options: argparse.Namespace, heatmaps: str) -> Options:
    """Check the options that the service has too."""
    given = {name: getattr(options, name) for name in Options.model_fields} | {"heatmaps": heatmaps}
    try:
        return Options.model_validate({name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        faults = [(str(fault["loc"][0]).replace("_", "-"), fault) for fault in error.errors()]
        said = (f"--{name}: {fault['msg']}, given {fault['input']}" for name, fault in faults)
        raise UserError("; ".join(said)) from None


def _inputs(options: argparse.Namespace, excluded: str | None = None) -> Inputs:
    """Find the files.

    Raises:
        UserError: there are none.
    """
    if not (options.paths or options.csv):
        raise UserError("name a file, a folder, a pattern, or --csv FILE:COLUMN")
    inputs = find_inputs(options.paths, options.csv, excluded)
    if not (inputs.files or inputs.missing):
        skipped = ", ".join(f"{count} {reason}" for reason, count in sorted(inputs.skipped.items()))
        raise UserError(f"no file to predict there{f'; passed over: {skipped}' if skipped else ''}")
    return inputs


def _print_answers(options: argparse.Namespace) -> int:
    """Print an answer for each file; exit code 1 if one could not be used."""
    if options.heatmaps not in FORMS:
        raise UserError("--heatmaps: without --output, none, inline, jpeg or raw is accepted")
    if options.uids:
        raise UserError("--uids: needs --output")
    asked = _options(options, options.heatmaps)
    inputs = _inputs(options)
    inputs.add((path, path) for path in inputs.missing)
    with opened_model(options.model) as model:
        choose_thresholds(model.bundle.card, asked.operating_point, asked.threshold)  # says first what is wrong
        return max([_print_answer(model, file, asked) for file in inputs.files])


def _print_answer(model: Model, file: InputFile, options: Options) -> int:
    """Print the answer about a file, or why there is none; returns 1 then."""
    try:
        data = file.read(MAX_FILE_BYTES)
        prediction = answer(model, data, options, MAX_PIXELS, uuid.uuid4().hex)
        said = prediction.model_dump(mode="json")
        code = 0
    except (RadiographError, OSError) as error:
        refused = error if isinstance(error, RadiographError) else None
        said = {"type": refused.kind if refused else "unreadable-file", "detail": written_text(one_line(error))}
        if refused and refused.checks:
            said["quality"] = Quality.of(refused.checks).model_dump(mode="json")
        code = FAILED
    print(json.dumps({"file": written_text(file.given), **said}, ensure_ascii=False))
    return code
