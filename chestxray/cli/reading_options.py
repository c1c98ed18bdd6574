"""Declare the options that say how a batch's table is to be read: the keys of its entry in `params.yaml`."""

import argparse
from typing import Any

from pydantic import ValidationError

from chestxray.datasets.batch import AS_SAID
from chestxray.errors import UserError
from chestxray.params import ReadingParams


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """Declare an option for each key of `ReadingParams`."""
    parser.add_argument("--table", metavar="FILE", help="the table's name within the folder")
    parser.add_argument(
        "--labels",
        metavar="LABEL=FINDING",
        action="append",
        help="what a label of the table means; LABEL= passes it over; may be given several times",
    )
    parser.add_argument(
        "--uncertain",
        choices=["unknown", "positive", "negative"],
        help="what an uncertain label counts as (default: unknown)",
    )
    parser.add_argument(
        "--patients",
        metavar="PREFIX",
        help="put before each patient id; or `image`: each image counts as a patient's only one",
    )
    parser.add_argument("--exclude", metavar="FILE", help="list within the folder of images to leave out, one a line")
    parser.add_argument(
        "--follow-links",
        action=argparse.BooleanOptionalAction,
        help="whether links to files may lead out of the folder (default: no)",
    )


def reading_params(options: argparse.Namespace, listed: ReadingParams = AS_SAID) -> ReadingParams:
    """Return what was said on the command line, and where nothing was, what `params.yaml` says of the folder.

    Raises:
        UserError: a value that can't be; the message names the option.
    """
    given = {name: getattr(options, name) for name in ReadingParams.model_fields}
    values: dict[str, Any] = {name: getattr(listed, name) if said is None else said for name, said in given.items()}
    if options.labels is not None:
        values["labels"] = dict(_label(text) for text in options.labels)
    try:
        return ReadingParams.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        said = fault["msg"].removeprefix("Value error, ")
        raise UserError(f"--{str(fault['loc'][0]).replace('_', '-')}: {said}") from None


def _label(text: str) -> tuple[str, str | None]:
    label, equals, finding = text.rpartition("=")
    if not equals or not label.strip():
        raise UserError(f"--labels: expected LABEL=FINDING, or LABEL= to pass it over; given {text[:100]!a}")
    return label.strip(), finding.strip() or None
