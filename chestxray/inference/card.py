"""Read and write the card of a bundle, `bundle.json`: strict and bounded, whoever made it."""

import hashlib
import json
import sys
from collections.abc import Sized
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    StrictBool,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from chestxray.errors import UserError
from chestxray.findings import MAX_FINDINGS, check_findings, check_title
from chestxray.inference.label_quality import LabelQuality
from chestxray.inference.located import Explanation, Located
from chestxray.inference.measured import SCHEMA, check_kinds
from chestxray.inference.numbers import Cases, Digest, Finite, Probability, Text
from chestxray.inference.operating_point import CALLERS_OWN, OperatingPoint, OperatingPointName, threshold_values
from chestxray.inference.platt import Platt
from chestxray.inference.provenance import SplitFacts
from chestxray.inference.status import Evidence, Status, has_decision
from chestxray.inference.subgroup import ANY, MAX_SUBGROUPS, Subgroup
from chestxray.inference.uncertain import UncertainBand
from chestxray.system.files import write_json
from chestxray.system.regular_file import read_regular

CARD = "bundle.json"
MAX_CARD_BYTES = 16 * 2**20
"""Of `bundle.json`; that of 14 findings has some 30,000, that of 200 a few times ten as many."""
MAX_ENTRIES = 10_000
"""Of a list or an object in it."""
MAX_DEPTH = 16
"""Of lists and objects in each other."""
MAX_OPERATING_POINTS = 16
MAX_SIDE = 4096
"""Of images that a model takes, in pixels."""


class BundleError(UserError):
    """The bundle is incomplete, damaged or of another kind; the message says which."""


class OptionsError(UserError):
    """What was asked of a model is not possible with it; the message names the option, and what is."""


def _check_type(kind: Any, value: object, message: str) -> None:
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError:
        raise ValueError(message) from None


def _check_contents(value: Any, depth: int = 0) -> None:
    """Check what no field of the card does, on reading and writing: numbers are finite, nothing is large or deep.

    Raises:
        ValueError: the text repeats nothing of the content.
    """
    if isinstance(value, int | float) and not abs(value) <= sys.float_info.max:
        raise ValueError("a number is not finite, or too large for JSON")
    if isinstance(value, dict | list | tuple):
        if len(value) > MAX_ENTRIES or depth == MAX_DEPTH:
            raise ValueError(f"a list or object has more than {MAX_ENTRIES:,} entries or lies deeper than {MAX_DEPTH}")
        for inner in value.values() if isinstance(value, dict) else value:
            _check_contents(inner, depth + 1)


Title = Annotated[str, AfterValidator(check_title)]
Texts = Annotated[dict[Text, Text], Field(max_length=1_000)]
LabelQualities = Annotated[tuple[LabelQuality, ...], FailFast(), Field(max_length=100)]
Side = Annotated[int, Field(strict=True, gt=0, le=MAX_SIDE)]


BatchNames = Annotated[list[Text] | tuple[Text, ...], Field(max_length=1_000)]


class _Refused(BaseModel):
    """What the input gate refuses of some images."""

    n: Cases | None = None
    share: Probability
    low: Probability | None = None
    high: Probability | None = None


RefusedByGate = dict[Text, _Refused]


class Card(BaseModel):
    """`bundle.json`: what the numbers of the model mean, and where they come from.

    Attributes:
        schema_version: of the card; 1 in older bundles, which may lack what later ones have.
        findings: names of the columns.
        titles: of the findings, for people; older bundles have none, and their names are shown.
        status: of the findings, what can be said of each; all are learned in older bundles.
        evidence: of the findings, the patients of each class behind its status; empty in older bundles.
        size: side of the image that the model takes, in pixels.
        input_size: side of its central square, which the network sees and the maps cover.
        bias: of each finding: mean(map) + bias = logit.
        calibration: Platt's slope and intercept per finding, fitted on validation.
        operating_points: by name, for each finding its threshold on calibrated probabilities, from validation, and how
            it did on test; the first one decides unless another is asked for. Older bundles have one, of which test is
            not known here.
        uncertain: of the findings, the band in which neither side is shown; empty in older bundles, None where
            validation has too few patients.
        explanation: of the findings, whether test boxes show that its maps find the place better than the mean place
            of the finding does; empty in older bundles.
        localization: of the findings, how well its maps find their boxes; None without boxes, empty in older bundles.
        subgroups: how it did on groups of the test images, as in `reports/subgroups.csv`; empty in older bundles.
        model_sha256: of `model.onnx`.
        data_sha256: of the labels and decoded pixels of the training images.
        synthetic: trained on phantoms.
        patients_known: false if the images of a batch counted as a patient each, since its table names none: one person
            may then be in training and in test.
        splits: the images of `train`, `validation` and `test`; empty in older bundles.
        label_quality: what radiologists found of the training labels, where that is known.
        test_label_quality: of a recalibrated model the same of the labels of validation and test; in others these are
            of the same batches as those of training.
        recalibrated: `calibration`, `operating_points` and `uncertain` are from a part of other images than the
            model's own, and the test images are the rest of these.
        test_draws: by batch, how its test patients were drawn, as `split.split_fingerprint` gives it.
        params: the sections of `params.yaml` that made the model, and the names of the batches.
        metrics: of the test images: `test`, `benchmark`, and `batch` by its name.
        input_gate: its thresholds, and the shares of good and of other images that it refuses, with n and intervals;
            empty in bundles from before there was one.
        headlines: those of `metrics` that are shown first, with their titles; older bundles name none.
        intended_use: for people.
        licences: for people.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Annotated[int, Field(strict=True, ge=1, le=SCHEMA)] = 1
    findings: Annotated[tuple[str, ...], FailFast(), AfterValidator(check_findings)]
    titles: Annotated[tuple[Title, ...], FailFast()]
    status: Annotated[tuple[Status, ...], FailFast()]
    evidence: Annotated[tuple[Evidence, ...], FailFast()] = ()
    size: Side
    input_size: Side
    bias: Annotated[tuple[Finite, ...], FailFast()]
    calibration: dict[str, Any]
    operating_points: Annotated[
        dict[OperatingPointName, Annotated[tuple[OperatingPoint, ...], FailFast()]],
        Field(min_length=1, max_length=MAX_OPERATING_POINTS),
    ]
    uncertain: Annotated[tuple[UncertainBand | None, ...], FailFast()] = ()
    explanation: Annotated[tuple[Explanation, ...], FailFast()] = ()
    localization: Annotated[tuple[Located | None, ...], FailFast()] = ()
    subgroups: Annotated[tuple[Subgroup, ...], FailFast(), Field(max_length=MAX_SUBGROUPS)] = ()
    model_sha256: Digest
    data_sha256: Digest
    synthetic: StrictBool
    patients_known: StrictBool = True
    splits: dict[Literal["train", "validation", "test"], SplitFacts] = {}
    label_quality: LabelQualities = ()
    test_label_quality: LabelQualities = ()
    recalibrated: StrictBool = False
    test_draws: Texts
    params: dict[str, Any]
    metrics: dict[str, Any]
    input_gate: dict[str, Any] = {}
    headlines: Texts = {}
    intended_use: Text
    licences: Annotated[tuple[Text, ...], FailFast(), Field(max_length=100)]

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, content: Any) -> Any:
        """Check what is bounded, and give the findings of an older bundle what they had: titles, status, thresholds."""
        if not isinstance(content, dict):
            return content
        if "thresholds" in content and "operating_points" not in content:
            content = _with_operating_point(content)
        content = {name: value for name, value in content.items() if name != "tables"}  # which `splits` have
        unknown = len(set(content) - set(cls.model_fields))
        if unknown:
            raise ValueError(f"it has {unknown:,} entries that are not known here")
        names = content.get("findings")
        if not isinstance(names, list | tuple):
            return content
        if len(names) > MAX_FINDINGS:
            raise ValueError(f"findings must be at most {MAX_FINDINGS}, got {len(names):,}")
        usual = {"titles": [str(name).replace("_", " ") for name in names], "status": ["learned"] * len(names)}
        return usual | content

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        columns: dict[str, Sized] = {
            "titles": self.titles,
            "status": self.status,
            "evidence": self.evidence or self.findings,
            "bias": self.bias,
            "uncertain": self.uncertain or self.findings,
            "explanation": self.explanation or self.findings,
            "localization": self.localization or self.findings,
            **{f"operating_points.{name}": points for name, points in self.operating_points.items()},
        }
        for name, values in columns.items():
            if len(values) != len(self.findings):
                raise ValueError(f"{name} must be one for each of the {len(self.findings)} findings, got {len(values)}")
        if CALLERS_OWN in self.operating_points:
            raise ValueError(f"operating_points has {CALLERS_OWN}, which is what a request names its own threshold by")
        if self.input_size > self.size:
            raise ValueError(f"input_size must be at most size, {self.size}, got {self.input_size}")
        if not {row.finding for row in self.subgroups} <= {*self.findings, ANY}:
            raise ValueError("subgroups are of other findings")
        Platt.from_dict(self.calibration, self.findings)
        for name in ("params", "metrics", "input_gate"):
            _check_contents(getattr(self, name))
        check_kinds(self.metrics, self.headlines)
        _check_type(BatchNames, self.params.get("batches", ()), "params.batches must be a list of names")
        _check_type(RefusedByGate, self.input_gate.get("test", {}), "input_gate.test must be shares by kind of image")
        return self

    @property
    def covered(self) -> float:
        """Share of the sides of an image that the network sees and the maps cover, in the middle, 0–1."""
        return self.input_size / self.size

    @property
    def operating_point(self) -> str:
        """Name of the operating point that decides unless another is asked for."""
        return next(iter(self.operating_points))

    def thresholds(self, operating_point: str | None = None) -> npt.NDArray[np.float64]:
        """Return the thresholds of an operating point, by default of the one that decides: `(k,)`, NaN where none.

        Raises:
            OptionsError: there is no such operating point.
        """
        name = operating_point or self.operating_point
        if name not in self.operating_points:
            raise OptionsError(f"operating_point: this model has {', '.join(self.operating_points)}, and no other")
        return threshold_values(self.operating_points[name])

    @property
    def bands(self) -> tuple[UncertainBand | None, ...]:
        """The uncertain bands of the findings that are learned; None of others, and of those that have none."""
        known = self.uncertain or (None,) * len(self.findings)
        learned = has_decision(self.status)
        return tuple(band if decided else None for band, decided in zip(known, learned, strict=True))

    @property
    def taps(self) -> tuple[str, ...]:
        """Layers whose averages the head sees; the last alone in a card from before there were others."""
        try:
            return tuple(self.param("head.taps"))
        except BundleError:
            return ("last",)

    def param(self, name: str) -> Any:
        """Return one of `params` by its dotted name, such as "prepare.salt".

        Raises:
            BundleError: the card lacks it.
        """
        value: Any = self.params
        for key in name.split("."):
            if not isinstance(value, dict) or key not in value:
                raise BundleError(f"{CARD} has no params.{name}")
            value = value[key]
        return value


def _with_operating_point(content: dict[str, Any]) -> dict[str, Any]:
    """Give an older card, which has one threshold a finding, its operating point by name; 1 stood for none."""
    cuts = content["thresholds"]
    if not isinstance(cuts, list | tuple) or len(cuts) > MAX_FINDINGS:
        raise ValueError(f"thresholds must be a list of at most {MAX_FINDINGS} numbers")
    params = content.get("params")
    evaluate = params.get("evaluate") if isinstance(params, dict) else None
    name = evaluate.get("threshold_policy", "f1") if isinstance(evaluate, dict) else "f1"
    points = [{"threshold": None if cut == 1 and cut is not True else cut} for cut in cuts]
    return {key: value for key, value in content.items() if key != "thresholds"} | {"operating_points": {name: points}}


def _each_once(entries: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON; of a name that is there twice readers would take one or the other.

    Raises:
        ValueError: there is one.
    """
    found = dict(entries)
    if len(found) < len(entries):
        raise ValueError("an object has the same name twice")
    return found


def read_card(file: Path) -> Card:
    """Read and check a `bundle.json`, whoever made it.

    Raises:
        BundleError: it is no card; the message says where, and repeats no text of it.
        OSError: it can't be read, or is no regular file.
    """
    try:
        content = read_regular(file, MAX_CARD_BYTES)
        json.loads(content, object_pairs_hook=_each_once)
        return Card.model_validate_json(content)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        said, where = "it is no JSON", ""
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(key) for key in fault["loc"] if isinstance(key, int) or key in Card.model_fields)
        said = fault["msg"].removeprefix("Value error, ")
    except ValueError as error:
        said, where = str(error), ""
    raise BundleError(f"{CARD}: {where}: {said}" if where else f"{CARD}: {said}")


def write_card(card: Card, folder: Path) -> None:
    """Write `bundle.json`, whole or not at all.

    Raises:
        ValueError: it is none that could be read again.
    """
    content = card.model_dump(warnings=False)
    Card.model_validate(content)  # a copy with changes is not checked by itself
    write_json(folder / CARD, content)


def bundle_digest(folder: Path) -> str:
    """Return the SHA-256 of the card, which holds that of the model."""
    return hashlib.sha256(read_regular(folder / CARD, MAX_CARD_BYTES)).hexdigest()
