"""Say what the labels of a table mean: by the vocabulary, and by what a person says of this table."""

from collections.abc import Mapping
from typing import Final

from chestxray.errors import UserError
from chestxray.findings import BOX_FINDING_NAMES, NIH_VOCABULARY, NO_FINDING_NAMES, Vocabulary, fold

PASSED_OVER: Final = ""
"""What a label means of which a person said that it is none of the findings."""


class LabelNames:
    """The findings, and what the labels of one table mean.

    Args:
        vocabulary: the findings and their usual names.
        mapping: the finding, or None to pass it over, for labels of this table; it goes before the vocabulary.
        phantoms: whether the labels are the signs that were drawn; each means the finding that it draws, if any.

    Raises:
        UserError: the mapping names an unknown finding, one label twice, or a finding for what says that there is none.
    """

    def __init__(
        self, vocabulary: Vocabulary, mapping: Mapping[str, str | None] | None = None, *, phantoms: bool = False
    ) -> None:
        self.findings = vocabulary.findings
        self.vocabulary = vocabulary
        self.mapping: dict[str, str] = {}
        self.given: dict[str, str] = {}
        for label, finding in (mapping or {}).items():
            meant = PASSED_OVER if finding is None else self._finding(label, finding)
            if self.mapping.setdefault(fold(label), meant) != meant:
                raise UserError(f"labels: {label[:100]!a} stands there twice, with different findings")
            self.given.setdefault(fold(label), label)
        for name, sign in BOX_FINDING_NAMES.items() if phantoms else ():
            self.mapping.setdefault(fold(name), vocabulary.signs.get(sign, PASSED_OVER))

    def _finding(self, label: str, finding: str) -> str:
        meant = {fold(name): name for name in self.findings}.get(fold(finding))
        if meant is None:
            allowed = f"one of {', '.join(self.findings)}, or null to pass it over; or add it to findings"
            raise UserError(f"labels: {label[:100]!a} is said to be {finding[:100]!a}, which is no finding; {allowed}")
        if fold(label) in NO_FINDING_NAMES:
            raise UserError(f"labels: {label[:100]!a} says that there is no finding; leave it out, or null")
        return meant

    def find(self, label: str) -> str | None:
        """Return the finding that a label means, `PASSED_OVER`, or None where nobody knows."""
        said = self.mapping.get(fold(label))
        return self.vocabulary.find(label) if said is None else said

    def is_finding_elsewhere(self, label: str) -> bool:
        """Return whether a label is a finding of NIH's that is not asked for here."""
        return self.find(label) is None and NIH_VOCABULARY.find(label) is not None

    def is_no_finding(self, label: str) -> bool:
        """Return whether a label says that there is none, unless a person passed it over."""
        return fold(label) in NO_FINDING_NAMES and fold(label) not in self.mapping

    def unused(self, labels: set[str]) -> list[str]:
        """Return what the mapping names and a table's labels don't."""
        present = set(map(fold, labels))
        return [label for folded, label in self.given.items() if folded not in present]
