"""Count what became of the files of a run, and say it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from chestxray.scoring.columns import ERROR, QUALITY, Column, Row

REFUSED_CODE = "not-a-radiograph"
"""The code of what a check refuses; all others are failures."""


@dataclass
class Tally:
    """Counts.

    Attributes:
        quality: of the scored files, by their verdict.
        errors: of the others, by code.
    """

    quality: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)

    def count(self, rows: Iterable[Row], columns: Sequence[Column]) -> Iterator[Row]:
        """Pass rows on and count them."""
        names = [column.name for column in columns]
        error, quality = names.index(ERROR), names.index(QUALITY)
        for row in rows:
            if row[error] is None:
                self.quality[str(row[quality])] += 1
            else:
                self.errors[str(row[error])] += 1
            yield row

    @property
    def failed(self) -> int:
        """How many files have no scores."""
        return self.errors.total()

    def lines(self, skipped: Mapping[str, int]) -> Iterator[str]:
        """Yield what a person is told.

        Args:
            skipped: how many files of folders were passed over, by reason.
        """
        total = self.quality.total() + self.failed
        refused = self.errors[REFUSED_CODE]
        counts = {"accepted": self.quality["accepted"], "warned": self.quality["warned"], "refused": refused}
        counts |= {"failed": self.failed - refused}
        if anyway := self.quality["refused"]:
            counts["scored though refused"] = anyway
        yield f"files     {total}: {', '.join(f'{count} {name}' for name, count in counts.items())}"
        if self.failed:
            yield f"errors    {_listed(self.errors)}"
        if sum(skipped.values()):
            yield f"skipped   {_listed(skipped)}"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()) if count)
