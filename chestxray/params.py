"""Read and check `params.yaml`, all the numbers that a person may turn, before any work begins.

A key that is not in the file is an error: nothing has a default but a finding, and how the table of a batch is read. No
logic that changes results is here, since stages depend on the values and not on this module.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WrapValidator,
    field_serializer,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from chestxray.errors import UserError
from chestxray.findings import FINDINGS, SYNONYMS, Vocabulary, check_findings, check_title, fold

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]

FINDING_NAME = "named with letters, digits, spaces, _ and -, a letter or digit first"
BATCH_NAME = "named with a–z, 0–9, _ and -, a letter first, 64 at most"
LAYERS = "input, expanded_conv, block_1 to block_16, or Conv_1"
TAP = r"last|block_([1-9]|1[0-6])_(expand|depthwise)_relu"
TAPS = "last, or a layer of a block behind its ReLU, such as block_13_expand_relu or block_13_depthwise_relu"
MODEL = "named with letters, digits, ., _ and -, a letter or digit first"
PREFIX = "a prefix of letters, digits, ., _ and -, a letter or digit first, 32 at most; or image"
SHARE = r"0\.[0-9]{0,5}[1-9]"
OPERATING_POINT = rf"f1|youden|(sensitivity|specificity|ppv)@({SHARE}|1)|assured_sensitivity@{SHARE}"
"""One number has one name: 0.9, neither .9 nor 0.90."""
OPERATING_POINTS = (
    "f1, youden, sensitivity@0.9, specificity@0.9, ppv@0.5 or assured_sensitivity@0.9; any number up to 1, with 6 "
    "decimals at most and no 0 at its end"
)
VERSION = "a registered version such as models:/chest-xray/1, or null"
NIH_NAMES = {fold(name): name for name in FINDINGS}
MENDS = {
    "missing": "is missing; add it",
    "extra_forbidden": "is not known; remove it, or mend its spelling",
    "tuple_type": "must be a list, such as [a, b]",
    "dict_type": "must be a section with keys",
    "model_type": "must be a section with keys",
    "string_type": "must be text",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
}
MAX_SHOWN = 80
"""Characters of a value, or of a part of a key, that a message repeats."""


def _one_of(*allowed: float) -> AfterValidator:
    def check(value: float) -> float:
        if value not in allowed:
            raise ValueError(f"must be one of {', '.join(map(str, allowed))}")
        return value

    return AfterValidator(check)


def _ordered(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError("the lower bound comes first")
    return bounds


def _matching(pattern: str, expected: str) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"must be {expected}")
        return text

    return AfterValidator(check)


def _check_unique(names: tuple[str, ...]) -> tuple[str, ...]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"expected each once, {twice[0]} is there twice")
    return names


def _check_last(taps: tuple[str, ...]) -> tuple[str, ...]:
    if "last" not in taps:
        raise ValueError("expected last among them: nothing behind the other taps would be of use; add it")
    return taps


def _plain_word(name: str) -> str:
    if name in ("true", "false", "null", "yes", "no", "on", "off"):
        raise ValueError("YAML reads this word as something else; take another name")
    return name


def _number_or_grid(value: Any, parse: Callable[[Any], Any]) -> Any:
    try:
        return parse(value)
    except ValidationError:
        raise ValueError("must be a number above 0, or a list of such numbers") from None


Range = Annotated[tuple[PositiveFloat, PositiveFloat], AfterValidator(_ordered)]
PositiveFloats = Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]
Grid = Annotated[PositiveFloat | PositiveFloats, WrapValidator(_number_or_grid)]
BatchName = Annotated[str, _matching(r"[a-z][a-z0-9_-]{0,63}", BATCH_NAME), AfterValidator(_plain_word)]
Views = Literal["frontal", "all"]
"""Which views are prepared; one that is not known counts as frontal."""


class ParamsError(UserError):
    """`params.yaml` can't be used; the message names the key."""


class Section(BaseModel):
    """A part of `params.yaml`: immutable, and a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FindingParams(Section):
    """A finding that the model learns.

    Attributes:
        title: for people.
        synonyms: other names that tables give it; case, spaces, `_` and `-` make no difference.
        sign: which of NIH's findings draws it in phantoms; none can't be drawn, and is unlabelled there.
    """

    title: Annotated[str, AfterValidator(check_title)]
    synonyms: tuple[str, ...]
    sign: str | None

    @field_validator("sign")
    @classmethod
    def _can_be_drawn(cls, sign: str | None) -> str | None:
        if sign is not None and sign not in FINDINGS:
            raise ValueError(f"must be null or one of {', '.join(FINDINGS)}")
        return sign


def _all_of_a_finding(findings: Any) -> Any:
    """Fill in what an entry leaves out: for NIH's findings the usual synonyms, and their own sign."""
    if not isinstance(findings, dict):
        return findings
    filled = {}
    for name, given in findings.items():
        if not isinstance(name, str):
            raise ValueError(f"YAML reads the name {name!r} as something else than text: quote it")
        sign = NIH_NAMES.get(fold(name))  # as tables are read: "effusion" means Effusion
        usual = {"title": name.replace("_", " "), "synonyms": SYNONYMS[sign] if sign else (), "sign": sign}
        filled[name] = usual | given if isinstance(given, dict) else usual if given is None else given
    return filled


def _findings_apart(findings: dict[str, FindingParams]) -> dict[str, FindingParams]:
    """Check that no two findings can be taken for one another."""
    check_findings(list(findings))
    Vocabulary({name: finding.synonyms for name, finding in findings.items()})
    signs: dict[str, str] = {}
    titles: dict[str, str] = {}
    for name, finding in findings.items():
        if titles.setdefault(finding.title.casefold(), name) != name:
            raise ValueError(f"{titles[finding.title.casefold()]} and {name} have one title: give each its own")
        if finding.sign is not None and signs.setdefault(finding.sign, name) != name:
            raise ValueError(f"{signs[finding.sign]} and {name} are both drawn by {finding.sign}: give one sign: null")
    return findings


FindingName = Annotated[str, _matching(r"[^\W_][\w -]*", FINDING_NAME)]
Findings = Annotated[
    dict[FindingName, FindingParams], BeforeValidator(_all_of_a_finding), AfterValidator(_findings_apart)
]


class ReadingParams(Section):
    """How the table of a batch is to be read; what is not said follows from its header.

    Attributes:
        table: its name within the folder.
        labels: the finding for each label that the table calls otherwise; null passes the label over.
        uncertain: what an uncertain label counts as (Irvin et al., "CheXpert", AAAI 2019).
        patients: what to put before every patient id, so that those of two hospitals stay apart; or `image`, where no
            table knows the patients: each image counts as a patient's only one.
        exclude: name of a file within the folder that lists images to leave out, one a line.
        follow_links: whether links to files may lead out of the folder.
    """

    table: Annotated[str, Field(min_length=1)] | None = None
    labels: dict[str, str | None] | None = None
    uncertain: Literal["unknown", "positive", "negative"] = "unknown"
    patients: Annotated[str, _matching(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}", PREFIX)] | None = None
    exclude: Annotated[str, Field(min_length=1)] | None = None
    follow_links: bool = False

    @field_serializer("labels", when_used="json")
    def _labels_as_text(self, labels: dict[str, str | None] | None) -> str | None:
        """Keep the labels of strangers' tables out of the keys of what is logged."""
        return None if labels is None else json.dumps(labels, ensure_ascii=False)


class BatchParams(ReadingParams):
    """Where a batch of radiographs lies, and how its table is read."""

    root: str


class CohortParams(Section):
    """How many studies of how many patients."""

    studies: PositiveInt
    patients: PositiveInt

    @model_validator(mode="after")
    def _one_to_four_studies_a_patient(self) -> Self:
        if not self.patients <= self.studies <= 4 * self.patients:
            raise ValueError(f"{self.studies} studies of {self.patients} patients: a patient has 1 to 4 studies")
        return self


class PhantomUpdateParams(CohortParams):
    """The second synthetic batch, from another site: how many patients return, and how the site differs."""

    returning: Annotated[int, Field(ge=0)]
    portable: Annotated[float, Field(ge=0.0, le=1.0)]
    exposure: Annotated[float, Field(ge=-0.3, le=0.3)]
    prevalence: Annotated[float, Field(ge=-2.0, le=2.0)]


class PhantomParams(CohortParams):
    """The synthetic batches: how large, how hard, and how often a finding can be told without seeing it."""

    size: Annotated[int, Field(ge=64, le=2048)]
    difficulty: Annotated[float, Field(ge=0.0, le=1.0)]
    shortcut: Annotated[float, Field(ge=0.0, le=1.0)]
    seed: Seed
    update: PhantomUpdateParams


class PrepareParams(Section):
    """Decoding, and the shares of the split."""

    size: Annotated[int, Field(ge=32, le=1024)]
    views: Views
    max_rejected: Fraction
    test: Fraction
    validation: Fraction
    salt: str

    @model_validator(mode="after")
    def _some_left_to_train(self) -> Self:
        if self.test + self.validation >= 1.0:
            raise ValueError(f"test {self.test} + validation {self.validation} leave nothing to train on: stay below 1")
        return self


class BackboneParams(Section):
    """MobileNetV2: its weights, its width, and the side of the square that it sees."""

    weights: str
    alpha: Annotated[float, _one_of(0.35, 0.5, 0.75, 1.0, 1.3, 1.4)]
    input_size: Annotated[int, Field(ge=32, le=512, multiple_of=32)]
    seed: Seed

    @model_validator(mode="after")
    def _weights_of_that_width(self) -> Self:
        if self.alpha != 1.0 and (self.weights == "imagenet" or self.weights.endswith(".pth")):
            raise ValueError(f"torchvision's weights are for alpha 1.0, not {self.alpha}: use keras or random")
        return self


class HeadParams(Section):
    """The linear head: the layers whose averaged activations it sees."""

    taps: Annotated[
        tuple[Annotated[str, _matching(TAP, TAPS)], ...],
        AfterValidator(_check_unique),
        AfterValidator(_check_last),
    ]


class ClassWeightingParams(Section):
    """Positive weight of a finding: `min(cap, (negatives / positives) ** power)`."""

    power: Annotated[float, _one_of(0.0, 0.5, 1.0)]
    cap: Annotated[float, Field(ge=1.0)]


class FeaturesParams(Section):
    """The fixed views of each training image: centre, mirror, then augmented ones."""

    views: Annotated[int, Field(ge=2, le=64)]
    cache_activations: bool
    rotation: Annotated[float, Field(ge=0.0, le=45.0)]
    scale: Range
    shift: Fraction
    gamma: Annotated[float, Field(ge=0.0, le=1.0)]
    contrast: Range
    brightness: Fraction
    seed: Seed


class TrainParams(Section):
    """The linear head: L2 (one value, or a grid to choose from by patient-grouped folds), and where to start."""

    l2: Grid
    shared: Annotated[float, Field(ge=0.0, le=100.0)]
    folds: Annotated[int, Field(ge=2, le=20)]
    warm_start: Annotated[str, _matching(r"models:/[A-Za-z0-9][A-Za-z0-9._-]*/[1-9][0-9]*", VERSION)] | None


class FineTuneParams(Section):
    """Training of the deeper layers, from the trained head on."""

    from_layer: Annotated[str, _matching(r"input|expanded_conv|block_([1-9]|1[0-6])|Conv_1", LAYERS)]
    epochs: Annotated[int, Field(ge=0)]
    batch_size: PositiveInt
    learning_rate: PositiveFloat
    weight_decay: Annotated[float, Field(ge=0.0)]
    warm_up: Fraction
    final_learning_rate: Fraction
    replay: Annotated[float, Field(ge=0.0, le=1.0)]
    mixed_precision: bool
    seed: Seed


class InputGateParams(Section):
    """The check that an image is like those trained on: what it is fitted on, and the share of good ones it refuses."""

    images: Annotated[int, Field(ge=10)]
    components: Annotated[int, Field(ge=2, le=512)]
    folds: Annotated[int, Field(ge=2, le=20)]
    refused: Annotated[float, Field(gt=0.0, le=0.1)]
    seed: Seed


class EvaluateParams(Section):
    """Operating points, and from how many patients on there are decisions, intervals and figures of groups."""

    operating_points: Annotated[
        tuple[Annotated[str, Field(max_length=40), _matching(OPERATING_POINT, OPERATING_POINTS)], ...],
        Field(min_length=1, max_length=16),
        AfterValidator(_check_unique),
    ]
    confidence: Annotated[float, Field(ge=0.5, lt=1.0)]
    uncertain_error: Annotated[float, Field(gt=0.0, lt=0.5)]
    benchmark: tuple[str, ...]
    benchmark_sha256: Annotated[str, _matching(r"[0-9a-f]{64}", "64 digits 0–9 and a–f, or null")] | None
    min_positives: Annotated[int, Field(ge=2)]
    min_n: Annotated[int, Field(ge=2)]
    seed: Seed


class GradcamParams(Section):
    """How many test studies are explained, and how large the pictures are."""

    studies: PositiveInt
    size: Annotated[int, Field(ge=128, le=2048)]
    opacity: Annotated[float, Field(gt=0.0, le=1.0)]
    seed: Seed


class GateParams(Section):
    """What a challenger must show to replace the champion; see `chestxray/registry/gate.py`."""

    margin: Annotated[float, Field(gt=0.0, lt=0.5)]
    finding_margin: Annotated[float, Field(gt=0.0, lt=0.5)]
    superiority: bool
    level: Annotated[float, Field(gt=0.0, lt=0.5)]


class RegisterParams(Section):
    """The name in the MLflow registry, and the gate before the champion's place."""

    gate: GateParams
    model: Annotated[str, _matching(r"[A-Za-z0-9][A-Za-z0-9._-]*", MODEL)]


class Params(Section):
    """The whole of `params.yaml`."""

    findings: Findings
    batches: Annotated[dict[BatchName, BatchParams], Field(min_length=1)]
    phantom: PhantomParams
    prepare: PrepareParams
    backbone: BackboneParams
    head: HeadParams
    class_weighting: ClassWeightingParams
    features: FeaturesParams
    train: TrainParams
    fine_tune: FineTuneParams
    input_gate: InputGateParams
    evaluate: EvaluateParams
    gradcam: GradcamParams
    register_: Annotated[RegisterParams, Field(alias="register")]

    @property
    def vocabulary(self) -> Vocabulary:
        """The findings, and by what names tables call them."""
        signs = {finding.sign: name for name, finding in self.findings.items() if finding.sign}
        return Vocabulary({name: finding.synonyms for name, finding in self.findings.items()}, signs)

    def batch(self, name: str) -> BatchParams:
        """Return one of the batches; a name that is not listed is a ParamsError."""
        if name not in self.batches:
            raise ParamsError(f"params.yaml: batches: no {name!r} there; name one of {', '.join(self.batches)}")
        return self.batches[name]

    @model_validator(mode="after")
    def _benchmark_is_listed(self) -> Self:
        unknown = [name for name in self.evaluate.benchmark if name not in self.batches]
        if unknown:
            raise ValueError(f"evaluate.benchmark: {unknown[0]!r} is none of the batches {', '.join(self.batches)}")
        return self

    @model_validator(mode="after")
    def _input_fits(self) -> Self:
        if self.backbone.input_size > self.prepare.size:
            raise ValueError(
                f"backbone.input_size {self.backbone.input_size} is larger than prepare.size {self.prepare.size}: "
                "the network sees the centre of the prepared image"
            )
        return self


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and check `params.yaml`.

    Raises:
        ParamsError: no such file, not YAML, a key that is missing or not known, or a value out of its range;
            the message has a line for each fault, with the key, the value given and what it must be.
    """
    try:
        raw = YAML(typ="safe").load(path)
    except FileNotFoundError as error:
        raise ParamsError(f"no {path} in {Path.cwd()}: run from the top of the repository") from error
    except (YAMLError, ValueError, RecursionError) as error:
        said, _, _ = str(error).partition("\nTo suppress")  # advice on ruamel.yaml
        raise ParamsError(f"{path} is not YAML: {said}") from error
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        raise ParamsError("\n".join(f"{path}: {_describe(fault)}" for fault in error.errors())) from None


def _describe(fault: ErrorDetails) -> str:
    """Name the key at fault and say what it must be, with the value given unless that is a whole section."""
    key = ".".join(_cut(str(part)) for part in fault["loc"] if part != "[key]")
    if fault["loc"] == ("evaluate", "threshold_policy"):
        return "evaluate.threshold_policy: is evaluate.operating_points now, a list of which the first decides: [f1, …]"
    said = MENDS.get(fault["type"], fault["msg"].removeprefix("Value error, ").replace("Input should be", "must be"))
    given = "" if isinstance(fault["input"], dict) else f" (given {_cut(repr(fault['input']))})"
    return (f"{key}: " if key else "") + said + given


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
