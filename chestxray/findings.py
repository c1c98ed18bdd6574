"""Name the 14 findings of NIH ChestX-ray14, in the order of the data set, and read them from its tables.

Source: Wang et al., "ChestX-ray8: Hospital-scale Chest X-ray Database and Benchmarks", CVPR 2017,
extended to 14 findings by the authors with the release of ChestX-ray14.
"""

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
