"""Score files: from a list of paths to a row each. Nothing is kept between them, so any engine may map it."""

import errno
import subprocess
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from chestxray.imaging.quality import overall_verdict
from chestxray.imaging.radiograph import MAX_FILE_BYTES, MAX_PIXELS, Check, RadiographError
from chestxray.inference.answer import Model
from chestxray.inference.decisions import Thresholds, choose_thresholds
from chestxray.inference.heatmap import full_scale_of
from chestxray.inference.predict import FilePrediction, predict_file
from chestxray.inference.status import NUMBERS
from chestxray.scoring.columns import FULL_SCALE, IDENTIFIERS, Column, Row, Value, columns_of
from chestxray.scoring.heatmap_files import HeatmapFiles
from chestxray.scoring.inputs import InputFile

OF_THE_MACHINE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Why a file can't be read that says nothing of the file."""
OUT_OF_RESOURCES = "out-of-resources", "The machine had no memory, time or open files left for it; score it again."


@dataclass(frozen=True)
class Scorer:
    """A model, and what is asked of it.

    Attributes:
        model: that answers; its bundle is best opened with one thread, since files are scored in many.
        operating_point: to decide by; None takes the model's first one.
        threshold: instead of an operating point, of every finding, 0–1.
        accept_anyway: score also what a check refuses.
        identifiers: whether rows name study, series, image and patient of DICOM files.
        heatmaps: where to draw heatmaps; None draws none.
    """

    model: Model
    operating_point: str | None = None
    threshold: float | None = None
    accept_anyway: bool = False
    identifiers: bool = False
    heatmaps: HeatmapFiles | None = None

    @cached_property
    def thresholds(self) -> Thresholds:
        """What is decided by.

        Raises:
            OptionsError: the model has no such operating point, or both are given.
        """
        return choose_thresholds(self.model.bundle.card, self.operating_point, self.threshold)

    @cached_property
    def columns(self) -> list[Column]:
        """What the values of a row are."""
        return columns_of(self.model.bundle.card, self.identifiers, self.heatmaps is not None)


def score_files(scorer: Scorer, files: Iterable[InputFile]) -> list[Row]:
    """Score files one after another; the same rows come out however the files are divided.

    Args:
        scorer: the model, and what is asked of it.
        files: to score.

    Returns:
        For each its row; what can't be used has a row that says why.

    Raises:
        OSError: a heatmap can't be written.
        UserError: an object storage can't be used at this time.
    """
    return [score_file(scorer, file) for file in files]


def score_file(scorer: Scorer, file: InputFile) -> Row:
    """Score one file: see `score_files`."""
    row: dict[str, Value] = {"path": file.given}
    try:
        data = file.read(MAX_FILE_BYTES)
        if scorer.identifiers:
            from chestxray.imaging.dicom.identifiers import read_identifiers  # noqa: PLC0415 # 0.1 s, of those who ask

            row |= zip(IDENTIFIERS, (name or None for name in read_identifiers(data)), strict=True)
    except OSError as error:
        if error.errno in OF_THE_MACHINE:
            return _in_order(scorer, row | _failed(*OUT_OF_RESOURCES))
        large = error.errno == errno.EFBIG
        row |= _failed("file-too-large" if large else "unreadable-file", error.strerror or "it can't be read")
        return _in_order(scorer, row)
    except MemoryError:
        return _in_order(scorer, row | _failed(*OUT_OF_RESOURCES))
    try:
        prediction = predict_file(scorer.model.bundle, data, MAX_PIXELS, scorer.thresholds, scorer.accept_anyway)
    except RadiographError as error:
        row |= _failed(error.kind, str(error)) | (_checked(error.checks) if error.checks else {})
    except (MemoryError, OSError, subprocess.TimeoutExpired):
        row |= _failed(*OUT_OF_RESOURCES)
    except Exception as error:  # a million files go on whatever happens to one; the message could quote it
        place = traceback.extract_tb(error.__traceback__)[-1]
        row |= _failed("internal-error", f"The program failed: {type(error).__name__} in {place.name}; report it.")
    else:
        row |= _checked(prediction.checks) | _findings(scorer, file, prediction)
    return _in_order(scorer, row)


def _failed(code: str, message: str) -> dict[str, Value]:
    return {"error": code, "error_message": message}


def _checked(checks: Sequence[Check]) -> dict[str, Value]:
    named = " ".join(f"{check.name}:{check.verdict}" for check in checks)
    return {"quality": overall_verdict(checks), "checks": named or None}


def _findings(scorer: Scorer, file: InputFile, prediction: FilePrediction) -> dict[str, Value]:
    """Return number and decision of each finding, as far as its status allows them, and where its heatmap is."""
    card = scorer.model.bundle.card
    values: dict[str, Value] = {}
    for place, (finding, status) in enumerate(zip(card.findings, card.status, strict=True)):
        if number := NUMBERS.get(status):
            values[f"{finding}:{number}"] = float(prediction.probabilities[place])
        if prediction.decided[place]:
            values[f"{finding}:positive"] = bool(prediction.decisions[place])
        if band := card.bands[place]:
            values[f"{finding}:uncertain"] = band.holds(float(prediction.probabilities[place]))
    if scorer.heatmaps:
        drawn = scorer.heatmaps.draw(file.place, prediction, card)
        values |= {f"{card.findings[place]}:heatmap": path for place, path in drawn.items()}
        values |= {FULL_SCALE: full_scale_of(prediction.maps[..., list(drawn)])} if drawn else {}
    return values


def _in_order(scorer: Scorer, row: dict[str, Value]) -> Row:
    """Return the values as the columns stand, with what is the same in all rows."""
    card = scorer.model.bundle.card
    row |= {f"{name}:status": status for name, status in zip(card.findings, card.status, strict=True)}
    row |= {"model_sha256": scorer.model.info.sha256, "synthetic": card.synthetic}
    return [row.get(column.name) for column in scorer.columns]
