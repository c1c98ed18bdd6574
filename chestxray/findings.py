"""Name the 14 findings of NIH ChestX-ray14, in the order of the data set, and read them from its tables.

Source: Wang et al., "ChestX-ray8: Hospital-scale Chest X-ray Database and Benchmarks", CVPR 2017,
extended to 14 findings by the authors with the release of ChestX-ray14.
"""

from collections.abc import Sequence

FINDINGS: tuple[str, ...] = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
"""Names and order of the 14 columns of every label, logit, probability and map array."""

UNLABELLED = -1
"""The label of a finding that nobody looked for in an image; the others are 1, present, and 0, absent."""

BOX_FINDING_NAMES = {finding: finding for finding in FINDINGS} | {"Infiltrate": "Infiltration"}
"""Finding for each name in the table of boxes, which spells Infiltration "Infiltrate"."""

NO_FINDING = "No Finding"
"""The cell of the NIH tables for a radiograph with none of the 14."""

RESEARCH_USE_ONLY = "Research use only, not a medical device."
"""To be shown wherever a person reads a result."""

MAX_FINDINGS = 200
"""The most that a model may have."""
MAX_NAME = 100
"""Characters of a finding's name."""
RESERVED = ("mean", "micro", "macro", "weighted")
"""What tables call averages over findings."""


def check_findings(names: Sequence[str]) -> tuple[str, ...]:
    """Check the names of the findings of a model or a table; they may come from a file, so an error repeats none.

    Returns:
        The names, in their order.

    Raises:
        ValueError: no names or more than `MAX_FINDINGS`, or one that is empty, longer than `MAX_NAME`, not printable,
            there twice, or one of `RESERVED`; the text gives its place.
    """
    if not 1 <= len(names) <= MAX_FINDINGS:
        raise ValueError(f"a model has 1 to {MAX_FINDINGS} findings, got {len(names)}")
    for place, name in enumerate(names):
        if not 0 < len(name) <= MAX_NAME or not name.isprintable() or name != name.strip():
            raise ValueError(
                f"the name of finding {place + 1} of {len(names)} must be 1 to {MAX_NAME} printable characters, "
                f"without spaces around them; got {len(name)} characters"
            )
        if name in names[:place]:
            raise ValueError(f"finding {place + 1} of {len(names)} has the name of an earlier one")
        if name in RESERVED:
            raise ValueError(f"finding {place + 1} of {len(names)} is called {name}, as an average over findings is")
    return tuple(names)


def parse_findings(text: str) -> tuple[str, ...]:
    """Read a `Finding Labels` cell.

    Args:
        text: findings joined by `|`, or `No Finding` alone.

    Returns:
        The findings, in the order of `FINDINGS`, each once; empty for `No Finding`.

    Raises:
        ValueError: an unknown finding, an empty cell, or `No Finding` beside a finding.
    """
    names = [name.strip() for name in text.split("|")]
    if names == [NO_FINDING]:
        return ()
    unknown = [name for name in names if name not in FINDINGS]
    if unknown:
        raise ValueError(f"unknown finding {unknown[0]!r}")
    return tuple(name for name in FINDINGS if name in names)
