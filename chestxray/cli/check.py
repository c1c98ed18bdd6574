"""Say what a folder of radiographs and its table would be read as, without changing anything."""

import argparse
import sys
from pathlib import Path

from chestxray.cli.reading_options import add_reading_options, reading_params
from chestxray.datasets.batch import read_batch
from chestxray.datasets.decode import decode_files
from chestxray.datasets.description import (
    describe_reading,
    describe_refused,
    describe_rejected,
    describe_split,
    describe_studies,
)
from chestxray.datasets.prepare import BatchError, examine_batch
from chestxray.errors import UserError, one_line
from chestxray.params import load_params

EXIT_REFUSED = 2
"""Exit code of a folder that can't be used as it is."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("folder", type=Path, help="with a table, and images in any folders")
    add_reading_options(parser)


def run(options: argparse.Namespace) -> int:
    """Read the folder as the pipeline would, images included."""
    try:
        _check(options)
    except (UserError, OSError) as error:
        print(f"chestxray check: {one_line(error)}", file=sys.stderr)
        return EXIT_REFUSED
    return 0


def _check(options: argparse.Namespace) -> None:
    params = load_params()
    folder: Path = options.folder
    listed = [name for name, batch in params.batches.items() if Path(batch.root).resolve() == folder.resolve()]
    reading = reading_params(options, *(params.batches[name] for name in listed[:1]))
    batch = read_batch(folder, params.vocabulary, reading, params.prepare.views)
    print(*[f"listed as batches.{name} in params.yaml" for name in listed[:1]], *describe_reading(batch), sep="\n")
    try:
        decoded = decode_files(folder, folder.name, params.prepare.size, lambda _: None, reading.follow_links)
        studies, _, refused, rejected = examine_batch(batch, folder.name, params.prepare, decoded)
    except BatchError as error:
        print(*describe_rejected(error.rejected), sep="\n")
        raise
    lines = [*describe_studies(studies, batch.findings), *describe_refused(refused), *describe_rejected(rejected)]
    print(*lines, describe_split(studies), sep="\n")
    if batch.patients_by == "image":
        print("patients  not known: each image counts as a patient's only one")
    print(f"{len(studies)} studies of {studies['patient'].nunique()} patients")
