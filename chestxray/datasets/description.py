"""Describe a batch in lines for a person to read."""

import pandas as pd

from chestxray.batch_layout import TEST_LIST
from chestxray.datasets.batch import Batch
from chestxray.datasets.split import SPLITS
from chestxray.datasets.tables.rejections import count_reasons

KINDS_SHOWN = 20
"""How many kinds of reason are listed."""


def describe_reading(batch: Batch) -> list[str]:
    """Say as what a batch is read, what should be known of that, and what was left out of it."""
    lines = [f"read as: {batch.read_as}", *(f"note      {note}" for note in batch.notes)]
    if batch.synthetic:
        lines.append("note      its images are synthetic phantoms")
    if len(batch.left_out):
        lines += [f"left out  {len(batch.left_out)}", *_kinds(batch.left_out)]
    return lines


def describe_split(studies: pd.DataFrame) -> str:
    """Count the images of each split, and warn of one that has none."""
    splits = studies["split"].value_counts()
    counts = "split     " + ", ".join(f"{splits.get(split, 0)} {split}" for split in SPLITS)
    empty = [split for split in SPLITS if split not in splits.index]
    if not empty:
        return counts
    return (
        f"{counts}\nWARNING   no {' and no '.join(empty)} patients: fine beside other batches, not for one alone; "
        f"prepare.test and prepare.validation are the shares, {TEST_LIST} names the images of test patients"
    )


def describe_studies(studies: pd.DataFrame, findings: tuple[str, ...]) -> list[str]:
    """Count views, and what is present, absent and unknown of each finding."""
    views = studies["view"].fillna("unknown").value_counts()
    width = max(map(len, findings))
    table = [
        f"  {finding:{width}}  {(labels == 1).sum():7}  {(labels == 0).sum():6}  {(labels < 0).sum():7}"
        for finding, labels in studies[list(findings)].items()
    ]
    return [
        "views     " + ", ".join(f"{count} {view}" for view, count in views.items()),
        f"{'findings':{width + 2}}  present  absent  unknown",
        *table,
    ]


def describe_refused(refused: pd.DataFrame) -> list[str]:
    """Count the studies whose pixels the service would refuse, by check; no line if there are none."""
    if refused.empty:
        return []
    counts = refused["check"].value_counts()
    kinds = ", ".join(f"{count}× {check}" for check, count in counts.items())
    example = f"such as {refused['image'].iloc[0]}"
    return [f"note      {refused['image'].nunique()} kept though the service would refuse them: {kinds}, {example}"]


def describe_rejected(rejected: pd.DataFrame) -> list[str]:
    """Count what was rejected by kind of reason, each with an example."""
    return [f"rejected  {len(rejected)}", *_kinds(rejected)]


def _kinds(rejected: pd.DataFrame) -> list[str]:
    return [f"  {line}" for line in count_reasons(rejected, KINDS_SHOWN)]
