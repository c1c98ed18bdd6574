"""Keep the last answers of a reader, so that one can be looked at while another comes, and make a table of them."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from chestxray.inference.predictions import Finding, Prediction, Quality
from chestxray.inference.status import NUMBERS
from chestxray.system.files import FORMULA
from serve.ui_client import REFUSED, ServiceError, ask
from serve.ui_picture import Pixels, shown_pixels

MAX_FILES = 12
"""Uploaded files that are asked about."""
MAX_KEPT = 16
"""Answers that are kept, each with a picture of 1 MiB at most; more than the files that can be chosen at a time."""
MAX_BYTES = 64 * 1024 * 1024
"""Of several files that are chosen at a time, which the page holds in memory; one may be as large as it can upload."""


class ChosenFile(NamedTuple):
    """A file that the reader chose.

    Attributes:
        key: tells it from any other that was chosen.
        name: for the reader alone, since it may name a patient.
        read: returns its bytes.
    """

    key: str
    name: str
    read: Callable[[], bytes]


class Answered(NamedTuple):
    """What the service said of a file: a prediction, with the radiograph as the page shows it, or a problem."""

    name: str
    prediction: Prediction | None = None
    pixels: Pixels | None = None
    problem: ServiceError | None = None

    @property
    def quality(self) -> Quality | None:
        """What the checks found, as far as the file could be checked."""
        return self.prediction.quality if self.prediction else self.problem.quality if self.problem else None

    @property
    def detected(self) -> list[Finding]:
        """Findings that reach their operating points."""
        return [finding for finding in self.prediction.findings if finding.positive] if self.prediction else []


Kept = dict[str, Answered]
"""Answers by the keys of their files, the last chosen at the end."""


def ask_about(file: ChosenFile, accept_anyway: bool) -> Answered:
    """Ask the service for all findings and maps as numbers, so that sliders need no new inference.

    Args:
        file: to ask about.
        accept_anyway: answer even if the checks refuse the image.

    Raises:
        ServiceError: the service is down or busy; what is wrong with the file itself is an answer.
    """
    options = {"heatmaps": "raw", "heatmaps_for": "all", "accept_anyway": accept_anyway}
    data = file.read()
    try:
        # The file's name stays here: it may name a patient.
        content = ask("POST", "/predict", params=options, files={"file": ("image", data)})
    except ServiceError as error:
        if error.heading != REFUSED:
            raise
        return Answered(file.name, problem=error)
    return Answered(file.name, Prediction.model_validate(content), shown_pixels(data))


def keep(kept: Kept, key: str, answer: Answered) -> None:
    """Keep an answer as the last, in place of the oldest if there are too many."""
    kept.pop(key, None)
    kept[key] = answer
    while len(kept) > MAX_KEPT:
        del kept[next(iter(kept))]


def table_of(answers: Iterable[Answered]) -> str:
    """Write answers as CSV, a row a file, with the columns of `chestxray predict`, but `file` for `path`."""
    rows = [dict(_cells(answer)) for answer in answers]
    text = io.StringIO()
    columns = dict.fromkeys(name for row in sorted(rows, key=len, reverse=True) for name in row)
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _cells(answer: Answered) -> Iterator[tuple[str, str]]:
    """Yield the columns of a file and their texts, the long ones last that only some files have."""
    problem, quality = answer.problem, answer.quality
    yield "file", _harmless(answer.name)
    yield "error", problem.type if problem else ""
    yield "error_message", _harmless(str(problem)) if problem else ""
    yield "quality", quality.verdict if quality else ""
    yield "checks", " ".join(f"{check.name}:{check.verdict}" for check in quality.checks) if quality else ""
    if answer.prediction is None:
        return
    for finding in sorted(answer.prediction.findings, key=lambda finding: finding.name):
        if finding.number is not None:
            yield _harmless(f"{finding.name}:{NUMBERS[finding.status]}"), f"{finding.number:.6f}"
        yield _harmless(f"{finding.name}:positive"), "" if finding.positive is None else str(finding.positive).lower()
        if finding.uncertain is not None:
            yield _harmless(f"{finding.name}:uncertain"), str(finding.uncertain).lower()
        yield _harmless(f"{finding.name}:status"), finding.status
    yield "model_sha256", answer.prediction.model.sha256
    yield "synthetic", str(answer.prediction.model.synthetic).lower()
    yield "disclaimer", answer.prediction.disclaimer  # besides: who is sent a table may not have seen the page


def _harmless(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text
