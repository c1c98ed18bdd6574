"""Say how findings may be called, and which one a name means; list the 14 of NIH ChestX-ray14 with their synonyms.

Source of these: Wang et al., "ChestX-ray8: Hospital-scale Chest X-ray Database and Benchmarks", CVPR 2017,
extended to 14 findings by the authors with the release of ChestX-ray14.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

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
"""What the lists of NIH name, and what phantoms draw; the findings that a model learns are those of `params.yaml`."""

UNLABELLED = -1
"""The label of a finding that nobody looked for in an image; the others are 1, present, and 0, absent."""

BOX_FINDING_NAMES = {finding: finding for finding in FINDINGS} | {"Infiltrate": "Infiltration"}
"""Finding for each name in the table of boxes, which spells Infiltration "Infiltrate"."""

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "Atelectasis": (
        "atelectases", "total atelectasis", "lobar atelectasis", "segmental atelectasis", "laminar atelectasis",
        "round atelectasis", "atelectasis basal",
    ),
    "Cardiomegaly": ("enlarged heart",),
    "Effusion": (
        "effusions", "pleural effusion", "pleural effusions", "loculated pleural effusion",
        "loculated fissural effusion",
    ),
    "Infiltration": (
        "infiltrate", "infiltrates", "infiltrations", "pulmonary infiltrate", "pulmonary infiltrates",
    ),
    "Mass": ("masses", "lung mass", "pulmonary mass"),
    "Nodule": ("nodules", "lung nodule", "lung nodules", "pulmonary nodule", "pulmonary nodules", "multiple nodules"),
    "Pneumonia": ("pneumonias", "atypical pneumonia"),
    "Pneumothorax": ("pneumothoraces",),
    "Consolidation": ("consolidations", "lung consolidation", "pulmonary consolidation"),
    "Edema": ("oedema", "lung edema", "lung oedema", "pulmonary edema", "pulmonary oedema"),
    "Emphysema": ("lung emphysema", "pulmonary emphysema"),
    "Fibrosis": ("lung fibrosis", "pulmonary fibrosis"),
    "Pleural_Thickening": ("apical pleural thickening", "calcified pleural thickening"),
    "Hernia": ("hiatal hernia", "hiatus hernia", "diaphragmatic hernia"),
}  # fmt: skip
"""What CheXpert, MIMIC-CXR, PadChest, VinDr and hospitals call the findings, and what is a kind of one.

What is wider or something else is left to the reader's `labels`: enlarged cardiomediastinum is no cardiomegaly, lung
opacity and lung lesion may be several findings, VinDr's nodule/mass is one of two, subcutaneous emphysema and
pericardial effusion lie outside the lung and pleura, interstitial lung disease is more than fibrosis.
"""

NO_FINDING = "No Finding"
"""The cell of the NIH tables for a radiograph with none of the 14."""

RESEARCH_USE_ONLY = "Research use only, not a medical device."
"""To be shown wherever a person reads a result."""

MAX_FINDINGS = 200
"""The most that a model may have."""
MAX_NAME = 100
"""Characters of a finding's name, and of its title."""
STUDY_COLUMNS = (
    "batch", "image", "patient", "age", "sex", "view", "split", "content_hash", "width", "height",
    "synthetic", "patient_known", "table",
    "row",
)  # fmt: skip
"""Columns about a study in prepared tables, in any of their forms; every other column is a finding."""
RESERVED = ("mean", "micro", "macro", "weighted", *STUDY_COLUMNS)
"""Names that no finding can have: what tables call averages over findings, and their columns about a study."""


def check_findings(names: Sequence[str]) -> tuple[str, ...]:
    """Check the names of the findings of a model or a table; they may come from a file, so an error repeats none.

    Returns:
        The names, in their order.

    Raises:
        ValueError: no names or more than `MAX_FINDINGS`, or one that is empty, longer than `MAX_NAME`, not printable,
            there twice, or one of `RESERVED` in any case; the text gives its place.
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
        if name.casefold() in RESERVED:
            taken = name.casefold()
            raise ValueError(f"finding {place + 1} of {len(names)} is called {taken}, as a column of the tables is")
    return tuple(names)


def check_title(title: str) -> str:
    """Check the title of a finding; it may come from a file, so an error does not repeat it.

    Returns:
        The title.

    Raises:
        ValueError: it is empty, longer than `MAX_NAME`, not printable, or has spaces around it.
    """
    if not 0 < len(title) <= MAX_NAME or not title.isprintable() or title != title.strip():
        raise ValueError(
            f"a title must be 1 to {MAX_NAME} printable characters, without spaces around them; "
            f"got {len(title)} characters"
        )
    return title


def fold(name: str) -> str:
    """Return a name for comparison: case, spaces, `_`, `-` and the composition of letters make no difference."""
    return re.sub(r"[\s_-]+", "", unicodedata.normalize("NFC", name)).casefold()


NO_FINDING_NAMES = frozenset(map(fold, (NO_FINDING, "No Findings", "normal")))
"""What tables say of a radiograph without findings; no finding can be called so."""


@dataclass(frozen=True)
class Vocabulary:
    """Findings, and the names by which tables call them.

    Attributes:
        synonyms: other names of each finding; its keys are the findings, in the order of every array.
        signs: the finding that each of NIH's draws in phantoms; what the others draw there has no label.
    """

    synonyms: Mapping[str, tuple[str, ...]]
    signs: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that no name stands for two findings, or for none.

        Raises:
            ValueError: naming the finding, or the two.
        """
        meant: dict[str, str] = {}
        for finding, others in self.synonyms.items():
            for name in (finding, *others):
                if fold(name) in NO_FINDING_NAMES:
                    said = "is what tables say of a radiograph without findings: take another name"
                    raise ValueError(f"{finding}: {name!r} {said}")
                if meant.setdefault(fold(name), finding) != finding:
                    raise ValueError(f"{name!r} is a name of both {meant[fold(name)]} and {finding}: leave one out")

    @property
    def findings(self) -> tuple[str, ...]:
        """The findings in their order."""
        return tuple(self.synonyms)

    @cached_property
    def _meant(self) -> dict[str, str]:
        return {fold(name): finding for finding, others in self.synonyms.items() for name in (finding, *others)}

    def find(self, name: str) -> str | None:
        """Return the finding that a name stands for, in any case, with spaces, underscores or hyphens; None if none."""
        return self._meant.get(fold(name))


NIH_VOCABULARY = Vocabulary(SYNONYMS, {finding: finding for finding in FINDINGS})
"""The 14 findings, as the data sets of the field call them."""
