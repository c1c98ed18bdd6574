"""Measure the model in groups of the test images, and test whether it is worse in one of them."""

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from chestxray.evaluation.groups import ATTRIBUTES, Group, study_groups
from chestxray.inference.subgroup import ANY, MAX_SUBGROUPS, Subgroup
from chestxray.labels import Booleans, Floats, LabelMasks, counted_once
from chestxray.metrics.calibration_error import calibration_errors
from chestxray.metrics.group_measures import GroupMeasure, measure_groups
from chestxray.metrics.ranking import DECIMALS
from chestxray.metrics.table import Predictions

TESTED = ("auroc", "sensitivity", "specificity", "underdiagnosis")
"""Measures with an interval, and with a test against the other groups."""
COLUMNS = tuple(Subgroup.model_fields)


def subgroup_table(
    labels: LabelMasks, predictions: Predictions, studies: pd.DataFrame, patients: npt.ArrayLike, min_patients: int
) -> pd.DataFrame:
    """Tabulate a row a group and finding, and one for `ANY`; what fewer than `min_patients` show is left empty.

    Args:
        labels: of n images, of the findings that are predicted.
        predictions: for these images, less findings that have no number.
        studies: a row an image, with `sex`, `age`, `view` and `batch`.
        patients: `(n,)` ids, of at least two patients.
        min_patients: with such images, that a figure needs.

    Returns:
        Columns as the fields of `Subgroup`, in that order.
    """
    known = labels.of(predictions.findings)
    called = np.asarray(predictions.decisions, bool)
    decided = np.array([name not in predictions.ranked_only for name in predictions.findings], bool)
    with_any = _with_any(known, decided)
    called = np.column_stack([called, (called & decided).any(axis=1)])
    probabilities = np.column_stack([np.asarray(predictions.probabilities, float), called[:, -1]])
    rows: list[pd.DataFrame] = []
    for _, groups in itertools.groupby(study_groups(studies), lambda group: group.attribute):
        rows += _attribute_rows(
            with_any, probabilities, called, np.append(decided, decided.any()), patients, list(groups), min_patients
        )
    return pd.concat(rows, ignore_index=True).round(DECIMALS)


def _with_any(labels: LabelMasks, decided: Booleans) -> LabelMasks:
    """Add a column for `ANY`."""
    some = (labels.present & decided).any(axis=1)
    none = (labels.absent | ~decided).all(axis=1)
    return LabelMasks(
        (*labels.findings, ANY),
        np.column_stack([labels.present, some]),
        np.column_stack([labels.absent, none & decided.any()]),
    )


def _attribute_rows(
    labels: LabelMasks,
    probabilities: Floats,
    called: Booleans,
    decided: Booleans,
    patients: npt.ArrayLike,
    groups: Sequence[Group],
    min_patients: int,
) -> list[pd.DataFrame]:
    """Tabulate the groups of one attribute, a table a group, `ANY` first."""
    people = np.asarray(patients)
    masks = {group.name: group.images for group in groups}
    known = np.array([group.known for group in groups], bool)
    measures = measure_groups(labels, probabilities, called, people, masks, known, min_patients)
    exists = _existing(decided)
    measures["underdiagnosis"] = _complement(measures["sensitivity"])
    tables = []
    for place, group in enumerate(groups):
        part = labels.at(group.images)
        table = pd.DataFrame({"attribute": group.attribute, "group": group.name, "finding": labels.findings})
        table["images"] = part.labelled.sum(axis=0)
        table["patients"] = [len(np.unique(people[group.images][column])) for column in part.labelled.T]
        table["positives"] = part.present.sum(axis=0)
        for name in TESTED:
            measure = measures[name]
            columns = zip(
                ("", "_ci_low", "_ci_high", "_difference", "_p"),
                (measure.value, measure.low, measure.high, measure.difference, measure.p),
                strict=True,
            )
            for ending, values in columns:
                table[name + ending] = np.where(exists[name], values[place], np.nan)
        error = calibration_errors(part, probabilities[group.images])(counted_once(len(part)))[0]
        enough = np.isfinite(measures["auroc"].value[place])
        table["calibration_error"] = np.where(exists["calibration_error"] & enough, error, np.nan)
        table["suppressed"] = _suppressed(table, exists)
        order = [len(table) - 1, *range(len(table) - 1)]
        tables.append(table.iloc[order][list(COLUMNS)])
    return tables


def _existing(decided: Booleans) -> dict[str, Booleans]:
    """Say which measures the findings, of which the last is `ANY`, can have at all."""
    any_finding = np.arange(len(decided)) == len(decided) - 1
    return {
        "auroc": ~any_finding,
        "sensitivity": decided & ~any_finding,
        "specificity": decided,
        "underdiagnosis": decided & any_finding,
        "calibration_error": decided & ~any_finding,
    }


def _complement(share: GroupMeasure) -> GroupMeasure:
    return GroupMeasure(1 - share.value, 1 - share.high, 1 - share.low, -share.difference, share.p)


def _suppressed(table: pd.DataFrame, exists: dict[str, Booleans]) -> list[str]:
    """Name in each row the measures that too few patients show."""
    hidden = {name: table[name].isna().to_numpy() & can for name, can in exists.items()}
    return [" ".join(name for name, rows in hidden.items() if rows[row]) for row in range(len(table))]


def card_subgroups(table: pd.DataFrame) -> tuple[Subgroup, ...]:
    """Return the rows for a bundle; those of `ANY` alone where there are more than a card takes."""
    kept = table if len(table) <= MAX_SUBGROUPS else table[table["finding"] == ANY].head(MAX_SUBGROUPS)
    rows = kept.astype(object).where(kept.notna(), None).to_dict("records")
    return tuple(Subgroup(**{str(name): value for name, value in row.items()}) for row in rows)


def by_attribute(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the rows of each attribute."""
    return {name: table[table["attribute"] == name] for name in ATTRIBUTES}
