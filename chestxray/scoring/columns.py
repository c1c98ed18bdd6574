"""Name the columns of a table of scores: those of each file, and for any findings three or four of each finding."""

from typing import Literal, NamedTuple

from chestxray.inference.bundle import Card

Kind = Literal["text", "number", "flag"]
Value = str | float | bool | None
Row = list[Value]
"""The values of the columns, in their order; None where there is none."""

ERROR = "error"
QUALITY = "quality"
IDENTIFIERS = ("study_uid", "series_uid", "sop_instance_uid", "patient_id")


class Column(NamedTuple):
    """A column: its name, and what its values are."""

    name: str
    kind: Kind


def finding_statuses(card: Card) -> tuple[str, ...]:
    """Return whether each finding was learned, in the order of the card."""
    return ("learned",) * len(card.findings)


def columns_of(card: Card, identifiers: bool, heatmaps: bool) -> list[Column]:
    """Return the columns of the table that a model makes.

    Only columns of findings have a colon before their last word, so that no name of a finding can be that of another
    column.

    Args:
        card: of the model.
        identifiers: whether to name study, series, image and patient.
        heatmaps: whether to name files of heatmaps.
    """
    columns = [Column("path", "text")]
    columns += [Column(name, "text") for name in IDENTIFIERS if identifiers]
    columns += [Column(name, "text") for name in (ERROR, "error_message", QUALITY, "checks")]
    for finding, status in zip(card.findings, finding_statuses(card), strict=True):
        columns.append(Column(f"{finding}:{number_name(status)}", "number"))
        columns += [Column(f"{finding}:positive", "flag"), Column(f"{finding}:status", "text")]
        columns += [Column(f"{finding}:heatmap", "text")] if heatmaps else []
    return [*columns, Column("model_sha256", "text"), Column("synthetic", "flag")]


def number_name(status: str) -> str:
    """Return what the number of a finding is called: a probability only where there was enough to learn it from."""
    return "score" if status == "insufficient" else "probability"
