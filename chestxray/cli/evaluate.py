"""Evaluate a model on a folder of radiographs with a table, without training on it and without the pipeline."""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import get_args

from mlflow.exceptions import MlflowException

from chestxray.cli.reading_options import add_reading_options, reading_params
from chestxray.datasets.dataset import REJECTED, Dataset
from chestxray.datasets.trained_on import TRAINED_ON, TrainedOn
from chestxray.errors import UserError
from chestxray.evaluation.external import (
    Result,
    evaluate_external,
    leave_out_known,
    read_folder,
    recalibrate,
    write_bundle,
)
from chestxray.evaluation.reports import write_reports
from chestxray.evaluation.shortcuts import find_shortcuts
from chestxray.inference.answer import disclaimer
from chestxray.inference.bundle import MODEL, Bundle
from chestxray.inference.headlines import TOO_FEW, headlines
from chestxray.inference.model_card import model_card
from chestxray.inference.model_uri import SCHEME
from chestxray.inference.status import PATIENTS_UNKNOWN
from chestxray.params import Views
from chestxray.registry.resolve import resolve
from chestxray.system.files import atomic_write, write_csv, write_text
from chestxray.tracking.store import open_store


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", help="folder of a bundle, models:/<name>@<alias> or models:/<name>/<version>")
    parser.add_argument("folder", type=Path, help="with a table, and images in any folders")
    parser.add_argument("--output", type=Path, metavar="DIR", help="for tables and figures; a folder that is not there")
    parser.add_argument(
        "--recalibrate",
        action="store_true",
        help="fit calibration and operating points on half of the patients, measure on the others, and write a bundle "
        "of its own to DIR/bundle",
    )
    parser.add_argument("--views", choices=get_args(Views), help="which views to measure on (default: the model's)")
    parser.add_argument(
        "--max-rejected", metavar="SHARE", type=_share, help="of the folder that may be unusable (default: the model's)"
    )
    add_reading_options(parser)


def run(options: argparse.Namespace) -> int:
    """Evaluate and say what came out."""
    if options.recalibrate and options.output is None:
        raise UserError("--recalibrate needs --output, for the bundle that it makes")
    reading, preparing = reading_params(options), {"views": options.views, "max_rejected": options.max_rejected}
    with _new_folder(options.output, options.folder) as output, tempfile.TemporaryDirectory() as scratch:
        bundle_folder = _bundle_folder(options.model, Path(scratch, "bundle"))
        bundle, content = Bundle(bundle_folder), (bundle_folder / MODEL).read_bytes()
        known = TrainedOn.read(bundle_folder, bundle.card.data_sha256)
        found, rejected = read_folder(options.folder, bundle.card, reading, Path(scratch, "data"), preparing)
        found, said = leave_out_known(found, known)
        print(*said, sep="\n", flush=True)
        result = (recalibrate if options.recalibrate else evaluate_external)(bundle, content, found)
        print(*_summary(result), sep="\n", flush=True)
        if output is not None:
            write_csv(output / REJECTED, rejected)
            write_csv(output / "input_gate.csv", result.refused)
            shortcuts = find_shortcuts(content, result.evaluation.test, result.card.params["evaluate"]["min_n"])
            write_reports(result.evaluation, result.located, shortcuts, result.card, _note(result), output)
            if options.recalibrate:
                write_bundle(result, content, known, output / "bundle")
                write_text(output / "model_card.md", model_card(result.card))
    return 0


@contextmanager
def _new_folder(output: Path | None, data: Path) -> Iterator[Path | None]:
    """Make, before any work, the folder to write into, which has its name only once all is in it.

    Raises:
        UserError: it is there already, lies among the data, or can't be made.
    """
    if output is None:
        yield None
        return
    if output.exists():
        raise UserError(f"--output: {output} is there already; name a folder that is not")
    if output.resolve().is_relative_to(data.resolve()):
        raise UserError(f"--output: {output} lies in {data}, whose images would be more next time; name another folder")
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(atomic_write(output))
            folder.mkdir()
        except OSError as error:
            raise UserError(f"--output: {output} can't be made: {error.strerror}; name another folder") from error
        yield folder


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share < 1:
        raise argparse.ArgumentTypeError(f"a share from 0 to below 1 is needed, given was {share:g}")
    return share


def _bundle_folder(address: str, fetched: Path) -> Path:
    """Return the folder of a bundle, fetched if it is in a registry."""
    if not address.startswith(SCHEME):
        return Path(address)
    try:
        resolve(open_store(), address, fetched, also=(TRAINED_ON,))
    except MlflowException as error:
        raise UserError(f"MLflow: {error.message}") from error
    return fetched


def _summary(result: Result) -> list[str]:
    """Say the headlines, what the input gate would refuse, and on what it was measured."""
    evaluation, card, first = result.evaluation, result.card, result.fitted_on
    test = evaluation.metrics["test"]
    whose = _of_patients(test["patients"], evaluation.test)
    how = "the model's own calibration and operating points"
    if first is not None:
        people = _of_patients(len(set(first.patients)), first)
        how = f"calibration and operating points from {len(first.studies)} others{people}"
    lines = [f"measured on {test['n']} {evaluation.test.kind}{whose}, with {how}"]
    if test["findings_scored"]:
        lines += [str(each) for each in headlines(test, card.headlines)]
    else:
        lines += _rates(result)
    for row in result.refused.itertuples():
        lines.append(f"input gate: {row.refused} of {row.n} images are unlike those of its training")
    return [*lines, disclaimer(card.synthetic)]


def _of_patients(count: int, images: Dataset) -> str:
    if not images.patients_known:
        return ", each taken for a patient: whose they are is not known"
    return f" of {count} patients"


def _rates(result: Result) -> list[str]:
    """Say what the operating point that decides is worth where no finding has both classes."""
    points = result.evaluation.operating_points[result.card.operating_point]
    lines = ["no finding has images both with and without it: nothing can be ranked"]
    for title, point in zip(result.card.titles, points, strict=True):
        for name, rate in {"sensitivity": point.sensitivity, "specificity": point.specificity}.items():
            if rate is not None:
                said = TOO_FEW if rate.low is None else f"95 % interval {rate.low:.3f} to {rate.high:.3f}"
                lines.append(f"{title}: {name} {rate.value:.3f} ({said}), n {rate.n}")
    return lines


def _note(result: Result) -> str:
    """Say in a line for figures what the images are and how it was decided."""
    test, card = result.evaluation.test, result.card
    whose = f"{test.kind} of another data set" + ("" if test.patients_known else f", {PATIENTS_UNKNOWN}")
    model = "a model of synthetic phantoms, " if card.synthetic else ""
    return f"{whose}, {model}decided by {card.operating_point}"
