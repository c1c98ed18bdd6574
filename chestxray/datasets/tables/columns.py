"""Find the columns of a table by their names: what stands in which, whatever their order."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from chestxray.datasets.tables.label_names import LabelNames
from chestxray.datasets.tables.rejections import shown
from chestxray.datasets.tables.text_table import Header
from chestxray.errors import UserError
from chestxray.findings import NO_FINDING, fold

ROLES: dict[str, tuple[str, ...]] = {
    "image": (
        "Image Index", "ImageID", "image_id", "dicom_id", "Path", "image path", "file path", "image", "image name",
        "image file", "file name", "file",
    ),
    "patient": ("Patient ID", "patient", "subject_id", "subject", "patient number"),
    "labels": ("Finding Labels", "Finding Label", "labels", "label", "findings", "finding"),
    "age": ("Patient Age", "age", "age in years"),
    "sex": ("Patient Gender", "Patient Sex", "sex", "gender", "PatientSex_DICOM"),
    "view": ("View Position", "view", "Projection", "ViewPosition_DICOM", "AP/PA"),
}  # fmt: skip
"""Names of the columns that a table may have, the preferred ones first; case, spaces, `_` and `-` are folded."""
ROLE_NAMES = {role: tuple(map(fold, names)) for role, names in ROLES.items()}


@dataclass(frozen=True)
class Columns:
    """The columns of a table, found by name.

    Attributes:
        header: the table's.
        names: what its labels mean; a column may be called by one.
        beside: other files of the batch that may be tables.
    """

    header: Header
    names: LabelNames
    beside: tuple[Path, ...] = ()

    @cached_property
    def _places(self) -> dict[str, list[int]]:
        places: dict[str, list[int]] = {}
        for place, name in enumerate(self.header.names):
            places.setdefault(fold(name), []).append(place)
        return places

    def have(self, *names: str) -> bool:
        """Return whether there is a column of each name."""
        return all(fold(name) in self._places for name in names)

    def place(self, *names: str) -> int | None:
        """Return the position of the first of these names that there is.

        Raises:
            UserError: two columns have that name.
        """
        for name in map(fold, names):
            places = self._places.get(name, [])
            if len(places) > 1:
                given = shown(self.header.names[places[0]])
                raise UserError(f"{self.header.path}: two columns are called {given}; rename one")
            if places:
                return places[0]
        return None

    def role(self, role: str) -> int | None:
        """Return the position of the column with a role of `ROLES`."""
        return self.place(*ROLE_NAMES[role])

    def roles(self, *roles: str) -> dict[str, int]:
        """Return the position of each role that a column has."""
        found = {role: self.role(role) for role in roles}
        return {role: place for role, place in found.items() if place is not None}

    @cached_property
    def findings(self) -> dict[int, str]:
        """The finding of each column that is called by one, by position."""
        found = {place: self.names.find(name) for place, name in enumerate(self.header.names)}
        return {place: finding for place, finding in found.items() if finding}

    @cached_property
    def no_finding(self) -> int | None:
        """The position of the column that says that there is none."""
        return self.place(NO_FINDING) if self.names.is_no_finding(NO_FINDING) else None

    @cached_property
    def answers(self) -> tuple[str, ...]:
        """The positions, as text, of the columns of findings and of that of `No Finding`."""
        nothing = () if self.no_finding is None else (str(self.no_finding),)
        return (*map(str, self.findings), *nothing)

    def others(self, *used: int | None) -> list[str]:
        """Return the names of the columns that are no finding, not used and not passed over by a person, in order."""
        passed = {*used, *self.findings, self.place(NO_FINDING)}
        named = [name for place, name in enumerate(self.header.names) if name and place not in passed]
        return [name for name in named if fold(name) not in self.names.mapping]
