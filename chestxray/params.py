"""`params.yaml`, typed: every number that a person may turn, checked before any work begins.

Nothing has a default here: what is not in the file is an error, so the file says it all.
"""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from chestxray.errors import UserError

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


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


def _policy(policy: str) -> str:
    if not re.fullmatch(r"f1|youden|sensitivity@(1(\.0*)?|0?\.0*[1-9]\d*)", policy):
        raise ValueError("must be f1, youden or sensitivity@0.9 (any value above 0 up to 1)")
    return policy


Range = Annotated[tuple[PositiveFloat, PositiveFloat], AfterValidator(_ordered)]


def _plain_word(name: str) -> str:
    if name in ("true", "false", "null", "yes", "no", "on", "off"):
        raise ValueError("YAML reads this word as something else; take another name")
    return name


class ParamsError(UserError):
    """`params.yaml` can't be used; the message names the key."""


class Section(BaseModel):
    """A part of `params.yaml`: immutable, and a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class BatchParams(Section):
    """Where a batch of radiographs lies, in NIH layout."""

    root: str


class PhantomUpdateParams(Section):
    """The second synthetic batch, from another site: how many, how many known, how it differs."""

    studies: PositiveInt
    patients: PositiveInt
    returning: Annotated[int, Field(ge=0)]
    portable: Annotated[float, Field(ge=0.0, le=1.0)]
    exposure: Annotated[float, Field(ge=-0.3, le=0.3)]
    prevalence: Annotated[float, Field(ge=-2.0, le=2.0)]


class PhantomParams(Section):
    """The synthetic batches: how many, how large, how hard."""

    studies: PositiveInt
    patients: PositiveInt
    size: Annotated[int, Field(ge=64, le=2048)]
    difficulty: Annotated[float, Field(ge=0.0, le=1.0)]
    seed: Seed
    update: PhantomUpdateParams

    @model_validator(mode="after")
    def _one_to_four_studies_a_patient(self) -> "PhantomParams":
        for batch in (self, self.update):
            if not batch.patients <= batch.studies <= 4 * batch.patients:
                raise ValueError(f"{batch.studies} studies of {batch.patients} patients: a patient has 1 to 4 studies")
        return self


class PrepareParams(Section):
    """Decoding, and the side of the split on which a patient falls."""

    size: Annotated[int, Field(ge=32, le=1024)]
    max_rejected: Fraction
    test: Fraction
    validation: Fraction
    salt: str

    @model_validator(mode="after")
    def _some_left_to_train(self) -> "PrepareParams":
        if self.test + self.validation >= 1.0:
            raise ValueError(f"test {self.test} + validation {self.validation} leave nothing to train on")
        return self


class BackboneParams(Section):
    """MobileNetV2: its weights, its width, and the side of the square that it sees."""

    weights: str
    alpha: Annotated[float, _one_of(0.35, 0.5, 0.75, 1.0, 1.3, 1.4)]
    input_size: Annotated[int, Field(ge=32, le=512, multiple_of=32)]
    seed: Seed

    @model_validator(mode="after")
    def _weights_of_that_width(self) -> "BackboneParams":
        if self.alpha != 1.0 and (self.weights == "imagenet" or self.weights.endswith(".pth")):
            raise ValueError(f"torchvision's weights are for alpha 1.0, not {self.alpha}: use keras or random")
        return self


class ClassWeightingParams(Section):
    """Positive weight of a finding: `min(cap, (negatives / positives) ** power)`."""

    power: Annotated[float, _one_of(0.0, 0.5, 1.0)]
    cap: Annotated[float, Field(ge=1.0)]


class FeaturesParams(Section):
    """The fixed views of each training image: centre, mirror, then augmented ones."""

    views: Annotated[int, Field(ge=2, le=64)]
    rotation: Annotated[float, Field(ge=0.0, le=45.0)]
    scale: Range
    shift: Fraction
    gamma: Annotated[float, Field(ge=0.0, le=1.0)]
    contrast: Range
    brightness: Fraction
    seed: Seed


class TrainParams(Section):
    """The linear head: L2 (one value, or a grid to choose from by patient-grouped folds), and where to start."""

    l2: PositiveFloat | Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]
    folds: Annotated[int, Field(ge=2, le=20)]
    warm_start: Annotated[str, Field(pattern=r"^models:/[A-Za-z0-9][A-Za-z0-9._-]*/[1-9][0-9]*$")] | None


class FineTuneParams(Section):
    """Training of the deeper layers, from the trained head on."""

    from_layer: Annotated[str, Field(pattern=r"^(input|expanded_conv|block_([1-9]|1[0-6])|Conv_1)$")]
    epochs: Annotated[int, Field(ge=0)]
    batch_size: PositiveInt
    learning_rate: PositiveFloat
    weight_decay: Annotated[float, Field(ge=0.0)]
    warm_up: Fraction
    final_learning_rate: Fraction
    patience: PositiveInt
    replay: Annotated[float, Field(ge=0.0, le=1.0)]
    mixed_precision: bool
    seed: Seed


class EvaluateParams(Section):
    """Operating points, and the bootstrap of the intervals."""

    threshold_policy: Annotated[str, AfterValidator(_policy)]
    benchmark: tuple[str, ...]
    benchmark_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None
    resamples: Annotated[int, Field(ge=100)]
    seed: Seed


class GradcamParams(Section):
    """How many test studies are explained, and how large the pictures are."""

    studies: PositiveInt
    size: Annotated[int, Field(ge=128, le=2048)]
    opacity: Annotated[float, Field(gt=0.0, le=1.0)]
    seed: Seed


class GateParams(Section):
    """What a challenger must show to replace the champion; see `chestxray.registry.gate`."""

    margin: Annotated[float, Field(gt=0.0, lt=0.5)]
    finding_margin: Annotated[float, Field(gt=0.0, lt=0.5)]
    min_positives: Annotated[int, Field(ge=2)]
    superiority: bool
    level: Annotated[float, Field(gt=0.0, lt=0.5)]
    resamples: Annotated[int, Field(ge=100)]
    seed: Seed


class RegisterParams(Section):
    """The name in the MLflow registry, and the gate before the champion's place."""

    gate: GateParams
    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


BatchName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$"), AfterValidator(_plain_word)]


class Params(Section):
    """The whole of `params.yaml`."""

    batches: Annotated[dict[BatchName, BatchParams], Field(min_length=1)]
    phantom: PhantomParams
    prepare: PrepareParams
    backbone: BackboneParams
    class_weighting: ClassWeightingParams
    features: FeaturesParams
    train: TrainParams
    fine_tune: FineTuneParams
    evaluate: EvaluateParams
    gradcam: GradcamParams
    register_: Annotated[RegisterParams, Field(alias="register")]

    def batch(self, name: str) -> BatchParams:
        """One of the batches.

        Raises:
            ParamsError: it is not listed.
        """
        if name not in self.batches:
            raise ParamsError(f"params.yaml lists no batch {name!r}, only {', '.join(self.batches)}")
        return self.batches[name]

    @model_validator(mode="after")
    def _benchmark_is_listed(self) -> "Params":
        unknown = [name for name in self.evaluate.benchmark if name not in self.batches]
        if unknown:
            raise ValueError(f"evaluate.benchmark: {unknown[0]} is none of the batches {', '.join(self.batches)}")
        return self

    @model_validator(mode="after")
    def _input_fits(self) -> "Params":
        if self.backbone.input_size > self.prepare.size:
            raise ValueError(
                f"backbone.input_size {self.backbone.input_size} is larger than prepare.size {self.prepare.size}: "
                "the network sees the centre of the prepared image"
            )
        return self


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Reads and checks `params.yaml`.

    Raises:
        ParamsError: no such file, not YAML, a key that is missing or not known, or a value out of its range;
            the message has a line per fault, with the path of the key and the value given.
    """
    try:
        raw = YAML(typ="safe").load(path)
    except FileNotFoundError as error:
        raise ParamsError(f"no {path} in {Path.cwd()}: run from the top of the repository") from error
    except YAMLError as error:
        raise ParamsError(f"{path} is not YAML: {error}") from error
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        faults = [
            f"{path}: {_key(fault['loc'])}: {fault['msg']} (given {fault['input']!r})" for fault in error.errors()
        ]
        raise ParamsError("\n".join(faults)) from None


def _key(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "(the file)"
