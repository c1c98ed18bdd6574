"""Name the columns of a table of scores: those of each file, and for any findings three to five of each finding."""

from typing import Literal, NamedTuple

from chestxray.inference.card import Card
from chestxray.inference.status import NUMBERS, STATUSES

Kind = Literal["text", "number", "flag"]
Value = str | float | bool | None
Row = list[Value]
"""The values of the columns, in their order; None where there is none."""

ERROR = "error"
QUALITY = "quality"
FULL_SCALE = "heatmap_full_scale"
"""What the brightest colour of a file's heatmaps stands for, in units of the logit."""
IDENTIFIERS = ("study_uid", "series_uid", "sop_instance_uid", "patient_id")


class Column(NamedTuple):
    """A column: its name, and what its values are."""

    name: str
    kind: Kind


def columns_of(card: Card, identifiers: bool, heatmaps: bool) -> list[Column]:
    """Return the columns of the table that a model makes, those of findings that were not learned last.

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
    columns += [Column(FULL_SCALE, "number")] if heatmaps else []
    each = zip(card.findings, card.status, card.bands, strict=True)
    for finding, status, band in sorted(each, key=lambda each: STATUSES.index(each[1])):
        number = NUMBERS.get(status)
        columns += [Column(f"{finding}:{number}", "number")] if number else []
        columns += [Column(f"{finding}:positive", "flag")]
        columns += [Column(f"{finding}:uncertain", "flag")] if band else []
        columns += [Column(f"{finding}:status", "text")]
        columns += [Column(f"{finding}:heatmap", "text")] if heatmaps and number else []
    return [*columns, Column("model_sha256", "text"), Column("synthetic", "flag")]
